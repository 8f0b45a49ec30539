"""The controller's fenced writes, on the embedded tree."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from pykafka_broker.control.cluster import Assignment, Endpoint, LiveBroker, PartitionState, Topic
from pykafka_broker.control.commands import ForgetTopic, StateWrite
from pykafka_broker.control.events import StatesRefused, StatesWritten, TopicForgotten, TopicRefused, TopicWritten
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact
from pykafka_broker.runtime.controller_tree import ControllerTree
from pykafka_broker.zk import nodes
from pykafka_broker.zk.embedded import open_grove
from pykafka_broker.zk.leadership import TermOver
from pykafka_broker.zk.port import Check, Coordination, NoNode
from pykafka_broker.zk.registration import prepare

ME = BrokerId(0)
T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)
TOPIC = Topic(TopicId(UUID(int=7)), {0: Assignment((ME,)), 1: Assignment((ME,), adding=(ME,))})


def state(epoch: int = 0, version: int = -1) -> PartitionState:
    return PartitionState(ME, LeaderEpoch(epoch), (ME,), 1, version=version)


async def inline(work: Callable[[], None]) -> None:
    work()


class Term:
    """A session with a tree in it, and a controller's access to that."""

    def __init__(self, session: Coordination) -> None:
        self.session = session
        self.facts: list[Fact] = []
        self.tree = ControllerTree(session, Check(nodes.CONTROLLER_EPOCH, 0), self.facts.append)

    def anew(self) -> ControllerTree:
        """The access of a controller that remembers nothing."""
        return ControllerTree(self.session, Check(nodes.CONTROLLER_EPOCH, 0), self.facts.append)

    async def make_topic(self) -> None:
        await self.session.create(nodes.topic_path("t"), b'{"version":1,"partitions":{"0":[0],"1":[0]}}')

    async def czxid(self, partition: TopicPartition) -> int:
        return (await self.session.read(nodes.partition_state_path(*partition))).stat.czxid


@pytest.fixture
async def term(tmp_path: Path) -> AsyncIterator[Term]:
    ticks = itertools.count(1_000)
    async with (
        open_grove(tmp_path, in_worker=inline, clock=ticks.__next__) as grove,
        grove.session() as session,
    ):
        await prepare(session)
        await session.create(nodes.CONTROLLER_EPOCH, b"1")
        yield Term(session)


async def test_first_states_of_many_partitions_are_one_transaction(term: Term) -> None:
    await term.make_topic()
    outcome = await term.tree.write_states([StateWrite(T0, state(), None), StateWrite(T1, state(), None)])
    assert outcome == [StatesWritten({T0: state(version=0), T1: state(version=0)})]
    assert await term.czxid(T0) == await term.czxid(T1)
    assert await term.tree.state(T0) == state(version=0)


async def test_a_state_is_replaced_only_where_it_has_the_version_expected(term: Term) -> None:
    await term.make_topic()
    await term.tree.write_states([StateWrite(T0, state(), None), StateWrite(T1, state(), None)])
    outcome = await term.tree.write_states([StateWrite(T0, state(1), 0), StateWrite(T1, state(1), 5)])
    assert outcome == [StatesWritten({T0: state(1, version=1)}), StatesRefused({T1: state(version=0)})]


async def test_nodes_that_an_earlier_controller_left_half_made_do_no_harm(term: Term) -> None:
    await term.make_topic()
    await term.session.create(nodes.partitions_path("t"))
    await term.session.create(nodes.partition_path("t", 0))
    outcome = await term.tree.write_states([StateWrite(T0, state(), None), StateWrite(T1, state(), None)])
    assert outcome == [StatesWritten({T0: state(version=0), T1: state(version=0)})]


async def test_a_first_state_that_is_there_already_is_told(term: Term) -> None:
    await term.make_topic()
    await term.tree.write_states([StateWrite(T0, state(4), None)])
    outcome = await term.anew().write_states([StateWrite(T0, state(), None)])
    assert outcome == [StatesRefused({T0: state(4, version=0)})]


async def test_a_state_of_a_topic_that_is_gone_is_refused_with_nothing(term: Term) -> None:
    assert await term.tree.write_states([StateWrite(T0, state(), None)]) == [StatesRefused({T0: None})]
    assert await term.tree.write_states([StateWrite(T0, state(), 3)]) == [StatesRefused({T0: None})]


async def test_more_than_a_transaction_holds_is_written_in_several(term: Term) -> None:
    await term.make_topic()
    partitions = [TopicPartition("t", index) for index in range(250)]
    (outcome,) = await term.tree.write_states([StateWrite(one, state(), None) for one in partitions])
    assert isinstance(outcome, StatesWritten)
    assert list(outcome.states) == partitions
    assert len({await term.czxid(one) for one in partitions}) == 3
    assert await term.tree.remove_topics([ForgetTopic("t", range(250))]) == [TopicForgotten("t")]
    assert await term.session.children(nodes.TOPICS) == ()


