"""What brokers hold in the end: every partition from its first offset on, the coordinators' notes, replicas on disk."""

from __future__ import annotations

import hashlib
import itertools
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from compat.cluster.history import Batch, Generation, Outcome, Partition, Position, Record, Stored
from pykafka_broker.group.records import GroupRecord, OffsetRecord, decode
from pykafka_broker.wire.batch import HEADER_BYTES, read_header

OFFSETS: Final = "__consumer_offsets"
_PATIENCE_S: Final = 60.0
_VERSION_BYTES: Final = 2


def outcome(bootstrap: str, topic: str, group: str, folders: Mapping[Partition, Path]) -> Outcome:
    """What a topic holds, and what was written down of a group; `folders` are where its partitions' leaders keep it."""
    content = {
        partition: [Stored(offset, _record(value)) for offset, _, value in found]
        for partition, found in read(bootstrap, topic).items()
    }
    generations: list[Generation] = []
    positions: list[Position] = []
    for _, key, value in itertools.chain.from_iterable(read(bootstrap, OFFSETS).values()):
        note = decode(key, value)
        if isinstance(note, GroupRecord) and note.group_id == group and note.value is not None:
            owned = {member.member_id: tuple(_assigned(member.assignment)) for member in note.value.members}
            generations.append(Generation(group, note.value.generation, owned))
        elif isinstance(note, OffsetRecord) and note.group_id == group and note.committed is not None:
            positions.append(Position(group, Partition(*note.partition), note.committed.offset))
    batches = {partition: list(_batches(folder)) for partition, folder in folders.items()}
    return Outcome(content, generations, positions, batches)


def read(bootstrap: str, topic: str) -> dict[Partition, list[tuple[int, bytes, bytes]]]:
    """Offset, key and value of every record of a topic; each partition from its first offset to its end now."""
    client = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "proof",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
            "log_level": 2,
        }
    )
    try:
        indexes = client.list_topics(topic, timeout=_PATIENCE_S).topics[topic].partitions
        found: dict[Partition, list[tuple[int, bytes, bytes]]] = {Partition(topic, index): [] for index in indexes}
        ends = {}
        for partition in found:
            low, high = client.get_watermark_offsets(TopicPartition(*partition), timeout=_PATIENCE_S)
            assert low == 0, f"{partition} begins at {low}"
            if high:
                ends[partition.index] = high
        client.assign([TopicPartition(topic, index, 0) for index in ends])
        deadline = time.monotonic() + _PATIENCE_S
        while ends:
            for message in client.consume(10_000, 0.2):
                assert message.error() is None, f"{topic}: {message.error()}"
                place = Partition(topic, message.partition())
                found[place].append((message.offset(), message.key() or b"", message.value()))
                if message.offset() + 1 >= ends.get(place.index, 0):
                    ends.pop(place.index, None)
            assert time.monotonic() < deadline, f"{topic}: could not be read to its end; open: {ends}"
        return found
    finally:
        client.close()


def differences(homes: Mapping[int, Path], replicas: Mapping[Partition, Sequence[int]]) -> list[str]:
    """Partitions whose replicas do not hold the same bytes; `homes` are the brokers' log directories. For the end, when
    nothing is written any more and all are in sync."""
    found = []
    for partition, brokers in replicas.items():
        sums = {broker: _sum(homes[broker] / f"{partition.topic}-{partition.index}") for broker in brokers}
        if len(set(sums.values())) > 1:
            found.append(f"{partition} is not the same everywhere (bytes, digest): {sums}")
    return found


def _sum(folder: Path) -> tuple[int, str]:
    """Segments begin and end where each broker likes; what is in them, one after the other, is the same."""
    digest, size = hashlib.sha256(), 0
    for segment in sorted(folder.glob("*.log")):
        data = segment.read_bytes()
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()[:12]


def _batches(folder: Path) -> Iterator[Batch]:
    """What a partition's segments are made of; a batch that is being written may be there in part, and is left out."""
    for segment in sorted(folder.glob("*.log")):
        data = segment.read_bytes()
        position = 0
        while position + HEADER_BYTES <= len(data):
            header = read_header(data, position)
            position += header.size_bytes
            if position > len(data) or header.size_bytes < HEADER_BYTES:
                break
            offsets = (header.base_offset, header.last_offset)
            sequences = (header.base_sequence, header.last_sequence)
            yield Batch(offsets, header.producer_id, header.producer_epoch, sequences)


def _record(value: bytes) -> Record:
    producer, _, number = value.decode().partition(".")
    return Record(producer, int(number))


def _assigned(data: bytes) -> Iterator[Partition]:
    """An assignment of the consumer protocol: version, topics with their partitions, what the leader adds."""
    if not data:
        return
    (topics,) = struct.unpack_from(">i", data, _VERSION_BYTES)
    at = _VERSION_BYTES + 4
    for _ in range(topics):
        (length,) = struct.unpack_from(">h", data, at)
        topic = data[at + 2 : at + 2 + length].decode()
        (count,) = struct.unpack_from(">i", data, at + 2 + length)
        at += 6 + length
        yield from (Partition(topic, index) for index in struct.unpack_from(f">{count}i", data, at))
        at += 4 * count
