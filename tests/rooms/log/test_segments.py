"""The order of segments: which of them a reader is given, and what becomes of their files."""

from __future__ import annotations

import pytest

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.segments import Segments, create_segment
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import Record, build
from tests.doubles.memory_disk import MemoryDisk

SETTINGS = TopicSettings()
SIZE = len(build([Record(value=b"v")]))


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def segments(disk: MemoryDisk) -> Segments:
    """Offsets 0-2, 5-6 (3 and 4 are a hole), 10 in three segments."""
    found = Segments(disk, [create_segment(disk, 0, SETTINGS, Millis(0))])
    for base, offsets in ((0, (0, 1, 2)), (5, (5, 6)), (10, (10,))):
        if base:
            found.roll(base, SETTINGS, Millis(0))
        for offset in offsets:
            batch = build([Record(value=b"v")], base_offset=offset)
            found.remember(offset, found.active.append(batch, offset, -1))
    return found


def located(segments: Segments, start: int, limit: int, max_bytes: int = 9_999) -> tuple[int, int, int] | None:
    found = segments.locate(start, limit, 11, max_bytes, True)
    return None if found is None else (found[0].base_offset, found[1] // SIZE, found[2] // SIZE)


def test_one_segment_is_given_at_a_time(segments: Segments) -> None:
    assert located(segments, 0, 11) == (0, 0, 3)
    assert located(segments, 1, 11) == (0, 1, 2)
    assert located(segments, 5, 11) == (5, 0, 2)
    assert located(segments, 10, 11) == (10, 0, 1)


def test_a_hole_is_passed_over(segments: Segments) -> None:
    assert located(segments, 3, 11) == (5, 0, 2)
    assert located(segments, 8, 11) == (10, 0, 1)


def test_nothing_at_or_beyond_the_limit_is_given(segments: Segments) -> None:
    assert located(segments, 0, 2) == (0, 0, 2)
    assert located(segments, 5, 6) == (5, 0, 1)
    assert located(segments, 3, 5) is None
    assert located(segments, 7, 10) is None


def test_segments_from_an_offset_on(segments: Segments) -> None:
    assert [segment.base_offset for segment in segments.holding(6)] == [5, 10]
    assert [segment.base_offset for segment in segments.holding(-1)] == [0, 5, 10]


def test_deleted_segments_are_renamed_then_removed(disk: MemoryDisk, segments: Segments) -> None:
    gone = segments.delete_first(2, due_ms=500)
    assert [segment.base_offset for segment in gone] == [0, 5]
    assert list(segments.bases) == [10]
    assert sum(name.endswith(".deleted") for name in disk.sizes()) == 6
    segments.reap(Millis(499))
    assert segments.next_reap_ms == 500
    segments.reap(Millis(500))
    assert segments.next_reap_ms is None
    assert len(disk.sizes()) == 3


def test_cutting_removes_whole_segments_first(disk: MemoryDisk, segments: Segments) -> None:
    assert segments.cut(6) == 2 * SIZE
    assert list(segments.bases) == [0, 5]
    assert segments.active.base_offset == 5
    assert segments.size_bytes == 4 * SIZE
    assert len(disk.sizes()) == 6


def test_beginning_anew_leaves_one_empty_segment(disk: MemoryDisk, segments: Segments) -> None:
    segments.restart(77, SETTINGS, Millis(0))
    assert list(segments.bases) == [77]
    assert segments.size_bytes == 0
    assert len(disk.sizes()) == 3


def test_a_position_is_remembered_for_the_latest_batches_only(disk: MemoryDisk) -> None:
    segments = Segments(disk, [create_segment(disk, 0, SETTINGS, Millis(0))])
    for offset in range(200):
        batch = build([Record(value=b"v")], base_offset=offset)
        segments.remember(offset, segments.active.append(batch, offset, -1))
    for start in (0, 100, 199):
        found = segments.locate(start, 200, 200, 1, True)
        assert found is not None
        assert found[1:] == (start * SIZE, SIZE)
