"""Looks at every file of an open log as ``kafka-dump-log`` does, and at whether they agree with one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pykafka_broker.log.disk import Disk
from pykafka_broker.log.epochs import Epochs
from pykafka_broker.log.loading import EPOCHS_FILE
from pykafka_broker.log.partition import Isolation, PartitionLog
from pykafka_broker.log.producers import ActiveProducer, Producers
from pykafka_broker.log.segment import ABORTED_INDEX, INDEX, LOG, TIME_INDEX, Segment, file_name, walk
from pykafka_broker.wire.batch import BatchHeader, crc_is_right, read_end_marker, records
from tests.doubles.sample_log import PLACE


class StoredBatch(NamedTuple):
    """A batch as it stands in a file."""

    header: BatchHeader
    data: bytes


def inspected(log: PartitionLog, disk: Disk, *, has_gaps: bool = False) -> list[StoredBatch]:
    """Every batch of a log, after its segments, their indexes, the epochs and the producers were found to be right.

    With ``has_gaps`` offsets may be missing, as in compacted topics.
    """
    sizes = disk.sizes()
    found: list[StoredBatch] = []
    for segment in log.segments:
        base = segment.base_offset
        assert segment.size_bytes == sizes[file_name(base, LOG)], f"{segment.name} is longer than is known"
        batches = _batches(disk, segment)
        end = found[-1].header.next_offset if found else base
        assert has_gaps or end == base, f"{segment.name} does not begin at {end}"
        for _, batch in batches:
            begin = batch.header.base_offset
            end = end if found or batch is not batches[0][1] else begin
            assert begin == end or (has_gaps and begin > end), f"{segment.name} goes on with {begin} instead of {end}"
            end = batch.header.next_offset
        assert not batches or batches[0][1].header.base_offset >= base
        _see_index(segment, batches)
        _see_times(segment, batches, is_last=segment is log.segments[-1])
        _see_aborted(segment, batches)
        found += [batch for _, batch in batches]
    bases = set(log.segments.bases)
    for name in sizes:
        assert not name.endswith((".cleaned", ".swap", ".tmp")), f"{name} is left over"
        if name.endswith((LOG, INDEX, TIME_INDEX, ABORTED_INDEX)):
            assert int(name[:20]) in bases, f"{name} belongs to no segment"
    epochs = Epochs.decode(disk.read(EPOCHS_FILE, 0, sizes[EPOCHS_FILE])) if EPOCHS_FILE in sizes else Epochs()
    for batch in found:
        epoch, at = batch.header.leader_epoch, max(batch.header.base_offset, log.log_start_offset)
        if epoch >= 0 and at <= batch.header.last_offset:
            assert epochs.epoch_of(at) == epoch, f"{epochs.entries} has another epoch than {epoch} at {at}"
            known = log.end_of_epoch(epoch)
            assert known.epoch == epoch
            assert known.end_offset >= batch.header.next_offset
    if not log.segments[-1].size_bytes:
        assert log.log_end_offset == log.segments[-1].base_offset
    else:
        assert log.log_end_offset == found[-1].header.next_offset
    assert log.log_start_offset <= log.high_watermark <= log.log_end_offset
    assert log.recovery_point <= log.log_end_offset
    _see_what_times_lead_to(log, found)
    if not has_gaps:
        _see_producers(log, found)
    return found


def _see_what_times_lead_to(log: PartitionLog, batches: Sequence[StoredBatch]) -> None:
    """Every time leads to the first record that is as late."""
    here = [record for _, data in batches for record in records(data) if record.offset >= log.log_start_offset]
    for target in sorted({record.timestamp for record in here})[:: max(1, len(here) // 5)]:
        first = next(record.offset for record in here if record.timestamp >= target)
        told = log.offset_for_time(target, Isolation.LOG_END).offset
        assert told == first, f"the time {target} leads to {told} instead of {first}"


def _see_producers(log: PartitionLog, batches: Sequence[StoredBatch]) -> None:
    """Of producers that wrote more than markers the same is known that their batches say."""
    told = {one.producer_id: one for one in log.producers_state()}
    for producer, expected in replayed(batches).items():
        if expected.last_sequence >= 0:
            known = told[producer]
            assert (known.last_sequence, known.producer_epoch) == (expected.last_sequence, expected.producer_epoch)


def _batches(disk: Disk, segment: Segment) -> list[tuple[int, StoredBatch]]:
    found = []
    for position, header in walk(disk, segment.name, 0, segment.size_bytes):
        data = disk.read(segment.name, position, header.size_bytes)
        assert crc_is_right(data), f"{segment.name} has a wrong batch at {position}"
        found.append((position, StoredBatch(header, data)))
    return found


def _see_index(segment: Segment, batches: Sequence[tuple[int, StoredBatch]]) -> None:
    by_position = {position: batch.header.last_offset for position, batch in batches}
    entries = segment.index.entries()
    assert entries == sorted(set(entries)), f"{segment.index.name} is out of order: {entries}"
    for offset, position in entries:
        assert by_position.get(position) == offset, f"{segment.index.name} says that {offset} lies at {position}"


def _see_times(segment: Segment, batches: Sequence[tuple[int, StoredBatch]], *, is_last: bool) -> None:
    greatest: dict[int, tuple[int, int]] = {}
    newest = (-1, segment.base_offset)
    for _, batch in batches:
        if batch.header.max_timestamp > newest[0]:
            newest = (batch.header.max_timestamp, batch.header.last_offset)
        greatest[batch.header.last_offset] = newest
    entries = segment.times.entries()
    times = [time for time, _ in entries]
    assert times == sorted(set(times)), f"{segment.times.name} is out of order: {entries}"
    for time, offset in entries:
        assert greatest.get(offset) == (time, offset), f"{segment.times.name} says that {offset} has the time {time}"
    assert segment.max_timestamp == newest, f"{segment.name} has {newest}, not {segment.max_timestamp}"
    if not is_last and newest[0] >= 0:
        assert entries[-1:] == [newest], f"{segment.times.name} lacks its last entry {newest}"


def _see_aborted(segment: Segment, batches: Sequence[tuple[int, StoredBatch]]) -> None:
    markers = {}
    for _, batch in batches:
        marker = read_end_marker(batch.data) if batch.header.is_control else None
        if marker is not None and not marker.committed:
            markers[batch.header.last_offset] = batch.header.producer_id
    offsets = [entry.last_offset for entry in segment.aborted.entries]
    assert offsets == sorted(set(offsets))
    for entry in segment.aborted.entries:
        assert markers.get(entry.last_offset) == entry.producer_id, f"{segment.aborted.name} has {entry}"


def replayed(batches: Sequence[StoredBatch]) -> dict[int, ActiveProducer]:
    """What is known of producers that wrote these batches and no others."""
    producers = Producers(PLACE)
    for header, data in batches:
        producers.record(header, header.base_offset, read_end_marker(data) if header.is_control else None)
    return {one.producer_id: one for one in producers.active()}
