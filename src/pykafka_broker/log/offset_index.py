"""The sparse ``.index`` of a segment: where a batch lies, for one batch in every few kilobytes.

An entry is the *last* offset of a batch, relative to the segment's base, and the position where the batch begins
(Kafka's ``OffsetIndex``), so a search for an offset may start at the entry at or below it.
"""

from __future__ import annotations

from struct import Struct

from pykafka_broker.log.disk import Disk
from pykafka_broker.log.entry_file import EntryFile

ENTRY = Struct(">ii")


class OffsetIndex(EntryFile):
    """Offsets to positions; all offsets here are absolute."""

    __slots__ = ("_base_offset", "_last_offset", "_limit")

    def __init__(self, disk: Disk, name: str, base_offset: int, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(disk, name, ENTRY, size_bytes)
        self._base_offset = base_offset
        self._limit = limit_bytes // ENTRY.size
        self._last_offset: int | None = None

    @property
    def is_full(self) -> bool:
        """``segment.index.bytes`` is reached: the segment must be rolled."""
        return self.count >= self._limit

    @property
    def last_offset(self) -> int:
        """The offset of the last entry, or the segment's base; read when first asked for."""
        if self._last_offset is None:
            count = len(self)
            self._last_offset = self._base_offset + (self.entry(count - 1)[0] if count else 0)
        return self._last_offset

    def add(self, offset: int, position: int) -> None:
        """Note that the batch that ends with ``offset`` begins at ``position``; offsets only grow."""
        self.append(offset - self._base_offset, position)
        self._last_offset = offset

    def position_of(self, offset: int) -> int:
        """A position at or before the batch that holds ``offset``."""
        return self.value_at(offset - self._base_offset)

    def offset_after(self, position: int) -> int | None:
        """The last offset of a batch that begins at or after ``position``, or None where no entry tells."""
        found = self.first_from(position)
        return self._base_offset + self.entry(found)[0] if found < len(self) else None

    def truncate_to(self, offset: int, position: int) -> None:
        """Forget entries of batches that end at or after ``offset``, the first of which begins at ``position``.

        Before Kafka 0.10.1 an entry told the first offset of what it pointed to, so the offset alone is not enough.
        """
        self.truncate(min(self.last_at_most(offset - 1 - self._base_offset) + 1, self.first_from(position)))
        self._last_offset = None

    def clear(self) -> None:
        """Forget every entry, to be rebuilt."""
        self.truncate(0)
        self._last_offset = self._base_offset

    def entries(self) -> list[tuple[int, int]]:
        """All (offset, position) pairs, for tests and for compaction's accounts."""
        return [(self._base_offset + relative, position) for relative, position in map(self.entry, range(len(self)))]
