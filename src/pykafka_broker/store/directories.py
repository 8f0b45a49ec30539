"""The log directories: whose they are, what is in them, and the files at their top.

A directory is held by one process at a time (``.lock``), belongs to one broker of one cluster
(``meta.properties``), and says whether it was left in good order (``.kafka_cleanshutdown``). What is inside a
partition's directory is ``log``'s business.

Everything here blocks; the log keeper calls it where that does no harm or on a worker thread.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from msgspec import Struct

from pykafka_broker.device import APPENDING, write_durably
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.store import checkpoints
from pykafka_broker.store import meta as meta_properties
from pykafka_broker.store.files import FileDisk, OpenFiles
from pykafka_broker.store.meta import Meta

LOCK = ".lock"
CLEAN = ".kafka_cleanshutdown"
DELETE, FUTURE, STRAY = "-delete", "-future", "-stray"
REPLACING = ".replacing"
_IGNORED = frozenset({"remote-log-index-cache"})
_LONGEST_NAME = 255

_PARTITION = re.compile(r"(\S+)-(\d+)")
_DELETED = re.compile(r"(\S+)-(\S+)\.(\S+)-delete")
_FUTURE = re.compile(r"(\S+)-(\d+)\.(\S+)-future")
_STRAY = re.compile(r"(\S+)-(\S+)\.(\S+)-stray")


class DirectoryError(Exception):
    """A log directory cannot be used; the sentence is for the person who started the broker."""


class DamagedCheckpoint(DirectoryError):
    """A checkpoint makes no sense; what it said can be found out again."""


class Found(Struct, frozen=True):
    """A directory's partitions: live ones, and leftovers that wait to be removed."""

    partitions: Mapping[TopicPartition, Path]
    deleted: tuple[Path, ...]
    futures: Mapping[TopicPartition, Path]
    """Copies on their way from another log directory."""


