"""Looking over a batch's records without making objects of them: are they all there, and what about keys and times.

This is the hot end of appending; what it costs for each record decides what small records cost the broker. What it
leaves unlooked-at, and why, is in ``docs/decisions/0004-what-is-checked-of-a-record.md``.

Source: the record iterators of Kafka's ``DefaultRecordBatch``, and ``DefaultRecord.readFrom``.
"""

from __future__ import annotations

from typing import NamedTuple

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.wire.batch import Buffer, EndlessVarint, read_varint


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


def follow(data: Buffer, count: int) -> int:
    """Go from record to record by their lengths; there must be ``count`` and they must fill ``data``.

    Gives the greatest timestamp delta in ms. Raises INVALID_RECORD where the lengths do not add up.
    """
    position, end, left = 0, len(data), count
    if count == 1 and end > _SHORTEST_BYTES:
        # Alone, as many come, with an even number of one byte for a delta: that is, not negative.
        byte, second = data[0], data[1]
        if byte < 0x80:
            delta, stop = data[2], 1 + (byte >> 1)
        else:
            delta, stop = data[3], (second << 6) - 62 + (byte >> 1) if second < 0x80 else 0
        if stop == end and not (byte | delta) & 1 and delta < 0x80:
            return delta >> 1
    # deltas are compared in zig-zag form: the even ones are those that are not negative, in the same order
    greatest = -1
    signs = 0
    try:
        if count >= _LEAST_RUN:
            position, left, greatest = _follow_runs(memoryview(data), count)
        bar = greatest  # as far as the first byte of a delta tells
        for _ in range(left):
            byte = data[position]
            if byte < 0x80:
                at = position + 2
                position += 1 + (byte >> 1)
            elif (second := data[position + 1]) < 0x80:
                at = position + 3
                position += (second << 6) - 62 + (byte >> 1)
            else:
                size, at = _long_size(data, position)
                position = at + size
                at += 1
            signs |= byte
            delta = data[at]
            if delta > bar:
                if delta > 0x7F:
                    second = data[at + 1]
                    delta = delta & 0x7F | second << 7 if second < 0x80 else _raw_varint(data, at)
                if delta > greatest and not delta & 1:
                    greatest = delta
                    bar = min(delta, 0x7F)
    except IndexError:
        raise premature() from None
    except EndlessVarint:
        raise _malformed() from None
    if position != end:
        raise premature() if position > end else remaining()
    if signs & 1:
        raise _malformed()
    if greatest < 0 and count:
        return survey(data, count).greatest_timestamp_delta
    return greatest >> 1


_SHORTEST_BYTES = 4
_LEAST_RUN = 16
"""Fewer records of one length in a row are not worth the strided look."""
_ODD = bytes(range(1, 256, 2))


def _follow_runs(view: memoryview, count: int) -> tuple[int, int, int]:
    """Follow records as long as many in a row have one length, all at once.

    If the length that stands at the first one's place stands at every n-th byte after it, the chain is proven link
    by link, and slices with a stride compare at C's speed. Stops where that does not pay: there, how many records are
    left, and the greatest timestamp delta so far in zig-zag form.
    """
    position, end, greatest = 0, len(view), -1
    while count >= _LEAST_RUN:
        byte = view[position]
        prefix = 1
        size = 1 + (byte >> 1)
        if byte > 0x7F:
            second = view[position + 1]
            prefix = 2
            size = (second << 6) - 62 + (byte >> 1)
            if second > 0x7F:
                break
        fitting = min(count, (end - position) // size)
        if byte & 1 or size < prefix + 2 or fitting < _LEAST_RUN:
            break
        run = _same(bytes(view[position : position + fitting * size : size]))
        if prefix == 2 and run >= _LEAST_RUN:
            run = _same(bytes(view[position + 1 : position + run * size : size]))
        if run < _LEAST_RUN:
            break
        start, stop = position + prefix + 1, position + run * size
        deltas = bytes(view[start:stop:size])
        if deltas.isascii():
            newest = max(deltas.translate(None, _ODD), default=-1)
        else:
            high = bytes(view[start + 1 : stop : size])
            if min(deltas) < 0x80 or not high.isascii():
                break
            second, first = max(zip(high, deltas, strict=True))
            if first & 1:
                break
            newest = first & 0x7F | second << 7
        if newest > greatest:
            greatest = newest
        position += run * size
        count -= run
    return position, count, greatest


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


def _same(column: bytes) -> int:
    """How many bytes at the beginning are the same as the first."""
    return len(column) - len(column.lstrip(column[:1]))


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
            # one byte is enough for most of these numbers, and a call for each would cost twice as much
            byte = data[position]
            if byte < 0x80:
                stop = position + 1 + (byte >> 1)
                position += 2
                if byte & 1:
                    raise _malformed()
            else:
                size, position = read_varint(data, position)
                if size < 0:
                    raise _malformed()
                stop = position + size
                position += 1
            if stop > end:
                raise premature()
            byte = data[position]
            if byte < 0x80:
                position += 1
                delta = (byte >> 1) ^ -(byte & 1)
            else:
                delta, position = read_varint(data, position)
            if delta < smallest:
                smallest = delta
            if delta > greatest:
                greatest = delta
            byte = data[position]
            if byte < 0x80:
                position += 1
                delta = (byte >> 1) ^ -(byte & 1)
            else:
                delta, position = read_varint(data, position)
            if delta != index:
                in_order = False
            byte = data[position]
            if byte > 0x7F:
                size, position = read_varint(data, position)
                if size < 0:
                    keyless.append(index)
                else:
                    position += size
            elif byte & 1:
                position += 1
                keyless.append(index)
            else:
                position += 1 + (byte >> 1)
            byte = data[position]
            if byte > 0x7F:
                size, position = read_varint(data, position)
                if size > 0:
                    position += size
            else:
                position += 1 if byte & 1 else 1 + (byte >> 1)
            if data[position]:
                position = _skip_headers(data, position, stop)
            else:
                position += 1
            if position != stop:
                raise _malformed()
    except IndexError:
        raise premature() from None
    except EndlessVarint:
        raise _malformed() from None
    if position != end:
        raise remaining()
    return Survey(smallest, greatest, tuple(keyless), in_order)


def _skip_headers(data: Buffer, position: int, stop: int) -> int:
    """Where a record's headers end, which begin with their number and must not pass ``stop``."""
    count, position = read_varint(data, position)
    if count < 0 or count > stop - position:
        raise _malformed()
    for _ in range(count):
        size, position = read_varint(data, position)
        if size < 0:
            raise KafkaError(ErrorCode.INVALID_RECORD, f"Invalid negative header key size {size}")
        size, position = read_varint(data, position + size)
        if size > 0:
            position += size
    return position


def _raw_varint(data: Buffer, position: int) -> int:
    """A varint in its zig-zag form."""
    value, _ = read_varint(data, position)
    return value << 1 if value >= 0 else ~(value << 1)
