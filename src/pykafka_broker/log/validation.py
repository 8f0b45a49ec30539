"""Whether what a producer sent may be appended to a partition, and what of it has to be rewritten first.

Checks concern bytes and settings only: sequences and epochs are ``log/producers.py``'s, offsets and leader epochs
are given by ``log/partition.py``. Batches that need no change are handed on as they came.

Source: Kafka's ``LogValidator``, ``UnifiedLog.analyzeAndValidateRecords``, ``ProduceRequest.validateRecords``.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING

from msgspec import Struct

from pykafka_broker.log.record_rules import InvalidRecords, RecordError, RecordRules, java_name, newest_timestamp
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.wire.batch import (
    CODEC_MASK,
    CONTROL,
    CRC_FROM,
    HEADER_BYTES,
    LENGTH_AND_OFFSET_BYTES,
    LOG_APPEND_TIME,
    MAGIC,
    NO_TIMESTAMP,
    TRANSACTIONAL,
    BatchHeader,
    Buffer,
    CorruptBatch,
    EndMarker,
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
from pykafka_broker.wire.checksum import crc32c
from pykafka_broker.wire.compression import BadCompression, Codec, compress
from pykafka_broker.wire.message_set import (
    OVERHEAD_BYTES,
    SMALLEST_MESSAGE_BYTES,
    UP_TO_MAGIC_BYTES,
    is_batch,
    read_message_set,
    shallow,
)
from pykafka_broker.wire.survey import follow, survey

if TYPE_CHECKING:
    from pykafka_broker.config.topic import TopicSettings

__all__ = ["InvalidRecords", "Origin", "RecordError", "Validated", "plain_bytes", "take_plain", "validate"]


_SIZE = struct.Struct(">i")


class Origin(enum.Enum):
    """Who appends (Kafka's ``AppendOrigin``): a client is distrusted, a coordinator is not, a leader not at all."""

    CLIENT = enum.auto()
    COORDINATOR = enum.auto()
    REPLICATION = enum.auto()


class Validated(Struct):
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
    rules = RecordRules.of(settings, partition)
    if version < FIRST_WITH_BATCHES and not is_batch(batch):
        return _validate_message_set(batch, settings, rules, now)
    header, view = _only_batch(batch, version)
    _check_batch(header, view, settings, origin, partition)
    codec = _codec(header)
    target = codec if header.is_control and codec is Codec.NONE else _target_codec(settings, codec)
    data = _decompressed(view, header)
    stamped = bool(header.attributes & LOG_APPEND_TIME)
    in_order = True
    if stamped or codec is not target or not rules.ask_nothing:
        found = survey(data, header.record_count)
        rules.check(header, found, data, now, java_name(codec, target), stamped=stamped)
        greatest, in_order = found.greatest_timestamp_delta, found.in_order
    else:
        greatest = follow(data, header.record_count)
    if codec is not target or (codec and not in_order):
        anew = stamped or not in_order
        view = memoryview((_rebuilt if anew else _repacked)(header, data, target, settings))
        _check_converted_size(view, settings, partition)
        header = read_header(view)
    elif view.readonly:
        view = memoryview(bytearray(view))
    _check_segment(header, settings, partition)
    if rules.append_time:
        stamp_append_time(view, now)
        header = read_header(view)
    else:
        newest = header.max_timestamp if stamped else newest_timestamp(header, greatest)
        if stamped or newest != header.max_timestamp:
            stamp_create_time(view, newest)
            header = read_header(view)
    marker = read_end_marker(view) if header.attributes & CONTROL else None
    return Validated(view, header, now if rules.append_time else NO_TIMESTAMP, marker)


def plain_bytes(settings: TopicSettings, partition: TopicPartition) -> int:
    """Up to this size batches may be taken by ``take_plain``; -1 where the topic asks something of single records."""
    rules = RecordRules.of(settings, partition)
    if rules.append_time or not rules.ask_nothing or _target_codec(settings, Codec.NONE) is not Codec.NONE:
        return -1
    return min(settings.max_message_bytes, settings.segment_bytes)


def take_plain(batch: Buffer, most_bytes: int) -> Validated | None:
    """What ``validate`` gives for a client's batch that is as nearly all are, at a third of the cost.

    Not compressed, in order and complete, to a topic that asks for no more than that (``plain_bytes``). ``None`` means
    that it has to be looked at more closely, for whatever reason. Raises INVALID_RECORD as ``validate`` does.
    """
    size = len(batch)
    if type(batch) is not memoryview or batch.readonly or not HEADER_BYTES <= size <= most_bytes:
        return None
    header = read_header(batch)
    base_offset, length, _, magic, crc, attributes, last, base_ms, max_ms, producer, _, sequence, count = header
    if (
        base_offset
        or length != size - LENGTH_AND_OFFSET_BYTES
        or magic != MAGIC
        or (attributes and (attributes != TRANSACTIONAL or producer < 0))
        or count <= 0
        or last != count - 1
        or (producer >= 0 and sequence < 0)
        or crc != crc32c(batch[CRC_FROM:])
        or max_ms != base_ms + follow(batch[HEADER_BYTES:], count)
        or max_ms < NO_TIMESTAMP
    ):
        return None
    return Validated(batch, header)


FIRST_WITH_BATCHES = 3
"""The Produce version that brings record batches only (KIP-98)."""
FIRST_WITH_ZSTD = 7


def _invalid(detail: str) -> KafkaError:
    return KafkaError(ErrorCode.INVALID_RECORD, detail)


def _only_batch(batch: Buffer, version: int) -> tuple[BatchHeader, memoryview]:
    """The one batch that there must be; less than a batch's beginning after it is ignored, as in Kafka."""
    view = memoryview(batch)
    size = _batch_size(view, 0)
    strict = version >= FIRST_WITH_BATCHES
    if size is None:
        raise _invalid(
            f"Produce requests with version {version} must have at least one record batch per partition"
            if strict
            else "Record batch has no batches at all"
        )
    if view[16] != MAGIC:
        raise _invalid(
            f"Produce requests with version {version} are only allowed to contain record batches with magic version 2"
        )
    if size < HEADER_BYTES:
        raise CorruptBatch(
            f"Record batch is corrupt (the size {size} is smaller than the minimum allowed overhead {HEADER_BYTES})"
        )
    header = read_header(view)
    if strict and version < FIRST_WITH_ZSTD and header.attributes & CODEC_MASK == Codec.ZSTD:
        raise KafkaError(
            ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
            f"Produce requests with version {version} are not allowed to use ZStandard compression",
        )
    if size != len(view):
        if _batch_size(view, size) is not None:
            raise _invalid(
                f"Produce requests with version {version} are only allowed to contain exactly one record batch "
                "per partition"
                if strict
                else "Compressed outer record has more than one batch"
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


def _codec(header: BatchHeader) -> Codec:
    try:
        return header.codec
    except CorruptBatch as failure:
        raise _invalid(failure.message) from None


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


def _repacked(header: BatchHeader, data: Buffer, target: Codec, settings: TopicSettings) -> bytearray:
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


def _rebuilt(header: BatchHeader, data: Buffer, target: Codec, settings: TopicSettings) -> bytearray:
    """The batch record by record, for offsets that do not count from 0 or times that are not the records' own."""
    return build(
        (record._replace(offset=index) for index, record in enumerate(records_in(data, header))),
        codec=target,
        level=_level(target, settings),
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        transactional=header.is_transactional,
        timestamp_type=header.timestamp_type,
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


def _check_converted_size(batch: Buffer, settings: TopicSettings, partition: TopicPartition) -> None:
    if len(batch) > settings.max_message_bytes:
        raise KafkaError(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"Message batch size is {len(batch)} bytes in append to partition {partition} which exceeds the "
            f"maximum configured size of {settings.max_message_bytes}.",
        )


def _check_segment(header: BatchHeader, settings: TopicSettings, partition: TopicPartition) -> None:
    if header.size_bytes > settings.segment_bytes:
        raise KafkaError(
            ErrorCode.RECORD_LIST_TOO_LARGE,
            f"Message batch size is {header.size_bytes} bytes in append to partition {partition}, which exceeds the "
            f"maximum configured segment size of {settings.segment_bytes}.",
        )


def _validate_message_set(data: Buffer, settings: TopicSettings, rules: RecordRules, now: int) -> Validated:
    """A message set of the old formats, checked and made a batch; its records lose their own offsets."""
    for message, _ in shallow(data):
        if message.size_bytes > settings.max_message_bytes:
            raise KafkaError(
                ErrorCode.MESSAGE_TOO_LARGE,
                f"The record batch size in the append to {rules.partition} is {message.size_bytes} bytes which exceeds "
                f"the maximum configured value of {settings.max_message_bytes}.",
            )
    old = read_message_set(data)
    target = _target_codec(settings, old.codec)
    batch = build(
        (record._replace(offset=index) for index, record in enumerate(old.records)),
        codec=target,
        level=_level(target, settings),
    )
    header = read_header(batch)
    content = payload(batch, header)
    found = survey(content, header.record_count)
    stamped = bool(old.timestamp_type)
    alone = old.codec is Codec.NONE
    rules.check(header, found, content, now, "LegacyRecordBatch", stamped=stamped, only_first=alone)
    _check_converted_size(batch, settings, rules.partition)
    _check_segment(header, settings, rules.partition)
    if rules.append_time:
        stamp_append_time(batch, now)
    return Validated(memoryview(batch), read_header(batch), now if rules.append_time else NO_TIMESTAMP)
