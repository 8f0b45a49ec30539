"""The opening of log directories, on real files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.model.outcome import Fact, Level
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.log_opening import LogOpening, Opened
from pykafka_broker.store.directories import DirectoryError, LogDirectory, future_name
from pykafka_broker.store.files import OpenFiles
from pykafka_broker.store.meta import Meta
from pykafka_broker.store.worker import Worker
from tests.doubles.inline_worker import InlineWorker
from tests.doubles.sample_log import SampleLog

MINE = Meta(1, "cluster-a")
ORDERS, CLICKS = TopicPartition("orders", 0), TopicPartition("clicks", 1)


class Disks:
    """Log directories with partitions in them, and what is said when they are opened."""

    def __init__(self, root: Path, count: int = 1) -> None:
        self.open_files = OpenFiles()
        self.directories = [LogDirectory(root / f"disk{index}", self.open_files) for index in range(count)]
        self.facts: list[Fact] = []
        self.listen: Callable[[Fact], None] = lambda fact: None
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

    def opening(self, **settings: Any) -> LogOpening:
        def note(fact: Fact) -> None:
            self.facts.append(fact)
            self.listen(fact)

        return LogOpening(
            self.directories,
            MINE,
            Millis(1_000_000),
            BrokerSettings(**settings),
            lambda _: TopicSettings(),
            lambda _, fact: note(fact),
            note,
        )

    async def opened(self) -> Opened:
        return await self.opening().open(InlineWorker())

    def said(self, name: str) -> list[dict[str, object]]:
        return [dict(fact.fields) for fact in self.facts if fact.name == name]


async def test_partitions_copies_and_what_is_deleted_are_told_apart(tmp_path: Path) -> None:
    disks = Disks(tmp_path, 2)
    copy = future_name(ORDERS)
    disks.fill("orders-0")
    disks.fill("clicks-1", batches=2)
    disks.fill(copy, 1, batches=1)
    disks.fill("gone-0.1234-delete", 1)
    found = await disks.opened()
    assert {partition: kept.log.log_end_offset for partition, kept in found.partitions} == {ORDERS: 3, CLICKS: 2}
    ((partition, kept),) = found.copies
    assert (partition, kept.log.log_end_offset, kept.disk.path.name) == (ORDERS, 1, copy)
    assert kept.directory is disks.directories[1]
    assert [path.name for path in found.deleted] == ["gone-0.1234-delete"]


async def test_a_directory_that_fails_is_left_out_while_others_work(tmp_path: Path) -> None:
    disks = Disks(tmp_path, 2)
    disks.fill("orders-0")
    disks.fill("clicks-1", 1)
    (tmp_path / "disk1" / "clicks-1" / ("0" * 20 + ".log")).unlink()
    (tmp_path / "disk1" / "clicks-1" / ("0" * 20 + ".log")).mkdir()
    (tmp_path / "disk1" / "clicks-1" / ("0" * 20 + ".index")).unlink()
    found = await disks.opened()
    assert [partition for partition, _ in found.partitions] == [ORDERS]
    assert [directory.is_offline for directory in disks.directories] == [False, True]
    assert [fact["directory"] for fact in disks.said("LogDirectoryOffline")] == [str(tmp_path / "disk1")]


async def test_recovery_tells_how_far_it_is(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    for index in range(250):
        disks.fill(f"orders-{index}", batches=1, clean=False)
    found = await disks.opened()
    assert len(found.partitions) == 250
    told = [fact for fact in disks.facts if fact.name == "RecoveringPartition"]
    assert [(fact.fields["number"], fact.fields["of"]) for fact in told] == [(index, 250) for index in range(1, 251)]
    assert dict(told[0].fields) == {
        "number": 1,
        "of": 250,
        "partition": "orders-0",
        "directory": str(disks.directories[0].path),
    }
    aloud = [fact.fields["number"] for fact in told if fact.level == Level.INFO]
    assert aloud == [1, *range(2, 251, 2)]
    assert disks.said("LogDirectoryRecovered") == [
        {"directory": str(disks.directories[0].path), "partitions": 250},
    ]


async def test_a_clean_start_tells_nothing(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    disks.fill("orders-0")
    await disks.opened()
    assert disks.facts == []


async def test_each_directory_is_recovered_by_as_many_threads_as_are_set(tmp_path: Path) -> None:
    disks = Disks(tmp_path, 2)
    for index in range(40):
        disks.fill(f"orders-{index}", index % 2, clean=False)
    met = threading.Barrier(6)
    threads = set()

    def meet(fact: Fact) -> None:
        # All six have to be at work at once to get past here.
        if fact.name == "RecoveringPartition" and threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            met.wait(30)

    disks.listen = meet
    found = await disks.opening(num_recovery_threads_per_data_dir=3).open(Worker(1))
    assert len(threads) == 6
    assert {partition.partition for partition, _ in found.partitions} == set(range(40))
    assert all(kept.log.log_end_offset == 3 for _, kept in found.partitions)


async def test_a_recovery_that_is_cancelled_ends_soon_and_loses_nothing(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    for index in range(40):
        disks.fill(f"orders-{index}", clean=False)
    opening = disks.opening()
    token = trio.lowlevel.current_trio_token()

    def cancel(fact: Fact) -> None:
        if fact.fields.get("number") == 7:
            token.run_sync_soon(scope.cancel)
            while opening.is_wanted:
                threading.Event().wait(0.001)

    disks.listen = cancel
    with trio.CancelScope() as scope:
        await opening.open(Worker())
    assert scope.cancelled_caught
    assert len(disks.said("RecoveringPartition")) == 7
    top = disks.directories[0].path
    assert not (top / ".kafka_cleanshutdown").exists()
    assert (top / "recovery-point-offset-checkpoint").read_text() == ""
    disks.listen = lambda fact: None
    found = await disks.opened()
    assert sorted(kept.log.log_end_offset for _, kept in found.partitions) == [3] * 40


async def test_a_directory_that_makes_no_sense_is_told_of_before_another_is_touched(tmp_path: Path) -> None:
    disks = Disks(tmp_path, 2)
    disks.fill("orders-0")
    (tmp_path / "disk1" / "lost+found").mkdir()
    with pytest.raises(DirectoryError, match=r"lost\+found"):
        await disks.opened()
    assert (tmp_path / "disk0" / ".kafka_cleanshutdown").exists()


async def test_no_file_stays_open_for_partitions_that_nobody_uses(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    for index in range(40):
        disks.fill(f"orders-{index}")
    found = await disks.opened()
    assert len(found.partitions) == 40
    assert len(disks.open_files) == 0
