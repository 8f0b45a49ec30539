"""The opening of log directories, on real files."""

from __future__ import annotations

from pathlib import Path

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.model.outcome import Fact
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.log_opening import LogOpening, Opened
from pykafka_broker.store.directories import LogDirectory, future_name
from pykafka_broker.store.files import OpenFiles
from pykafka_broker.store.meta import Meta
from tests.doubles.sample_log import SampleLog

MINE = Meta(1, "cluster-a")
ORDERS, CLICKS = TopicPartition("orders", 0), TopicPartition("clicks", 1)


class Disks:
    """Log directories with partitions in them, and what is said when they are opened."""

    def __init__(self, root: Path, count: int = 1) -> None:
        self.directories = [LogDirectory(root / f"disk{index}", OpenFiles()) for index in range(count)]
        self.facts: list[Fact] = []
        for directory in self.directories:
            directory.open()

    def fill(self, name: str, index: int = 0, batches: int = 3, *, clean: bool = True) -> None:
        """A partition's directory with a log in it."""
        directory = self.directories[index]
        disk = directory.future(directory.path / name)
        disk.path.mkdir()
        sample = SampleLog(disk)
        for _ in range(batches):
            sample.append(b"v")
        sample.log.close()
        disk.close()
        if clean:
            directory.leave_clean_mark()

    def opening(self) -> LogOpening:
        return LogOpening(
            self.directories,
            MINE,
            Millis(1_000_000),
            BrokerSettings(),
            lambda _: TopicSettings(),
            lambda _, fact: self.facts.append(fact),
            self.facts.append,
        )

    def opened(self) -> Opened:
        return self.opening().open()

    def said(self, name: str) -> list[dict[str, object]]:
        return [dict(fact.fields) for fact in self.facts if fact.name == name]


def test_partitions_copies_and_what_is_deleted_are_told_apart(tmp_path: Path) -> None:
    disks = Disks(tmp_path, 2)
    copy = future_name(ORDERS)
    disks.fill("orders-0")
    disks.fill("clicks-1", batches=2)
    disks.fill(copy, 1, batches=1)
    disks.fill("gone-0.1234-delete", 1)
    found = disks.opened()
    assert {partition: kept.log.log_end_offset for partition, kept in found.partitions} == {ORDERS: 3, CLICKS: 2}
    ((partition, kept),) = found.copies
    assert (partition, kept.log.log_end_offset, kept.disk.path.name) == (ORDERS, 1, copy)
    assert kept.directory is disks.directories[1]
    assert [path.name for path in found.deleted] == ["gone-0.1234-delete"]


def test_a_directory_that_fails_is_left_out_while_others_work(tmp_path: Path) -> None:
    disks = Disks(tmp_path, 2)
    disks.fill("orders-0")
    disks.fill("clicks-1", 1)
    (tmp_path / "disk1" / "clicks-1" / ("0" * 20 + ".log")).unlink()
    (tmp_path / "disk1" / "clicks-1" / ("0" * 20 + ".log")).mkdir()
    (tmp_path / "disk1" / "clicks-1" / ("0" * 20 + ".index")).unlink()
    found = disks.opened()
    assert [partition for partition, _ in found.partitions] == [ORDERS]
    assert [directory.is_offline for directory in disks.directories] == [False, True]
    assert [fact["directory"] for fact in disks.said("LogDirectoryOffline")] == [str(tmp_path / "disk1")]
