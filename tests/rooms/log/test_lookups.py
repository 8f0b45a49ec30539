"""Offsets for times over several segments."""

from __future__ import annotations

import pytest

from pykafka_broker.log.lookups import (
    EARLIEST,
    LATEST,
    latest_record,
    record_at_or_after,
    segment_starts,
)
from pykafka_broker.log.segments import Segments
from pykafka_broker.model.time import Millis
from tests.doubles.memory_disk import MemoryDisk
from tests.doubles.sample_log import SampleLog, batch


@pytest.fixture
def sample() -> SampleLog:
    """Times 10, 90, 30, 90, 20, two records to a segment, each segment last written at its last offset in seconds."""
    found = SampleLog(segment_bytes=2 * len(batch(b"v")))
    found.disk = MemoryDisk(lambda: found.now)
    found.opened()
    for index, time in enumerate((10, 90, 30, 90, 20)):
        found.now = Millis(1_000 * index)
        found.append(b"v", time=time)
    return found


@pytest.fixture
def segments(sample: SampleLog) -> Segments:
    return sample.log.segments


@pytest.mark.parametrize("time, start, offset", [(0, 0, 0), (11, 0, 1), (11, 2, 2), (31, 2, 3), (20, 4, 4), (90, 0, 1)])
def test_the_first_late_enough_in_log_order_is_found(segments: Segments, time: int, start: int, offset: int) -> None:
    found = record_at_or_after(segments, time, start)
    assert found is not None
    assert found.offset == offset


@pytest.mark.parametrize("time, start", [(91, 0), (21, 4), (0, 5)])
def test_nothing_is_found_where_nothing_is_late_enough(segments: Segments, time: int, start: int) -> None:
    assert record_at_or_after(segments, time, start) is None


def test_of_several_records_with_the_greatest_time_the_first_is_the_latest(segments: Segments) -> None:
    found = latest_record(segments)
    assert found is not None
    assert (found.offset, found.timestamp) == (1, 90)


def test_there_is_no_latest_record_without_times() -> None:
    sample = SampleLog()
    sample.append(b"v", time=-1)
    assert latest_record(sample.log.segments) is None


@pytest.mark.parametrize(
    "time, limit, high_watermark, expected",
    [
        (LATEST, 9, 5, [5, 4, 2, 0]),
        (LATEST, 2, 5, [5, 4]),
        (LATEST, 2, 3, [3]),
        (LATEST, 9, 3, [3, 2, 0]),
        (LATEST, 1, None, [5]),
        (EARLIEST, 9, 5, [0]),
        (3_500, 9, 5, [2, 0]),
        (999, 9, 5, []),
        (LATEST, 0, 5, []),
    ],
)
def test_the_oldest_clients_are_told_beginnings_of_segments(
    segments: Segments, time: int, limit: int, high_watermark: int | None, expected: list[int]
) -> None:
    found = segment_starts(
        segments, Millis(9_000), time, limit, log_start_offset=0, log_end_offset=5, high_watermark=high_watermark
    )
    assert found == expected
