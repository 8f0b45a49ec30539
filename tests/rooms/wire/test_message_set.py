"""Message formats v0 and v1: read, written, and turned into batches and back."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.wire.batch import CorruptBatch, EndMarker, Record, build, build_end_marker, read_header, records
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.message_set import (
    build_message_set,
    down_convert,
    is_batch,
    read_message_set,
    shallow,
    stored_records,
    up_convert,
)
from tests.rooms.wire.java_batches import BYTES, RECORDS
from tests.rooms.wire.sample_records import content, kafka_python

OLD_CODECS = (Codec.NONE, Codec.GZIP, Codec.SNAPPY, Codec.LZ4)
OLD = [
    Record(3, 1_000, b"a", b"one"),
    Record(4, 1_005, None, b"two" * 500),
    Record(5, 1_002, b"c", None),
]


def timeless(given: list[Record]) -> list[Record]:
    return [record._replace(timestamp=-1) for record in given]


@given(
    st.lists(st.tuples(st.integers(0, 2**40), content, content), min_size=1, max_size=20),
    st.sampled_from([0, 1]),
    st.sampled_from(OLD_CODECS),
    st.integers(0, 2**40),
)
def test_a_message_set_is_read_as_it_was_written(
    given: list[tuple[int, bytes | None, bytes | None]], magic: int, codec: Codec, base_offset: int
) -> None:
    wanted = [Record(base_offset + place, *parts) for place, parts in enumerate(given)]
    data = build_message_set(wanted, magic, codec=codec)
    found = read_message_set(data)
    assert (found.magic, found.codec, found.timestamp_type, found.size_bytes) == (magic, codec, 0, len(data))
    assert found.records == (wanted if magic else timeless(wanted))
    assert not is_batch(data)
    assert all(message.size_bytes == end for message, end in list(shallow(data))[:1])


def test_with_log_append_time_the_wrappers_time_is_everybodys() -> None:
    data = build_message_set(OLD, 1, codec=Codec.GZIP, timestamp_type=1)
    assert [record.timestamp for record in read_message_set(data).records] == [1_005] * 3


def test_a_torn_last_message_is_left_out() -> None:
    data = build_message_set(OLD, 1)
    found = read_message_set(data[:-1])
    assert found.records == OLD[:2]
    assert found.size_bytes < len(data)
    with pytest.raises(KafkaError, match="no batches at all"):
        read_message_set(data[:10])


@pytest.mark.parametrize("codec", OLD_CODECS)
@pytest.mark.parametrize("magic", [0, 1])
def test_a_damaged_message_is_corrupt(magic: int, codec: Codec) -> None:
    data = bytearray(build_message_set(OLD, magic, codec=codec))
    data[-1] ^= 1
    with pytest.raises(CorruptBatch, match="Record is corrupt"):
        read_message_set(data)


def test_sizes_and_magics_that_cannot_be_are_corrupt() -> None:
    data = bytearray(build_message_set(OLD, 1))
    data[16] = 9
    with pytest.raises(CorruptBatch, match="Invalid magic found in record: 9"):
        read_message_set(data)
    data[8:12] = b"\0\0\0\5"
    with pytest.raises(CorruptBatch, match="less than the minimum record overhead"):
        read_message_set(data)


def test_formats_are_not_mixed_and_compressed_sets_stand_alone() -> None:
    mixed = build_message_set(OLD, 0) + build_message_set(OLD, 1)
    two = build_message_set(OLD, 1, codec=Codec.GZIP) * 2
    for data, complaint in ((mixed, "is not the same"), (two, "more than one batch")):
        with pytest.raises(KafkaError, match=complaint) as refusal:
            read_message_set(data)
        assert refusal.value.code is ErrorCode.INVALID_RECORD


def test_a_wrapper_is_not_wrapped_again() -> None:
    inside = gzip.compress(build_message_set(OLD, 1, codec=Codec.GZIP))
    body = struct.pack(">bbqii", 1, Codec.GZIP, 1_000, -1, len(inside)) + inside
    wrapper = struct.pack(">qiI", 5, len(body) + 4, zlib.crc32(body)) + body
    with pytest.raises(CorruptBatch, match="Inner record is compressed"):
        read_message_set(wrapper)


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_nothing(garbage: bytes) -> None:
    with pytest.raises(KafkaError):
        read_message_set(garbage)


@pytest.mark.parametrize("codec", OLD_CODECS)
@pytest.mark.parametrize("magic", [0, 1])
def test_what_old_producers_send_becomes_a_batch(magic: int, codec: Codec) -> None:
    batch = up_convert(build_message_set(OLD, magic, codec=codec), now=5_000)
    assert is_batch(batch)
    header = read_header(batch)
    assert (header.codec, header.base_offset, header.record_count) == (codec, 0, 3)
    times = [record.timestamp for record in OLD] if magic else [-1] * 3
    assert list(records(batch)) == [
        Record(place, time, record.key, record.value, [])
        for place, (record, time) in enumerate(zip(OLD, times, strict=True))
    ]
    assert header.max_timestamp == max(times)


@pytest.mark.parametrize("codec", OLD_CODECS)
@pytest.mark.parametrize("magic", [0, 1])
def test_old_consumers_get_batches_as_message_sets(magic: int, codec: Codec) -> None:
    batch = build([record._replace(headers=[("lost", b"x")]) for record in OLD], base_offset=3, codec=codec)
    found = read_message_set(down_convert(batch, magic))
    assert found.codec == codec
    assert found.records == (OLD if magic else timeless(OLD))


def test_control_batches_and_records_before_the_wanted_one_are_left_out() -> None:
    marker = build_end_marker(EndMarker(True, 0), producer_id=1, producer_epoch=0, timestamp=1, base_offset=6)
    log = build(OLD, base_offset=3) + marker + build(OLD[:1], base_offset=3)
    assert [record.offset for record in read_message_set(down_convert(log, 1, 4)).records] == [4, 5]
    assert down_convert(marker, 0) == b""
    # of a compressed batch nothing can be left out
    packed = build(OLD, base_offset=3, codec=Codec.GZIP)
    assert len(read_message_set(down_convert(packed, 1, 4)).records) == 3


def test_log_append_time_survives_the_way_down() -> None:
    batch = build(OLD, base_offset=3, timestamp_type=1)
    found = read_message_set(down_convert(batch, 1))
    assert found.timestamp_type == 1
    assert {record.timestamp for record in found.records} == {1_005}


def test_old_consumers_cannot_have_zstd() -> None:
    with pytest.raises(KafkaError, match="Down-conversion of zstandard-compressed batches") as refusal:
        down_convert(build(OLD, base_offset=3, codec=Codec.ZSTD), 1)
    assert refusal.value.code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


# other implementations


def _legacy(library: Any, magic: int, codec: Codec) -> bytes:
    builder = library.LegacyRecordBatchBuilder(magic, int(codec), 1 << 30)
    for place, record in enumerate(OLD):
        builder.append(place, record.timestamp if magic else None, record.key, record.value)
    return bytes(builder.build())


def _unnumbered(given: list[Record]) -> list[Record]:
    """Producers leave a wrapper's offset at 0, so the offsets inside mean nothing yet."""
    return [record._replace(offset=-1) for record in given]


