"""Throttles: whom they hold for, how much may move, and that operators may change both at any time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pykafka_broker.config.loading import load
from pykafka_broker.log.throttle import UNTHROTTLED, Throttle
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.dynamic_configs import DynamicConfigs
from pykafka_broker.runtime.throttles import (
    FOLLOWER_RATE,
    LEADER_RATE,
    MOVE_RATE,
    follower_throttle,
    leader_throttle,
    move_throttle,
)
from pykafka_broker.zk import nodes
from pykafka_broker.zk.embedded import open_grove
from pykafka_broker.zk.port import Coordination
from pykafka_broker.zk.registration import prepare
from tests.rooms.zk.conftest import inline, ticking

ME = BrokerId(1)
T0, T1, OTHER = TopicPartition("orders", 0), TopicPartition("orders", 1), TopicPartition("bills", 0)
LEADERS = "leader.replication.throttled.replicas"
FOLLOWERS = "follower.replication.throttled.replicas"


class Story:
    """A broker's settings, its clock, and its throttles."""

    def __init__(self, tree: Coordination) -> None:
        self.tree = tree
        self.now = Millis(1_000_000)
        self.configs = DynamicConfigs(load("broker.id=1\nreplication.quota.window.num=3"), tree, lambda: self.now)

    async def topic(self, name: str, **entries: str) -> None:
        await self.configs.write("topics", name, {key.replace("_", "."): text for key, text in entries.items()})

    async def broker(self, entries: dict[str, str], who: str = "1") -> None:
        await self.configs.write("brokers", who, entries)

    def leader(self) -> Throttle:
        return leader_throttle(ME, self.configs, lambda: self.now)

    def later(self, ms: int) -> None:
        self.now = Millis(self.now + ms)


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    async with open_grove(tmp_path / "tree", in_worker=inline, clock=ticking()) as grove, grove.session() as tree:
        await prepare(tree)
        await tree.create(nodes.CONTROLLER, b"{}", ephemeral=True)
        story = Story(tree)
        await story.configs.load(ME)
        yield story


async def test_nothing_is_held_back_as_long_as_nobody_says_so(story: Story) -> None:
    for throttle in (story.leader(), move_throttle(story.configs, lambda: story.now), UNTHROTTLED):
        throttle.moved(T0, 1 << 40)
        assert not throttle.holds_back(T0)


async def test_a_rate_holds_for_the_replicas_that_topics_name(story: Story) -> None:
    throttle = story.leader()
    await story.broker({LEADER_RATE: "1000"})
    await story.topic("orders", leader_replication_throttled_replicas="0:1,1:2")
    throttle.moved(T1, 5_000)
    assert not throttle.holds_back(T0), "the second partition is throttled on another broker"
    throttle.moved(T0, 1_000)
    assert not throttle.holds_back(T0), "no more than may move in a second"
    throttle.moved(T0, 1)
    assert throttle.holds_back(T0)
    assert not throttle.holds_back(T1)
    assert not throttle.holds_back(OTHER)
    story.later(1_001)
    assert not throttle.holds_back(T0)


async def test_all_replicas_of_a_topic_share_one_rate(story: Story) -> None:
    throttle = story.leader()
    await story.broker({LEADER_RATE: "1000"})
    await story.topic("orders", leader_replication_throttled_replicas="*")
    throttle.moved(T0, 600)
    throttle.moved(T1, 600)
    assert throttle.holds_back(T0)
    assert throttle.holds_back(T1)


async def test_what_holds_when_the_broker_starts_is_heeded(story: Story) -> None:
    await story.broker({LEADER_RATE: "1000"})
    await story.topic("orders", leader_replication_throttled_replicas="0:1")
    throttle = story.leader()
    throttle.moved(T0, 2_000)
    assert throttle.holds_back(T0)


async def test_a_throttle_may_be_changed_and_taken_away(story: Story) -> None:
    throttle = story.leader()
    await story.broker({LEADER_RATE: "1000"})
    await story.topic("orders", leader_replication_throttled_replicas="0:1")
    throttle.moved(T0, 2_000)
    await story.broker({LEADER_RATE: "2000"})
    assert not throttle.holds_back(T0)
    throttle.moved(T0, 1)
    assert throttle.holds_back(T0)
    await story.topic("orders", retention_ms="1000")
    assert not throttle.holds_back(T0)
    await story.topic("orders", leader_replication_throttled_replicas="*")
    assert throttle.holds_back(T0)
    await story.broker({})
    assert not throttle.holds_back(T0)


async def test_a_rate_for_all_brokers_holds_where_a_broker_has_none_of_its_own(story: Story) -> None:
    throttle = story.leader()
    await story.topic("orders", leader_replication_throttled_replicas="*")
    await story.broker({LEADER_RATE: "1000"}, who="<default>")
    throttle.moved(T0, 2_000)
    assert throttle.holds_back(T0)
    await story.broker({LEADER_RATE: "3000"})
    assert not throttle.holds_back(T0)


async def test_leaders_and_followers_have_throttles_of_their_own(story: Story) -> None:
    throttles = story.leader(), follower_throttle(ME, story.configs, lambda: story.now)
    await story.broker({LEADER_RATE: "1000", FOLLOWER_RATE: "5000"})
    await story.topic(
        "orders", leader_replication_throttled_replicas="*", follower_replication_throttled_replicas="1:1"
    )
    for throttle in throttles:
        throttle.moved(T0, 6_000)
        throttle.moved(T1, 4_000)
    assert [[throttle.holds_back(one) for one in (T0, T1)] for throttle in throttles] == [[True, True], [False, False]]
    throttles[1].moved(T1, 1_001)
    assert throttles[1].holds_back(T1)


async def test_windows_are_as_many_as_the_file_says(story: Story) -> None:
    throttle = story.leader()
    await story.broker({LEADER_RATE: "1000"})
    await story.topic("orders", leader_replication_throttled_replicas="*")
    throttle.moved(T0, 1 << 30)
    story.later(2_999)
    assert throttle.holds_back(T0)
    story.later(1)
    assert not throttle.holds_back(T0), "the flood was three windows ago"


async def test_moves_between_directories_are_throttled_whatever_topics_say(story: Story) -> None:
    throttle = move_throttle(story.configs, lambda: story.now)
    await story.broker({MOVE_RATE: "1000"})
    throttle.moved(OTHER, 2_000)
    assert throttle.holds_back(T0)
    story.later(2_000)
    assert not throttle.holds_back(T0)
