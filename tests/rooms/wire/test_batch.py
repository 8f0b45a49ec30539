"""Batches as bytes: read, built, changed in place, and exchanged with kafka-python and aiokafka."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.wire.batch import (
    HEADER_BYTES,
    BatchHeader,
    CorruptBatch,
    EndlessVarint,
    EndMarker,
    Record,
    TruncatedBatch,
    assemble,
    build,
    build_end_marker,
    crc_is_right,
    patch,
    read_end_marker,
    read_header,
    read_varint,
    records,
    stamp_append_time,
    stamp_create_time,
    write_varint,
)
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.formats import headers
from tests.rooms.wire.java_batches import BYTES, RECORDS
from tests.rooms.wire.sample_records import PEOPLE, kafka_python, numbered
from tests.rooms.wire.sample_records import records as any_records


@given(any_records, st.sampled_from(Codec), st.integers(0, 2**60))
def test_what_is_built_is_read_back(given: list[Record], codec: Codec, base_offset: int) -> None:
    batch = build(given, base_offset=base_offset, codec=codec)
    assert list(records(batch)) == numbered(given, base_offset)
    assert crc_is_right(batch)
    assert read_header(batch).size_bytes == len(batch)


def test_a_header_tells_all_its_fields() -> None:
    batch = build(
        PEOPLE,
        base_offset=70,
        codec=Codec.ZSTD,
        producer_id=9,
        producer_epoch=2,
        base_sequence=40,
        leader_epoch=5,
        transactional=True,
    )
    header = read_header(b"before" + batch, 6)
    assert header == BatchHeader(
        base_offset=70,
        length=len(batch) - 12,
        leader_epoch=5,
        magic=2,
        crc=header.crc,
        attributes=0x14,
        last_offset_delta=4,
        base_timestamp=1_000,
        max_timestamp=90_000,
        producer_id=9,
        producer_epoch=2,
        base_sequence=40,
        record_count=5,
    )
    assert (header.last_offset, header.next_offset, header.last_sequence) == (74, 75, 44)
    assert (header.codec, header.timestamp_type, header.is_transactional, header.is_control) == (4, 0, True, False)
    assert header.has_producer
    assert header.delete_horizon_ms is None


def test_sequences_wrap_to_zero_within_a_batch() -> None:
    header = read_header(build(PEOPLE, producer_id=1, producer_epoch=0, base_sequence=2**31 - 3))
    assert header.last_sequence == 1


def test_an_offset_may_be_given_record_by_record() -> None:
    batch = build([Record(offset=12, value=b"a"), Record(offset=19, value=b"b"), Record(value=b"c")], base_offset=10)
    assert [record.offset for record in records(batch)] == [12, 19, 20]
    assert read_header(batch).last_offset == 20
    with pytest.raises(ValueError, match="before"):
        build([Record(offset=9)], base_offset=10)


def test_a_batch_finds_its_place_without_a_new_checksum() -> None:
    batch = build(PEOPLE)
    before = bytes(batch)
    patch(memoryview(batch), 123_456_789_000, 17)
    assert crc_is_right(batch)
    header = read_header(batch)
    assert (header.base_offset, header.leader_epoch) == (123_456_789_000, 17)
    assert batch[16:] == before[16:]


def test_log_append_time_replaces_every_timestamp() -> None:
    batch = build(PEOPLE)
    stamp_append_time(batch, 555)
    assert crc_is_right(batch)
    assert read_header(batch).timestamp_type == 1
    assert {record.timestamp for record in records(batch)} == {555}
    stamp_create_time(batch, 90_000)
    assert crc_is_right(batch)
    assert [record.timestamp for record in records(batch)] == [record.timestamp for record in PEOPLE]


def test_batches_follow_one_another_until_one_is_cut_off() -> None:
    one, two = build(PEOPLE[:2]), build(PEOPLE[2:], base_offset=2)
    log = bytes(one + two)
    assert [(position, header.base_offset) for position, header in headers(log)] == [(0, 0), (len(one), 2)]
    found = headers(log[:-1])
    assert next(found)[0] == 0
    with pytest.raises(TruncatedBatch):
        next(found)
    with pytest.raises(TruncatedBatch):
        list(headers(log + b"\0" * 20))


@pytest.mark.parametrize(
    ("position", "value", "complaint"),
    [
        (16, 3, "Invalid magic found in record: 3"),
        (8, 0, "is corrupt"),
        (8, 0xFF, "is corrupt"),
        (0, 0x80, "is corrupt"),
    ],
)
def test_nonsense_is_corrupt(position: int, value: int, complaint: str) -> None:
    batch = build(PEOPLE[:2])
    batch[position : position + (4 if position == 8 else 1)] = bytes([value] * (4 if position == 8 else 1))
    with pytest.raises(CorruptBatch, match=complaint) as refusal:
        list(headers(batch))
    assert refusal.value.code is ErrorCode.CORRUPT_MESSAGE


@given(st.integers(0, 200), st.integers(0, 7))
def test_any_changed_bit_the_checksum_covers_is_noticed(position: int, bit: int) -> None:
    batch = build(PEOPLE[:3] * 5)
    place = 17 + position % (len(batch) - 17)
    batch[place] ^= 1 << bit
    assert not crc_is_right(batch)


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_varint_is_read_as_it_was_written(value: int) -> None:
    data = bytearray()
    write_varint(data, value)
    assert read_varint(bytes(data) + b"\xff", 0) == (value, len(data))
    with pytest.raises(IndexError):
        read_varint(data[:-1], 0)


def test_a_varint_has_an_end() -> None:
    assert read_varint(b"\xff" * 9 + b"\x01", 0) == (-(2**63), 10)
    with pytest.raises(EndlessVarint):
        read_varint(b"\xff" * 11, 0)


def test_records_with_a_time_that_does_not_end_are_corrupt() -> None:
    batch = assemble(
        b"\x28\x00" + b"\xff" * 19,
        base_offset=0,
        leader_epoch=0,
        attributes=0,
        last_offset_delta=0,
        base_timestamp=0,
        max_timestamp=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        record_count=1,
    )
    with pytest.raises(CorruptBatch, match="Found invalid record structure"):
        list(records(batch))


def test_less_than_a_header_has_no_right_checksum() -> None:
    assert not crc_is_right(b"\0" * (HEADER_BYTES - 1))


@given(st.binary(max_size=200), st.integers(-1, 20), st.sampled_from(Codec))
def test_damaged_records_are_corrupt_and_nothing_else(garbage: bytes, count: int, codec: Codec) -> None:
    batch = build([], codec=codec)[:HEADER_BYTES] + garbage
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    struct.pack_into(">i", batch, 57, count)
    try:
        for record in records(batch, 10_000):
            assert isinstance(record, Record)
    except Exception as failure:  # the test's point is its class
        assert getattr(failure, "code", None) is ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("attribute", [5, 6, 7])
def test_a_codec_that_does_not_exist_is_corrupt(attribute: int) -> None:
    batch = build(PEOPLE[:1])
    batch[22] = attribute
    with pytest.raises(CorruptBatch, match=f"Unknown compression type id: {attribute}"):
        list(records(batch))


@pytest.mark.parametrize("committed", [True, False])
def test_a_transaction_ends_with_a_control_batch(committed: bool) -> None:
    batch = build_end_marker(EndMarker(committed, 7), producer_id=4, producer_epoch=1, timestamp=99, base_offset=10)
    header = read_header(batch)
    assert header.is_control
    assert header.is_transactional
    assert header.base_sequence == -1
    assert (header.record_count, header.max_timestamp) == (1, 99)
    assert read_end_marker(batch) == EndMarker(committed, 7)


def test_control_records_of_other_kinds_are_no_end_markers() -> None:
    leader_change = build([Record(key=b"\0\0\0\2", value=b"\0\0")], control=True)
    assert read_end_marker(leader_change) is None
    assert read_end_marker(build([], control=True)) is None
    with pytest.raises(CorruptBatch):
        read_end_marker(build([Record(key=b"\0", value=b"")], control=True))
    with pytest.raises(CorruptBatch):
        read_end_marker(build([Record(key=b"\0\0\0\1", value=b"\0")], control=True))


# other implementations

CODECS_OF_KAFKA_PYTHON = (Codec.NONE, Codec.GZIP)


def _written_by(library: Any, codec: Codec) -> bytes:
    """The sample records as a batch made by kafka-python's or aiokafka's builder (not transactional, no producer)."""
    builder = library.DefaultRecordBatchBuilder(2, int(codec), 0, -1, -1, -1, 1 << 30)
    for place, record in enumerate(PEOPLE):
        assert builder.append(place, record.timestamp, record.key, record.value, list(record.headers)) is not None
    return bytes(builder.build())


@pytest.mark.parametrize("codec", Codec)
def test_a_batch_of_aiokafka_is_read(codec: Codec) -> None:
    from aiokafka.record import default_records

    assert list(records(_written_by(default_records, codec))) == numbered(PEOPLE)


@pytest.mark.parametrize("codec", CODECS_OF_KAFKA_PYTHON)
def test_a_batch_of_kafka_python_is_read(codec: Codec) -> None:
    library = kafka_python("record.default_records")
    assert list(records(_written_by(library, codec))) == numbered(PEOPLE)


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("level", [None, 1])
def test_aiokafka_reads_our_batches(codec: Codec, level: int | None) -> None:
    from aiokafka.record.default_records import DefaultRecordBatch

    ours = DefaultRecordBatch(bytes(build(PEOPLE, base_offset=30, codec=codec, level=level)))
    assert ours.validate_crc()
    assert [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in ours] == numbered(PEOPLE, 30)


@pytest.mark.parametrize("codec", CODECS_OF_KAFKA_PYTHON)
def test_kafka_python_reads_our_batches(codec: Codec) -> None:
    library = kafka_python("record.default_records")
    ours = library.DefaultRecordBatch(bytes(build(PEOPLE, base_offset=30, codec=codec)))
    assert ours.validate_crc()
    assert [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in ours] == numbered(PEOPLE, 30)


def test_uncompressed_batches_are_the_same_bytes_as_kafka_pythons_and_aiokafkas() -> None:
    from aiokafka.record import default_records as aio

    ours = build(PEOPLE)
    for library in (aio, kafka_python("record.default_records")):
        theirs = bytearray(_written_by(library, Codec.NONE))
        patch(theirs, 0, -1)  # they put 0 there, Java -1; the broker decides
        assert theirs == ours


@pytest.mark.parametrize("codec", Codec)
def test_batches_of_apache_kafka_are_read(codec: Codec) -> None:
    data = BYTES[2, codec]
    [(_, header)] = headers(data)
    assert header.codec is codec
    assert crc_is_right(data)
    assert list(records(data)) == RECORDS


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.LZ4])
def test_batches_are_the_same_bytes_as_apache_kafkas(codec: Codec) -> None:
    assert build(RECORDS, codec=codec) == BYTES[2, codec]
