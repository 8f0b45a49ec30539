"""Two log directories on a traced device: what their keeper and its moves do, and what has been promised after each
call.

An ``Explorer`` then cuts the power everywhere in the story, and lets a new keeper open what is found and finish the
moves that it finds begun.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import trio
from trio.testing import MockClock

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.device import DEVICE, Device
from pykafka_broker.log.partition import PartitionLog
from pykafka_broker.log.slice import Isolation
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import trio_clock
from pykafka_broker.runtime.leaderships import Leaderships
from pykafka_broker.runtime.log_dir_moves import LogDirMoves
from pykafka_broker.runtime.log_keeper import LogKeeper
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.store.directories import CLEAN, DirectoryError
from pykafka_broker.store.meta import FILE, Meta
from pykafka_broker.store.reading import read_pieces
from pykafka_broker.wire import messages
from pykafka_broker.wire.formats import headers, records
from tests.doubles.inline_worker import InlineWorker
from tests.doubles.log_inspection import inspected
from tests.doubles.power_cuts import TracedDevice
from tests.doubles.promises import Promising
from tests.doubles.sample_log import batch

ME = BrokerId(1)
MINE = Meta(1, "cluster-a")
TOPIC = TopicId(UUID("cec8a6c2-7c17-4248-9a18-d25c1b56ee50"))
ORDERS, CLICKS, OLD = TopicPartition("orders", 0), TopicPartition("clicks", 1), TopicPartition("old", 0)
SETTINGS = TopicSettings(segment_bytes=300, retention_bytes=600, retention_ms=-1, file_delete_delay_ms=0)

History = tuple[bytes, ...]
"""What was written at each offset from 0 on."""

Result = TypeVar("Result")


class Broken(Exception):
    """The device has failed; the story is over."""


@dataclass(frozen=True, slots=True, eq=False)
class Promise:
    """Of each partition what must be found of it, and what may be."""

    floors: dict[TopicPartition, int] = field(default_factory=dict)
    """Below these everything is flushed; absent partitions need not be there."""
    histories: dict[TopicPartition, tuple[History, ...]] = field(default_factory=dict)
    """Logs as they were since the last flush; a beginning of one of them is what may be found."""
    starts: dict[TopicPartition, int] = field(default_factory=dict)
    """Nothing below has to be there any more."""
    marks: dict[TopicPartition, int] = field(default_factory=dict)
    """High watermarks that are written down."""
    is_claimed: bool = False
    is_closed: bool = False
    """A mark of a clean shutdown may be there."""


class Interrupted(InlineWorker):
    """Before each piece of work something else may happen; that is what the story says."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Callable[[], object]] = []
        self.at_last: Callable[[], object] = lambda: None
        """Happens when a copy is on the device and about to take its original's place."""

    async def run(self, work: Callable[[], Result]) -> Result:
        if isinstance(work, partial) and work.func.__name__ == "mark_replacing":
            self.at_last()
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return await super().run(work)


