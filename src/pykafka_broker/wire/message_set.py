"""Message sets, the record formats v0 and v1 of before Kafka 0.11, and their conversion from and to batches.

Old clients produce them (Produce v0-2) and want to read them (Fetch v0-3), and old logs consist of them. None of these
paths is hot: records become objects here. Records batches themselves are ``wire/batch.py``'s.

Source: Kafka's ``LegacyRecord``, ``AbstractLegacyRecordBatch``, ``RecordsUtil``, ``MemoryRecordsBuilder``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from struct import Struct
from typing import NamedTuple

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.wire import batch as newest
from pykafka_broker.wire.batch import (
    CODEC_MASK,
    HEADER_BYTES,
    LOG_APPEND_TIME,
    MAGIC,
    NO_TIMESTAMP,
    Buffer,
    CorruptBatch,
    Record,
    TruncatedBatch,
    build,
    codec_of,
)
from pykafka_broker.wire.compression import (
    Codec,
    compress,
    decompress,
    lz4_with_right_checksum,
    lz4_with_wrong_checksum,
)
from pykafka_broker.wire.formats import headers, records

DECOMPRESSED_FREE_BYTES = 2 * 1024 * 1024
DECOMPRESSED_FACTOR = 32
"""A wrapper of n bytes may unpack to 2 MiB + 32 n: less than a batch, because records become objects here.

The smallest message has 26 bytes and becomes about 300 bytes of objects, so that a produced set of n bytes never
holds more than 24 MiB + 400 n.
"""

OVERHEAD_BYTES = 12
"""Offset and size, before what the size counts."""
SMALLEST_MESSAGE_BYTES = 14
UP_TO_MAGIC_BYTES = 17

_FRAME = Struct(">qi")
_CRC = Struct(">I")
_LENGTH = Struct(">i")
_TIMESTAMP = Struct(">q")


class Message(NamedTuple):
    """One message as it stands: a record, or the wrapper of a compressed set. Timestamps in ms, -1 in v0."""

    offset: int
    magic: int
    attributes: int
    timestamp: int
    key: bytes | None
    value: bytes | None

    @property
    def codec(self) -> Codec:
        return codec_of(self.attributes)

    @property
    def size_bytes(self) -> int:
        """With its offset and size in front."""
        content = len(self.key or b"") + len(self.value or b"")
        return OVERHEAD_BYTES + SMALLEST_MESSAGE_BYTES + (8 if self.magic else 0) + content


class MessageSet(NamedTuple):
    """A whole message set unpacked: what Produce v0-2 carries for one partition."""

    magic: int
    codec: Codec
    timestamp_type: int
    records: list[Record]
    size_bytes: int
    """How many bytes were complete; what followed was the torn-off beginning of another message."""


def shallow(data: Buffer, start: int = 0) -> Iterator[tuple[Message, int]]:
    """The messages of a set, wrappers unopened, each with where it ends; a torn last one is left out.

    Raises :class:`CorruptBatch` for sizes, magics and CRCs that are wrong.
    """
    view = memoryview(data)
    position, end = start, len(view)
    while end - position >= OVERHEAD_BYTES:
        offset, size = _FRAME.unpack_from(view, position)
        if size < SMALLEST_MESSAGE_BYTES:
            raise CorruptBatch(
                f"Record size {size} is less than the minimum record overhead ({SMALLEST_MESSAGE_BYTES})"
            )
        if end - position < UP_TO_MAGIC_BYTES:
            return
        magic = view[position + 16]
        if magic not in (0, 1):
            raise CorruptBatch(f"Invalid magic found in record: {magic - 256 if magic > 127 else magic}")
        stop = position + OVERHEAD_BYTES + size
        if stop > end:
            return
        yield _message(view, position, stop, offset, magic), stop
        position = stop


def _message(view: memoryview, position: int, stop: int, offset: int, magic: int) -> Message:
    stored: int = _CRC.unpack_from(view, position + 12)[0]
    if stored != zlib.crc32(view[position + 16 : stop]):
        raise CorruptBatch(f"Record is corrupt (stored crc = {stored})")
    attributes = view[position + 17]
    at = position + 18
    timestamp = NO_TIMESTAMP
    if magic:
        if stop - at < 16:
            raise CorruptBatch("Found invalid record structure")
        timestamp = _TIMESTAMP.unpack_from(view, at)[0]
        at += 8
    key, at = _sized(view, at, stop)
    value, at = _sized(view, at, stop)
    return Message(offset, magic, attributes, timestamp, key, value)


def _sized(view: memoryview, at: int, stop: int) -> tuple[bytes | None, int]:
    if stop - at < 4:
        raise CorruptBatch("Found invalid record structure")
    size: int = _LENGTH.unpack_from(view, at)[0]
    at += 4
    if size < 0:
        return None, at
    if size > stop - at:
        raise CorruptBatch("Found invalid record structure")
    return bytes(view[at : at + size]), at + size


def unwrap(wrapper: Message, limit_bytes: int, *, is_stored: bool = False) -> Iterator[Record]:
    """The records in a compressed wrapper, with absolute offsets; or the one record that ``wrapper`` is.

    Raises :class:`CorruptBatch`. ``is_stored``: an old broker may have written it, and some wrote a wrapper of another
    format than what they put inside (KAFKA-4298).
    """
    codec = wrapper.codec
    if codec is Codec.NONE:
        yield Record(wrapper.offset, wrapper.timestamp, wrapper.key, wrapper.value)
        return
    if codec is Codec.ZSTD:
        raise CorruptBatch(f"Invalid wrapper compression type zstd of magic {wrapper.magic}")
    if wrapper.value is None:
        raise CorruptBatch("Found invalid compressed record set with null value")
    data: Buffer = wrapper.value
    if codec is Codec.LZ4 and wrapper.magic == 0:
        data = lz4_with_right_checksum(data)
    inside = decompress(codec, data, limit_bytes)
    base = _base_offset(wrapper, inside) if wrapper.magic else 0
    append_time = wrapper.timestamp if wrapper.magic and wrapper.attributes & LOG_APPEND_TIME else None
    position = 0
    for message, position in shallow(inside):  # noqa: B007 - the last position is looked at below
        if message.magic != wrapper.magic and not is_stored:
            raise CorruptBatch(f"Compressed message magic {wrapper.magic} does not match wrapper magic {message.magic}")
        if message.attributes & CODEC_MASK:
            raise CorruptBatch("Inner record is compressed, which is not allowed")
        timestamp = message.timestamp if append_time is None else append_time
        yield Record(base + message.offset, timestamp, message.key, message.value)
    if not position or position != len(inside):
        raise CorruptBatch("Found invalid compressed record set")


def _base_offset(wrapper: Message, inside: Buffer) -> int:
    """What the offsets in a wrapper of format 1 count from, given that the last of them is the wrapper's own."""
    if not wrapper.offset:
        return 0  # a producer may number the messages and not the wrapper
    position, last = 0, 0
    while len(inside) - position >= OVERHEAD_BYTES:
        last, size = _FRAME.unpack_from(inside, position)
        if size < SMALLEST_MESSAGE_BYTES:
            break
        position += OVERHEAD_BYTES + size
    if wrapper.offset < last:
        raise CorruptBatch(
            f"Found invalid wrapper offset in compressed v1 message set, wrapper offset '{wrapper.offset}' is less "
            f"than the last inner message offset '{last}' and it is not zero."
        )
    return wrapper.offset - last


