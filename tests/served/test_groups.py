"""Groups of a whole broker: what they commit stays, and goes with the topic it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from pykafka_broker import Broker
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.wire import messages
from tests.served.conftest import RawClient, connected

RETRIED = {
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.LEADER_NOT_AVAILABLE,
}
FEW = {"offsets.topic.num.partitions": "1"}


async def create(client: RawClient, topic: str) -> None:
    request = messages.CreateTopicsRequest
    body = request(topics=[request.CreatableTopic(name=topic, num_partitions=1, replication_factor=1)], timeout_ms=5000)
    assert (await client.asks(7, body)).topics[0].error_code == 0


async def coordinated(client: RawClient) -> None:
    body = messages.FindCoordinatorRequest(coordinator_keys=["g"])
    with trio.fail_after(10):
        while (await client.asks(4, body)).coordinators[0].error_code in RETRIED:
            await trio.lowlevel.checkpoint()


async def commit(client: RawClient, topic: str, offset: int) -> None:
    request = messages.OffsetCommitRequest
    body = request(
        group_id="g",
        topics=[request.Topic(name=topic, partitions=[request.Partition(partition_index=0, committed_offset=offset)])],
    )
    with trio.fail_after(10):
        while True:
            code = (await client.asks(8, body)).topics[0].partitions[0].error_code
            if code not in RETRIED:
                break
    assert code == 0


async def committed(client: RawClient) -> dict[str, int]:
    body = messages.OffsetFetchRequest(groups=[messages.OffsetFetchRequest.Group(group_id="g", topics=None)])
    with trio.fail_after(10):
        while True:
            (group,) = (await client.asks(8, body)).groups
            if group.error_code not in RETRIED:
                break
    assert group.error_code == 0
    return {topic.name: topic.partitions[0].committed_offset for topic in group.topics}


async def test_committed_offsets_survive_a_restart(tmp_path: Path) -> None:
    async with Broker(FEW, data_dir=tmp_path) as broker, connected(broker) as client:
        await create(client, "orders")
        await coordinated(client)
        await commit(client, "orders", 42)
    async with Broker(FEW, data_dir=tmp_path) as broker, connected(broker) as client:
        await coordinated(client)
        assert await committed(client) == {"orders": 42}


async def test_offsets_go_with_the_topic_they_belong_to(broker: Broker, client: RawClient) -> None:
    for topic in ("orders", "payments"):
        await create(client, topic)
    await coordinated(client)
    await commit(client, "orders", 1)
    await commit(client, "payments", 2)
    body: Any = messages.DeleteTopicsRequest(
        topics=[messages.DeleteTopicsRequest.DeleteTopicState(name="orders")], timeout_ms=5000
    )
    assert (await client.asks(6, body)).responses[0].error_code == 0
    with trio.fail_after(10):
        while await committed(client) != {"payments": 2}:
            await trio.lowlevel.checkpoint()
