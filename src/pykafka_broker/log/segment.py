"""One segment: a ``.log`` file of batches with its three indexes (Kafka's ``LogSegment``).

The batches may be of any format that Kafka has ever had; ``wire/formats.py`` says what counts as one. A segment knows
where batches lie and which time it spans. When to roll or delete one, and what the batches mean to producers and
replicas, is the partition's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from pykafka_broker.log.aborted import AbortedIndex
from pykafka_broker.log.disk import Buffer, Disk
from pykafka_broker.log.offset_index import OffsetIndex
from pykafka_broker.log.time_index import NO_TIMESTAMP, TimeIndex
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import HEADER_BYTES, BatchHeader, CorruptBatch, Record, TruncatedBatch
from pykafka_broker.wire.formats import crc_is_right, header_at, records

LOG, INDEX, TIME_INDEX, ABORTED_INDEX = ".log", ".index", ".timeindex", ".txnindex"
SUFFIXES = (LOG, INDEX, TIME_INDEX, ABORTED_INDEX)
CLEANED, SWAP, DELETED, TEMPORARY = ".cleaned", ".swap", ".deleted", ".tmp"
"""Endings of files that compaction is writing, has finished, of files that wait to be removed, and of files that are
being written to take another's place."""

_LOOK_BYTES = 8 * 1024
_SCAN_BYTES = 1024 * 1024
_ENTRIES_TRIED = 8
"""Entries of an index that may be wrong before it is not asked any more."""
FARTHEST = (1 << 31) - 1
"""Offsets in an index are relative to the segment's base and have 31 bits."""


def file_name(base_offset: int, suffix: str) -> str:
    """Kafka's name for a segment's file: the base offset in twenty digits."""
    return f"{base_offset:020d}{suffix}"


def walk(
    disk: Disk, name: str, start: int, end: int, look_bytes: int = _LOOK_BYTES
) -> Iterator[tuple[int, BatchHeader]]:
    """The batches between two positions with theirs, reading little more than headers.

    Raises :class:`CorruptBatch` where there cannot be a batch and :class:`TruncatedBatch` where one is cut off by
    ``end``.
    """
    position, chunk, chunk_start = start, b"", start
    while position < end:
        at = position - chunk_start
        if at + HEADER_BYTES > len(chunk):
            chunk, chunk_start, at = disk.read(name, position, min(look_bytes, end - position)), position, 0
        try:
            header = header_at(chunk, at)
        except CorruptBatch as problem:
            raise type(problem)(f"{name} is damaged at byte {position}: {problem.message}") from None
        if position + header.size_bytes > end:
            raise TruncatedBatch(
                f"{name} is damaged at byte {position}: a record batch of {header.size_bytes} bytes has only "
                f"{end - position} left"
            )
        yield position, header
        position += header.size_bytes


class Believed(NamedTuple):
    """The beginning of a segment that need not be checked: its length, and the offset behind it."""

    size_bytes: int
    end_offset: int


