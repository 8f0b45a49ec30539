"""One segment: a ``.log`` file of record batches with its three indexes (Kafka's ``LogSegment``).

A segment knows where batches lie and which time it spans. When to roll or delete one, and what the batches mean to
producers and replicas, is the partition's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from pykafka_broker.log.aborted import AbortedIndex
from pykafka_broker.log.disk import Buffer, Disk
from pykafka_broker.log.offset_index import OffsetIndex
from pykafka_broker.log.time_index import NO_TIMESTAMP, TimeIndex
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import (
    HEADER_BYTES,
    MAGIC,
    BatchHeader,
    CorruptBatch,
    Record,
    TruncatedBatch,
    crc_is_right,
    read_header,
    records,
)

LOG, INDEX, TIME_INDEX, ABORTED_INDEX = ".log", ".index", ".timeindex", ".txnindex"
SUFFIXES = (LOG, INDEX, TIME_INDEX, ABORTED_INDEX)
CLEANED, SWAP, DELETED = ".cleaned", ".swap", ".deleted"
"""Endings of files that compaction is writing, has finished, and of files that wait to be removed."""

_LOOK_BYTES = 8 * 1024
_SCAN_BYTES = 1024 * 1024
_FARTHEST = (1 << 31) - 1
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
        header = read_header(chunk, at)
        check_frame(header)
        if position + header.size_bytes > end:
            raise TruncatedBatch(f"A record batch of {header.size_bytes} bytes has only {end - position} left")
        yield position, header
        position += header.size_bytes


def check_frame(header: BatchHeader) -> None:
    """Raise :class:`CorruptBatch` if this cannot be the beginning of a batch."""
    if header.magic != MAGIC:
        raise CorruptBatch(f"Invalid magic found in record: {header.magic}")
    if header.size_bytes < HEADER_BYTES or header.base_offset < 0 or header.last_offset_delta < 0:
        raise CorruptBatch(f"Record batch is corrupt: {header}")


class Segment:
    """Batches from ``base_offset`` on; ``size_bytes`` long."""

    __slots__ = (
        "_disk",
        "_first_timestamp",
        "_index_interval_bytes",
        "_max",
        "_since_entry",
        "aborted",
        "base_offset",
        "created_ms",
        "index",
        "name",
        "size_bytes",
        "times",
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
        names = [file_name(base_offset, suffix) + ending for suffix in (INDEX, TIME_INDEX, ABORTED_INDEX)]
        self.index = OffsetIndex(disk, names[0], base_offset, sizes.get(names[0], 0), index_limit_bytes)
        self.times = TimeIndex(disk, names[1], base_offset, sizes.get(names[1], 0), index_limit_bytes)
        self.aborted = AbortedIndex(disk, names[2], sizes.get(names[2], 0))
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
    def max_timestamp(self) -> tuple[int, int]:
        """The greatest timestamp (ms) and the last offset of the earliest batch that holds it; -1 where unknown."""
        if self._max is None:
            self._max = self.times.last
        return self._max

    @property
    def is_index_full(self) -> bool:
        """An index has no room for another entry."""
        return self.index.is_full or self.times.is_full

    def has_room_for(self, offset: int) -> bool:
        """Whether the offset can be told relative to the segment's base."""
        return offset - self.base_offset <= _FARTHEST

    def files(self) -> tuple[str, ...]:
        """The names of its files, the one for aborted transactions included whether it exists or not."""
        return (self.name, self.index.name, self.times.name, self.aborted.name)

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
        for position, header in walk(self._disk, self.name, self.index.position_of(offset), self.size_bytes):
            if header.last_offset >= offset:
                return position, header
        return None

    def find_time(self, timestamp: int, start_offset: int) -> Record | None:
        """The first record at or behind ``start_offset`` that is at least as late as ``timestamp`` (ms)."""
        lower = max(self.times.offset_before(timestamp), start_offset)
        for position, header in walk(self._disk, self.name, self.index.position_of(lower), self.size_bytes):
            if header.max_timestamp >= timestamp and header.last_offset >= start_offset:
                for record in self._records(position, header):
                    if record.timestamp >= timestamp and record.offset >= start_offset:
                        return record
        return None

    def latest_record(self) -> Record | None:
        """The record with the greatest timestamp, the first of them if there are several."""
        timestamp, offset = self.max_timestamp
        for position, header in walk(self._disk, self.name, self.index.position_of(offset), self.size_bytes):
            if header.max_timestamp == timestamp:
                return next((found for found in self._records(position, header) if found.timestamp == timestamp), None)
        return None

    def batch_at(self, position: int) -> BatchHeader:
        """The header of the batch that begins at ``position``."""
        return read_header(self._disk.read(self.name, position, HEADER_BYTES))

    def batches(self, start_offset: int) -> Iterator[tuple[int, BatchHeader]]:
        """Every batch that ends at or behind ``start_offset``, with its position."""
        for position, header in walk(self._disk, self.name, self.index.position_of(start_offset), self.size_bytes):
            if header.last_offset >= start_offset:
                yield position, header

    def read(self, position: int, size_bytes: int) -> bytes:
        """Bytes of the log file."""
        return self._disk.read(self.name, position, size_bytes)

    def end_offset(self) -> int:
        """The offset behind the last batch, found from the last index entry on."""
        end = self.base_offset
        for _, header in walk(self._disk, self.name, self._last_indexed_position(), self.size_bytes):
            end = header.next_offset
        return end

    def _last_indexed_position(self) -> int:
        return self.index.position_of(_FARTHEST + self.base_offset)

    def recover(self, seen: Callable[[BatchHeader, bytes], None]) -> tuple[int, int]:
        """Believe nothing: check every batch, rebuild the indexes, cut off what is not a whole batch.

        ``seen`` is called with each good batch. Gives the offset behind the last one and the number of bytes cut.
        """
        self.index.clear()
        self.times.clear()
        self.aborted.clear()
        self._since_entry, self._max, self._first_timestamp = 0, (NO_TIMESTAMP, self.base_offset), None
        position, next_offset = 0, self.base_offset
        for batch, header in self._good_batches():
            if header.base_offset < next_offset or not self.has_room_for(header.last_offset):
                break
            self._note(position, header.size_bytes, header.last_offset, header.max_timestamp)
            seen(header, batch)
            position += header.size_bytes
            next_offset = header.next_offset
        cut = self.size_bytes - position
        if cut:
            self._disk.truncate(self.name, position)
            self.size_bytes = position
        self.index.create()
        self.times.create()
        self.seal()
        return next_offset, cut

    def _good_batches(self) -> Iterator[tuple[bytes, BatchHeader]]:
        """Batches from the beginning of the file until one is torn or wrong."""
        position, chunk, at = 0, b"", 0
        while position < self.size_bytes:
            if at + HEADER_BYTES > len(chunk):
                chunk, at = self.read(position, _SCAN_BYTES), 0
            try:
                header = read_header(chunk, at)
                check_frame(header)
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

    def truncate_to(self, offset: int) -> int:
        """Cut off the batch that holds ``offset`` and all behind it; gives the number of bytes cut."""
        found = self.find(offset)
        if found is None:
            return 0
        cut = self.size_bytes - found[0]
        self.index.truncate_to(offset)
        self.times.truncate_to(offset)
        self.aborted.truncate_to(offset)
        self._disk.truncate(self.name, found[0])
        self.size_bytes = found[0]
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
        timestamp, offset = self.times.last
        found = self.find(offset) if len(self.times) else None
        if found is None or (found[1].last_offset, found[1].max_timestamp) != (offset, timestamp):
            self.times.drop_last()
        greatest = self.times.last
        for _, header in walk(self._disk, self.name, self._last_indexed_position(), self.size_bytes):
            if header.max_timestamp > greatest[0]:
                greatest = (header.max_timestamp, header.last_offset)
        self.times.add(*greatest)
        self._max = greatest
        self.flush()

    def seal(self) -> bool:
        """Complete the time index and write what waits in memory, before nothing is appended for a while or for ever.

        Gives whether there was anything to write.
        """
        self.times.add(*self.max_timestamp)
        return self.flush()

    def give_room_back(self) -> None:
        """Let go what was reserved on the device behind the last batch."""
        self._disk.truncate(self.name, self.size_bytes)

    def flush(self) -> bool:
        """Write index entries that wait in memory; false if there are none."""
        wrote_offsets, wrote_times = self.index.flush(), self.times.flush()
        return wrote_offsets or wrote_times

    def rename(self, ending: str) -> None:
        """Give all files another ending; a file that is not there (no transaction was aborted) stays away."""
        names = [file_name(self.base_offset, suffix) + ending for suffix in SUFFIXES]
        for old, new in zip(self.files(), names, strict=True):
            with suppress(FileNotFoundError):
                self._disk.rename(old, new)
        self.name, self.index.name, self.times.name, self.aborted.name = names

    def tune(self, index_interval_bytes: int) -> None:
        """Follow a changed setting."""
        self._index_interval_bytes = index_interval_bytes

    def _records(self, position: int, header: BatchHeader) -> Iterator[Record]:
        return records(self.read(position, header.size_bytes))
