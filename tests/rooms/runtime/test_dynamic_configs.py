"""Settings in the tree: loaded, followed, written; over both houses of coordination."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.loading import load
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.dynamic_configs import CHANGES_LIVE_MS, DynamicConfigs
from pykafka_broker.zk import nodes
from pykafka_broker.zk.port import Coordination
from pykafka_broker.zk.registration import prepare
from tests.rooms.zk.conftest import Sessions, sessions, tree

__all__ = ["sessions", "tree"]

ME = BrokerId(0)


class Story:
    """One broker's settings, and what its subscribers were told."""

    def __init__(self, tree: Coordination) -> None:
        self.tree = tree
        self.now = Millis(0)
        self.configs = DynamicConfigs(load("broker.id=0"), tree, lambda: self.now)
        self.topics: list[tuple[str, TopicSettings]] = []
        self.brokers: list[BrokerSettings] = []
        self.others: list[tuple[str, str, dict[str, str]]] = []
        self.configs.on_topic.append(lambda topic, settings: self.topics.append((topic, settings)))
        self.configs.on_broker.append(self.brokers.append)
        self.configs.on_other.append(lambda kind, entity, entries: self.others.append((kind, entity, dict(entries))))

    async def stands(self, path: str, entries: dict[str, str]) -> None:
        """Somebody has written settings and told of it, as the tools of Kafka 2.x do."""
        await self.tree.ensure(f"/config/{path}")
        await self.tree.replace(f"/config/{path}", json.dumps({"version": 1, "config": entries}).encode())

    async def told(self, path: str) -> None:
        """Somebody tells that settings have changed."""
        change = json.dumps({"version": 2, "entity_path": path}).encode()
        await self.tree.create("/config/changes/config_change_", change, sequential=True)

    async def has_controller(self) -> None:
        await self.tree.create(nodes.CONTROLLER, b"{}", ephemeral=True)


@pytest.fixture
async def story(tree: Coordination) -> Story:
    await prepare(tree)
    return Story(tree)


async def test_everything_in_the_tree_is_loaded(story: Story) -> None:
    await story.stands("topics/t", {"retention.ms": "5"})
    await story.stands("brokers/0", {"max.connections": "7"})
    await story.stands("brokers/1", {"max.connections": "9"})
    await story.stands("brokers/<default>", {"log.segment.bytes": "1000"})
    await story.stands("users/alice", {"producer_byte_rate": "1"})
    await story.stands("users/alice/clients/app", {"producer_byte_rate": "2"})
    await story.stands("clients/<default>", {"consumer_byte_rate": "3"})
    await story.stands("ips/10.0.0.1", {"connection_creation_rate": "4"})
    await story.configs.load(ME)
    assert story.configs.topic_settings("t") == TopicSettings(retention_ms=5, segment_bytes=1000)
    assert story.configs.topic_settings("other") == TopicSettings(segment_bytes=1000)
    assert story.configs.broker.max_connections == 7
    assert story.configs.others == {
        "users": {"alice": {"producer_byte_rate": "1"}, "alice/clients/app": {"producer_byte_rate": "2"}},
        "clients": {"<default>": {"consumer_byte_rate": "3"}},
        "ips": {"10.0.0.1": {"connection_creation_rate": "4"}},
    }


async def test_an_empty_tree_is_loaded_as_nothing(tree: Coordination) -> None:
    story = Story(tree)
    await story.configs.load(ME)
    assert story.configs.topic_settings("t") == TopicSettings()


async def test_nodes_and_values_that_make_no_sense_are_left_out(story: Story) -> None:
    await story.stands("topics/t", {"retention.ms": "abc", "segment.ms": "7"})
    await story.tree.create("/config/topics/u", b"{nonsense")
    await story.tree.create("/config/topics/null")
    await story.configs.load(ME)
    assert story.configs.topic_settings("t") == TopicSettings(segment_ms=7)
    assert story.configs.topic_settings("u") == TopicSettings()


async def following(story: Story, act: Callable[[], Awaitable[Any]], until: Callable[[], bool]) -> None:
    """Follow changes in the background while something is done, until something holds."""
    await story.configs.load(ME)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.configs.follow, story.tree)
        await act()
        with trio.fail_after(20):
            while not until():
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_a_change_by_others_is_heeded_and_told(story: Story) -> None:
    async def act() -> None:
        await story.stands("topics/t", {"retention.ms": "5"})
        await story.told("topics/t")

    await following(story, act, lambda: bool(story.topics))
    assert story.topics == [("t", TopicSettings(retention_ms=5))]
    assert story.configs.topic_settings("t").retention_ms == 5


async def test_changes_of_brokers_users_and_addresses_are_heeded(story: Story) -> None:
    async def act() -> None:
        await story.stands("brokers/<default>", {"max.connections": "5"})
        await story.told("brokers/<default>")
        await story.stands("brokers/0", {"max.connections": "6"})
        await story.told("brokers/0")
        await story.told("brokers/1")
        await story.stands("users/alice/clients/app", {"producer_byte_rate": "2"})
        await story.told("users/alice/clients/app")

    await following(story, act, lambda: bool(story.others))
    assert [settings.max_connections for settings in story.brokers][-1] == 6
    assert story.others == [("users", "alice/clients/app", {"producer_byte_rate": "2"})]


