"""A coordinator's memory in a partition; the same tests ask the double that stands in for it elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pykafka_broker.log.validation import Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import GROUP_METADATA_TOPIC, BrokerId, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.clock import trio_clock
from pykafka_broker.runtime.coordinator_log import PartitionMemory
from pykafka_broker.runtime.leaderships import Leadership
from pykafka_broker.runtime.shard import CoordinatorLog
from pykafka_broker.wire.batch import EndMarker, Record, build, build_end_marker
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.formats import headers
from pykafka_broker.wire.message_set import build_message_set
from tests.doubles.coordinator_memory import CoordinatorMemory
from tests.rooms.api.conftest import Partitions
from tests.rooms.api.conftest import partitions as partitions

TOPIC = GROUP_METADATA_TOPIC


def clock() -> Millis:
    return Millis(1_700_000_000_000)


def leadership(partitions: Partitions, **settings: Any) -> Leadership:
    partitions.leads(TOPIC, **settings)
    return partitions.leaderships.leader(TopicPartition(TOPIC, 0))


async def read(memory: CoordinatorLog) -> list[tuple[bytes, bytes | None]]:
    found: list[tuple[bytes, bytes | None]] = []
    await memory.replay(lambda key, value: found.append((bytes(key), None if value is None else bytes(value))))
    return found


@pytest.fixture(params=["partition", "double"])
def memory(request: pytest.FixtureRequest, partitions: Partitions) -> CoordinatorLog:
    if request.param == "double":
        return CoordinatorMemory()
    return PartitionMemory(leadership(partitions), clock)


async def test_nothing_is_remembered_at_first(memory: CoordinatorLog) -> None:
    assert await read(memory) == []


async def test_records_come_back_in_order_null_values_too(memory: CoordinatorLog) -> None:
    await memory.append([(b"a", b"1"), (b"b", None)])
    await memory.append([(b"a", b"2")])
    assert await read(memory) == [(b"a", b"1"), (b"b", None), (b"a", b"2")]


async def test_one_append_is_one_batch(partitions: Partitions) -> None:
    memory = PartitionMemory(leadership(partitions), clock, codec=Codec.GZIP)
    await memory.append([(b"a", b"1" * 500), (b"b", b"2" * 500)])
    log = partitions.log(TOPIC)
    assert (log.log_end_offset, log.high_watermark, log.size_bytes < 500) == (2, 2, True)
    assert await read(memory) == [(b"a", b"1" * 500), (b"b", b"2" * 500)]


async def test_more_than_a_batch_may_hold_is_cut(partitions: Partitions) -> None:
    memory = PartitionMemory(leadership(partitions, max_message_bytes=500), clock)
    await memory.append([(b"%d" % number, b"x" * 100) for number in range(10)])
    assert len(await read(memory)) == 10


async def test_a_long_log_is_read_a_buffer_at_a_time(partitions: Partitions) -> None:
    memory = PartitionMemory(leadership(partitions), clock, load_buffer_bytes=200)
    for number in range(50):
        await memory.append([(b"%d" % number, b"x" * 50)])
    assert [int(key) for key, _ in await read(memory)] == list(range(50))


async def test_others_run_while_a_buffer_full_of_records_is_applied(
    partitions: Partitions, nursery: trio.Nursery
) -> None:
    memory = PartitionMemory(leadership(partitions), clock)
    for number in range(20):
        await memory.append([(b"%d" % number, b"x" * 50_000)])
    seen: list[int] = []
    applied = 0

    def apply(key: bytes, value: bytes | None) -> None:
        nonlocal applied
        applied += 1

    async def look() -> None:
        while applied < 20:
            seen.append(applied)
            await trio.lowlevel.checkpoint()

    nursery.start_soon(look)
    await memory.replay(apply)
    gaps = [later - earlier for earlier, later in zip([0, *seen], [*seen, 20], strict=True)]
    assert max(gaps) <= 2, "somebody else's turn came with every batch"


async def test_what_is_not_replicated_in_time_is_uncertain(partitions: Partitions, autojump_clock: MockClock) -> None:
    led = leadership(partitions)
    led.followers.lead(
        Millis(0), BrokerId(0), (BrokerId(0), BrokerId(1)), (BrokerId(0), BrokerId(1)), 0, is_new_leader=True
    )
    with pytest.raises(KafkaError) as caught:
        await PartitionMemory(led, clock, commit_timeout_ms=5_000).append([(b"a", b"1")])
    assert caught.value.code == ErrorCode.REQUEST_TIMED_OUT


async def test_what_was_decided_in_an_earlier_term_is_not_written_in_a_later_one(partitions: Partitions) -> None:
    led = leadership(partitions)
    earlier = PartitionMemory(led, clock)
    partitions.leads(TOPIC, leader=1, epoch=1)
    partitions.leads(TOPIC, epoch=2)
    with pytest.raises(KafkaError) as caught:
        await earlier.append([(b"a", b"1")])
    assert caught.value.code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    now = PartitionMemory(led, clock)
    await now.append([(b"b", b"2")])
    assert await read(now) == [(b"b", b"2")]


async def test_an_append_waits_for_the_high_watermark(
    partitions: Partitions, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    led = leadership(partitions)
    led.followers.lead(
        Millis(0), BrokerId(0), (BrokerId(0), BrokerId(1)), (BrokerId(0), BrokerId(1)), 0, is_new_leader=True
    )

    async def follow() -> None:
        await trio.sleep(3)
        led.log.advance_high_watermark(1)
        led.changes.ring(led.partition)

    nursery.start_soon(follow)
    now = trio_clock(Millis(0))
    await PartitionMemory(led, clock).append([(b"a", b"1")])
    assert now() == 3_000


async def test_a_partition_that_another_leads_takes_nothing(partitions: Partitions) -> None:
    memory = PartitionMemory(leadership(partitions), clock)
    partitions.leads(TOPIC, leader=1, epoch=1)
    with pytest.raises(KafkaError) as caught:
        await memory.append([(b"a", b"1")])
    assert caught.value.code == ErrorCode.NOT_LEADER_OR_FOLLOWER


async def test_too_few_replicas_in_sync_take_nothing(partitions: Partitions) -> None:
    led = leadership(partitions, min_insync_replicas=2)
    led.replicas = (BrokerId(0), BrokerId(1))
    with pytest.raises(KafkaError) as caught:
        await PartitionMemory(led, clock).append([(b"a", b"1")])
    assert caught.value.code == ErrorCode.NOT_ENOUGH_REPLICAS


def transactional(led: Leadership, producer: int, key: bytes, value: bytes) -> None:
    batch = build(
        [Record(timestamp=clock(), key=key, value=value)],
        producer_id=producer,
        producer_epoch=0,
        base_sequence=-1,
        transactional=True,
    )
    led.append(clock(), batch, origin=Origin.COORDINATOR, api_version=11)


def ends(led: Leadership, producer: int, *, committed: bool) -> None:
    marker = build_end_marker(EndMarker(committed, 0), producer_id=producer, producer_epoch=0, timestamp=clock())
    led.append(clock(), marker, origin=Origin.COORDINATOR, api_version=11)


async def test_records_of_transactions_count_when_they_are_committed(partitions: Partitions) -> None:
    led = leadership(partitions)
    memory = PartitionMemory(led, clock)
    transactional(led, 1, b"a", b"aborted")
    transactional(led, 2, b"b", b"committed")
    transactional(led, 3, b"c", b"open")
    ends(led, 1, committed=False)
    ends(led, 2, committed=True)
    assert await read(memory) == [(b"b", b"committed")]


async def test_a_transaction_does_not_undo_what_was_written_after_its_record(partitions: Partitions) -> None:
    led = leadership(partitions)
    memory = PartitionMemory(led, clock)
    transactional(led, 1, b"a", b"older")
    transactional(led, 1, b"b", b"newest")
    await memory.append([(b"a", b"newer")])
    ends(led, 1, committed=True)
    assert dict(await read(memory)) == {b"a": b"newer", b"b": b"newest"}


async def test_batches_say_the_leaders_epoch(partitions: Partitions, tmp_path: Path) -> None:
    led = leadership(partitions, epoch=4)
    await PartitionMemory(led, clock).append([(b"a", b"1")])
    data = next((tmp_path / "data" / f"{TOPIC}-0").glob("*.log")).read_bytes()
    ((_, header),) = headers(data)
    assert (header.leader_epoch, header.producer_id) == (4, -1)


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP])
async def test_records_of_old_formats_count_like_others(partitions: Partitions, magic: int, codec: Codec) -> None:
    memory = PartitionMemory(leadership(partitions), clock)
    old = [Record(0, 1_000, b"a", b"1"), Record(1, 1_000, b"b", b"2"), Record(2, 1_000, b"a", None)]
    data = bytearray(build_message_set(old, magic, codec=codec))
    partitions.log(TOPIC).append(clock(), data, leader_epoch=-1, origin=Origin.REPLICATION)
    await memory.append([(b"c", b"3")])
    assert await read(memory) == [(b"a", b"1"), (b"b", b"2"), (b"a", None), (b"c", b"3")]