def stored_records(batch: Buffer) -> Iterator[Record]:
    """The records of one message or wrapper as it lies in a log; raises :class:`CorruptBatch`.

    It may unpack to what a batch of the same size may (``wire.batch.payload``).
    """
    for message, _ in shallow(batch):
        limit_bytes = newest.DECOMPRESSED_FREE_BYTES + newest.DECOMPRESSED_FACTOR * len(batch)
        return unwrap(message, limit_bytes, is_stored=True)
    raise TruncatedBatch(f"A message of {len(batch)} bytes is not all there")


def read_message_set(data: Buffer) -> MessageSet:
    """Everything in a produced message set; all messages have one magic, and a compressed one stands alone.

    Raises :class:`CorruptBatch` for bytes that are no message set, INVALID_RECORD for a mixture.
    """
    found: list[Record] = []
    first: Message | None = None
    position = 0
    for message, position in shallow(data):  # noqa: B007 - the last position is part of the result
        if first is None:
            first = message
        elif message.magic != first.magic:
            raise KafkaError(
                ErrorCode.INVALID_RECORD,
                f"Batch magic {message.magic} is not the same as the first batch's magic byte {first.magic}",
            )
        elif first.codec or message.codec:
            raise KafkaError(ErrorCode.INVALID_RECORD, "Compressed outer record has more than one batch")
        wrapped_bytes = len(message.value or b"")
        found.extend(unwrap(message, DECOMPRESSED_FREE_BYTES + DECOMPRESSED_FACTOR * wrapped_bytes))
    if first is None:
        raise KafkaError(ErrorCode.INVALID_RECORD, "Record batch has no batches at all")
    timestamp_type = (first.attributes & LOG_APPEND_TIME) >> 3 if first.magic else 0
    return MessageSet(first.magic, first.codec, timestamp_type, found, position)


