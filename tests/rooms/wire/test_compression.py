"""The codecs: round trips, what other programs write, and bombs."""

from __future__ import annotations

import contextlib
import gzip
import random
import tracemalloc
import zlib

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.wire.compression import (
    BadCompression,
    Codec,
    compress,
    decompress,
    lz4_with_right_checksum,
    lz4_with_wrong_checksum,
)

PACKED = [codec for codec in Codec if codec is not Codec.NONE]
LIMIT = 1 << 20

TEXT = b"the quick brown fox " * 9_000
NOISE = random.Random(1).randbytes(200_000)


@given(st.sampled_from(Codec), st.binary(max_size=2_000) | st.sampled_from([TEXT, NOISE, TEXT + NOISE]))
def test_everything_comes_back(codec: Codec, data: bytes) -> None:
    assert bytes(decompress(codec, compress(codec, data), LIMIT)) == data


@pytest.mark.parametrize(
    ("codec", "levels"), [(Codec.GZIP, (1, 9, -1)), (Codec.LZ4, (1, 9, 17)), (Codec.ZSTD, (-5, 1, 3, 19))]
)
def test_levels_differ_in_effort_only(codec: Codec, levels: tuple[int, ...]) -> None:
    for level in levels:
        packed = compress(codec, memoryview(TEXT), level)
        assert len(packed) < len(TEXT) / 10
        assert bytes(decompress(codec, packed, LIMIT)) == TEXT


@pytest.mark.parametrize(("codec", "fast", "thorough"), [(Codec.GZIP, 1, 9), (Codec.LZ4, 9, 1), (Codec.LZ4, 1, 17)])
def test_more_effort_makes_less_of_it(codec: Codec, fast: int, thorough: int) -> None:
    # Level 9 of lz4 is Kafka's default, the fast compressor.
    text = b"".join(b"%d bottles of beer, %x;" % (n * n % 97, n * 2654435761) for n in range(20_000))
    large, small = compress(codec, text, fast), compress(codec, text, thorough)
    assert len(small) < len(large)
    assert bytes(decompress(codec, small, len(text))) == text


@given(st.binary(max_size=2_000) | st.sampled_from([TEXT, NOISE, TEXT + NOISE]), st.integers(1, 17))
def test_everything_comes_back_from_every_level_of_lz4(data: bytes, level: int) -> None:
    packed = compress(Codec.LZ4, data, level)
    assert bytes(packed[:7]) == bytes(compress(Codec.LZ4, b"")[:7])
    assert bytes(decompress(Codec.LZ4, packed, LIMIT)) == data


@pytest.mark.parametrize("codec", PACKED)
def test_a_limit_is_kept_to_the_byte(codec: Codec) -> None:
    packed = compress(codec, TEXT)
    assert bytes(decompress(codec, packed, len(TEXT))) == TEXT
    with pytest.raises(BadCompression, match=f"more than {len(TEXT) - 1} bytes") as refusal:
        decompress(codec, packed, len(TEXT) - 1)
    assert refusal.value.code is ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("codec", PACKED)
def test_a_bomb_is_refused_without_holding_what_it_unpacks_to(codec: Codec) -> None:
    bomb = bytes(compress(codec, bytes(50_000_000)))
    limit = 2_000_000
    tracemalloc.start()
    try:
        with pytest.raises(BadCompression, match="more than"):
            decompress(codec, bomb, limit)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2.5 * limit + len(bomb)


