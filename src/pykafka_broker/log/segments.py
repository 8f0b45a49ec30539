"""The segments of one partition in their order; the last is the active one, to which batches are appended.

Finds which bytes a reader wants, and does the work of rolling, deleting and cutting once the partition has decided it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Protocol, overload

from pykafka_broker.log.disk import Disk
from pykafka_broker.log.segment import DELETED, Segment
from pykafka_broker.model.time import Millis

_POSITIONS_KEPT = 64


class SegmentSettings(Protocol):
    """What of a topic's settings a segment needs."""

    @property
    def index_interval_bytes(self) -> int: ...
    @property
    def segment_index_bytes(self) -> int: ...
    @property
    def segment_bytes(self) -> int: ...
    @property
    def preallocate(self) -> bool: ...


def create_segment(disk: Disk, base_offset: int, settings: SegmentSettings, now: Millis, ending: str = "") -> Segment:
    """A new, empty segment with its files; with ``preallocate`` there is room on the device for all of it."""
    segment = Segment.create(
        disk,
        base_offset,
        created_ms=now,
        index_interval_bytes=settings.index_interval_bytes,
        index_limit_bytes=settings.segment_index_bytes,
        ending=ending,
    )
    if settings.preallocate:
        disk.reserve(segment.name, settings.segment_bytes)
    return segment


