"""Compaction: the last value of every key stays, older ones go (Kafka's ``LogCleaner``, ``LogCleanerManager``).

A round first notes the newest offset of each key among the dirty segments, then writes all segments below the end of
that range anew, without what is superseded, and leaves it to the partition to put them in place. It is a generator
that gives way often, telling how many bytes it has read and written since, so that its driver can let others run and
hold it back; it reads only sealed segments, which do not change. What
stays of one batch is ``batch_filter``'s to say.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import pairwise, takewhile
from typing import NamedTuple, Protocol

from pykafka_broker.log.aborted import Aborted
from pykafka_broker.log.batch_filter import BatchFilter, CleanedTransactions, Kept, key_digest, paced
from pykafka_broker.log.disk import Disk
from pykafka_broker.log.producers import Producers
from pykafka_broker.log.segment import CLEANED, SWAP, Segment
from pykafka_broker.log.segments import SegmentSettings, create_segment
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import BatchHeader, CorruptBatch, Record
from pykafka_broker.wire.formats import crc_is_right, header_at, records

KEYS_LIMIT = 500_000
"""Keys one round may remember, some 100 MB; what does not fit is left to the next round."""


class CompactionSettings(SegmentSettings, Protocol):
    """What of a topic's settings matters here."""

    @property
    def cleanup_policy(self) -> tuple[str, ...]: ...
    @property
    def min_cleanable_dirty_ratio(self) -> float: ...
    @property
    def min_compaction_lag_ms(self) -> int: ...
    @property
    def max_compaction_lag_ms(self) -> int: ...
    @property
    def delete_retention_ms(self) -> int: ...


class Dirt(NamedTuple):
    """How much of a log is worth compacting: offsets from ``first_dirty`` up to ``end``."""

    first_dirty: int
    end: int
    clean_bytes: int
    dirty_bytes: int
    is_overdue: bool

    @property
    def ratio(self) -> float:
        """The dirty part of all that would be written anew."""
        return self.dirty_bytes / max(1, self.clean_bytes + self.dirty_bytes)


class Group(NamedTuple):
    """Neighbouring segments and the one that has what is left of them."""

    old: Sequence[Segment]
    new: Segment


class Compacted(NamedTuple):
    """A finished round: segments to be put in place, and up to where the log is clean then."""

    groups: list[Group]
    clean_up_to: int
    bytes_before: int
    bytes_after: int
    cuts: int
    """How often the log had been cut when the round began."""


def measure(
    segments: Sequence[Segment],
    now: Millis,
    settings: CompactionSettings,
    *,
    first_dirty: int,
    log_start_offset: int,
    last_stable_offset: int,
) -> Dirt | None:
    """What could be compacted, None if that is nothing or not worth it yet.

    The active segment is never touched, nor what is not decided yet or younger than ``min.compaction.lag.ms``.
    """
    if "compact" not in settings.cleanup_policy:
        return None
    if not log_start_offset <= first_dirty <= segments[-1].base_offset:
        first_dirty = log_start_offset
    sealed = [(segment, following.base_offset) for segment, following in pairwise(segments)]
    sealed = [entry for entry in sealed if entry[1] <= last_stable_offset]
    clean = [entry for entry in sealed if entry[1] <= first_dirty]
    dirty = sealed[len(clean) :]
    if settings.min_compaction_lag_ms > 0:
        youngest = now - settings.min_compaction_lag_ms
        dirty = list(takewhile(lambda entry: entry[0].largest_timestamp() <= youngest, dirty))
    if not dirty:
        return None
    dirt = Dirt(
        first_dirty,
        dirty[-1][1],
        sum(segment.size_bytes for segment, _ in clean),
        sum(segment.size_bytes for segment, _ in dirty),
        _oldest(segment for segment, _ in dirty) < now - settings.max_compaction_lag_ms,
    )
    is_worth_it = dirt.is_overdue or dirt.ratio > settings.min_cleanable_dirty_ratio
    return dirt if dirt.dirty_bytes and is_worth_it else None


def _oldest(segments: Iterable[Segment]) -> int:
    """The time of the oldest segment's first batch; what bears no time (format 0) is never too old."""
    return min((time for segment in segments if (time := segment.first_timestamp()) >= 0), default=1 << 62)


