"""Opening a partition: after a clean shutdown, after a crash, and with leftovers of all kinds."""

from __future__ import annotations

from contextlib import suppress

import pytest

from pykafka_broker.log.loading import Abandoned
from pykafka_broker.log.partition import Isolation
from pykafka_broker.model.errors import KafkaError
from pykafka_broker.wire.batch import read_header
from tests.doubles.memory_disk import MemoryDisk
from tests.doubles.sample_log import SampleLog, batch


@pytest.fixture
def sample() -> SampleLog:
    """Ten batches in five segments, closed."""
    found = SampleLog(segment_bytes=2 * len(batch(b"0")), retention_ms=-1)
    for index in range(10):
        found.append(str(index).encode(), producer_id=7, producer_epoch=0, base_sequence=index, leader_epoch=index // 4)
    found.log.close()
    return found


def disk_of(sample: SampleLog) -> MemoryDisk:
    assert isinstance(sample.disk, MemoryDisk)
    return sample.disk


def log_file(base: int, suffix: str = ".log") -> str:
    return f"{base:020d}{suffix}"


ALL = [(index, str(index).encode()) for index in range(10)]


@pytest.mark.parametrize("clean", [True, False])
def test_everything_is_there_again(sample: SampleLog, clean: bool) -> None:
    log = sample.opened(clean=clean, high_watermark=9, log_start_offset=3)
    assert (log.log_start_offset, log.high_watermark, log.log_end_offset) == (3, 9, 10)
    assert sample.values() == ALL[3:]
    assert log.latest_epoch == 2
    assert [one.last_sequence for one in log.producers_state()] == [9]
    assert log.segments.bases == [0, 2, 4, 6, 8]
    assert bool(sample.said("SegmentRecovered")) != clean


def test_a_clean_start_reads_little(sample: SampleLog) -> None:
    reads: list[str] = []
    disk = disk_of(sample)
    read = disk.read

    def counting(name: str, start: int, size: int) -> bytes:
        reads.append(name)
        return read(name, start, size)

    disk.read = counting  # type: ignore[method-assign]
    sample.opened()
    assert [name for name in reads if name.endswith(".log")] == [log_file(8)] * len(
        [name for name in reads if name.endswith(".log")]
    )
    assert len(reads) <= 5


def test_the_high_watermark_lies_within_the_log(sample: SampleLog) -> None:
    assert sample.opened(high_watermark=99).high_watermark == 10
    assert sample.opened(high_watermark=0, log_start_offset=4).high_watermark == 4


def test_a_torn_tail_is_cut_after_a_crash(sample: SampleLog) -> None:
    disk = disk_of(sample)
    disk.truncate(log_file(8), disk.sizes()[log_file(8)] - 3)
    log = sample.opened(clean=False, recovery_point=8)
    assert log.log_end_offset == 9
    assert sample.values() == ALL[:9]
    assert [one.last_sequence for one in log.producers_state()] == [8]
    assert [said["base_offset"] for said in sample.said("SegmentRecovered")] == [8]
    assert sample.append(b"new", producer_id=7, producer_epoch=0, base_sequence=9, leader_epoch=2).base_offset == 9


def test_damage_in_the_middle_ends_the_log_there(sample: SampleLog) -> None:
    disk_of(sample).files[log_file(4)][-1] ^= 1
    log = sample.opened(clean=False)
    assert log.log_end_offset == 5
    assert log.segments.bases == [0, 2, 4]
    assert log_file(6) not in sample.disk.sizes()
    assert len(sample.said("SegmentLost")) == 2
    assert sample.values() == ALL[:5]
    assert log.latest_epoch == 1


@pytest.mark.parametrize("policy, end", [("delete", 4), ("compact", 10)])
def test_a_segment_lost_in_the_middle_ends_the_log_unless_it_is_compacted(
    sample: SampleLog, policy: str, end: int
) -> None:
    disk_of(sample).remove(log_file(4))
    sample.settings = sample.settings.replacing(cleanup_policy=(policy,))
    assert sample.opened(clean=False).log_end_offset == end
    assert sample.values() == [entry for entry in ALL[:end] if entry[0] not in (4, 5)]


def test_the_last_time_of_a_flushed_segment_is_found_again(sample: SampleLog) -> None:
    disk_of(sample).truncate(log_file(6, ".timeindex"), 0)
    log = sample.opened(clean=False, recovery_point=8)
    assert log.segments[3].max_timestamp == (1_000, 6)
    assert disk_of(sample).sizes()[log_file(6, ".timeindex")] == 12


def test_damage_below_the_recovery_point_is_not_looked_for(sample: SampleLog) -> None:
    disk_of(sample).files[log_file(4)][-1] ^= 1
    log = sample.opened(clean=False, recovery_point=8)
    assert log.log_end_offset == 10


def test_a_mark_that_lies_is_found_out_at_the_last_segment(sample: SampleLog) -> None:
    disk = disk_of(sample)
    disk.truncate(log_file(8), disk.sizes()[log_file(8)] - 3)
    assert sample.opened(clean=True).log_end_offset == 9


@pytest.mark.parametrize("base", [0, 4, 8])
def test_a_missing_index_is_made_again_even_after_a_clean_shutdown(sample: SampleLog, base: int) -> None:
    disk = disk_of(sample)
    before = {name: disk.read(name, 0, 999) for name in disk.sizes() if name[20:] in (".index", ".timeindex")}
    disk.remove(log_file(base, ".index"))
    disk.remove(log_file(base, ".timeindex"))
    log = sample.opened(clean=True)
    assert log.log_end_offset == 10
    assert sample.values() == ALL
    assert {name: disk.read(name, 0, 999) for name in before} == before
    sample.facts.clear()
    sample.opened(clean=True)
    assert sample.said("SegmentRecovered") == []


def test_a_preallocated_index_full_of_zeros_is_made_again_after_a_crash(sample: SampleLog) -> None:
    disk_of(sample).append(log_file(8, ".index"), bytes(1_000))
    disk_of(sample).append(log_file(8, ".timeindex"), bytes(1_200))
    log = sample.opened(clean=False, recovery_point=8)
    assert sample.disk.sizes()[log_file(8, ".index")] == 0
    assert sample.disk.sizes()[log_file(8, ".timeindex")] == 12
    assert log.log_end_offset == 10


def test_an_index_of_aborted_transactions_that_makes_no_sense_is_made_again() -> None:
    sample = SampleLog()
    sample.append(b"x", producer_id=1, producer_epoch=0, base_sequence=0, transactional=True)
    sample.end_transaction(1, committed=False)
    sample.log.close()
    disk_of(sample).truncate(log_file(0, ".txnindex"), 20)
    sample.opened(high_watermark=2)
    assert sample.log.read(0, 999, isolation=Isolation.READ_COMMITTED).aborted == [(1, 0)]


def test_leftovers_are_removed(sample: SampleLog) -> None:
    disk = disk_of(sample)
    left = [
        *(log_file(0, ".log.deleted"), log_file(2, ".log.cleaned"), "leader-epoch-checkpoint.tmp"),
        *(log_file(55, suffix) for suffix in (".index", ".timeindex", ".txnindex")),
        log_file(99, ".snapshot"),
    ]
    for name in left:
        disk.append(name, b"")
    sample.opened()
    assert set(left).isdisjoint(disk.sizes())
    assert sample.values() == ALL


def test_a_finished_compaction_takes_the_place_of_what_it_covers(sample: SampleLog) -> None:
    disk = disk_of(sample)
    merged = b"".join(disk.read(log_file(base), 0, 9_999) for base in (2, 4))
    for suffix, data in ((".log", merged), (".index", b""), (".timeindex", b"")):
        disk.append(log_file(2, suffix) + ".swap", data)
    log = sample.opened()
    assert log.segments.bases == [0, 2, 6, 8]
    assert sample.values() == ALL


def test_an_unfinished_compaction_is_thrown_away(sample: SampleLog) -> None:
    disk = disk_of(sample)
    disk.append(log_file(2, ".log.swap"), disk.read(log_file(2), 0, 9_999))
    disk.append(log_file(0, ".log.cleaned"), b"")
    assert sample.opened().segments.bases == [0, 2, 4, 6, 8]
    assert sample.values() == ALL
    assert not any(name.endswith((".swap", ".cleaned")) for name in disk.sizes())


@pytest.mark.parametrize("text", [None, b"", b"garbage"])
def test_epochs_are_told_by_the_batches_where_their_file_is_lost(sample: SampleLog, text: bytes | None) -> None:
    disk = disk_of(sample)
    disk.remove("leader-epoch-checkpoint")
    if text is not None:
        disk.append("leader-epoch-checkpoint", text)
    sample.opened()
    assert disk.read("leader-epoch-checkpoint", 0, 99) == b"0\n3\n0 0\n1 4\n2 8\n"


def test_epochs_are_told_by_all_batches_even_if_only_some_are_recovered(sample: SampleLog) -> None:
    disk_of(sample).remove("leader-epoch-checkpoint")
    sample.opened(clean=False, recovery_point=6)
    assert disk_of(sample).read("leader-epoch-checkpoint", 0, 99) == b"0\n3\n0 0\n1 4\n2 8\n"


def test_epochs_of_recovered_batches_are_told_by_them_and_not_by_an_old_file(sample: SampleLog) -> None:
    disk_of(sample).replace("leader-epoch-checkpoint", b"0\n2\n0 0\n2 10\n")
    sample.opened(clean=False, recovery_point=4)
    assert disk_of(sample).read("leader-epoch-checkpoint", 0, 99) == b"0\n3\n0 0\n1 4\n2 8\n"


def test_producers_are_told_by_the_batches_where_no_snapshot_is_left(sample: SampleLog) -> None:
    disk = disk_of(sample)
    for name in list(disk.sizes()):
        if name.endswith(".snapshot"):
            disk.remove(name)
    assert [one.last_sequence for one in sample.opened().producers_state()] == [9]


def test_a_log_that_lost_more_than_was_deleted_begins_at_its_start(sample: SampleLog) -> None:
    disk = disk_of(sample)
    for base in (4, 6, 8):
        disk.remove(log_file(base))
    log = sample.opened(clean=False, log_start_offset=7)
    assert (log.log_start_offset, log.log_end_offset) == (7, 7)
    assert sample.append(b"new").base_offset == 7
    assert read_header(disk.read(log_file(7), 0, 61)).base_offset == 7


def test_an_empty_directory_becomes_an_empty_log() -> None:
    sample = SampleLog(clean=False)
    assert (sample.log.log_start_offset, sample.log.log_end_offset) == (0, 0)
    assert sorted(sample.disk.sizes()) == sorted([log_file(0), log_file(0, ".index"), log_file(0, ".timeindex")])


def test_what_was_recovered_still_has_to_be_synced(sample: SampleLog) -> None:
    log = sample.opened(clean=False, recovery_point=4)
    assert log.recovery_point == 4
    assert {log_file(4), log_file(6), log_file(8)} <= set(log.unsynced().names)
    assert log_file(2) not in log.unsynced().names


class CountingDisk(MemoryDisk):
    """Knows which bytes of log files were read, by offsets in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.read_up_to_now: list[tuple[str, int, int]] = []

    def read(self, name: str, start: int, size_bytes: int) -> bytes:
        data = super().read(name, start, size_bytes)
        if name.endswith(".log"):
            self.read_up_to_now.append((name, start, start + len(data)))
        return data

    def bytes_read(self) -> int:
        return sum(end - start for _, start, end in self.read_up_to_now)


@pytest.fixture
def grown() -> SampleLog:
    """Forty segments of twenty batches of a kilobyte, by an idempotent producer; closed."""
    found = SampleLog(CountingDisk(), segment_bytes=20 * len(batch(bytes(1_000))), retention_ms=-1)
    for index in range(800):
        found.append(bytes(1_000), producer_id=7, producer_epoch=0, base_sequence=index)
    found.log.close()
    return found


_LOOK = 8 * 1024


@pytest.mark.parametrize("recovery_point", [780, 790, 795, 800])
def test_recovery_reads_little_of_what_lies_before_the_recovery_point(grown: SampleLog, recovery_point: int) -> None:
    disk = grown.disk
    assert isinstance(disk, CountingDisk)
    disk.read_up_to_now.clear()
    log = grown.opened(clean=False, recovery_point=recovery_point)
    assert log.log_end_offset == 800
    assert [one.last_sequence for one in log.producers_state()] == [799]
    beyond = (800 - recovery_point) * len(batch(bytes(1_000)))
    # Beside it: the neighbour's end, where the recovery point lies, and headers since the snapshot before it.
    assert disk.bytes_read() <= beyond + 5 * _LOOK
    assert {name for name, _, _ in disk.read_up_to_now} <= {log_file(760), log_file(780)}


def test_recovery_from_far_back_reads_each_segment_behind_that_once(grown: SampleLog) -> None:
    disk = grown.disk
    assert isinstance(disk, CountingDisk)
    disk.read_up_to_now.clear()
    assert grown.opened(clean=False, recovery_point=400).log_end_offset == 800
    assert min(name for name, _, _ in disk.read_up_to_now) == log_file(380)
    assert disk.bytes_read() <= 400 * len(batch(bytes(1_000))) + 22 * 2 * _LOOK


def test_the_end_of_a_log_is_looked_at_again_until_it_is_flushed_after_a_crash(grown: SampleLog) -> None:
    log = grown.opened(clean=False, recovery_point=800)
    assert grown.said("SegmentRecovered") == []
    assert log.recovery_point == 799
    assert {log_file(780), log_file(780, ".index"), log_file(780, ".timeindex")} < set(log.unsynced().names)
    assert grown.opened(clean=False, recovery_point=799).recovery_point == 799
    log = grown.log
    log.synced(log.unsynced(), grown.now)
    assert log.recovery_point == 800


def test_what_was_cut_off_may_come_back_until_the_cut_is_flushed(grown: SampleLog) -> None:
    """Whether a follower cut it off or a recovery, and even if the segment has been sealed since."""
    disk = disk_of(grown)
    disk.sync(list(disk.sizes()))
    grown.log.truncate_to(795, grown.now)
    before = grown.opened(clean=False, recovery_point=795)
    before.roll(grown.now)
    disk.crash(lambda low, high: low)
    assert disk.sizes()[log_file(780)] == 20 * len(batch(bytes(1_000)))
    log = grown.opened(clean=False, recovery_point=before.recovery_point)
    assert log.log_end_offset == 800
    assert grown.values() == [(offset, bytes(1_000)) for offset in range(800)]


def test_what_lies_before_the_recovery_point_stays_flushed(grown: SampleLog) -> None:
    log = grown.opened(clean=False, recovery_point=790)
    assert log.recovery_point == 790
    assert log_file(780) in log.unsynced().names
    assert log.unsynced().offset == 800


def test_a_flushed_segment_whose_index_is_nonsense_is_checked_from_its_beginning(grown: SampleLog) -> None:
    disk = disk_of(grown)
    index = log_file(780, ".index")
    before = bytes(disk.files[index])
    disk.files[index][:] = bytes(len(before))
    log = grown.opened(clean=False, recovery_point=800)
    assert bytes(disk.files[index]) == before
    assert (log.log_end_offset, log.recovery_point) == (800, 780)
    assert grown.values() == [(offset, bytes(1_000)) for offset in range(800)]


def test_an_opening_that_is_not_wanted_any_more_ends_soon_and_is_begun_again_later(grown: SampleLog) -> None:
    seen = iter(range(10_000))
    with pytest.raises(Abandoned):
        grown.opened(clean=False, is_wanted=lambda: next(seen) < 150)
    assert next(seen) == 151
    log = grown.opened(clean=False)
    assert log.log_end_offset == 800
    assert grown.values() == [(offset, bytes(1_000)) for offset in range(800)]
    assert [one.last_sequence for one in log.producers_state()] == [799]


@pytest.mark.parametrize("batches, clean", [(0, True), (3, True), (3, False)])
def test_a_leader_that_is_started_again_does_not_write_its_epoch_again(batches: int, clean: bool) -> None:
    sample = SampleLog()
    sample.log.assign_epoch(4)
    for _ in range(batches):
        sample.append(b"v", leader_epoch=4)
    sample.log.close()
    disk = disk_of(sample)
    disk.fail_after(0)
    log = sample.opened(clean=clean, recovery_point=batches)
    log.assign_epoch(4)
    assert log.latest_epoch == 4
    disk.fail_after(None)
    log.assign_epoch(5)
    sample.append(b"v", leader_epoch=5)
    assert sample.opened(clean=clean).end_of_epoch(5) == (5, batches + 1)
    assert sample.log.end_of_epoch(4).end_offset == batches


@pytest.mark.parametrize("cut, end", [(0, 6), (5, 4), (200, 2)])
def test_a_recovery_point_within_a_batch_lets_all_of_that_be_checked(cut: int, end: int) -> None:
    sample = SampleLog()
    for index in range(3):
        sample.append(b"a", b"b", producer_id=7, producer_epoch=0, base_sequence=2 * index)
    sample.log.close()
    disk = disk_of(sample)
    disk.truncate(log_file(0), disk.sizes()[log_file(0)] - min(cut, 2 * len(batch(b"a", b"b")) - 1))
    log = sample.opened(clean=False, recovery_point=3)
    assert log.log_end_offset == end
    assert [one.last_sequence for one in log.producers_state()] == [end - 1]
    assert log.recovery_point <= 2


def test_a_last_time_that_was_found_again_is_flushed_with_the_rest(sample: SampleLog) -> None:
    disk_of(sample).truncate(log_file(6, ".timeindex"), 0)
    log = sample.opened(clean=False, recovery_point=8)
    assert log_file(6, ".timeindex") in log.unsynced().names


def test_an_index_that_is_rebuilt_is_not_believed_before_all_of_it_is_there(sample: SampleLog) -> None:
    """The process dies at each call of a recovery that makes the index of a flushed segment anew."""
    disk = disk_of(sample)
    disk.remove(log_file(0, ".index"))
    disk.remove(log_file(0, ".timeindex"))
    before = dict(disk.files)
    for calls in range(30):
        disk.files = {name: bytearray(content) for name, content in before.items()}
        disk.fail_after(calls)
        with suppress(OSError, KafkaError):
            sample.opened(clean=False, recovery_point=8)
        disk.fail_after(None)
        log = sample.opened(clean=False, recovery_point=8)
        assert log.segments[0].max_timestamp == (1_000, 0)
        assert log.log_end_offset == 10


def test_half_of_the_times_is_not_believed_below_the_recovery_point_of_the_last_segment() -> None:
    """The process dies at each call of a recovery that makes the indexes of the segment anew, then of the next one."""
    sample = SampleLog(index_interval_bytes=0)
    for index in range(5):
        sample.append(str(index).encode(), time=1_030 if index == 1 else 1_000 + index)
    sample.log.close()
    disk = disk_of(sample)
    disk.files[log_file(0, ".index")][:] = bytes(disk.sizes()[log_file(0, ".index")])
    before = dict(disk.files)
    for calls in range(30):
        disk.files = {name: bytearray(content) for name, content in before.items()}
        disk.fail_after(calls)
        with suppress(OSError, KafkaError):
            sample.opened(clean=False, recovery_point=4)
        disk.fail_after(None)
        log = sample.opened(clean=False, recovery_point=4)
        assert log.segments[0].times.entries() == [(1_030, 1)]
        assert log.log_end_offset == 5


def test_a_missing_time_index_is_made_again(sample: SampleLog) -> None:
    disk_of(sample).remove(log_file(0, ".timeindex"))
    assert sample.opened(clean=True).segments[0].times.entries() == [(1_000, 0)]


def test_what_was_cut_off_does_not_come_back_behind_what_replaced_it(sample: SampleLog) -> None:
    """A power cut undoes that a segment was removed, and spares the batches of a later epoch in front of it."""
    disk = disk_of(sample)
    old = {name: bytes(content) for name, content in disk.files.items() if name.startswith(log_file(8, ""))}
    log = sample.log
    log.truncate_to(7, sample.now)
    sample.append(b"new", leader_epoch=5)
    disk.files |= {name: bytearray(content) for name, content in old.items() if name.endswith(".log")}
    log = sample.opened(clean=False, recovery_point=6)
    assert log.log_end_offset == 8
    assert sample.values() == [*ALL[:7], (7, b"new")]


def test_a_segment_that_begins_within_the_one_before_it_is_not_part_of_the_log(sample: SampleLog) -> None:
    disk = disk_of(sample)
    old = bytes(disk.files[log_file(8)])
    sample.log.truncate_to(7, sample.now)
    sample.append(b"7", b"8", leader_epoch=2)
    disk.append(log_file(8), old)
    assert sample.opened(clean=False, recovery_point=6).log_end_offset == 9
    assert sample.values() == ALL[:9]


def test_segments_that_a_compacted_one_has_replaced_do_not_come_back(sample: SampleLog) -> None:
    disk = disk_of(sample)
    sample.settings = sample.settings.replacing(cleanup_policy=("compact",))
    disk.append(log_file(2), disk.files[log_file(4)])
    log = sample.opened(clean=False, recovery_point=8)
    assert log.segments.bases == [0, 2, 6, 8]
    assert sample.values() == ALL


def test_what_lies_behind_a_gap_below_the_recovery_point_was_flushed_and_stays(sample: SampleLog) -> None:
    """Retention took two segments, and a power cut brings the first of them back."""
    disk = disk_of(sample)
    for suffix in (".log", ".index", ".timeindex"):
        disk.remove(log_file(6, suffix))
    assert sample.opened(clean=False, recovery_point=8).log_end_offset == 10
    assert sample.values() == [*ALL[:6], *ALL[8:]]


def test_a_flushed_segment_that_does_not_reach_the_next_one_is_looked_at(sample: SampleLog) -> None:
    """The log was cut, the power went, and only some of it was undone."""
    disk = disk_of(sample)
    disk.truncate(log_file(6), disk.sizes()[log_file(6)] // 2 - 1)
    log = sample.opened(clean=False, recovery_point=8)
    assert list(log.segments[3].batches(0)) == []


def test_epochs_of_segments_between_those_that_are_checked_are_known(sample: SampleLog) -> None:
    disk_of(sample).remove(log_file(0, ".index"))
    log = sample.opened(clean=False, recovery_point=8)
    assert [log.end_of_epoch(epoch).end_offset for epoch in (0, 1, 2)] == [4, 8, 10]


def test_a_beginning_of_the_epochs_file_is_not_believed(sample: SampleLog) -> None:
    disk = disk_of(sample)
    content = bytes(disk.files["leader-epoch-checkpoint"])
    for size in range(len(content)):
        disk.replace("leader-epoch-checkpoint", content[:size])
        log = sample.opened(clean=False)
        assert [log.end_of_epoch(epoch).end_offset for epoch in (0, 1, 2)] == [4, 8, 10]


def test_the_epochs_file_of_a_lost_log_is_written_anew() -> None:
    disk = MemoryDisk()
    disk.append("leader-epoch-checkpoint", b"\0\0\0\0")
    SampleLog(disk, clean=False)
    assert disk.files["leader-epoch-checkpoint"] == b"0\n0\n"


def test_the_last_time_before_the_recovery_point_is_synced_again(sample: SampleLog) -> None:
    """Its entry may have been written by a process that died before it was synced."""
    log = sample.opened(clean=False, recovery_point=8)
    assert log_file(6, ".timeindex") in log.unsynced().names


def test_something_else_in_the_place_of_the_last_time_is_replaced(sample: SampleLog) -> None:
    disk = disk_of(sample)
    disk.files[log_file(6, ".timeindex")][-12:] = bytes(range(12))
    assert sample.opened(clean=False, recovery_point=8).segments[3].times.entries() == [(1_000, 6)]


def test_what_of_a_swap_was_not_complete_is_removed_before_what_tells_so(sample: SampleLog) -> None:
    disk = disk_of(sample)
    disk.append(log_file(0, ".log.cleaned"), b"half")
    disk.append(log_file(0, ".timeindex.swap"), bytes(12))
    before = dict(disk.files)
    for calls in range(6):
        disk.files = {name: bytearray(content) for name, content in before.items()}
        disk.fail_after(calls)
        with suppress(OSError):
            sample.opened(clean=False, recovery_point=8)
        disk.fail_after(None)
        assert sample.opened(clean=False, recovery_point=8).segments[0].max_timestamp == (1_000, 0)


def test_a_log_start_behind_the_end_is_not_believed_after_a_clean_shutdown(sample: SampleLog) -> None:
    log = sample.opened(clean=True, log_start_offset=700)
    assert (log.log_start_offset, log.log_end_offset) == (0, 10)
    assert sample.said("LogStartSenseless")
