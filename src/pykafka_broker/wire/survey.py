"""Looking over a batch's records without making objects of them: are they all there, and what about keys and times.

This is the hot end of appending; what it costs for each record decides what small records cost the broker. What it
leaves unlooked-at, and why, is in ``docs/decisions/0011-what-is-checked-of-a-record.md``.

Source: the record iterators of Kafka's ``DefaultRecordBatch``, and ``DefaultRecord.readFrom``.
"""

from __future__ import annotations

from typing import NamedTuple

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.wire.batch import Buffer


class Survey(NamedTuple):
    """What a look at every record found; timestamps in ms from the batch's base timestamp."""

    smallest_timestamp_delta: int
    greatest_timestamp_delta: int
    keyless: tuple[int, ...]
    """Places of the records without key."""
    in_order: bool
    """Whether the offset deltas are 0, 1, 2, …"""


def premature() -> KafkaError:
    return KafkaError(ErrorCode.INVALID_RECORD, "Incorrect declared batch size, premature EOF reached")


def remaining() -> KafkaError:
    return KafkaError(ErrorCode.INVALID_RECORD, "Incorrect declared batch size, records still remaining in file")


def _malformed() -> KafkaError:
    return KafkaError(ErrorCode.INVALID_RECORD, "Found invalid record structure")


def follow(data: Buffer, count: int) -> None:
    """Go from record to record by their lengths: exactly ``count`` of them fill ``data``.

    Raises INVALID_RECORD otherwise.
    """
    position, end = 0, len(data)
    try:
        for _ in range(count):
            byte = data[position]
            if byte < 0x80:
                position += 1 + (byte >> 1)
            elif (second := data[position + 1]) < 0x80:
                position += (second << 6) - 62 + (byte >> 1)
            else:
                size, position = _long_size(data, position)
                position += size
    except IndexError:
        raise premature() from None
    if position != end:
        raise premature() if position > end else remaining()


def _long_size(data: Buffer, position: int) -> tuple[int, int]:
    """A record's length of three to five varint bytes, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value >> 1, position
        shift += 7
        if shift > 28:
            raise _malformed()


def survey(data: Buffer, count: int) -> Survey:
    """Look at every record's time, offset and key; exactly ``count`` of them fill ``data``.

    Raises INVALID_RECORD for records that are damaged.
    """
    position, end = 0, len(data)
    smallest, greatest = 1 << 63, -1 << 63
    keyless: list[int] = []
    in_order = True
    try:
        for index in range(count):
            size, position = _varint(data, position)
            stop = position + size
            if stop > end:
                raise premature()
            timestamp_delta, position = _varint(data, position + 1)
            if timestamp_delta < smallest:
                smallest = timestamp_delta
            if timestamp_delta > greatest:
                greatest = timestamp_delta
            offset_delta, position = _varint(data, position)
            if offset_delta != index:
                in_order = False
            size, position = _varint(data, position)
            if size < 0:
                keyless.append(index)
            else:
                position += size
            size, position = _varint(data, position)
            if size > 0:
                position += size
            fields, position = _varint(data, position)
            if fields:
                if fields < 0 or fields > stop - position:
                    raise _malformed()
                position = _skip_headers(data, position, fields)
            if position != stop:
                raise _malformed()
    except IndexError:
        raise premature() from None
    if position != end:
        raise remaining()
    return Survey(smallest, greatest, tuple(keyless), in_order)


def _skip_headers(data: Buffer, position: int, count: int) -> int:
    for _ in range(count):
        size, position = _varint(data, position)
        if size < 0:
            raise KafkaError(ErrorCode.INVALID_RECORD, f"Invalid negative header key size {size}")
        size, position = _varint(data, position + size)
        if size > 0:
            position += size
    return position


def _varint(data: Buffer, position: int) -> tuple[int, int]:
    byte = data[position]
    position += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position
    value = byte & 0x7F
    shift = 7
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7
        if shift > 63:
            raise _malformed()