@pytest.mark.parametrize(
    ("magic", "codec"), [(magic, codec) for magic in (0, 1) for codec in OLD_CODECS if magic or codec != Codec.LZ4]
)
def test_aiokafka_and_we_read_each_others_message_sets(magic: int, codec: Codec) -> None:
    from aiokafka.record import legacy_records
    from aiokafka.record.memory_records import MemoryRecords

    wanted = [record._replace(offset=place) for place, record in enumerate(OLD if magic else timeless(OLD))]
    produced = read_message_set(_legacy(legacy_records, magic, codec)).records
    assert _unnumbered(produced) == _unnumbered(wanted)
    theirs = MemoryRecords(build_message_set(wanted, magic, codec=codec))
    found = []
    while theirs.has_next():
        batch = theirs.next_batch()
        assert batch is not None
        assert batch.validate_crc()
        found += [Record(r.offset, -1 if r.timestamp is None else r.timestamp, r.key, r.value) for r in batch]
    assert found == wanted


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP])
@pytest.mark.parametrize("magic", [0, 1])
def test_message_sets_of_kafka_python_are_read(magic: int, codec: Codec) -> None:
    library = kafka_python("record.legacy_records")
    produced = read_message_set(_legacy(library, magic, codec)).records
    assert _unnumbered(produced) == _unnumbered(OLD if magic else timeless(OLD))


@pytest.mark.parametrize("codec", OLD_CODECS)
@pytest.mark.parametrize("magic", [0, 1])
def test_message_sets_of_apache_kafka_are_read(magic: int, codec: Codec) -> None:
    wanted = [record._replace(headers=()) for record in (RECORDS if magic else timeless(RECORDS))]
    assert read_message_set(BYTES[magic, codec]).records == wanted


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.LZ4])
@pytest.mark.parametrize("magic", [0, 1])
def test_message_sets_are_the_same_bytes_as_apache_kafkas(magic: int, codec: Codec) -> None:
    assert build_message_set(RECORDS, magic, codec=codec) == BYTES[magic, codec]


def as_batches(*sets: list[Record], codec: Codec = Codec.NONE) -> bytes:
    return b"".join(bytes(build(one, base_offset=one[0].offset, codec=codec)) for one in sets)


def frames(data: bytes) -> list[tuple[int, int, bool]]:
    """Offset and size of every message, and whether it is all there."""
    found, at = [], 0
    while len(data) - at >= 12:
        offset, size = struct.unpack_from(">qi", data, at)
        at += 12 + size
        found.append((offset, size, at <= len(data)))
    return found


