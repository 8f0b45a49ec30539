"""A round of compaction: what is worth it, what is left, and how it takes its place."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import Any

import pytest

from pykafka_broker.log.compaction import Compacted, Dirt, compact
from pykafka_broker.log.partition import Isolation, Origin
from pykafka_broker.model.errors import KafkaError
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import CorruptBatch, Record, build
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.formats import headers, records
from pykafka_broker.wire.message_set import build_message_set
from tests.doubles.memory_disk import MemoryDisk
from tests.doubles.sample_log import SampleLog, batch, read_back

ONE = len(batch(b"0"))


class CompactedLog(SampleLog):
    """A log whose keys can be chosen."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"cleanup_policy": ("compact",), "segment_bytes": 3 * ONE, **settings})
        self.clean_up_to = 0

    def put(self, *pairs: tuple[bytes, bytes | None], time: int | None = None, **kwargs: Any) -> None:
        time = self.now if time is None else time
        data = build([Record(timestamp=time, key=key, value=value) for key, value in pairs], **kwargs)
        self.log.append(self.now, data, leader_epoch=0)
        self.log.advance_high_watermark(self.log.log_end_offset)

    def dirt(self) -> Dirt | None:
        return self.log.dirt(self.now, self.clean_up_to)

    def round(self) -> Compacted | None:
        dirt = self.dirt()
        if dirt is None:
            return None
        done = finished(self.log.compaction(dirt, self.now))
        assert self.log.adopt(done, self.now)
        self.clean_up_to = done.clean_up_to
        return done

    def contents(self, isolation: Isolation = Isolation.READ_UNCOMMITTED) -> list[tuple[int, bytes, bytes | None]]:
        offset, found = self.log.log_start_offset, []
        while (given := self.log.read(offset, 1 << 20, isolation=isolation)).size_bytes:
            data = read_back(given.pieces)
            for position, header in headers(data):
                if not header.is_control:
                    for record in records(data[position : position + header.size_bytes]):
                        found.append((record.offset, record.key or b"", record.value))
                offset = header.next_offset
        return found


def finished(steps: Generator[None, None, Compacted]) -> Compacted:
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        done: Compacted = stop.value
        return done


@pytest.fixture
def sample() -> CompactedLog:
    """Nine records of three keys in three sealed segments, and one in the active one."""
    found = CompactedLog()
    for index in range(10):
        found.put((b"abc"[index % 3 : index % 3 + 1], b"%d" % index))
    return found


def test_the_newest_value_of_each_key_is_left(sample: CompactedLog) -> None:
    done = sample.round()
    assert done is not None
    assert sample.contents() == [(6, b"a", b"6"), (7, b"b", b"7"), (8, b"c", b"8"), (9, b"a", b"9")]
    assert (sample.clean_up_to, done.bytes_before, done.bytes_after) == (9, 9 * ONE, 3 * ONE)
    assert sample.said("LogCompacted")[0]["clean_up_to"] == 9
    assert list(sample.log.segments.bases) == [0, 3, 6, 9]
    assert sample.round() is None


def test_offsets_that_are_gone_are_passed_over(sample: CompactedLog) -> None:
    sample.round()
    for offset in range(7):
        given = sample.log.read(offset, 1 << 20)
        assert next(headers(read_back(given.pieces)))[1].base_offset == 6
    assert sample.log.offset_for_time(0).offset == 6


def test_segments_that_have_become_small_are_put_together() -> None:
    sample = CompactedLog(segment_bytes=3 * ONE)
    for index in range(10):
        sample.put((b"abc"[index % 3 : index % 3 + 1], b"%d" % index))
    sample.round()
    sample.log.configure(sample.settings.replacing(segment_bytes=100 * ONE))
    for index in range(10, 20):
        sample.put((b"abc"[index % 3 : index % 3 + 1], b"%d" % index))
    sample.log.roll(sample.now)
    sample.round()
    assert list(sample.log.segments.bases) == [0, 20]
    assert [offset for offset, _, _ in sample.contents()] == [17, 18, 19]


