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


class Aborted(NamedTuple):
    """One aborted transaction: its data from ``first_offset``, its marker at ``last_offset``."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


class AbortedIndex:
    """The aborted transactions of one segment, in the order of their markers; few enough to be held in memory."""

    __slots__ = ("_disk", "_entries", "name")

    def __init__(self, disk: Disk, name: str, size_bytes: int) -> None:
        self._disk = disk
        self.name = name
        self._entries: list[Aborted] | None = None if size_bytes else []

    @property
    def entries(self) -> list[Aborted]:
        """All of them; an unreadable file is a ``ValueError``."""
        if self._entries is None:
            self._entries = list(self._load())
        return self._entries

    def is_sound(self) -> bool:
        """Whether the file can be read and is in order; an unsound one is rebuilt by recovery."""
        try:
            markers = [aborted.last_offset for aborted in self.entries]
        except ValueError:
            return False
        return markers == sorted(set(markers))

    def add(self, aborted: Aborted) -> None:
        """Note one whose marker has just been written."""
        entries = self.entries
        if entries and entries[-1].last_offset >= aborted.last_offset:
            raise ValueError(f"{aborted} does not follow {entries[-1]}")
        self._disk.append(self.name, ENTRY.pack(_VERSION, *aborted))
        entries.append(aborted)

    def between(self, start: int, end: int) -> tuple[list[Aborted], bool]:
        """Those that touch offsets from ``start`` up to ``end``, and whether later segments need not be asked."""
        found = []
        for aborted in self.entries:
            if aborted.last_offset >= start and aborted.first_offset < end:
                found.append(aborted)
            if aborted.last_stable_offset >= end:
                return found, True
        return found, False

    def truncate_to(self, offset: int) -> None:
        """Forget those whose marker lies at or behind ``offset``."""
        kept = [aborted for aborted in self.entries if aborted.last_offset < offset]
        if len(kept) < len(self.entries):
            self._disk.truncate(self.name, len(kept) * ENTRY.size)
            self._entries = kept

    def clear(self) -> None:
        """Remove the file, to be rebuilt; most segments have none."""
        if self._entries != []:
            self._disk.remove(self.name)
            self._entries = []

    def _load(self) -> Iterator[Aborted]:
        data = self._disk.read(self.name, 0, 1 << 31)
        if len(data) % ENTRY.size:
            raise ValueError(f"{self.name} ends within an entry")
        for version, *fields in ENTRY.iter_unpack(data):
            if version != _VERSION:
                raise ValueError(f"{self.name} holds an entry of the unknown version {version}")
            yield Aborted(*fields)