class Segment:
    """Batches from ``base_offset`` on; ``size_bytes`` long."""

    __slots__ = (
        "_aborted",
        "_disk",
        "_ending",
        "_first_timestamp",
        "_index",
        "_index_interval_bytes",
        "_index_limit_bytes",
        "_index_sizes",
        "_max",
        "_since_entry",
        "_times",
        "base_offset",
        "created_ms",
        "name",
        "size_bytes",
    )

    def __init__(
        self,
        disk: Disk,
        base_offset: int,
        sizes: Mapping[str, int],
        *,
        created_ms: Millis,
        index_interval_bytes: int,
        index_limit_bytes: int,
        ending: str = "",
    ) -> None:
        """Take over the files that ``sizes`` names; nothing is read or written yet.

        ``ending`` is added to all names, for segments that are not part of the log yet.
        """
        self._disk = disk
        self.base_offset = base_offset
        self.name = file_name(base_offset, LOG) + ending
        self.size_bytes = sizes.get(self.name, 0)
        self.created_ms = created_ms
        self._index_interval_bytes = index_interval_bytes
        self._index_limit_bytes = index_limit_bytes
        self._ending = ending
        # Most segments of a large log are never asked for anything, so their indexes are made when they are.
        self._index_sizes = [
            sizes.get(file_name(base_offset, suffix) + ending, 0) for suffix in (INDEX, TIME_INDEX, ABORTED_INDEX)
        ]
        self._index: OffsetIndex | None = None
        self._times: TimeIndex | None = None
        self._aborted: AbortedIndex | None = None
        self._since_entry = 0
        self._max: tuple[int, int] | None = None
        self._first_timestamp: int | None = None

    @classmethod
    def create(
        cls,
        disk: Disk,
        base_offset: int,
        *,
        created_ms: Millis,
        index_interval_bytes: int,
        index_limit_bytes: int,
        ending: str = "",
    ) -> Segment:
        """A new, empty segment with its files."""
        segment = cls(
            disk,
            base_offset,
            {},
            created_ms=created_ms,
            index_interval_bytes=index_interval_bytes,
            index_limit_bytes=index_limit_bytes,
            ending=ending,
        )
        disk.create(segment.name)
        segment.index.create()
        segment.times.create()
        return segment

    @property
    def index(self) -> OffsetIndex:
        """Offsets to positions."""
        found = self._index
        if found is None:
            name, size = self._file(INDEX), self._index_sizes[0]
            found = self._index = OffsetIndex(self._disk, name, self.base_offset, size, self._index_limit_bytes)
        return found

    @property
    def times(self) -> TimeIndex:
        """Timestamps to offsets."""
        found = self._times
        if found is None:
            name, size = self._file(TIME_INDEX), self._index_sizes[1]
            found = self._times = TimeIndex(self._disk, name, self.base_offset, size, self._index_limit_bytes)
        return found

    @property
    def aborted(self) -> AbortedIndex:
        """The transactions that were aborted here."""
        found = self._aborted
        if found is None:
            found = self._aborted = AbortedIndex(self._disk, self._file(ABORTED_INDEX), self._index_sizes[2])
        return found

    def has_sound_aborted(self) -> bool:
        """Whether what was aborted here can be read and is in order; costs nothing where nothing was."""
        return (self._aborted is None and not self._index_sizes[2]) or self.aborted.is_sound()

    def _file(self, suffix: str) -> str:
        return file_name(self.base_offset, suffix) + self._ending

    @property
    def max_timestamp(self) -> tuple[int, int]:
        """The greatest timestamp (ms) and the last offset of the earliest batch that holds it; -1 where unknown."""
        if self._max is None:
            self._max = self.times.last
        return self._max

    def unread_times(self) -> tuple[str, int] | None:
        """The file from whose end ``max_timestamp`` will be read, and its length; None if that has been done."""
        return (self._file(TIME_INDEX), self._index_sizes[1]) if self._max is None and self._index_sizes[1] else None

    @property
    def is_index_full(self) -> bool:
        """An index has no room for another entry."""
        index, times = self._index, self._times
        if index is None or times is None:
            index, times = self.index, self.times
        return index.is_full or times.is_full

    def has_room_for(self, offset: int) -> bool:
        """Whether the offset can be told relative to the segment's base."""
        return offset - self.base_offset <= FARTHEST

    def files(self) -> tuple[str, ...]:
        """The names of its files, the one for aborted transactions included whether it exists or not."""
        return (self.name, self._file(INDEX), self._file(TIME_INDEX), self._file(ABORTED_INDEX))

    def append(self, data: Buffer, last_offset: int, max_timestamp: int) -> int:
        """Write one batch and index it if it is due; gives the position it got."""
        position = self.size_bytes
        self._disk.append(self.name, data)
        size = len(data)
        self.size_bytes = position + size
        self._note(position, size, last_offset, max_timestamp)
        return position

    def _note(self, position: int, size: int, last_offset: int, max_timestamp: int) -> None:
        greatest = self._max
        if greatest is None:
            greatest = self.max_timestamp
        if max_timestamp > greatest[0]:
            self._max = greatest = (max_timestamp, last_offset)
        if position == 0:
            self._first_timestamp = max_timestamp
        if self._since_entry > self._index_interval_bytes:
            self.index.add(last_offset, position)
            self.times.add(*greatest)
            self._since_entry = 0
        self._since_entry += size

    def first_timestamp(self) -> int:
        """The greatest timestamp (ms) of the first batch, by which the segment's age is told; -1 if it is empty."""
        if self._first_timestamp is None:
            first = next(walk(self._disk, self.name, 0, self.size_bytes, HEADER_BYTES), None)
            if first is None:
                return NO_TIMESTAMP
            self._first_timestamp = first[1].max_timestamp
        return self._first_timestamp

    def largest_timestamp(self) -> int:
        """The greatest timestamp (ms), or when the file was last written where no record bears one (retention)."""
        timestamp = self.max_timestamp[0]
        return timestamp if timestamp >= 0 else self.modified_ms()

    def modified_ms(self) -> Millis:
        """When the log file was last written."""
        return self._disk.modified_ms(self.name)

    def find(self, offset: int) -> tuple[int, BatchHeader] | None:
        """The first batch that ends at or behind ``offset``, and its position."""
        for position, header in self._from(offset):
            if header.last_offset >= offset:
                return position, header
        return None

    def _from(self, offset: int) -> Iterator[tuple[int, BatchHeader]]:
        """Batches from one at or before ``offset`` on.

        An entry of the index counts if it names the batch it points to; otherwise the one before it is tried, and in
        the end all batches are looked at.
        """
        index = self.index
        entry = index.last_at_most(offset - self.base_offset)
        for tried in range(entry, max(-1, entry - _ENTRIES_TRIED), -1):
            relative, position = index.entry(tried)
            if relative <= offset - self.base_offset and 0 <= position < self.size_bytes:
                batches = walk(self._disk, self.name, position, self.size_bytes)
                try:
                    first = next(batches)
                except CorruptBatch:
                    continue
                if first[1].last_offset == self.base_offset + relative:
                    yield first
                    yield from batches
                    return
        yield from walk(self._disk, self.name, 0, self.size_bytes)

    def find_time(self, timestamp: int, start_offset: int) -> Record | None:
        """The first record at or behind ``start_offset`` that is at least as late as ``timestamp`` (ms)."""
        lower = max(self.times.offset_before(timestamp), start_offset)
        for position, header in self._from(lower):
            if header.max_timestamp >= timestamp and header.last_offset >= start_offset:
                for record in self._records(position, header):
                    if record.timestamp >= timestamp and record.offset >= start_offset:
                        return record
        return None

    def latest_record(self) -> Record | None:
        """The record with the greatest timestamp, the first of them if there are several."""
        timestamp, offset = self.max_timestamp
        for position, header in self._from(offset):
            if header.max_timestamp == timestamp:
                return next((found for found in self._records(position, header) if found.timestamp == timestamp), None)
        return None

    def batch_at(self, position: int) -> BatchHeader:
        """The header of the batch that begins at ``position``."""
        return header_at(self._disk.read(self.name, position, HEADER_BYTES))

    def batches(self, start_offset: int) -> Iterator[tuple[int, BatchHeader]]:
        """Every batch that ends at or behind ``start_offset``, with its position."""
        for position, header in self._from(start_offset):
            if header.last_offset >= start_offset:
                yield position, header

    def read(self, position: int, size_bytes: int) -> bytes:
        """Bytes of the log file."""
        return self._disk.read(self.name, position, size_bytes)

    def end_offset(self) -> int:
        """The offset behind the last batch, found from the last index entry on."""
        end = self.base_offset
        for _, header in self._from(FARTHEST + self.base_offset):
            end = header.next_offset
        return end

    def believe_below(self, offset: int) -> Believed | None:
        """Believe what lies below ``offset``, which is known to be on the device, and forget what the indexes say of
        the rest; gives where ``recover`` has to go on from.

        None, and nothing is changed, if batches and indexes do not agree: then none of it can be believed.
        """
        found = self._end_of_what_is_below(offset)
        if found is None:
            return None
        position, end, since_entry, greatest = found
        self.index.truncate_to(offset, position)
        self.times.truncate_to(offset)
        self.aborted.truncate_to(offset)
        self._since_entry, self._max = since_entry, greatest
        return Believed(position, end)

    def _end_of_what_is_below(self, offset: int) -> tuple[int, int, int, tuple[int, int]] | None:
        """Position of the first batch that reaches ``offset``, the offset behind the batch before it, how far it lies
        behind the last indexed one, and the greatest timestamp before it with its offset.

        None where that cannot be told.
        """
        index, times = self.index, self.times
        entries = index.last_at_most(offset - 1 - self.base_offset) + 1
        indexed, start = index.entry(entries - 1) if entries else (-1, 0)
        told = times.first_from(offset - self.base_offset)
        timestamp, relative = times.entry(told - 1) if told else (NO_TIMESTAMP, 0)
        greatest = timestamp, self.base_offset + relative
        position, end = start, self.base_offset
        if entries and not 0 < start < self.size_bytes:
            # Zeros, as a power cut may leave, or Apache Kafka in a file that it has made longer than needed.
            return None
        try:
            if (told and not self._is_timed(greatest)) or not self._is_aborted_below(offset):
                return None
            for position, header in walk(self._disk, self.name, start, self.size_bytes):
                if position == start and entries and header.last_offset != self.base_offset + indexed:
                    return None
                if header.last_offset >= offset:
                    return position, end, position - start, greatest
                if header.base_offset < end:
                    return None
                if header.max_timestamp > greatest[0]:
                    greatest = header.max_timestamp, header.last_offset
                end = header.next_offset
                position += header.size_bytes
        except CorruptBatch:
            return None
        return (position, end, position - start, greatest) if end == offset else None

    def _is_aborted_below(self, offset: int) -> bool:
        """Whether the last marker below ``offset`` that the index of aborted transactions names is one."""
        below = [entry for entry in self.aborted.entries if entry.last_offset < offset]
        if not below:
            return True
        found = self.find(below[-1].last_offset)
        return found is not None and found[1].is_control and found[1].producer_id == below[-1].producer_id

    def _is_timed(self, entry: tuple[int, int]) -> bool:
        """Whether the batch that an entry of the time index names has that timestamp."""
        timestamp, offset = entry
        found = self.find(offset)
        return found is not None and found[1].max_timestamp == timestamp and found[1].last_offset == offset

    def recover(
        self, seen: Callable[[BatchHeader, bytes], bool], believed: Believed | None = None, *, durably: bool = False
    ) -> tuple[int, int]:
        """Check every batch, rebuild the indexes, cut off what is not a whole batch.

        What ``believe_below`` has given as ``believed`` stays as it is. ``seen`` is called with each good batch,
        says whether it belongs here and may raise: the segment has to be recovered again then. Gives the offset behind
        the last good batch and the number of bytes cut. With ``durably`` the new indexes take their names when they are
        on the device, the offset index last: for a segment that the next start would believe if a crash left half of
        them.
        """
        position, next_offset = believed or Believed(0, self.base_offset)
        if durably:
            self._set_indexes_aside()
        if believed is None:
            self.index.clear()
            self.times.clear()
            self.aborted.clear()
            self._since_entry, self._max = 0, (NO_TIMESTAMP, self.base_offset)
        self._first_timestamp = None
        for batch, header in self._good_batches(position):
            if header.base_offset < next_offset or not self.has_room_for(header.last_offset):
                break
            if not seen(header, batch):
                break
            self._note(position, header.size_bytes, header.last_offset, header.max_timestamp)
            position += header.size_bytes
            next_offset = header.next_offset
        cut = self.size_bytes - position
        if cut:
            self._disk.truncate(self.name, position)
            self.size_bytes = position
        if believed is None:
            self.index.create()
            self.times.create()
        self.seal()
        if durably:
            self._put_indexes_in_place()
        return next_offset, cut

    def _set_indexes_aside(self) -> None:
        names = [file_name(self.base_offset, suffix) + TEMPORARY for suffix in (INDEX, TIME_INDEX, ABORTED_INDEX)]
        self._index = OffsetIndex(self._disk, names[0], self.base_offset, 0, self._index_limit_bytes)
        self._times = TimeIndex(self._disk, names[1], self.base_offset, 0, self._index_limit_bytes)
        self._aborted = AbortedIndex(self._disk, names[2], 0)

    def _put_indexes_in_place(self) -> None:
        index, times, aborted = self.index, self.times, self.aborted
        self._disk.sync((self.name, index.name, times.name, aborted.name))
        if aborted.entries:
            self._disk.rename(aborted.name, self._file(ABORTED_INDEX))
        else:
            self._disk.remove(self._file(ABORTED_INDEX))
        self._disk.rename(times.name, self._file(TIME_INDEX))
        self._disk.sync(())
        self._disk.rename(index.name, self._file(INDEX))
        self._disk.sync(())
        index.name, times.name, aborted.name = (self._file(each) for each in (INDEX, TIME_INDEX, ABORTED_INDEX))

    def good_end(self) -> int:
        """The offset behind the last of the whole and right batches, all of which are read."""
        end = self.base_offset
        for _, header in self._good_batches(0):
            end = header.next_offset
        return end

    def _good_batches(self, position: int) -> Iterator[tuple[bytes, BatchHeader]]:
        """Batches from a position on until one is torn or wrong."""
        chunk, at = b"", 0
        while position < self.size_bytes:
            if at + HEADER_BYTES > len(chunk):
                chunk, at = self.read(position, _SCAN_BYTES), 0
            try:
                header = header_at(chunk, at)
            except CorruptBatch:
                return
            size = header.size_bytes
            if position + size > self.size_bytes:
                return
            if at + size > len(chunk):
                chunk, at = self.read(position, max(_SCAN_BYTES, size)), 0
            batch = chunk[at : at + size]
            if not crc_is_right(batch):
                return
            yield batch, header
            position += size
            at += size

    def truncate_to(self, offset: int, *, durably: bool = False) -> int:
        """Cut off the batch that holds ``offset`` and all behind it; gives the number of bytes cut.

        With ``durably`` the log is cut on the device before its indexes are: where they are believed, as below the
        recovery point, a power cut must not leave all of it with a part of them.
        """
        found = self.find(offset)
        cut = 0
        if found is not None:
            cut = self.size_bytes - found[0]
            self._disk.truncate(self.name, found[0])
            self.size_bytes = found[0]
            if durably:
                self._disk.sync((self.name,))
        # After a crash the indexes may name what is not there any more.
        self.index.truncate_to(offset, self.size_bytes)
        self.times.truncate_to(offset)
        self.aborted.truncate_to(offset)
        if found is None:
            return 0
        self._since_entry = 0
        self._first_timestamp = None
        # What the index knows may be less than what is there since its last entry; look again.
        self._max = self.times.last
        for _, header in self.batches(self.index.last_offset):
            if header.max_timestamp > self._max[0]:
                self._max = (header.max_timestamp, header.last_offset)
        return cut

    def complete_times(self) -> None:
        """Add the last entry to the time index if a power cut took it or left rubbish; the offset index is whole."""
        while len(self.times) and not self._is_timed(self.times.last):
            self.times.drop_last()
        greatest = self.times.last
        for _, header in self._from(FARTHEST + self.base_offset):
            if header.max_timestamp > greatest[0]:
                greatest = (header.max_timestamp, header.last_offset)
        self.times.add(*greatest)
        self._max = greatest
        self.flush()

    def seal(self) -> bool:
        """Complete the time index and write what waits in memory, before nothing is appended for a while or for ever.

        Gives whether there was anything to write.
        """
        if self._max is not None:
            self.times.add(*self._max)
        return self.flush()

    def give_room_back(self) -> None:
        """Let go what was reserved on the device behind the last batch."""
        self._disk.truncate(self.name, self.size_bytes)

    def flush(self) -> bool:
        """Write index entries that wait in memory; false if there are none."""
        wrote_offsets = self._index is not None and self._index.flush()
        wrote_times = self._times is not None and self._times.flush()
        return wrote_offsets or wrote_times

    def rename(self, ending: str) -> None:
        """Give all files another ending; a file that is not there (no transaction was aborted) stays away."""
        index, times, aborted = self.index, self.times, self.aborted
        names = [file_name(self.base_offset, suffix) + ending for suffix in SUFFIXES]
        for old, new in zip(self.files(), names, strict=True):
            with suppress(FileNotFoundError):
                self._disk.rename(old, new)
        self._ending = ending
        self.name, index.name, times.name, aborted.name = names

    def tune(self, index_interval_bytes: int) -> None:
        """Follow a changed setting."""
        self._index_interval_bytes = index_interval_bytes

    def _records(self, position: int, header: BatchHeader) -> Iterator[Record]:
        return records(self.read(position, header.size_bytes))
