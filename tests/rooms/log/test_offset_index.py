"""The ``.index`` file."""

from __future__ import annotations

import pytest

from pykafka_broker.log.offset_index import OffsetIndex
from tests.doubles.memory_disk import MemoryDisk


@pytest.fixture
def index() -> OffsetIndex:
    found = OffsetIndex(MemoryDisk(), "00000000000000000100.index", 100, 0, limit_bytes=47)
    for offset, position in ((109, 4_200), (115, 8_300), (140, 12_500)):
        found.add(offset, position)
    return found


def test_a_search_begins_at_the_batch_at_or_before_the_offset(index: OffsetIndex) -> None:
    assert index.position_of(100) == 0
    assert index.position_of(108) == 0
    assert index.position_of(109) == 4_200
    assert index.position_of(114) == 4_200
    assert index.position_of(10_000) == 12_500


def test_entries_are_relative_to_the_base_and_big_endian() -> None:
    disk = MemoryDisk()
    index = OffsetIndex(disk, "i", 100, 0, limit_bytes=80)
    index.add(109, 4_200)
    index.flush()
    assert disk.read("i", 0, 100) == bytes.fromhex("0000000900001068")


def test_the_index_tells_which_batch_comes_after_a_position(index: OffsetIndex) -> None:
    assert index.offset_after(0) == 109
    assert index.offset_after(4_200) == 109
    assert index.offset_after(4_201) == 115
    assert index.offset_after(12_501) is None


def test_it_is_full_at_a_whole_number_of_entries(index: OffsetIndex) -> None:
    assert not index.is_full
    index.add(150, 20_000)
    index.add(151, 30_000)
    assert index.is_full


def test_cutting_forgets_batches_that_end_at_the_offset_or_later(index: OffsetIndex) -> None:
    index.truncate_to(115, 8_000)
    assert index.entries() == [(109, 4_200)]
    assert index.last_offset == 109
    index.clear()
    assert len(index) == 0
    assert index.last_offset == 100
