"""Opening a partition's files: tidying up, recovery after a crash, and what the producers had done.

After a clean shutdown everything is believed. Otherwise every segment that reaches beyond the recovery point is
checked batch by batch, cut at the first byte that is not a whole and right batch, and what lies behind a cut is
dropped (Kafka's ``LogLoader``). This may take long; it is done on a worker thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Protocol

from msgspec import Struct

from pykafka_broker.log import partition_metadata
from pykafka_broker.log.disk import Disk
from pykafka_broker.log.epochs import Epochs
from pykafka_broker.log.producers import Producers
from pykafka_broker.log.segment import (
    ABORTED_INDEX,
    CLEANED,
    DELETED,
    INDEX,
    LOG,
    SUFFIXES,
    SWAP,
    TEMPORARY,
    TIME_INDEX,
    Believed,
    Segment,
    file_name,
)
from pykafka_broker.log.segments import SegmentSettings, create_segment
from pykafka_broker.log.snapshots import SUFFIX, Snapshots
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.model.outcome import Fact, Level
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import MAGIC, BatchHeader, CorruptBatch, EndMarker, read_end_marker

EPOCHS_FILE = "leader-epoch-checkpoint"

Note = Callable[[Fact], None]

_INDEXES = (INDEX, TIME_INDEX, ABORTED_INDEX)
_UNFINISHED = (CLEANED, DELETED, TEMPORARY, SWAP)
_SEGMENT_FILE = re.compile(r"(\d{20})(\.log|\.index|\.timeindex|\.txnindex)")


class LoadingSettings(SegmentSettings, Protocol):
    """What of a topic's settings matters here."""

    @property
    def cleanup_policy(self) -> tuple[str, ...]: ...


class Abandoned(Exception):
    """Nobody wants to have this partition opened any more: the broker is told to stop while it recovers."""


class Loaded(Struct):
    """A partition as its files tell it."""

    segments: list[Segment]
    epochs: Epochs
    log_start_offset: int
    log_end_offset: int
    recovery_point: int
    snapshots: Snapshots
    doubtful: tuple[str, ...]
    """Files that may not be on the device as they are now."""
    stored_epochs: bytes | None
    """The text of the epochs' file."""