LATER = [record._replace(offset=record.offset + 3) for record in OLD]


def test_what_is_shorter_than_the_batches_were_is_filled_up_with_a_message_that_never_ends() -> None:
    batches = as_batches(OLD)
    found = down_convert(batches, 0, first_offset=5)
    assert len(found) == len(batches)
    (whole, size, is_there), (filler, filler_size, filler_is_there) = frames(found)
    assert (whole, is_there) == (5, True)
    assert (filler, filler_size, filler_is_there) == (-1, len(batches) - 12 - size + 1, False)
    assert [record.offset for record in read_message_set(found).records] == [5]


def test_the_first_batch_is_whole_and_what_follows_is_cut_off_where_the_batches_ended() -> None:
    first = as_batches([Record(index, 1, b"k", b"v") for index in range(50)])
    rest = as_batches([Record(index, 1, b"k", b"v") for index in range(50, 100)])
    alone = down_convert(first, 1)
    assert len(alone) > len(first)
    assert [record.offset for record in read_message_set(alone).records] == list(range(50))
    together = down_convert(first + rest, 1)
    assert len(together) == max(len(alone), len(first + rest))
    assert together.startswith(alone[: len(together)])


def test_a_torn_last_batch_is_left_out_and_a_torn_first_one_is_nothing() -> None:
    batches = as_batches(OLD, LATER)
    size = len(as_batches(OLD))
    for cut in range(1, len(batches) - size):
        assert [one.offset for one in read_message_set(down_convert(batches[:-cut], 1)).records] == [3, 4, 5]
    for cut in range(size):
        assert down_convert(batches[:cut], 1) == b""


def test_zstd_ends_a_set_and_fails_what_has_nothing_else() -> None:
    packed = as_batches(LATER, codec=Codec.ZSTD)
    found = down_convert(as_batches(OLD) + packed, 1)
    assert [record.offset for record in read_message_set(found).records] == [3, 4, 5]
    assert len(found) == len(as_batches(OLD) + packed)
    with pytest.raises(KafkaError) as refusal:
        down_convert(packed, 1)
    assert refusal.value.code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


@pytest.mark.parametrize("codec", OLD_CODECS)
def test_messages_that_are_old_enough_are_not_touched(codec: Codec) -> None:
    for stored, wanted in ((0, 0), (0, 1), (1, 1)):
        data = build_message_set(OLD, stored, codec=codec)
        assert down_convert(data, wanted) == data


@pytest.mark.parametrize("codec", OLD_CODECS)
def test_messages_of_format_1_become_format_0_without_times(codec: Codec) -> None:
    found = read_message_set(down_convert(build_message_set(OLD, 1, codec=codec), 0))
    assert (found.magic, found.codec, found.records) == (0, codec, timeless(OLD))


def wrapped(offset: int, inside: bytes, magic: int = 1, attributes: int = Codec.GZIP) -> bytes:
    packed = gzip.compress(inside)
    body = struct.pack(">bb", magic, attributes) + (struct.pack(">q", 9_000) if magic else b"")
    body += struct.pack(">ii", -1, len(packed)) + packed
    return struct.pack(">qiI", offset, len(body) + 4, zlib.crc32(body)) + body


def test_offsets_in_a_wrapper_count_back_from_its_own() -> None:
    relative = [Record(index, 1, b"k", b"%d" % index) for index in (0, 1, 4)]
    data = wrapped(104, build_message_set(relative, 1))
    assert [record.offset for record in stored_records(data)] == [100, 101, 104]
    # as certain producers sent it: the wrapper was not numbered
    assert [record.offset for record in stored_records(wrapped(0, build_message_set(relative, 1)))] == [0, 1, 4]
    with pytest.raises(CorruptBatch, match="less than the last inner message offset '4'"):
        list(stored_records(wrapped(3, build_message_set(relative, 1))))
    # before relative offsets, those inside were the right ones
    absolute = [record._replace(offset=record.offset + 50) for record in relative]
    assert [record.offset for record in stored_records(wrapped(54, build_message_set(absolute, 0), 0))] == [50, 51, 54]


def test_what_an_old_broker_wrapped_wrongly_can_still_be_read() -> None:
    inside = build_message_set([Record(0, 1, b"k", b"v"), Record(1, 2, b"l", b"w")], 0)
    assert [(one.offset, one.timestamp) for one in stored_records(wrapped(8, inside))] == [(7, -1), (8, -1)]
    with pytest.raises(CorruptBatch, match="does not match wrapper magic"):
        read_message_set(wrapped(8, inside))


def test_a_stored_wrapper_may_unpack_to_much_more_than_a_produced_one() -> None:
    data = build_message_set([Record(0, 1, b"k", bytes(6_000_000))], 1, codec=Codec.GZIP)
    assert [len(record.value or b"") for record in stored_records(data)] == [6_000_000]
    with pytest.raises(KafkaError):
        read_message_set(data)
