"""Whether what a producer sent may be appended to a partition, and what of it has to be rewritten first.

Checks concern bytes and settings only: sequences and epochs are ``log/producers.py``'s, offsets and leader epochs
are given by ``log/partition.py``. Batches that need no change are handed on as they came.

Source: Kafka's ``LogValidator``, ``UnifiedLog.analyzeAndValidateRecords``, ``ProduceRequest.validateRecords``.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.wire.batch import (
    CODEC_MASK,
    CONTROL,
    HEADER_BYTES,
    LOG_APPEND_TIME,
    MAGIC,
    NO_TIMESTAMP,
    TRANSACTIONAL,
    BatchHeader,
    Buffer,
    CorruptBatch,
    EndMarker,
    Record,
    assemble,
    build,
    crc_is_right,
    payload,
    read_end_marker,
    read_header,
    records_in,
    stamp_append_time,
    stamp_create_time,
)
from pykafka_broker.wire.compression import BadCompression, Codec, compress
from pykafka_broker.wire.message_set import (
    OVERHEAD_BYTES,
    SMALLEST_MESSAGE_BYTES,
    UP_TO_MAGIC_BYTES,
    is_batch,
    read_message_set,
    shallow,
)
from pykafka_broker.wire.survey import Survey, follow, survey

if TYPE_CHECKING:
    from pykafka_broker.config.topic import TopicSettings


_SIZE = Struct(">i")


class Origin(enum.Enum):
    """Who appends (Kafka's ``AppendOrigin``): a client is distrusted, a coordinator is not, a leader not at all."""

    CLIENT = enum.auto()
    COORDINATOR = enum.auto()
    REPLICATION = enum.auto()


class RecordError(NamedTuple):
    """One record that was refused: its place in the batch and why."""

    batch_index: int
    message: str


class InvalidRecords(KafkaError):
    """Single records are to blame, and the whole batch is refused; only then does Produce answer with a message."""

    def __init__(self, code: ErrorCode, detail: str, record_errors: Sequence[RecordError]) -> None:
        super().__init__(code, detail)
        self.record_errors = tuple(record_errors)


@dataclass(slots=True)
class Validated:
    """A batch that may be appended once it has its offset and leader epoch (``wire.batch.patch``).

    ``header`` is that of ``batch`` as it is now. ``log_append_time_ms`` is -1 where the producer's time counts.
    ``marker`` is what a control batch (of the transaction coordinator) says.
    """

    batch: bytearray | memoryview
    header: BatchHeader
    log_append_time_ms: int = NO_TIMESTAMP
    marker: EndMarker | None = None


LATEST_PRODUCE = 11


def validate(
    batch: Buffer,
    settings: TopicSettings,
    now: int,
    origin: Origin = Origin.CLIENT,
    api_version: int = LATEST_PRODUCE,
    *,
    partition: TopicPartition,
) -> Validated:
    """Check what one Produce request brings for one partition (or a coordinator's batch) against ``settings``.

    ``now`` in ms. Raises :class:`KafkaError` with CORRUPT_MESSAGE, INVALID_RECORD, INVALID_TIMESTAMP,
    MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE or UNSUPPORTED_COMPRESSION_TYPE; :class:`InvalidRecords` names records.
    """
    version = api_version if origin is Origin.CLIENT else LATEST_PRODUCE
    if version < FIRST_WITH_BATCHES and not is_batch(batch):
        return _validate_message_set(batch, settings, now, partition)
    header, view = _only_batch(batch, version)
    _check_batch(header, view, settings, origin, partition)
    codec = header.codec
    target = _target_codec(settings, codec)
    if header.is_control and codec is Codec.NONE:
        target = codec
    append_time = settings.message_timestamp_type == "LogAppendTime"
    data = _decompressed(view, header)
    before_ms, after_ms = _timestamp_bounds(settings)
    has_append_time = bool(header.attributes & LOG_APPEND_TIME)
    found: Survey | None = None
    if (
        codec is target
        and not has_append_time
        and (append_time or before_ms == after_ms == FOREVER_MS)
        and "compact" not in settings.cleanup_policy
    ):
        follow(data, header.record_count)
    else:
        found = survey(data, header.record_count)
        _check_records(header, found, data, settings, now, partition)
    writable = view
    if codec is not target:
        writable = memoryview(_rewritten(header, data, target, settings))
        header = read_header(writable)
        _check_rewritten_size(header, settings, partition)
    _check_segment(header, settings, partition)
    if writable.readonly:
        writable = memoryview(bytearray(writable))
    if append_time:
        stamp_append_time(writable, now)
        header = read_header(writable)
    elif found is not None:
        greatest = _greatest_timestamp(header, found)
        if has_append_time or greatest != header.max_timestamp:
            stamp_create_time(writable, greatest)
            header = read_header(writable)
    marker = read_end_marker(writable) if header.is_control else None
    return Validated(writable, header, now if append_time else NO_TIMESTAMP, marker)


FIRST_WITH_BATCHES = 3
"""The Produce version that brings record batches only (KIP-98)."""
FIRST_WITH_ZSTD = 7
FOREVER_MS = 2**63 - 1


def _invalid(detail: str) -> KafkaError:
    return KafkaError(ErrorCode.INVALID_RECORD, detail)


def _only_batch(batch: Buffer, version: int) -> tuple[BatchHeader, memoryview]:
    """The one batch that there must be; less than a batch's beginning after it is ignored, as in Kafka."""
    view = memoryview(batch)
    size = _batch_size(view, 0)
    if size is None:
        raise _invalid(f"Produce requests with version {version} must have at least one record batch per partition")
    if view[16] != MAGIC:
        raise _invalid(
            f"Produce requests with version {version} are only allowed to contain record batches with magic version 2"
        )
    if size < HEADER_BYTES:
        raise CorruptBatch(
            f"Record batch is corrupt (the size {size} is smaller than the minimum allowed overhead {HEADER_BYTES})"
        )
    header = read_header(view)
    if version < FIRST_WITH_ZSTD and header.attributes & CODEC_MASK == Codec.ZSTD:
        raise KafkaError(
            ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
            f"Produce requests with version {version} are not allowed to use ZStandard compression",
        )
    if size != len(view):
        if _batch_size(view, size) is not None:
            raise _invalid(
                f"Produce requests with version {version} are only allowed to contain exactly one record batch "
                "per partition"
            )
        view = view[:size]
    return header, view


def _batch_size(view: memoryview, position: int) -> int | None:
    """Size of the batch at ``position``, None if it is not all there (``ByteBufferLogInputStream``)."""
    left = len(view) - position
    if left < OVERHEAD_BYTES:
        return None
    size: int = _SIZE.unpack_from(view, position + 8)[0]
    if size < SMALLEST_MESSAGE_BYTES:
        raise CorruptBatch(f"Record size {size} is less than the minimum record overhead ({SMALLEST_MESSAGE_BYTES})")
    if left < UP_TO_MAGIC_BYTES:
        return None
    magic = view[position + 16]
    if magic > MAGIC:
        raise CorruptBatch(f"Invalid magic found in record: {magic - 256 if magic > 127 else magic}")
    size += OVERHEAD_BYTES
    return None if size > left else size


def _check_batch(
    header: BatchHeader, view: memoryview, settings: TopicSettings, origin: Origin, partition: TopicPartition
) -> None:
    """What the header alone tells, and the CRC."""
    is_client = origin is Origin.CLIENT
    if is_client and header.base_offset != 0:
        raise _invalid(
            f"The baseOffset of the record batch in the append to {partition} should be 0, "
            f"but it is {header.base_offset}"
        )
    if header.size_bytes > settings.max_message_bytes:
        raise KafkaError(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"The record batch size in the append to {partition} is {header.size_bytes} bytes which exceeds the "
            f"maximum configured value of {settings.max_message_bytes}.",
        )
    if not crc_is_right(view):
        raise CorruptBatch(f"Record is corrupt (stored crc = {header.crc}) in topic partition {partition}.")
    if not is_client:
        return
    count = header.record_count
    if header.last_offset_delta < 0:
        raise _invalid(
            f"Batch has an invalid offset range: [{header.base_offset}, {header.last_offset}] "
            f"in topic partition {partition}"
        )
    if count <= 0:
        raise _invalid(f"Invalid reported count for record batch: {count} in topic partition {partition}")
    if header.last_offset_delta + 1 != count:
        raise _invalid(
            f"Inconsistent batch offset range [{header.base_offset}, {header.last_offset}] and count of records "
            f"{count} in topic partition {partition}"
        )
    if header.attributes & CONTROL:
        raise _invalid(f"Clients are not allowed to write control records in topic partition {partition}")
    if header.producer_id >= 0:
        if header.base_sequence < 0:
            raise _invalid(
                f"Invalid sequence number {header.base_sequence} in record batch with producerId "
                f"{header.producer_id} in topic partition {partition}"
            )
    elif header.attributes & TRANSACTIONAL:
        raise _invalid(f"Transactional records without a producer id in topic partition {partition}")


def _decompressed(view: memoryview, header: BatchHeader) -> Buffer:
    try:
        return payload(view, header)
    except BadCompression as failure:
        raise _invalid(failure.message) from None


def _target_codec(settings: TopicSettings, codec: Codec) -> Codec:
    wanted = settings.compression_type
    if wanted == "producer":
        return codec
    return Codec.NONE if wanted == "uncompressed" else Codec[wanted.upper()]


def _timestamp_bounds(settings: TopicSettings) -> tuple[int, int]:
    """How far (ms) a timestamp may lie before and after now; the old setting holds where the new one says nothing."""
    difference = settings.message_timestamp_difference_max_ms
    before, after = settings.message_timestamp_before_max_ms, settings.message_timestamp_after_max_ms
    return (
        difference if before == FOREVER_MS else before,
        difference if after == FOREVER_MS else after,
    )


def _greatest_timestamp(header: BatchHeader, found: Survey) -> int:
    if header.attributes & LOG_APPEND_TIME:
        return header.max_timestamp
    if header.record_count == 0:
        return NO_TIMESTAMP
    return max(header.base_timestamp + found.greatest_timestamp_delta, NO_TIMESTAMP)


def _check_records(
    header: BatchHeader, found: Survey, data: Buffer, settings: TopicSettings, now: int, partition: TopicPartition
) -> None:
    """Keys of compacted topics and timestamps; the records to blame are named (``LogValidator.validateRecord``)."""
    keyless = found.keyless if "compact" in settings.cleanup_policy else ()
    create_time = settings.message_timestamp_type != "LogAppendTime"
    has_append_time = bool(header.attributes & LOG_APPEND_TIME)
    before_ms, after_ms = _timestamp_bounds(settings)
    smallest, greatest = header.max_timestamp, header.max_timestamp
    if not has_append_time:
        smallest = header.base_timestamp + found.smallest_timestamp_delta
        greatest = header.base_timestamp + found.greatest_timestamp_delta
    too_far = create_time and (now - smallest > before_ms or greatest - now > after_ms)
    wrong_type = has_append_time and (not create_time or header.max_timestamp == NO_TIMESTAMP)
    if not keyless and not too_far and not wrong_type:
        return
    errors: list[RecordError] = []
    bad_time = False
    for index, record in enumerate(records_in(data, header)):
        if record.key is None and keyless:
            errors.append(
                RecordError(index, f"Compacted topic cannot accept message without key in topic partition {partition}")
            )
        elif create_time and record.timestamp != NO_TIMESTAMP:
            if now - record.timestamp > before_ms or record.timestamp - now > after_ms:
                bad_time = True
                errors.append(
                    RecordError(
                        index,
                        f"Timestamp {record.timestamp} of message with offset {record.offset} is out of range. "
                        f"The timestamp should be within [{now - before_ms}, {now + after_ms}]",
                    )
                )
        elif has_append_time:
            bad_time = True
            errors.append(
                RecordError(
                    index,
                    f"Invalid timestamp type in message {_shown(record)}. Producer should not set timestamp type to "
                    "LogAppendTime.",
                )
            )
    if not errors:
        return
    if bad_time:
        raise InvalidRecords(
            ErrorCode.INVALID_TIMESTAMP, "One or more records have been rejected due to invalid timestamp", errors
        )
    shown = ", ".join(f"RecordError(batchIndex={index}, message='{message}')" for index, message in errors[:3])
    raise InvalidRecords(
        ErrorCode.INVALID_RECORD,
        f"One or more records have been rejected due to {len(errors)} record errors in total, and only showing the "
        f"first three errors at most: [{shown}]",
        errors,
    )


def _shown(record: Record) -> str:
    """A record as Java's ``DefaultRecord.toString`` has it."""
    key = -1 if record.key is None else len(record.key)
    value = -1 if record.value is None else len(record.value)
    return f"DefaultRecord(offset={record.offset}, timestamp={record.timestamp}, key={key} bytes, value={value} bytes)"


def _rewritten(header: BatchHeader, data: Buffer, target: Codec, settings: TopicSettings) -> bytearray:
    """The batch with the topic's own codec; its records are packed anew, not changed."""
    return assemble(
        compress(target, data, _level(target, settings)),
        base_offset=header.base_offset,
        leader_epoch=header.leader_epoch,
        attributes=header.attributes & ~CODEC_MASK | target,
        last_offset_delta=header.last_offset_delta,
        base_timestamp=header.base_timestamp,
        max_timestamp=header.max_timestamp,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        record_count=header.record_count,
    )


def _level(codec: Codec, settings: TopicSettings) -> int | None:
    match codec:
        case Codec.GZIP:
            return settings.compression_gzip_level
        case Codec.LZ4:
            return settings.compression_lz4_level
        case Codec.ZSTD:
            return settings.compression_zstd_level
    return None


def _check_rewritten_size(header: BatchHeader, settings: TopicSettings, partition: TopicPartition) -> None:
    if header.size_bytes > settings.max_message_bytes:
        raise KafkaError(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"Message batch size is {header.size_bytes} bytes in append to partition {partition} which exceeds the "
            f"maximum configured size of {settings.max_message_bytes}.",
        )


def _check_segment(header: BatchHeader, settings: TopicSettings, partition: TopicPartition) -> None:
    if header.size_bytes > settings.segment_bytes:
        raise KafkaError(
            ErrorCode.RECORD_LIST_TOO_LARGE,
            f"Message batch size is {header.size_bytes} bytes in append to partition {partition}, which exceeds the "
            f"maximum configured segment size of {settings.segment_bytes}.",
        )


def _validate_message_set(data: Buffer, settings: TopicSettings, now: int, partition: TopicPartition) -> Validated:
    """A message set of the old formats, checked and made a batch; its records lose their own offsets."""
    for message, _ in shallow(data):
        size = message.size_bytes
        if size > settings.max_message_bytes:
            raise KafkaError(
                ErrorCode.MESSAGE_TOO_LARGE,
                f"The record batch size in the append to {partition} is {size} bytes which exceeds the maximum "
                f"configured value of {settings.max_message_bytes}.",
            )
    old = read_message_set(data)
    append_time = settings.message_timestamp_type == "LogAppendTime"
    codec = _target_codec(settings, old.codec)
    batch = build(
        (record._replace(offset=index) for index, record in enumerate(old.records)),
        codec=codec,
        level=_level(codec, settings),
        timestamp_type=old.timestamp_type,
    )
    header = read_header(batch)
    found = survey(payload(batch, header), header.record_count)
    _check_records(header, found, payload(batch, header), settings, now, partition)
    _check_rewritten_size(header, settings, partition)
    _check_segment(header, settings, partition)
    if append_time:
        stamp_append_time(batch, now)
    elif old.timestamp_type:
        stamp_create_time(batch, header.max_timestamp)
    return Validated(memoryview(batch), read_header(batch), now if append_time else NO_TIMESTAMP)
