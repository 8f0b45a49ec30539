"""The real disk behind a partition: one directory, its files, and the descriptors that stay open.

Descriptors are shared by everything that reads or writes a file and are bounded by ``OpenFiles``. A region handed
out for ``sendfile`` holds its descriptor by reference: whoever closes, renames or unlinks the file meanwhile takes
nothing from the bytes on their way (an open file outlives its name), and the descriptor closes itself when the last
holder lets go.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from pykafka_broker.device import APPENDING, DEVICE, Device, write_all
from pykafka_broker.log.disk import Buffer
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.pieces import FilePiece

_LARGEST_WRITE = 1 << 30
_KEEP_SIZE = 1
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.ENOSYS)


class Descriptor(int):
    """An open file's number, which closes the file when nobody refers to it any more."""

    alive: set[int]
    """The numbers of all that are still referred to, where somebody counts them."""

    def __del__(self) -> None:
        self.alive.discard(int(self))
        with contextlib.suppress(OSError):
            os.close(self)


class OpenFiles:
    """All descriptors the logs keep open: at most ``limit`` of files that were opened to be appended to, and
    ``reading`` of others. The one opened first goes first.

    A file that is let go while in use is simply opened again (about 5 µs), so nothing is kept on each use to find
    out which one is idle. Whoever reads through old segments takes nothing from those that are written.

    What is let go stays open as long as an answer holds it, and a client that does not read may hold answers from any
    number of files. So there is a bound, a sixth above both limits, from which on nothing is lent to answers.
    """

    def __init__(self, limit: int = 384, reading: int = 128, device: Device = DEVICE) -> None:
        self.device = device
        """Where the files are."""
        self._limits = (reading, limit)
        self._lends_below = (limit + reading) * 7 // 6 + 1
        self._alive: set[int] = set()
        self._open: tuple[dict[tuple[FileDisk, str], None], dict[tuple[FileDisk, str], None]] = ({}, {})
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return sum(map(len, self._open))

    @property
    def lends(self) -> bool:
        """Whether answers may hold more descriptors."""
        return len(self._alive) < self._lends_below

    def open(self, path: str, flags: int) -> Descriptor:
        """A descriptor that is counted as long as anybody refers to it."""
        descriptor = Descriptor(self.device.open(path, flags))
        descriptor.alive = self._alive
        self._alive.add(int(descriptor))
        return descriptor

    def opened(self, disk: FileDisk, name: str, *, to_append: bool = False) -> None:
        """Count a descriptor, and make room for it."""
        with self._lock:
            some, limit = self._open[to_append], self._limits[to_append]
            some[disk, name] = None
            while len(some) > limit:
                oldest = next(iter(some))
                del some[oldest]
                oldest[0].descriptors.pop(oldest[1], None)

    def let_go(self, disk: FileDisk, name: str) -> None:
        """Count it no longer."""
        with self._lock:
            for some in self._open:
                some.pop((disk, name), None)