class Loading:
    """The opening of one partition; used once."""

    def __init__(
        self,
        disk: Disk,
        partition: TopicPartition,
        settings: LoadingSettings,
        producers: Producers,
        now: Millis,
        note: Note,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._disk = disk
        self._partition = partition
        self._settings = settings
        self._producers = producers
        self._now = now
        self._note = note
        self._is_wanted = is_wanted
        self._epochs = Epochs()
        self._snapshots = Snapshots(disk, {})
        self._wrote_epochs = False
        self._ends: dict[int, int] = {}
        """Where segments end that have been looked at, by their base offset."""
        self._trusted_end = 0
        """Where checking began, if anything had to be checked."""
        self._completed: tuple[str, ...] = ()
        """The time index of the last segment that is not checked: its last entry may not be on the device."""

    def load(self, *, clean: bool, recovery_point: int, log_start_offset: int) -> Loaded:
        """Open everything; ``clean`` says that the shutdown mark was there."""
        sizes = self._tidy(self._disk.sizes())
        self._snapshots = Snapshots(self._disk, sizes)
        segments = self._open_segments(sizes)
        if not clean and self._has_gaps:
            segments = self._without_covered(segments)
        self._stored_epochs = stored_epochs = self._read_epochs(sizes)
        if not segments:
            return self._afresh(max(0, log_start_offset), sizes)
        suspects = self._suspects(segments, sizes, clean, recovery_point)
        end = self._end_without_doubt(segments, suspects)
        if not clean:
            self._doubt_what_does_not_join(segments, suspects)
        end = self._recover(segments, suspects, sizes, end, clean=clean, recovery_point=recovery_point)
        if clean and end < log_start_offset:
            # Nothing can be lost after a clean shutdown: the checkpoint is damaged.
            self._say("LogStartSenseless", Level.WARNING, log_end_offset=end, log_start_offset=log_start_offset)
            log_start_offset = 0
        if end < log_start_offset:
            # Unflushed data is lost and with it everything that was not deleted yet.
            self._say("LogLost", Level.WARNING, log_end_offset=end, log_start_offset=log_start_offset)
            for segment in segments:
                self._drop(segment)
            return self._afresh(log_start_offset, sizes)
        start = max(log_start_offset, segments[0].base_offset)
        self._epochs.truncate_from_end(end)
        if stored_epochs is None or (not clean and start < end and self._epochs.epoch_of(start) < 0):
            # The file is lost, or the log begins earlier again than when the file was written.
            self._epochs = Epochs()
            for segment, following in zip(segments, [*segments[1:], None], strict=True):
                if not _is_older_than_batches(segment, following):
                    for _, header in segment.batches(segment.base_offset):
                        self._note_epoch(header)
        self._epochs.truncate_from_start(start)
        if not self._is_told_by(stored_epochs, start, end):
            self._write_epochs()
        return Loaded(
            segments,
            self._epochs,
            start,
            end,
            # A crash may bring back what was cut off behind the end, so the end is to be looked at again until it is
            # synced.
            end if not suspects else min(recovery_point, self._trusted_end, max(end - 1, min(suspects))),
            self._snapshots,
            self._doubtful(segments, suspects, clean, recovery_point),
            self._stored_epochs,
        )

    def _doubtful(
        self, segments: Sequence[Segment], suspects: set[int], clean: bool, recovery_point: int
    ) -> tuple[str, ...]:
        """What an earlier run may have written and never synced, beside what was written just now."""
        names = [name for segment in segments if segment.base_offset in suspects for name in segment.files()]
        names += self._completed
        if not clean:
            names.append(partition_metadata.FILE)
            names += [file_name(offset, SUFFIX) for offset in self._snapshots.offsets if offset >= recovery_point]
        if not clean or self._wrote_epochs:
            names.append(EPOCHS_FILE)
        return tuple(names)

    def _tidy(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Remove what was being deleted or written when the broker stopped; finish a swap that had begun."""
        left = dict(sizes)

        def remove(name: str) -> None:
            self._disk.remove(name)
            del left[name]

        if any(name.endswith(_UNFINISHED) for name in left):
            self._finish(left, remove)
        logs = {name[:20] for name in left if name.endswith(LOG)}
        for name in [name for name in left if name.endswith(_INDEXES) and name[:20] not in logs]:
            if _SEGMENT_FILE.fullmatch(name):
                remove(name)
        return left

    def _finish(self, left: dict[str, int], remove: Callable[[str], None]) -> None:
        """Remove what was being deleted or written; finish swaps that had begun."""
        unfinished = [int(name[:20]) for name in left if name.endswith(CLEANED)]
        swapped: set[int] = set()
        for name in sorted(left):
            if name.endswith(SWAP):
                if unfinished and int(name[:20]) >= min(unfinished):
                    remove(name)
                elif name.endswith(LOG + SWAP):
                    swapped.add(int(name[:20]))
        if unfinished:
            # As long as the others are there they tell that these were not complete.
            self._disk.sync(())
        for name in sorted(left):
            if name.endswith((CLEANED, DELETED, TEMPORARY)):
                remove(name)
        for base in sorted(swapped):
            for covered in self._covered_by_swap(base, left):
                for suffix in SUFFIXES:
                    if file_name(covered, suffix) in left:
                        remove(file_name(covered, suffix))
        for name in sorted(left):
            if name.endswith(SWAP):
                final = name.removesuffix(SWAP)
                self._disk.rename(name, final)
                left[final] = left.pop(name)

    def _covered_by_swap(self, base: int, sizes: Mapping[str, int]) -> list[int]:
        swap = self._segment(base, {})
        swap.name = file_name(base, LOG) + SWAP
        swap.size_bytes = sizes[swap.name]
        end = max(swap.end_offset(), base + 1)
        bases = (int(name[:20]) for name in sizes if name.endswith(LOG))
        return [covered for covered in bases if base <= covered < end]

    def _open_segments(self, sizes: Mapping[str, int]) -> list[Segment]:
        bases = sorted(int(name[:20]) for name in sizes if name.endswith(LOG) and _SEGMENT_FILE.fullmatch(name))
        return [self._segment(base, sizes) for base in bases]

    def _segment(self, base: int, sizes: Mapping[str, int]) -> Segment:
        return Segment(
            self._disk,
            base,
            sizes,
            created_ms=self._now,
            index_interval_bytes=self._settings.index_interval_bytes,
            index_limit_bytes=self._settings.segment_index_bytes,
        )

    def _without_covered(self, segments: Sequence[Segment]) -> list[Segment]:
        """Drop segments whose batches are in a compacted one in front of them.

        Those have been replaced, and a power cut has undone that they went.
        """
        left: list[Segment] = []
        for segment in segments:
            if left and self._end_of(left[-1]) > segment.base_offset and left[-1].good_end() > segment.base_offset:
                self._say("SegmentCovered", base_offset=segment.base_offset, size_bytes=segment.size_bytes)
                self._drop(segment)
            else:
                left.append(segment)
        return left

    def _end_of(self, segment: Segment) -> int:
        """Where a segment ends as far as its index can be believed; -1 where it cannot."""
        try:
            found = self._ends[segment.base_offset] = segment.end_offset()
        except CorruptBatch:
            return -1
        return found

    def _suspects(
        self, segments: Sequence[Segment], sizes: Mapping[str, int], clean: bool, recovery_point: int
    ) -> set[int]:
        """Base offsets of segments not to be believed: unflushed ones after a crash, and any with an index that is
        missing or senseless.
        """
        found = set()
        for segment, following in zip(segments, [*segments[1:], None], strict=True):
            unflushed = not clean and (following is None or following.base_offset > recovery_point)
            # Kafka before 0.10 had no time indexes.
            is_timed = file_name(segment.base_offset, TIME_INDEX) in sizes or _is_older_than_batches(segment, following)
            is_indexed = file_name(segment.base_offset, INDEX) in sizes and is_timed
            if unflushed or not is_indexed or not segment.has_sound_aborted():
                found.add(segment.base_offset)
        return found

    def _end_without_doubt(self, segments: Sequence[Segment], suspects: set[int]) -> int:
        """Where the log ends if nothing needs to be recovered; a last segment that makes no sense is a suspect."""
        last = segments[-1]
        if last.base_offset not in suspects:
            try:
                return last.end_offset()
            except CorruptBatch:
                suspects.add(last.base_offset)
        return -1

    def _doubt_what_does_not_join(self, segments: Sequence[Segment], suspects: set[int]) -> None:
        """Suspect the segments in front of a suspect, too, as long as they do not end where the next one begins.

        A log that was cut just before the crash may be shorter than its indexes and recovery point say.
        """
        for before, segment in reversed(list(pairwise(segments))):
            if segment.base_offset in suspects and before.base_offset not in suspects:
                end = self._end_of(before)
                if end != segment.base_offset and (end < 0 or not self._has_gaps):
                    suspects.add(before.base_offset)

    @property
    def _has_gaps(self) -> bool:
        """Only compaction leaves out offsets on purpose."""
        return "compact" in self._settings.cleanup_policy

    def _recover(
        self,
        segments: list[Segment],
        suspects: set[int],
        sizes: Mapping[str, int],
        end: int,
        *,
        clean: bool,
        recovery_point: int,
    ) -> int:
        """Check the suspects, oldest first, and learn what the producers did; gives the log's end."""
        first = min(suspects, default=end)
        believed = None if clean else self._believed(segments, suspects, sizes, recovery_point)
        self._trusted_end = trusted_end = first if believed is None else believed.end_offset
        self._load_producers(segments, trusted_end)
        if suspects and not clean:
            # The batches tell their epochs again; the file may be older than they are.
            self._epochs.truncate_from_end(trusted_end)
        for index, segment in enumerate(segments):
            if segment.base_offset < first:
                if not clean and index + 1 < len(segments) and segments[index + 1].base_offset == trusted_end:
                    # It was flushed before it was rolled: the entry that rolling adds may be lost.
                    segment.complete_times()
                    self._completed = (segment.times.name,)
                continue
            if segment.base_offset not in suspects:
                replay(self._producers, segment, segment.base_offset)
                for _, header in segment.batches(segment.base_offset):
                    self._note_epoch(header)
                continue
            trusted = believed if segment.base_offset == first else None
            if not clean and index:
                reached = self._ends[segments[index - 1].base_offset]
                # Unflushed batches in front of this segment may be lost in a power cut, which may spare later ones.
                # What follows such a gap goes too: what is left must be a beginning of what was written.
                is_after_gap = reached < segment.base_offset > recovery_point and not self._has_gaps
                # Or it had been cut off, and what was written in its place is there.
                if is_after_gap or reached > segment.base_offset:
                    end = reached
                    self._lose(segments, index)
                    break
            # The next start would believe indexes of which a crash left half, as far as they tell of what was flushed.
            durably = trusted is None and (clean or segment.base_offset < recovery_point)
            segment_end, cut = segment.recover(self._seen_in(segment, clean), trusted, durably=durably)
            self._ends[segment.base_offset] = segment_end
            if trusted is None or cut or segment_end != recovery_point:
                level = Level.INFO if cut else Level.DEBUG
                said = {"base_offset": segment.base_offset, "log_end_offset": segment_end, "cut_bytes": cut}
                self._say("SegmentRecovered", level, **said)
            if cut or segment is segments[-1]:
                end = segment_end
            if cut:
                self._lose(segments, index + 1)
                break
        self._snapshots.remove_beyond(end)
        if end < trusted_end:
            # Less is left than was flushed once: what the snapshot knows of the rest never happened.
            self._load_producers(segments, end)
        return end

    @staticmethod
    def _believed(
        segments: Sequence[Segment], suspects: set[int], sizes: Mapping[str, int], recovery_point: int
    ) -> Believed | None:
        """What of the first suspect need not be checked, because it was on the device before the crash.

        Apache Kafka checks all of the segment in which the recovery point lies.
        """
        segment = next((segment for segment in segments if segment.base_offset in suspects), None)
        if segment is None or segment.base_offset >= recovery_point or not segment.has_sound_aborted():
            return None
        if any(file_name(segment.base_offset, suffix) not in sizes for suffix in (INDEX, TIME_INDEX)):
            return None
        return segment.believe_below(recovery_point)

    def _lose(self, segments: list[Segment], first: int) -> None:
        for lost in segments[first:]:
            self._say("SegmentLost", Level.WARNING, base_offset=lost.base_offset, size_bytes=lost.size_bytes)
            self._drop(lost)
        del segments[first:]

    def _load_producers(self, segments: Sequence[Segment], end: int) -> None:
        """The newest snapshot not beyond ``end`` that can be read, and every batch from there up to ``end``."""
        start = self._snapshots.load(self._producers, segments[0].base_offset, end, self._now)
        for segment, following in zip(segments, [*segments[1:], None], strict=True):
            is_asked = (
                start < end and segment.base_offset < end and (following is None or following.base_offset > start)
            )
            if is_asked and not _is_older_than_batches(segment, following):
                replay(self._producers, segment, start, end)

    def _seen_in(self, segment: Segment, clean: bool) -> Callable[[BatchHeader, bytes], bool]:
        def seen(header: BatchHeader, batch: bytes) -> bool:
            if not self._is_wanted():
                raise Abandoned
            if not clean and 0 <= header.leader_epoch < self._epochs.latest:
                # It was cut off, and a power cut has undone that: what replaced it is of a later epoch.
                return False
            aborted = self._producers.record(header, header.base_offset, marker_in(header, batch))
            if aborted is not None:
                segment.aborted.add(aborted)
            self._note_epoch(header)
            return True

        return seen

    def _note_epoch(self, header: BatchHeader) -> None:
        if header.leader_epoch > self._epochs.latest:
            self._epochs.assign(header.leader_epoch, header.base_offset)

    def _read_epochs(self, sizes: Mapping[str, int]) -> bytes | None:
        """The text of the epochs' file, which is believed; None if there is none that makes sense."""
        if EPOCHS_FILE not in sizes:
            return None
        text = self._disk.read(EPOCHS_FILE, 0, sizes[EPOCHS_FILE])
        try:
            self._epochs = Epochs.decode(text)
        except ValueError as problem:
            self._say("EpochsRebuilt", Level.WARNING, problem=str(problem))
            return None
        return text

    def _is_told_by(self, stored: bytes | None, start: int, end: int) -> bool:
        """Whether a file, once what lies outside the log is taken away, says the same as we know.

        It need not be written then: an epoch begins with a write before its first batch, so nobody is misled.
        """
        if stored is None:
            return False
        found = Epochs.decode(stored)
        found.truncate_from_end(end)
        found.truncate_from_start(start)
        return found.entries == self._epochs.entries

    def _write_epochs(self) -> None:
        self._stored_epochs = self._epochs.encode()
        self._disk.replace(EPOCHS_FILE, self._stored_epochs)
        self._wrote_epochs = True

    def _drop(self, segment: Segment) -> None:
        for name in segment.files():
            self._disk.remove(name)

    def _afresh(self, offset: int, sizes: Mapping[str, int]) -> Loaded:
        """An empty partition that begins at ``offset``."""
        self._producers.truncate()
        self._snapshots.clear()
        self._epochs = Epochs()
        if EPOCHS_FILE in sizes and self._stored_epochs != self._epochs.encode():
            self._write_epochs()
        segment = create_segment(self._disk, offset, self._settings, self._now)
        doubtful = (EPOCHS_FILE, *segment.files())
        return Loaded([segment], self._epochs, offset, offset, offset, self._snapshots, doubtful, self._stored_epochs)

    def _say(self, name: str, level: Level = Level.INFO, **fields: object) -> None:
        self._note(Fact(name, level, {"partition": str(self._partition), **fields}))


def _is_older_than_batches(segment: Segment, following: Segment | None) -> bool:
    """Whether a segment has nothing but messages of format 0 and 1, as has the one behind it, so that it tells nothing
    of epochs and producers.

    A log of before Kafka 0.11 has no files that tell of them either, and need not be read for that.
    """
    if following is None or not following.size_bytes or not segment.size_bytes:
        return False
    try:
        return segment.batch_at(0).magic < MAGIC and following.batch_at(0).magic < MAGIC
    except CorruptBatch:
        return False


def marker_in(header: BatchHeader, batch: bytes | bytearray | memoryview) -> EndMarker | None:
    """What a control batch says of a transaction; None for data and for markers that compaction emptied."""
    if header.is_control:
        with suppress(CorruptBatch):
            return read_end_marker(batch)
    return None


def replay(producers: Producers, segment: Segment, start: int, end: int | None = None) -> None:
    """Let the producers' state take in every batch of a segment from ``start`` on (and below ``end``), headers only."""
    for position, header in segment.batches(start):
        if end is not None and header.base_offset >= end:
            return
        if header.producer_id >= 0 and header.base_offset >= start:
            batch = segment.read(position, header.size_bytes) if header.is_control else b""
            producers.record(header, header.base_offset, marker_in(header, batch))
        if header.next_offset == end:
            return  # what follows may be no batch at all