async def test_the_old_form_of_a_notification_is_read_and_nonsense_passed_over(story: Story) -> None:
    async def act() -> None:
        await story.stands("topics/t", {"retention.ms": "5"})
        await story.tree.create("/config/changes/config_change_", b"nonsense", sequential=True)
        await story.told("planets/mars")
        old = b'{"version":1,"entity_type":"topics","entity_name":"t"}'
        await story.tree.create("/config/changes/config_change_", old, sequential=True)

    await following(story, act, lambda: bool(story.topics))
    assert story.topics == [("t", TopicSettings(retention_ms=5))]


async def test_what_was_told_before_the_start_is_not_heeded_again(story: Story) -> None:
    await story.stands("topics/t", {"retention.ms": "5"})
    await story.told("topics/t")
    await story.configs.load(ME)
    story.topics.clear()
    await story.configs.catch_up(story.tree)
    assert story.topics == []
    await story.stands("topics/t", {"retention.ms": "6"})
    await story.configs.catch_up(story.tree)
    assert story.topics == []
    await story.told("topics/t")
    await story.configs.catch_up(story.tree)
    assert story.topics == [("t", TopicSettings(retention_ms=6))]


async def test_changes_missed_between_two_sessions_are_made_up_for(story: Story, sessions: Sessions) -> None:
    await story.configs.load(ME)
    await story.stands("topics/t", {"retention.ms": "5"})
    await story.told("topics/t")
    async with sessions() as session:
        await story.configs.catch_up(session)
    assert story.configs.topic_settings("t").retention_ms == 5


async def test_notifications_are_removed_after_a_quarter_of_an_hour(story: Story) -> None:
    await story.told("topics/t")
    (name,) = await story.tree.children(nodes.CONFIG_CHANGES)
    made = (await story.tree.read(f"{nodes.CONFIG_CHANGES}/{name}")).stat.created_ms
    story.now = Millis(made + CHANGES_LIVE_MS)
    await story.configs.catch_up(story.tree)
    assert await story.tree.children(nodes.CONFIG_CHANGES) == (name,)
    story.now = Millis(made + CHANGES_LIVE_MS + 1)
    await story.configs.catch_up(story.tree)
    assert await story.tree.children(nodes.CONFIG_CHANGES) == ()


async def test_settings_are_written_as_kafka_writes_them_and_told(story: Story) -> None:
    await story.has_controller()
    await story.configs.load(ME)
    await story.configs.write(nodes.TOPIC_CONFIG, "t", {"retention.ms": "5"})
    await story.configs.write(nodes.TOPIC_CONFIG, "t", {"retention.ms": "6", "cleanup.policy": "compact"})
    node = await story.tree.read("/config/topics/t")
    assert node.data == b'{"version":1,"config":{"cleanup.policy":"compact","retention.ms":"6"}}'
    changes = await story.tree.children(nodes.CONFIG_CHANGES)
    assert changes == ("config_change_0000000000", "config_change_0000000001")
    change = await story.tree.read(f"{nodes.CONFIG_CHANGES}/{changes[1]}")
    assert change.data == b'{"version":2,"entity_path":"topics/t"}'
    assert [settings.retention_ms for _, settings in story.topics] == [5, 6]


async def test_settings_below_a_user_are_written_even_when_the_user_has_none(story: Story) -> None:
    await story.has_controller()
    await story.configs.write(nodes.USER_CONFIG, "alice/clients/app", {"producer_byte_rate": "2"})
    assert await story.configs.entries(nodes.USER_CONFIG, "alice/clients/app") == {"producer_byte_rate": "2"}


async def test_what_was_written_here_is_not_told_a_second_time(story: Story) -> None:
    await story.has_controller()
    await story.configs.load(ME)
    await story.configs.write(nodes.TOPIC_CONFIG, "t", {"retention.ms": "5"})
    await story.configs.catch_up(story.tree)
    assert len(story.topics) == 1


async def test_nobody_writes_while_there_is_no_controller(story: Story) -> None:
    with pytest.raises(KafkaError) as caught:
        await story.configs.write(nodes.TOPIC_CONFIG, "t", {})
    assert caught.value.code is ErrorCode.NOT_CONTROLLER
    assert await story.tree.children("/config/topics") == ()


async def test_a_new_topics_settings_are_learnt_before_its_log_is_made(story: Story) -> None:
    await story.configs.load(ME)
    await story.stands("topics/t", {"retention.ms": "5"})
    await story.configs.learn("t")
    assert story.configs.topic_settings("t").retention_ms == 5
    await story.tree.delete("/config/topics/t")
    await story.configs.learn("t")
    assert story.configs.topic_settings("t") == TopicSettings()


async def test_a_topic_is_validated_by_raising(story: Story) -> None:
    story.configs.validate_topic({"retention.ms": "5"})
    with pytest.raises(KafkaError, match="Unknown topic config name: nope"):
        story.configs.validate_topic({"nope": "1"})
    assert len(story.configs.shown({"retention.ms": "5"})) == 36