class Segments(Sequence[Segment]):
    """At least one segment, by ascending base offset."""

    __slots__ = ("_all", "_bases", "_disk", "_doomed", "_older_positions", "_positions", "active")

    def __init__(self, disk: Disk, segments: Sequence[Segment]) -> None:
        self._disk = disk
        self._all = list(segments)
        self._bases = [segment.base_offset for segment in segments]
        self.active = self._all[-1]
        # Where the batches appended last begin, so that readers at the tail need no look-up.
        self._positions: dict[int, int] = {}
        self._older_positions: dict[int, int] = {}
        self._doomed: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._all)

    @overload
    def __getitem__(self, index: int) -> Segment: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Segment]: ...
    def __getitem__(self, index: int | slice) -> Segment | Sequence[Segment]:
        return self._all[index]

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._all)

    @property
    def bases(self) -> Sequence[int]:
        """The offsets at which segments begin."""
        return self._bases

    @property
    def size_bytes(self) -> int:
        """Length of all log files."""
        return sum(segment.size_bytes for segment in self._all)

    def configure(self, settings: SegmentSettings) -> None:
        """Follow changed settings."""
        for segment in self._all:
            segment.tune(settings.index_interval_bytes)

    # finding

    def remember(self, base_offset: int, position: int) -> None:
        """A batch that begins with ``base_offset`` has just been appended at ``position``."""
        positions = self._positions
        if len(positions) >= _POSITIONS_KEPT:
            self._older_positions = positions
            positions = self._positions = {}
        positions[base_offset] = position

    def holding(self, offset: int) -> Sequence[Segment]:
        """The segment that holds ``offset`` and all behind it."""
        return self._all[max(0, bisect_right(self._bases, offset) - 1) :]

    def locate(
        self, start: int, limit: int, end: int, max_bytes: int, must_give_one: bool
    ) -> tuple[Segment, int, int] | None:
        """Segment, position and size of whole batches from ``start`` on and below ``limit``; None if there are none.

        ``end`` is the log's end. The size is cut to ``max_bytes`` anywhere behind the first batch. That stays whole
        with ``must_give_one``; otherwise there is nothing if it does not fit (KIP-74). Only one segment is given from;
        the next read comes to the next one.
        """
        index = max(0, bisect_right(self._bases, start) - 1)
        while index < len(self._all):
            segment = self._all[index]
            index += 1
            position = None
            if segment is self.active:
                position = self._positions.get(start)
                if position is None:
                    position = self._older_positions.get(start)
            first_size = 0
            if position is None:
                found = segment.find(start)
                if found is None:
                    continue  # compaction may leave a hole at a segment's end
                position, header = found
                first_size = header.size_bytes
            stop = segment.size_bytes
            if limit < (self._bases[index] if index < len(self._bases) else end):
                bound = segment.find(limit)
                if bound is not None:
                    stop = bound[0]
            size = stop - position
            if size > max_bytes:
                if max_bytes <= 0 and not must_give_one:
                    return None
                first_size = first_size or segment.batch_at(position).size_bytes
                if first_size > max_bytes and not must_give_one:
                    return None
                size = min(size, max(max_bytes, first_size))
            return (segment, position, size) if size > 0 else None
        return None

    def aborted_between(self, segment: Segment, start: int, stop: int, end: int) -> list[tuple[int, int]]:
        """(producer id, first offset) of aborted transactions among what is read from offset ``start`` up to position
        ``stop`` of a segment.
        """
        following = self.holding(segment.base_offset)
        upper = segment.index.offset_after(stop)
        if upper is None:
            upper = following[1].base_offset if len(following) > 1 else end
        found: list[tuple[int, int]] = []
        for later in following:
            entries, complete = later.aborted.between(start, upper)
            found += [(entry.producer_id, entry.first_offset) for entry in entries]
            if complete:
                break
        return found

    # growing and shrinking

    def roll(self, base_offset: int, settings: SegmentSettings, now: Millis) -> Segment:
        """Complete the active segment, which is given back, and begin a new one."""
        old = self.active
        old.seal()
        if settings.preallocate:
            old.give_room_back()
        self._begin(base_offset, settings, now)
        return old

    def delete_first(self, count: int, due_ms: int) -> Sequence[Segment]:
        """Rename the files of the oldest segments out of the way, to be removed by ``reap`` when it is time.

        Those of several may be back after a power cut without those between them; of one it does no harm.
        """
        gone = self._all[:count]
        del self._all[:count]
        del self._bases[:count]
        self._doom(gone, due_ms)
        return gone

    def replace(self, old: Sequence[Segment], new: Segment, due_ms: int) -> None:
        """Put a settled segment in the place of neighbours; loading finishes what a crash interrupts."""
        self._doom(old, due_ms)
        new.rename("")
        first = self._all.index(old[0])
        self._all[first : first + len(old)] = [new]
        self._bases[first : first + len(old)] = [new.base_offset]

    def _doom(self, segments: Sequence[Segment], due_ms: int) -> None:
        for segment in segments:
            for name in segment.files():
                with suppress(FileNotFoundError):
                    self._disk.rename(name, name + DELETED)
                    self._doomed.append((due_ms, name + DELETED))

    @property
    def next_reap_ms(self) -> int | None:
        """When the next deleted file is to be removed."""
        return self._doomed[0][0] if self._doomed else None

    def reap(self, now: Millis) -> None:
        """Remove deleted files whose delay has passed."""
        while self._doomed and self._doomed[0][0] <= now:
            self._disk.remove(self._doomed[0][1])
            del self._doomed[0]

    def cut(self, offset: int, *, durably: bool = False) -> int:
        """Forget everything from ``offset`` on, which the first segment must not lie behind; gives the bytes cut.

        For ``durably`` see ``Segment.truncate_to``.
        """
        cut = 0
        while self._bases[-1] > offset:
            cut += self._all[-1].size_bytes
            self._remove_last()
        self.active = self._all[-1]
        self._positions, self._older_positions = {}, {}
        return cut + self.active.truncate_to(offset, durably=durably)

    def restart(self, offset: int, settings: SegmentSettings, now: Millis) -> None:
        """Forget everything; one empty segment is left, at ``offset``."""
        while self._all:
            self._remove_last()
        self._begin(offset, settings, now)

    def _remove_last(self) -> None:
        for name in self._all[-1].files():
            self._disk.remove(name)
        # It must not be back after a power cut if what lies in front of it is not. Unlinking a large file takes longer.
        self._disk.sync(())
        self._all.pop()
        self._bases.pop()

    def _begin(self, base_offset: int, settings: SegmentSettings, now: Millis) -> None:
        self.active = create_segment(self._disk, base_offset, settings, now)
        self._all.append(self.active)
        self._bases.append(base_offset)
        self._positions, self._older_positions = {}, {}
