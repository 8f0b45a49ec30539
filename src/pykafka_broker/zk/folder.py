"""A folder that one process holds: its lock, on systems that differ in it.

What is in the folder is ``zk/journal.py``'s. Where there is no ``fcntl`` (Windows) a folder cannot be opened, so a file
in it is locked instead.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

LOCK: Final = "coordination.lock"
"""Locked where a folder cannot be."""


class FolderInUse(Exception):
    """Another process holds the folder."""


def hold(folder: Path) -> int:
    """Take the folder's lock; gives the descriptor that keeps it until it is closed. ``FolderInUse``, ``OSError``."""
    try:
        import fcntl
    except ImportError:
        return _hold_by_file(folder)
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
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

    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        os.close(descriptor)
        raise FolderInUse(f"{folder} is in use by another process") from None
    return descriptor
