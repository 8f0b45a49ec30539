"""The keeper of all logs, on real files and virtual time."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio
import trio.testing

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.partition import Isolation
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import trio_clock
from pykafka_broker.runtime.log_keeper import LogKeeper, kept_logs
from pykafka_broker.store.directories import DirectoryError, LogDirectory
from pykafka_broker.store.files import OpenFiles
from pykafka_broker.store.meta import Meta
from pykafka_broker.store.worker import Worker
from pykafka_broker.wire.batch import TruncatedBatch, records
from pykafka_broker.wire.formats import headers
from tests.doubles.inline_worker import InlineWorker
from tests.doubles.power_cuts import Moved, Synced, TracedDevice, Unlinked
from tests.doubles.sample_log import batch, read_back

MINE = Meta(1, "cluster-a")
TOPIC = TopicId(UUID("cec8a6c2-7c17-4248-9a18-d25c1b56ee50"))
ORDERS, CLICKS = TopicPartition("orders", 0), TopicPartition("clicks", 1)


class Broker:
    """Log directories that outlive their keepers, with settings a test may change."""

    def __init__(self, root: Path, count: int = 1) -> None:
        self.paths = [root / f"disk{index}" for index in range(count)]
        self.facts: list[Fact] = []
        self.changes = Changes()
        self.settings: dict[str, Any] = {}
        self.topic = TopicSettings()
        self.clock: Callable[[], Millis] = lambda: Millis(1_000_000)

    def keeper(self) -> LogKeeper:
        return LogKeeper(
            self.paths,
            self.clock,
            BrokerSettings(**self.settings),
            lambda _: self.topic,
            self.changes,
            self.facts.append,
            worker=InlineWorker(),
        )

    @asynccontextmanager
    async def started(self) -> AsyncIterator[LogKeeper]:
        self.facts.clear()
        async with kept_logs(self.keeper(), MINE) as keeper:
            yield keeper

    async def killed(self) -> LogKeeper:
        """A keeper whose process is killed without warning: only its locks go."""
        keeper = self.keeper()
        await keeper.open(MINE)
        return keeper

    def said(self, name: str) -> list[Fact]:
        return [fact for fact in self.facts if fact.name == name]


def kill(keeper: LogKeeper) -> None:
    for directory in keeper._directories:
        directory.close()


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    return Broker(tmp_path)


def fill(keeper: LogKeeper, partition: TopicPartition = ORDERS, count: int = 3) -> None:
    log = keeper.create(partition, TOPIC, TopicSettings())
    for _ in range(count):
        log.append(Millis(1_000_000), batch(b"v", time=1_000_000), leader_epoch=0)
    log.advance_high_watermark(log.log_end_offset)


async def test_a_fresh_directory_looks_like_kafkas(broker: Broker) -> None:
    async with broker.started() as keeper:
        fill(keeper)
        names = {path.name for path in broker.paths[0].iterdir()}
        assert names == {
            ".lock",
            "cleaner-offset-checkpoint",
            "log-start-offset-checkpoint",
            "meta.properties",
            "orders-0",
            "recovery-point-offset-checkpoint",
            "replication-offset-checkpoint",
        }
        zero = "0" * 20
        assert {path.name for path in (broker.paths[0] / "orders-0").iterdir()} == {
            *(f"{zero}{suffix}" for suffix in (".index", ".log", ".timeindex")),
            "leader-epoch-checkpoint",
            "partition.metadata",
        }


async def test_after_a_clean_shutdown_nothing_is_recovered(broker: Broker) -> None:
    async with broker.started() as keeper:
        keeper.broker_epoch = 25
        fill(keeper)
    top = broker.paths[0]
    assert (top / ".kafka_cleanshutdown").read_text() == '{"version":0,"brokerEpoch":25}'
    assert (top / "recovery-point-offset-checkpoint").read_text() == "0\n1\norders 0 3\n"
    assert (top / "replication-offset-checkpoint").read_text() == "0\n1\norders 0 3\n"
    async with broker.started() as keeper:
        log = keeper.get(ORDERS)
        assert log is not None
        assert (log.log_end_offset, log.high_watermark, log.topic_id) == (3, 3, TOPIC)
        assert broker.facts == []
        assert not (top / ".kafka_cleanshutdown").exists()
    assert (top / ".kafka_cleanshutdown").exists()


async def test_after_a_kill_torn_tails_are_cut(broker: Broker) -> None:
    keeper = await broker.killed()
    fill(keeper)
    kill(keeper)
    torn = broker.paths[0] / "orders-0" / ("0" * 20 + ".log")
    torn.write_bytes(torn.read_bytes()[:-5])
    async with broker.started() as keeper:
        log = keeper.get(ORDERS)
        assert log is not None
        assert log.log_end_offset == 2
        assert [fact.fields["cut_bytes"] for fact in broker.said("SegmentRecovered")] != [0]
        told = {"number": 1, "of": 1, "partition": "orders-0", "directory": str(broker.paths[0])}
        assert dict(broker.said("RecoveringPartition")[0].fields) == told


async def test_a_keeper_that_never_opened_leaves_everything_as_it_was(broker: Broker) -> None:
    async with broker.started() as keeper:
        fill(keeper)
    (broker.paths[0] / "lost+found").mkdir()
    before = {path: path.read_bytes() for path in broker.paths[0].rglob("*") if path.is_file()}
    keeper = broker.keeper()
    with pytest.raises(DirectoryError, match=r"lost\+found"):
        await keeper.open(MINE)
    await keeper.close()
    assert {path: path.read_bytes() for path in broker.paths[0].rglob("*") if path.is_file()} == before


async def test_whose_directory_it_is_is_known_before_it_is_opened(broker: Broker) -> None:
    keeper = broker.keeper()
    assert keeper.stored_meta() is None
    await keeper.close()
    async with broker.started():
        pass
    keeper = broker.keeper()
    assert keeper.stored_meta() == MINE
    await keeper.close()


async def test_whose_they_are_is_put_together_from_all_directories(tmp_path: Path) -> None:
    broker = Broker(tmp_path, count=3)
    for path, text in zip(broker.paths, ("cluster.id=cluster-a\n", "broker.id=x\n", "broker.id=1\n"), strict=True):
        path.mkdir(exist_ok=True)
        (path / "meta.properties").write_text(text)
    keeper = broker.keeper()
    assert keeper.stored_meta() == MINE
    await keeper.close()


async def test_a_directory_that_does_not_tell_whose_it_is_is_offline_and_the_others_serve(tmp_path: Path) -> None:
    broker = Broker(tmp_path, count=2)
    async with broker.started() as keeper:
        fill(keeper)
    meta = broker.paths[1] / "meta.properties"
    meta.write_text("version=9\n")
    async with broker.started() as keeper:
        assert [usage.is_offline for usage in keeper.usage()] == [False, True]
        assert keeper.get(ORDERS) is not None
    assert meta.read_text() == "version=9\n"
    (broker.paths[0] / "meta.properties").write_text("version=9\n")
    keeper = broker.keeper()
    with pytest.raises(DirectoryError, match=r"none of the specified log dirs can be used: .*version number 9"):
        await keeper.open(MINE)
    await keeper.close()


async def test_new_logs_go_where_there_are_fewest(tmp_path: Path) -> None:
    broker = Broker(tmp_path, count=2)
    async with broker.started() as keeper:
        for index in range(5):
            keeper.create(TopicPartition("t", index), TOPIC, TopicSettings())
        assert sorted(len(usage.partitions) for usage in keeper.usage()) == [2, 3]
    async with broker.started() as keeper:
        assert len(keeper.logs) == 5


async def test_one_partition_in_two_directories_is_refused(tmp_path: Path) -> None:
    broker = Broker(tmp_path, count=2)
    for path in broker.paths:
        (path / "orders-0").mkdir(parents=True)
    keeper = broker.keeper()
    with pytest.raises(DirectoryError, match="Duplicate log directories for orders-0"):
        await keeper.open(MINE)
    await keeper.close()


async def test_making_a_log_twice_gives_the_same_but_only_to_the_same_topic(broker: Broker) -> None:
    async with broker.started() as keeper:
        log = keeper.create(ORDERS, TOPIC, TopicSettings())
        assert keeper.create(ORDERS, TOPIC, TopicSettings()) is log
        with pytest.raises(KafkaError) as error:
            keeper.create(ORDERS, TopicId(UUID(int=1)), TopicSettings())
        assert error.value.code is ErrorCode.INCONSISTENT_TOPIC_ID
        assert keeper.get(CLICKS) is None


async def test_a_log_that_cannot_be_made_is_a_storage_error(broker: Broker) -> None:
    async with broker.started() as keeper:
        (broker.paths[0] / "orders-0").touch()
        with pytest.raises(KafkaError) as error:
            keeper.create(ORDERS, TOPIC, TopicSettings())
        assert error.value.code is ErrorCode.KAFKA_STORAGE_ERROR
        (broker.paths[0] / "orders-0").unlink()


async def test_a_deleted_log_is_gone_at_once_and_its_files_later(
    broker: Broker, autojump_clock: trio.testing.MockClock
) -> None:
    broker.clock = trio_clock(Millis(1_000_000))
    async with broker.started() as keeper, trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        fill(keeper)
        log = keeper.logs[ORDERS]
        region = log.read(0, 1_000).pieces
        keeper.delete(ORDERS)
        keeper.delete(ORDERS)
        assert keeper.get(ORDERS) is None
        with pytest.raises(KafkaError):
            log.read(0, 1_000)
        assert len(read_back(region)) == log.size_bytes
        leftovers = [path.name for path in broker.paths[0].iterdir() if path.name.endswith("-delete")]
        assert len(leftovers) == 1
        fill(keeper, count=1)
        assert keeper.logs[ORDERS].log_end_offset == 1
        await trio.sleep(59)
        assert (broker.paths[0] / leftovers[0]).exists()
        await trio.sleep(3)
        assert not (broker.paths[0] / leftovers[0]).exists()
        nursery.cancel_scope.cancel()


async def test_leftovers_of_a_deletion_are_removed_after_a_restart(
    broker: Broker, autojump_clock: trio.testing.MockClock
) -> None:
    keeper = await broker.killed()
    fill(keeper)
    keeper.delete(ORDERS)
    kill(keeper)
    async with broker.started() as keeper:
        assert keeper.get(ORDERS) is None
        await keeper.tidy()
        assert not [path for path in broker.paths[0].iterdir() if path.name.endswith("-delete")]


async def test_a_deleted_partition_has_lost_its_name_for_good_before_its_files_go(broker: Broker) -> None:
    """Otherwise a power cut could bring the partition back without some of them."""
    broker.topic = TopicSettings(file_delete_delay_ms=0)
    for path in broker.paths:
        path.mkdir()
    device = TracedDevice(broker.paths[0].parent)
    keeper = LogKeeper(
        broker.paths, broker.clock, BrokerSettings(), lambda _: broker.topic, broker.changes, broker.facts.append,
        worker=InlineWorker(), device=device,
    )  # fmt: skip
    async with kept_logs(keeper, MINE):
        keeper.create(ORDERS, TOPIC, broker.topic)
        keeper.delete(ORDERS)
        await keeper.tidy()
    gone = next(each for each in device.calls if isinstance(each, Moved) and each.name.endswith("-delete"))
    removed = next(each for each in device.calls if isinstance(each, Unlinked) and each.folder == gone.node)
    between = device.calls[device.calls.index(gone) : device.calls.index(removed)]
    assert Synced(gone.folder, True) in between


async def test_checkpoints_are_written_in_their_rhythm(broker: Broker, autojump_clock: trio.testing.MockClock) -> None:
    broker.clock = trio_clock(Millis(1_000_000))
    async with broker.started() as keeper, trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        fill(keeper)
        keeper.logs[ORDERS].delete_records(2)
        top = broker.paths[0]
        await trio.sleep(7)
        assert (top / "replication-offset-checkpoint").read_text() == "0\n1\norders 0 3\n"
        assert (top / "log-start-offset-checkpoint").read_text() == ""
        await trio.sleep(60)
        assert (top / "log-start-offset-checkpoint").read_text() == "0\n1\norders 0 2\n"
        nursery.cancel_scope.cancel()


async def test_rolled_segments_are_synced_soon(broker: Broker, autojump_clock: trio.testing.MockClock) -> None:
    async with broker.started() as keeper, trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        fill(keeper)
        log = keeper.logs[ORDERS]
        log.roll(Millis(1_000_000))
        log.append(Millis(1_000_000), batch(b"v"), leader_epoch=0)
        await trio.sleep(2)
        assert log.recovery_point == 3
        nursery.cancel_scope.cancel()


async def test_topics_that_want_it_are_synced_in_time(broker: Broker, autojump_clock: trio.testing.MockClock) -> None:
    broker.clock = trio_clock(Millis(1_000_000))
    broker.settings = {"log_flush_scheduler_interval_ms": 1_000, "log_initial_task_delay_ms": 0}
    async with broker.started() as keeper, trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        fill(keeper)
        keeper.configure("orders", TopicSettings(flush_ms=5_000))
        await trio.sleep(3)
        assert keeper.logs[ORDERS].recovery_point == 0
        await trio.sleep(4)
        assert keeper.logs[ORDERS].recovery_point == 3
        nursery.cancel_scope.cancel()


async def test_a_log_that_was_cut_is_settled_on_the_device_with_its_recovery_point(broker: Broker) -> None:
    def recovery_point() -> int:
        directory = LogDirectory(broker.paths[0], OpenFiles())
        return directory.read_checkpoint("recovery-point-offset-checkpoint")[ORDERS]

    async with broker.started() as keeper:
        fill(keeper)
        log = keeper.logs[ORDERS]
        await keeper.flush(ORDERS)
        await keeper.checkpoint()
        log.truncate_to(2, Millis(1_000_000))
        assert log.unsynced().names
        assert recovery_point() == 3
        await keeper.settle()
        assert (log.unsynced().names, recovery_point()) == ((), 2)
        log.truncate_to(1, Millis(1_000_000))
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(keeper.settle)
        assert (log.unsynced().names, recovery_point()) == ((), 1)


async def test_flushing_waits_for_the_device_and_callers_share_it(broker: Broker) -> None:
    async with broker.started() as keeper:
        fill(keeper)
        log = keeper.logs[ORDERS]
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(keeper.flush, ORDERS)
        assert log.recovery_point == 3
        await keeper.flush(CLICKS)


async def test_retention_wakes_readers_of_what_is_gone(broker: Broker, autojump_clock: trio.testing.MockClock) -> None:
    broker.clock = trio_clock(Millis(1_000_000))
    broker.settings = {"log_retention_check_interval_ms": 1_000, "log_initial_task_delay_ms": 0}
    async with broker.started() as keeper, trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        fill(keeper)
        keeper.configure("orders", TopicSettings(retention_ms=10_000))
        with trio.fail_after(12):
            await broker.changes.wait([ORDERS])
        assert broker.clock() > 1_010_000
        assert keeper.logs[ORDERS].log_start_offset == 3
        nursery.cancel_scope.cancel()


async def test_files_are_removed_on_a_worker_and_segments_expire_one_at_a_time(broker: Broker) -> None:
    loop = threading.get_ident()
    removing: set[int] = set()
    broker.topic = TopicSettings(segment_bytes=len(batch(b"v")), retention_ms=10_000, file_delete_delay_ms=0)
    keeper = broker.keeper()
    keeper.worker = Worker()
    async with kept_logs(keeper, MINE):
        log = keeper.create(ORDERS, TOPIC, broker.topic)
        for _ in range(40):
            log.append(Millis(1_000_000), batch(b"v", time=1_000_000), leader_epoch=0)
        log.advance_high_watermark(log.log_end_offset)
        kept = keeper.kept(ORDERS)
        assert kept is not None
        remove = kept.disk.remove

        def noted_remove(name: str) -> None:
            if name.endswith(".deleted"):
                removing.add(threading.get_ident())
            remove(name)

        kept.disk.remove = noted_remove  # type: ignore[method-assign]
        left: list[int] = []
        sync = kept.disk.sync

        def noted_sync(names: Iterable[str]) -> None:
            left.append(len([name for name in kept.disk.sizes() if name.endswith(".log")]))
            sync(names)

        kept.disk.sync = noted_sync  # type: ignore[method-assign]
        broker.clock = lambda: Millis(1_020_000)
        keeper._clock = broker.clock
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            await keeper.expire()
            nursery.cancel_scope.cancel()
        assert log.log_start_offset == 40
        assert turns >= 5
        assert left == list(range(39, 0, -1)), "each is gone for good before the next one goes"
        assert len([path for path in kept.disk.path.iterdir() if path.name.endswith(".log.deleted")]) == 40
        await keeper.tidy()
        assert not [path for path in kept.disk.path.iterdir() if path.name.endswith(".deleted")]
        assert removing
        assert loop not in removing


@pytest.fixture
def two_disks(tmp_path: Path) -> Broker:
    return Broker(tmp_path, count=2)


class Told:
    """What a keeper has told of failures."""

    def __init__(self, keeper: LogKeeper) -> None:
        self.offline: list[set[TopicPartition]] = []
        self.ends: list[str] = []
        keeper.on_offline = lambda partitions: self.offline.append(set(partitions))
        keeper.on_nothing_left = self.ends.append


async def test_one_failure_takes_all_partitions_of_its_directory_and_no_others(two_disks: Broker) -> None:
    places = [TopicPartition("t", index) for index in range(6)]
    async with two_disks.started() as keeper:
        told = Told(keeper)
        for place in places:
            fill(keeper, place)
        first, second = keeper._directories
        here = {place for place in places if keeper._kept[place].directory is first}
        assert len(here) == 3
        failing = min(here)
        keeper.logs[failing].fail(OSError(28, "No space left on device"))
        await trio.testing.wait_all_tasks_blocked()
        assert told.offline == [here]
        assert {place for place in places if keeper.logs[place].is_offline} == here
        (fact,) = two_disks.said("LogDirectoryOffline")
        assert fact.fields["problem"] == "[Errno 28] No space left on device"
        assert [usage.is_offline for usage in keeper.usage()] == [True, False]
        # What is new goes where there is a disk.
        new = TopicPartition("new", 0)
        fill(keeper, new)
        assert keeper._kept[new].directory is second
        assert told.ends == []
    async with two_disks.started() as keeper:
        assert {log.log_end_offset for log in keeper.logs.values()} == {3}
    assert "LogDirectoryOffline" not in {fact.name for fact in two_disks.facts}


async def test_a_broker_without_any_disk_left_has_to_end(broker: Broker) -> None:
    async with broker.started() as keeper:
        told = Told(keeper)
        fill(keeper)
        keeper.logs[ORDERS].fail(OSError(5, "Input/output error"))
        await trio.testing.wait_all_tasks_blocked()
        assert told.ends == [f"Shutdown broker because all log dirs in {broker.paths[0]} have failed"]


async def test_a_directory_that_takes_no_checkpoint_or_no_new_log_has_failed(two_disks: Broker) -> None:
    async with two_disks.started() as keeper:
        told = Told(keeper)
        fill(keeper)
        directory = keeper._kept[ORDERS].directory
        shutil.rmtree(directory.path)
        await keeper.checkpoint()
        assert told.offline == [{ORDERS}]
        other = next(each for each in keeper._directories if each is not directory)
        shutil.rmtree(other.path)
        with pytest.raises(KafkaError) as refused:
            keeper.create(CLICKS, TOPIC, TopicSettings())
        assert refused.value.code is ErrorCode.KAFKA_STORAGE_ERROR
        assert len(told.ends) == 1


async def test_a_directory_with_a_failed_partition_gets_no_mark(broker: Broker) -> None:
    async with broker.started() as keeper:
        fill(keeper)
        keeper.logs[ORDERS].fail(OSError(5, "Input/output error"))
    assert not (broker.paths[0] / ".kafka_cleanshutdown").exists()
    async with broker.started() as keeper:
        assert keeper.logs[ORDERS].log_end_offset == 3


async def test_usage_tells_sizes(broker: Broker) -> None:
    async with broker.started() as keeper:
        fill(keeper)
        (usage,) = keeper.usage()
        assert usage.path == str(broker.paths[0])
        assert usage.partitions == {ORDERS: keeper.logs[ORDERS].size_bytes}
        assert 0 < usage.usable_bytes <= usage.total_bytes
        assert not usage.is_offline


async def test_a_directory_that_another_process_holds_is_refused(broker: Broker) -> None:
    class Held(LogDirectory):
        def open(self) -> None:
            raise DirectoryError("held")

    keeper = broker.keeper()
    keeper._directories = [Held(broker.paths[0], OpenFiles())]
    with pytest.raises(DirectoryError, match="held"):
        await keeper.open(MINE)


APPENDS_FOR_EVER = """
import sys
import trio
from pathlib import Path
from tests.rooms.runtime.test_log_keeper import MINE, ORDERS, TOPIC, Broker
from pykafka_broker.config.topic import TopicSettings
from tests.doubles.sample_log import batch

