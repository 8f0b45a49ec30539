"""The sparse ``.timeindex`` of a segment: the greatest timestamp seen so far, and the batch that brought it.

An entry is a timestamp and the last offset, relative to the segment's base, of the earliest batch that holds it
(Kafka's ``TimeIndex``). Timestamps strictly grow from entry to entry.
"""

from __future__ import annotations

from struct import Struct

from pykafka_broker.log.disk import Disk
from pykafka_broker.log.entry_file import EntryFile

ENTRY = Struct(">qi")
NO_TIMESTAMP = -1


class TimeIndex:
    """Timestamps (milliseconds) to offsets; all offsets here are absolute."""

    __slots__ = ("_base_offset", "_entries", "_last", "_limit")

    def __init__(self, disk: Disk, name: str, base_offset: int, size_bytes: int, limit_bytes: int) -> None:
        self._base_offset = base_offset
        self._entries = EntryFile(disk, name, ENTRY, size_bytes)
        self._limit = limit_bytes // ENTRY.size
        self._last: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self._entries.name

    @name.setter
    def name(self, name: str) -> None:
        self._entries.name = name

    @property
    def is_full(self) -> bool:
        """One place is kept free for the entry that closing a segment adds (``TimeIndex.isFull``)."""
        return len(self._entries) >= self._limit - 1

    @property
    def last(self) -> tuple[int, int]:
        """The last entry's timestamp and offset; (-1, base offset) where there is none. Read when first asked for."""
        if self._last is None:
            self._last = self._read_last()
        return self._last

    @property
    def size_bytes(self) -> int:
        """Length of the file, the waiting entries included."""
        return len(self._entries) * ENTRY.size

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, timestamp: int, offset: int) -> None:
        """Note a new greatest timestamp; one that is not greater is already covered and is left out."""
        if timestamp > self.last[0]:
            self._entries.append(timestamp, offset - self._base_offset)
            self._last = (timestamp, offset)

    def offset_before(self, timestamp: int) -> int:
        """The offset of the last entry at or before ``timestamp``; what is sought lies at or behind it."""
        found = self._entries.last_at_most(timestamp)
        return self._base_offset + (self._entries.entry(found)[1] if found >= 0 else 0)

    def truncate_to(self, offset: int) -> None:
        """Forget entries that name ``offset`` or a later one."""
        count = len(self._entries)
        while count and self._base_offset + self._entries.entry(count - 1)[1] >= offset:
            count -= 1
        self._entries.truncate(count)
        self._last = None

    def clear(self) -> None:
        """Forget every entry, to be rebuilt."""
        self._entries.truncate(0)
        self._last = (NO_TIMESTAMP, self._base_offset)

    def flush(self) -> bool:
        """Write the entries that wait in memory; false if there are none."""
        return self._entries.flush()

    def create(self) -> None:
        """Make the empty file."""
        self._entries.create()

    def entries(self) -> list[tuple[int, int]]:
        """All (timestamp, offset) pairs, for tests."""
        found = (self._entries.entry(index) for index in range(len(self._entries)))
        return [(timestamp, self._base_offset + relative) for timestamp, relative in found]

    def _read_last(self) -> tuple[int, int]:
        count = len(self._entries)
        if not count:
            return NO_TIMESTAMP, self._base_offset
        timestamp, relative = self._entries.entry(count - 1)
        return timestamp, self._base_offset + relative
