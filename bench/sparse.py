"""Fills the partitions of a broker that is stopped with large logs that take little of the disk.

Every record is real: a batch of one record whose value is zeros, with its right checksum. The zeros are never written;
a file system that knows holes keeps none of them, so that 10 GB take some 40 MB. Either broker reads the files, checks
them when it recovers, and serves them to consumers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from pykafka_broker.log.offset_index import ENTRY as INDEX_ENTRY
from pykafka_broker.log.producers import Producers
from pykafka_broker.log.segment import INDEX, LOG, TIME_INDEX, file_name
from pykafka_broker.log.snapshots import SUFFIX
from pykafka_broker.log.time_index import ENTRY as TIME_ENTRY
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.store import checkpoints
from pykafka_broker.wire.batch import Record, build

_BASE_OFFSET = Struct(">q")
_NO_PRODUCERS = Producers(TopicPartition("", 0)).snapshot()


@dataclass(frozen=True)
class Shape:
    """What a partition gets: so many segments of so many batches of one record each."""

    segments: int = 5
    batches: int = 4
    batch_bytes: int = 256 * 1024
    timestamp_ms: int = 1_700_000_000_000
    """Of the first segment's records; those of later ones are a second later each."""

    @property
    def records(self) -> int:
        """How many there are, and so where the log ends."""
        return self.segments * self.batches

    @property
    def size_bytes(self) -> int:
        """Length of all log files of one partition."""
        return self.records * self.batch_bytes


def fill(directory: Path, topic: str, shape: Shape) -> int:
    """Give every partition of a topic in a log directory its logs in place of what it has; how many there are.

    The broker must have made the partitions, and have been stopped in good order: its checkpoints are brought up to
    what is there now, so that it believes the files as if it had written them.
    """
    partitions = [
        TopicPartition(topic, int(path.name.rpartition("-")[2]))
        for path in directory.glob(f"{topic}-*")
        if path.name.rpartition("-")[0] == topic
    ]
    templates = [_template(shape, number) for number in range(shape.segments)]
    for partition in partitions:
        _fill_partition(directory / str(partition), shape, templates)
    ends = dict.fromkeys(partitions, shape.records)
    for name in (checkpoints.RECOVERY_POINTS, checkpoints.HIGH_WATERMARKS):
        _change(directory / name, ends)
    return len(partitions)


def _template(shape: Shape, number: int) -> bytes:
    """The beginning of a batch that goes on with zeros to its end; its base offset is left open."""
    timestamp = shape.timestamp_ms + 1000 * number

    def batch_with(value_bytes: int) -> bytearray:
        return build([Record(timestamp=timestamp, key=None, value=bytes(value_bytes))], leader_epoch=0)

    guess = shape.batch_bytes - 100
    batch = batch_with(guess + shape.batch_bytes - len(batch_with(guess)))
    if len(batch) != shape.batch_bytes:
        raise ValueError(f"no batch of one record is {shape.batch_bytes} bytes long")
    return bytes(batch).rstrip(b"\0")


def _fill_partition(path: Path, shape: Shape, templates: list[bytes]) -> None:
    for entry in os.scandir(path):
        if entry.name[:20].isdigit():
            os.unlink(entry)
    (path / "leader-epoch-checkpoint").write_bytes(b"0\n1\n0 0\n")
    for number, template in enumerate(templates):
        base = number * shape.batches
        with open(path / file_name(base, LOG), "wb") as log:
            for index in range(shape.batches):
                log.seek(index * shape.batch_bytes)
                log.write(_BASE_OFFSET.pack(base + index) + template[_BASE_OFFSET.size :])
            log.truncate(shape.batches * shape.batch_bytes)
        entries = [INDEX_ENTRY.pack(index, index * shape.batch_bytes) for index in range(1, shape.batches)]
        (path / file_name(base, INDEX)).write_bytes(b"".join(entries))
        (path / file_name(base, TIME_INDEX)).write_bytes(TIME_ENTRY.pack(shape.timestamp_ms + 1000 * number, 0))
        (path / file_name(base + shape.batches, SUFFIX)).write_bytes(_NO_PRODUCERS)


def _change(path: Path, ends: Mapping[TopicPartition, int]) -> None:
    path.write_bytes(checkpoints.encode({**checkpoints.decode(path.read_bytes()), **ends}))
