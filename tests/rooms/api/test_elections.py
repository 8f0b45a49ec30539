"""ElectLeaders against the embedded house, and against controllers that take their time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from pykafka_broker.api.elections import ElectionApi
from pykafka_broker.control.ballots import ElectionType
from pykafka_broker.control.topics import NewTopic
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_BROKER, BrokerId, TopicPartition
from pykafka_broker.wire import messages
from pykafka_broker.zk import nodes
from tests.doubles.lone_broker import ME, LoneBroker, lone_broker
from tests.rooms.api.conftest import Partitions, call

Request = messages.ElectLeadersRequest
T0 = TopicPartition("t", 0)
NOT_NEEDED = (ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")


def body(kind: int, partitions: Mapping[str, list[int]] | None, timeout_ms: int = 5_000) -> Any:
    asked = (
        None if partitions is None else [Request.TopicPartitions(topic=t, partitions=p) for t, p in partitions.items()]
    )
    return Request(election_type=kind, topic_partitions=asked, timeout_ms=timeout_ms)


def results(response: Any, version: int = 2) -> dict[tuple[str, int], tuple[int, str | None]]:
    assert messages.encode(response, version)
    return {
        (topic.topic, one.partition_id): (one.error_code, one.error_message)
        for topic in response.replica_election_results
        for one in topic.partition_result
    }


async def elect(broker: LoneBroker, kind: int, partitions: Mapping[str, list[int]] | None, version: int = 2) -> Any:
    with trio.fail_after(5):
        return results(await broker.ask("ElectLeaders", version, body(kind, partitions)), version)


async def make(broker: LoneBroker, topic: str, partitions: int) -> None:
    await broker.topics.create(NewTopic(name=topic, partitions=partitions, replication_factor=1))
    await broker.led(topic, partitions)


@pytest.mark.parametrize("version", [0, 1, 2])
async def test_where_all_is_well_no_election_is_needed(tmp_path: Path, version: int) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t", 2)
        assert await elect(broker, 0, {"t": [0, 1, 1, 9], "ghost": [0]}, version) == {
            ("t", 0): NOT_NEEDED,
            ("t", 1): NOT_NEEDED,
            ("t", 9): (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist."),
            ("ghost", 0): (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist."),
        }
        assert await elect(broker, 0, None, version) == {}
        assert await elect(broker, 0, {}, version) == {}


async def test_an_unclean_election_gives_a_partition_a_leader_again(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        # What is left when the only replica in sync, broker 7, never comes back.
        path = nodes.topic_path("t")
        await broker.tree.create(path, b'{"version":1,"partitions":{"0":[7,0]}}')
        await broker.led("t")
        state = nodes.PartitionState.decode((await broker.tree.read(nodes.partition_state_path("t", 0))).data)
        lost = replace(state, leader=NO_BROKER, isr=(BrokerId(7),))
    async with lone_broker(tmp_path) as broker:
        await broker.tree.replace(nodes.partition_state_path("t", 0), lost.encode())
    async with lone_broker(tmp_path) as broker:
        await broker.metadata.wait_for(["t"], lambda: broker.metadata.topic("t") is not None)
        assert broker.metadata.partition(T0).leader == NO_BROKER  # type: ignore[union-attr]
        assert (await elect(broker, 0, None))["t", 0][0] == ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
        assert await elect(broker, 1, None) == {("t", 0): (ErrorCode.NONE, None)}
        assert broker.metadata.partition(T0).leader == ME  # type: ignore[union-attr]
        assert broker.leaderships.leader(T0).isr == (ME,)


async def test_an_unknown_kind_of_election_is_an_error_that_kafka_does_not_explain(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        response = await broker.ask("ElectLeaders", 1, body(7, {"t": [0]}))
        assert response.error_code == ErrorCode.UNKNOWN_SERVER_ERROR
        assert results(response, 1) == {("t", 0): (ErrorCode.UNKNOWN_SERVER_ERROR, None)}


class Controlled:
    """A controller that says what the test wants."""

    def __init__(self, verdict: BrokerId | KafkaError) -> None:
        self.verdict = verdict

    async def elect(
        self, kind: ElectionType, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, BrokerId | KafkaError]:
        if isinstance(self.verdict, KafkaError):
            raise self.verdict
        return dict.fromkeys(partitions, self.verdict)


async def asked(partitions: Partitions, verdict: BrokerId | KafkaError) -> Any:
    api = ElectionApi(Controlled(verdict), partitions.metadata)
    return await api.elect(call("ElectLeaders", 2, body(0, {"t": [0]}, 50)))


async def test_a_broker_that_is_not_the_controller_says_so_for_every_partition(partitions: Partitions) -> None:
    response = await asked(partitions, KafkaError(ErrorCode.NOT_CONTROLLER))
    assert response.error_code == ErrorCode.NONE
    assert results(response) == {("t", 0): (ErrorCode.NOT_CONTROLLER, None)}


async def test_a_leader_that_does_not_become_known_in_time(partitions: Partitions, autojump_clock: Any) -> None:
    partitions.leads("t", leader=0)
    assert results(await asked(partitions, BrokerId(0))) == {("t", 0): (ErrorCode.NONE, None)}
    assert results(await asked(partitions, BrokerId(4))) == {("t", 0): (ErrorCode.REQUEST_TIMED_OUT, None)}


async def test_a_leader_that_becomes_known_while_it_is_waited_for(partitions: Partitions, autojump_clock: Any) -> None:
    partitions.leads("t", leader=1)
    async with trio.open_nursery() as nursery:

        async def hear_of_it() -> None:
            await trio.sleep(0.02)
            partitions.leads("t", leader=4, epoch=1)

        nursery.start_soon(hear_of_it)
        assert results(await asked(partitions, BrokerId(4))) == {("t", 0): (ErrorCode.NONE, None)}
