"""The offset checkpoints at the top of a log directory: one offset for each partition, as text.

``recovery-point-offset-checkpoint``, ``log-start-offset-checkpoint``, ``replication-offset-checkpoint`` and
``cleaner-offset-checkpoint`` share Kafka's format: version 0, the number of lines, ``topic partition offset`` each.
"""

from __future__ import annotations

from collections.abc import Mapping

from pykafka_broker.model.names import TopicPartition

RECOVERY_POINTS = "recovery-point-offset-checkpoint"
LOG_STARTS = "log-start-offset-checkpoint"
HIGH_WATERMARKS = "replication-offset-checkpoint"
CLEANER = "cleaner-offset-checkpoint"

ALL = (RECOVERY_POINTS, LOG_STARTS, HIGH_WATERMARKS, CLEANER)


def encode(offsets: Mapping[TopicPartition, int]) -> bytes:
    """The text."""
    lines = ["0", str(len(offsets))]
    lines += [f"{topic} {partition} {offset}" for (topic, partition), offset in offsets.items()]
    return ("\n".join(lines) + "\n").encode()


def decode(text: bytes) -> dict[TopicPartition, int]:
    """The offsets in a text; an empty one has none (Kafka leaves such files). Garbage is a ``ValueError``."""
    if not text:
        return {}
    if not text.endswith(b"\n"):
        raise ValueError("it ends within a line")
    lines = text.decode("ascii").split("\n")
    if int(lines[0]) != 0:
        raise ValueError(f"the unknown version {lines[0]}")
    count, entries = int(lines[1]), [line for line in lines[2:] if line]
    if len(entries) != count:
        raise ValueError(f"{count} lines are announced, {len(entries)} are there")
    offsets = {}
    for line in entries:
        topic, partition, offset = line.split(" ")
        offsets[TopicPartition(topic, int(partition))] = int(offset)
    return offsets