class LogDirectory:
    """One entry of ``log.dirs``, held by this process from ``open`` to ``close``."""

    def __init__(self, path: Path, open_files: OpenFiles) -> None:
        self.path = path
        self.is_offline = False
        self._open_files = open_files
        self._device = open_files.device
        self._lock: int | None = None

    # holding it

    def open(self) -> None:
        """Make the directory if need be and take its lock; ``DirectoryError`` if another process has it."""
        if self._lock is not None:
            return
        try:
            if not self.path.is_dir():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._device.make_folder(self.path)
                self._device.sync_names(self.path.parent)
            descriptor = self._device.open(self.path / LOCK, APPENDING)
        except OSError as problem:
            raise DirectoryError(f"Failed to create or open the log directory {self.path}: {problem}") from problem
        try:
            _lock(descriptor)
        except OSError as problem:
            os.close(descriptor)
            raise DirectoryError(
                f"Failed to acquire lock on file {LOCK} in {self.path}. A Kafka instance in another process or "
                "thread is using this directory."
            ) from problem
        self._lock = descriptor

    def close(self) -> None:
        """Let the lock go."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # whose it is

    def meta(self) -> Meta | None:
        """What ``meta.properties`` says; None for a fresh directory, ``OSError`` if it cannot be read or understood."""
        path = self.path / meta_properties.FILE
        try:
            return meta_properties.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except meta_properties.UnreadableMeta as problem:
            raise OSError(f"Error while reading {meta_properties.FILE} file {path}: {problem}") from problem

    def claim(self, mine: Meta, now_ms: int) -> None:
        """Make the directory this broker's; ``DirectoryError`` if it is somebody else's, ``OSError`` as ``meta``."""
        known = self.meta()
        if known is None:
            self._write(meta_properties.FILE, meta_properties.encode(mine, now_ms))
            return
        try:
            completed = known.completed(mine, str(self.path / meta_properties.FILE))
        except meta_properties.NotMine as problem:
            raise DirectoryError(str(problem)) from problem
        if completed != known:
            self._write(meta_properties.FILE, meta_properties.encode(completed, now_ms))

    # whether it was left in good order

    def take_clean_mark(self) -> bool:
        """Whether the last shutdown was clean; the mark is gone afterwards, for this run may end otherwise."""
        try:
            self._device.unlink(self.path / CLEAN)
        except FileNotFoundError:
            return False
        except OSError as problem:
            raise DirectoryError(f"Cannot remove {self.path / CLEAN}: {problem}") from problem
        self._device.sync_names(self.path)
        return True

    def leave_clean_mark(self, broker_epoch: int = -1) -> None:
        """Say that everything here is flushed."""
        text = json.dumps({"version": 0, "brokerEpoch": broker_epoch}, separators=(",", ":"))
        self._write(CLEAN, text.encode())

    # what is in it

    def find(self) -> Found:
        """Every partition's directory; ``DirectoryError`` for a directory that cannot be one (as Kafka)."""
        partitions: dict[TopicPartition, Path] = {}
        futures: dict[TopicPartition, Path] = {}
        deleted = []
        for entry in self._directories():
            if _DELETED.fullmatch(entry):
                deleted.append(self.path / entry)
            elif match := _FUTURE.fullmatch(entry):
                futures[TopicPartition(match[1], int(match[2]))] = self.path / entry
            elif _STRAY.fullmatch(entry) or entry in _IGNORED:
                continue
            elif match := _PARTITION.fullmatch(entry):
                partitions[TopicPartition(match[1], int(match[2]))] = self.path / entry
            else:
                raise DirectoryError(
                    f"Found directory {self.path / entry}, '{entry}' is not in the form of topic-partition or "
                    "topic-partition.uniqueId-delete (if marked for deletion).\n"
                    "Kafka's log directories (and children) should only contain Kafka topic data."
                )
        return Found(partitions, tuple(deleted), futures)

    def _directories(self) -> Iterator[str]:
        try:
            with os.scandir(self.path) as entries:
                yield from sorted(entry.name for entry in entries if entry.is_dir())
        except OSError as problem:
            raise DirectoryError(f"Cannot read {self.path}: {problem}") from problem

    def disk(self, partition: TopicPartition) -> FileDisk:
        """The files of a partition that is there."""
        return FileDisk(self.path / str(partition), self._open_files)

    def make(self, partition: TopicPartition) -> FileDisk:
        """A new partition's directory; ``OSError`` if the disk will not."""
        disk = self.disk(partition)
        self._device.make_folder(disk.path)
        return disk

    def make_future(self, partition: TopicPartition) -> FileDisk:
        """A new directory for a copy of a partition that lives in another log directory; ``OSError``."""
        disk = FileDisk(self.path / future_name(partition), self._open_files)
        self._device.make_folder(disk.path)
        return disk

    def future(self, path: Path) -> FileDisk:
        """The files of such a copy that is there."""
        return FileDisk(path, self._open_files)

    def take_over(self, disk: FileDisk, partition: TopicPartition) -> None:
        """Let a copy, all of it synced, become the partition, for good; ``OSError`` if that did not happen."""
        disk.move(self.path / str(partition))
        with suppress(OSError):
            self._device.sync_names(self.path)

    def mark_replacing(self, partition: TopicPartition) -> None:
        """Note durably that a copy here is about to replace the partition of another log directory.

        Two directories of one partition, which a crash between two renames leaves behind, are told apart by this.
        """
        self._touch(_replacing_name(partition))
        self._device.sync_names(self.path)

    def unmark_replacing(self, partition: TopicPartition) -> None:
        """The replacement is over, or was not begun."""
        with suppress(FileNotFoundError):
            self._device.unlink(self.path / _replacing_name(partition))

    def is_replacing(self, partition: TopicPartition) -> bool:
        """Whether there is such a note."""
        return (self.path / _replacing_name(partition)).exists()

    def forget_replacements(self) -> None:
        """Remove all such notes."""
        for left in self.path.glob(f"*{REPLACING}"):
            self._device.unlink(left)

    def doom(self, disk: FileDisk, partition: TopicPartition) -> Path:
        """Rename a partition's directory out of the way; gives the new path, which is to be removed later."""
        disk.close()
        doomed = self.path / deleted_name(partition)
        self._device.replace(disk.path, doomed)
        return doomed

    # checkpoints

    def read_checkpoint(self, name: str) -> dict[TopicPartition, int]:
        """Offsets by partition; ``DamagedCheckpoint`` for a file that makes no sense, otherwise ``DirectoryError``."""
        try:
            return checkpoints.decode((self.path / name).read_bytes())
        except FileNotFoundError:
            return {}
        except (ValueError, IndexError) as problem:
            raise DamagedCheckpoint(f"{self.path / name} makes no sense: {problem}") from problem
        except OSError as problem:
            raise DirectoryError(f"Cannot read {self.path / name}: {problem}") from problem

    def write_checkpoint(self, name: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Replace a checkpoint durably."""
        self._write(name, checkpoints.encode(offsets))

    def make_checkpoints(self) -> None:
        """See to the files being there, empty as Kafka leaves them at first."""
        for name in checkpoints.ALL:
            self._touch(name)

    def space(self) -> tuple[int, int]:
        """Total and usable bytes of the volume (DescribeLogDirs, KIP-827)."""
        import shutil

        usage = shutil.disk_usage(self.path)
        return usage.total, usage.free

    def _write(self, name: str, content: bytes) -> None:
        write_durably(self._device, self.path / name, content)

    def _touch(self, name: str) -> None:
        os.close(self._device.open(self.path / name, APPENDING))


def deleted_name(partition: TopicPartition) -> str:
    """``topic-partition.<32 hex>-delete``, the topic's name cut so that the whole stays within 255 characters."""
    suffix = f"-{partition.partition}.{uuid4().hex}{DELETE}"
    return partition.topic[: _LONGEST_NAME - len(suffix)] + suffix


def future_name(partition: TopicPartition) -> str:
    """``topic-partition.<32 hex>-future``; not cut, so that long names cannot be moved (as in Kafka)."""
    return f"{partition}.{uuid4().hex}{FUTURE}"


def has_room_for_future(partition: TopicPartition) -> bool:
    """Whether the name of a copy would fit into a directory."""
    return len(future_name(partition)) <= _LONGEST_NAME


def _replacing_name(partition: TopicPartition) -> str:
    return f"{partition}{REPLACING}"


def _lock(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        # A POSIX lock, because that is what Java's FileLock takes: a Java broker on the same directory is kept out.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