def test_the_old_files_are_removed_after_a_delay(sample: CompactedLog) -> None:
    sample.round()
    assert f"{0:020d}.log.deleted" in sample.disk.sizes()
    assert not any(name.endswith((".cleaned", ".swap")) for name in sample.disk.sizes())
    sample.log.reap(Millis(sample.now + 60_000))
    assert not any(name.endswith(".deleted") for name in sample.disk.sizes())


@pytest.mark.parametrize("clean", [True, False])
def test_a_compacted_log_is_opened_again(sample: CompactedLog, clean: bool) -> None:
    sample.round()
    before = sample.contents()
    sample.log.close()
    sample.opened(clean=clean, high_watermark=10)
    assert sample.contents() == before
    sample.put((b"b", b"new"))
    assert sample.contents()[-1] == (10, b"b", b"new")


def test_little_dirt_is_left_alone(sample: CompactedLog) -> None:
    sample.round()
    for index in range(10, 13):
        sample.put((bytes([100 + index]), b"1"))
    dirt = sample.log.dirt(sample.now, sample.clean_up_to)
    assert dirt is None
    sample.log.configure(sample.settings.replacing(min_cleanable_dirty_ratio=0.3))
    dirt = sample.dirt()
    assert dirt is not None
    assert (dirt.first_dirty, dirt.end) == (9, 12)
    assert dirt.ratio == 0.5


def test_old_dirt_is_overdue_however_little_it_is(sample: CompactedLog) -> None:
    sample.round()
    for index in range(10, 13):
        sample.put((bytes([100 + index]), b"1"), time=5_000)
    sample.log.configure(sample.settings.replacing(max_compaction_lag_ms=1_000))
    assert sample.log.dirt(Millis(1_000), sample.clean_up_to) is None
    dirt = sample.log.dirt(Millis(6_001), sample.clean_up_to)
    assert dirt is not None
    assert dirt.is_overdue


def test_young_segments_wait(sample: CompactedLog) -> None:
    sample.log.configure(sample.settings.replacing(min_compaction_lag_ms=500))
    assert sample.log.dirt(Millis(1_499), 0) is None
    assert sample.log.dirt(Millis(1_500), 0) is not None


def test_what_is_not_decided_yet_waits() -> None:
    sample = CompactedLog()
    for index in range(4):
        sample.put((b"a", b"%d" % index))
    sample.put((b"a", b"x"), producer_id=7, producer_epoch=0, base_sequence=0, transactional=True)
    for index in range(8):
        sample.put((b"a", b"%d" % index))
    dirt = sample.dirt()
    assert dirt is not None
    assert dirt.end == 3
    sample.end_transaction(7, committed=False)
    sample.round()
    assert all(value != b"x" for _, _, value in sample.contents())


def test_a_marker_further_on_is_known() -> None:
    sample = CompactedLog()
    sample.put((b"a", b"1"))
    sample.put((b"a", b"x"), producer_id=7, producer_epoch=0, base_sequence=0, transactional=True)
    sample.log.roll(sample.now)
    sample.end_transaction(7, committed=False)
    sample.round()
    assert sample.contents(Isolation.READ_COMMITTED) == [(0, b"a", b"1")]


def test_a_topic_that_is_not_compacted_is_never_dirty() -> None:
    sample = SampleLog(segment_bytes=ONE)
    for _ in range(5):
        sample.append(b"a")
    assert sample.log.dirt(sample.now, 0) is None


def test_a_mark_outside_the_log_is_not_believed(sample: CompactedLog) -> None:
    for mark in (-1, 99):
        dirt = sample.log.dirt(sample.now, mark)
        assert dirt is not None
        assert dirt.first_dirty == 0