class Broker:
    """A keeper of two log directories, and what leads and moves partitions in them."""

    def __init__(self, root: Path, device: Device, note: Callable[[Fact], None] = lambda _: None) -> None:
        self.worker = Interrupted()
        self.clock = trio_clock(Millis(1_000))
        changes = Changes()
        self.keeper = LogKeeper(
            paths(root), self.clock, BrokerSettings(), lambda _: SETTINGS, changes, note,
            worker=self.worker, device=device,
        )  # fmt: skip
        self.leaderships = Leaderships(ME, self.keeper, Metadata(ME, changes), lambda _: SETTINGS, changes)
        self.moves = LogDirMoves(self.keeper, self.leaderships, changes, self.clock, note, throttle=Turnstile())

    def leads(self, partition: TopicPartition, epoch: int) -> None:
        order = messages.LeaderAndIsrRequest
        state = order.PartitionState(
            partition_index=partition.partition, leader=ME, leader_epoch=LeaderEpoch(epoch), isr=[ME], replicas=[ME]
        )
        told = order.TopicState(topic_name=partition.topic, topic_id=TOPIC, partition_states=[state])
        answer = self.leaderships.lead_and_follow(order(broker_epoch=-1, topic_states=[told]))
        if answer.topics[0].partition_errors[0].error_code:
            raise KafkaError(ErrorCode.of(answer.topics[0].partition_errors[0].error_code))

    async def open(self) -> None:
        """Find everything, and lead it."""
        await self.keeper.open(MINE)
        for partition, log in self.keeper.logs.items():
            self.leads(partition, max(0, log.latest_epoch))

    async def moved(self) -> None:
        """Carry moves out until there are none."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.moves.run)
            while self.keeper.copies:
                await trio.sleep(0.01)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()

    def let_go(self) -> None:
        """Let the locks and files go, as a process does that ends."""
        for directory in self.keeper._directories:
            directory.close()
        for kept in (*self.keeper._kept.values(), *self.keeper.copies.values()):
            kept.disk.close()


class Turnstile:
    """Holds a move back now and then."""

    def __init__(self) -> None:
        self.asked = 0

    def holds_back(self, partition: TopicPartition) -> bool:
        self.asked += 1
        return self.asked % 3 == 1

    def moved(self, partition: TopicPartition, size_bytes: int) -> None:
        pass


class DirectoryStory(Promising[Promise]):
    """Two log directories and what their keeper does."""

    def __init__(self, device: TracedDevice) -> None:
        super().__init__(device, Promise())
        self.broker: Broker
        self.moves_ended = 0

    # what is promised

    @contextmanager
    def _device_may_fail(self) -> Iterator[None]:
        """What is told within may fail with the device, or come to nothing although it returns."""
        try:
            yield
        except (KafkaError, OSError, DirectoryError) as error:
            if not self.device.has_failed or (
                isinstance(error, KafkaError) and error.code is not ErrorCode.KAFKA_STORAGE_ERROR
            ):
                raise
            raise Broken from error
        if self.device.has_failed:
            raise Broken

    def _heard(self, fact: Fact) -> None:
        assert fact.name != "MoveFailed" or self.device.has_failed, fact
        if fact.name == "MoveEnded" and not self.device.has_failed:
            self.moves_ended += 1
            (partition,) = [each for each in (ORDERS, CLICKS) if str(each) == fact.fields["partition"]]
            self._flushed(partition, self.log(partition).log_end_offset, self.promise.histories[partition])

    def _flushed(self, partition: TopicPartition, end: int, histories: tuple[History, ...]) -> None:
        promise = self.promise
        floors = {**promise.floors, partition: max(end, promise.floors.get(partition, 0))}
        # What was written in the meantime is in the last history, too.
        left = promise.histories[partition][len(histories) - 1 :]
        self._promise(floors=floors, histories={**promise.histories, partition: left})

    # what happens

    def log(self, partition: TopicPartition) -> PartitionLog:
        return self.broker.keeper.logs[partition]

    def create(self, partition: TopicPartition) -> None:
        with self._device_may_fail():
            self.broker.leads(partition, 0)
        self._promise(histories={**self.promise.histories, partition: ((),)})

    def append(self, partition: TopicPartition, count: int = 1) -> None:
        for _ in range(count):
            log = self.log(partition)
            epoch = self.broker.leaderships.leader(partition).leader_epoch
            value = b"%d.%d" % (epoch, log.log_end_offset)
            *others, newest = self.promise.histories[partition]
            grown = (*others, (*newest, value))
            self._promise(histories={**self.promise.histories, partition: grown})
            with self._device_may_fail():
                log.append(self.broker.clock(), batch(value, time=self.broker.clock()), leader_epoch=epoch)
            log.advance_high_watermark(log.log_end_offset)

    async def flush(self, partition: TopicPartition) -> None:
        wanted, histories = self.log(partition).log_end_offset, self.promise.histories[partition]
        with self._device_may_fail():
            await self.broker.keeper.flush(partition)
        self._flushed(partition, wanted, histories)

    async def checkpoint(self) -> None:
        with self._device_may_fail():
            await self.broker.keeper.checkpoint()
        marks = {partition: log.high_watermark for partition, log in self.broker.keeper.logs.items()}
        self._promise(marks=marks)

    async def cut(self, partition: TopicPartition, count: int) -> None:
        """Become a follower whose leader never had the last records, and lead again."""
        promise, log = self.promise, self.log(partition)
        offset = log.log_end_offset - count
        histories = promise.histories[partition]
        self._promise(
            histories={**promise.histories, partition: (*histories, histories[-1][:offset])},
            floors={**promise.floors, partition: min(offset, promise.floors.get(partition, 0))},
            marks={**promise.marks, partition: min(offset, promise.marks.get(partition, 0))},
        )
        with self._device_may_fail():
            log.truncate_to(offset, self.broker.clock())
            histories = self.promise.histories[partition]
            await self.broker.keeper.settle()
        self._flushed(partition, offset, histories)
        with self._device_may_fail():
            leadership = self.broker.leaderships.leader(partition)
            self.broker.leads(partition, leadership.leader_epoch + 1)

    def delete(self, partition: TopicPartition) -> None:
        promise = self.promise
        self._promise(floors={each: floor for each, floor in promise.floors.items() if each != partition})
        self._promise(
            starts={**promise.starts, partition: 1 << 40},
            marks={each: mark for each, mark in promise.marks.items() if each != partition},
        )
        with self._device_may_fail():
            self.broker.keeper.delete(partition)

    def delete_records(self, partition: TopicPartition, offset: int) -> None:
        self._promise(starts={**self.promise.starts, partition: offset})
        with self._device_may_fail():
            self.log(partition).delete_records(offset)

    async def tidy(self) -> None:
        with self._device_may_fail():
            await self.broker.keeper.tidy()

    async def expire(self) -> None:
        lasts = {partition: log.segments.bases[-1] for partition, log in self.broker.keeper.logs.items()}
        self._promise(starts={**lasts, **{p: max(s, lasts.get(p, 0)) for p, s in self.promise.starts.items()}})
        with self._device_may_fail():
            await self.broker.keeper.expire()
            await self.broker.keeper.tidy()

    async def open(self) -> None:
        self.broker = Broker(self.device.root, self.device, self._heard)
        with self._device_may_fail():
            await self.broker.open()
        self._promise(is_claimed=True, is_closed=False)

    async def close(self) -> None:
        self._promise(is_closed=True)
        with self._device_may_fail():
            await self.broker.keeper.close()
        ends = {partition: len(found[-1]) for partition, found in self.promise.histories.items() if partition != OLD}
        last = {partition: found[-1:] for partition, found in self.promise.histories.items()}
        self._promise(floors={**self.promise.floors, **ends}, histories=last)

    async def die(self) -> None:
        """End at once, and be started again."""
        self.broker.let_go()
        await self.open()

    def move(self, partition: TopicPartition) -> None:
        """Begin to move a partition to the other directory."""
        here = self.broker.keeper.kept(partition)
        assert here is not None
        (other,) = [path for path in paths(self.device.root) if path != here.directory.path]
        with self._device_may_fail():
            self.broker.moves.move(partition, str(other))

    async def moved(self, *meanwhile: Callable[[], object]) -> None:
        """Let the moves that have begun come to their end; before each of the mover's steps something else happens."""
        expected = self.moves_ended + len(self.broker.keeper.copies)
        self.broker.worker.meanwhile = list(meanwhile)
        with self._device_may_fail():
            await self.broker.moved()
        assert not self.broker.worker.meanwhile, "the move was over early"
        assert self.moves_ended == expected

    async def moved_in_part(self, steps: int) -> None:
        """Let the moves come that far and no further."""
        with trio.CancelScope() as scope, self._device_may_fail():
            self.broker.worker.meanwhile = [*[lambda: None] * steps, scope.cancel]
            await self.broker.moved()
        assert scope.cancelled_caught, "the move was over early"

    async def moved_beside(self, *others: Callable[[], Awaitable[None]]) -> None:
        """The same, while others do what they do."""
        async with trio.open_nursery() as nursery:
            for other in others:
                nursery.start_soon(other)
            await self.moved()


