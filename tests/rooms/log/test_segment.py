"""One segment: appending, finding, recovering, cutting."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pykafka_broker.log.segment import Segment, walk
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import BatchHeader, CorruptBatch, Record, TruncatedBatch, build, read_header
from tests.doubles.memory_disk import MemoryDisk

BASE = 100


def made(disk: MemoryDisk, interval: int = 200) -> Segment:
    return Segment.create(disk, BASE, created_ms=Millis(0), index_interval_bytes=interval, index_limit_bytes=800)


def reopened(disk: MemoryDisk, interval: int = 200) -> Segment:
    return Segment(disk, BASE, disk.sizes(), created_ms=Millis(0), index_interval_bytes=interval, index_limit_bytes=800)


def fill(segment: Segment, count: int, *, start: int = BASE, records: int = 2, time: int = 1_000) -> None:
    """Append ``count`` batches whose times grow by ten."""
    for index in range(count):
        offset = start + index * records
        batch = build([Record(timestamp=time + index * 10, value=b"v" * 20)] * records, base_offset=offset)
        segment.append(batch, offset + records - 1, time + index * 10)


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def segment(disk: MemoryDisk) -> Segment:
    found = made(disk)
    fill(found, 20)
    return found


def test_its_files_are_there_from_the_beginning(disk: MemoryDisk) -> None:
    made(disk)
    assert sorted(disk.sizes()) == [f"{BASE:020d}{suffix}" for suffix in (".index", ".log", ".timeindex")]


def test_the_first_batch_has_no_entry_and_later_ones_one_for_each_interval(segment: Segment) -> None:
    size = segment.size_bytes // 20
    step = 200 // size + 1
    entries = segment.index.entries()
    assert entries[0] == (BASE + 2 * step + 1, step * size)
    assert len(entries) == (20 - 1) // step
    assert segment.times.entries()[0] == (1_000 + 10 * step, BASE + 2 * step + 1)


def test_every_offset_is_found_in_its_batch(segment: Segment) -> None:
    for offset in range(BASE, BASE + 40):
        found = segment.find(offset)
        assert found is not None
        position, header = found
        assert header.base_offset <= offset <= header.last_offset
        assert segment.batch_at(position) == header
    assert segment.find(BASE + 40) is None


def test_a_time_is_found_at_its_first_record(segment: Segment) -> None:
    for time, offset in ((0, BASE), (1_000, BASE), (1_001, BASE + 2), (1_095, BASE + 20), (1_190, BASE + 38)):
        found = segment.find_time(time, 0)
        assert found is not None
        assert found.offset == offset
    assert segment.find_time(1_191, 0) is None
    behind = segment.find_time(0, BASE + 13)
    assert behind is not None
    assert behind.offset == BASE + 13


def test_the_latest_record_is_the_first_with_the_greatest_time(disk: MemoryDisk) -> None:
    segment = made(disk)
    assert segment.latest_record() is None
    times = [5, 90, 30, 90]
    for index, time in enumerate(times):
        segment.append(build([Record(timestamp=time)], base_offset=BASE + index), BASE + index, time)
    found = segment.latest_record()
    assert found is not None
    assert (found.offset, found.timestamp) == (BASE + 1, 90)
    assert segment.max_timestamp == (90, BASE + 1)


def test_its_end_is_found_again(disk: MemoryDisk, segment: Segment) -> None:
    assert segment.end_offset() == BASE + 40
    segment.seal()
    assert reopened(disk).end_offset() == BASE + 40
    assert reopened(disk).max_timestamp == (1_190, BASE + 39)
    assert made(MemoryDisk()).end_offset() == BASE


def test_age_is_told_by_the_first_batch(disk: MemoryDisk, segment: Segment) -> None:
    assert segment.first_timestamp() == 1_000
    assert reopened(disk).first_timestamp() == 1_000
    assert made(MemoryDisk()).first_timestamp() == -1


def test_retention_looks_at_the_file_where_records_have_no_time() -> None:
    disk = MemoryDisk(lambda: 7_777)
    segment = made(disk)
    segment.append(build([Record(value=b"v")], base_offset=BASE), BASE, -1)
    assert segment.largest_timestamp() == 7_777
    fill(segment, 1, start=BASE + 1)
    assert segment.largest_timestamp() == 1_000


def test_offsets_that_an_index_cannot_hold_have_no_room(segment: Segment) -> None:
    assert segment.has_room_for(BASE + 2**31 - 1)
    assert not segment.has_room_for(BASE + 2**31)


@pytest.mark.parametrize("cut", [1, 30, 61, 70])
def test_a_torn_tail_is_cut_off_and_the_rest_is_kept(disk: MemoryDisk, segment: Segment, cut: int) -> None:
    whole = segment.size_bytes // 20
    disk.truncate(segment.name, segment.size_bytes - cut)
    torn = reopened(disk)
    seen: list[BatchHeader] = []
    end, gone = torn.recover(lambda header, _: not seen.append(header))
    assert end == BASE + 38
    assert gone == whole - cut
    assert len(seen) == 19
    assert disk.sizes()[segment.name] == 19 * whole


def test_recovery_makes_the_same_indexes_again(disk: MemoryDisk, segment: Segment) -> None:
    segment.seal()
    before = segment.index.entries(), segment.times.entries()
    disk.truncate(segment.index.name, 0)
    disk.append(segment.index.name, bytes(400))
    disk.remove(segment.times.name)
    again = reopened(disk)
    assert again.recover(lambda *_: True) == (BASE + 40, 0)
    assert (again.index.entries(), again.times.entries()) == before
    assert {again.index.name, again.times.name} <= set(disk.sizes())


@pytest.mark.parametrize("at", [0, 8, 16, 17, 23, 60, 75])
def test_a_changed_byte_ends_the_log_there(disk: MemoryDisk, segment: Segment, at: int) -> None:
    whole = segment.size_bytes // 20
    disk.files[segment.name][10 * whole + at] ^= 0x40
    end, gone = reopened(disk).recover(lambda *_: True)
    assert end == BASE + 20
    assert gone == 10 * whole


def test_batches_larger_than_a_portion_are_recovered_whole(disk: MemoryDisk) -> None:
    segment = made(disk)
    for index in range(3):
        batch = build([Record(value=b"x" * 1_500_000)], base_offset=BASE + index)
        segment.append(batch, BASE + index, -1)
    assert reopened(disk).recover(lambda *_: True) == (BASE + 3, 0)
    assert [header.base_offset for _, header in segment.batches(BASE)] == [BASE, BASE + 1, BASE + 2]


def test_cutting_takes_the_batch_that_holds_the_offset(disk: MemoryDisk, segment: Segment) -> None:
    whole = segment.size_bytes // 20
    assert segment.truncate_to(BASE + 21) == 10 * whole
    assert segment.end_offset() == BASE + 20
    assert segment.max_timestamp == (1_090, BASE + 19)
    fill(segment, 5, start=BASE + 20, time=500)
    assert segment.end_offset() == BASE + 30
    assert [header.base_offset for _, header in segment.batches(0)] == list(range(BASE, BASE + 30, 2))
    assert segment.truncate_to(BASE + 99) == 0


def test_walking_tells_nonsense_from_a_cut(disk: MemoryDisk, segment: Segment) -> None:
    size = disk.sizes()[segment.name]
    with pytest.raises(TruncatedBatch):
        list(walk(disk, segment.name, 0, size - 1))
    with pytest.raises(TruncatedBatch):
        list(walk(disk, segment.name, size - 20, size))
    with pytest.raises(CorruptBatch):
        list(walk(disk, segment.name, 1, size))


def test_headers_are_read_without_their_records(disk: MemoryDisk) -> None:
    segment = made(disk)
    for index in range(10):
        segment.append(build([Record(value=b"x" * 100_000)], base_offset=BASE + index), BASE + index, -1)
    read_bytes = 0
    read = disk.read

    def counting(name: str, start: int, size: int) -> bytes:
        nonlocal read_bytes
        read_bytes += size
        return read(name, start, size)

    disk.read = counting  # type: ignore[method-assign]
    assert len(list(walk(disk, segment.name, 0, segment.size_bytes))) == 10
    assert read_bytes <= 10 * 8_192
    assert read_header(read(segment.name, 0, 61)).base_offset == BASE


def test_what_was_flushed_need_not_be_read_again(disk: MemoryDisk, segment: Segment) -> None:
    whole = segment.size_bytes // 20
    segment.seal()
    before = segment.index.entries(), segment.times.entries(), segment.max_timestamp
    again = reopened(disk)
    believed = again.believe_below(BASE + 30)
    assert believed == (15 * whole, BASE + 30)
    seen: list[BatchHeader] = []
    assert again.recover(lambda header, _: not seen.append(header), believed) == (BASE + 40, 0)
    assert [header.base_offset for header in seen] == list(range(BASE + 30, BASE + 40, 2))
    assert (again.index.entries(), again.times.entries(), again.max_timestamp) == before


@pytest.mark.parametrize("offset", [BASE + 1, BASE + 29, BASE + 40])
def test_belief_ends_where_a_batch_begins(disk: MemoryDisk, segment: Segment, offset: int) -> None:
    whole = segment.size_bytes // 20
    segment.seal()
    before = segment.index.entries(), segment.times.entries()
    again = reopened(disk)
    end = (offset - BASE) // 2 * 2
    believed = again.believe_below(offset)
    assert believed == (end // 2 * whole, BASE + end)
    assert again.recover(lambda *_: True, believed) == (BASE + 40, 0)
    assert (again.index.entries(), again.times.entries()) == before


def test_a_torn_tail_behind_what_was_flushed_is_cut_off(disk: MemoryDisk, segment: Segment) -> None:
    whole = segment.size_bytes // 20
    segment.seal()
    disk.truncate(segment.name, segment.size_bytes - 5)
    again = reopened(disk)
    assert again.recover(lambda *_: True, again.believe_below(BASE + 30)) == (BASE + 38, whole - 5)
    assert again.max_timestamp == (1_180, BASE + 37)


def zeros_instead_of(name: str) -> Callable[[MemoryDisk], None]:
    def change(disk: MemoryDisk) -> None:
        disk.files[name][-16:] = bytes(16)

    return change


def shorter(name: str, by: int) -> Callable[[MemoryDisk], None]:
    return lambda disk: disk.truncate(name, disk.sizes()[name] - by)


def longer(name: str, by: int) -> Callable[[MemoryDisk], None]:
    return lambda disk: disk.append(name, bytes(by))


LOG_FILE, INDEX_FILE, TIME_FILE = (f"{BASE:020d}{suffix}" for suffix in (".log", ".index", ".timeindex"))


@pytest.mark.parametrize(
    "harm",
    [
        zeros_instead_of(INDEX_FILE),
        zeros_instead_of(TIME_FILE),
        longer(INDEX_FILE, 800),
        longer(TIME_FILE, 1200),
        shorter(LOG_FILE, 5),
        shorter(LOG_FILE, 500),
    ],
)
def test_nothing_is_believed_where_log_and_indexes_disagree(
    disk: MemoryDisk, segment: Segment, harm: Callable[[MemoryDisk], None]
) -> None:
    segment.seal()
    harm(disk)
    before = {name: bytes(data) for name, data in disk.files.items()}
    assert reopened(disk).believe_below(BASE + 40) is None
    assert {name: bytes(data) for name, data in disk.files.items()} == before


@pytest.mark.parametrize(
    "entry", [bytes(8), b"\x00\x00\x00\x10\x00\x00\x00\x05", b"\xff" * 8, b"\x7f" * 8, b"\0\0\0\x03\x7f\xff\xff\xff"]
)
@pytest.mark.parametrize("index", range(-1, 5))
def test_an_index_entry_that_lies_misleads_nobody(disk: MemoryDisk, segment: Segment, index: int, entry: bytes) -> None:
    segment.seal()
    count = disk.sizes()[segment.index.name] // 8
    for at in range(count) if index < 0 else [index]:
        disk.files[segment.index.name][8 * at : 8 * at + 8] = entry
    again = reopened(disk)
    for offset in range(BASE, BASE + 40):
        found = again.find(offset)
        assert found is not None
        assert found[1].base_offset <= offset <= found[1].last_offset
    assert again.end_offset() == BASE + 40


def test_cutting_a_log_that_is_shorter_already_cuts_its_indexes(disk: MemoryDisk, segment: Segment) -> None:
    segment.seal()
    disk.truncate(segment.name, segment.size_bytes // 2)
    again = reopened(disk)
    again.truncate_to(BASE + 20)
    assert all(offset < BASE + 20 for offset, _ in again.index.entries())
    assert all(offset < BASE + 20 for _, offset in again.times.entries())
