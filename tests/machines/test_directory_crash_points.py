"""Log directories whose power is cut, or whose device fails, after every single call that the log keeper makes.

Starts, topics made and deleted, checkpoints, retention, a move from one directory to the other, clean shutdowns. What
may be left is opened by a new keeper, which must find everything that was flushed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.device import Device
from pykafka_broker.log.partition import Origin
from pykafka_broker.log.slice import Isolation
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicId, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.log_keeper import LogKeeper, follow
from pykafka_broker.store.directories import CLEAN, DirectoryError
from pykafka_broker.store.meta import FILE, Meta
from pykafka_broker.store.reading import read_pieces
from pykafka_broker.wire.formats import headers, records
from tests.doubles.explorer import Explorer, scratch
from tests.doubles.inline_worker import InlineWorker
from tests.doubles.log_inspection import inspected
from tests.doubles.power_cuts import TracedDevice
from tests.doubles.sample_log import batch

Counting = Callable[[str, object], None]

MINE = Meta(1, "cluster-a")
TOPIC = TopicId(UUID("cec8a6c2-7c17-4248-9a18-d25c1b56ee50"))
ORDERS, CLICKS, OLD = TopicPartition("orders", 0), TopicPartition("clicks", 1), TopicPartition("old", 0)
SETTINGS = TopicSettings(segment_bytes=300, retention_bytes=600, retention_ms=-1, file_delete_delay_ms=0)


@dataclass(frozen=True, slots=True, eq=False)
class Promise:
    """Of each partition what must be found of it, and what may be."""

    floors: dict[TopicPartition, int] = field(default_factory=dict)
    """Below these everything is flushed; absent partitions need not be there."""
    ends: dict[TopicPartition, int] = field(default_factory=dict)
    starts: dict[TopicPartition, int] = field(default_factory=dict)
    marks: dict[TopicPartition, int] = field(default_factory=dict)
    """High watermarks that are written down."""
    is_claimed: bool = False
    is_closed: bool = False
    """A mark of a clean shutdown may be there."""


class DirectoryStory:
    """Two log directories and what their keeper does."""

    def __init__(self, device: TracedDevice) -> None:
        self.device = device
        self.now = 1_000
        self.promises: list[tuple[int, Promise]] = [(0, Promise())]
        self.keeper = keeper_of(device.root, device, lambda: Millis(self.now))

    @property
    def promise(self) -> Promise:
        return self.promises[-1][1]

    def promise_at(self, calls: int) -> Promise:
        return next(promise for count, promise in reversed(self.promises) if count <= calls)

    def _promise(self, **changes: Any) -> None:
        if self.device.has_failed:
            for gain in ("floors", "marks", "is_claimed"):
                changes.pop(gain, None)
        self.promises.append((len(self.device.calls), replace(self.promise, **changes)))

    def append(self, partition: TopicPartition, count: int = 1) -> None:
        log = self.keeper.logs[partition]
        for _ in range(count):
            end = log.log_end_offset
            self._promise(ends={**self.promise.ends, partition: end + 1})
            log.append(Millis(self.now), batch(b"%d" % end, time=self.now), leader_epoch=0)
            log.advance_high_watermark(log.log_end_offset)

    async def flush(self, partition: TopicPartition) -> None:
        await self.keeper.flush(partition)
        self._promise(floors={**self.promise.floors, partition: self.keeper.logs[partition].log_end_offset})

    async def checkpoint(self) -> None:
        await self.keeper.checkpoint()
        self._promise(marks={partition: log.high_watermark for partition, log in self.keeper.logs.items()})

    def delete(self, partition: TopicPartition) -> None:
        self.promises.append(
            (
                len(self.device.calls),
                replace(
                    self.promise,
                    floors={each: floor for each, floor in self.promise.floors.items() if each != partition},
                ),
            )
        )
        self._promise(
            starts={**self.promise.starts, partition: 1 << 40},
            marks={each: mark for each, mark in self.promise.marks.items() if each != partition},
        )
        self.keeper.delete(partition)

    async def open(self) -> None:
        self.keeper = keeper_of(self.device.root, self.device, lambda: Millis(self.now))
        await self.keeper.open(MINE)
        self._promise(is_claimed=True, is_closed=False)

    async def close(self) -> None:
        self._promise(is_closed=True)
        await self.keeper.close()
        ends = {partition: end for partition, end in self.promise.ends.items() if partition in self.promise.marks}
        self._promise(floors={**self.promise.floors, **ends})

    async def expire(self, partition: TopicPartition) -> None:
        log = self.keeper.logs[partition]
        self._promise(starts={**self.promise.starts, partition: log.segments.bases[-1]})
        await self.keeper.expire()
        await self.keeper.tidy()

    async def move(self, partition: TopicPartition, path: Path) -> None:
        """As ``LogDirMoves`` does it."""
        keeper = self.keeper
        directory, original = keeper.directory(str(path)), keeper.kept(partition)
        assert directory is not None
        assert original is not None
        copy = keeper.make_copy(partition, directory)
        copy.log.restart_at(original.log.log_start_offset, Millis(self.now))
        while copy.log.log_end_offset < original.log.log_end_offset:
            given = original.log.read(copy.log.log_end_offset, 1, isolation=Isolation.LOG_END)
            data = read_pieces(given.pieces)
            copy.log.append(Millis(self.now), data, leader_epoch=-1, origin=Origin.REPLICATION)
        follow(original.log, copy.log)
        await keeper.sync_copy(copy)
        await keeper.checkpoint()
        copy.directory.mark_replacing(partition)
        floor = copy.log.log_end_offset
        keeper.replace(partition)
        self._promise(floors={**self.promise.floors, partition: floor})
        await keeper.checkpoint()
        copy.directory.unmark_replacing(partition)

    async def tell(self) -> None:
        await self.open()
        if self.device.has_failed:
            return
        keeper = self.keeper
        for partition in (ORDERS, CLICKS, OLD):
            keeper.create(partition, TOPIC, SETTINGS)
            self._promise(ends={**self.promise.ends, partition: 0})
        self.append(ORDERS, 3)
        await self.flush(ORDERS)
        self.append(OLD, 2)
        await self.flush(OLD)
        self.append(ORDERS, 3)
        await self.checkpoint()
        self.delete(OLD)
        await keeper.tidy()
        self.append(CLICKS, 5)
        await self.flush(CLICKS)
        here = self.keeper.kept(CLICKS)
        assert here is not None
        other = next(path for path in paths(self.device.root) if path != here.directory.path)
        await self.move(CLICKS, other)
        await keeper.tidy()
        self.append(CLICKS, 1)
        self.append(ORDERS, 9)
        await self.flush(ORDERS)
        await self.expire(ORDERS)
        self.append(ORDERS, 2)
        await self.checkpoint()
        await self.close()
        await self.open()
        if self.device.has_failed:
            return
        self.append(ORDERS, 1)
        self.append(CLICKS, 1)
        await self.flush(CLICKS)
        await self.close()


def paths(root: Path) -> list[Path]:
    return [root / "a", root / "b"]


def keeper_of(root: Path, device: Device, clock: Callable[[], Millis]) -> LogKeeper:
    return LogKeeper(
        paths(root), clock, BrokerSettings(), lambda _: SETTINGS, Changes(), lambda _: None,
        worker=InlineWorker(), device=device,
    )  # fmt: skip


def told(device: TracedDevice) -> DirectoryStory:
    """The story, as far as the device bears it."""
    story = DirectoryStory(device)
    try:
        trio.run(story.tell)
    except (OSError, DirectoryError):
        pass
    except KafkaError as error:
        assert error.code is ErrorCode.KAFKA_STORAGE_ERROR
    let_go(story.keeper)
    return story


def let_go(keeper: LogKeeper) -> None:
    for directory in keeper._directories:
        directory.close()
    for kept in (*keeper._kept.values(), *keeper.copies.values()):
        kept.disk.close()


def open_and_check(root: Path, device: Device, promise: Promise) -> None:
    is_marked = [(path / CLEAN).exists() for path in paths(root)]
    assert promise.is_closed or not any(is_marked) or not promise.ends
    if promise.is_claimed:
        assert all((path / FILE).exists() for path in paths(root))
    keeper = keeper_of(root, device, lambda: Millis(100_000))
    try:
        trio.run(keeper.open, MINE)
        for partition, floor in promise.floors.items():
            assert partition in keeper.logs, f"{partition} is not there"
            assert keeper.logs[partition].log_end_offset >= floor, f"{partition} has lost what was flushed"
        for partition, log in keeper.logs.items():
            kept = keeper.kept(partition)
            assert kept is not None
            inspected(log, kept.disk, may_have_holes=partition == OLD or log.log_start_offset > 0)
            assert log.log_end_offset <= promise.ends.get(partition, 0)
            start = promise.starts.get(partition, 0)
            assert log.log_start_offset <= start or promise.floors.get(partition, 0) <= start
            assert log.high_watermark >= min(promise.marks.get(partition, 0), log.log_end_offset)
            found = values(log)
            assert found == {offset: b"%d" % offset for offset in found}
            if partition in promise.floors:
                assert set(found) >= set(range(start, promise.floors[partition]))
    finally:
        let_go(keeper)


def values(log: Any) -> dict[int, bytes]:
    found, offset = {}, log.log_start_offset
    while (given := log.read(offset, 1 << 20, isolation=Isolation.LOG_END)).size_bytes:
        data = read_pieces(given.pieces)
        for position, header in headers(data):
            for record in records(data[position : position + header.size_bytes]):
                found[record.offset] = record.value or b""
            offset = header.next_offset
    return found


def explore(*, samples: int, share: float, nested: float) -> int:
    with scratch() as root:
        for path in paths(root):
            path.mkdir()
        story = told(TracedDevice(root))
        assert story.promise.is_closed, "the story ended early"
        explorer = Explorer(open_and_check)
        explorer.explore(story.device, story.promise_at, samples=samples, share=share, nested=nested)
    return explorer.tried


def explore_failures(*, every: int) -> int:
    def tell(device: TracedDevice) -> Promise:
        for path in paths(device.root):
            device.make_folder(path)
        device.sync_names(device.root)
        return told(device).promise

    with scratch() as root:
        device = TracedDevice(root)
        tell(device)
    explorer = Explorer(open_and_check)
    explorer.explore_failures(tell, range(3, len(device.calls), every))
    return explorer.tried


def test_a_power_cut_takes_nothing_that_was_flushed(record_property: Counting) -> None:
    record_property("crash points", explore(samples=0, share=0.04, nested=0.002))


@pytest.mark.slow
def test_no_power_cut_takes_anything_that_was_flushed(record_property: Counting) -> None:
    record_property("crash points", explore(samples=1, share=0.2, nested=0.003))


def test_a_device_that_fails_takes_nothing_that_was_flushed(record_property: Counting) -> None:
    record_property("crash points", explore_failures(every=29))


@pytest.mark.slow
def test_no_failure_takes_anything_that_was_flushed(record_property: Counting) -> None:
    record_property("crash points", explore_failures(every=11))