async def keeps(story: DirectoryStory) -> None:
    """Topics made and deleted, checkpoints, retention, a move, clean shutdowns."""
    await story.open()
    for partition in (ORDERS, CLICKS, OLD):
        story.create(partition)
    story.append(ORDERS, 3)
    await story.flush(ORDERS)
    story.append(OLD, 9)
    await story.flush(OLD)
    story.append(ORDERS, 3)
    await story.checkpoint()
    story.delete(OLD)
    await story.tidy()
    story.append(CLICKS, 5)
    await story.flush(CLICKS)
    story.move(CLICKS)
    await story.moved()
    await story.tidy()
    story.append(CLICKS, 1)
    story.append(ORDERS, 20)
    await story.flush(ORDERS)
    await story.expire()
    story.append(ORDERS, 2)
    await story.checkpoint()
    await story.close()
    await story.open()
    story.append(ORDERS, 1)
    story.append(CLICKS, 1)
    await story.flush(CLICKS)
    await story.close()


async def moves(story: DirectoryStory) -> None:
    """Moves there and back: beside appends, flushes, a cut, deleted records and retention; and in several lives."""
    await story.open()
    for partition in (ORDERS, CLICKS):
        story.create(partition)
    story.append(ORDERS, 8)
    story.append(CLICKS, 3)
    await story.flush(ORDERS)
    await story.checkpoint()
    story.append(ORDERS, 2)
    story.move(ORDERS)
    story.broker.worker.at_last = lambda: story.append(ORDERS)
    await story.moved(*[lambda: story.append(ORDERS)] * 4)
    story.broker.worker.at_last = lambda: None
    story.append(ORDERS, 2)
    await story.tidy()
    story.move(ORDERS)
    story.move(CLICKS)

    async def cut_and_go_on() -> None:
        await story.cut(ORDERS, 5)
        story.append(ORDERS, 3)
        await story.flush(ORDERS)
        await story.checkpoint()

    async def write() -> None:
        for _ in range(4):
            story.append(CLICKS)
            await story.flush(CLICKS)

    await story.moved_beside(cut_and_go_on, write)
    await story.checkpoint()
    story.move(CLICKS)
    for steps in (2, 5):
        await story.moved_in_part(steps)
        await story.die()
        story.append(CLICKS, 2)
    await story.moved()
    story.move(ORDERS)
    story.delete_records(ORDERS, 6)
    await story.moved_beside(story.expire)
    story.append(ORDERS, 1)
    await story.checkpoint()
    story.move(ORDERS)
    await story.close()
    await story.open()
    await story.moved(lambda: story.append(ORDERS))
    await story.close()


