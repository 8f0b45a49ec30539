"""A file of fixed-size entries in ascending order, the body of every index.

New entries wait in memory until there are enough to be worth a write, so that an append to the log costs no second
write. What is lost with them in a crash is rebuilt by recovery, which scans every segment that was not flushed.
Nothing but the waiting entries is held in memory: older ones are looked up in the page cache.
"""

from __future__ import annotations

from struct import Struct

from pykafka_broker.log.disk import Disk

_WAITING_BYTES = 4096
_PAGE_ENTRIES = 256


class EntryFile:
    """Entries of one ``Struct`` whose first number is the key they are sorted by."""

    __slots__ = ("_disk", "_entry", "_is_ragged", "_key", "_stored", "_waiting", "name")

    def __init__(self, disk: Disk, name: str, entry: Struct, size_bytes: int) -> None:
        self._disk = disk
        self.name = name
        self._entry = entry
        self._key = Struct(entry.format[:2])
        self._stored = size_bytes // entry.size
        # A crash may leave part of an entry at the end; it goes with the first change.
        self._is_ragged = size_bytes % entry.size != 0
        self._waiting = bytearray()

    def __len__(self) -> int:
        return self._stored + len(self._waiting) // self._entry.size

    def append(self, *values: int) -> None:
        """Add an entry; it reaches the file with the next ``flush`` at the latest."""
        self._waiting += self._entry.pack(*values)
        if len(self._waiting) >= _WAITING_BYTES:
            self.flush()

    def flush(self) -> bool:
        """Write the waiting entries; false if there are none."""
        if not self._waiting:
            return False
        if self._is_ragged:
            self._cut(self._stored)
        self._disk.append(self.name, self._waiting)
        self._stored += len(self._waiting) // self._entry.size
        self._waiting = bytearray()
        return True

    def create(self) -> None:
        """See to it that the file exists even without entries, as Kafka expects beside every segment."""
        self._disk.create(self.name)

    def entry(self, index: int) -> tuple[int, ...]:
        """The entry at an index below ``len``."""
        size = self._entry.size
        if index >= self._stored:
            return self._entry.unpack_from(self._waiting, (index - self._stored) * size)
        return self._entry.unpack(self._disk.read(self.name, index * size, size))

    def last_at_most(self, target: int) -> int:
        """The index of the last entry whose key is at most ``target``, or -1."""
        size = self._entry.size
        if self._waiting and self._key.unpack_from(self._waiting, 0)[0] <= target:
            found = self._search(self._waiting, 0, len(self._waiting) // size, target)
            return self._stored + found
        low, high = 0, self._stored
        if not high:
            return -1
        while high - low > _PAGE_ENTRIES:
            middle = (low + high) // 2
            if self._key.unpack(self._disk.read(self.name, middle * size, self._key.size))[0] <= target:
                low = middle
            else:
                high = middle
        page = self._disk.read(self.name, low * size, (high - low) * size)
        return low + self._search(page, 0, len(page) // size, target)

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` entries."""
        if count < self._stored or self._is_ragged:
            self._cut(min(count, self._stored))
        del self._waiting[(count - self._stored) * self._entry.size :]

    def _cut(self, count: int) -> None:
        self._disk.truncate(self.name, count * self._entry.size)
        if count < self._stored:
            self._waiting = bytearray()
        self._stored = count
        self._is_ragged = False

    def _search(self, page: bytes | bytearray, low: int, high: int, target: int) -> int:
        key, size = self._key.unpack_from, self._entry.size
        while low < high:
            middle = (low + high) // 2
            if key(page, middle * size)[0] <= target:
                low = middle + 1
            else:
                high = middle
        return low - 1
