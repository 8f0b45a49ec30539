"""Opens the logs that are found in the log directories, recovering those that were not closed cleanly.

How one partition is opened is decided in ``log/loading``. A log directory whose disk fails meanwhile is left out
while others work.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.partition import PartitionLog
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.model.outcome import Fact, Level
from pykafka_broker.model.time import Millis
from pykafka_broker.store import checkpoints
from pykafka_broker.store.directories import DirectoryError, LogDirectory
from pykafka_broker.store.files import FileDisk
from pykafka_broker.store.meta import Meta


class OpeningSettings(Protocol):
    """What of the broker's settings matters here; ``BrokerSettings`` has it."""

    @property
    def producer_id_expiration_ms(self) -> int: ...


@dataclass(slots=True, eq=False)
class Kept:
    """A partition's log, its files, and the log directory in which they are."""

    log: PartitionLog
    disk: FileDisk
    directory: LogDirectory
    is_new: bool = False
    """Its directory's name has not been synced yet."""
    flushing: trio.Lock = field(default_factory=trio.Lock)


@dataclass(slots=True)
class Opened:
    """What was found in the log directories that work."""

    partitions: list[tuple[TopicPartition, Kept]] = field(default_factory=list)
    copies: list[tuple[TopicPartition, Kept]] = field(default_factory=list)
    """Copies of partitions on their way to another log directory."""
    deleted: list[Path] = field(default_factory=list)
    """Directories of deleted partitions that wait to be removed."""
    checkpoints: dict[tuple[LogDirectory, str], dict[TopicPartition, int]] = field(default_factory=dict)
    """The checkpoints as they are on the disk, by directory and name of the file."""
    clean_up_to: dict[TopicPartition, int] = field(default_factory=dict)


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

    def open(self) -> Opened:
        """On a worker thread: everything there is. ``DirectoryError`` if no directory can be used."""
        problem: OSError | None = None
        for directory in self._directories:
            try:
                directory.open()
                directory.claim(self._mine, self._now)
                self._load(directory)
            except OSError as failure:
                problem = failure
                directory.is_offline = True
                self._say("LogDirectoryOffline", Level.ERROR, directory=str(directory.path), problem=str(failure))
        if all(directory.is_offline for directory in self._directories):
            raise DirectoryError(f"Shutdown broker because none of the specified log dirs can be used: {problem}")
        return self._found

    def _load(self, directory: LogDirectory) -> None:
        """Every partition in a log directory, and every copy of one that is on its way there."""
        found = directory.find()
        directory.make_checkpoints()
        marks = {name: directory.read_checkpoint(name) for name in checkpoints.OF_LOGS}
        clean_up_to = directory.read_checkpoint(checkpoints.CLEANER)
        clean = directory.take_clean_mark()
        disks = [(partition, directory.disk(partition), False) for partition in found.partitions]
        disks += [(partition, directory.future(path), True) for partition, path in found.futures.items()]
        partitions: list[tuple[TopicPartition, Kept]] = []
        copies: list[tuple[TopicPartition, Kept]] = []
        for done, (partition, disk, is_copy) in enumerate(disks, 1):
            kept = Kept(self._open_log(partition, disk, marks, clean=clean), disk, directory)
            (copies if is_copy else partitions).append((partition, kept))
            if not clean:
                self._say("PartitionRecovered", partition=str(partition), done=done, of=len(disks))
        self._found.partitions += partitions
        self._found.copies += copies
        self._found.deleted += found.deleted
        self._found.clean_up_to.update(clean_up_to)
        self._found.checkpoints.update({(directory, name): offsets for name, offsets in marks.items()})

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
        )

    def _say(self, name: str, level: Level = Level.INFO, **fields: object) -> None:
        self._note(Fact(name, level, fields))


def jitter_ms(settings: TopicSettings) -> int:
    """Spreads the rolling of logs that were made together (``segment.jitter.ms``)."""
    return random.randrange(settings.segment_jitter_ms) if settings.segment_jitter_ms > 0 else 0