class FileDisk:
    """``Disk`` over a directory that exists; see that protocol for what each call promises."""

    def __init__(self, path: Path, open_files: OpenFiles) -> None:
        self.path = path
        self.descriptors: dict[str, Descriptor] = {}
        self._directory = str(path) + os.sep
        self._open_files = open_files
        self._device = open_files.device
        self._write = self._device.write

    def create(self, name: str) -> None:
        """Make the file without keeping it open; many partitions are made and never written."""
        os.close(self._device.open(self._directory + name, APPENDING))

    def reserve(self, name: str, size_bytes: int) -> None:
        """Set blocks aside behind the file's end (Linux; elsewhere nothing is done)."""
        reserve(self._directory + name, size_bytes)

    def append(self, name: str, data: Buffer) -> None:
        """Write all of ``data`` at the end of the file."""
        descriptor = self.descriptors.get(name)
        if descriptor is None:
            descriptor = self._open(name)
        size = len(data)
        written = self._write(descriptor, data) if size <= _LARGEST_WRITE else 0
        if written < size:
            rest = memoryview(data)[written:]
            while rest:
                rest = rest[self._write(descriptor, rest[:_LARGEST_WRITE]) :]

    def read(self, name: str, start: int, size_bytes: int) -> bytes:
        """Bytes from the page cache, or from the device behind it."""
        descriptor = self.descriptors.get(name)
        if descriptor is None:
            descriptor = self._open_existing(name)
        return pread(descriptor, size_bytes, start)

    @property
    def lends(self) -> bool:
        """False while answers hold too many descriptors."""
        return self._open_files.lends

    def region(self, name: str, start: int, size_bytes: int) -> FilePiece:
        """A piece of the file for ``sendfile``; its descriptor stays open as long as the piece lives."""
        descriptor = self.descriptors.get(name)
        if descriptor is None:
            descriptor = self._open_existing(name)
        return FilePiece(descriptor, start, size_bytes)

    def truncate(self, name: str, size_bytes: int) -> None:
        """Cut the file."""
        self._device.truncate(self._directory + name, size_bytes)

    def replace(self, name: str, data: Buffer) -> None:
        """Write ``name.tmp`` and move it over ``name``."""
        temporary = self._directory + name + ".tmp"
        descriptor = self._device.open(temporary, APPENDING | os.O_TRUNC)
        try:
            write_all(self._device, descriptor, data)
        finally:
            os.close(descriptor)
        self._forget(name)
        self._device.replace(temporary, self._directory + name)

    def rename(self, old: str, new: str) -> None:
        """Move a file within the directory."""
        self._forget(old)
        self._forget(new)
        self._device.replace(self._directory + old, self._directory + new)

    def remove(self, name: str) -> None:
        """Unlink the file if it is there."""
        self._forget(name)
        with contextlib.suppress(FileNotFoundError):
            self._device.unlink(self._directory + name)

    def sizes(self) -> Mapping[str, int]:
        """Plain files and their sizes."""
        with os.scandir(self.path) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}

    def modified_ms(self, name: str) -> Millis:
        """The file's modification time."""
        return Millis(os.stat(self._directory + name).st_mtime_ns // 1_000_000)

    def set_modified_ms(self, name: str, modified_ms: Millis) -> None:
        """Set the file's modification time; that of the last access as well."""
        os.utime(self._directory + name, ns=(modified_ms * 1_000_000, modified_ms * 1_000_000))

    def sync(self, names: Iterable[str]) -> None:
        """``fsync`` the files and the directory; blocks for milliseconds, so this is a worker's job."""
        for name in names:
            descriptor = self.descriptors.get(name)
            try:
                if descriptor is None:
                    descriptor = self._open_existing(name)
            except FileNotFoundError:
                continue
            self._device.sync(descriptor)
        self._device.sync_names(self.path)

    def move(self, path: Path) -> None:
        """Rename the directory; files that are open stay open."""
        self._device.replace(self.path, path)
        self.path = path
        self._directory = str(path) + os.sep

    def close(self) -> None:
        """Let all descriptors go."""
        for name in tuple(self.descriptors):
            self._forget(name)

    def _open(self, name: str) -> Descriptor:
        descriptor = self._open_files.open(self._directory + name, APPENDING)
        self.descriptors[name] = descriptor
        self._open_files.opened(self, name, to_append=True)
        return descriptor

    def _open_existing(self, name: str) -> Descriptor:
        descriptor = self._open_files.open(self._directory + name, APPENDING & ~os.O_CREAT)
        self.descriptors[name] = descriptor
        self._open_files.opened(self, name)
        return descriptor

    def _forget(self, name: str) -> None:
        if self.descriptors.pop(name, None) is not None:
            self._open_files.let_go(self, name)


def reserve(path: str, size_bytes: int) -> None:
    """``fallocate`` that keeps the file's length, which Python does not have; not every file system can.

    Apache Kafka gives a preallocated file its full length at once; blocks beyond the length serve as well, and leave no
    zeros to be told from records after a crash.
    """
    if sys.platform != "linux":
        return
    import ctypes  # a megabyte, for few

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        call = ctypes.CDLL(None, use_errno=True).fallocate64
        call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        if call(descriptor, _KEEP_SIZE, 0, size_bytes) and (why := ctypes.get_errno()) not in _CANNOT_RESERVE:
            raise OSError(why, os.strerror(why), path)
    finally:
        os.close(descriptor)


if hasattr(os, "pread"):

    def pread(descriptor: int, size_bytes: int, start: int) -> bytes:
        """Up to ``size_bytes`` bytes from a position; fewer only at the end of the file."""
        data = os.pread(descriptor, size_bytes, start)
        if len(data) < size_bytes and data:
            # A signal or a 2 GiB limit may cut a read short before the file's end.
            while more := os.pread(descriptor, size_bytes - len(data), start + len(data)):
                data += more
        return data

else:  # Windows
    _seeking = threading.Lock()

    def pread(descriptor: int, size_bytes: int, start: int) -> bytes:
        """Up to ``size_bytes`` bytes from a position; fewer only at the end of the file."""
        with _seeking:
            os.lseek(descriptor, start, os.SEEK_SET)
            return os.read(descriptor, size_bytes)