def test_a_round_with_too_many_keys_goes_as_far_as_it_can() -> None:
    sample = CompactedLog()
    for index in range(10):
        sample.put((b"%d" % (index % 5), b"%d" % index))
    dirt = sample.dirt()
    assert dirt is not None
    done = finished(
        compact(
            sample.disk,
            tuple(sample.log.segments),
            dirt,
            sample.now,
            sample.settings,
            sample.log.producers,
            keys_limit=4,
        )
    )
    assert done.clean_up_to == 4
    assert sample.log.adopt(done, sample.now)
    assert len(sample.contents()) == 10
    sample.clean_up_to = 4
    sample.round()
    assert [offset for offset, _, _ in sample.contents()] == [4, 5, 6, 7, 8, 9]


def test_tombstones_go_after_their_time() -> None:
    sample = CompactedLog(delete_retention_ms=1_000)
    sample.put((b"a", b"1"))
    sample.put((b"a", None))
    sample.put((b"b", b"1"))
    sample.log.roll(sample.now)
    sample.put((b"c", b"1"))
    sample.round()
    assert sample.contents()[0] == (1, b"a", None)
    sample.now = Millis(sample.now + 1_000)
    sample.log.roll(sample.now)
    sample.log.configure(sample.settings.replacing(min_cleanable_dirty_ratio=0.0))
    sample.round()
    assert sample.contents() == [(2, b"b", b"1"), (3, b"c", b"1")]


def test_a_round_that_a_cut_overtook_is_given_up(sample: CompactedLog) -> None:
    dirt = sample.dirt()
    assert dirt is not None
    done = finished(sample.log.compaction(dirt, sample.now))
    sample.log.truncate_to(4, sample.now)
    assert not sample.log.adopt(done, sample.now)
    assert not any(name.endswith(".cleaned") for name in sample.disk.sizes())
    assert len(sample.contents()) == 4


def test_a_round_whose_segments_were_deleted_is_given_up() -> None:
    sample = CompactedLog(cleanup_policy=("compact", "delete"), retention_ms=100)
    for index in range(10):
        sample.put((b"a", b"%d" % index))
    dirt = sample.dirt()
    assert dirt is not None
    steps = sample.log.compaction(dirt, sample.now)
    next(steps)
    sample.log.expire(Millis(sample.now + 1_000))
    with pytest.raises(FileNotFoundError):
        finished(steps)
    sample.log.abandon_compaction()
    done_before = sample.log.log_start_offset
    assert done_before == 10


@pytest.mark.parametrize("stop_after", range(12))
def test_a_crash_while_segments_are_swapped_loses_nothing(sample: CompactedLog, stop_after: int) -> None:
    """The disk goes away after some of the renames; the next start finishes or undoes what was begun."""
    disk = sample.disk
    assert isinstance(disk, MemoryDisk)
    dirt = sample.dirt()
    assert dirt is not None
    done = finished(sample.log.compaction(dirt, sample.now))
    left = stop_after
    rename = disk.rename

    def failing(old: str, new: str) -> None:
        nonlocal left
        if left == 0:
            raise OSError("gone")
        left -= 1
        rename(old, new)

    disk.rename = failing  # type: ignore[method-assign]
    with suppress(KafkaError):  # whatever it was, the process is dead now
        sample.log.adopt(done, sample.now)
    disk.rename = rename  # type: ignore[method-assign]
    sample.opened(clean=False, high_watermark=10)
    found = {key: value for _, key, value in sample.contents()}
    assert found == {b"a": b"9", b"b": b"7", b"c": b"8"}
    assert not any(name.endswith((".cleaned", ".swap")) for name in disk.sizes())


def test_indexes_of_compacted_segments_lead_to_their_batches() -> None:
    sample = CompactedLog(segment_bytes=100 * ONE, index_interval_bytes=0)
    for index in range(60):
        sample.put((b"%d" % (index % 20), b"%d" % index), time=1_000 + index)
    sample.log.roll(sample.now)
    sample.put((b"x", b"1"))
    sample.round()
    segment = sample.log.segments[0]
    begins = dict(headers(segment.read(0, segment.size_bytes)))
    assert len(begins) == 20
    for offset, position in segment.index.entries():
        assert begins[position].last_offset == offset
    assert segment.max_timestamp == (1_059, 59)