def up_convert(data: Buffer, now: int) -> bytes:
    """A produced message set as one batch with the same codec; offsets count anew from 0.

    Records of v0 have no timestamp and get none: -1, as in Kafka; ``now`` (ms) is theirs only if the set says so.
    """
    old = read_message_set(data)
    renumbered = (record._replace(offset=index) for index, record in enumerate(old.records))
    if old.timestamp_type:
        renumbered = (record._replace(timestamp=now) for record in renumbered)
    return bytes(build(renumbered, codec=old.codec, timestamp_type=old.timestamp_type))


def down_convert(batches: Buffer, magic: int, first_offset: int = 0) -> bytes:
    """Batches, the last of which may be torn, as a message set of ``magic`` 0 or 1 with their codecs, for Fetch v0-3.

    Batches that are old enough stay as they are. Control batches and headers are lost; of an uncompressed batch the
    records before ``first_offset`` are left out. The first batch is whole, whatever it grows to; otherwise the set is
    as long as ``batches``: cut off, or filled up with the beginning of a message that is never all there
    (``LazyDownConversionRecords``). zstd, which old clients do not know, ends the set, and raises
    UNSUPPORTED_COMPRESSION_TYPE if nothing stands before it.
    """
    out = bytearray()
    wanted_bytes = len(batches)
    try:
        for converted in _down_converted(batches, magic, first_offset):
            if not out:
                wanted_bytes = max(wanted_bytes, len(converted))
            out += converted
            if len(out) >= wanted_bytes:
                break
    except KafkaError as error:
        if not out or error.code is not ErrorCode.UNSUPPORTED_COMPRESSION_TYPE:
            raise
    if not out:
        return b""
    missing_bytes = wanted_bytes - len(out)
    if missing_bytes > 0:
        out += _FRAME.pack(-1, max(missing_bytes + 1, HEADER_BYTES))
        out += bytes(max(0, missing_bytes - OVERHEAD_BYTES))
    return bytes(memoryview(out)[:wanted_bytes])


def _down_converted(batches: Buffer, magic: int, first_offset: int) -> Iterator[Buffer]:
    """What each batch becomes that does become something."""
    view = memoryview(batches)
    with suppress(TruncatedBatch):
        for position, header in headers(view):
            if header.is_control:
                continue
            codec = header.codec
            if codec is Codec.ZSTD:
                raise KafkaError(
                    ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
                    "Down-conversion of zstandard-compressed batches is not supported",
                )
            batch = view[position : position + header.size_bytes]
            if header.magic <= magic:
                yield batch
                continue
            kept = [record for record in records(batch) if codec or record.offset >= first_offset]
            if kept:
                yield build_message_set(kept, magic, codec=codec, timestamp_type=header.timestamp_type)


def build_message_set(
    records: Sequence[Record], magic: int, *, codec: Codec = Codec.NONE, timestamp_type: int = 0
) -> bytes:
    """``records`` as plain messages, or as one wrapper if compressed; with ``timestamp_type`` 1 all share a time."""
    attributes = timestamp_type << 3 if magic else 0
    if codec is Codec.NONE:
        return b"".join(_plain(record.offset, magic, attributes, record) for record in records)
    base = records[0].offset if magic else 0
    inside = b"".join(_plain(record.offset - base, magic, attributes, record) for record in records)
    packed = compress(codec, inside)
    if codec is Codec.LZ4 and magic == 0:
        packed = lz4_with_wrong_checksum(packed)
    latest = max(record.timestamp for record in records)
    wrapper = Record(records[-1].offset, latest, None, bytes(packed))
    return _plain(wrapper.offset, magic, attributes | codec, wrapper)


def _plain(offset: int, magic: int, attributes: int, record: Record) -> bytes:
    body = bytearray((magic, attributes))
    if magic:
        body += _TIMESTAMP.pack(record.timestamp)
    for part in (record.key, record.value):
        if part is None:
            body += _LENGTH.pack(-1)
        else:
            body += _LENGTH.pack(len(part))
            body += part
    return _FRAME.pack(offset, len(body) + 4) + _CRC.pack(zlib.crc32(body)) + body


def is_batch(data: Buffer) -> bool:
    """Whether ``data`` begins with a record batch of format 2 (the magic stands at the same place in all formats)."""
    return len(data) >= UP_TO_MAGIC_BYTES and memoryview(data)[16] == MAGIC