PLOTS: dict[str, Callable[[DirectoryStory], Awaitable[None]]] = {"keeps": keeps, "moves": moves}


def paths(root: Path) -> list[Path]:
    return [root / "a", root / "b"]


def told(device: TracedDevice, name: str) -> DirectoryStory:
    """The story, as far as the device bears it."""
    story = DirectoryStory(device)
    try:
        trio.run(PLOTS[name], story, clock=MockClock(autojump_threshold=0))
    except* Broken:
        pass
    story.broker.let_go()
    return story


def open_and_check(root: Path, device: Device, promise: Promise) -> None:
    """Open what is left after a crash, for an ``Explorer``; finish moves, close, and look once more."""
    is_marked = [(path / CLEAN).exists() for path in paths(root)]
    assert promise.is_closed or not any(is_marked) or not promise.histories
    if promise.is_claimed:
        assert all((path / FILE).exists() for path in paths(root))
    trio.run(_open_and_check, root, device, promise, clock=MockClock(autojump_threshold=0))


async def _open_and_check(root: Path, device: Device, promise: Promise) -> None:
    broker = Broker(root, device, _heard)
    try:
        await broker.open()
        found = checked(broker, promise)
        if broker.keeper.copies:
            await broker.moved()
            now = checked(broker, promise)
            assert now == found, f"a move has changed {found} to {now}"
    finally:
        broker.let_go()
    broker = Broker(root, DEVICE, _heard)
    await broker.open()
    now = {partition: values(log) for partition, log in broker.keeper.logs.items()}
    assert now == found, f"the next start has changed {found} to {now}"
    for partition in found:
        end = broker.keeper.logs[partition].log_end_offset
        data = batch(b"after the crash", time=broker.clock())
        broker.leaderships.leader(partition).log.append(broker.clock(), data, leader_epoch=0)
        found[partition][end] = b"after the crash"
    await broker.keeper.close()
    broker = Broker(root, DEVICE, _heard)
    try:
        await broker.open()
        assert {partition: values(log) for partition, log in broker.keeper.logs.items()} == found
    finally:
        broker.let_go()


def _heard(fact: Fact) -> None:
    assert fact.name not in ("MoveFailed", "LogOffline"), fact


def checked(broker: Broker, promise: Promise) -> dict[TopicPartition, dict[int, bytes]]:
    """What is there, by partition and offset, after it was found to keep a promise."""
    keeper = broker.keeper
    for partition, floor in promise.floors.items():
        assert partition in keeper.logs, f"{partition} is not there"
        assert keeper.logs[partition].log_end_offset >= floor, f"{partition} has lost what was flushed"
    found = {}
    for partition, log in keeper.logs.items():
        kept = keeper.kept(partition)
        assert kept is not None
        inspected(log, kept.disk)
        histories = promise.histories.get(partition, ((),))
        start, end = promise.starts.get(partition, 0), log.log_end_offset
        assert log.log_start_offset <= start or promise.floors.get(partition, 0) <= start
        assert log.high_watermark >= min(promise.marks.get(partition, 0), end)
        here = found[partition] = values(log)
        ways = [dict(enumerate(history[:end])) for history in histories if len(history) >= end]
        assert any({at: way[at] for at in way if at >= log.log_start_offset} == here for way in ways), (
            f"{partition} has {here}, which is none of {histories}"
        )
    return found


def values(log: PartitionLog) -> dict[int, bytes]:
    """What can be read, by offset."""
    found, offset = {}, log.log_start_offset
    while (given := log.read(offset, 1 << 20, isolation=Isolation.LOG_END)).size_bytes:
        data = read_pieces(given.pieces)
        for position, header in headers(data):
            for record in records(data[position : position + header.size_bytes]):
                if record.offset >= log.log_start_offset:
                    found[record.offset] = record.value or b""
            offset = header.next_offset
    return found
