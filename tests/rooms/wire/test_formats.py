"""Batches of any format: what counts as one, where the next begins, whether it is what its CRC says."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.model.errors import KafkaError
from pykafka_broker.wire.batch import CorruptBatch, Record, TruncatedBatch, build
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.formats import crc_is_right, header_at, headers, records
from pykafka_broker.wire.message_set import build_message_set

OLD_CODECS = (Codec.NONE, Codec.GZIP, Codec.SNAPPY, Codec.LZ4)
THREE = [Record(7, 1_000, b"a", b"one"), Record(8, 1_005, None, b"two" * 500), Record(10, 1_002, b"c", None)]
EMPTY = [Record(7, 1_000, None, None)]


def stored(magic: int, codec: Codec = Codec.NONE, given: list[Record] = THREE) -> bytes:
    """The records as one batch, or as many as they are where an old format does not put them together."""
    if magic == 2:
        return bytes(build(given, base_offset=given[0].offset, codec=codec))
    return build_message_set(given, magic, codec=codec)


@pytest.mark.parametrize("codec", OLD_CODECS[1:])
@pytest.mark.parametrize("magic", [0, 1])
def test_a_wrapper_tells_its_last_offset_and_its_time(magic: int, codec: Codec) -> None:
    data = stored(magic, codec)
    header = header_at(data)
    assert (header.magic, header.codec, header.size_bytes) == (magic, codec, len(data))
    assert (header.last_offset, header.next_offset) == (10, 11)
    assert header.max_timestamp == (1_005 if magic else -1)
    assert (header.leader_epoch, header.producer_id, header.has_producer, header.record_count) == (-1, -1, False, -1)
    assert not header.is_control
    assert not header.is_transactional


def test_a_plain_message_is_a_batch_of_its_own() -> None:
    data = stored(1)
    found = list(headers(data))
    assert [header.last_offset for _, header in found] == [7, 8, 10]
    assert [header.max_timestamp for _, header in found] == [1_000, 1_005, 1_002]
    assert [header.record_count for _, header in found] == [1, 1, 1]
    assert found[-1][0] + found[-1][1].size_bytes == len(data)


@pytest.mark.parametrize("magic", [0, 1])
def test_the_smallest_message_is_shorter_than_a_batchs_header(magic: int) -> None:
    data = stored(magic, given=EMPTY)
    assert len(data) == (34 if magic else 26)
    assert header_at(data).size_bytes == len(data)
    assert crc_is_right(data)
    for size in range(len(data)):
        with pytest.raises(TruncatedBatch):
            header_at(data[:size])
        assert not crc_is_right(data[:size])


def test_the_time_of_a_broker_is_told_only_since_format_1() -> None:
    assert header_at(build_message_set(THREE, 1, codec=Codec.GZIP, timestamp_type=1)).timestamp_type == 1
    assert header_at(build_message_set(THREE, 0, codec=Codec.GZIP, timestamp_type=1)).timestamp_type == 0


def test_batches_of_all_formats_may_follow_one_another() -> None:
    data = stored(0) + stored(1, Codec.LZ4) + stored(2, Codec.GZIP) + stored(0, given=EMPTY)
    assert [header.magic for _, header in headers(data)] == [0, 0, 0, 1, 2, 0]
    found = []
    for position, header in headers(data):
        batch = data[position : position + header.size_bytes]
        assert crc_is_right(batch)
        found += [(record.offset, record.value) for record in records(batch)]
    assert found == [(record.offset, record.value) for record in [*THREE, *THREE, *THREE, *EMPTY]]


@given(st.sampled_from([0, 1, 2]), st.sampled_from(OLD_CODECS), st.data())
def test_any_changed_bit_the_checksum_covers_is_noticed(magic: int, codec: Codec, data: st.DataObject) -> None:
    batch = bytearray(stored(magic, codec, [Record(7, 1_000, b"k" * 40, b"v" * 40)]))
    position = data.draw(st.integers(21 if magic == 2 else 17, len(batch) - 1))
    batch[position] ^= 1 << data.draw(st.integers(0, 7))
    assert not crc_is_right(batch)


@pytest.mark.parametrize("magic", [0, 1])
def test_what_cannot_be_a_message_is_corrupt(magic: int) -> None:
    good = stored(magic)
    too_short = bytearray(good)
    struct.pack_into(">i", too_short, 8, 13 if magic == 0 else 21)
    negative = bytearray(good)
    struct.pack_into(">q", negative, 0, -1)
    unknown = bytearray(good)
    unknown[16] = 3
    for data in (too_short, negative, unknown, bytes(100)):
        with pytest.raises(CorruptBatch) as refusal:
            list(headers(data))
        assert not isinstance(refusal.value, TruncatedBatch)


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    try:
        for position, header in headers(garbage):
            assert position + header.size_bytes <= len(garbage)
            list(records(garbage[position : position + header.size_bytes]))
    except KafkaError:
        pass
    else:
        assert not garbage
