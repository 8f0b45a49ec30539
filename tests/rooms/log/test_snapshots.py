"""Producer snapshots as files."""

from __future__ import annotations

import pytest

from pykafka_broker.log.producers import Producers
from pykafka_broker.log.snapshots import Snapshots
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import Record, build, read_header
from tests.doubles.memory_disk import MemoryDisk
from tests.doubles.sample_log import PLACE


def producers(*ids: int) -> Producers:
    found = Producers(PLACE)
    for offset, producer_id in enumerate(ids):
        batch = build([Record(timestamp=1_000)], producer_id=producer_id, producer_epoch=0, base_sequence=0)
        found.record(read_header(batch), offset)
    return found


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def snapshots(disk: MemoryDisk) -> Snapshots:
    found = Snapshots(disk, {})
    for offset, ids in ((10, (1,)), (20, (1, 2)), (30, (1, 2, 3))):
        found.write(offset, producers(*ids))
    return found


def loaded(snapshots: Snapshots, start: int, end: int) -> tuple[int, list[int]]:
    found = producers(99)
    offset = snapshots.load(found, start, end, Millis(2_000))
    return offset, [one.producer_id for one in found.active()]


def test_names_are_offsets(disk: MemoryDisk, snapshots: Snapshots) -> None:
    assert sorted(disk.sizes()) == [f"{offset:020d}.snapshot" for offset in (10, 20, 30)]
    assert Snapshots(disk, disk.sizes()).offsets == snapshots.offsets == [10, 20, 30]


def test_the_newest_within_the_log_is_loaded(snapshots: Snapshots) -> None:
    assert loaded(snapshots, 0, 100) == (30, [1, 2, 3])
    assert loaded(snapshots, 0, 29) == (20, [1, 2])
    assert loaded(snapshots, 25, 29) == (25, [])
    assert loaded(snapshots, 0, 9) == (0, [])


def test_a_damaged_one_is_removed_and_an_older_one_used(disk: MemoryDisk, snapshots: Snapshots) -> None:
    disk.files[f"{30:020d}.snapshot"][-1] ^= 1
    disk.truncate(f"{20:020d}.snapshot", 5)
    assert loaded(snapshots, 0, 100) == (10, [1])
    assert snapshots.offsets == [10]


def test_those_of_segments_and_the_newest_are_kept(disk: MemoryDisk, snapshots: Snapshots) -> None:
    snapshots.keep({20})
    assert snapshots.offsets == [20, 30]
    assert snapshots.has_leftovers
    snapshots.reap()
    assert not snapshots.has_leftovers
    assert sorted(disk.sizes()) == [f"{offset:020d}.snapshot" for offset in (20, 30)]


def test_one_that_is_written_again_is_not_taken_away(disk: MemoryDisk, snapshots: Snapshots) -> None:
    snapshots.keep({20})
    snapshots.write(10, producers(5))
    snapshots.reap()
    assert loaded(snapshots, 0, 19) == (10, [5])
    disk.remove(f"{10:020d}.snapshot")
    assert loaded(snapshots, 0, 19) == (0, [])


def test_those_behind_the_end_go(disk: MemoryDisk, snapshots: Snapshots) -> None:
    snapshots.remove_beyond(20)
    assert snapshots.offsets == [10, 20]
    snapshots.clear()
    assert disk.sizes() == {}
