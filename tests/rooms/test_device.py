"""The port to the storage device: the system's own calls, and the double that writes them down."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pykafka_broker.device import APPENDING, Device, SystemDevice, write_all, write_durably
from tests.doubles.power_cuts import Cut, Made, Moved, Synced, TracedDevice, Unlinked, Wrote, all_remains


@pytest.fixture(params=["system", "traced"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Device:
    return SystemDevice() if request.param == "system" else TracedDevice(tmp_path)


def test_files_grow_shrink_move_and_go(device: Device, tmp_path: Path) -> None:
    file = device.open(tmp_path / "a", APPENDING)
    write_all(device, file, b"0123456789")
    device.truncate(file, 5)
    write_all(device, file, b"x")
    device.truncate(str(tmp_path / "a"), 8)
    device.sync(file)
    device.sync_data(file)
    os.close(file)
    assert (tmp_path / "a").read_bytes() == b"01234x\0\0"
    device.replace(tmp_path / "a", tmp_path / "b")
    device.sync_names(tmp_path)
    assert os.listdir(tmp_path) == ["b"]
    os.close(device.open(str(tmp_path / "b"), APPENDING | os.O_TRUNC))
    assert (tmp_path / "b").read_bytes() == b""
    device.unlink(tmp_path / "b")
    assert os.listdir(tmp_path) == []


def test_folders_are_made_once_and_go_with_what_is_in_them(device: Device, tmp_path: Path) -> None:
    device.make_folder(tmp_path / "one")
    with pytest.raises(FileExistsError):
        device.make_folder(tmp_path / "one")
    os.close(device.open(tmp_path / "one" / "a", APPENDING))
    device.replace(tmp_path / "one", tmp_path / "two")
    device.remove_tree(tmp_path / "two")
    assert os.listdir(tmp_path) == []


def test_what_is_not_there_is_an_error(device: Device, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        device.open(tmp_path / "a", APPENDING & ~os.O_CREAT)
    with pytest.raises(FileNotFoundError):
        device.unlink(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        device.truncate(str(tmp_path / "a"), 0)
    with pytest.raises(FileNotFoundError):
        device.replace(tmp_path / "a", tmp_path / "b")


def test_a_file_is_replaced_durably_and_as_a_whole(device: Device, tmp_path: Path) -> None:
    write_durably(device, tmp_path / "checkpoint", b"one")
    write_durably(device, tmp_path / "checkpoint", b"two")
    assert (tmp_path / "checkpoint").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_a_file_that_is_replaced_durably_is_never_found_torn(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(b"the old content")
    device = TracedDevice(tmp_path)
    write_durably(device, tmp_path / "checkpoint", b"the new content, which is longer")
    assert device.calls == [
        Made(0, "checkpoint.tmp", 2, False),
        Wrote(2, 0, b"the new content, which is longer"),
        Synced(2, False),
        Moved(0, "checkpoint.tmp", "checkpoint", 2),
        Synced(0, True),
    ]
    found = {(remains.calls, remains.files["checkpoint"]) for remains in all_remains(device, samples=20)}
    assert {content for _, content in found} == {b"the old content", b"the new content, which is longer"}
    assert {content for calls, content in found if calls == 5} == {b"the new content, which is longer"}


def test_what_is_not_synced_may_be_anything_that_a_file_system_leaves(tmp_path: Path) -> None:
    device = TracedDevice(tmp_path)
    file = device.open(tmp_path / "a", APPENDING)
    write_all(device, file, b"ab")
    device.sync(file)
    device.sync_names(tmp_path)
    write_all(device, file, b"cd")
    os.close(file)
    left = {remains.files.get("a") for remains in all_remains(device, since=len(device.calls))}
    assert {b"ab", b"abc", b"abcd", b"ab\0\0", b"abc\0"} <= left
    device.unlink(tmp_path / "a")
    assert device.calls[-1] == Unlinked(0, "a", 1)
    assert {b"ab", None} <= {remains.files.get("a") for remains in all_remains(device, since=len(device.calls))}


def test_a_file_without_a_synced_name_may_be_gone_or_empty(tmp_path: Path) -> None:
    device = TracedDevice(tmp_path)
    file = device.open(tmp_path / "a", APPENDING)
    write_all(device, file, b"ab")
    device.sync(file)
    os.close(file)
    left = [remains.files for remains in all_remains(device, since=len(device.calls))]
    assert {} in left
    assert {"a": b"ab"} in left


@pytest.mark.parametrize("is_short", [False, True])
def test_a_device_that_goes_away_fails_from_then_on(tmp_path: Path, is_short: bool) -> None:
    device = TracedDevice(tmp_path)
    device.fail_at, device.is_short = 1, is_short
    file = device.open(tmp_path / "a", APPENDING)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            write_all(device, file, b"abcd")
    with pytest.raises(OSError, match="Input/output error"):
        device.truncate(file, 0)
    os.close(file)
    assert (tmp_path / "a").read_bytes() == (b"ab" if is_short else b"")


def test_cutting_and_growing_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    device = TracedDevice(tmp_path)
    device.truncate(str(tmp_path / "a"), 3)
    device.truncate(str(tmp_path / "a"), 1)
    assert device.calls == [Cut(1, 1)]
    assert {remains.files["a"] for remains in all_remains(device)} == {b"abc", b"a"}
