"""The sparse ``.index`` of a segment: where a batch lies, for one batch in every few kilobytes.

An entry is the *last* offset of a batch, relative to the segment's base, and the position where the batch begins
(Kafka's ``OffsetIndex``), so a search for an offset may start at the entry at or below it.
"""

from __future__ import annotations

from struct import Struct

from pykafka_broker.log.disk import Disk
from pykafka_broker.log.entry_file import EntryFile

ENTRY = Struct(">ii")


class OffsetIndex:
    """Offsets to positions; all offsets here are absolute."""

    __slots__ = ("_base_offset", "_entries", "_last_offset", "_limit")

    def __init__(self, disk: Disk, name: str, base_offset: int, size_bytes: int, limit_bytes: int) -> None:
        self._base_offset = base_offset
        self._entries = EntryFile(disk, name, ENTRY, size_bytes)
        self._limit = limit_bytes // ENTRY.size
        self._last_offset: int | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self._entries.name

    @name.setter
    def name(self, name: str) -> None:
        self._entries.name = name

    @property
    def is_full(self) -> bool:
        """``segment.index.bytes`` is reached: the segment must be rolled."""
        return len(self._entries) >= self._limit

    @property
    def last_offset(self) -> int:
        """The offset of the last entry, or the segment's base; read when first asked for."""
        if self._last_offset is None:
            count = len(self._entries)
            self._last_offset = self._base_offset + (self._entries.entry(count - 1)[0] if count else 0)
        return self._last_offset

    @property
    def size_bytes(self) -> int:
        """Length of the file, the waiting entries included."""
        return len(self._entries) * ENTRY.size

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, offset: int, position: int) -> None:
        """Note that the batch that ends with ``offset`` begins at ``position``; offsets only grow."""
        self._entries.append(offset - self._base_offset, position)
        self._last_offset = offset

    def position_of(self, offset: int) -> int:
        """A position at or before the batch that holds ``offset``."""
        found = self._entries.last_at_most(offset - self._base_offset)
        return self._entries.entry(found)[1] if found >= 0 else 0

    def offset_after(self, position: int) -> int | None:
        """The last offset of a batch that begins at or after ``position``, or None where no entry tells."""
        low, high = 0, len(self._entries)
        while low < high:
            middle = (low + high) // 2
            if self._entries.entry(middle)[1] < position:
                low = middle + 1
            else:
                high = middle
        return self._base_offset + self._entries.entry(low)[0] if low < len(self._entries) else None

    def truncate_to(self, offset: int) -> None:
        """Forget entries of batches that end at or after ``offset``."""
        self._entries.truncate(self._entries.last_at_most(offset - 1 - self._base_offset) + 1)
        self._last_offset = None

    def clear(self) -> None:
        """Forget every entry, to be rebuilt."""
        self._entries.truncate(0)
        self._last_offset = self._base_offset

    def flush(self) -> bool:
        """Write the entries that wait in memory; false if there are none."""
        return self._entries.flush()

    def create(self) -> None:
        """Make the empty file."""
        self._entries.create()

    def entries(self) -> list[tuple[int, int]]:
        """All (offset, position) pairs, for tests and for compaction's accounts."""
        found = (self._entries.entry(index) for index in range(len(self._entries)))
        return [(self._base_offset + relative, position) for relative, position in found]
