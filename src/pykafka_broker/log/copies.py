"""Batches as a leader sends them: which of an answer's bytes are whole, right, and follow the end of a follower's log.

Source: Kafka's ``UnifiedLog.appendAsFollower``, ``Partition.appendRecordsToFollowerOrFutureReplica``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from pykafka_broker.model.names import TopicPartition
from pykafka_broker.wire.batch import BatchHeader, Buffer, CorruptBatch, TruncatedBatch
from pykafka_broker.wire.formats import crc_is_right, headers


class OffsetsOutOfOrder(ValueError):
    """A leader sent batches that do not follow the end of this log."""


class Copies(NamedTuple):
    """What may be appended."""

    batches: list[tuple[BatchHeader, memoryview]]
    begins_within: bool
    """The log is empty and ends in the middle of the first batch: it has to begin anew where that begins.

    Records were deleted up to there, and the batch is still whole at the leader.
    """


def copies(batches: Buffer, partition: TopicPartition, *, log_start_offset: int, log_end_offset: int) -> Copies:
    """The whole batches of an answer, which a leader cuts off anywhere.

    Raises :class:`OffsetsOutOfOrder`, and :class:`CorruptBatch` for a wrong checksum.
    """
    view = memoryview(batches)
    found: list[tuple[BatchHeader, memoryview]] = []
    with suppress(TruncatedBatch):
        for position, header in headers(view):
            found.append((header, view[position : position + header.size_bytes]))
    if not found:
        return Copies(found, begins_within=False)
    first = found[0][0]
    begins_within = first.base_offset < log_end_offset < first.next_offset and log_start_offset == log_end_offset
    expected = first.base_offset if begins_within else log_end_offset
    for header, batch in found:
        if header.base_offset < expected:
            raise OffsetsOutOfOrder(f"{partition} ends at {expected}, the leader sent {header.base_offset}")
        if not crc_is_right(batch):
            raise CorruptBatch(f"Record is corrupt (stored crc = {header.crc}) in topic partition {partition}")
        expected = header.next_offset
    return Copies(found, begins_within)
