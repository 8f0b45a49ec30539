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


class TimeIndex(EntryFile):
    """Timestamps (milliseconds) to offsets; all offsets here are absolute."""

    __slots__ = ("_base_offset", "_last", "_limit")

    def __init__(self, disk: Disk, name: str, base_offset: int, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(disk, name, ENTRY, size_bytes)
        self._base_offset = base_offset
        self._limit = limit_bytes // ENTRY.size
        self._last: tuple[int, int] | None = None

    @property
    def is_full(self) -> bool:
        """One place is kept free for the entry that closing a segment adds (``TimeIndex.isFull``)."""
        return self.count >= self._limit - 1

    @property
    def last(self) -> tuple[int, int]:
        """The last entry's timestamp and offset; (-1, base offset) where there is none. Read when first asked for."""
        if self._last is None:
            timestamp, relative = self.entry(len(self) - 1) if len(self) else (NO_TIMESTAMP, 0)
            self._last = timestamp, self._base_offset + relative
        return self._last

    def add(self, timestamp: int, offset: int) -> None:
        """Note a new greatest timestamp; one that is not greater is already covered and is left out."""
        if timestamp > self.last[0]:
            self.append(timestamp, offset - self._base_offset)
            self._last = (timestamp, offset)

    def offset_before(self, timestamp: int) -> int:
        """The offset of the last entry at or before ``timestamp``; what is sought lies at or behind it."""
        return self._base_offset + self.value_at(timestamp)

    def truncate_to(self, offset: int) -> None:
        """Forget entries that name ``offset`` or a later one."""
        self.truncate(self.first_from(offset - self._base_offset))
        self._last = None

    def drop_last(self) -> None:
        """Forget the last entry, if there is one."""
        self.truncate(max(0, len(self) - 1))
        self._last = None

    def clear(self) -> None:
        """Forget every entry, to be rebuilt."""
        self.truncate(0)
        self._last = (NO_TIMESTAMP, self._base_offset)

    def entries(self) -> list[tuple[int, int]]:
        """All (timestamp, offset) pairs, for tests."""
        return [(timestamp, self._base_offset + relative) for timestamp, relative in map(self.entry, range(len(self)))]
