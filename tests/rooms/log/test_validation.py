"""What may be appended: each check by itself, with Kafka's codes and texts."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.validation import InvalidRecords, Origin, Validated, plain_bytes, take_plain, validate
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.wire.batch import (
    EndMarker,
    Record,
    build,
    build_end_marker,
    crc_is_right,
    read_header,
    records,
)
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.message_set import build_message_set

PLACE = TopicPartition("orders", 3)
NOW = 1_700_000_000_000
THREE = [Record(timestamp=NOW - 2 + place, key=b"k%d" % place, value=b"v" * 100) for place in range(3)]


def append(batch: bytes | bytearray | memoryview, **settings: Any) -> Validated:
    origin = settings.pop("origin", Origin.CLIENT)
    version = settings.pop("version", 11)
    return validate(batch, TopicSettings(**settings), NOW, origin, version, partition=PLACE)


def refusal(batch: bytes | bytearray | memoryview, **settings: Any) -> tuple[ErrorCode, str]:
    with pytest.raises(KafkaError) as caught:
        append(batch, **settings)
    return caught.value.code, caught.value.message


def blamed(batch: bytes | bytearray | memoryview, **settings: Any) -> tuple[ErrorCode, str, list[tuple[int, str]]]:
    with pytest.raises(InvalidRecords) as caught:
        append(batch, **settings)
    return (
        caught.value.code,
        caught.value.message,
        [(error.batch_index, error.message) for error in caught.value.record_errors],
    )


def forged(batch: bytearray, position: int, layout: str, value: int) -> bytearray:
    """The batch with another value at ``position`` and a checksum to match."""
    struct.pack_into(layout, batch, position, value)
    struct.pack_into(">I", batch, 17, crc32c(bytes(batch[21:])))
    return batch


# what needs no change


@pytest.mark.parametrize("codec", Codec)
def test_a_good_batch_is_handed_on_as_it_came(codec: Codec) -> None:
    batch = build(THREE, codec=codec, producer_id=7, producer_epoch=1, base_sequence=5)
    before = bytes(batch)
    validated = append(memoryview(batch))
    assert validated.header == read_header(before)
    assert bytes(validated.batch) == before
    assert validated.log_append_time_ms == -1
    # no copy: what will be patched is what came
    validated.batch[0:8] = struct.pack(">q", 77)
    assert batch[:8] == struct.pack(">q", 77)


def test_bytes_that_cannot_be_changed_are_copied() -> None:
    before = bytes(build(THREE))
    validated = append(before)
    validated.batch[0:8] = struct.pack(">q", 77)
    assert bytes(validated.batch[8:]) == before[8:]
    assert before[:8] == bytes(8)


def test_less_than_a_beginning_after_the_batch_is_cut_off() -> None:
    batch = bytes(build(THREE))
    assert bytes(append(batch + b"\0\0\0").batch) == batch


# the batch as a whole


@pytest.mark.parametrize(
    ("data", "version", "text"),
    [
        (b"", 9, "Produce requests with version 9 must have at least one record batch per partition"),
        (
            bytes(build(THREE))[:-1],
            3,
            "Produce requests with version 3 must have at least one record batch per partition",
        ),
        (
            bytes(build(THREE) * 2),
            11,
            "Produce requests with version 11 are only allowed to contain exactly one record batch per partition",
        ),
        (
            build_message_set([record._replace(offset=0) for record in THREE], 1),
            3,
            "Produce requests with version 3 are only allowed to contain record batches with magic version 2",
        ),
        (b"", 2, "Record batch has no batches at all"),
        (bytes(build(THREE) * 2), 2, "Compressed outer record has more than one batch"),
    ],
)
def test_there_must_be_one_batch(data: bytes, version: int, text: str) -> None:
    assert refusal(data, version=version) == (ErrorCode.INVALID_RECORD, text)


def test_zstd_needs_produce_7() -> None:
    batch = build(THREE, codec=Codec.ZSTD)
    text = "Produce requests with version 6 are not allowed to use ZStandard compression"
    assert refusal(batch, version=6) == (ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, text)
    assert append(batch, version=7).header.codec is Codec.ZSTD
    # versions that were never meant to carry batches were never checked
    assert append(batch, version=2).header.codec is Codec.ZSTD


def test_a_wrong_checksum_is_corrupt() -> None:
    batch = build(THREE)
    batch[-1] ^= 1
    code, text = refusal(batch)
    assert code is ErrorCode.CORRUPT_MESSAGE
    assert text == f"Record is corrupt (stored crc = {read_header(batch).crc}) in topic partition orders-3."


@pytest.mark.parametrize(
    ("position", "layout", "value", "code"),
    [
        (16, ">b", 3, ErrorCode.CORRUPT_MESSAGE),
        (16, ">b", -1, ErrorCode.CORRUPT_MESSAGE),
        (8, ">i", 13, ErrorCode.CORRUPT_MESSAGE),
        (8, ">i", 48, ErrorCode.CORRUPT_MESSAGE),
        (8, ">i", -1, ErrorCode.CORRUPT_MESSAGE),
        (0, ">q", 5, ErrorCode.INVALID_RECORD),
        (21, ">h", 5, ErrorCode.INVALID_RECORD),
        (21, ">h", 0x20, ErrorCode.INVALID_RECORD),
        (21, ">h", 0x10, ErrorCode.INVALID_RECORD),
        (23, ">i", -1, ErrorCode.INVALID_RECORD),
        (23, ">i", 3, ErrorCode.INVALID_RECORD),
        (57, ">i", 0, ErrorCode.INVALID_RECORD),
        (57, ">i", 2, ErrorCode.INVALID_RECORD),
        (43, ">q", 4, ErrorCode.INVALID_RECORD),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(position: int, layout: str, value: int, code: ErrorCode) -> None:
    assert refusal(forged(build(THREE), position, layout, value))[0] is code


def test_the_texts_of_senseless_headers_are_kafkas() -> None:
    def text(position: int, layout: str, value: int) -> str:
        return refusal(forged(build(THREE), position, layout, value))[1]

    assert text(0, ">q", 5) == ("The baseOffset of the record batch in the append to orders-3 should be 0, but it is 5")
    assert text(23, ">i", -2) == "Batch has an invalid offset range: [0, -2] in topic partition orders-3"
    assert text(57, ">i", -4) == "Invalid reported count for record batch: -4 in topic partition orders-3"
    assert text(57, ">i", 2) == (
        "Inconsistent batch offset range [0, 2] and count of records 2 in topic partition orders-3"
    )
    assert text(21, ">h", 0x20) == "Clients are not allowed to write control records in topic partition orders-3"
    assert text(43, ">q", 4) == (
        "Invalid sequence number -1 in record batch with producerId 4 in topic partition orders-3"
    )


def test_a_count_that_its_records_do_not_have_is_refused() -> None:
    batch = forged(forged(build(THREE), 57, ">i", 4), 23, ">i", 3)
    assert refusal(batch) == (ErrorCode.INVALID_RECORD, "Incorrect declared batch size, premature EOF reached")
    batch = forged(forged(build(THREE), 57, ">i", 2), 23, ">i", 1)
    assert refusal(batch) == (
        ErrorCode.INVALID_RECORD,
        "Incorrect declared batch size, records still remaining in file",
    )


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
def test_records_that_do_not_decompress_are_refused(codec: Codec) -> None:
    batch = build(THREE, codec=codec)
    assert refusal(forged(batch, 61, ">q", -1))[0] is ErrorCode.INVALID_RECORD


@pytest.mark.slow
def test_a_bomb_is_refused() -> None:
    bomb = build([Record(value=bytes(60_000_000))], codec=Codec.ZSTD)
    assert len(bomb) < 10_000
    code, text = refusal(bomb)
    assert code is ErrorCode.INVALID_RECORD
    assert "Compressed records hold more than" in text


def test_the_largest_batch_is_as_large_as_the_topic_says() -> None:
    batch = build(THREE)
    assert append(batch, max_message_bytes=len(batch)).batch == batch
    assert refusal(batch, max_message_bytes=len(batch) - 1) == (
        ErrorCode.MESSAGE_TOO_LARGE,
        f"The record batch size in the append to orders-3 is {len(batch)} bytes which exceeds the maximum configured "
        f"value of {len(batch) - 1}.",
    )


def test_a_batch_fits_into_a_segment() -> None:
    batch = build(THREE)
    assert refusal(batch, segment_bytes=len(batch) - 1) == (
        ErrorCode.RECORD_LIST_TOO_LARGE,
        f"Message batch size is {len(batch)} bytes in append to partition orders-3, which exceeds the maximum "
        f"configured segment size of {len(batch) - 1}.",
    )


# keys and times


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.LZ4])
def test_a_compacted_topic_wants_keys_and_names_the_records_without(codec: Codec) -> None:
    batch = build([THREE[0], Record(timestamp=NOW), THREE[1], Record(timestamp=NOW)], codec=codec)
    why = "Compacted topic cannot accept message without key in topic partition orders-3"
    assert blamed(batch, cleanup_policy=("compact", "delete")) == (
        ErrorCode.INVALID_RECORD,
        "One or more records have been rejected due to 2 record errors in total, and only showing the first three "
        f"errors at most: [RecordError(batchIndex=1, message='{why}'), RecordError(batchIndex=3, message='{why}')]",
        [(1, why), (3, why)],
    )
    assert append(build(THREE, codec=codec), cleanup_policy=("compact",)).header.record_count == 3


def test_times_too_far_from_now_are_named() -> None:
    batch = build([Record(timestamp=NOW - 1_001), Record(timestamp=NOW), Record(timestamp=NOW + 501), Record()])
    assert blamed(batch, message_timestamp_before_max_ms=1_000, message_timestamp_after_max_ms=500) == (
        ErrorCode.INVALID_TIMESTAMP,
        "One or more records have been rejected due to invalid timestamp",
        [
            (
                place,
                f"Timestamp {NOW + far} of message with offset {place} is out of range. The timestamp should be within "
                f"[{NOW - 1_000}, {NOW + 500}]",
            )
            for place, far in ((0, -1_001), (2, 501))
        ],
    )


def test_the_older_timestamp_limit_holds_where_the_newer_ones_say_nothing() -> None:
    batch = build([Record(timestamp=NOW - 1_001)])
    assert blamed(batch, message_timestamp_difference_max_ms=1_000)[0] is ErrorCode.INVALID_TIMESTAMP
    assert (
        append(
            batch, message_timestamp_difference_max_ms=1_000, message_timestamp_before_max_ms=2_000
        ).header.record_count
        == 1
    )


def test_times_do_not_matter_where_the_broker_gives_its_own() -> None:
    batch = build([Record(timestamp=5), Record(timestamp=2**50)])
    validated = append(batch, message_timestamp_type="LogAppendTime", message_timestamp_before_max_ms=1)
    assert validated.log_append_time_ms == NOW
    assert (validated.header.timestamp_type, validated.header.max_timestamp) == (1, NOW)
    assert crc_is_right(validated.batch)
    assert validated.header == read_header(validated.batch)
    assert {record.timestamp for record in records(validated.batch)} == {NOW}


def test_a_producer_does_not_give_the_brokers_time() -> None:
    batch = build([Record(timestamp=NOW, key=b"k", value=b"vv")], timestamp_type=1)
    code, _, errors = blamed(batch, message_timestamp_type="LogAppendTime")
    assert code is ErrorCode.INVALID_TIMESTAMP
    assert errors == [
        (
            0,
            f"Invalid timestamp type in message DefaultRecord(offset=0, timestamp={NOW}, key=1 bytes, value=2 bytes). "
            "Producer should not set timestamp type to LogAppendTime.",
        )
    ]
    # elsewhere Kafka lets it pass and takes the mark away
    validated = append(batch)
    assert (validated.header.timestamp_type, validated.header.max_timestamp) == (0, NOW)
    assert crc_is_right(validated.batch)


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.ZSTD])
@pytest.mark.parametrize("wrong", [-1, 0, NOW + 5, 2**62])
def test_a_greatest_timestamp_that_is_not_the_records_is_corrected(codec: Codec, wrong: int) -> None:
    validated = append(forged(build(THREE, codec=codec), 35, ">q", wrong))
    assert validated.header.max_timestamp == NOW
    assert validated.header == read_header(validated.batch)
    assert crc_is_right(validated.batch)


@given(st.lists(st.integers(-1, 2**62), min_size=1, max_size=30))
def test_the_greatest_timestamp_is_always_right(times: list[int]) -> None:
    batch = forged(build([Record(timestamp=time) for time in times]), 35, ">q", 3)
    assert append(batch).header.max_timestamp == max(times)


# compression of the topic's own


@pytest.mark.parametrize("source", Codec)
@pytest.mark.parametrize("wanted", ["uncompressed", "gzip", "snappy", "lz4", "zstd"])
def test_a_topic_may_have_a_codec_of_its_own(source: Codec, wanted: str) -> None:
    batch = build(
        [*THREE, Record(timestamp=NOW, headers=[("h", b"1")])],
        codec=source,
        producer_id=7,
        producer_epoch=2,
        base_sequence=9,
    )
    before = list(records(batch))
    validated = append(batch, compression_type=wanted)
    target = Codec.NONE if wanted == "uncompressed" else Codec[wanted.upper()]
    header = validated.header
    assert header.codec is target
    assert crc_is_right(validated.batch)
    assert list(records(validated.batch)) == before
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (7, 2, 9)
    assert (header.max_timestamp, header.last_offset_delta, header.record_count) == (NOW, 3, 4)


def test_the_size_counts_again_after_recompression() -> None:
    batch = build([Record(timestamp=NOW, value=b"v" * 5_000)], codec=Codec.GZIP)
    code, text = refusal(batch, compression_type="uncompressed", max_message_bytes=2_000)
    assert code is ErrorCode.MESSAGE_TOO_LARGE
    assert "maximum configured size of 2000" in text


def test_compressed_offsets_that_do_not_count_from_zero_are_numbered_anew() -> None:
    batch = build([Record(offset=0, timestamp=NOW), Record(offset=2, timestamp=NOW)], codec=Codec.GZIP)
    forged(batch, 23, ">i", 1)
    validated = append(batch, cleanup_policy=("delete",), message_timestamp_before_max_ms=10)
    assert [record.offset for record in records(validated.batch)] == [0, 1]


# coordinators


def test_a_coordinator_may_write_what_a_client_may_not() -> None:
    batch = build(THREE, base_offset=9, producer_id=5, producer_epoch=0)
    assert append(batch, origin=Origin.COORDINATOR).marker is None
    marker = build_end_marker(EndMarker(True, 3), producer_id=5, producer_epoch=0, timestamp=NOW)
    validated = append(marker, origin=Origin.COORDINATOR, compression_type="gzip", cleanup_policy=("compact",))
    assert validated.marker == EndMarker(True, 3)
    assert validated.header.codec is Codec.NONE  # control records are not compressed
    assert refusal(marker)[0] is ErrorCode.INVALID_RECORD


# the old formats


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP, Codec.SNAPPY, Codec.LZ4])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_message_sets_become_batches(version: int, codec: Codec, magic: int) -> None:
    old = [record._replace(offset=place) for place, record in enumerate(THREE)]
    validated = append(build_message_set(old, magic, codec=codec), version=version)
    assert validated.header.codec is codec
    assert validated.header == read_header(validated.batch)
    assert crc_is_right(validated.batch)
    assert [(record.offset, record.key, record.timestamp) for record in records(validated.batch)] == [
        (place, record.key, record.timestamp if magic else -1) for place, record in enumerate(THREE)
    ]


def test_message_sets_obey_the_topics_rules() -> None:
    old = [Record(place, NOW - 50, None, b"v" * 300) for place in range(3)]
    plain = build_message_set(old, 1)
    assert blamed(plain, version=2, cleanup_policy=("compact",))[0] is ErrorCode.INVALID_RECORD
    assert blamed(plain, version=2, message_timestamp_before_max_ms=10)[0] is ErrorCode.INVALID_TIMESTAMP
    assert refusal(plain, version=2, max_message_bytes=200)[0] is ErrorCode.MESSAGE_TOO_LARGE
    assert refusal(plain, version=2, segment_bytes=400)[0] is ErrorCode.RECORD_LIST_TOO_LARGE
    validated = append(plain, version=2, message_timestamp_type="LogAppendTime", compression_type="zstd")
    assert (validated.log_append_time_ms, validated.header.max_timestamp) == (NOW, NOW)
    assert validated.header.codec is Codec.ZSTD


@given(st.binary(max_size=300), st.integers(0, 11))
def test_garbage_is_refused_with_a_code(garbage: bytes, version: int) -> None:
    with pytest.raises(KafkaError):
        append(garbage, version=version)


@given(st.data(), st.sampled_from(Codec))
def test_a_changed_byte_under_a_right_checksum_is_refused_or_harmless(data: st.DataObject, codec: Codec) -> None:
    batch = build(THREE, codec=codec)
    place = data.draw(st.integers(21, len(batch) - 1))
    forged(batch, place, ">B", data.draw(st.integers(0, 255)))
    settings: dict[str, Any] = data.draw(
        st.sampled_from([{}, {"cleanup_policy": ("compact",)}, {"compression_type": "lz4"}, {"version": 2}])
    )
    try:
        validated = append(batch, **settings)
    except KafkaError:
        return
    assert crc_is_right(validated.batch)
    assert validated.header == read_header(validated.batch)


# Batches as nearly all are.

FEW_RECORDS = st.lists(st.tuples(st.integers(-1, 2**62) | st.just(NOW), st.integers(0, 200)), min_size=1, max_size=20)
ODD_FIELDS = st.sampled_from(
    [(0, ">q"), (8, ">i"), (16, ">B"), (21, ">h"), (23, ">i"), (27, ">q"), (35, ">q"), (43, ">q"), (51, ">h"),
     (53, ">i"), (57, ">i"), (61, ">B"), (62, ">B"), (63, ">B")]
)  # fmt: skip
DEMANDS = st.sampled_from(
    [{}, {}, {}, {"cleanup_policy": ("compact",)}, {"message_timestamp_type": "LogAppendTime"},
     {"message_timestamp_after_max_ms": 5}, {"message_timestamp_difference_max_ms": 5}, {"compression_type": "lz4"},
     {"compression_type": "uncompressed"}, {"max_message_bytes": 200}, {"segment_bytes": 200}]
)  # fmt: skip


@given(data=st.data(), given_records=FEW_RECORDS, demands=DEMANDS)
def test_a_batch_is_plain_only_if_a_closer_look_finds_nothing(
    data: st.DataObject, given_records: list[tuple[int, int]], demands: dict[str, Any]
) -> None:
    batch = build(
        [Record(timestamp=time, value=bytes(size)) for time, size in given_records],
        codec=data.draw(st.sampled_from([Codec.NONE, Codec.NONE, Codec.LZ4])),
        producer_id=data.draw(st.sampled_from([-1, 7])),
        base_sequence=data.draw(st.sampled_from([-1, 0])),
        transactional=data.draw(st.booleans()),
    )
    for position, layout in data.draw(st.lists(ODD_FIELDS, max_size=2)):
        bits = 8 * struct.calcsize(layout)
        low = 0 if layout == ">B" else -(1 << bits - 1)
        value = data.draw(st.integers(-2, 70) | st.integers(low, low + (1 << bits) - 1))
        forged(batch, position, layout, max(value, low))
    if data.draw(st.booleans()):
        batch[data.draw(st.integers(0, len(batch) - 1))] ^= 1
    batch = batch[: data.draw(st.just(len(batch)) | st.integers(0, len(batch)))]
    batch += bytes(data.draw(st.sampled_from([0, 0, 0, 1, 70])))
    limit = plain_bytes(TopicSettings(**demands), PLACE)
    sent = bytes(batch)
    try:
        plain = take_plain(memoryview(batch), limit)
    except KafkaError as refusal:
        with pytest.raises(KafkaError) as caught:
            append(bytearray(sent), **demands)
        assert (caught.value.code, caught.value.message) == (refusal.code, refusal.message)
        return
    assert batch == sent
    if plain is not None:
        closely = append(bytearray(sent), **demands)
        assert bytes(closely.batch) == sent
        assert (plain.header, plain.log_append_time_ms, plain.marker) == (closely.header, -1, None)
        assert plain.batch.obj is batch  # type: ignore[union-attr]


@pytest.mark.parametrize("producer", [{}, {"producer_id": 4, "base_sequence": 9}])
def test_what_producers_send_all_day_is_plain(producer: dict[str, int]) -> None:
    batch = build(THREE, **producer)  # type: ignore[arg-type]
    assert take_plain(memoryview(batch), plain_bytes(TopicSettings(), PLACE)) is not None
    transactional = build(THREE, producer_id=4, base_sequence=0, transactional=True)
    assert take_plain(memoryview(transactional), plain_bytes(TopicSettings(), PLACE)) is not None


def test_what_cannot_be_changed_or_is_not_a_view_is_not_plain() -> None:
    batch = build(THREE)
    for held in (batch, bytes(batch), memoryview(bytes(batch))):
        assert take_plain(held, 1_000_000) is None