def compact(
    disk: Disk,
    segments: Sequence[Segment],
    dirt: Dirt,
    now: Millis,
    settings: CompactionSettings,
    producers: Producers,
    *,
    cuts: int = 0,
    keys_limit: int = KEYS_LIMIT,
) -> Generator[int, None, Compacted]:
    """One round; the new segments' files have the ending ``.cleaned`` and are ``settle``d before they are adopted.

    ``cuts`` is handed through. A segment that is deleted meanwhile is a ``FileNotFoundError``.
    """
    scope = [one for one, following in pairwise(segments) if following.base_offset <= dirt.end]
    # Of all segments: a transaction with data here may have been aborted by a marker further on.
    aborted = [entry for segment in segments for entry in segment.aborted.entries]
    newest, known_up_to, clean_up_to = yield from _newest_offsets(scope, aborted, dirt, keys_limit)
    scope = [segment for segment in scope if segment.base_offset < known_up_to]
    batch_filter = BatchFilter(
        newest, known_up_to, CleanedTransactions(aborted), producers.last_batches(), now, settings.delete_retention_ms
    )
    old_horizon_ms = _horizon_of_old_tombstones(segments, dirt, settings)
    groups = []
    for old in _grouped(scope, settings):
        new = create_segment(disk, old[0].base_offset, settings, now, CLEANED)
        for segment in old:
            batch_filter.drops_old_tombstones = segment.modified_ms() <= old_horizon_ms
            yield from _clean_into(new, segment, batch_filter)
        new.seal()
        if settings.preallocate:
            new.give_room_back()
        # By that the age is told of a segment whose records bear no time.
        disk.set_modified_ms(new.name, old[-1].modified_ms())
        groups.append(Group(old, new))
    before = sum(segment.size_bytes for segment in scope)
    return Compacted(groups, clean_up_to, before, sum(group.new.size_bytes for group in groups), cuts)


def _horizon_of_old_tombstones(segments: Sequence[Segment], dirt: Dirt, settings: CompactionSettings) -> int:
    """When a segment must have been written last so that its tombstones of format 0 and 1 may go.

    They have no room for a horizon of their own, so it is told by the last segment that is clean already.
    """
    clean = [segment for segment in segments if segment.base_offset < dirt.first_dirty]
    return clean[-1].modified_ms() - settings.delete_retention_ms if clean else 0


def settle(disk: Disk, done: Compacted) -> None:
    """Put a round's files on the device and mark them as finished (``.swap``), which is on the device then, too.

    From here on a crash ends with them in place. Blocks, so a worker does it; ``PartitionLog.adopt`` follows.
    """
    disk.sync([name for group in done.groups for name in group.new.files()])
    for group in done.groups:
        group.new.rename(SWAP)
    disk.sync(())


def _newest_offsets(
    scope: Sequence[Segment], aborted: Sequence[Aborted], dirt: Dirt, keys_limit: int
) -> Generator[int, None, tuple[dict[bytes, int], int, int]]:
    """The newest offset of each key in the dirty part; up to where all keys are known, and what is clean by that."""
    newest: dict[bytes, int] = {}
    transactions = CleanedTransactions(aborted)
    known_up_to = dirt.first_dirty
    for segment in scope:
        for header, batch in _sound(segment, dirt.first_dirty):
            if header.is_control:
                transactions.end(header, batch)
            elif not transactions.is_aborted(header):
                found: Iterable[Record] = records(batch)
                count = header.record_count
                if count < 0:  # a wrapper of an old format does not tell
                    found = list(found)
                    count = len(found)
                if len(newest) + count > keys_limit and newest:
                    return newest, known_up_to, known_up_to
                for record in paced(found):
                    if record is None:
                        yield 0
                    elif record.key is not None:
                        newest[key_digest(record.key)] = record.offset
            known_up_to = header.next_offset
            yield header.size_bytes
    return newest, known_up_to, dirt.end


def _sound(segment: Segment, start: int) -> Iterator[tuple[BatchHeader, bytes]]:
    """The batches of a segment; ``CorruptBatch`` for a wrong one, which nobody could tell once it is written anew."""
    end = segment.base_offset
    for position, header in segment.batches(start):
        batch = segment.read(position, header.size_bytes)
        if header.base_offset < end or not segment.has_room_for(header.last_offset) or not crc_is_right(batch):
            raise CorruptBatch(f"{segment.name} is damaged at byte {position}")
        end = header.next_offset
        yield header, batch


def _clean_into(new: Segment, old: Segment, batch_filter: BatchFilter) -> Generator[int, None, None]:
    for header, batch in _sound(old, old.base_offset):
        kept = yield from _unmoved(batch_filter.keep(header, batch))
        if kept.batch is not None:
            left = header_at(kept.batch)
            new.append(kept.batch, left.last_offset, left.max_timestamp)
        if kept.aborted is not None:
            new.aborted.add(kept.aborted)
        yield header.size_bytes + len(kept.batch or b"")


def _unmoved(steps: Generator[None, None, Kept]) -> Generator[int, None, Kept]:
    """Steps in which nothing is read or written."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            kept: Kept = stop.value
            return kept
        yield 0


def _grouped(segments: Sequence[Segment], settings: CompactionSettings) -> Iterator[list[Segment]]:
    """Neighbours that fit into one segment together, even if nothing of them were superseded."""
    group: list[Segment] = []
    for segment in segments:
        if group and not _fits([*group, segment], settings):
            yield group
            group = []
        group.append(segment)
    if group:
        yield group


def _fits(group: Sequence[Segment], settings: CompactionSettings) -> bool:
    return (
        sum(segment.size_bytes for segment in group) <= settings.segment_bytes
        and sum(segment.index.size_bytes for segment in group) <= settings.segment_index_bytes
        and sum(segment.times.size_bytes for segment in group) <= settings.segment_index_bytes
        and group[0].has_room_for(group[-1].index.last_offset + settings.segment_bytes)
    )
