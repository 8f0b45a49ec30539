"""A partition as it is found after a crash, held against what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.loading import replay
from pykafka_broker.log.partition import Isolation, PartitionLog
from pykafka_broker.log.producers import Producers
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import BatchHeader, Record, records
from pykafka_broker.wire.formats import headers
from tests.doubles.recorded_disk import Files, RecordedDisk
from tests.doubles.sample_log import PLACE, read_back

NOW = Millis(1_000_000)


@dataclass(frozen=True, slots=True)
class Marks:
    """What the checkpoints at the top of the log directory say."""

    recovery_point: int = 0
    log_start: int = 0
    high_watermark: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a partition at a moment: the least that must be found, and the most that may be."""

    marks: Marks = field(default_factory=Marks)
    synced: int = 0
    """The offset below which everything reached the device."""
    start: int = 0
    """The greatest offset at which the log may begin; compaction and retention may have taken what lies below."""
    keys: Mapping[bytes, int] = field(default_factory=dict)
    """Of a compacted topic: the newest offset of each key that reached the device."""


@dataclass(frozen=True, slots=True)
class Written:
    """All that was ever appended at an offset; more than one thing where the log was cut and went on."""

    values: dict[int, set[Record]] = field(default_factory=dict)


def _plain(record: Record) -> Record:
    return record._replace(headers=())


def batches(log: PartitionLog, start: int) -> list[tuple[BatchHeader, bytes]]:
    """Everything that can be read from an offset on."""
    found: list[tuple[BatchHeader, bytes]] = []
    offset = start
    while True:
        given = log.read(offset, 1 << 20, isolation=Isolation.LOG_END)
        if not given.size_bytes:
            return found
        data = read_back(given.pieces)
        for position, header in headers(data):
            found.append((header, data[position : position + header.size_bytes]))
        offset = found[-1][0].next_offset


def open_found(disk: RecordedDisk, settings: TopicSettings, marks: Marks) -> PartitionLog:
    """The partition as the next process opens it."""
    return PartitionLog.open(
        disk,
        PLACE,
        settings,
        NOW,
        clean=False,
        recovery_point=marks.recovery_point,
        log_start_offset=marks.log_start,
        high_watermark=marks.high_watermark,
    )


def check(files: Files, settings: TopicSettings, known: Known, after: Known, written: Written) -> RecordedDisk:
    """Open what was found, and look at everything; gives the disk, on which recovery has left its traces.

    What was promised before the operation during which the machine stopped (``known``) holds, unless that operation
    was about to take it back (``after``).
    """
    disk = RecordedDisk(files)
    log = open_found(disk, settings, known.marks)
    is_compacted = "compact" in settings.cleanup_policy
    assert log.log_end_offset >= min(known.synced, after.synced), "something synced is lost"
    assert log.log_start_offset <= max(known.start, after.start) or log.log_start_offset <= known.synced
    found = batches(log, log.log_start_offset)
    expected = found[0][0].base_offset if found else log.log_end_offset
    assert expected <= log.log_start_offset or is_compacted
    newest: dict[bytes, int] = {}
    for header, batch in found:
        assert header.base_offset == expected or (is_compacted and header.base_offset > expected), "a hole"
        expected = header.next_offset
        for record in records(batch):
            assert _plain(record) in written.values[record.offset], "not what was written"
            if record.key is not None:
                newest[record.key] = record.offset
    assert expected == log.log_end_offset or is_compacted
    if is_compacted:
        for key, offset in known.keys.items():
            assert newest.get(key, -1) >= offset, f"the newest record of {key!r} is lost"
    check_indexes(log)
    check_times(log, found)
    check_epochs(log, found)
    if not is_compacted:
        check_producers(log)
    check_that_it_goes_on(log, disk, settings)
    return disk


def check_indexes(log: PartitionLog) -> None:
    """What kafka-dump-log looks at: entries name batches by their last offsets, in ascending order."""
    for segment in log.segments:
        begins = dict(headers(segment.read(0, segment.size_bytes)))
        entries = list(segment.index.entries())
        assert entries == sorted(set(entries))
        for offset, position in entries:
            assert position in begins, "an index entry names no batch"
            assert begins[position].last_offset == offset, "an index entry names another batch"
        ends = {header.last_offset: header.max_timestamp for header in begins.values()}
        times = list(segment.times.entries())
        assert times == sorted(set(times))
        for time, offset in times:
            assert ends.get(offset) == time, "a time entry names a batch with another time"


def check_times(log: PartitionLog, found: list[tuple[BatchHeader, bytes]]) -> None:
    """Every time leads to the first record that is as late."""
    here = [record for header, batch in found if not header.is_control for record in records(batch)]
    here = [record for record in here if record.offset >= log.log_start_offset]
    for target in sorted({record.timestamp for record in here})[:: max(1, len(here) // 5)]:
        first = next(record for record in here if record.timestamp >= target)
        assert log.offset_for_time(target, Isolation.LOG_END).offset == first.offset, "a time leads elsewhere"


def check_epochs(log: PartitionLog, found: list[tuple[BatchHeader, bytes]]) -> None:
    """The leader epochs are those of the batches."""
    for header, _ in found:
        end = log.end_of_epoch(header.leader_epoch)
        assert end.epoch == header.leader_epoch
        assert end.end_offset >= header.next_offset


def check_producers(log: PartitionLog) -> None:
    """What is known of producers is what their batches say."""
    anew = Producers(PLACE)
    for segment in log.segments:
        replay(anew, segment, segment.base_offset)
    told = {one.producer_id: one for one in log.producers_state()}
    for expected in anew.active():
        if expected.last_sequence < 0:
            continue  # only a marker is left in the log
        assert told[expected.producer_id].last_sequence == expected.last_sequence
        assert told[expected.producer_id].producer_epoch == expected.producer_epoch


def check_that_it_goes_on(log: PartitionLog, disk: RecordedDisk, settings: TopicSettings) -> None:
    """The log takes a record, is closed, and has it when it is opened again in good order."""
    from tests.doubles.sample_log import batch

    recovered = RecordedDisk(disk.files)
    again = open_found(recovered, settings, Marks(0, log.log_start_offset, log.high_watermark))
    assert again.log_end_offset == log.log_end_offset
    again.append(NOW, batch(b"after the crash", time=NOW), leader_epoch=max(0, again.latest_epoch))
    again.advance_high_watermark(again.log_end_offset)
    again.close()
    last = PartitionLog.open(
        RecordedDisk(recovered.files),
        PLACE,
        settings,
        NOW,
        clean=True,
        recovery_point=again.log_end_offset,
        log_start_offset=again.log_start_offset,
        high_watermark=again.high_watermark,
    )
    (header, data) = batches(last, again.log_end_offset - 1)[-1]
    assert [record.value for record in records(data)] == [b"after the crash"]
    assert header.next_offset == log.log_end_offset + 1
