"""Keeps the logs: makes and deletes them, and sees to flush, retention and checkpoints in time.

``log_opening`` opens what is there at the start. What to flush and what to delete is decided in ``log``; the log
directories are ``store``'s. Appends and reads do not pass here: whoever has a log uses it directly. Errors: a
partition whose disk fails goes offline alone; a log directory that makes no sense at the start ends the broker
(``DirectoryError``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import trio
from msgspec import Struct

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.descriptors import for_logs, may_be_open
from pykafka_broker.device import DEVICE, Device
from pykafka_broker.log.partition import PartitionLog, Unsynced
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact, Level
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.log_cleaner import CleanerSettings, LogCleaner
from pykafka_broker.runtime.log_opening import Kept, LogOpening, OpeningSettings, jitter_ms
from pykafka_broker.store import checkpoints
from pykafka_broker.store.directories import DirectoryError, LogDirectory
from pykafka_broker.store.files import FileDisk, OpenFiles
from pykafka_broker.store.meta import Meta
from pykafka_broker.store.worker import Worker

__all__ = ["KeeperSettings", "Kept", "LogKeeper", "Usage", "follow", "kept_logs"]

_TIDY_MS = 1_000
"""How often rolled segments to flush and deleted files to remove are looked for."""

_PAGE_BYTES = 4096


class KeeperSettings(CleanerSettings, OpeningSettings, Protocol):
    """What of the broker's settings matters here; ``BrokerSettings`` has it."""

    @property
    def log_retention_check_interval_ms(self) -> int: ...
    @property
    def log_flush_offset_checkpoint_interval_ms(self) -> int: ...
    @property
    def log_flush_start_offset_checkpoint_interval_ms(self) -> int: ...
    @property
    def log_flush_scheduler_interval_ms(self) -> int: ...
    @property
    def replica_high_watermark_checkpoint_interval_ms(self) -> int: ...
    @property
    def log_initial_task_delay_ms(self) -> int: ...
    @property
    def log_cleaner_enable(self) -> bool: ...


class Usage(Struct, frozen=True):
    """A log directory as DescribeLogDirs shows it; -1 bytes where the volume would not say."""

    path: str
    is_offline: bool
    total_bytes: int
    usable_bytes: int
    partitions: Mapping[TopicPartition, int]
    copies: Mapping[TopicPartition, tuple[int, int]]
    """Of partitions that are moving here: how large the copy is by now, and how many offsets it lacks."""


