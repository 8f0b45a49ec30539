"""The small synchronous port through which a partition reaches its files.

Names are plain file names inside the partition's directory. Everything here is quick enough for the event loop
(an append of 16 KB takes about 6 µs, a read from the page cache 4 µs) except ``sync``, which takes milliseconds and
is therefore asked for by the log keeper on a worker thread, never by an append.

A disk that fails raises ``OSError``; the partition turns that into KAFKA_STORAGE_ERROR and goes offline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from pykafka_broker.model.time import Millis
from pykafka_broker.wire.pieces import FilePiece

Buffer = bytes | bytearray | memoryview


class Disk(Protocol):
    """One directory of files that grow at their end."""

    def create(self, name: str) -> None:
        """See to it that there is a file, an empty one if it is new."""
        ...

    def reserve(self, name: str, size_bytes: int) -> None:
        """Have the device keep room for a file to grow to this size, where it can; the file's length stays."""
        ...

    def append(self, name: str, data: Buffer) -> None:
        """Write at the end of a file, which is created if it is not there; all of it or ``OSError``."""
        ...

    def read(self, name: str, start: int, size_bytes: int) -> bytes:
        """Up to ``size_bytes`` from ``start``; fewer at the end of the file."""
        ...

    @property
    def lends(self) -> bool:
        """Whether there is room for one more ``region``; ``read`` what has to be given in any case if not."""
        ...

    def region(self, name: str, start: int, size_bytes: int) -> FilePiece | bytes:
        """The same bytes for sending, unread where the disk can; they stay readable after ``remove``."""
        ...

    def truncate(self, name: str, size_bytes: int) -> None:
        """Forget everything from ``size_bytes`` on, and room that was reserved beyond."""
        ...

    def replace(self, name: str, data: Buffer) -> None:
        """Give a file new content in one step: a crash leaves the old content or the new, once synced the new."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Move a file, over another one if there is one of that name."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file; one that is not there is no error."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """The files that are there and their lengths in bytes."""
        ...

    def modified_ms(self, name: str) -> Millis:
        """When the file was last written; the age of a segment whose records bear no time."""
        ...

    def set_modified_ms(self, name: str, modified_ms: Millis) -> None:
        """Let a file count as last written at another time."""
        ...

    def sync(self, names: Iterable[str]) -> None:
        """Return when these files (those of them that still exist) and the directory would survive a power cut."""
        ...
