"""The metadata cache, fed by UpdateMetadata."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import trio
from trio.testing import wait_all_tasks_blocked

from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import NO_TOPIC_ID, BrokerId, TopicId, TopicPartition
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.metadata import BROKERS, Address, Metadata
from pykafka_broker.wire import messages

ID = TopicId(UUID(int=7))
T0 = TopicPartition("t", 0)


def cache() -> Metadata:
    return Metadata(BrokerId(0), Changes())


def live(*brokers: int) -> list[Any]:
    request = messages.UpdateMetadataRequest
    return [
        request.Broker(
            id=broker, endpoints=[request.Endpoint(port=9092, host=f"host{broker}", listener="PLAINTEXT")], rack="r"
        )
        for broker in brokers
    ]


def part(index: int, leader: int, epoch: int = 0) -> Any:
    return messages.UpdateMetadataRequest.PartitionState(
        partition_index=index, leader=leader, leader_epoch=epoch, isr=[leader], replicas=[leader, 5]
    )


def update(*parts: Any, topic: str = "t", topic_id: UUID = ID, brokers: Any = (0, 1), epoch: int = 1) -> Any:
    request = messages.UpdateMetadataRequest
    topics = [request.TopicState(topic_name=topic, topic_id=topic_id, partition_states=list(parts))] if parts else []
    return request(controller_id=1, controller_epoch=epoch, topic_states=topics, live_brokers=live(*brokers))


def test_what_was_told_is_found_by_name_id_and_partition() -> None:
    metadata = cache()
    assert not metadata.is_filled
    assert metadata.update(update(part(1, 0), part(0, 1, epoch=3))) == (ErrorCode.NONE, [])
    assert metadata.is_filled
    assert metadata.topic_name(ID) == "t"
    assert metadata.topic_id("t") == ID
    found = metadata.partition(T0)
    assert found is not None
    assert (found.leader, found.leader_epoch, found.isr, found.replicas) == (1, 3, (1,), (1, 5))
    assert list(metadata.topics["t"].partitions) == [0, 1]
    assert metadata.controller_id == 1
    assert metadata.address(BrokerId(1), "PLAINTEXT") == Address("host1", 9092, 0)
    assert metadata.address(BrokerId(1), "OTHER") is None
    assert metadata.brokers[BrokerId(1)].rack == "r"


def test_partitions_are_merged_and_brokers_replaced() -> None:
    metadata = cache()
    metadata.update(update(part(0, 0)))
    metadata.update(update(part(1, 1), brokers=(1,)))
    assert list(metadata.topics["t"].partitions) == [0, 1]
    assert list(metadata.brokers) == [1]
    assert not metadata.has_leaders("t", [0])
    assert metadata.has_leaders("t", [1])
    assert not metadata.has_leaders("t", [2])
    assert not metadata.has_leaders("other", [])


def test_the_leader_minus_two_removes_a_partition_and_the_last_one_its_topic() -> None:
    metadata = cache()
    metadata.update(update(part(0, 0), part(1, 0)))
    assert metadata.update(update(part(1, -2)))[1] == [TopicPartition("t", 1)]
    assert list(metadata.topics["t"].partitions) == [0]
    assert metadata.update(update(part(0, -2)))[1] == [T0]
    assert metadata.topic("t") is None
    assert metadata.topic_name(ID) is None
    assert metadata.topic_id("t") == NO_TOPIC_ID


def test_a_broker_behind_a_protocol_that_there_is_not_is_not_believed_in() -> None:
    metadata = cache()
    request = update(part(0, 0), epoch=3)
    known = dict(metadata.brokers)
    endpoint = messages.UpdateMetadataRequest.Endpoint(host="h", port=1, security_protocol=-1)
    request.live_brokers = [messages.UpdateMetadataRequest.Broker(id=9, endpoints=[endpoint])]
    assert metadata.update(request) == (ErrorCode.INVALID_REQUEST, [])
    assert metadata.brokers == known
    assert metadata.topic("t") is None
    assert metadata.update(update(part(0, 1), epoch=2)) == (ErrorCode.NONE, [])


def test_a_controller_whose_time_is_over_is_not_believed() -> None:
    metadata = cache()
    metadata.update(update(part(0, 0), epoch=3))
    assert metadata.update(update(part(0, 1), epoch=2)) == (ErrorCode.STALE_CONTROLLER_EPOCH, [])
    found = metadata.partition(T0)
    assert found is not None
    assert found.leader == 0


def test_a_topic_with_another_id_replaces_the_earlier_one() -> None:
    metadata = cache()
    metadata.update(update(part(0, 0), part(1, 0)))
    metadata.update(update(part(0, 0), topic_id=UUID(int=8)))
    assert list(metadata.topics["t"].partitions) == [0]
    assert metadata.topic_name(ID) is None
    assert metadata.topic_id("t") == UUID(int=8)


def test_an_old_controllers_update_without_topics_and_ids_is_understood() -> None:
    metadata = cache()
    state = part(0, 0)
    state.topic_name = "t"
    request = messages.UpdateMetadataRequest(controller_epoch=1, ungrouped_partition_states=[state])
    assert metadata.update(request)[0] == ErrorCode.NONE
    assert metadata.partition(T0) is not None


def test_what_was_derived_is_kept_until_topic_or_brokers_change() -> None:
    metadata = cache()
    made: list[str] = []

    def make(topic: Any) -> int:
        made.append(topic.name)
        return len(made)

    metadata.update(update(part(0, 0)))
    assert metadata.derived("nope", "key", make) is None
    assert [metadata.derived("t", "key", make) for _ in range(3)] == [1, 1, 1]
    metadata.update(update(part(0, 0), topic="other", topic_id=UUID(int=9)))
    assert metadata.derived("t", "key", make) == 1
    metadata.update(update(part(1, 0)))
    assert metadata.derived("t", "key", make) == 2
    metadata.update(update(brokers=(0,)))
    assert metadata.derived("t", "key", make) == 3


async def test_changes_ring_the_topic_and_the_brokers() -> None:
    metadata = cache()
    heard: list[str] = []

    async def listen(name: str, key: Any) -> None:
        await metadata.changes.wait([key])
        heard.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, "topic", "t")
        nursery.start_soon(listen, "brokers", BROKERS)
        await wait_all_tasks_blocked()
        metadata.update(update())
        await wait_all_tasks_blocked()
        assert heard == ["brokers"]
        metadata.update(update(part(0, 0)))
    assert heard == ["brokers", "topic"]


async def test_one_can_wait_for_what_an_update_brings() -> None:
    metadata = cache()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(metadata.wait_for, ["t"], lambda: metadata.has_leaders("t", [0, 1]))
        await wait_all_tasks_blocked()
        metadata.update(update(part(0, 0)))
        await wait_all_tasks_blocked()
        metadata.update(update(part(1, 0)))
