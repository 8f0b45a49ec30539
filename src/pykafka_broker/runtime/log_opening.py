"""Opens the logs that are found in the log directories, recovering those that were not closed cleanly.

How one partition is opened is decided in ``log/loading``. Here are the threads on which that is done
(``num.recovery.threads.per.data.dir`` for each log directory), the news of it, and its early end. A log directory whose
disk fails meanwhile is left out while others work.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import trio
from msgspec import Struct, field

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.loading import Abandoned
from pykafka_broker.log.partition import PartitionLog
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.model.outcome import Fact, Level
from pykafka_broker.model.time import Millis
from pykafka_broker.store import checkpoints
from pykafka_broker.store.directories import DamagedCheckpoint, DirectoryError, Found, LogDirectory
from pykafka_broker.store.files import FileDisk
from pykafka_broker.store.meta import Meta
from pykafka_broker.store.worker import Worker

_LOUD = 100
"""About as many partitions of a directory are told of aloud while it is recovered."""


_PATIENCE_S = 0.4
_HELPERS = 3


class OpeningSettings(Protocol):
    """What of the broker's settings matters here; ``BrokerSettings`` has it."""

    @property
    def num_recovery_threads_per_data_dir(self) -> int: ...
    @property
    def producer_id_expiration_ms(self) -> int: ...


class Kept(Struct, eq=False):
    """A partition's log, its files, and the log directory in which they are."""

    log: PartitionLog
    disk: FileDisk
    directory: LogDirectory
    is_new: bool = False
    """Its directory's name has not been synced yet."""
    flushing: trio.Lock = field(default_factory=trio.Lock)


class Opened(Struct):
    """What was found in the log directories that work."""

    partitions: list[tuple[TopicPartition, Kept]] = field(default_factory=list)
    copies: list[tuple[TopicPartition, Kept]] = field(default_factory=list)
    """Copies of partitions on their way to another log directory."""
    deleted: list[Path] = field(default_factory=list)
    """Directories of deleted partitions that wait to be removed."""
    checkpoints: dict[tuple[LogDirectory, str], dict[TopicPartition, int]] = field(default_factory=dict)
    """The checkpoints as they are on the disk, by directory and name of the file."""
    clean_up_to: dict[TopicPartition, int] = field(default_factory=dict)


class _Work(Struct):
    """A log directory that is being opened, by several threads."""

    directory: LogDirectory
    found: Found
    marks: dict[str, dict[TopicPartition, int]]
    """The checkpoints by the names of their files."""
    clean: bool = False
    waiting: deque[tuple[TopicPartition, FileDisk, bool]] = field(default_factory=deque)
    count: int = 0
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    partitions: list[tuple[TopicPartition, Kept]] = field(default_factory=list)
    copies: list[tuple[TopicPartition, Kept]] = field(default_factory=list)