class LogKeeper:
    """All logs of this broker."""

    def __init__(
        self,
        paths: Sequence[Path],
        clock: Clock,
        settings: KeeperSettings,
        topic_settings: Callable[[str], TopicSettings],
        changes: Changes,
        note: Callable[[Fact], None],
        *,
        worker: Worker | None = None,
        device: Device = DEVICE,
    ) -> None:
        """``topic_settings`` gives the effective settings of a topic; ``note`` takes facts, from any thread."""
        self.logs: dict[TopicPartition, PartitionLog] = {}
        self.broker_epoch = -1
        self._clock = clock
        self._settings = settings
        self._topic_settings = topic_settings
        self._changes = changes
        self._note = note
        self.worker = worker or Worker()
        self._device = device
        open_files = OpenFiles(*for_logs(may_be_open()), device=device)
        self._directories = [LogDirectory(path, open_files) for path in paths]
        self._kept: dict[TopicPartition, Kept] = {}
        self.copies: dict[TopicPartition, Kept] = {}
        """Copies of partitions on their way to another log directory (``log_dir_moves``)."""
        self._preferred: dict[TopicPartition, LogDirectory] = {}
        self._doomed: list[tuple[int, Path]] = []
        self._rolled: set[TopicPartition] = set()
        self._cut: set[TopicPartition] = set()
        self._settling = trio.Lock()
        self._written: dict[tuple[LogDirectory, str], dict[TopicPartition, int]] = {}
        self.clean_up_to: dict[TopicPartition, int] = {}
        """Offsets below which compacted topics are clean (``log_cleaner``)."""
        self.cleaner = LogCleaner(self, clock, settings)
        self._checkpointing = trio.Lock()
        self._is_open = False
        self._token: trio.lowlevel.TrioToken | None = None
        self.on_offline: Callable[[Sequence[TopicPartition]], None] = lambda partitions: None
        """Told of the partitions of a log directory that has failed; not while the logs are opened."""
        self.on_nothing_left: Callable[[str], None] = lambda why: None
        """Told, in a sentence, that the last log directory has failed."""

    # the beginning and the end

    def stored_meta(self) -> Meta | None:
        """Take the directories' locks and read whose they are, before the broker knows its id; None if all are new."""
        known = [meta for directory in self._directories if (meta := self._stored_in(directory)) is not None]
        if not known:
            return None
        broker_ids = (meta.broker_id for meta in known if meta.broker_id is not None)
        return Meta(next(broker_ids, None), next((meta.cluster_id for meta in known if meta.cluster_id), None))

    def _stored_in(self, directory: LogDirectory) -> Meta | None:
        directory.open()
        try:
            return directory.meta()
        except OSError:
            return None  # `open` finds the same and takes the directory offline

    def holds_partitions(self) -> bool:
        """Whether there are partitions in the directories, whoever has written them."""
        return any(directory.find().partitions for directory in self._directories)

    async def open(self, mine: Meta) -> None:
        """Claim the directories and open every partition in them, recovering those that were not closed cleanly."""
        now = self._clock()
        opening = LogOpening(
            self._directories, mine, now, self._settings, self._topic_settings, self._noted, self._note
        )
        found = await opening.open(self.worker)
        self.clean_up_to.update(found.clean_up_to)
        self._written.update(found.checkpoints)
        self._doomed += [(now, path) for path in found.deleted]
        for partition, kept in found.partitions:
            self._keep(partition, self._one_of_two(partition, kept, now))
        for partition, kept in found.copies:
            self._go_on_with(partition, kept, now)
        for directory in self._directories:
            if not directory.is_offline:
                directory.forget_replacements()
        self._is_open = True
        self._token = trio.lowlevel.current_trio_token()
        # What a crash took must not come back as a mark beyond it; after a clean start nothing has changed.
        await self.checkpoint()

    def _one_of_two(self, partition: TopicPartition, found: Kept, now: Millis) -> Kept:
        """What to keep of a partition that may have been found already.

        A broker that died while a copy took the place of the original leaves both; the copy is complete then.
        """
        other = self._kept.get(partition)
        if other is None:
            return found
        for kept, left in ((found, other), (other, found)):
            if kept.directory.is_replacing(partition) and not left.directory.is_replacing(partition):
                self._say("ReplacementFinished", Level.WARNING, partition=str(partition), kept=str(kept.disk.path))
                self._remove_soon(partition, left, now)
                # Before the mark goes: otherwise a power cut could leave both without it.
                self._device.sync_names(left.directory.path)
                return kept
        raise DirectoryError(
            f"Duplicate log directories for {partition} are found in both {found.disk.path} and "
            f"{other.disk.path}. It is likely because log directory failure happened while "
            f"broker was replacing current replica with future replica. Recover broker from this failure by "
            f"manually deleting one of the two directories for this partition. It is recommended to delete "
            f"the partition in the log directory that is known to have failed recently."
        )

    def _go_on_with(self, partition: TopicPartition, copy: Kept, now: Millis) -> None:
        """Take in a copy that an earlier run has left; one that belongs to nothing stays where it is, untouched."""
        original = self._kept.get(partition)
        if original is None or original.directory is copy.directory or partition in self.copies:
            self._say("StrayCopy", Level.WARNING, path=str(copy.disk.path))
            copy.disk.close()
            return
        # Nothing is appended yet, so the copy is the same up to here; later nobody could tell.
        copy.log.truncate_to(original.log.log_end_offset, now)
        self.copies[partition] = copy

    async def close(self) -> None:
        """Flush everything, write the checkpoints, leave the mark of a clean shutdown, and let the locks go.

        A directory with a partition that failed gets no mark: it is recovered at the next start.
        """
        if not self._is_open:
            # Nothing is known of what is in the directories, so nothing may be written there.
            for directory in self._directories:
                directory.close()
            return
        async with trio.open_nursery() as nursery:
            for kept in (*self._kept.values(), *self.copies.values()):
                nursery.start_soon(self._close_log, kept)
        await self.checkpoint()
        failed = {id(kept.directory) for kept in self._kept.values() if kept.log.is_offline}
        for directory in self._directories:
            if not directory.is_offline and id(directory) not in failed:
                with suppress(OSError):
                    await self.worker.run(partial(directory.leave_clean_mark, self.broker_epoch))
            directory.close()
        for kept in (*self._kept.values(), *self.copies.values()):
            kept.disk.close()
        self.copies.clear()
        self._kept.clear()
        self.logs.clear()
        self._is_open = False

    async def _close_log(self, kept: Kept) -> None:
        with suppress(KafkaError):
            kept.log.close()
            async with kept.flushing:
                await self._sync(kept, kept.log.unsynced())

    # logs

    def get(self, partition: TopicPartition) -> PartitionLog | None:
        """The log of a partition, if this broker has one."""
        return self.logs.get(partition)

    def create(self, partition: TopicPartition, topic_id: TopicId, settings: TopicSettings) -> PartitionLog:
        """Make an empty log in the log directory with the fewest partitions; KAFKA_STORAGE_ERROR if none will do.

        A log that is there already is given, if it belongs to the same topic (INCONSISTENT_TOPIC_ID otherwise).
        """
        known = self.logs.get(partition)
        if known is not None:
            known.identify(topic_id)
            return known
        directory = self._preferred.pop(partition, None)
        if directory is None or directory.is_offline:
            directory = self._emptiest()
        try:
            disk = directory.make(partition)
            log = self._new_log(disk, partition, topic_id, settings)
        except OSError as problem:
            self._say("LogNotMade", Level.ERROR, partition=str(partition), problem=str(problem))
            self._give_up(directory, problem)
            raise KafkaError(
                ErrorCode.KAFKA_STORAGE_ERROR, f"Error while creating log for {partition} in dir {directory.path}"
            ) from problem
        self._keep(partition, Kept(log, disk, directory, is_new=True))
        self._say("LogMade", partition=str(partition), directory=str(directory.path))
        return log

    def _new_log(
        self, disk: FileDisk, partition: TopicPartition, topic_id: TopicId, settings: TopicSettings
    ) -> PartitionLog:
        return PartitionLog.create(
            disk,
            partition,
            topic_id,
            settings,
            self._clock(),
            jitter_ms=jitter_ms(settings),
            note=partial(self._noted, partition),
            producer_expiration_ms=self._settings.producer_id_expiration_ms,
        )

    def delete(self, partition: TopicPartition) -> None:
        """Let the log go at once; its directory is renamed now and removed after ``file.delete.delay.ms``."""
        self.drop_copy(partition)
        kept = self._kept.pop(partition, None)
        if kept is None:
            return
        del self.logs[partition]
        self._rolled.discard(partition)
        self.clean_up_to.pop(partition, None)
        kept.log.discard()
        try:
            doomed = kept.directory.doom(kept.disk, partition)
        except OSError as problem:
            raise KafkaError(
                ErrorCode.KAFKA_STORAGE_ERROR,
                f"Error while renaming dir for {partition} in log dir {kept.directory.path}",
            ) from problem
        self._doomed.append((self._clock() + kept.log.settings.file_delete_delay_ms, doomed))
        self._say("LogDeleted", partition=str(partition))

    def configure(self, topic: str, settings: TopicSettings) -> None:
        """Let all logs of a topic follow changed settings."""
        for partition, log in self.logs.items():
            if partition.topic == topic:
                log.configure(settings)

    def usage(self) -> list[Usage]:
        """The log directories with the sizes of their partitions, for DescribeLogDirs."""
        found = []
        for directory in self._directories:
            total, usable = -1, -1
            with suppress(OSError):
                total, usable = directory.space()
            sizes = {tp: kept.log.size_bytes for tp, kept in self._kept.items() if kept.directory is directory}
            copies = {tp: self._progress(tp, one) for tp, one in self.copies.items() if one.directory is directory}
            found.append(Usage(str(directory.path.absolute()), directory.is_offline, total, usable, sizes, copies))
        return found

    def _progress(self, partition: TopicPartition, copy: Kept) -> tuple[int, int]:
        return copy.log.size_bytes, self.logs[partition].log_end_offset - copy.log.log_end_offset

    # moving to another log directory

    def kept(self, partition: TopicPartition) -> Kept | None:
        """Where a partition is, with its log."""
        return self._kept.get(partition)

    def directory(self, path: str) -> LogDirectory | None:
        """The log directory with that absolute path, spelled as DescribeLogDirs tells it."""
        return next((one for one in self._directories if str(one.path.absolute()) == path), None)

    @property
    def has_offline_directory(self) -> bool:
        """Whether a log directory has failed."""
        return any(directory.is_offline for directory in self._directories)

    def prefer(self, partition: TopicPartition, directory: LogDirectory) -> None:
        """Make the partition's log in this directory, should it ever come here; nothing if it is here already."""
        if partition not in self._kept:
            self._preferred[partition] = directory

    def make_copy(self, partition: TopicPartition, directory: LogDirectory) -> Kept:
        """An empty copy of a partition in another log directory; KAFKA_STORAGE_ERROR if the disk will not."""
        original = self._kept[partition].log
        try:
            disk = directory.make_future(partition)
            log = self._new_log(disk, partition, original.topic_id, original.settings)
        except OSError as problem:
            raise KafkaError(
                ErrorCode.KAFKA_STORAGE_ERROR, f"Error while creating log for {partition} in dir {directory.path}"
            ) from problem
        copy = self.copies[partition] = Kept(log, disk, directory, is_new=True)
        return copy

    def drop_copy(self, partition: TopicPartition) -> None:
        """Give a move up: its copy is removed."""
        copy = self.copies.pop(partition, None)
        if copy is not None:
            copy.log.discard()
            with suppress(OSError):
                self._remove_soon(partition, copy, self._clock())

    def replace(self, partition: TopicPartition) -> PartitionLog:
        """Let the copy of a partition, which has all of it, take its place; gives the log that counts now.

        Blocks for some milliseconds: what the copy lacks on the device is synced before anything else may be appended.
        Raises ``OSError`` or KAFKA_STORAGE_ERROR if the original stays in its place.
        """
        original, copy = self._kept[partition], self.copies[partition]
        follow(original.log, copy.log)
        copy.log.configure(original.log.settings)
        what = copy.log.unsynced()
        copy.disk.sync(what.names)
        copy.log.synced(what, self._clock())
        copy.directory.take_over(copy.disk, partition)
        copy.is_new = False
        del self.copies[partition]
        self._keep(partition, copy)
        original.log.discard()
        try:
            self._remove_soon(partition, original, self._clock() + copy.log.settings.file_delete_delay_ms)
        except OSError as problem:
            self._say("LogNotRemoved", Level.ERROR, path=str(original.disk.path), problem=str(problem))
        return copy.log

    def _remove_soon(self, partition: TopicPartition, kept: Kept, when: int) -> None:
        self._doomed.append((when, kept.directory.doom(kept.disk, partition)))

    def _keep(self, partition: TopicPartition, kept: Kept) -> None:
        self._kept[partition] = kept
        self.logs[partition] = kept.log

    def _emptiest(self) -> LogDirectory:
        live = [directory for directory in self._directories if not directory.is_offline]
        if not live:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "No log directory is online")
        if len(live) == 1:
            return live[0]
        counts = Counter(id(kept.directory) for kept in self._kept.values())
        return min(live, key=lambda directory: counts[id(directory)])

    # durability

    async def flush(self, partition: TopicPartition) -> None:
        """Return when everything appended so far is on the device; callers that wait together share one sync."""
        while (kept := self._kept.get(partition)) is not None:
            wanted = kept.log.log_end_offset
            async with kept.flushing:
                if self._kept.get(partition) is not kept:
                    continue  # it has moved to another log directory meanwhile
                if kept.log.recovery_point < wanted:
                    await self._sync(kept, kept.log.unsynced())
                return

    async def settle(self) -> None:
        """Return when every log that was cut is on the device as it is now, and the recovery points say so.

        Until then nothing should be appended: a power cut could leave what was cut off beside what came afterwards, or
        have segments believed that were flushed in an earlier life only (``LogManager.truncateTo`` writes the
        recovery points for that).
        """
        if not self._cut and not self._settling.locked():
            return
        async with self._settling:
            if not self._cut:
                return
            cut, self._cut = self._cut, set()
            for partition in cut:
                kept = self._kept.get(partition)
                if kept is not None and not kept.log.is_offline:
                    with suppress(KafkaError):
                        async with kept.flushing:
                            await self._sync(kept, kept.log.unsynced())
            await self._checkpoint_recovery_points()
            await self._checkpoint_log_starts()

    async def sync_copy(self, copy: Kept) -> None:
        """Return when everything that a copy has is on the device; KAFKA_STORAGE_ERROR."""
        async with copy.flushing:
            await self._sync(copy, copy.log.unsynced())

    async def _sync(self, kept: Kept, what: Unsynced) -> None:
        if not what.names:
            return
        try:
            await self.worker.run(partial(kept.disk.sync, what.names))
            if kept.is_new:
                await self.worker.run(partial(self._device.sync_names, kept.directory.path))
                kept.is_new = False
        except OSError as problem:
            kept.log.fail(problem)
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"Error while flushing log for {kept.log.partition}") from (
                problem
            )
        kept.log.synced(what, self._clock())

    async def _sync_names(self, kept: Kept) -> None:
        try:
            await self.worker.run(partial(kept.disk.sync, ()))
        except OSError as problem:
            if not kept.log.is_offline:
                kept.log.fail(problem)

    async def checkpoint(self) -> None:
        """Write down how far the logs are flushed, where they begin, and their high watermarks."""
        await self._checkpoint_recovery_points()
        await self._checkpoint_log_starts()
        await self._checkpoint_high_watermarks()

    async def checkpoint_clean_up_to(self) -> None:
        """Write down how far the logs of compacted topics are clean."""
        await self._write_checkpoints(checkpoints.CLEANER, lambda log: self.clean_up_to.get(log.partition))

    async def _checkpoint_recovery_points(self) -> None:
        await self._write_checkpoints(checkpoints.RECOVERY_POINTS, lambda log: log.recovery_point)

    async def _checkpoint_log_starts(self) -> None:
        await self._write_checkpoints(checkpoints.LOG_STARTS, _moved_log_start)

    async def _checkpoint_high_watermarks(self) -> None:
        await self._write_checkpoints(checkpoints.HIGH_WATERMARKS, lambda log: log.high_watermark)

    async def _write_checkpoints(self, name: str, offset: Callable[[PartitionLog], int | None]) -> None:
        """Write one checkpoint of every log directory in which it has changed."""
        async with self._checkpointing:
            for directory in self._directories:
                if directory.is_offline:
                    continue
                offsets = {}
                for partition, kept in (*self._kept.items(), *self.copies.items()):
                    if kept.directory is directory and (found := offset(kept.log)) is not None:
                        offsets[partition] = found
                if self._written.get((directory, name), {}) == offsets:
                    continue
                try:
                    await self.worker.run(partial(directory.write_checkpoint, name, offsets))
                except OSError as problem:
                    self._say("CheckpointNotWritten", Level.ERROR, file=name, problem=str(problem))
                    self._give_up(directory, problem)
                else:
                    self._written[directory, name] = offsets

    # what time brings

    async def run(self) -> None:
        """Flushes, retention, checkpoints and removals, each in its own rhythm, until cancelled."""
        settings = self._settings
        first_ms = settings.log_initial_task_delay_ms
        rhythm: list[tuple[int, int, Callable[[], Awaitable[None]]]] = [
            (_TIDY_MS, _TIDY_MS, self.tidy),
            (first_ms, settings.log_retention_check_interval_ms, self.expire),
            (first_ms, settings.log_flush_scheduler_interval_ms, self._flush_overdue),
            (0, settings.replica_high_watermark_checkpoint_interval_ms, self._checkpoint_high_watermarks),
            (first_ms, settings.log_flush_offset_checkpoint_interval_ms, self._checkpoint_recovery_points),
            (first_ms, settings.log_flush_start_offset_checkpoint_interval_ms, self._checkpoint_log_starts),
        ]
        async with trio.open_nursery() as nursery:
            for delay_ms, interval_ms, task in rhythm:
                nursery.start_soon(_every, max(delay_ms, 1), max(interval_ms, 1), task)
            if settings.log_cleaner_enable:
                nursery.start_soon(self.cleaner.run)

    async def tidy(self) -> None:
        """Sync the segments that were rolled, and remove files and directories whose delay has passed."""
        while self._rolled:
            kept = self._kept.get(self._rolled.pop())
            if kept is not None:
                with suppress(KafkaError):
                    async with kept.flushing:
                        if not kept.log.is_offline:
                            await self._sync(kept, kept.log.unsynced(sealed_only=True))
        now = self._clock()
        due = [log for log in self.logs.values() if log.has_to_reap(now)]
        if due:
            await self.worker.run(partial(_reap, due, now))
        gone = sorted(doomed for doomed in self._doomed if doomed[0] <= now)
        if gone:
            # A partition must not have its name again after a power cut when parts of it are missing already.
            for parent in {path.parent for _, path in gone}:
                with suppress(OSError):
                    await self.worker.run(partial(self._device.sync_names, parent))
        for doomed in gone:
            self._doomed.remove(doomed)
            await self.worker.run(partial(self._device.remove_tree, doomed[1]))

    async def expire(self) -> None:
        """Apply retention to every log, one segment at a time; readers of what is gone are woken."""
        # Should some of the deleted segments be back after a power cut, this tells that those behind the gap count.
        await self._checkpoint_recovery_points()
        now = self._clock()
        for partition, kept in tuple(self._kept.items()):
            log = kept.log
            with suppress(KafkaError):
                is_over = False
                while not (is_over or log.is_offline):
                    unread = log.unread_by_retention(2)
                    if unread:
                        # The disk may have to be waited for, thousands of times.
                        await self.worker.run(partial(_bring_to_memory, kept.disk, unread))
                        if log.is_offline:
                            break
                    gone = log.expire(now, most=1)
                    if gone.segments:
                        self._changes.ring(partition)
                    is_over = not gone.due
                    if not is_over:
                        # After a power cut none may be back behind which others lack.
                        await self._sync_names(kept)
            await trio.lowlevel.checkpoint()

    async def _flush_overdue(self) -> None:
        now = self._clock()
        for partition, log in tuple(self.logs.items()):
            if log.log_end_offset > log.recovery_point and now - log.last_flush_ms >= log.settings.flush_ms:
                with suppress(KafkaError):
                    await self.flush(partition)

    def _noted(self, partition: TopicPartition, fact: Fact) -> None:
        if fact.name == "SegmentRolled":
            self._rolled.add(partition)
        elif fact.name in ("LogTruncated", "LogRestarted"):
            self._cut.add(partition)
            if partition in self.clean_up_to:
                # What comes where the log was cut is not clean (``LogCleanerManager.maybeTruncateCheckpoint``).
                self.clean_up_to[partition] = min(self.clean_up_to[partition], self.logs[partition].log_end_offset)
        elif fact.name == "LogOffline" and self._token is not None:
            # The disk may have failed anywhere, on a worker's thread too, and in the middle of anything.
            self._token.run_sync_soon(self._went_offline, partition, fact.fields["problem"])
        self._note(fact)

    def _went_offline(self, partition: TopicPartition, problem: object) -> None:
        for kept in (self._kept.get(partition), self.copies.get(partition)):
            if kept is not None and kept.log.is_offline:
                self._give_up(kept.directory, problem)

    def _give_up(self, directory: LogDirectory, problem: object) -> None:
        """A log directory has failed: everything in it is offline (``ReplicaManager.handleLogDirFailure``)."""
        if directory.is_offline:
            return
        directory.is_offline = True
        self._say("LogDirectoryOffline", Level.ERROR, directory=str(directory.path), problem=str(problem))
        lost = [partition for partition, kept in self._kept.items() if kept.directory is directory]
        for kept in (*self._kept.values(), *self.copies.values()):
            if kept.directory is directory:
                kept.log.discard()
        self.on_offline(lost)
        if all(each.is_offline for each in self._directories):
            paths = ", ".join(str(each.path) for each in self._directories)
            self.on_nothing_left(f"Shutdown broker because all log dirs in {paths} have failed")

    def _say(self, name: str, level: Level = Level.INFO, **fields: object) -> None:
        self._note(Fact(name, level, fields))


