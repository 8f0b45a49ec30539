"""Where a partition begins and ends: ListOffsets, OffsetForLeaderEpoch, DeleteRecords."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from pykafka_broker.api.offsets import OffsetApi
from pykafka_broker.log.partition import Origin
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.runtime.leaderships import Leadership
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import close_call
from tests.rooms.api.conftest import Partitions, batch, call

START = 1_700_000_000_000


@pytest.fixture
def api(partitions: Partitions) -> OffsetApi:
    """Topic ``orders`` has five records, a second apart, each in a batch of its own."""
    partitions.leads("orders")
    leadership = partitions.leaderships.leader(TopicPartition("orders", 0))
    for second in range(5):
        leadership.append(
            partitions.now, batch(b"x", timestamp=START + second * 1000), origin=Origin.CLIENT, api_version=9
        )
    return OffsetApi(partitions.leaderships, partitions.changes, partitions.clock)


async def listed(api: OffsetApi, *timestamps: int, version: int = 9, topic: str = "orders", epoch: int = -1) -> Any:
    request = messages.ListOffsetsRequest
    body = request(
        replica_id=BrokerId(-1),
        topics=[
            request.Topic(
                name=topic,
                partitions=[
                    request.Partition(
                        partition_index=0, timestamp=timestamp, current_leader_epoch=epoch, max_num_offsets=10
                    )
                    for timestamp in timestamps
                ],
            )
        ],
    )
    response = await api.list_offsets(call("ListOffsets", version, body))
    return response.topics[0].partitions[0]


@pytest.mark.parametrize(
    "timestamp, offset, found",
    [
        (-1, 5, -1),
        (-2, 0, -1),
        (-3, 4, START + 4000),
        (-4, 0, -1),
        (-5, -1, -1),
        (0, 0, START),
        (START + 1000, 1, START + 1000),
        (START + 1001, 2, START + 2000),
        (START + 4000, 4, START + 4000),
        (START + 4001, -1, -1),
    ],
)
async def test_every_kind_of_time_finds_its_offset(api: OffsetApi, timestamp: int, offset: int, found: int) -> None:
    answer = await listed(api, timestamp)
    assert (answer.error_code, answer.offset, answer.timestamp) == (0, offset, found)


@pytest.mark.parametrize("timestamp, since", [(-3, 7), (-4, 8), (-5, 9), (-6, 10)])
async def test_a_special_time_is_refused_before_its_version(api: OffsetApi, timestamp: int, since: int) -> None:
    for version in range(1, 10):
        answer = await listed(api, timestamp, version=version)
        assert (answer.error_code == ErrorCode.UNSUPPORTED_VERSION) is (version < since)


@pytest.mark.parametrize(
    "timestamp, committed, offset",
    [(-2, 0, 0), (-4, 0, 0), (START, 1, 0), (START + 1000, 1, None), (-3, 5, 4), (-3, 2, None), (-1, 4, None)],
)
async def test_a_new_leader_tells_only_what_it_knows_to_be_committed(
    api: OffsetApi, partitions: Partitions, timestamp: int, committed: int, offset: int | None
) -> None:
    leader = partitions.leaderships.leader(TopicPartition("orders", 0))
    leader.append(partitions.now, batch(b"early", timestamp=START), origin=Origin.CLIENT, api_version=9)
    partitions.log("orders").high_watermark = committed
    partitions.leads("orders", epoch=1, followers=(3,), in_sync=(0, 3))
    assert not leader.is_settled
    for version, refusal in ((4, ErrorCode.LEADER_NOT_AVAILABLE), (9, ErrorCode.OFFSET_NOT_AVAILABLE)):
        if timestamp in (-3, -4) and version < 9:
            continue
        answer = await listed(api, timestamp, version=version)
        assert (answer.error_code, answer.offset) == ((0, offset) if offset is not None else (refusal, -1))


async def test_a_partition_asked_twice_is_refused(api: OffsetApi) -> None:
    assert (await listed(api, -1, -2)).error_code == ErrorCode.INVALID_REQUEST


async def test_the_oldest_version_lists_where_segments_begin(api: OffsetApi) -> None:
    assert (await listed(api, -1, version=0)).old_style_offsets == [5, 0]
    assert (await listed(api, -2, version=0)).old_style_offsets == [0]


async def test_an_unknown_partition_and_a_wrong_epoch_are_refused(api: OffsetApi) -> None:
    assert (await listed(api, -1, topic="nowhere")).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert (await listed(api, -1, epoch=7)).error_code == ErrorCode.UNKNOWN_LEADER_EPOCH


async def ends(api: OffsetApi, epoch: int) -> tuple[int, int, int]:
    request = messages.OffsetForLeaderEpochRequest
    body = request(
        topics=[
            request.OffsetForLeaderTopic(
                topic="orders", partitions=[request.OffsetForLeaderPartition(partition=0, leader_epoch=epoch)]
            )
        ]
    )
    response = await api.offset_for_leader_epoch(call("OffsetForLeaderEpoch", 4, body))
    answer = response.topics[0].partitions[0]
    return answer.error_code, answer.leader_epoch, answer.end_offset


async def test_an_epoch_ends_where_the_next_begins(api: OffsetApi, partitions: Partitions) -> None:
    assert await ends(api, 0) == (0, 0, 5)
    partitions.leads("orders", epoch=3)
    partitions.leaderships.leader(TopicPartition("orders", 0)).append(
        partitions.now, batch(b"y"), origin=Origin.CLIENT, api_version=9
    )
    assert await ends(api, 0) == (0, 0, 5)
    assert await ends(api, 2) == (0, 0, 5)
    assert await ends(api, 3) == (0, 3, 6)


async def deleted(api: OffsetApi, offset: int, topic: str = "orders") -> tuple[int, int]:
    request = messages.DeleteRecordsRequest
    body = request(
        timeout_ms=1000,
        topics=[request.Topic(name=topic, partitions=[request.Partition(partition_index=0, offset=offset)])],
    )
    answer = (await api.delete_records(call("DeleteRecords", 2, body))).topics[0].partitions[0]
    return answer.error_code, answer.low_watermark


FOLLOWER = BrokerId(1)


def followed(partitions: Partitions) -> Leadership:
    """``orders`` has a live follower that has all records from the first on."""
    update = messages.UpdateMetadataRequest
    endpoints = [update.Endpoint(port=9092, host="localhost", listener="PLAINTEXT")]
    partitions.metadata.update(update(live_brokers=[update.Broker(id=one, endpoints=endpoints) for one in (0, 1)]))
    leadership = partitions.leaderships.leader(TopicPartition("orders", 0))
    both = (BrokerId(0), FOLLOWER)
    leadership.followers.lead(partitions.now, BrokerId(0), both, both, 5, is_new_leader=True)
    leadership.fetched(FOLLOWER, 5, 0)
    return leadership


async def test_records_are_deleted_up_to_an_offset(api: OffsetApi) -> None:
    assert await deleted(api, 2) == (0, 2)
    assert (await listed(api, -2)).offset == 2
    assert await deleted(api, 1) == (0, 2)
    assert await deleted(api, -1) == (0, 5)


async def test_records_are_deleted_when_the_last_replica_has_done_so(
    api: OffsetApi, partitions: Partitions, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    leadership = followed(partitions)
    assert await deleted(api, 2) == (ErrorCode.REQUEST_TIMED_OUT, -1)

    async def follow() -> None:
        await trio.sleep(0.5)
        leadership.fetched(FOLLOWER, 5, 3)

    nursery.start_soon(follow)
    assert await deleted(api, 3) == (0, 3)


async def test_a_leader_deposed_while_records_are_deleted_does_not_know_that_they_are(
    api: OffsetApi, partitions: Partitions, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    followed(partitions)

    async def depose() -> None:
        await trio.sleep(0.5)
        partitions.leads("orders", leader=1, epoch=1)

    nursery.start_soon(depose)
    assert await deleted(api, 2) == (ErrorCode.NOT_LEADER_OR_FOLLOWER, -1)


@pytest.mark.parametrize("offset", [6, -2])
async def test_what_is_beyond_the_end_cannot_be_deleted(api: OffsetApi, offset: int) -> None:
    assert await deleted(api, offset) == (ErrorCode.OFFSET_OUT_OF_RANGE, -1)


async def test_a_compacted_topic_keeps_its_records(api: OffsetApi, partitions: Partitions) -> None:
    partitions.leads("compacted", cleanup_policy=("compact",))
    assert await deleted(api, 0, "compacted") == (ErrorCode.POLICY_VIOLATION, -1)


async def test_an_unknown_partition_has_nothing_to_delete(
    api: OffsetApi, autojump_clock: trio.testing.MockClock
) -> None:
    assert await deleted(api, 0, "nowhere") == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1)


async def test_refusals_can_be_told_in_every_version(api: OffsetApi) -> None:
    bodies = {
        "ListOffsets": messages.ListOffsetsRequest,
        "OffsetForLeaderEpoch": messages.OffsetForLeaderEpochRequest,
        "DeleteRecords": messages.DeleteRecordsRequest,
    }
    for route in api.routes():
        low, high = map(int, route.serves.split("-"))
        for version in range(low, high + 1):
            one = call(route.api, version, bodies[route.api]())
            one.key = {"ListOffsets": 2, "OffsetForLeaderEpoch": 23, "DeleteRecords": 21}[route.api]
            assert close_call(one, route.refuse(one, ErrorCode.UNKNOWN_SERVER_ERROR, None))
