"""Batches of any format, as they lie in a log or come from a leader.

What has been written since Kafka 0.11 are record batches (format 2, ``wire/batch.py``). A log that is older, or a
leader that has one, still holds message sets (formats 0 and 1, ``wire/message_set.py``): there every message counts as
a batch, a compressed set is the one message that wraps it, and the offset of such a wrapper is that of the last
message inside. Batches of format 2 take the short way through everything here.

Source: Kafka's ``FileLogInputStream``, ``AbstractLegacyRecordBatch``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct
from struct import error as StructError

from pykafka_broker.wire import batch as newest
from pykafka_broker.wire.batch import (
    CODEC_MASK,
    CRC_FROM,
    CRC_POSITION,
    HEADER,
    HEADER_BYTES,
    LENGTH_AND_OFFSET_BYTES,
    LOG_APPEND_TIME,
    MAGIC,
    MAGIC_POSITION,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    BatchHeader,
    Buffer,
    CorruptBatch,
    Record,
    TruncatedBatch,
    read_header,
)
from pykafka_broker.wire.checksum import crc32c

_SMALLEST_LENGTH = HEADER_BYTES - LENGTH_AND_OFFSET_BYTES
_SMALLEST_BYTES = (26, 34)
"""A message without key and value in format 0 and in format 1."""
_OLD_HEADER = Struct(">qiIBB")
_TIMESTAMP = Struct(">q")
_CRC = Struct(">I")
_OLD_CRC_POSITION = 12
_NO_EPOCH = -1
_UNKNOWN = -1


def header_at(buffer: Buffer, position: int = 0) -> BatchHeader:
    """The header of the batch at ``position``; nothing is known yet of whether the batch is all there.

    Of a message of format 0 or 1 it tells what a message has: its base offset is its last one, which of a wrapper only
    the messages inside would tell, and the count of records of a wrapper is -1. Raises :class:`TruncatedBatch` when
    the buffer ends too early to tell, :class:`CorruptBatch` where there cannot be a batch.
    """
    try:
        fields = HEADER.unpack_from(buffer, position)
    except StructError:
        if len(buffer) - position > MAGIC_POSITION and buffer[position + MAGIC_POSITION] < MAGIC:
            return _old_header(buffer, position)
        return read_header(buffer, position)  # which says what is missing
    # By place, since every batch comes by here: the format, the length, the base offset, the last offset delta.
    if fields[3] != MAGIC:
        return _old_header(buffer, position)
    if fields[1] < _SMALLEST_LENGTH or fields[0] < 0 or fields[6] < 0:
        raise CorruptBatch(f"Record batch is corrupt: {BatchHeader(*fields)}")
    return _as_header(BatchHeader, fields)


_as_header = tuple.__new__


def _old_header(buffer: Buffer, position: int) -> BatchHeader:
    offset, length, crc, magic, attributes = _OLD_HEADER.unpack_from(_enough(buffer, position, 0), position)
    if magic >= MAGIC:
        raise CorruptBatch(f"Invalid magic found in record: {magic - 256 if magic > 127 else magic}")
    if length < _SMALLEST_BYTES[magic] - LENGTH_AND_OFFSET_BYTES or offset < 0:
        raise CorruptBatch(f"Message of format {magic} is corrupt: {length} bytes long, offset {offset}")
    timestamp = NO_TIMESTAMP
    if magic:
        timestamp = _TIMESTAMP.unpack_from(_enough(buffer, position, magic), position + _OLD_HEADER.size)[0]
    return BatchHeader(
        base_offset=offset,
        length=length,
        leader_epoch=_NO_EPOCH,
        magic=magic,
        crc=crc,
        attributes=attributes & (CODEC_MASK | LOG_APPEND_TIME if magic else CODEC_MASK),
        last_offset_delta=0,
        base_timestamp=timestamp,
        max_timestamp=timestamp,
        producer_id=NO_PRODUCER_ID,
        producer_epoch=NO_PRODUCER_EPOCH,
        base_sequence=NO_SEQUENCE,
        record_count=_UNKNOWN if attributes & CODEC_MASK else 1,
    )


def _enough(buffer: Buffer, position: int, magic: int) -> Buffer:
    left = len(buffer) - position
    if left < _SMALLEST_BYTES[magic]:
        raise TruncatedBatch(f"A message needs {_SMALLEST_BYTES[magic]} bytes, {left} are left")
    return buffer


def headers(buffer: Buffer) -> Iterator[tuple[int, BatchHeader]]:
    """Every batch in ``buffer`` with its position; raises :class:`CorruptBatch` where the bytes cannot be a batch.

    A last batch that is not complete raises :class:`TruncatedBatch` after the complete ones were given.
    """
    position, end = 0, len(buffer)
    while position < end:
        header = header_at(buffer, position)
        size = header.length + LENGTH_AND_OFFSET_BYTES
        if position + size > end:
            raise TruncatedBatch(f"A record batch of {size} bytes has only {end - position} left")
        yield position, header
        position += size


def crc_is_right(batch: Buffer) -> bool:
    """Whether ``batch`` (exactly one) is what its CRC says; of a wrapper the one around it, which covers everything."""
    if len(batch) >= HEADER_BYTES and batch[MAGIC_POSITION] >= MAGIC:
        # What ``newest.crc_is_right`` does, but for a call that replicas would pay for every batch.
        stored: int = _CRC.unpack_from(batch, CRC_POSITION)[0]
        return stored == crc32c(memoryview(batch)[CRC_FROM:])
    if len(batch) < _SMALLEST_BYTES[0] or batch[MAGIC_POSITION] >= MAGIC:
        return False
    stored = _CRC.unpack_from(batch, _OLD_CRC_POSITION)[0]
    return stored == zlib.crc32(memoryview(batch)[MAGIC_POSITION:])


def records(batch: Buffer) -> Iterator[Record]:
    """The records of one batch with their offsets; raises :class:`CorruptBatch` on nonsense."""
    if len(batch) > MAGIC_POSITION and batch[MAGIC_POSITION] < MAGIC:
        from pykafka_broker.wire.message_set import stored_records  # most brokers never meet one

        return stored_records(batch)
    return newest.records(batch)
