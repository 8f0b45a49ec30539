"""The ``.timeindex`` file."""

from __future__ import annotations

import pytest

from pykafka_broker.log.time_index import TimeIndex
from tests.doubles.memory_disk import MemoryDisk


@pytest.fixture
def index() -> TimeIndex:
    found = TimeIndex(MemoryDisk(), "00000000000000000100.timeindex", 100, 0, limit_bytes=60)
    found.add(5_000, 109)
    found.add(7_000, 120)
    return found


def test_only_a_greater_time_is_noted(index: TimeIndex) -> None:
    index.add(7_000, 130)
    index.add(6_000, 140)
    assert index.entries() == [(5_000, 109), (7_000, 120)]
    assert index.last == (7_000, 120)


def test_records_without_time_are_never_noted() -> None:
    index = TimeIndex(MemoryDisk(), "t", 100, 0, limit_bytes=60)
    index.add(-1, 109)
    assert index.entries() == []
    assert index.last == (-1, 100)


def test_a_search_begins_where_the_time_had_not_come_yet(index: TimeIndex) -> None:
    assert index.offset_before(4_999) == 100
    assert index.offset_before(5_000) == 109
    assert index.offset_before(9_000) == 120


def test_entries_are_relative_to_the_base_and_big_endian() -> None:
    disk = MemoryDisk()
    index = TimeIndex(disk, "t", 100, 0, limit_bytes=60)
    index.add(5_000, 109)
    index.flush()
    assert disk.read("t", 0, 100) == bytes.fromhex("0000000000001388 00000009")


def test_one_place_is_kept_free_for_the_last_entry(index: TimeIndex) -> None:
    index.add(8_000, 130)
    assert not index.is_full
    index.add(9_000, 131)
    assert index.is_full


def test_cutting_forgets_entries_that_name_the_offset_or_later(index: TimeIndex) -> None:
    index.truncate_to(120)
    assert index.entries() == [(5_000, 109)]
    assert index.last == (5_000, 109)
    index.clear()
    assert index.last == (-1, 100)
