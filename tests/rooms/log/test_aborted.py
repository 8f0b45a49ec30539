"""The ``.txnindex`` file."""

from __future__ import annotations

import pytest

from pykafka_broker.log.aborted import Aborted, AbortedIndex
from tests.doubles.memory_disk import MemoryDisk

FIRST, SECOND, THIRD = Aborted(1, 0, 10, 11), Aborted(2, 5, 20, 15), Aborted(3, 15, 30, 31)


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def index(disk: MemoryDisk) -> AbortedIndex:
    found = AbortedIndex(disk, "x", 0)
    for aborted in (FIRST, SECOND, THIRD):
        found.add(aborted)
    return found


def test_there_is_no_file_without_aborted_transactions(disk: MemoryDisk) -> None:
    assert AbortedIndex(disk, "x", 0).entries == []
    assert disk.sizes() == {}


def test_entries_are_kafkas_and_read_again(disk: MemoryDisk, index: AbortedIndex) -> None:
    assert disk.read("x", 0, 34) == bytes.fromhex(
        "0000 0000000000000001 0000000000000000 000000000000000a 000000000000000b"
    )
    assert AbortedIndex(disk, "x", disk.sizes()["x"]).entries == [FIRST, SECOND, THIRD]


def test_transactions_that_touch_what_is_read_are_found(index: AbortedIndex) -> None:
    assert index.between(0, 5) == ([FIRST], True)
    assert index.between(11, 15) == ([SECOND], True)
    assert index.between(11, 16) == ([SECOND, THIRD], True)
    assert index.between(25, 40) == ([THIRD], False)
    assert index.between(31, 40) == ([], False)


def test_markers_come_in_order(index: AbortedIndex) -> None:
    with pytest.raises(ValueError):
        index.add(Aborted(9, 25, 30, 31))


def test_cutting_forgets_markers_at_or_behind_the_offset(disk: MemoryDisk, index: AbortedIndex) -> None:
    index.truncate_to(20)
    assert index.entries == [FIRST]
    assert disk.sizes()["x"] == 34
    index.clear()
    assert disk.sizes() == {}


@pytest.mark.parametrize("damage", [b"\x00", b"\x00\x01" + bytes(32), bytes(68)])
def test_a_file_that_makes_no_sense_is_told(disk: MemoryDisk, damage: bytes) -> None:
    disk.append("x", damage)
    assert not AbortedIndex(disk, "x", len(damage)).is_sound()


def test_a_file_in_order_is_sound(index: AbortedIndex) -> None:
    assert index.is_sound()


def test_many_are_looked_up_in_the_file_and_not_held_in_memory(disk: MemoryDisk) -> None:
    index = AbortedIndex(disk, "x", 0)
    for number in range(1_000):
        index.add(Aborted(number, 10 * number, 10 * number + 9, 10 * number + 10))
    index = AbortedIndex(disk, "x", disk.sizes()["x"])
    reads: list[int] = []
    read = disk.read

    def counting(name: str, start: int, size: int) -> bytes:
        reads.append(size)
        return read(name, start, size)

    disk.read = counting  # type: ignore[method-assign]
    assert index.between(5_000, 5_015) == (
        [Aborted(500, 5_000, 5_009, 5_010), Aborted(501, 5_010, 5_019, 5_020)],
        True,
    )
    assert sum(reads) < 6_000
    index.truncate_to(9_000)
    assert disk.sizes()["x"] == 900 * 34
    index.add(Aborted(7, 9_001, 9_002, 9_003))
    assert index.between(8_995, 9_500)[0] == [Aborted(899, 8_990, 8_999, 9_000), Aborted(7, 9_001, 9_002, 9_003)]
    assert index.is_sound()
