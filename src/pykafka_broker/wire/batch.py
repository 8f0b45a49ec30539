"""Record batch v2, the one format written by hand: headers as plain tuples, in-place changes, records for the few
who need them.

The produce and fetch path reads headers and patches bytes; it never makes an object per record. ``records`` and
``build`` are for coordinators, converters and tests. What a batch means to a partition (sequences, offsets, limits)
is ``log``'s business, message formats v0 and v1 are ``wire/message_set.py``'s. Who may meet batches of any format reads
them with ``wire/formats.py``.

Source: Kafka's ``DefaultRecordBatch``, ``DefaultRecord``, ``ControlRecordType``, ``EndTransactionMarker``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from struct import error as _STRUCT_ERROR
from typing import NamedTuple

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.wire.checksum import crc32c
from pykafka_broker.wire.compression import Codec, compress, decompress

Buffer = bytes | bytearray | memoryview

MAGIC = 2
HEADER_BYTES = 61
"""A batch without records; also where the records begin."""
LENGTH_AND_OFFSET_BYTES = 12
"""What stands before the part that ``length`` counts."""
MAGIC_POSITION = 16
"""Of the format's number, in all formats."""
CRC_POSITION = 17
CRC_FROM = 21
"""The CRC covers everything from the attributes on."""

CODEC_MASK = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
DELETE_HORIZON = 0x40

NO_TIMESTAMP = -1
NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_SEQUENCE = -1

DECOMPRESSED_FREE_BYTES = 16 * 1024 * 1024
DECOMPRESSED_FACTOR = 128
"""A batch of n bytes may unpack to 16 MiB + 128 n; what gives more is taken for a decompression bomb."""

HEADER = Struct(">qiibIhiqqqhii")
_CRC = Struct(">I")
_OFFSET = Struct(">q")
_EPOCH = Struct(">i")
_ATTRIBUTES = Struct(">h")
_MARKER_KEY = Struct(">hh")
_MARKER_VALUE = Struct(">hi")


class CorruptBatch(KafkaError):
    """Bytes that cannot be a record batch; the partition they were meant for answers CORRUPT_MESSAGE."""

    def __init__(self, detail: str) -> None:
        super().__init__(ErrorCode.CORRUPT_MESSAGE, detail)


class TruncatedBatch(CorruptBatch):
    """The bytes end inside a batch: normal at the end of a read or after a torn write."""


class BatchHeader(NamedTuple):
    """The 61 bytes before the records, as they stand; times in ms, ``length`` without its own 12 bytes in front."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size_bytes(self) -> int:
        return LENGTH_AND_OFFSET_BYTES + self.length

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def last_sequence(self) -> int:
        """The sequence of the last record; sequences wrap from 2^31-1 to 0."""
        if self.base_sequence < 0:
            return self.base_sequence
        return (self.base_sequence + self.last_offset_delta) & 0x7FFFFFFF

    @property
    def codec(self) -> Codec:
        """Raises :class:`CorruptBatch` for an id that no codec has."""
        return codec_of(self.attributes)

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & CONTROL)

    @property
    def timestamp_type(self) -> int:
        """0 the producer's time (CreateTime), 1 the broker's (LogAppendTime)."""
        return (self.attributes & LOG_APPEND_TIME) >> 3

    @property
    def has_producer(self) -> bool:
        return self.producer_id >= 0

    @property
    def delete_horizon_ms(self) -> int | None:
        """When compaction may drop the tombstones; it stands where the base timestamp was (KIP-534)."""
        return self.base_timestamp if self.attributes & DELETE_HORIZON else None


class Record(NamedTuple):
    """One record with its absolute offset and timestamp (ms); ``offset=-1`` means "the next one" when building."""

    offset: int = -1
    timestamp: int = NO_TIMESTAMP
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


def codec_of(attributes: int) -> Codec:
    """The codec in a batch's or message's attributes; raises :class:`CorruptBatch` for ids 5 to 7."""
    try:
        return _CODECS[attributes & CODEC_MASK]
    except IndexError:
        raise CorruptBatch(f"Unknown compression type id: {attributes & CODEC_MASK}") from None


_CODECS = tuple(Codec)


def read_header(buffer: Buffer, position: int = 0) -> BatchHeader:
    """The header at ``position``; raises :class:`TruncatedBatch` when fewer than 61 bytes are left."""
    try:
        return _as_header(BatchHeader, HEADER.unpack_from(buffer, position))
    except _STRUCT_ERROR:
        raise TruncatedBatch(f"A record batch needs {HEADER_BYTES} bytes, {len(buffer) - position} are left") from None


_as_header = tuple.__new__


def crc_is_right(batch: Buffer) -> bool:
    """Whether ``batch`` (exactly one) is what its CRC32C says; too short or cut off is wrong, too."""
    if len(batch) < HEADER_BYTES:
        return False
    stored: int = _CRC.unpack_from(batch, CRC_POSITION)[0]
    return stored == crc32c(memoryview(batch)[CRC_FROM:])


def patch(batch: bytearray | memoryview, base_offset: int, leader_epoch: int) -> None:
    """Give a batch its place in the log, in place; both fields lie outside the CRC."""
    _OFFSET.pack_into(batch, 0, base_offset)
    _EPOCH.pack_into(batch, 12, leader_epoch)


def stamp_append_time(batch: bytearray | memoryview, now: int) -> None:
    """Make ``now`` (ms) the time of all records: LogAppendTime bit, max timestamp, new CRC; deltas stay."""
    attributes: int = _ATTRIBUTES.unpack_from(batch, 21)[0]
    _ATTRIBUTES.pack_into(batch, 21, attributes | LOG_APPEND_TIME)
    _OFFSET.pack_into(batch, 35, now)
    _CRC.pack_into(batch, CRC_POSITION, crc32c(memoryview(batch)[CRC_FROM:]))


def stamp_create_time(batch: bytearray | memoryview, max_timestamp: int) -> None:
    """Let the records' own times count (CreateTime), the greatest of which is ``max_timestamp`` (ms); a new CRC."""
    attributes: int = _ATTRIBUTES.unpack_from(batch, 21)[0]
    _ATTRIBUTES.pack_into(batch, 21, attributes & ~LOG_APPEND_TIME)
    _OFFSET.pack_into(batch, 35, max_timestamp)
    _CRC.pack_into(batch, CRC_POSITION, crc32c(memoryview(batch)[CRC_FROM:]))