@pytest.mark.parametrize("codec", PACKED)
def test_damage_is_noticed(codec: Codec) -> None:
    packed = bytes(compress(codec, TEXT))
    for damaged in (packed[: len(packed) // 2], packed[:5], b"", b"\xff" * 40):
        with pytest.raises(BadCompression):
            decompress(codec, damaged, LIMIT)


@given(st.sampled_from(PACKED), st.binary(max_size=300))
def test_garbage_unpacks_or_is_refused(codec: Codec, garbage: bytes) -> None:
    with contextlib.suppress(BadCompression):
        assert len(decompress(codec, garbage, LIMIT)) <= LIMIT


def test_gzip_members_may_follow_one_another_and_rubbish_after_them_is_ignored() -> None:
    two = gzip.compress(b"one ") + gzip.compress(b"two")
    assert decompress(Codec.GZIP, two, LIMIT) == b"one two"
    assert decompress(Codec.GZIP, two + b"rubbish", LIMIT) == b"one two"
    with pytest.raises(BadCompression, match="more than 6"):
        decompress(Codec.GZIP, two, 6)


def test_gzip_is_readable_by_the_standard_library() -> None:
    assert gzip.decompress(compress(Codec.GZIP, TEXT)) == TEXT
    assert zlib.decompress(compress(Codec.GZIP, TEXT, 9), 31) == TEXT


def test_snappy_is_framed_as_xerial_does() -> None:
    framed = bytes(compress(Codec.SNAPPY, TEXT))
    assert framed.startswith(b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01")
    blocks, position = [], 16
    while position < len(framed):
        size = int.from_bytes(framed[position : position + 4], "big")
        blocks.append(bytes(cramjam.snappy.decompress_raw(framed[position + 4 : position + 4 + size])))
        position += 4 + size
    assert b"".join(blocks) == TEXT
    assert {len(block) for block in blocks[:-1]} == {32 * 1024}


def test_raw_snappy_and_joined_xerial_streams_are_read() -> None:
    raw = bytes(cramjam.snappy.compress_raw(TEXT))
    assert bytes(decompress(Codec.SNAPPY, raw, LIMIT)) == TEXT
    joined = bytes(compress(Codec.SNAPPY, b"one ")) + bytes(compress(Codec.SNAPPY, b"two"))
    assert bytes(decompress(Codec.SNAPPY, joined, LIMIT)) == b"one two"


def test_lz4_frames_are_laid_out_as_javas() -> None:
    frame = bytes(compress(Codec.LZ4, NOISE))
    # independent blocks of 64 KiB, no checksums, and blocks that do not shrink are stored
    assert frame[:7].hex() == "04224d18604082"
    assert int.from_bytes(frame[7:11], "little") == 0x80000000 | 65536
    assert frame.endswith(b"\0\0\0\0")
    assert bytes(cramjam.lz4.decompress(frame)) == NOISE


def test_lz4_frames_of_other_programs_are_read() -> None:
    packer = cramjam.lz4.Compressor(level=4, content_checksum=True, block_linked=False)
    packer.compress(TEXT)
    assert bytes(decompress(Codec.LZ4, bytes(packer.finish()), LIMIT)) == TEXT


def test_lz4_frames_of_linked_blocks_are_refused_as_java_would() -> None:
    packer = cramjam.lz4.Compressor(level=4, content_checksum=False, block_linked=True)
    packer.compress(TEXT)
    with pytest.raises(BadCompression, match="Dependent block stream is unsupported"):
        decompress(Codec.LZ4, bytes(packer.finish()), LIMIT)


def test_what_follows_an_lz4_frame_is_not_looked_at() -> None:
    assert bytes(decompress(Codec.LZ4, bytes(compress(Codec.LZ4, TEXT)) + b"rubbish", LIMIT)) == TEXT


def test_the_wrong_header_checksum_of_the_oldest_format_is_put_in_and_taken_out() -> None:
    right = bytes(compress(Codec.LZ4, TEXT))
    wrong = bytes(lz4_with_wrong_checksum(right))
    assert wrong[6] == 0x1A  # what Java 0.8 to 3.9 writes for this descriptor
    assert wrong[:6] + wrong[7:] == right[:6] + right[7:]
    with pytest.raises(BadCompression):
        decompress(Codec.LZ4, wrong, LIMIT)
    assert lz4_with_right_checksum(wrong) == right


def test_a_header_checksum_covers_the_content_size_where_there_is_one() -> None:
    # an lz4 command line's frame: descriptor 0x68 0x40, content size 3, header checksum by the reference program
    frame = bytes.fromhex("04224d18684003000000000000009e03000080616263") + bytes(4)
    assert lz4_with_right_checksum(lz4_with_wrong_checksum(frame)) == lz4_with_right_checksum(frame)
    assert bytes(decompress(Codec.LZ4, bytes(lz4_with_right_checksum(frame)), LIMIT)) == b"abc"


def test_zstd_frames_may_be_several_and_may_not_tell_their_size() -> None:
    packer = cramjam.zstd.Compressor(level=3)
    packer.compress(TEXT)
    unsized = bytes(packer.finish())
    assert bytes(decompress(Codec.ZSTD, unsized, LIMIT)) == TEXT
    two = bytes(compress(Codec.ZSTD, b"one ")) + unsized
    assert bytes(decompress(Codec.ZSTD, two, LIMIT)) == b"one " + TEXT
