"""Which leader epoch began at which offset, the text of ``leader-epoch-checkpoint``.

Followers ask where an epoch ended to find the point at which their log and the leader's part (KIP-101, KIP-279,
Kafka's ``LeaderEpochFileCache``). Writing the text is left to the partition.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

NO_EPOCH = -1
NO_OFFSET = -1


class Epochs:
    """(epoch, start offset) pairs, both strictly growing."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Sequence[tuple[int, int]] = ()) -> None:
        self._entries: list[tuple[int, int]] = []
        for epoch, start in entries:
            self.assign(epoch, start)

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """All pairs, oldest first."""
        return tuple(self._entries)

    @property
    def latest(self) -> int:
        """The newest epoch, or -1."""
        return self._entries[-1][0] if self._entries else NO_EPOCH

    def assign(self, epoch: int, start_offset: int) -> bool:
        """Note where an epoch begins; true if that changed anything.

        An entry that contradicts older ones replaces them, as data of a later leader replaces theirs.
        """
        if epoch < 0 or start_offset < 0:
            return False
        if self._entries:
            last_epoch, last_start = self._entries[-1]
            if epoch == last_epoch and start_offset >= last_start:
                return False
        while self._entries and (self._entries[-1][0] >= epoch or self._entries[-1][1] >= start_offset):
            self._entries.pop()
        self._entries.append((epoch, start_offset))
        return True

    def end_of(self, epoch: int, log_end_offset: int) -> tuple[int, int]:
        """The greatest epoch known that is at most ``epoch``, and where it ended; (-1, -1) if that is unknown.

        As ``LeaderEpochFileCache.endOffsetFor``: the newest epoch ends at the log's end, one that is newer than all
        is unknown, one older than all ends where the first began.
        """
        if epoch == NO_EPOCH or not self._entries:
            return NO_EPOCH, NO_OFFSET
        if epoch == self._entries[-1][0]:
            return epoch, log_end_offset
        above = bisect_right(self._entries, epoch, key=lambda entry: entry[0])
        if above == len(self._entries):
            return NO_EPOCH, NO_OFFSET
        if above == 0:
            return epoch, self._entries[0][1]
        return self._entries[above - 1][0], self._entries[above][1]

    def epoch_of(self, offset: int) -> int:
        """The epoch in which the record at ``offset`` was written, or -1."""
        index = bisect_right(self._entries, offset, key=lambda entry: entry[1]) - 1
        return self._entries[index][0] if index >= 0 else NO_EPOCH

    def truncate_from_end(self, end_offset: int) -> bool:
        """Forget epochs that begin at or behind ``end_offset``; true if that changed anything."""
        before = len(self._entries)
        while self._entries and self._entries[-1][1] >= end_offset:
            self._entries.pop()
        return len(self._entries) != before

    def truncate_from_start(self, start_offset: int) -> bool:
        """Let the epoch in force at ``start_offset`` begin there and forget older ones; true on a change."""
        index = bisect_right(self._entries, start_offset, key=lambda entry: entry[1]) - 1
        if index < 0 or (self._entries[index][1] == start_offset and index == 0):
            return False
        self._entries[: index + 1] = [(self._entries[index][0], start_offset)]
        return True

    def encode(self) -> bytes:
        """Kafka's checkpoint text: version 0, the count, a line for each pair."""
        lines = ["0", str(len(self._entries)), *(f"{epoch} {start}" for epoch, start in self._entries)]
        return ("\n".join(lines) + "\n").encode()

    @classmethod
    def decode(cls, text: bytes) -> Epochs:
        """Read that text; anything else is a ``ValueError``, a beginning of one (``3 24`` cut to ``3 2``) too."""
        if not text.endswith(b"\n"):
            raise ValueError("the leader epoch checkpoint ends in the middle of a line")
        version, count, *lines = text.decode("ascii").split("\n")
        if int(version) != 0:
            raise ValueError(f"version {version} of the leader epoch checkpoint is unknown")
        pairs = []
        for line in lines[: int(count)]:
            epoch, start = line.split()
            pairs.append((int(epoch), int(start)))
        if len(pairs) != int(count):
            raise ValueError(f"the leader epoch checkpoint announces {count} lines and has {len(pairs)}")
        return cls(pairs)
