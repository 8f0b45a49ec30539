"""The ``.txnindex`` of a segment: the aborted transactions whose markers lie in it (Kafka's ``AbortedTxn``).

READ_COMMITTED consumers are told which transactions to skip. The file is absent while there are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from pykafka_broker.log.disk import Disk

ENTRY = Struct(">hqqqq")
_VERSION = 0
_PAGE_ENTRIES = 128


class Aborted(NamedTuple):
    """One aborted transaction: its data from ``first_offset``, its marker at ``last_offset``."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


class AbortedIndex:
    """The aborted transactions of one segment, in the order of their markers; looked up in the file."""

    __slots__ = ("_count", "_disk", "_last_offset", "_rest", "name")

    def __init__(self, disk: Disk, name: str, size_bytes: int) -> None:
        self._disk = disk
        self.name = name
        self._count, self._rest = divmod(size_bytes, ENTRY.size)
        self._last_offset: int | None = None

    @property
    def entries(self) -> list[Aborted]:
        """All of them; an unreadable file is a ``ValueError``."""
        return list(self._from(0))

    def is_sound(self) -> bool:
        """Whether the file can be read and is in order; an unsound one is rebuilt by recovery."""
        last = -1
        try:
            for aborted in self._from(0):
                if aborted.last_offset <= last:
                    return False
                last = aborted.last_offset
        except ValueError:
            return False
        return True

    def add(self, aborted: Aborted) -> None:
        """Note one whose marker has just been written."""
        if self._last_offset is None:
            self._last_offset = next(self._from(self._count - 1)).last_offset if self._count else -1
        if self._last_offset >= aborted.last_offset:
            raise ValueError(f"{aborted} does not follow one that ends at {self._last_offset}")
        self._disk.append(self.name, ENTRY.pack(_VERSION, *aborted))
        self._count += 1
        self._last_offset = aborted.last_offset

    def between(self, start: int, end: int) -> tuple[list[Aborted], bool]:
        """Those that touch offsets from ``start`` up to ``end``, and whether later segments need not be asked."""
        found = []
        for aborted in self._from(self._first_from(start)):
            if aborted.first_offset < end:
                found.append(aborted)
            if aborted.last_stable_offset >= end:
                return found, True
        return found, False

    def truncate_to(self, offset: int) -> None:
        """Forget those whose marker lies at or behind ``offset``."""
        kept = self._first_from(offset)
        if kept < self._count:
            self._disk.truncate(self.name, kept * ENTRY.size)
            self._count, self._rest, self._last_offset = kept, 0, None

    def clear(self) -> None:
        """Remove the file, to be rebuilt; most segments have none."""
        if self._count or self._rest:
            self._disk.remove(self.name)
        self._count, self._rest, self._last_offset = 0, 0, None

    def _first_from(self, offset: int) -> int:
        """The index of the first entry whose marker lies at or behind ``offset``, or their number."""
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            if next(self._from(middle, 1)).last_offset < offset:
                low = middle + 1
            else:
                high = middle
        return low

    def _from(self, index: int, at_once: int = _PAGE_ENTRIES) -> Iterator[Aborted]:
        """The entries from an index on, some read at a time."""
        if self._rest:
            raise ValueError(f"{self.name} ends within an entry")
        while index < self._count:
            size = min(at_once, self._count - index) * ENTRY.size
            data = self._disk.read(self.name, index * ENTRY.size, size)
            if len(data) != size:
                raise ValueError(f"{self.name} is shorter than it was")
            for version, *fields in ENTRY.iter_unpack(data):
                if version != _VERSION:
                    raise ValueError(f"{self.name} holds an entry of the unknown version {version}")
                yield Aborted(*fields)
            index += at_once
