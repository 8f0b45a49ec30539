"""A folder that one process holds: its lock, and its names made durable, on systems that differ in both.

What is in the folder is ``zk/journal.py``'s. Where there is no ``fcntl`` (Windows) a folder cannot be opened, so a file
in it is locked instead, and new names need no sync.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

LOCK: Final = "coordination.lock"
"""Locked where a folder cannot be."""

CLOSED_ON_EXEC: Final = getattr(os, "O_CLOEXEC", 0)
AS_IT_IS: Final = getattr(os, "O_BINARY", 0)
"""Without it Windows translates line ends."""


class FolderInUse(Exception):
    """Another process holds the folder."""


def hold(folder: Path) -> int:
    """Take the folder's lock; gives the descriptor that keeps it until it is closed. ``FolderInUse``, ``OSError``."""
    try:
        import fcntl
    except ImportError:
        return _hold_by_file(folder)
    descriptor = os.open(folder, os.O_RDONLY | CLOSED_ON_EXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise FolderInUse(f"{folder} is in use by another process") from None
        raise
    return descriptor


def _hold_by_file(folder: Path) -> int:
    import msvcrt

    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | AS_IT_IS, 0o644)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        os.close(descriptor)
        raise FolderInUse(f"{folder} is in use by another process") from None
    return descriptor


def sync_data(descriptor: int) -> None:
    """What has been written to the file is on the device afterwards; ``OSError``."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_names(folder: Path) -> None:
    """New names in the folder survive the machine afterwards; ``OSError``."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | CLOSED_ON_EXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
