"""Log directories: whose they are, what is in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pykafka_broker.device import DEVICE
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.store.checkpoints import HIGH_WATERMARKS
from pykafka_broker.store.directories import (
    DamagedCheckpoint,
    DirectoryError,
    LogDirectory,
    deleted_name,
    has_room_for_future,
)
from pykafka_broker.store.files import OpenFiles
from pykafka_broker.store.meta import Meta

MINE = Meta(1, "cluster-a")


@pytest.fixture
def directory(tmp_path: Path) -> LogDirectory:
    found = LogDirectory(tmp_path / "data" / "logs", OpenFiles())
    found.open()
    return found


def test_a_directory_is_made_if_it_is_not_there(directory: LogDirectory) -> None:
    assert directory.path.is_dir()
    assert (directory.path / ".lock").read_bytes() == b""


@pytest.mark.slow
def test_a_directory_is_held_by_one_process(directory: LogDirectory) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from pykafka_broker.store.directories import DamagedCheckpoint, DirectoryError, LogDirectory\n"
        "from pykafka_broker.store.files import OpenFiles\n"
        "try: LogDirectory(Path(sys.argv[1]), OpenFiles()).open()\n"
        "except DirectoryError as error: sys.exit(str(error))\n"
    )
    other = [sys.executable, "-c", program, str(directory.path)]
    refused = subprocess.run(other, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "Failed to acquire lock on file .lock" in refused.stderr
    directory.close()
    assert subprocess.run(other, capture_output=True, text=True, check=False).returncode == 0


def test_a_fresh_directory_becomes_the_brokers_own(directory: LogDirectory) -> None:
    assert directory.meta() is None
    directory.claim(MINE, 0)
    assert directory.meta() == MINE
    directory.claim(MINE, 0)


def test_a_directory_of_another_cluster_is_refused(directory: LogDirectory) -> None:
    directory.claim(MINE, 0)
    with pytest.raises(DirectoryError, match="Expected cluster-b, but read cluster-a"):
        directory.claim(Meta(1, "cluster-b"), 0)


def test_a_directory_of_another_broker_is_refused(directory: LogDirectory) -> None:
    directory.claim(MINE, 0)
    with pytest.raises(
        DirectoryError, match=r"Stored node id 1 doesn't match previous node id 2 in .*/meta.properties"
    ):
        directory.claim(Meta(2, "cluster-a"), 0)


def test_a_directory_of_before_clusters_had_ids_joins_the_cluster(directory: LogDirectory) -> None:
    (directory.path / "meta.properties").write_text("version=0\nbroker.id=1\n")
    directory.claim(MINE, 0)
    assert directory.meta() == MINE


def test_a_directory_that_has_no_broker_yet_gets_one(directory: LogDirectory) -> None:
    (directory.path / "meta.properties").write_text("version=0\ncluster.id=cluster-a\n")
    directory.claim(MINE, 0)
    assert directory.meta() == MINE


def test_a_file_that_makes_no_sense_fails_the_directory_and_is_left_as_it_is(directory: LogDirectory) -> None:
    (directory.path / "meta.properties").write_text("broker.id=x\n")
    with pytest.raises(OSError, match=r"Error while reading meta.properties file .*: Unable to read broker.id"):
        directory.claim(MINE, 0)
    assert (directory.path / "meta.properties").read_text() == "broker.id=x\n"


def test_the_mark_of_a_clean_shutdown_is_taken_once(directory: LogDirectory) -> None:
    assert not directory.take_clean_mark()
    directory.leave_clean_mark(7)
    assert (directory.path / ".kafka_cleanshutdown").read_text() == '{"version":0,"brokerEpoch":7}'
    assert directory.take_clean_mark()
    assert not directory.take_clean_mark()


def test_partitions_and_leftovers_are_told_apart(directory: LogDirectory) -> None:
    hexes = "0123456789abcdef" * 2
    for name in ("orders-0", "a-b-12", f"old-1.{hexes}-delete", f"x-0.{hexes}-stray", "remote-log-index-cache"):
        (directory.path / name).mkdir()
    (directory.path / f"a.b-c-3.{hexes}-future").mkdir()
    (directory.path / "a file").touch()
    found = directory.find()
    assert set(found.partitions) == {TopicPartition("orders", 0), TopicPartition("a-b", 12)}
    assert [path.name for path in found.deleted] == [f"old-1.{hexes}-delete"]
    assert found.futures == {TopicPartition("a.b-c", 3): directory.path / f"a.b-c-3.{hexes}-future"}


@pytest.mark.parametrize("name", ["lost+found", "orders", "orders-x", ".snapshot", "or ders-0"])
def test_any_other_directory_is_refused_by_name(directory: LogDirectory, name: str) -> None:
    (directory.path / name).mkdir()
    with pytest.raises(DirectoryError, match="Kafka's log directories") as refused:
        directory.find()
    assert f"'{name}' is not in the form of topic-partition" in str(refused.value)


def test_a_copy_becomes_the_partition_with_its_files_open(directory: LogDirectory) -> None:
    place = TopicPartition("orders", 0)
    disk = directory.make_future(place)
    disk.append("x", b"be")
    directory.take_over(disk, place)
    disk.append("x", b"fore")
    disk.append("y", b"after")
    assert {path.name: path.read_bytes() for path in (directory.path / "orders-0").iterdir()} == {
        "x": b"before",
        "y": b"after",
    }
    assert directory.find().futures == {}


def test_a_replacement_is_noted_until_it_is_over(directory: LogDirectory) -> None:
    one, other = TopicPartition("orders", 0), TopicPartition("orders", 1)
    for place in (one, other):
        directory.mark_replacing(place)
    assert directory.find().partitions == {}
    directory.unmark_replacing(one)
    directory.unmark_replacing(one)
    assert (directory.is_replacing(one), directory.is_replacing(other)) == (False, True)
    directory.forget_replacements()
    assert not directory.is_replacing(other)


def test_a_name_too_long_for_a_copy_is_known_beforehand() -> None:
    assert has_room_for_future(TopicPartition("x" * 213, 0))
    assert not has_room_for_future(TopicPartition("x" * 213, 10))


def test_a_deleted_partitions_name_stays_within_what_a_file_system_takes() -> None:
    name = deleted_name(TopicPartition("t" * 249, 100_000))
    assert len(name) == 255
    assert name.endswith("-delete")


def test_a_partition_is_moved_away_and_removed_later(directory: LogDirectory) -> None:
    place = TopicPartition("orders", 0)
    disk = directory.make(place)
    disk.append("x", b"data")
    doomed = directory.doom(disk, place)
    assert not disk.path.exists()
    assert directory.find().deleted == (doomed,)
    DEVICE.remove_tree(doomed)
    assert directory.find().deleted == ()


def test_checkpoints_are_kept_and_garbage_is_told_with_its_file(directory: LogDirectory) -> None:
    assert directory.read_checkpoint(HIGH_WATERMARKS) == {}
    directory.make_checkpoints()
    assert directory.read_checkpoint(HIGH_WATERMARKS) == {}
    directory.write_checkpoint(HIGH_WATERMARKS, {TopicPartition("orders", 0): 5})
    assert directory.read_checkpoint(HIGH_WATERMARKS) == {TopicPartition("orders", 0): 5}
    (directory.path / HIGH_WATERMARKS).write_text("nonsense")
    with pytest.raises(DamagedCheckpoint, match=f"{HIGH_WATERMARKS} makes no sense"):
        directory.read_checkpoint(HIGH_WATERMARKS)


def test_the_volume_tells_its_size(directory: LogDirectory) -> None:
    total, usable = directory.space()
    assert 0 < usable <= total