@asynccontextmanager
async def kept_logs(keeper: LogKeeper, mine: Meta) -> AsyncIterator[LogKeeper]:
    """Open the logs on the way in, close them in good order on the way out."""
    await keeper.open(mine)
    try:
        yield keeper
    finally:
        with trio.CancelScope(shield=True):
            await keeper.close()


async def _every(delay_ms: int, interval_ms: int, task: Callable[[], Awaitable[None]]) -> None:
    await trio.sleep(delay_ms / 1000)
    while True:
        await task()
        await trio.sleep(interval_ms / 1000)


def _reap(logs: Sequence[PartitionLog], now: Millis) -> None:
    """Remove what is due; a file of a gigabyte takes a tenth of a second and more, so this is a worker's job."""
    for log in logs:
        with suppress(KafkaError):
            log.reap(now)


def _bring_to_memory(disk: FileDisk, ends: Sequence[tuple[str, int]]) -> None:
    """Let the system read the ends of files that are looked at next; who looks sees what is wrong with them."""
    for name, size_bytes in ends:
        with suppress(OSError):
            disk.read(name, max(0, size_bytes - _PAGE_BYTES), _PAGE_BYTES)


def _moved_log_start(log: PartitionLog) -> int | None:
    """Where a log begins, if its files alone do not tell (Kafka leaves the others out, too)."""
    return log.log_start_offset if log.log_start_offset > log.segments[0].base_offset else None


def follow(original: PartitionLog, copy: PartitionLog) -> None:
    """Take over what batches do not tell: the high watermark, the log's start, and an epoch without batches."""
    copy.advance_high_watermark(original.high_watermark)
    copy.advance_log_start(min(original.log_start_offset, copy.high_watermark))
    if original.latest_epoch > copy.latest_epoch and copy.log_end_offset == original.log_end_offset:
        copy.assign_epoch(original.latest_epoch)
