"""The disk, the real one and the one in memory: the same tests run over both."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pykafka_broker.log.disk import Disk
from pykafka_broker.model.time import Millis
from pykafka_broker.store.files import FileDisk, OpenFiles
from tests.doubles.memory_disk import MemoryDisk
from tests.doubles.sample_log import read_back


@pytest.fixture(params=["files", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return FileDisk(tmp_path, OpenFiles()) if request.param == "files" else MemoryDisk()


def test_a_file_grows_at_its_end_and_is_read_from_anywhere(disk: Disk) -> None:
    disk.append("a", b"hello ")
    disk.append("a", memoryview(b"world"))
    assert disk.read("a", 0, 100) == b"hello world"
    assert disk.read("a", 4, 3) == b"o w"
    assert disk.read("a", 11, 3) == b""
    assert disk.sizes() == {"a": 11}


def test_a_file_is_made_empty_and_left_alone_if_it_is_there(disk: Disk) -> None:
    disk.create("a")
    assert disk.sizes() == {"a": 0}
    disk.append("a", b"x")
    disk.create("a")
    assert disk.sizes() == {"a": 1}


def test_reserving_room_changes_nothing_that_one_reads(disk: Disk) -> None:
    disk.reserve("a", 1 << 20)
    assert disk.sizes() == {"a": 0}
    disk.append("a", b"x")
    disk.reserve("a", 1 << 20)
    assert disk.read("a", 0, 100) == b"x"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such call")
def test_reserved_blocks_are_the_files_until_it_is_cut_to_its_length(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path, OpenFiles())
    disk.reserve("a", 1 << 20)
    disk.append("a", b"x")
    assert os.stat(tmp_path / "a").st_blocks * 512 >= 1 << 20
    disk.truncate("a", 1)
    assert os.stat(tmp_path / "a").st_blocks * 512 < 1 << 16


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such call")
def test_room_that_there_is_not_cannot_be_reserved(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left|File too large"):
        FileDisk(tmp_path, OpenFiles()).reserve("a", 1 << 60)


def test_reading_a_file_that_is_not_there_is_an_error(disk: Disk) -> None:
    with pytest.raises(FileNotFoundError):
        disk.read("a", 0, 1)
    with pytest.raises(FileNotFoundError):
        disk.region("a", 0, 1)
    with pytest.raises(FileNotFoundError):
        disk.rename("a", "b")
    with pytest.raises(FileNotFoundError):
        disk.modified_ms("a")


def test_after_a_cut_appending_goes_on_at_the_new_end(disk: Disk) -> None:
    disk.append("a", b"0123456789")
    disk.truncate("a", 4)
    disk.append("a", b"x")
    assert disk.read("a", 0, 100) == b"0123x"


def test_replacing_gives_a_file_new_content_and_leaves_nothing_else(disk: Disk) -> None:
    disk.append("a", b"old and long")
    disk.replace("a", b"new")
    assert disk.read("a", 0, 100) == b"new"
    disk.append("a", b"er")
    assert disk.read("a", 0, 100) == b"newer"
    assert disk.sizes() == {"a": 5}


def test_renaming_moves_a_file_over_another(disk: Disk) -> None:
    disk.append("a", b"one")
    disk.append("b", b"two")
    disk.rename("a", "b")
    assert disk.sizes() == {"b": 3}
    assert disk.read("b", 0, 100) == b"one"
    disk.append("a", b"three")
    assert disk.read("b", 0, 100) == b"one"


def test_removing_a_file_twice_is_no_error(disk: Disk) -> None:
    disk.append("a", b"one")
    disk.remove("a")
    disk.remove("a")
    assert disk.sizes() == {}


def test_a_region_is_read_even_after_its_file_is_gone(disk: Disk) -> None:
    disk.append("a", b"0123456789")
    region = disk.region("a", 2, 5)
    disk.remove("a")
    disk.append("a", b"something else")
    assert read_back([region]) == b"23456"


def test_a_region_outlives_a_rename(disk: Disk) -> None:
    disk.append("a", b"0123456789")
    region = disk.region("a", 0, 3)
    disk.rename("a", "b")
    assert read_back([region]) == b"012"


def test_syncing_passes_over_files_that_are_gone(disk: Disk) -> None:
    disk.append("a", b"x")
    disk.sync(["a", "b"])


def test_the_time_of_the_last_write_is_known(disk: Disk) -> None:
    disk.append("a", b"x")
    assert disk.modified_ms("a") >= 0


def open_below(path: Path) -> int:
    """How many descriptors this process has open on files of a directory."""
    found = [os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
    return sum(os.path.realpath(link).startswith(str(path.resolve())) for link in found)


def test_no_more_descriptors_are_open_than_allowed(tmp_path: Path) -> None:
    open_files = OpenFiles(limit=3)
    disk = FileDisk(tmp_path, open_files)
    for index in range(20):
        disk.append(f"file{index}", b"x")
    assert (len(open_files), open_below(tmp_path)) == (3, 3)
    disk.append("file0", b"y")
    assert disk.read("file0", 0, 10) == b"xy"
    disk.close()
    assert (len(open_files), open_below(tmp_path)) == (0, 0)


def test_reading_through_many_files_takes_nothing_from_those_that_are_written(tmp_path: Path) -> None:
    open_files = OpenFiles(limit=3, reading=2)
    disk = FileDisk(tmp_path, open_files)
    for index in range(20):
        (tmp_path / f"old{index}").write_bytes(b"x")
    for name in ("a", "b", "c"):
        disk.append(name, b"x")
    for index in range(20):
        assert disk.read(f"old{index}", 0, 1) == b"x"
    assert set(disk.descriptors) == {"a", "b", "c", "old18", "old19"}
    assert len(open_files) == 5


def test_a_descriptor_that_is_let_go_stays_open_while_a_region_holds_it(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path, OpenFiles(limit=1))
    disk.append("a", b"0123456789")
    region = disk.region("a", 3, 2)
    disk.append("b", b"x")
    assert "a" not in disk.descriptors
    assert os.pread(region.file, region.size_bytes, region.start) == b"34"
    number = int(region.file)
    del region
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_nothing_more_is_lent_while_answers_hold_too_many_descriptors(tmp_path: Path) -> None:
    open_files = OpenFiles(limit=8, reading=4)
    disk = FileDisk(tmp_path, open_files)
    for index in range(100):
        (tmp_path / f"old{index}").write_bytes(b"x")
    regions = []
    for index in range(100):
        if not disk.lends:
            break
        regions.append(disk.region(f"old{index}", 0, 1))
    assert len(regions) == open_below(tmp_path) == 15
    assert disk.read("old99", 0, 1) == b"x"
    assert not disk.lends
    regions.clear()
    assert disk.lends
    assert open_below(tmp_path) == len(open_files) == 4


def test_two_disks_share_one_limit(tmp_path: Path) -> None:
    open_files = OpenFiles(limit=2)
    disks = []
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        disks.append(FileDisk(tmp_path / name, open_files))
    for index in range(2):
        for disk in disks:
            disk.append(f"f{index}", b"x")
    assert len(open_files) == 2
    assert sum(len(disk.descriptors) for disk in disks) == 2


def test_a_full_disk_is_an_error_and_the_memory_disk_can_be_one() -> None:
    disk = MemoryDisk()
    disk.fail_next = True
    with pytest.raises(OSError, match="No space left"):
        disk.append("a", b"x")
    disk.append("a", b"x")
    with pytest.raises(OSError), open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")


def test_a_crash_leaves_what_was_synced() -> None:
    disk = MemoryDisk()
    disk.append("a", b"kept")
    disk.append("b", b"old")
    disk.sync(["a", "b"])
    disk.append("a", b"lost")
    disk.replace("b", b"new")
    disk.crash(lambda low, high: low)
    assert disk.read("a", 0, 100) == b"kept"
    assert disk.read("b", 0, 100) == b"old"


def test_a_file_can_count_as_written_at_another_time(disk: Disk) -> None:
    disk.append("a", b"x")
    disk.set_modified_ms("a", Millis(1_234_567))
    assert disk.modified_ms("a") == 1_234_567
    disk.rename("a", "b")
    assert disk.modified_ms("b") == 1_234_567
    disk.append("b", b"y")
    assert disk.modified_ms("b") != 1_234_567
    with pytest.raises(FileNotFoundError):
        disk.set_modified_ms("a", Millis(0))