class LogOpening:
    """The opening of all log directories; used once."""

    def __init__(
        self,
        directories: Sequence[LogDirectory],
        mine: Meta,
        now: Millis,
        settings: OpeningSettings,
        topic_settings: Callable[[str], TopicSettings],
        noted: Callable[[TopicPartition, Fact], None],
        note: Callable[[Fact], None],
    ) -> None:
        """``noted`` takes what a partition's log says, ``note`` the rest; both from any thread."""
        self._directories = directories
        self._mine = mine
        self._now = now
        self._settings = settings
        self._topic_settings = topic_settings
        self._noted = noted
        self._note = note
        self._found = Opened()
        self.is_wanted = True
        """False once it is given up; the threads look here."""
        self._problem: OSError | None = None
        self._mistake: DirectoryError | None = None

    async def open(self, worker: Worker) -> Opened:
        """Everything there is. ``DirectoryError`` if a directory makes no sense, or none can be used.

        Cancelled, it ends with the batch that is being looked at. Nothing is lost by that: no checkpoint has been
        written, and no mark of a clean shutdown, so that the next start recovers what this one would have.
        """
        claimed = await worker.run(self._claim_all)
        threads = self._settings.num_recovery_threads_per_data_dir
        async with trio.open_nursery() as watch:
            watch.start_soon(self._give_up_when_cancelled)
            async with trio.open_nursery() as directories:
                for work in claimed:
                    directories.start_soon(self._open_all, work, worker, threads)
            watch.cancel_scope.cancel()
        if self._mistake is not None:
            raise self._mistake
        self._raise_if_none_is_left()
        return self._found

    async def _give_up_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.is_wanted = False

    def _claim_all(self) -> list[_Work]:
        """See that every directory is ours and makes sense, before anything is changed in one of them."""
        claimed = []
        for directory in self._directories:
            with self._offline_if_it_fails(directory):
                directory.open()
                found = directory.find()
                directory.claim(self._mine, self._now)
                marks = {name: self._marks_in(directory, name) for name in checkpoints.ALL}
                claimed.append(_Work(directory, found, marks))
        self._raise_if_none_is_left()
        return claimed

    def _marks_in(self, directory: LogDirectory, name: str) -> dict[TopicPartition, int]:
        """A checkpoint; one that makes no sense counts as empty (``LogManager.loadLogs``).

        Without recovery points everything is checked after a crash, without log starts logs begin with their first
        segment, without high watermarks these are found out by replication, without cleaned offsets all is dirty.
        """
        try:
            return directory.read_checkpoint(name)
        except DamagedCheckpoint as problem:
            self._say("CheckpointDamaged", Level.WARNING, problem=str(problem))
            return {}

    async def _open_all(self, work: _Work, worker: Worker, threads: int) -> None:
        """Every partition in a log directory, and every copy of one that is on its way there."""
        crew = worker.crew(threads)
        try:
            await crew.run(partial(self._begin, work))
            async with trio.open_nursery() as helpers:
                helpers.start_soon(self._help, work, worker)
                async with trio.open_nursery() as nursery:
                    for _ in range(min(threads, max(1, len(work.waiting)))):
                        nursery.start_soon(crew.run, partial(self._open_some, work))
                helpers.cancel_scope.cancel()
        except DirectoryError as mistake:
            self._mistake, self.is_wanted = mistake, False
        if work.directory.is_offline:
            return
        self._found.partitions += work.partitions
        self._found.copies += work.copies
        self._found.deleted += work.found.deleted
        self._found.clean_up_to.update(work.marks.pop(checkpoints.CLEANER))
        self._found.checkpoints.update({(work.directory, name): offsets for name, offsets in work.marks.items()})
        if not work.clean and work.count:
            self._say("LogDirectoryRecovered", directory=str(work.directory.path), partitions=work.count)

    async def _help(self, work: _Work, worker: Worker) -> None:
        """Open on more threads what takes long after a clean shutdown.

        What is in memory is opened fastest by one thread, for Python lets only one of them run; what is not is waited
        for, and waiting can be shared.
        """
        await trio.sleep(_PATIENCE_S)
        if work.clean:
            crew = worker.crew(_HELPERS)
            async with trio.open_nursery() as nursery:
                for _ in range(_HELPERS):
                    nursery.start_soon(crew.run, partial(self._open_some, work))

    def _begin(self, work: _Work) -> None:
        directory = work.directory
        with self._offline_if_it_fails(directory):
            directory.make_checkpoints()
            work.clean = directory.take_clean_mark()
            work.waiting.extend((partition, directory.disk(partition), False) for partition in work.found.partitions)
            work.waiting.extend((one, directory.future(path), True) for one, path in work.found.futures.items())
            work.count = len(work.waiting)

    def _open_some(self, work: _Work) -> None:
        """On one of several threads: one partition after the other, until none is left or all is over."""
        with self._offline_if_it_fails(work.directory), suppress(IndexError, Abandoned):
            while self.is_wanted and not work.directory.is_offline:
                partition, disk, is_copy = work.waiting.popleft()
                if not work.clean:
                    self._tell_progress(work, partition)
                log = self._open_log(partition, disk, work.marks, clean=work.clean)
                # Nobody has asked for these files yet; there may be thousands.
                disk.close()
                (work.copies if is_copy else work.partitions).append((partition, Kept(log, disk, work.directory)))

    def _tell_progress(self, work: _Work, partition: TopicPartition) -> None:
        number = next(work.numbers)
        is_loud = number in (1, work.count) or number % max(1, work.count // _LOUD) == 0
        self._say(
            "RecoveringPartition",
            Level.INFO if is_loud else Level.DEBUG,
            number=number,
            of=work.count,
            partition=str(partition),
            directory=str(work.directory.path),
        )

    @contextmanager
    def _offline_if_it_fails(self, directory: LogDirectory) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            self._problem = problem
            if not directory.is_offline:
                directory.is_offline = True
                self._say("LogDirectoryOffline", Level.ERROR, directory=str(directory.path), problem=str(problem))

    def _raise_if_none_is_left(self) -> None:
        if all(directory.is_offline for directory in self._directories):
            raise DirectoryError(f"Shutdown broker because none of the specified log dirs can be used: {self._problem}")

    def _open_log(
        self,
        partition: TopicPartition,
        disk: FileDisk,
        marks: Mapping[str, Mapping[TopicPartition, int]],
        *,
        clean: bool,
    ) -> PartitionLog:
        settings = self._topic_settings(partition.topic)
        return PartitionLog.open(
            disk,
            partition,
            settings,
            self._now,
            clean=clean,
            recovery_point=marks[checkpoints.RECOVERY_POINTS].get(partition, 0),
            log_start_offset=marks[checkpoints.LOG_STARTS].get(partition, 0),
            high_watermark=marks[checkpoints.HIGH_WATERMARKS].get(partition, 0),
            jitter_ms=jitter_ms(settings),
            note=partial(self._noted, partition),
            producer_expiration_ms=self._settings.producer_id_expiration_ms,
            is_wanted=lambda: self.is_wanted,
        )

    def _say(self, name: str, level: Level = Level.INFO, **fields: object) -> None:
        self._note(Fact(name, level, fields))


def jitter_ms(settings: TopicSettings) -> int:
    """Spreads the rolling of logs that were made together (``segment.jitter.ms``)."""
    return random.randrange(settings.segment_jitter_ms) if settings.segment_jitter_ms > 0 else 0
