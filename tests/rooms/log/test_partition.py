"""One partition: appending, reading, rolling, retention, cutting, offsets for times, and a disk that fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

import pytest

from pykafka_broker.log.epochs import Epochs
from pykafka_broker.log.partition import Isolation, OffsetsOutOfOrder, Origin
from pykafka_broker.log.slice import UNLENT_BYTES, EpochEnd, FoundOffset
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_TOPIC_ID, TopicId
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import HEADER_BYTES, CorruptBatch, Record, build, read_header
from pykafka_broker.wire.formats import headers
from tests.doubles.memory_disk import MemoryDisk
from tests.doubles.sample_log import SampleLog, batch, read_back

TOPIC = TopicId(UUID("cec8a6c2-7c17-4248-9a18-d25c1b56ee50"))
NOTHING_FOUND = FoundOffset(-1, -1, -1)


@pytest.fixture
def sample() -> SampleLog:
    return SampleLog()


def refused(error: pytest.ExceptionInfo[KafkaError]) -> ErrorCode:
    return error.value.code


# appending and reading


def test_offsets_are_dense_and_what_was_written_is_read(sample: SampleLog) -> None:
    assert sample.append(b"a", b"b")[:2] == (0, 1)
    assert sample.append(b"c")[:2] == (2, 2)
    assert sample.values() == [(0, b"a"), (1, b"b"), (2, b"c")]
    assert sample.log.log_end_offset == 3


def test_a_batch_gets_its_offset_and_epoch_and_keeps_its_bytes(sample: SampleLog) -> None:
    sample.append(b"a", leader_epoch=4)
    sent = batch(b"b")
    before = bytes(sent)
    sample.log.append(sample.now, sent, leader_epoch=4)
    sample.log.advance_high_watermark(2)
    stored = read_back(sample.log.read(1, 1_000).pieces)
    assert stored == bytes(sent)
    assert stored[16:] == before[16:]
    assert (read_header(stored).base_offset, read_header(stored).leader_epoch) == (1, 4)


def test_bytes_that_cannot_be_changed_are_copied(sample: SampleLog) -> None:
    sample.append(b"a")
    sample.log.append(sample.now, bytes(batch(b"b")), leader_epoch=0)
    assert sample.values() == [(0, b"a"), (1, b"b")]


def test_the_brokers_time_is_stamped_where_the_topic_wants_it() -> None:
    sample = SampleLog(message_timestamp_type="LogAppendTime")
    sample.now = Millis(9_000)
    appended = sample.append(b"a", time=5)
    assert appended.log_append_time_ms == 9_000
    assert read_header(read_back(sample.log.read(0, 1_000).pieces)).max_timestamp == 9_000
    assert SampleLog().append(b"a").log_append_time_ms == -1


def test_a_batch_sent_twice_is_answered_twice_and_stored_once(sample: SampleLog) -> None:
    first = sample.append(b"a", b"b", producer_id=7, producer_epoch=0, base_sequence=0)
    again = sample.append(b"a", b"b", producer_id=7, producer_epoch=0, base_sequence=0)
    assert again[:2] == first[:2] == (0, 1)
    assert sample.log.log_end_offset == 2
    with pytest.raises(KafkaError) as error:
        sample.append(b"c", producer_id=7, producer_epoch=0, base_sequence=5)
    assert refused(error) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert [one.last_sequence for one in sample.log.producers_state()] == [1]


def test_what_is_refused_leaves_no_trace(sample: SampleLog) -> None:
    damaged = batch(b"a")
    damaged[-1] ^= 1
    with pytest.raises(KafkaError):
        sample.log.append(sample.now, damaged, leader_epoch=3)
    assert sample.log.log_end_offset == 0
    assert sample.log.size_bytes == 0


def test_readers_see_what_they_may(sample: SampleLog) -> None:
    sample.append(b"a")
    sample.log.append(sample.now, batch(b"b"), leader_epoch=0)
    assert [len(sample.values(isolation=isolation)) for isolation in Isolation] == [1, 1, 2]
    given = sample.log.read(1, 1_000)
    assert (given.size_bytes, given.high_watermark, given.aborted) == (0, 1, None)
    assert sample.log.read(2, 1_000).size_bytes == 0
    assert sample.log.advance_high_watermark(99)
    assert sample.log.high_watermark == 2
    assert not sample.log.advance_high_watermark(1)
    assert sample.log.high_watermark == 2


@pytest.mark.parametrize("offset", [-1, 4, 11])
def test_offsets_outside_the_log_are_out_of_range(sample: SampleLog, offset: int) -> None:
    for _ in range(10):
        sample.append(b"a")
    sample.log.advance_log_start(5)
    with pytest.raises(KafkaError) as error:
        sample.log.read(offset, 1_000)
    assert refused(error) is ErrorCode.OFFSET_OUT_OF_RANGE


def test_the_first_batch_is_given_whole_if_one_must_be(sample: SampleLog) -> None:
    for _ in range(3):
        sample.append(b"a" * 100)
    size = sample.log.size_bytes // 3
    for start in range(3):
        assert sample.log.read(start, 10).size_bytes == size
        assert sample.log.read(start, size - 1, must_give_one=False).size_bytes == 0
        assert sample.log.read(start, 0, must_give_one=False).size_bytes == 0
        assert sample.log.read(start, 0).size_bytes == size
    assert sample.log.read(0, size + 5).size_bytes == size + 5
    assert sample.log.read(0, 1 << 20, must_give_one=False).size_bytes == 3 * size


def test_where_the_disk_does_not_lend_only_what_must_be_given_is_read() -> None:
    disk = MemoryDisk()
    sample = SampleLog(disk)
    for _ in range(3):
        sample.append(b"x" * 40_000)
    sample.append(b"x" * UNLENT_BYTES)
    disk.lends = False
    assert sample.log.read(0, 1 << 20, must_give_one=False).size_bytes == 0
    given = sample.log.read(0, 1 << 20)
    assert given.size_bytes == given.pieces.size_bytes == UNLENT_BYTES
    assert UNLENT_BYTES < sample.log.read(3, 1 << 20).size_bytes < UNLENT_BYTES + 100
    disk.lends = True
    assert sample.log.read(0, 1 << 20, must_give_one=False).size_bytes == sample.log.size_bytes


def test_the_first_batch_is_given_whole_without_any_memory_of_where_it_lies(sample: SampleLog) -> None:
    for _ in range(3):
        sample.append(b"a" * 100)
    sample.log.close()
    log = sample.opened(high_watermark=3)
    size = log.size_bytes // 3
    assert [log.read(start, 10).size_bytes for start in range(3)] == [size] * 3


def test_a_read_begins_with_the_batch_that_holds_the_offset(sample: SampleLog) -> None:
    sample.append(b"a", b"b", b"c")
    assert read_header(read_back(sample.log.read(2, 1_000).pieces)).base_offset == 0


def test_a_reader_never_sees_part_of_a_batch_beyond_its_limit(sample: SampleLog) -> None:
    sample.append(b"a")
    sample.log.append(sample.now, batch(b"b", b"c"), leader_epoch=0)
    sample.log.advance_high_watermark(2)
    assert sample.values(isolation=Isolation.READ_UNCOMMITTED) == [(0, b"a")]


# transactions


def test_an_open_transaction_holds_the_last_stable_offset(sample: SampleLog) -> None:
    sample.append(b"plain")
    sample.append(b"mine", producer_id=7, producer_epoch=0, base_sequence=0, transactional=True)
    sample.append(b"other")
    assert sample.log.last_stable_offset == 1
    assert sample.values(isolation=Isolation.READ_COMMITTED) == [(0, b"plain")]
    assert sample.log.read(0, 9_999, isolation=Isolation.READ_COMMITTED).aborted == []
    sample.end_transaction(7, committed=True)
    assert sample.log.last_stable_offset == 4
    assert sample.log.read(0, 9_999, isolation=Isolation.READ_COMMITTED).aborted == []


def test_aborted_transactions_are_told_to_readers_of_their_offsets() -> None:
    sample = SampleLog(segment_bytes=300)
    for producer_id in (1, 2):
        sample.append(b"x", producer_id=producer_id, producer_epoch=0, base_sequence=0, transactional=True)
    sample.append(b"plain" * 20)
    sample.end_transaction(2, committed=False)
    sample.append(b"plain" * 20)
    sample.end_transaction(1, committed=False)
    assert len(sample.log.segments) > 2

    def aborted(start: int) -> list[tuple[int, int]]:
        found = sample.log.read(start, 99_999, isolation=Isolation.READ_COMMITTED).aborted
        assert found is not None
        return sorted(found)

    assert aborted(0) == [(1, 0), (2, 1)]
    assert aborted(5) == [(1, 0)]
    sample.log.close()
    sample.opened(high_watermark=6)
    assert aborted(0) == [(1, 0), (2, 1)]
    sample.opened(clean=False, high_watermark=6)
    assert aborted(0) == [(1, 0), (2, 1)]


# rolling


def test_a_segment_is_rolled_when_the_next_batch_does_not_fit() -> None:
    sample = SampleLog(segment_bytes=2 * len(batch(b"a")))
    for _ in range(5):
        sample.append(b"a")
    assert list(sample.log.segments.bases) == [0, 2, 4]
    assert sample.said("SegmentRolled")[0]["base_offset"] == 2
    assert len(sample.values()) == 5
    assert f"{4:020d}.snapshot" in sample.disk.sizes()


def test_a_segment_is_rolled_when_its_records_span_too_much_time() -> None:
    sample = SampleLog(segment_ms=1_000)
    sample.append(b"a", time=5_000)
    sample.append(b"b", time=6_000)
    assert list(sample.log.segments.bases) == [0]
    sample.append(b"c", time=6_001)
    assert list(sample.log.segments.bases) == [0, 2]


def test_a_segment_without_times_is_rolled_by_the_clock() -> None:
    sample = SampleLog(segment_ms=1_000)
    sample.append(b"a", time=-1)
    sample.now = Millis(2_000)
    sample.append(b"b", time=-1)
    assert list(sample.log.segments.bases) == [0]
    sample.now = Millis(2_001)
    sample.append(b"c", time=-1)
    assert list(sample.log.segments.bases) == [0, 2]


def test_a_segment_is_rolled_when_an_index_is_full() -> None:
    sample = SampleLog(segment_index_bytes=24, index_interval_bytes=0)
    for index in range(12):
        sample.append(b"a", time=1_000 + index)
    assert len(sample.log.segments) > 1
    for segment in sample.log.segments:
        assert len(segment.times.entries()) <= 2
    assert len(sample.values()) == 12


def test_segments_roll_earlier_by_the_partitions_jitter_but_no_more_than_the_topic_allows() -> None:
    sample = SampleLog(segment_ms=1_000, segment_jitter_ms=300)
    rolled = []
    for jitter_ms in (0, 200, 900):
        sample.log = sample.opened(jitter_ms=jitter_ms)
        sample.log.roll(sample.now)
        begun = sample.now
        sample.append(b"first")
        before = len(sample.log.segments)
        while len(sample.log.segments) == before:
            sample.now = Millis(sample.now + 50)
            sample.append(b"more")
        rolled.append(sample.now - begun)
    assert rolled == [1_050, 850, 750]


def test_a_preallocated_segment_has_its_room_from_the_beginning_and_gives_the_rest_back_when_it_is_done() -> None:
    disk = MemoryDisk()
    sample = SampleLog(disk, preallocate=True, segment_bytes=10_000)
    first, second = f"{0:020d}.log", f"{1:020d}.log"
    assert disk.reserved == {first: 10_000}
    sample.append(b"a")
    sample.log.roll(sample.now)
    assert disk.reserved == {second: 10_000}
    sample.log.close()
    assert disk.reserved == {}
    assert sample.opened().log_end_offset == 1


def test_index_entries_stand_as_far_apart_as_the_topic_says() -> None:
    entries = []
    for interval in (0, 400, 4_096):
        sample = SampleLog(index_interval_bytes=interval)
        for _ in range(20):
            sample.append(b"v" * 100)
        entries.append(len(sample.log.segments.active.index))
    # A batch has 171 bytes; an entry is due when more than the interval was written since the last one.
    assert entries == [19, 6, 0]


def test_rolling_an_empty_segment_changes_nothing(sample: SampleLog) -> None:
    sample.log.roll(sample.now)
    assert len(sample.log.segments) == 1
    sample.append(b"a")
    sample.log.roll(sample.now)
    sample.log.roll(sample.now)
    assert list(sample.log.segments.bases) == [0, 1]


# retention and DeleteRecords


def test_old_segments_are_renamed_at_once_and_removed_later() -> None:
    sample = SampleLog(segment_bytes=len(batch(b"a")), retention_ms=500, file_delete_delay_ms=60_000)
    for index in range(4):
        sample.append(b"a", time=1_000 + 100 * index)
    gone = sample.log.expire(Millis(1_650))
    assert gone.segments == 2
    assert sample.log.log_start_offset == 2
    assert sample.values() == [(2, b"a"), (3, b"a")]
    assert f"{0:020d}.log.deleted" in sample.disk.sizes()
    assert sample.log.next_reap_ms == 61_650
    sample.log.reap(Millis(61_649))
    assert f"{0:020d}.log.deleted" in sample.disk.sizes()
    sample.log.reap(Millis(61_650))
    assert not any(name.endswith(".deleted") for name in sample.disk.sizes())
    assert sample.log.next_reap_ms is None
    assert sample.said("SegmentsDeleted")[0]["why"] == "retention.ms"


def test_retention_takes_a_few_segments_at_a_time_if_it_is_told_to() -> None:
    sample = SampleLog(segment_bytes=len(batch(b"a")), retention_ms=500)
    for _ in range(7):
        sample.append(b"a")
    taken = [sample.log.expire(Millis(2_000), most=3) for _ in range(4)]
    assert [(each.segments, each.due) for each in taken] == [(3, 4), (3, 1), (1, 0), (0, 0)]
    assert sample.log.log_start_offset == 7


def test_a_deleted_segment_has_gone_for_good_before_its_snapshot_goes() -> None:
    """Otherwise a power cut could bring it back without its indexes, and nothing would tell of producers before it."""
    sample = SampleLog(segment_bytes=len(batch(b"a")), retention_ms=500)
    for _ in range(3):
        sample.append(b"a")
    disk = sample.disk
    assert isinstance(disk, MemoryDisk)
    sample.log.expire(Millis(2_000))
    at_sync: list[set[str]] = []
    disk.sync = lambda names: at_sync.append(set(disk.files))  # type: ignore[method-assign]
    sample.log.reap(Millis(2_001))
    assert [f"{1:020d}.snapshot" in names for names in at_sync] == [True]
    assert f"{1:020d}.snapshot" not in disk.files
    sample.log.reap(Millis(2_002))
    assert len(at_sync) == 1, "there was nothing to do"


def test_what_retention_will_read_is_told_before_it_does() -> None:
    sample = SampleLog(segment_bytes=len(batch(b"a")), retention_ms=500)
    for index in range(4):
        sample.append(b"a", time=1_000 + index)
    sample.log.close()
    log = sample.opened(high_watermark=4)
    assert log.unread_by_retention(2) == [(f"{0:020d}.timeindex", 12), (f"{1:020d}.timeindex", 12)]
    assert log.expire(Millis(1_502)).segments == 2
    # The third was looked at and is young.
    assert log.unread_by_retention(2) == [(f"{3:020d}.timeindex", 12)]
    log.configure(sample.settings.replacing(retention_ms=-1))
    assert log.unread_by_retention(2) == []


def test_a_log_that_is_all_old_keeps_one_empty_segment() -> None:
    sample = SampleLog(retention_ms=500)
    for _ in range(3):
        sample.append(b"a")
    sample.log.expire(Millis(100_000))
    assert (sample.log.log_start_offset, sample.log.log_end_offset, sample.log.size_bytes) == (3, 3, 0)
    assert sample.append(b"b").base_offset == 3


def test_records_are_deleted_up_to_an_offset() -> None:
    sample = SampleLog(segment_bytes=len(batch(b"a")))
    for _ in range(5):
        sample.append(b"a")
    assert sample.log.delete_records(3) == 3
    assert sample.log.delete_records(1) == 3
    assert len(sample.values()) == 2
    assert len(sample.log.segments) == 5
    sample.log.expire(sample.now)
    assert list(sample.log.segments.bases) == [3, 4]
    assert sample.log.delete_records(-1) == 5
    assert sample.values() == []


def test_records_are_not_deleted_beyond_the_high_watermark_or_on_a_compacted_topic(sample: SampleLog) -> None:
    sample.append(b"a")
    for offset in (2, -2):
        with pytest.raises(KafkaError) as error:
            sample.log.delete_records(offset)
        assert refused(error) is ErrorCode.OFFSET_OUT_OF_RANGE
    with pytest.raises(KafkaError) as error:
        SampleLog(cleanup_policy=("compact",)).log.delete_records(0)
    assert refused(error) is ErrorCode.POLICY_VIOLATION
    assert "can not be deleted due to the configured policy" in error.value.message


# leader epochs


def test_epochs_are_noted_where_their_leaders_began(sample: SampleLog) -> None:
    sample.append(b"a", leader_epoch=0)
    sample.log.assign_epoch(3)
    sample.append(b"b", leader_epoch=3)
    assert sample.log.latest_epoch == 3
    assert sample.log.end_of_epoch(0) == EpochEnd(0, 1)
    assert sample.log.end_of_epoch(2) == EpochEnd(0, 1)
    assert sample.log.end_of_epoch(3) == EpochEnd(3, 2)
    assert sample.log.end_of_epoch(4) == EpochEnd(-1, -1)
    assert bytes(sample.disk.read("leader-epoch-checkpoint", 0, 99)) == b"0\n2\n0 0\n3 1\n"


# offsets for times


def test_special_times(sample: SampleLog) -> None:
    assert sample.log.offset_for_time(-3) == NOTHING_FOUND
    sample.append(b"a", time=10, leader_epoch=2)
    sample.append(b"b", time=30, leader_epoch=2)
    sample.append(b"c", time=20, leader_epoch=5)
    assert sample.log.offset_for_time(-1) == FoundOffset(3, -1, 5)
    assert sample.log.offset_for_time(-2) == FoundOffset(0, -1, 2)
    assert sample.log.offset_for_time(-3) == FoundOffset(1, 30, 2)
    assert sample.log.offset_for_time(-4) == FoundOffset(0, -1, 2)
    assert sample.log.offset_for_time(-5) == NOTHING_FOUND
    sample.log.delete_records(2)
    assert sample.log.offset_for_time(-2) == FoundOffset(2, -1, 5)


def test_the_first_record_as_late_as_a_time_is_found_across_segments() -> None:
    sample = SampleLog(segment_bytes=200)
    for index, time in enumerate((10, 50, 20, 60, 70)):
        sample.append(b"a" * 50, time=time, leader_epoch=index)
    assert len(sample.log.segments) > 2
    assert sample.log.offset_for_time(0) == FoundOffset(0, 10, 0)
    assert sample.log.offset_for_time(11) == FoundOffset(1, 50, 1)
    assert sample.log.offset_for_time(51) == FoundOffset(3, 60, 3)
    assert sample.log.offset_for_time(70) == FoundOffset(4, 70, 4)
    assert sample.log.offset_for_time(71) == NOTHING_FOUND


def test_a_time_within_a_compressed_batch_is_found_at_its_record(sample: SampleLog) -> None:
    from pykafka_broker.wire.compression import Codec

    data = build([Record(timestamp=time, value=b"v") for time in (10, 20, 30)], codec=Codec.GZIP)
    sample.log.append(sample.now, data, leader_epoch=0)
    sample.log.advance_high_watermark(3)
    assert sample.log.offset_for_time(15) == FoundOffset(1, 20, 0)


def test_what_a_reader_may_not_see_is_not_found_either(sample: SampleLog) -> None:
    sample.append(b"a", time=10)
    sample.append(b"b", time=20, producer_id=1, producer_epoch=0, base_sequence=0, transactional=True)
    sample.log.append(sample.now, batch(b"c", time=30), leader_epoch=0)
    assert sample.log.offset_for_time(20).offset == 1
    assert sample.log.offset_for_time(20, Isolation.READ_COMMITTED) == NOTHING_FOUND
    assert sample.log.offset_for_time(30) == NOTHING_FOUND
    assert sample.log.offset_for_time(30, Isolation.LOG_END).offset == 2
    assert [sample.log.offset_for_time(-1, isolation).offset for isolation in Isolation] == [2, 1, 3]


def test_the_oldest_clients_are_told_where_segments_begin() -> None:
    sample = SampleLog(segment_bytes=2 * len(batch(b"a")))
    sample.disk = type(sample.disk)(lambda: sample.now)
    sample.opened()
    for index in range(5):
        sample.now = Millis(1_000 + index)
        sample.append(b"a")
    ask = sample.log.offsets_before
    assert ask(sample.now, -1, 1) == [5]
    assert ask(sample.now, -1, 9) == [5, 4, 2, 0]
    assert ask(sample.now, -2, 9) == [0]
    assert ask(sample.now, 1_003, 9) == [2, 0]
    assert ask(sample.now, 1_000, 9) == []
    sample.log.append(sample.now, batch(b"a"), leader_epoch=0)
    assert ask(sample.now, -1, 2) == [5, 4]
    assert ask(sample.now, -1, 2, Isolation.LOG_END) == [6, 4]


# following a leader


def test_a_copy_is_written_as_it_is(sample: SampleLog) -> None:
    data = bytes(batch(b"a", b"b", base_offset=0, leader_epoch=1)) + bytes(batch(b"c", base_offset=2, leader_epoch=4))
    appended = sample.log.append(sample.now, data, leader_epoch=9, origin=Origin.REPLICATION)
    assert appended[:2] == (0, 2)
    assert read_back(sample.log.read(0, 9_999, isolation=Isolation.LOG_END).pieces) == data
    assert sample.log.high_watermark == 0
    assert sample.log.end_of_epoch(1) == EpochEnd(1, 2)
    assert sample.log.latest_epoch == 4


def test_a_copy_may_leave_offsets_out_but_never_go_back(sample: SampleLog) -> None:
    sample.log.append(sample.now, batch(b"a", base_offset=5), leader_epoch=0, origin=Origin.REPLICATION)
    assert sample.log.log_end_offset == 6
    with pytest.raises(OffsetsOutOfOrder):
        sample.log.append(sample.now, batch(b"b", base_offset=5), leader_epoch=0, origin=Origin.REPLICATION)
    damaged = batch(b"c", base_offset=6)
    damaged[-1] ^= 1
    with pytest.raises(CorruptBatch):
        sample.log.append(sample.now, damaged, leader_epoch=0, origin=Origin.REPLICATION)
    assert sample.log.append(sample.now, b"", leader_epoch=0, origin=Origin.REPLICATION)[:2] == (6, 5)
    assert sample.values() == [(5, b"a")]


def test_cutting_the_end_forgets_records_epochs_and_producers() -> None:
    sample = SampleLog(segment_bytes=300)
    for index in range(9):
        sample.append(
            b"a" * 60, leader_epoch=index // 3, producer_id=index % 2, producer_epoch=0, base_sequence=index // 2
        )
    assert len(sample.log.segments) > 3
    assert sample.log.truncate_to(4, sample.now)
    assert (sample.log.log_end_offset, sample.log.high_watermark, sample.log.latest_epoch) == (4, 4, 1)
    assert [one.last_sequence for one in sample.log.producers_state()] == [1, 1]
    assert not sample.log.truncate_to(4, sample.now)
    assert sample.append(b"new", producer_id=0, producer_epoch=0, base_sequence=2).base_offset == 4
    assert len(sample.values()) == 5


def test_cutting_below_the_first_segment_begins_anew() -> None:
    sample = SampleLog(segment_bytes=len(batch(b"a")), retention_ms=0)
    for _ in range(5):
        sample.append(b"a")
    sample.log.delete_records(3)
    sample.log.expire(Millis(0))
    sample.log.truncate_to(1, sample.now)
    assert (sample.log.log_start_offset, sample.log.log_end_offset, sample.log.high_watermark) == (1, 1, 1)
    assert sample.append(b"b").base_offset == 1


def test_beginning_anew_far_ahead(sample: SampleLog) -> None:
    sample.append(b"a", leader_epoch=2)
    sample.log.restart_at(100, sample.now)
    assert (sample.log.log_start_offset, sample.log.log_end_offset, sample.log.high_watermark) == (100, 100, 100)
    assert Epochs.decode(bytes(sample.disk.read("leader-epoch-checkpoint", 0, 99))).entries == ()
    assert sample.log.segments.bases == [100]
    assert sample.append(b"b").base_offset == 100


# durability


def test_what_must_be_synced_is_told_until_it_is_done(sample: SampleLog) -> None:
    sample.append(b"a")
    what = sample.log.unsynced()
    assert what.offset == 1
    assert f"{0:020d}.log" in what.names
    assert "leader-epoch-checkpoint" in what.names
    sample.append(b"b")
    sample.log.synced(what, sample.now)
    assert sample.log.recovery_point == 1
    assert sample.log.unsynced().offset == 2
    sample.log.synced(sample.log.unsynced(), sample.now)
    assert sample.log.unsynced().names == ()


def test_a_sync_that_a_cut_overtook_proves_nothing(sample: SampleLog) -> None:
    for _ in range(3):
        sample.append(b"a")
    what = sample.log.unsynced()
    sample.log.truncate_to(1, sample.now)
    for _ in range(3):
        sample.append(b"b")
    sample.log.synced(what, sample.now)
    assert sample.log.recovery_point == 0


def test_rolled_segments_can_be_synced_alone(sample: SampleLog) -> None:
    sample.append(b"a")
    sample.log.roll(sample.now)
    sample.append(b"b")
    what = sample.log.unsynced(sealed_only=True)
    assert what.offset == 1
    assert f"{1:020d}.log" not in what.names
    assert {f"{0:020d}.log", f"{0:020d}.index", f"{1:020d}.snapshot"} <= set(what.names)
    sample.log.synced(what, sample.now)
    assert sample.log.recovery_point == 1


def test_appends_tell_when_a_flush_is_due() -> None:
    sample = SampleLog(flush_messages=3)
    assert [sample.append(b"a").must_flush for _ in range(3)] == [False, False, True]
    sample.log.synced(sample.log.unsynced(), sample.now)
    assert not sample.append(b"a").must_flush


def test_closing_an_untouched_log_writes_nothing(sample: SampleLog) -> None:
    sample.append(b"a", producer_id=7, producer_epoch=0, base_sequence=0)
    sample.log.close()
    sample.log.synced(sample.log.unsynced(), sample.now)
    before = dict(sample.disk.sizes())
    log = sample.opened()
    log.close()
    assert log.unsynced().names == ()
    assert dict(sample.disk.sizes()) == before


def test_closing_completes_the_time_index_even_if_all_is_synced(sample: SampleLog) -> None:
    sample.append(b"a", time=50)
    sample.log.synced(sample.log.unsynced(), sample.now)
    sample.log.close()
    assert f"{0:020d}.timeindex" in sample.log.unsynced().names
    assert sample.opened(high_watermark=1).offset_for_time(50).offset == 0


# identity and trouble


def test_a_topics_id_is_remembered_and_another_one_refused(sample: SampleLog) -> None:
    assert sample.log.topic_id == NO_TOPIC_ID
    sample.log.identify(TOPIC)
    sample.log.identify(TOPIC)
    sample.log.identify(NO_TOPIC_ID)
    assert sample.opened().topic_id == TOPIC
    with pytest.raises(KafkaError) as error:
        sample.log.identify(TopicId(UUID(int=5)))
    assert refused(error) is ErrorCode.INCONSISTENT_TOPIC_ID


def test_a_disk_that_fails_takes_the_partition_offline(sample: SampleLog) -> None:
    sample.append(b"a")
    sample.disk.fail_next = True  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(KafkaError) as error:
            sample.append(b"b")
        assert refused(error) is ErrorCode.KAFKA_STORAGE_ERROR
    with pytest.raises(KafkaError) as error:
        sample.log.read(0, 100)
    assert refused(error) is ErrorCode.KAFKA_STORAGE_ERROR
    assert sample.log.is_offline
    assert len(sample.said("LogOffline")) == 1
    sample.log.close()


def test_a_deleted_log_refuses_everything(sample: SampleLog) -> None:
    sample.log.discard()
    with pytest.raises(KafkaError) as error:
        sample.append(b"b")
    assert refused(error) is ErrorCode.KAFKA_STORAGE_ERROR


def test_settings_can_change_while_it_runs() -> None:
    sample = SampleLog()
    sample.append(b"a")
    sample.log.configure(sample.settings.replacing(segment_bytes=HEADER_BYTES + 20))
    sample.append(b"b")
    assert list(sample.log.segments.bases) == [0, 1]


def test_index_entries_are_those_that_dump_log_checks() -> None:
    """Each offset entry ends a batch that begins at its position; each time entry names a batch with that time."""
    sample = SampleLog(segment_bytes=3_000, index_interval_bytes=300)
    for index in range(60):
        sample.append(b"v" * (index % 7 * 20), b"w", time=1_000 + index * (-1) ** index * 3)
    sample.log.roll(sample.now)
    for segment in sample.log.segments[:-1]:
        data = segment.read(0, segment.size_bytes)
        begins = dict(headers(data))
        ends = {header.last_offset: header for header in begins.values()}
        assert len(segment.index) > 2
        for offset, position in segment.index.entries():
            assert begins[position].last_offset == offset
        times = segment.times.entries()
        assert times == sorted(set(times))
        for time, offset in times:
            assert ends[offset].max_timestamp == time
        assert times[-1][0] == max(header.max_timestamp for header in begins.values())


def test_a_cut_is_on_the_device_before_a_new_segment_begins() -> None:
    """Otherwise a power cut could bring back what was cut off, just in front of the new segment."""
    sample = SampleLog(segment_bytes=3 * len(batch(b"0")))
    for index in range(4):
        sample.append(str(index).encode())
    disk = sample.disk
    assert isinstance(disk, MemoryDisk)
    sample.log.truncate_to(2, sample.now)
    assert disk.syncs == 1, "of the segment that went"
    sample.append(b"n", leader_epoch=1)
    assert disk.syncs == 1
    sample.append(b"m", leader_epoch=1)
    assert disk.syncs == 2
    assert disk.durable[f"{0:020d}.log"] == disk.files[f"{0:020d}.log"]
    sample.log.roll(sample.now)
    assert disk.syncs == 2


@pytest.mark.parametrize("is_flushed", [False, True])
def test_what_was_flushed_is_cut_on_the_device_before_its_indexes_are(is_flushed: bool) -> None:
    """Otherwise a power cut could leave all of the segment with times of its beginning only, which are believed."""
    sample = SampleLog(index_interval_bytes=0)
    for index in range(5):
        sample.append(str(index).encode(), time=1_000 + index)
    disk = sample.disk
    assert isinstance(disk, MemoryDisk)
    if is_flushed:
        what = sample.log.unsynced()
        disk.sync(what.names)
        sample.log.synced(what, sample.now)
    before = disk.sizes()
    at_sync: list[Mapping[str, int]] = []
    disk.sync = lambda names: at_sync.append(disk.sizes())  # type: ignore[method-assign]
    sample.log.truncate_to(2, sample.now)
    log, index, times = (f"{0:020d}{suffix}" for suffix in (".log", ".index", ".timeindex"))
    assert [(sizes[log] < before[log], sizes[index], sizes[times]) for sizes in at_sync] == [
        (True, before[index], before[times])
    ] * is_flushed
    assert sample.log.segments[0].times.entries() == [(1_001, 1)]


def test_segments_that_are_cut_off_go_for_good_one_by_one_the_last_one_first() -> None:
    """Otherwise a power cut could bring back one of them without those in front of it."""
    sample = SampleLog(segment_bytes=len(batch(b"0")))
    for index in range(5):
        sample.append(str(index).encode())
    disk = sample.disk
    assert isinstance(disk, MemoryDisk)
    left: list[list[int]] = []
    sync = disk.sync

    def noted_sync(names: Iterable[str]) -> None:
        left.append(sorted(int(name[:20]) for name in disk.files if name.endswith(".log")))
        sync(names)

    disk.sync = noted_sync  # type: ignore[method-assign]
    sample.log.truncate_to(2, sample.now)
    assert left == [[0, 1, 2, 3], [0, 1, 2]]
    left.clear()
    sample.log.restart_at(50, sample.now)
    assert left == [[0, 1], [0], []]
