"""Files of sorted entries."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.log.entry_file import EntryFile
from tests.doubles.memory_disk import MemoryDisk

ENTRY = Struct(">ii")


def entries(disk: MemoryDisk) -> EntryFile:
    return EntryFile(disk, "x.index", ENTRY, disk.sizes().get("x.index", 0))


def test_entries_wait_in_memory_until_they_are_flushed() -> None:
    disk = MemoryDisk()
    file = entries(disk)
    file.append(1, 100)
    assert disk.sizes() == {}
    assert len(file) == 1
    assert file.entry(0) == (1, 100)
    file.flush()
    assert disk.read("x.index", 0, 100) == ENTRY.pack(1, 100)
    assert file.entry(0) == (1, 100)


def test_many_entries_are_written_without_being_asked() -> None:
    disk = MemoryDisk()
    file = entries(disk)
    for index in range(600):
        file.append(index, index)
    assert disk.sizes()["x.index"] == 512 * ENTRY.size
    assert file.entry(599) == (599, 599)


def test_a_file_without_entries_can_be_made() -> None:
    disk = MemoryDisk()
    entries(disk).create()
    assert disk.sizes() == {"x.index": 0}


@given(
    keys=st.lists(st.integers(0, 3_000), unique=True, max_size=1_500).map(sorted),
    flushed=st.integers(0, 1_500),
    targets=st.lists(st.integers(-1, 3_001), min_size=1, max_size=10),
)
def test_the_last_entry_at_most_as_great_is_found(keys: list[int], flushed: int, targets: list[int]) -> None:
    file = entries(MemoryDisk())
    for index, key in enumerate(keys):
        file.append(key, index)
        if index == flushed:
            file.flush()
    for target in targets:
        found = bisect_right(keys, target) - 1
        assert file.last_at_most(target) == found
        assert file.value_at(target) == max(found, 0)


@given(
    values=st.lists(st.integers(0, 3_000), unique=True, max_size=700).map(sorted),
    flushed=st.integers(0, 700),
    wanted=st.integers(-1, 3_001),
)
def test_the_first_entry_with_as_great_a_value_is_found(values: list[int], flushed: int, wanted: int) -> None:
    file = entries(MemoryDisk())
    for index, value in enumerate(values):
        file.append(index, value)
        if index == flushed:
            file.flush()
    assert file.first_from(wanted) == bisect_left(values, wanted)


@given(count=st.integers(0, 700), flushed=st.integers(0, 700), kept=st.integers(0, 700))
def test_cutting_keeps_the_first_entries_wherever_they_are(count: int, flushed: int, kept: int) -> None:
    disk = MemoryDisk()
    file = entries(disk)
    for index in range(count):
        file.append(index, -index)
        if index == flushed:
            file.flush()
    kept = min(kept, count)
    file.truncate(kept)
    file.append(9_999, 1)
    file.flush()
    again = entries(disk)
    assert [again.entry(index) for index in range(len(again))] == [
        *((index, -index) for index in range(kept)),
        (9_999, 1),
    ]


@pytest.mark.parametrize("cut", [False, True])
def test_part_of_an_entry_at_the_end_goes_with_the_first_change(cut: bool) -> None:
    disk = MemoryDisk()
    disk.append("x.index", ENTRY.pack(1, 10) + b"torn")
    file = entries(disk)
    assert len(file) == 1
    if cut:
        file.truncate(1)
    file.append(2, 20)
    file.flush()
    assert disk.read("x.index", 0, 99) == ENTRY.pack(1, 10) + ENTRY.pack(2, 20)