def payload(batch: Buffer, header: BatchHeader, limit_bytes: int | None = None) -> Buffer:
    """The records' bytes, decompressed; :class:`BadCompression` if that fails or gives more than ``limit_bytes``.

    Without a limit of the caller's own it is ``DECOMPRESSED_FREE_BYTES`` and ``DECOMPRESSED_FACTOR`` times the batch.
    """
    body = memoryview(batch)[HEADER_BYTES : header.size_bytes]
    codec = header.codec
    if codec is Codec.NONE:
        return body
    if limit_bytes is None:
        limit_bytes = DECOMPRESSED_FREE_BYTES + DECOMPRESSED_FACTOR * header.size_bytes
    return decompress(codec, body, limit_bytes)


def records(batch: Buffer, limit_bytes: int | None = None) -> Iterator[Record]:
    """The records of one batch, decompressed up to ``limit_bytes``; raises CORRUPT_MESSAGE on nonsense."""
    header = read_header(batch)
    if header.size_bytes > len(batch):
        raise TruncatedBatch(f"A record batch of {header.size_bytes} bytes has only {len(batch)} left")
    yield from records_in(payload(batch, header, limit_bytes), header)


def records_in(data: Buffer, header: BatchHeader) -> Iterator[Record]:
    """The records in a batch's decompressed ``data``; exactly as many as the header counts."""
    base_offset = header.base_offset
    append_time = header.max_timestamp if header.attributes & LOG_APPEND_TIME else None
    base_timestamp = header.base_timestamp
    position, end = 0, len(data)
    try:
        for _ in range(header.record_count):
            size, position = read_varint(data, position)
            stop = position + size
            if size < 0 or stop > end:
                raise CorruptBatch(f"Invalid record size: expected {size} bytes in record payload, but the buffer ends")
            timestamp_delta, position = read_varint(data, position + 1)
            offset_delta, position = read_varint(data, position)
            key, position = _sized(data, position, stop)
            value, position = _sized(data, position, stop)
            count, position = read_varint(data, position)
            if count < 0 or count > stop - position:
                raise CorruptBatch(f"Found invalid number of record headers {count}")
            found: list[tuple[str, bytes | None]] = []
            for _ in range(count):
                name, position = _sized(data, position, stop)
                if name is None:
                    raise CorruptBatch("Invalid negative header key size -1")
                value_of_header, position = _sized(data, position, stop)
                found.append((name.decode("utf-8", "replace"), value_of_header))
            if position != stop:
                raise CorruptBatch(
                    f"Invalid record size: expected to read {size} bytes in record payload, "
                    f"but instead read {size - (stop - position)}"
                )
            timestamp = base_timestamp + timestamp_delta if append_time is None else append_time
            yield Record(base_offset + offset_delta, timestamp, key, value, found)
    except (IndexError, EndlessVarint):
        raise CorruptBatch("Found invalid record structure") from None
    if position != end:
        raise CorruptBatch("Incorrect record count: bytes are left after the last record")


def _sized(data: Buffer, position: int, stop: int) -> tuple[bytes | None, int]:
    size, position = read_varint(data, position)
    if size < 0:
        return None, position
    if position + size > stop:
        raise CorruptBatch("Found invalid record structure")
    return bytes(data[position : position + size]), position + size


class EndlessVarint(ValueError):
    """Ten bytes that all say that another one follows."""


def read_varint(data: Buffer, position: int) -> tuple[int, int]:
    """A zig-zag varint (or varlong) and where it ends; ``EndlessVarint``, or ``IndexError`` where ``data`` ends."""
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
            raise EndlessVarint


