"""A file of fixed-size entries in ascending order: what the indexes of a segment have in common.

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
    """Pairs of numbers, packed by one ``Struct``: the key they are sorted by, and a value that grows with it."""

    __slots__ = ("_disk", "_entry", "_is_ragged", "_key", "_stored", "_waiting", "count", "name")

    def __init__(self, disk: Disk, name: str, entry: Struct, size_bytes: int) -> None:
        self._disk = disk
        self.name = name
        """The file's name."""
        self._entry = entry
        self._key = Struct(entry.format[:2])
        self.count = self._stored = size_bytes // entry.size
        """How many entries there are, ``len`` without a call, and how many of them are in the file."""
        # A crash may leave part of an entry at the end; it goes with the first change.
        self._is_ragged = size_bytes % entry.size != 0
        self._waiting = bytearray()

    def __len__(self) -> int:
        return self.count

    @property
    def size_bytes(self) -> int:
        """Length of the file, the waiting entries included."""
        return len(self) * self._entry.size

    def append(self, key: int, value: int) -> None:
        """Add an entry; it reaches the file with the next ``flush`` at the latest."""
        self._waiting += self._entry.pack(key, value)
        self.count += 1
        if len(self._waiting) >= _WAITING_BYTES:
            self.flush()

    def flush(self) -> bool:
        """Write the waiting entries; false if there are none."""
        if not self._waiting:
            return False
        if self._is_ragged:
            self._cut(self._stored)
        self._disk.append(self.name, self._waiting)
        self._stored = self.count
        self._waiting = bytearray()
        return True

    def create(self) -> None:
        """See to it that the file exists even without entries, as Kafka expects beside every segment."""
        self._disk.create(self.name)

    def entry(self, index: int) -> tuple[int, int]:
        """The entry at an index below ``len``."""
        size = self._entry.size
        if index >= self._stored:
            return self._entry.unpack_from(self._waiting, (index - self._stored) * size)
        return self._entry.unpack(self._disk.read(self.name, index * size, size))

    def value_at(self, target: int) -> int:
        """The value of the last entry whose key is at most ``target``, or 0 where there is none."""
        return self._at_most(target)[1]

    def first_from(self, value: int) -> int:
        """The index of the first entry whose value is ``value`` or more, or ``len``."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.entry(middle)[1] < value:
                low = middle + 1
            else:
                high = middle
        return low

    def last_at_most(self, target: int) -> int:
        """The index of the last entry whose key is at most ``target``, or -1."""
        return self._at_most(target)[0]

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` entries."""
        if count < self._stored or self._is_ragged:
            self._cut(min(count, self._stored))
        del self._waiting[(count - self._stored) * self._entry.size :]
        self.count = self._stored + len(self._waiting) // self._entry.size

    def _cut(self, count: int) -> None:
        self._disk.truncate(self.name, count * self._entry.size)
        if count < self._stored:
            self._waiting = bytearray()
        self._stored = count
        self.count = count + len(self._waiting) // self._entry.size
        self._is_ragged = False

    def _at_most(self, target: int) -> tuple[int, int]:
        """The index and the value of the last entry whose key is at most ``target``; (-1, 0) where there is none."""
        size = self._entry.size
        if self._waiting and self._key.unpack_from(self._waiting, 0)[0] <= target:
            return self._found(self._stored, self._waiting, target)
        low, high = 0, self._stored
        while high - low > _PAGE_ENTRIES:
            middle = (low + high) // 2
            if self._key.unpack(self._disk.read(self.name, middle * size, self._key.size))[0] <= target:
                low = middle
            else:
                high = middle
        page = self._disk.read(self.name, low * size, (high - low) * size) if high else b""
        return self._found(low, page, target)

    def _found(self, first: int, page: bytes | bytearray, target: int) -> tuple[int, int]:
        """The same within a page, whose first entry has the index ``first``."""
        key, size = self._key.unpack_from, self._entry.size
        low, high = 0, len(page) // size
        while low < high:
            middle = (low + high) // 2
            if key(page, middle * size)[0] <= target:
                low = middle + 1
            else:
                high = middle
        return (first + low - 1, self._entry.unpack_from(page, (low - 1) * size)[1]) if low else (-1, 0)