async def main():
    broker = Broker(Path(sys.argv[1]))
    broker.topic = TopicSettings(segment_bytes=20_000)
    keeper = broker.keeper()
    await keeper.open(MINE)
    log = keeper.create(ORDERS, TOPIC, broker.topic)
    while True:
        data = batch(b"%d" % log.log_end_offset, producer_id=7, producer_epoch=0, base_sequence=log.log_end_offset)
        log.append(1_000_000, data, leader_epoch=0)
        print(log.log_end_offset, flush=True)

trio.run(main)
"""


@pytest.mark.slow
async def test_a_process_killed_while_it_appends_loses_nothing_it_had_told(broker: Broker, tmp_path: Path) -> None:
    """``kill -9`` at any moment, three times over the same files."""
    told = 0
    for wanted in (300, 700, 1_500):
        command = [sys.executable, "-c", APPENDS_FOR_EVER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as process:
            assert process.stdout is not None
            while told < wanted and (line := process.stdout.readline()):
                told = int(line)
            process.kill()
        assert told >= wanted
    async with broker.started() as keeper:
        log = keeper.logs[ORDERS]
        assert log.log_end_offset >= told
        assert len(log.segments) > 3
        offset = 0
        while (given := log.read(offset, 50_000, isolation=Isolation.LOG_END)).size_bytes:
            data = read_back(given.pieces)
            with suppress(TruncatedBatch):
                for position, header in headers(data):
                    (record,) = records(data[position : position + header.size_bytes])
                    assert (record.offset, record.value) == (offset, b"%d" % offset)
                    offset = header.next_offset
        assert offset == log.log_end_offset
        assert [one.last_sequence for one in log.producers_state()] == [offset - 1]


async def test_recovery_points_are_written_down_before_segments_are_deleted(broker: Broker) -> None:
    broker.topic = TopicSettings(segment_bytes=200, retention_bytes=200)
    async with broker.started() as keeper:
        keeper.create(ORDERS, TOPIC, broker.topic)
        fill(keeper, count=9)
        await keeper.flush(ORDERS)
        await keeper.expire()
        assert keeper.logs[ORDERS].segments[0].base_offset > 0
        assert (broker.paths[0] / "recovery-point-offset-checkpoint").read_text() == "0\n1\norders 0 9\n"
