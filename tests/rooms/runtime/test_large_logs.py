"""Thousands of partitions and gigabytes of records: what opening and reading them costs.

The logs are real, but for their records' values, which are holes in sparse files.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from bench.sparse import Shape, fill
from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.partition import Isolation, PartitionLog
from pykafka_broker.model.names import TopicId, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import wall_clock
from pykafka_broker.runtime.log_keeper import LogKeeper
from pykafka_broker.store.meta import Meta

pytestmark = pytest.mark.slow

MINE = Meta(1, "cluster-a")
TOPIC = TopicId(UUID(int=7))
NEW = Millis(1_000_000)
EVER = TopicSettings(retention_ms=-1)


def keeper(path: Path) -> LogKeeper:
    return LogKeeper([path], wall_clock, BrokerSettings(), lambda _: EVER, Changes(), lambda _: None)


async def filled(path: Path, partitions: int, shape: Shape) -> None:
    """A log directory that was left in good order."""
    making = keeper(path)
    await making.open(MINE)
    for number in range(partitions):
        making.create(TopicPartition("large", number), TOPIC, EVER)
    await making.close()
    assert fill(path, "large", shape) == partitions


@contextmanager
def at_most(*, read_bytes: int, cpu_s: float) -> Iterator[None]:
    """What is done inside reads no more than that from files, and takes no more of the processor."""
    read_before, cpu_before = bytes_read(), time.process_time()
    yield
    assert bytes_read() - read_before <= read_bytes
    assert time.process_time() - cpu_before <= cpu_s


def bytes_read() -> int:
    """What this process has asked files for, whether they were in memory or not."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def values_from(log: PartitionLog, start: int, most: int) -> Iterator[tuple[int, int]]:
    """Offset and size of every answer to a consumer that reads from ``start`` on; nothing is kept of them."""
    offset = start
    while offset < log.high_watermark and most:
        found = log.read(offset, 1 << 20, isolation=Isolation.READ_COMMITTED)
        assert found.size_bytes > 0
        yield offset, found.size_bytes
        offset += 1
        most -= 1


async def test_two_thousand_partitions_with_ten_gigabytes_are_opened_within_three_seconds(tmp_path: Path) -> None:
    shape = Shape(segments=2, batches=10)
    await filled(tmp_path, 2_000, shape)
    assert shape.size_bytes * 2_000 > 10e9
    opening = keeper(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with at_most(read_bytes=2_000 * 16 * 1024, cpu_s=3.0):
        await opening.open(MINE)
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert {log.log_end_offset for log in opening.logs.values()} == {20}
    for log in opening.logs.values():
        log.advance_high_watermark(20)
        assert list(values_from(log, 11, 1)) == [(11, 4 * shape.batch_bytes)]
    # Nobody has written anything: a kill leaves no more to do than to look.
    for directory in opening._directories:
        directory.close()
    again = keeper(tmp_path)
    with at_most(read_bytes=2_000 * 48 * 1024, cpu_s=3.0):
        await again.open(MINE)
    assert {log.log_end_offset for log in again.logs.values()} == {20}
    assert {log.recovery_point for log in again.logs.values()} == {19}
    await again.close()


async def test_a_consumer_from_the_far_past_leaves_nothing_in_memory(tmp_path: Path) -> None:
    shape = Shape(segments=40, batches=250, batch_bytes=1 << 20)
    await filled(tmp_path, 1, shape)
    assert shape.size_bytes > 10e9
    opening = keeper(tmp_path)
    await opening.open(MINE)
    log = opening.logs[TopicPartition("large", 0)]
    log.advance_high_watermark(shape.records)
    written = [(offset, 1 << 20) for offset in range(shape.records)]
    before = len(os.listdir("/proc/self/fd"))
    tracemalloc.start()
    try:
        assert sum(1 for _ in values_from(log, 0, 10)) == 10
        base, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for expected, found in zip(written, values_from(log, 0, shape.records), strict=True):
            assert found == expected
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A kilobyte for each segment that was looked into, and an answer at a time.
    assert left - base < 64 * 1024
    assert peak - base < 512 * 1024
    assert len(os.listdir("/proc/self/fd")) <= before + 128
    await opening.close()
