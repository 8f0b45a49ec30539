"""Logs with messages of format 0 and 1: whatever a log does with batches it does with them, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykafka_broker.log.partition import OffsetsOutOfOrder, Origin
from pykafka_broker.log.slice import FoundOffset
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import CorruptBatch, Record, build
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.formats import header_at, headers, records
from pykafka_broker.wire.message_set import build_message_set
from tests.doubles.memory_disk import MemoryDisk
from tests.doubles.sample_log import SampleLog, read_back

LOG = f"{0:020d}.log"
CODECS = (Codec.NONE, Codec.GZIP, Codec.SNAPPY, Codec.LZ4)


@dataclass(frozen=True)
class Stored:
    """Bytes as an old broker has written them, and what a reader is to make of them."""

    data: bytes
    records: list[Record]
    """With the times that count: none in format 0."""
    ends: list[int]
    """Where each message, wrapper or batch ends."""

    @property
    def end_offset(self) -> int:
        return self.records[-1].offset + 1

    def whole_below(self, size: int) -> tuple[int, int]:
        """How many bytes of whole batches a file of this size has, and the offset behind them."""
        end = max((end for end in self.ends if end <= size), default=0)
        offset = 0
        for position, header in headers(self.data[:end]):
            assert position < end
            offset = header.next_offset
        return end, offset


def old_set(magic: int, codec: Codec, given: list[Record]) -> bytes:
    if magic == 2:
        return bytes(build(given, base_offset=given[0].offset, codec=codec, leader_epoch=4))
    return build_message_set(given, magic, codec=codec)


def stored(*sets: tuple[int, Codec, list[Record]]) -> Stored:
    data, found, ends = b"", [], []
    for magic, codec, one in sets:
        data += old_set(magic, codec, one)
        found += one if magic else [record._replace(timestamp=-1) for record in one]
    ends = [position + header.size_bytes for position, header in headers(data)]
    return Stored(data, found, ends)


@st.composite
def logs(draw: st.DrawFn) -> Stored:
    """Sets of growing format with any codecs and times, with holes as compaction leaves them."""
    offset, magic, sets = 0, 0, []
    for _ in range(draw(st.integers(1, 8))):
        magic = draw(st.integers(magic, 2))
        given = []
        for _ in range(draw(st.integers(1, 5))):
            offset += draw(st.integers(0, 2))
            size = draw(st.integers(0, 60))
            given.append(Record(offset, draw(st.integers(0, 50)), b"k%d" % (offset % 3), b"%d" % offset * size))
            offset += 1
        sets.append((magic, draw(st.sampled_from(CODECS)), given))
    return stored(*sets)


def opened(data: bytes, *, clean: bool = False, **settings: Any) -> SampleLog:
    """The log that a broker finds in a directory with this one file; every batch or so gets an index entry."""
    disk = MemoryDisk()
    disk.append(LOG, data)
    sample = SampleLog(disk, clean=clean, **{"index_interval_bytes": 100, **settings})
    sample.log.advance_high_watermark(sample.log.log_end_offset)
    return sample


def read_all(sample: SampleLog, start: int = 0) -> list[Record]:
    """Every record from ``start`` on, as a consumer reads them: in pieces."""
    found: list[Record] = []
    offset = start
    while (given := sample.log.read(offset, 150)).size_bytes:
        data = read_back(given.pieces)
        at = 0
        while at < len(data) and at + header_at(data, at).size_bytes <= len(data):
            header = header_at(data, at)
            batch = data[at : at + header.size_bytes]
            found += [one._replace(headers=()) for one in records(batch) if one.offset >= offset]
            at += header.size_bytes
            offset = header.next_offset
            if len(data) - at < 61:
                break
    return found


FEW = stored(
    (0, Codec.NONE, [Record(0, 5, b"a", b"0"), Record(1, 5, b"b", b"1")]),
    (0, Codec.GZIP, [Record(2, 5, b"a", b"2"), Record(3, 5, b"b", b"3")]),
    (1, Codec.SNAPPY, [Record(4, 50, b"a", b"4"), Record(5, 70, b"b", b"5"), Record(6, 60, b"c", b"6")]),
    (1, Codec.NONE, [Record(7, 65, b"a", b"7"), Record(8, 80, b"b", b"8")]),
    (2, Codec.LZ4, [Record(9, 90, b"a", b"9"), Record(10, 85, b"d", b"10")]),
)


@settings(deadline=None)
@given(logs())
def test_every_record_is_read_from_any_offset_on(log: Stored) -> None:
    sample = opened(log.data)
    assert (sample.log.log_start_offset, sample.log.log_end_offset) == (0, log.end_offset)
    assert sample.log.size_bytes == len(log.data)
    for start in range(log.end_offset + 1):
        assert read_all(sample, start) == [record for record in log.records if record.offset >= start]
    assert read_back(sample.log.read(0, 1 << 20).pieces) == log.data, "stored bytes are given as they are"


@settings(deadline=None)
@given(logs())
def test_what_recovery_has_indexed_is_found_again_after_a_clean_stop(log: Stored) -> None:
    sample = opened(log.data)
    sample.log.close()
    sample.opened(clean=True, high_watermark=log.end_offset)
    assert sample.log.log_end_offset == log.end_offset
    assert read_all(sample) == log.records


@settings(deadline=None)
@given(logs(), st.integers(0, 60))
def test_a_time_is_found_at_its_first_record_and_format_0_has_none(log: Stored, time: int) -> None:
    sample = opened(log.data)
    wanted = next((record for record in log.records if record.timestamp >= time), None)
    found = sample.log.offset_for_time(time)
    assert (found.offset, found.timestamp) == ((-1, -1) if wanted is None else (wanted.offset, wanted.timestamp))
    latest = max(record.timestamp for record in log.records)
    newest = sample.log.offset_for_time(-3)
    assert newest.timestamp == latest
    if latest >= 0:
        assert newest.offset == next(record.offset for record in log.records if record.timestamp == latest)


def _in_common(one: bytes, other: bytes) -> int:
    """How many bytes are the same at the beginning."""
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


@settings(deadline=None)
@given(logs(), st.data())
def test_a_torn_tail_is_cut_off_and_nothing_else(log: Stored, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(log.data)))
    rest = data.draw(st.sampled_from([b"", bytes(200), b"\xff" * 30]))
    found = log.data[:size] + rest
    sample = opened(found)
    # zeros behind a message that would end with zeros make it whole again
    whole, end = log.whole_below(_in_common(found, log.data))
    assert (sample.log.size_bytes, sample.log.log_end_offset) == (whole, end)
    assert read_all(sample) == [record for record in log.records if record.offset < end]


@settings(deadline=None)
@given(logs(), st.data())
def test_a_flipped_bit_ends_the_log_before_its_message(log: Stored, data: st.DataObject) -> None:
    flipped = bytearray(log.data)
    position = data.draw(st.integers(0, len(flipped) - 1))
    begin = max((end for end in log.ends if end <= position), default=0)
    if position - begin < 8 or (flipped[begin + 16] == 2 and 12 <= position - begin < 16):
        return  # offsets, and a batch's leader epoch, are not covered by any checksum
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    sample = opened(bytes(flipped))
    _, end = log.whole_below(begin)
    assert sample.log.size_bytes == begin
    assert read_all(sample) == [record for record in log.records if record.offset < end]


@settings(deadline=None)
@given(logs(), st.data())
def test_a_follower_has_its_leaders_bytes_wherever_answers_end_and_segments_begin(
    log: Stored, data: st.DataObject
) -> None:
    leader = opened(log.data)
    follower = SampleLog(index_interval_bytes=100, segment_bytes=data.draw(st.integers(max(300, 1), 900)))
    follower.log.restart_at(0, Millis(0))
    while follower.log.log_end_offset < leader.log.log_end_offset:
        given = leader.log.read(follower.log.log_end_offset, data.draw(st.integers(1, 400)))
        piece = bytearray(read_back(given.pieces))
        follower.log.append(Millis(0), piece, leader_epoch=-1, origin=Origin.REPLICATION)
    follower.log.advance_high_watermark(leader.log.log_end_offset)
    assert b"".join(one.read(0, one.size_bytes) for one in follower.log.segments) == log.data
    assert follower.log.log_end_offset == log.end_offset
    for start in range(log.end_offset + 1):
        assert read_all(follower, start) == [record for record in log.records if record.offset >= start]


@settings(deadline=None)
@given(logs(), st.data())
def test_a_follower_truncates_to_whole_messages_and_goes_on(log: Stored, data: st.DataObject) -> None:
    sample = opened(log.data)
    cut = data.draw(st.integers(0, log.end_offset))
    sample.log.truncate_to(cut, Millis(0))
    assert sample.log.log_end_offset == cut
    left = sample.log.size_bytes
    assert log.data[:left] == read_back(sample.log.read(0, 1 << 20).pieces) if cut else left == 0
    assert left in (0, *log.ends)
    assert all(header.last_offset < cut for _, header in headers(log.data[:left]))
    sample.opened(clean=False)
    assert sample.log.log_end_offset <= cut
    if left < len(log.data):
        sample.log.append(Millis(0), bytearray(log.data[left:]), leader_epoch=-1, origin=Origin.REPLICATION)
    sample.log.advance_high_watermark(sample.log.log_end_offset)
    assert read_all(sample) == log.records


def test_records_of_a_damaged_message_from_a_leader_are_refused() -> None:
    damaged = bytearray(FEW.data)
    damaged[FEW.ends[2] - 1] ^= 1
    sample = SampleLog()
    with pytest.raises(CorruptBatch, match="Record is corrupt"):
        sample.log.append(Millis(0), damaged, leader_epoch=-1, origin=Origin.REPLICATION)
    assert sample.log.log_end_offset == 0


def test_messages_that_are_there_already_are_refused() -> None:
    sample = opened(FEW.data)
    with pytest.raises(OffsetsOutOfOrder):
        sample.log.append(Millis(0), bytearray(FEW.data), leader_epoch=-1, origin=Origin.REPLICATION)


def test_a_segment_that_a_wrapper_opens_begins_where_the_log_ended() -> None:
    wrappers = [old_set(1, Codec.GZIP, [Record(at + i, 1, b"k", b"v") for i in range(10)]) for at in range(0, 50, 10)]
    sample = SampleLog(segment_bytes=2 * len(wrappers[0]) + 20)
    for wrapper in wrappers:
        sample.log.append(Millis(0), bytearray(wrapper), leader_epoch=-1, origin=Origin.REPLICATION)
    sample.log.advance_high_watermark(50)
    assert list(sample.log.segments.bases) == [0, 20, 40]
    assert [record.offset for record in read_all(sample, 20)] == list(range(20, 50))


def test_records_in_the_middle_of_a_wrapper_can_be_deleted() -> None:
    sample = opened(FEW.data)
    assert sample.log.delete_records(5) == 5
    assert [record.offset for record in read_all(sample, 5)] == [5, 6, 7, 8, 9, 10]
    assert sample.log.offset_for_time(50) == FoundOffset(5, 70, -1)
    assert sample.log.offset_for_time(-2).offset == 5


def test_epochs_begin_with_the_first_batch_that_tells_one() -> None:
    sample = opened(FEW.data)
    assert sample.log.latest_epoch == 4
    assert sample.log.end_of_epoch(3) == (3, 9)
    assert sample.log.end_of_epoch(4) == (4, 11)
    assert sample.log.offset_for_time(80).leader_epoch == -1
    assert sample.log.offset_for_time(85).leader_epoch == 4


class CountingDisk(MemoryDisk):
    """Knows how much of logs was read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_bytes = 0

    def read(self, name: str, start: int, size_bytes: int) -> bytes:
        found = super().read(name, start, size_bytes)
        self.read_bytes += len(found) if name.endswith(".log") else 0
        return found