class OldCompactedLog(CompactedLog):
    """A compacted log whose records are of old formats, as a follower of an old leader has them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.disk = MemoryDisk(lambda: self.now)
        self.opened()

    def put_old(self, magic: int, *pairs: tuple[bytes, bytes | None], codec: Codec = Codec.NONE) -> None:
        end = self.log.log_end_offset
        found = [Record(end + index, 1_000 + index, key, value) for index, (key, value) in enumerate(pairs)]
        data = bytearray(build_message_set(found, magic, codec=codec))
        self.log.append(self.now, data, leader_epoch=-1, origin=Origin.REPLICATION)
        self.log.advance_high_watermark(self.log.log_end_offset)


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP, Codec.LZ4])
def test_records_of_old_formats_are_compacted_among_each_other_and_with_new_ones(codec: Codec) -> None:
    sample = OldCompactedLog(segment_bytes=300)
    for number in range(12):
        magic = number // 5
        if magic < 2:
            sample.put_old(magic, (b"a", b"%d" % number), (b"k%d" % number, b"x" * 20), codec=codec)
        else:
            sample.put((b"a", b"%d" % number), (b"k%d" % number, b"x" * 20))
    sample.log.roll(sample.now)
    before = sample.contents()
    assert sample.round() is not None
    assert sample.contents() == [entry for entry in before if entry[1] != b"a" or entry[0] == 22]
    data = b"".join(one.read(0, one.size_bytes) for one in sample.log.segments)
    assert {header.magic for _, header in headers(data)} == {0, 1, 2}
    again = sample.contents()
    sample.opened(clean=False, high_watermark=sample.log.log_end_offset)
    assert sample.contents() == again


def test_old_tombstones_stay_until_a_clean_segment_was_written_long_enough_after_them() -> None:
    sample = OldCompactedLog(segment_bytes=100, delete_retention_ms=1_000, min_cleanable_dirty_ratio=0.0)
    sample.put_old(1, (b"a", b"1"))
    sample.put_old(1, (b"a", None))
    sample.log.roll(sample.now)
    assert sample.round() is not None
    assert sample.contents() == [(1, b"a", None)]
    # this segment is old by the time at which its records were written, however often it is compacted
    written = sample.log.segments[0].modified_ms()
    assert written == 1_000
    for number in range(3):
        sample.now = Millis(sample.now + 1_100)
        sample.put_old(1, (b"b", b"%d" % number * 40))
        sample.log.roll(sample.now)
        assert sample.round() is not None
        wanted = [(1, b"a", None)] if number < 1 else []
        assert [entry for entry in sample.contents() if entry[1] == b"a"] == wanted


def test_records_without_a_time_are_never_overdue() -> None:
    sample = OldCompactedLog(max_compaction_lag_ms=1_000, min_cleanable_dirty_ratio=1.0)
    sample.put_old(0, (b"a", b"1"), (b"a", b"2"))
    sample.log.roll(sample.now)
    sample.now = Millis(1_000_000)
    assert sample.dirt() is None
    sample.put_old(1, (b"a", b"3"))
    sample.log.roll(sample.now)
    assert sample.dirt() is not None


@pytest.mark.parametrize("at", [1, 23, 70])
def test_a_damaged_batch_is_not_written_anew_as_if_it_were_right(at: int) -> None:
    """Its offset, its header, its records: with a new checksum nobody could tell any more."""
    sample = SampleLog(cleanup_policy=("compact",), min_cleanable_dirty_ratio=0.0)
    for index in range(4):
        sample.append(b"%d" % index)
    sample.log.roll(sample.now)
    disk = sample.disk
    assert isinstance(disk, MemoryDisk)
    disk.files[f"{0:020d}.log"][disk.sizes()[f"{0:020d}.log"] // 2 + at] ^= 0x10
    dirt = sample.log.dirt(sample.now, 0)
    assert dirt is not None
    with pytest.raises(CorruptBatch, match=r"00000000000000000000.log is damaged at byte"):
        list(sample.log.compaction(dirt, sample.now))
