"""The calls that change what the storage device keeps: the port under everything that must survive a power cut.

Reading does not pass here. What a call promises is what POSIX promises and no more: bytes of a file are on the device
after ``sync`` or ``sync_data`` of it, names (made, moved, removed) after ``sync_names`` of their folder; before that
each may be there or not. ``tests/doubles/power_cuts.py`` writes the calls down and tells what they may leave behind.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol

Buffer = bytes | bytearray | memoryview

APPENDING: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Opens a file for reading and for writing at its end, and makes it if it is not there."""


class Device(Protocol):
    """Every call may raise ``OSError``; descriptors are the system's own and are closed with ``os.close``."""

    def open(self, path: str | Path, flags: int) -> int:
        """A file for writing, made if the flags say so; its new name is subject to ``sync_names``."""
        ...

    def write(self, descriptor: int, data: Buffer, /) -> int:
        """Write; gives how many bytes of ``data`` were, which may be fewer than it has."""
        ...

    def truncate(self, file: str | Path | int, size_bytes: int, /) -> None:
        """Give a file, by path or descriptor, this length."""
        ...

    def sync(self, descriptor: int, /) -> None:
        """Return when the file's content and length are on the device."""
        ...

    def sync_data(self, descriptor: int) -> None:
        """The same, times of last change excepted, where the system knows the difference."""
        ...

    def sync_names(self, folder: Path) -> None:
        """Return when names made, moved and removed in the folder are so on the device."""
        ...

    def replace(self, old: str | Path, new: str | Path) -> None:
        """Move a file or folder, over a file of that name if there is one, in one step."""
        ...

    def unlink(self, path: str | Path) -> None:
        """Remove a file's name."""
        ...

    def make_folder(self, path: str | Path) -> None:
        """Make a folder in one that exists; ``FileExistsError``."""
        ...

    def remove_tree(self, path: Path) -> None:
        """Remove a folder with all that is in it, as far as that goes; no ``OSError``."""
        ...


class SystemDevice:
    """What the system offers."""

    write = staticmethod(os.write)
    truncate = staticmethod(os.truncate)
    sync = staticmethod(os.fsync)
    replace = staticmethod(os.replace)
    unlink = staticmethod(os.unlink)
    make_folder = staticmethod(os.mkdir)

    @staticmethod
    def open(path: str | Path, flags: int) -> int:
        return os.open(path, flags, 0o644)

    @staticmethod
    def sync_data(descriptor: int) -> None:
        # Only whole files can be synced on some systems.
        getattr(os, "fdatasync", os.fsync)(descriptor)

    @staticmethod
    def sync_names(folder: Path) -> None:
        # Windows has no such call and needs none.
        if os.name == "nt":
            return
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @staticmethod
    def remove_tree(path: Path) -> None:
        import shutil  # brings every compression module of the standard library with it

        shutil.rmtree(path, ignore_errors=True)


DEVICE: Final[Device] = SystemDevice()
"""The device that is meant where nobody says otherwise."""


def write_all(device: Device, descriptor: int, data: Buffer) -> None:
    """Write until nothing is left."""
    rest = memoryview(data)
    while rest:
        rest = rest[device.write(descriptor, rest) :]


def write_durably(device: Device, path: Path, content: bytes) -> None:
    """Replace a file so that a power cut leaves the old content or the new; blocks for two syncs."""
    temporary = path.with_name(path.name + ".tmp")
    descriptor = device.open(temporary, (APPENDING & ~os.O_APPEND) | os.O_TRUNC)
    try:
        write_all(device, descriptor, content)
        device.sync(descriptor)
    finally:
        os.close(descriptor)
    device.replace(temporary, path)
    device.sync_names(path.parent)