def test_old_segments_are_not_read_for_epochs_that_they_cannot_tell() -> None:
    disk = CountingDisk()
    for base in range(0, 1000, 100):
        name = f"{base:020d}"
        disk.append(name + ".log", old_set(0, Codec.NONE, [Record(base + i, 1, b"k", b"v" * 900) for i in range(100)]))
        disk.append(name + ".index", b"")
        disk.append(name + ".timeindex", b"")
    sample = SampleLog(disk)
    assert (sample.log.log_end_offset, sample.log.latest_epoch) == (1000, -1)
    assert disk.read_bytes < 3 * 100_000
    assert "leader-epoch-checkpoint" in disk.files


def test_an_index_of_before_kafka_0_10_1_tells_first_offsets_and_is_believed() -> None:
    wrappers = [old_set(0, Codec.GZIP, [Record(at + i, 1, b"k", b"v") for i in range(10)]) for at in range(0, 50, 10)]
    disk = MemoryDisk()
    disk.append(LOG, b"".join(wrappers))
    position, index = 0, b""
    for number, wrapper in enumerate(wrappers):
        index += (10 * number).to_bytes(4) + position.to_bytes(4) if number else b""
        position += len(wrapper)
    disk.append(f"{0:020d}.index", index)
    sample = SampleLog(disk)
    assert sample.log.log_end_offset == 50
    sample.log.advance_high_watermark(50)
    for start in range(50):
        assert [record.offset for record in read_all(sample, start)] == list(range(start, 50))
    # cut within a wrapper that has an entry: none may be left that points to where nothing is any more
    sample.log.truncate_to(25, Millis(0))
    sample.log.close()
    sample.opened(clean=True)
    assert sample.log.log_end_offset == 20


def test_without_any_times_retention_goes_by_when_a_segment_was_written() -> None:
    sample = SampleLog(retention_ms=1_000, segment_bytes=100, file_delete_delay_ms=0)
    sample.disk = MemoryDisk(lambda: sample.now)
    sample.opened()
    for index in range(5):
        sample.now = Millis(10_000 + index * 500)
        message = old_set(0, Codec.NONE, [Record(index, 1, b"k", b"v" * 50)])
        sample.log.append(sample.now, bytearray(message), leader_epoch=-1, origin=Origin.REPLICATION)
    sample.log.advance_high_watermark(5)
    assert list(sample.log.segments.bases) == [0, 1, 2, 3, 4]
    assert sample.log.expire(sample.now).segments == 2
    assert sample.log.log_start_offset == 2
