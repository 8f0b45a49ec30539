"""A folder is held by one at a time, by whatever lock the system has."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from pykafka_broker.zk.folder import FolderInUse, hold


def test_a_folder_is_held_once_and_again_when_it_was_let_go(tmp_path: Path) -> None:
    held = hold(tmp_path)
    with pytest.raises(FolderInUse, match="in use by another process"):
        hold(tmp_path)
    os.close(held)
    os.close(hold(tmp_path))


def test_without_fcntl_a_file_in_the_folder_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[int] = []

    def locking(descriptor: int, mode: int, size_bytes: int) -> None:
        if locked:
            raise PermissionError(13, "Permission denied")
        locked.append(descriptor)

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    held = hold(tmp_path)
    assert locked == [held]
    with pytest.raises(FolderInUse):
        hold(tmp_path)
    os.close(held)