def write_varint(out: bytearray, value: int) -> None:
    """Append a zig-zag varint; the same form serves varlongs."""
    value = value << 1 if value >= 0 else ~(value << 1)
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def write_record(
    out: bytearray,
    timestamp_delta: int,
    offset_delta: int,
    key: Buffer | None,
    value: Buffer | None,
    record_headers: Sequence[tuple[str, bytes | None]] = (),
) -> None:
    """Append one record with its length in front."""
    body = bytearray(1)
    write_varint(body, timestamp_delta)
    write_varint(body, offset_delta)
    _write_sized(body, key)
    _write_sized(body, value)
    write_varint(body, len(record_headers))
    for name, content in record_headers:
        _write_sized(body, name.encode())
        _write_sized(body, content)
    write_varint(out, len(body))
    out += body


def _write_sized(out: bytearray, data: Buffer | None) -> None:
    if data is None:
        out.append(1)
    else:
        write_varint(out, len(data))
        out += data


def build(
    records: Iterable[Record],
    *,
    base_offset: int = 0,
    codec: Codec = Codec.NONE,
    level: int | None = None,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
    base_sequence: int = NO_SEQUENCE,
    leader_epoch: int = -1,
    transactional: bool = False,
    control: bool = False,
    timestamp_type: int = 0,
) -> bytearray:
    """One batch of ``records``. A record's own offset counts from ``base_offset``; without one it is the next.

    With ``timestamp_type`` 1 the greatest timestamp becomes everybody's (LogAppendTime).
    """
    data = bytearray()
    base_timestamp = max_timestamp = NO_TIMESTAMP
    delta, count = -1, 0
    for record in records:
        if count == 0:
            base_timestamp = record.timestamp
        max_timestamp = max(max_timestamp, record.timestamp)
        delta = delta + 1 if record.offset < 0 else record.offset - base_offset
        if delta < 0:
            raise ValueError(f"record offset {record.offset} lies before the batch's {base_offset}")
        write_record(data, record.timestamp - base_timestamp, delta, record.key, record.value, record.headers)
        count += 1
    attributes = int(codec) | timestamp_type << 3
    if transactional:
        attributes |= TRANSACTIONAL
    if control:
        attributes |= CONTROL
    return assemble(
        data if codec is Codec.NONE else compress(codec, data, level),
        base_offset=base_offset,
        leader_epoch=leader_epoch,
        attributes=attributes,
        last_offset_delta=max(delta, 0),
        base_timestamp=base_timestamp,
        max_timestamp=max_timestamp,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        record_count=count,
    )


def assemble(
    data: Buffer,
    *,
    base_offset: int,
    leader_epoch: int,
    attributes: int,
    last_offset_delta: int,
    base_timestamp: int,
    max_timestamp: int,
    producer_id: int,
    producer_epoch: int,
    base_sequence: int,
    record_count: int,
) -> bytearray:
    """A batch around records that are already bytes, compressed as ``attributes`` say."""
    batch = bytearray(HEADER_BYTES)
    HEADER.pack_into(
        batch,
        0,
        base_offset,
        HEADER_BYTES - LENGTH_AND_OFFSET_BYTES + len(data),
        leader_epoch,
        MAGIC,
        0,
        attributes,
        last_offset_delta,
        base_timestamp,
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        record_count,
    )
    batch += data
    _CRC.pack_into(batch, CRC_POSITION, crc32c(memoryview(batch)[CRC_FROM:]))
    return batch


class EndMarker(NamedTuple):
    """The one record of a control batch that ends a transaction on a partition."""

    committed: bool
    coordinator_epoch: int


def build_end_marker(
    marker: EndMarker,
    *,
    producer_id: int,
    producer_epoch: int,
    timestamp: int,
    base_offset: int = 0,
    leader_epoch: int = -1,
) -> bytearray:
    """The control batch a transaction coordinator has written to every partition of a transaction (KIP-98)."""
    record = Record(
        timestamp=timestamp,
        key=_MARKER_KEY.pack(0, 1 if marker.committed else 0),
        value=_MARKER_VALUE.pack(0, marker.coordinator_epoch),
    )
    return build(
        [record],
        base_offset=base_offset,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        leader_epoch=leader_epoch,
        transactional=True,
        control=True,
    )


def read_end_marker(batch: Buffer) -> EndMarker | None:
    """The marker in a control batch, None if compaction emptied it or it is of another kind (KRaft's)."""
    record = next(records(batch), None)
    if record is None:
        return None
    if record.key is None or len(record.key) < _MARKER_KEY.size:
        raise CorruptBatch("Invalid control record key")
    version, kind = _MARKER_KEY.unpack_from(record.key)
    if version < 0:
        raise CorruptBatch(f"Invalid version found for control record: {version}. May indicate data corruption")
    if kind not in (0, 1):
        return None
    if record.value is None or len(record.value) < _MARKER_VALUE.size:
        raise CorruptBatch("Invalid end transaction marker")
    return EndMarker(kind == 1, _MARKER_VALUE.unpack_from(record.value)[1])
