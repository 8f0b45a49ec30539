"""The ``.snapshot`` files of a partition: what its producers had done before an offset.

Written where a segment begins and when the log is closed, so that a start replays little (``ProducerStateManager``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from pykafka_broker.log.disk import Disk
from pykafka_broker.log.producers import EMPTY_SNAPSHOT_BYTES, CorruptSnapshot, Producers
from pykafka_broker.log.segment import file_name
from pykafka_broker.model.time import Millis

SUFFIX = ".snapshot"

_LONGEST_BYTES = 1 << 30
_FILE = re.compile(r"(\d{20})\.snapshot")


class Snapshots:
    """Offsets for which there is a snapshot, kept in step with the files."""

    __slots__ = ("_disk", "_leftover", "_sizes")

    def __init__(self, disk: Disk, sizes: Mapping[str, int]) -> None:
        self._disk = disk
        self._leftover: set[int] = set()
        self._sizes = {
            int(match[1]): size
            for name, size in sizes.items()
            if name.endswith(SUFFIX) and (match := _FILE.fullmatch(name))
        }

    @property
    def has_leftovers(self) -> bool:
        """Whether ``reap`` has something to do."""
        return bool(self._leftover)

    @property
    def offsets(self) -> list[int]:
        """All of them, in ascending order."""
        return sorted(self._sizes)

    def write(self, offset: int, producers: Producers) -> str:
        """Write what the producers have done before ``offset``; gives the file's name, which is to be synced."""
        name = file_name(offset, SUFFIX)
        snapshot = producers.snapshot()
        self._disk.replace(name, snapshot)
        self._sizes[offset] = len(snapshot)
        self._leftover.discard(offset)
        return name

    def load(self, producers: Producers, start: int, end: int, now: Millis) -> int:
        """Load the newest that lies between two offsets and can be read; gives its offset, or ``start``.

        One that cannot be read is removed; one whose size says that it names nobody need not be read.
        """
        producers.truncate()
        for offset in reversed(self.offsets):
            if start <= offset <= end:
                if self._sizes[offset] == EMPTY_SNAPSHOT_BYTES:
                    return offset
                try:
                    producers.load(self._disk.read(file_name(offset, SUFFIX), 0, _LONGEST_BYTES), now)
                except (CorruptSnapshot, FileNotFoundError):
                    self._remove(offset)
                else:
                    return offset
        return start

    def keep(self, bases: Collection[int]) -> None:
        """Forget those that belong to no segment's beginning, except the newest; ``reap`` removes their files."""
        for offset in self.offsets[:-1]:
            if offset not in bases:
                del self._sizes[offset]
                self._leftover.add(offset)

    def reap(self) -> None:
        """Remove the files of those that were forgotten, which may take long; on a worker thread, if you like."""
        while self._leftover:
            offset = self._leftover.pop()
            if offset not in self._sizes:
                self._disk.remove(file_name(offset, SUFFIX))

    def remove_beyond(self, end: int) -> None:
        """Remove those that lie behind the log's end."""
        for offset in self.offsets:
            if offset > end:
                self._remove(offset)

    def clear(self) -> None:
        """Remove them all."""
        for offset in self.offsets:
            self._remove(offset)

    def _remove(self, offset: int) -> None:
        self._disk.remove(file_name(offset, SUFFIX))
        self._sizes.pop(offset, None)
