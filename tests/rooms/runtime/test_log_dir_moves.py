"""Moves between log directories, on real files: nothing is lost, whatever happens on the way."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.device import SystemDevice
from pykafka_broker.log.partition import Isolation, Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, LeaderEpoch, Offset, TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.leaderships import Leadership, Leaderships
from pykafka_broker.runtime.log_dir_moves import HELD_BACK_S, LogDirMoves
from pykafka_broker.runtime.log_keeper import LogKeeper
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.store.checkpoints import RECOVERY_POINTS
from pykafka_broker.store.directories import DirectoryError
from pykafka_broker.store.meta import Meta
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.formats import headers, records
from pykafka_broker.wire.message_set import build_message_set
from tests.doubles.inline_worker import InlineWorker
from tests.doubles.sample_log import batch, read_back

MINE = Meta(0, "cluster-a")
TOPIC = TopicId(UUID("cec8a6c2-7c17-4248-9a18-d25c1b56ee50"))
T0 = TopicPartition("orders", 0)
ME, OTHER = BrokerId(0), BrokerId(4)
NOW = Millis(1_000_000)

Result = TypeVar("Result")


class Interrupted(InlineWorker):
    """Before each piece of work, something else may happen; that is what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Callable[[], object]] = []
        self.before: Callable[[], object] = lambda: None

    async def run(self, work: Callable[[], Result]) -> Result:
        self.before()
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return await super().run(work)


class Broker:
    """Log directories, their keeper, and a partition that is led here."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.worker = Interrupted()
        self.facts: list[Fact] = []
        self.changes = Changes()
        self.topic = TopicSettings(segment_bytes=4_000)
        settings = BrokerSettings()
        self.keeper = LogKeeper(
            paths, lambda: NOW, settings, lambda _: self.topic, self.changes, self.facts.append, worker=self.worker
        )
        self.metadata = Metadata(ME, self.changes)
        self.leaderships = Leaderships(ME, self.keeper, self.metadata, lambda _: self.topic, self.changes)
        self.moves = LogDirMoves(self.keeper, self.leaderships, self.changes, lambda: NOW, self.facts.append)

    def leads(self, epoch: int = 0) -> Leadership:
        order = messages.LeaderAndIsrRequest
        state = order.PartitionState(leader=ME, leader_epoch=LeaderEpoch(epoch), isr=[ME], replicas=[ME])
        told = order.TopicState(topic_name=T0.topic, topic_id=TOPIC, partition_states=[state])
        self.leaderships.lead_and_follow(order(broker_epoch=-1, topic_states=[told]))
        return self.leaderships.leader(T0)

    def append(self, *values: bytes, **how: int) -> None:
        data = batch(*values, time=NOW, **how)
        self.leaderships.leader(T0).append(NOW, data, origin=Origin.CLIENT, api_version=11)

    def values(self) -> list[bytes]:
        log = self.leaderships.leader(T0).log
        found: list[bytes] = []
        offset = log.log_start_offset
        while offset < log.high_watermark:
            data = read_back(log.read(offset, 1 << 20, isolation=Isolation.READ_UNCOMMITTED).pieces)
            for position, header in headers(data):
                whole = data[position : position + header.size_bytes]
                found += [one.value or b"" for one in records(whole) if one.offset >= offset]
                offset = header.next_offset
        return found

    def where(self) -> list[list[str]]:
        """The directories in each log directory, random parts left out."""
        return [
            sorted(
                ".".join(part for part in path.name.split(".") if len(part) < 32) + path.name[32 + len("orders-0.") :]
                for path in directory.iterdir()
                if path.is_dir()
            )
            for directory in self.paths
        ]

    def path(self, index: int) -> str:
        return str(self.paths[index])

    def copies(self) -> list[tuple[int, int, int]]:
        """Which directories copies grow in, how large they are and what they lack."""
        return [(index, *one) for index, usage in enumerate(self.keeper.usage()) for one in usage.copies.values()]

    async def moved(self) -> None:
        """Let moves happen until there are none."""
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.moves.run)
                while self.keeper.copies or not self.said("MoveEnded", "MoveFailed"):
                    await trio.lowlevel.checkpoint()
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

    def said(self, *names: str) -> list[str]:
        return [fact.name for fact in self.facts if fact.name in names]

    def kill(self) -> None:
        for directory in self.keeper._directories:
            directory.close()


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [tmp_path / f"disk{index}" for index in range(3)]


@asynccontextmanager
async def started(paths: list[Path], *, killed: bool = False) -> AsyncIterator[Broker]:
    broker = Broker(paths)
    await broker.keeper.open(MINE)
    broker.leads()
    yield broker
    if killed:
        broker.kill()
    else:
        await broker.keeper.close()


def numbers(count: int) -> list[bytes]:
    return [str(number).encode() * 20 for number in range(count)]


def refusal(broker: Broker, partition: TopicPartition, path: str) -> ErrorCode:
    with pytest.raises(KafkaError) as refused:
        broker.moves.move(partition, path)
    return refused.value.code


async def test_a_partition_moves_with_all_that_is_in_it(paths: list[Path]) -> None:
    async with started(paths) as broker:
        for value in numbers(100):
            broker.append(value)
        broker.moves.move(T0, broker.path(1))
        assert broker.where() == [["orders-0"], ["orders-0-future"], []]
        assert broker.copies() == [(1, 0, 100)]
        await broker.moved()
        assert broker.where() == [["orders-0-delete"], ["orders-0"], []]
        assert broker.copies() == []
        assert broker.values() == numbers(100)
        leadership = broker.leaderships.leader(T0)
        assert leadership.log is broker.keeper.get(T0)
        assert leadership.log.topic_id == TOPIC
        broker.append(b"after")
        assert broker.values() == [*numbers(100), b"after"]
        assert not list(paths[1].glob("*.replacing"))
        await broker.keeper.tidy()
        assert broker.where()[0] == ["orders-0-delete"], "only after file.delete.delay.ms"
    async with started(paths) as broker:
        assert broker.values() == [*numbers(100), b"after"]
        assert not broker.said("SegmentRecovered")


async def test_what_is_appended_while_it_moves_is_there_too(paths: list[Path]) -> None:
    async with started(paths) as broker:
        for value in numbers(10):
            broker.append(value)
        broker.leaderships.leader(T0).log.configure(TopicSettings())
        written: list[bytes] = []

        def more() -> None:
            for _ in range(60):
                written.append(str(len(written)).encode() * 300)
                broker.append(written[-1])

        broker.worker.meanwhile = [more] * 8
        broker.moves.move(T0, broker.path(1))
        await broker.moved()
        assert len(written) >= 240
        assert broker.values() == [*numbers(10), *written]
    async with started(paths) as broker:
        assert broker.values() == [*numbers(10), *written]


class Turnstile:
    """Lets a move go on only every so often, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.moved_bytes = 0

    def holds_back(self, partition: TopicPartition) -> bool:
        assert partition == T0
        self.asked += 1
        return self.asked % 3 != 0

    def moved(self, partition: TopicPartition, size_bytes: int) -> None:
        self.moved_bytes += size_bytes


