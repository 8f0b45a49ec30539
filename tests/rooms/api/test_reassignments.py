"""AlterPartitionReassignments and ListPartitionReassignments against the embedded house."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from pykafka_broker.control.topics import NewTopic
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call
from pykafka_broker.zk import nodes
from tests.doubles.lone_broker import LoneBroker, lone_broker

Alter = messages.AlterPartitionReassignmentsRequest
List = messages.ListPartitionReassignmentsRequest
DONE = (ErrorCode.NONE, None)


def alteration(wanted: Mapping[str, Mapping[int, list[int] | None]]) -> Any:
    return Alter(
        topics=[
            Alter.ReassignableTopic(
                name=name,
                partitions=[
                    Alter.ReassignablePartition(partition_index=index, replicas=replicas)  # type: ignore[arg-type]
                    for index, replicas in partitions.items()
                ],
            )
            for name, partitions in wanted.items()
        ]
    )


async def alter(
    broker: LoneBroker, wanted: Mapping[str, Mapping[int, list[int] | None]]
) -> dict[tuple[str, int], tuple[int, str | None]]:
    with trio.fail_after(5):
        response = await broker.ask("AlterPartitionReassignments", 0, alteration(wanted))
    assert messages.encode(response, 0)
    assert (response.error_code, response.error_message) == (ErrorCode.NONE, "")
    return {
        (topic.name, one.partition_index): (one.error_code, one.error_message)
        for topic in response.responses
        for one in topic.partitions
    }


async def listed(broker: LoneBroker, topics: Any = None) -> dict[tuple[str, int], tuple[list[int], ...]]:
    response = await broker.ask("ListPartitionReassignments", 0, List(topics=topics))
    assert messages.encode(response, 0)
    assert (response.error_code, response.error_message) == (ErrorCode.NONE, "")
    return {
        (topic.name, one.partition_index): (one.replicas, one.adding_replicas, one.removing_replicas)
        for topic in response.topics
        for one in topic.partitions
    }


async def make(broker: LoneBroker, topic: str, partitions: int = 1) -> None:
    await broker.topics.create(NewTopic(name=topic, partitions=partitions, replication_factor=1))
    await broker.led(topic, partitions)


async def test_the_same_replicas_again_end_at_once_in_a_new_leader_epoch(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t", 2)
        assert await alter(broker, {"t": {0: [0], 1: [0]}}) == {("t", 0): DONE, ("t", 1): DONE}
        assert await listed(broker) == {}
        state = nodes.PartitionState.decode((await broker.tree.read(nodes.partition_state_path("t", 0))).data)
        assert (state.leader, state.isr, state.leader_epoch) == (0, (0,), 1)
        while broker.leaderships.leader(TopicPartition("t", 0)).leader_epoch < 1:
            await trio.lowlevel.checkpoint()


async def test_each_partition_is_answered_for_itself(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t", 4)
        answers = await alter(broker, {"t": {0: [], 1: [7], 2: None, 3: [0]}, "ghost": {0: [0], 1: None, 2: [7]}})
        assert {where: code for where, (code, _) in answers.items()} == {
            ("t", 0): ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            ("t", 1): ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            ("t", 2): ErrorCode.NO_REASSIGNMENT_IN_PROGRESS,
            ("t", 3): ErrorCode.NONE,
            ("ghost", 0): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            ("ghost", 1): ErrorCode.NO_REASSIGNMENT_IN_PROGRESS,
            ("ghost", 2): ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        }
        assert answers["t", 2][1] == "No partition reassignment is in progress."
        assert await alter(broker, {}) == {}


async def test_a_replica_on_a_dead_broker_can_be_taken_away(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await broker.tree.create(nodes.topic_path("t"), b'{"version":1,"partitions":{"0":[7,0]}}')
        await broker.led("t")
        assert await alter(broker, {"t": {0: [0]}}) == {("t", 0): DONE}
        told = nodes.TopicAssignment.decode("t", (await broker.tree.read(nodes.topic_path("t"))).data)
        assert (told.partitions, told.adding_replicas, told.removing_replicas) == ({0: (0,)}, {}, {})
        assert await listed(broker) == {}


async def test_a_move_that_waits_for_a_broker_is_listed_and_can_be_cancelled(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        node = b'{"version":2,"partitions":{"0":[0,7],"1":[0]},"adding_replicas":{"0":[7]},"removing_replicas":{}}'
        await broker.tree.create(nodes.topic_path("t"), node)
        await broker.led("t", 2)
        assert await listed(broker) == {("t", 0): ([0, 7], [7], [])}
        assert await listed(broker, [List.Topics(name="t", partition_indexes=[1, 9])]) == {}
        assert await listed(broker, [List.Topics(name="t", partition_indexes=[0])]) == {("t", 0): ([0, 7], [7], [])}
        assert await alter(broker, {"t": {0: None}}) == {("t", 0): DONE}
        assert await listed(broker) == {}
        assert broker.leaderships.leader(TopicPartition("t", 0)).isr == (0,)


async def test_a_broker_that_is_not_the_controller_says_so_at_the_top(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        api = broker.reassignment_api
    said = (ErrorCode.NOT_CONTROLLER, "This is not the correct controller for this cluster.")
    altered = await api.alter(Call("AlterPartitionReassignments", 45, 0, 1, "t", alteration({"t": {0: [0]}}), 0))
    assert (altered.error_code, altered.error_message, altered.responses) == (*said, [])
    told = await api.list(Call("ListPartitionReassignments", 46, 0, 1, "t", List(), 0))
    assert (told.error_code, told.error_message, told.topics) == (*said, [])