async def test_a_topics_node_is_written_unless_somebody_was_faster(term: Term) -> None:
    await term.make_topic()
    assert await term.tree.write_topic("t", TOPIC) == TopicWritten("t", 1)
    found = await term.tree.topic("t")
    assert found == Topic(TOPIC.topic_id, TOPIC.partitions, 1)
    assert await term.tree.write_topic("t", TOPIC) == TopicRefused("t", found)
    assert await term.tree.write_topic("gone", TOPIC) == TopicRefused("gone", None)


async def test_a_removed_topic_leaves_nothing_even_if_half_of_it_was_gone(term: Term) -> None:
    await term.make_topic()
    await term.session.create(nodes.config_path(nodes.TOPIC_CONFIG, "t"), b"{}")
    await term.session.create(nodes.delete_topic_path("t"))
    await term.tree.write_states([StateWrite(T0, state(), None)])
    assert await term.tree.remove_topics([ForgetTopic("t", (0, 1)), ForgetTopic("never", (0,))]) == [
        TopicForgotten("t"),
        TopicForgotten("never"),
    ]
    for parent in (nodes.TOPICS, nodes.DELETE_TOPICS, nodes.config_kind_path(nodes.TOPIC_CONFIG)):
        assert await term.session.children(parent) == ()


async def test_nothing_is_written_after_the_term(term: Term) -> None:
    await term.make_topic()
    await term.tree.write_states([StateWrite(T0, state(), None)])
    await term.session.replace(nodes.CONTROLLER_EPOCH, b"2")
    for attempt in (
        lambda: term.tree.write_states([StateWrite(T0, state(1), 0)]),
        lambda: term.tree.write_states([StateWrite(T0, state(1), 9)]),
        lambda: term.tree.write_states([StateWrite(T1, state(), None)]),
        lambda: term.tree.write_topic("t", TOPIC),
        lambda: term.tree.remove_topics([ForgetTopic("t", (0, 1))]),
        lambda: term.tree.remove(nodes.topic_path("t")),
        term.tree.tidy,
    ):
        with pytest.raises(TermOver):
            await attempt()  # type: ignore[operator]
    assert await term.tree.state(T0) == state(version=0)
    with pytest.raises(NoNode):
        await term.session.read(nodes.FEATURE)


async def test_a_topic_that_was_made_again_after_the_term_is_not_removed_with_the_remains_of_the_old(
    term: Term,
) -> None:
    await term.make_topic()
    await term.session.create(nodes.partitions_path("t"))

    class Overtaken:
        """The session, in which another controller takes over once the remains have been looked at."""

        def __getattr__(self, name: str) -> Any:
            return getattr(term.session, name)

        async def _overtake(self) -> None:
            if (await term.session.read(nodes.CONTROLLER_EPOCH)).stat.version == 0:
                await term.session.replace(nodes.CONTROLLER_EPOCH, b"2")
                await term.session.delete_tree(nodes.topic_path("t"))
                await term.make_topic()
                await term.session.create(nodes.partitions_path("t"))

        async def children(self, path: str) -> tuple[str, ...]:
            found = await term.session.children(path)
            await self._overtake()
            return found

        async def delete_tree(self, path: str) -> None:
            await self._overtake()
            await term.session.delete_tree(path)

    tree = ControllerTree(cast(Coordination, Overtaken()), Check(nodes.CONTROLLER_EPOCH, 0), term.facts.append)
    with pytest.raises(TermOver):
        await tree.remove_topics([ForgetTopic("t", (0, 1))])
    assert await term.session.children(nodes.topic_path("t")) == ("partitions",)


async def test_a_state_that_a_later_controller_wrote_ends_the_term(term: Term) -> None:
    await term.make_topic()
    await term.tree.write_states([StateWrite(T0, state(), None)])
    path = nodes.partition_state_path(*T0)
    await term.session.replace(path, nodes.PartitionState(ME, (ME,), 4, 2).encode())
    with pytest.raises(TermOver):
        await term.anew().write_states([StateWrite(T0, state(1), 0)])


async def test_notifications_of_old_leaders_are_dropped(term: Term) -> None:
    for _ in range(2):
        await term.session.create(f"{nodes.ISR_CHANGES}/isr_change_", b"{}", sequential=True)
    await term.tree.drop_isr_changes()
    assert await term.session.children(nodes.ISR_CHANGES) == ()


async def test_what_makes_no_sense_is_told_and_read_as_nothing(term: Term) -> None:
    await term.session.create(nodes.topic_path("t"), b"{")
    await term.session.create(nodes.broker_path(3), b'{"version":5}')
    assert await term.tree.topic("t") is None
    assert await term.tree.broker(BrokerId(3)) is None
    assert [fact.name for fact in term.facts] == ["MalformedNode", "MalformedNode"]


async def test_a_registered_broker_is_read_with_its_epoch_and_protocols(term: Term) -> None:
    registration = nodes.BrokerRegistration(
        BrokerId(3), (nodes.Endpoint("A", "host", 1, "SASL_SSL"), nodes.Endpoint("B", "host", 2)), rack="r"
    )
    await term.session.create(registration.path, registration.encode())
    epoch = (await term.session.read(registration.path)).stat.czxid
    endpoints = (Endpoint("A", "host", 1, 3), Endpoint("B", "host", 2, 0))
    assert await term.tree.broker(BrokerId(3)) == LiveBroker(BrokerId(3), epoch, endpoints, "r")