async def test_a_move_that_is_held_back_rests_and_goes_on(paths: list[Path], autojump_clock: MockClock) -> None:
    async with started(paths) as broker:
        for value in numbers(100):
            broker.append(value)
        turnstile = Turnstile()
        moves = LogDirMoves(
            broker.keeper, broker.leaderships, broker.changes, lambda: NOW, broker.facts.append, throttle=turnstile
        )
        moves.move(T0, broker.path(1))
        began = autojump_clock.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(moves.run)
            while broker.keeper.copies:
                await trio.sleep(HELD_BACK_S / 4)
            nursery.cancel_scope.cancel()
        assert autojump_clock.current_time() - began >= HELD_BACK_S * (turnstile.asked // 3 * 2)
        assert turnstile.asked >= 3
        assert broker.values() == numbers(100)
        assert turnstile.moved_bytes == broker.leaderships.leader(T0).log.size_bytes


async def test_who_waits_for_a_flush_while_it_moves_is_served(paths: list[Path]) -> None:
    async with started(paths) as broker:
        broker.append(b"a")
        broker.moves.move(T0, broker.path(1))
        kept = broker.keeper.kept(T0)
        assert kept is not None
        async with trio.open_nursery() as nursery:
            async with kept.flushing:
                nursery.start_soon(broker.keeper.flush, T0)
                nursery.start_soon(broker.keeper.flush, T0)
                await trio.testing.wait_all_tasks_blocked()
            await broker.moved()
        await broker.keeper.flush(T0)
        log = broker.leaderships.leader(T0).log
        assert (log.recovery_point, log.is_offline) == (1, False)


async def test_to_where_it_is_nothing_moves(paths: list[Path]) -> None:
    async with started(paths) as broker:
        broker.moves.move(T0, broker.path(0))
        assert (broker.copies(), broker.where()[1:]) == ([], [[], []])


async def test_the_last_wish_counts(paths: list[Path]) -> None:
    async with started(paths) as broker:
        for _ in range(2):
            broker.moves.move(T0, broker.path(1))
        assert broker.where()[1:] == [["orders-0-future"], []]
        broker.moves.move(T0, broker.path(2))
        assert broker.where() == [["orders-0"], ["orders-0-delete"], ["orders-0-future"]]
        broker.moves.move(T0, broker.path(0))
        assert broker.where() == [["orders-0"], ["orders-0-delete"], ["orders-0-delete"]]
        broker.moves.move(T0, broker.path(2))
        await broker.moved()
        assert broker.where()[2] == ["orders-0", "orders-0-delete"]


async def test_what_cannot_be_moved(paths: list[Path]) -> None:
    async with started(paths) as broker:
        ghost = TopicPartition("ghost", 0)
        assert refusal(broker, T0, "/nowhere") == ErrorCode.LOG_DIR_NOT_FOUND
        assert refusal(broker, T0, f"{broker.path(1)}/") == ErrorCode.LOG_DIR_NOT_FOUND
        assert refusal(broker, ghost, broker.path(1)) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert refusal(broker, TopicPartition("x" * 214, 0), "/nowhere") == ErrorCode.INVALID_TOPIC_EXCEPTION
        assert refusal(broker, TopicPartition("x" * 213, 0), "/nowhere") == ErrorCode.LOG_DIR_NOT_FOUND
        update = messages.UpdateMetadataRequest
        state = update.PartitionState(leader=OTHER, replicas=[OTHER], isr=[OTHER])
        broker.metadata.update(update(topic_states=[update.TopicState(topic_name="ghost", partition_states=[state])]))
        assert refusal(broker, ghost, broker.path(1)) == ErrorCode.REPLICA_NOT_AVAILABLE
        broker.keeper.create(ghost, TOPIC, broker.topic)
        assert broker.where()[1] == ["ghost-0"], "it comes to where it was wanted"
        directory = broker.keeper.directory(broker.path(1))
        assert directory is not None
        directory.is_offline = True
        assert refusal(broker, T0, broker.path(1)) == ErrorCode.KAFKA_STORAGE_ERROR
        assert refusal(broker, T0, broker.path(2)) == ErrorCode.KAFKA_STORAGE_ERROR
        directory.is_offline = False


async def test_a_partition_that_is_deleted_takes_its_copy_along(paths: list[Path]) -> None:
    async with started(paths) as broker:
        broker.append(b"a")
        broker.worker.meanwhile = [lambda: None, lambda: broker.keeper.delete(T0)]
        broker.moves.move(T0, broker.path(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.moves.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert broker.where() == [["orders-0-delete"], ["orders-0-delete"], []]
        assert not broker.said("MoveFailed", "MoveEnded")
        assert not list(paths[1].glob("*.replacing"))


@pytest.mark.parametrize("killed", [False, True])
async def test_a_broker_that_ends_in_the_middle_goes_on_at_its_next_start(paths: list[Path], killed: bool) -> None:
    async with started(paths, killed=killed) as broker:
        for value in numbers(50):
            broker.append(value)
        broker.moves.move(T0, broker.path(1))
        copy = broker.keeper.copies[T0].log
        data = bytearray(read_back(broker.leaderships.leader(T0).log.read(0, 1_000).pieces))
        copy.append(NOW, data[: next(iter(headers(data)))[1].size_bytes], leader_epoch=-1, origin=Origin.REPLICATION)
    async with started(paths) as broker:
        assert broker.values() == numbers(50)
        ((index, size, lag),) = broker.copies()
        assert (index, size > 0, lag) == (1, True, 49)
        broker.append(b"after")
        await broker.moved()
        assert broker.values() == [*numbers(50), b"after"]
        assert broker.where()[1] == ["orders-0"]


async def test_a_copy_that_has_more_than_a_crash_left_of_the_original_is_cut(paths: list[Path]) -> None:
    async with started(paths, killed=True) as broker:
        for value in numbers(10):
            broker.append(value)
        broker.moves.move(T0, broker.path(1))
        data = bytearray(read_back(broker.leaderships.leader(T0).log.read(0, 1 << 20).pieces))
        copy = broker.keeper.copies[T0].log
        copy.append(NOW, data, leader_epoch=-1, origin=Origin.REPLICATION)
    segment = paths[0] / "orders-0" / f"{0:020}.log"
    os.truncate(segment, segment.stat().st_size - 1)
    async with started(paths) as broker:
        assert len(broker.values()) == 9
        broker.append(b"other")
        await broker.moved()
        assert broker.values() == [*numbers(9), b"other"]


async def test_a_copy_of_which_a_crash_has_left_the_last_segment_alone_is_made_anew(paths: list[Path]) -> None:
    async with started(paths, killed=True) as broker:
        for value in numbers(100):
            broker.append(value)
        broker.moves.move(T0, broker.path(1))
        log, copy = broker.leaderships.leader(T0).log, broker.keeper.copies[T0].log
        for base in log.segments.bases:
            data = bytearray(read_back(log.read(base, 1 << 20).pieces))
            copy.append(NOW, data, leader_epoch=-1, origin=Origin.REPLICATION)
        await broker.keeper.sync_copy(broker.keeper.copies[T0])
        await broker.keeper.checkpoint()
        bases = copy.segments.bases
        assert len(bases) > 1
        for path in broker.keeper.copies[T0].disk.path.iterdir():
            if not path.name.startswith(f"{bases[-1]:020}"):
                path.unlink()
    async with started(paths) as broker:
        kept = broker.keeper.copies[T0]
        assert kept.log.log_start_offset == bases[-1]
        assert kept.directory.read_checkpoint(RECOVERY_POINTS)[T0] == 99
        written_down: list[int] = []
        broker.worker.before = lambda: written_down.append(kept.directory.read_checkpoint(RECOVERY_POINTS)[T0])
        await broker.moved()
        assert broker.values() == numbers(100)
        assert written_down[-1] == 100
        assert 0 in written_down, "nothing was flushed of the new copy at first"


async def crashed_between_renames(paths: list[Path]) -> None:
    """What is on the disks when a broker dies just before the original gets out of the way."""
    async with started(paths, killed=True) as broker:
        for value in numbers(10):
            broker.append(value)
        await broker.keeper.flush(T0)
        shutil.copytree(paths[0] / "orders-0", paths[1] / "orders-0")


async def test_of_original_and_finished_copy_the_copy_is_kept(paths: list[Path]) -> None:
    await crashed_between_renames(paths)
    mark = paths[1] / "orders-0.replacing"
    mark.touch()
    synced: list[tuple[Path, bool]] = []

    class Noting(SystemDevice):
        def sync_names(self, folder: Path) -> None:  # type: ignore[override]
            synced.append((folder, mark.exists()))

    broker = Broker(paths)
    broker.keeper._device = Noting()
    await broker.keeper.open(MINE)
    assert synced == [(paths[0], True)], "the original must have gone for good before the mark goes"
    assert not mark.exists()
    await broker.keeper.close()
    async with started(paths) as broker:
        assert broker.values() == numbers(10)
        assert broker.where() == [["orders-0-delete"], ["orders-0"], []]
        assert not (paths[1] / "orders-0.replacing").exists()


async def test_two_directories_of_one_partition_that_no_move_explains_are_fatal(paths: list[Path]) -> None:
    await crashed_between_renames(paths)
    with pytest.raises(DirectoryError, match="Duplicate log directories for orders-0 are found in both"):
        await Broker(paths).keeper.open(MINE)


async def test_a_copy_without_original_is_left_alone(paths: list[Path]) -> None:
    async with started(paths) as broker:
        broker.moves.move(T0, broker.path(1))
    shutil.rmtree(paths[0] / "orders-0")
    async with started(paths) as broker:
        assert broker.copies() == []
        assert "orders-0-future" in broker.where()[1]
        assert broker.said("StrayCopy")


async def test_a_disk_that_fails_under_a_copy_leaves_the_original_as_it_is(paths: list[Path]) -> None:
    async with started(paths) as broker:
        for value in numbers(100):
            broker.append(value)
        broker.moves.move(T0, broker.path(1))
        shutil.rmtree(broker.keeper.copies[T0].disk.path)
        await broker.moved()
        assert broker.said("MoveFailed")
        assert broker.values() == numbers(100)
        broker.append(b"after")
        assert broker.where()[0] == ["orders-0"]


@pytest.mark.parametrize("killed", [False, True])
async def test_deleted_records_stay_deleted(paths: list[Path], killed: bool) -> None:
    async with started(paths, killed=killed) as broker:
        for value in numbers(60):
            broker.append(value, value)
        broker.leaderships.leader(T0).delete_records(Offset(101))
        log = broker.leaderships.leader(T0).log
        log.expire(NOW)
        broker.moves.move(T0, broker.path(1))
        await broker.moved()
        log = broker.leaderships.leader(T0).log
        assert (log.log_start_offset, log.high_watermark, log.log_end_offset) == (101, 120, 120)
    async with started(paths) as broker:
        assert broker.leaderships.leader(T0).log.log_start_offset == 101
        assert len(broker.values()) == 19


async def test_records_deleted_while_it_moves(paths: list[Path]) -> None:
    async with started(paths) as broker:
        for value in numbers(60):
            broker.append(value)

        def forget() -> None:
            broker.leaderships.leader(T0).delete_records(Offset(-1))
            broker.leaderships.leader(T0).log.expire(NOW)

        broker.worker.meanwhile = [forget, lambda: broker.append(b"after")]
        broker.moves.move(T0, broker.path(1))
        await broker.moved()
        assert broker.values() == [b"after"]


async def test_an_empty_partition_keeps_its_offsets_and_epochs(paths: list[Path]) -> None:
    async with started(paths) as broker:
        broker.append(b"a")
        broker.leaderships.leader(T0).log.restart_at(40, NOW)
        broker.leads(epoch=5)
        broker.moves.move(T0, broker.path(1))
        await broker.moved()
        log = broker.leaderships.leader(T0).log
        assert (log.log_start_offset, log.log_end_offset, log.latest_epoch) == (40, 40, 5)
        broker.append(b"b")
        assert broker.values() == [b"b"]


async def test_what_is_cut_off_while_it_moves_is_cut_off_the_copy(paths: list[Path]) -> None:
    async with started(paths) as broker:
        for value in numbers(20):
            broker.append(value)

        def cut_and_continue() -> None:
            broker.leaderships.leader(T0).log.truncate_to(12, NOW)
            broker.leads(epoch=1)
            for _ in range(20):
                broker.append(b"new")

        broker.worker.meanwhile = [lambda: None, cut_and_continue]
        broker.moves.move(T0, broker.path(1))
        await broker.moved()
        assert broker.values() == [*numbers(12), *[b"new"] * 20]


async def test_a_producer_that_repeats_itself_is_still_known(paths: list[Path]) -> None:
    async with started(paths) as broker:
        broker.append(b"a", producer_id=9, producer_epoch=0, base_sequence=0)
        broker.moves.move(T0, broker.path(1))
        await broker.moved()
        broker.append(b"a", producer_id=9, producer_epoch=0, base_sequence=0)
        broker.append(b"b", producer_id=9, producer_epoch=0, base_sequence=1)
        assert broker.values() == [b"a", b"b"]


async def test_a_copy_can_move_again_and_back(paths: list[Path]) -> None:
    async with started(paths) as broker:
        broker.append(b"a")
        for index in (1, 0):
            broker.facts.clear()
            broker.moves.move(T0, broker.path(index))
            await broker.moved()
            assert "orders-0" in broker.where()[index]
        assert broker.values() == [b"a"]


async def test_messages_of_old_formats_move_like_others(paths: list[Path]) -> None:
    async with started(paths) as broker:
        log = broker.leaderships.leader(T0).log
        for start, magic, codec in ((0, 0, Codec.NONE), (5, 0, Codec.GZIP), (10, 1, Codec.LZ4)):
            given = [Record(start + index, NOW, None, b"%d" % (start + index)) for index in range(5)]
            data = bytearray(build_message_set(given, magic, codec=codec))
            log.append(NOW, data, leader_epoch=-1, origin=Origin.REPLICATION)
        log.advance_high_watermark(15)
        log.delete_records(7)  # in the middle of a wrapper
        broker.append(b"15")
        broker.moves.move(T0, broker.path(1))
        await broker.moved()
        assert broker.leaderships.leader(T0).log is not log
        assert broker.values() == [b"%d" % offset for offset in range(7, 16)]
