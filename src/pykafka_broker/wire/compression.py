"""The five codecs of record batches, byte-compatible with the Java client, and bounded when they unpack.

gzip is the standard library's zlib; the rest is cramjam, imported when the first such batch comes along. What Java
demands beyond the codecs themselves is done here: xerial's stream framing for snappy, LZ4 frames of independent
blocks, and the wrong LZ4 header checksum of message format v0.

Source: Kafka's ``org.apache.kafka.common.compress``, ``Lz4BlockInputStream``, snappy-java's ``SnappyInputStream``.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import Any

from pykafka_broker.model.errors import ErrorCode, KafkaError

Buffer = bytes | bytearray | memoryview

LZ4_DEFAULT_LEVEL = 9
"""Kafka's default, which stands for the fast compressor, not for level 9 of the slow one."""
ZSTD_DEFAULT_LEVEL = 3


class Codec(enum.IntEnum):
    """A codec by its id in the attributes; the name in lower case is Kafka's ``compression.type``."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class BadCompression(KafkaError):
    """Bytes that do not decompress, or to more than the caller will hold; CORRUPT_MESSAGE to the client."""

    def __init__(self, detail: str) -> None:
        super().__init__(ErrorCode.CORRUPT_MESSAGE, detail)


def compress(codec: Codec, data: Buffer, level: int | None = None) -> Buffer:
    """``data`` compressed; ``level`` as in ``compression.{gzip,lz4,zstd}.level``, None for Kafka's default."""
    match codec:
        case Codec.NONE:
            return data
        case Codec.GZIP:
            packer = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION if level is None else level, zlib.DEFLATED, _GZIP)
            return packer.compress(data) + packer.flush()
        case Codec.SNAPPY:
            return _snappy_compressed(data)
        case Codec.LZ4:
            return _lz4_compressed(data, level)
        case Codec.ZSTD:
            return memoryview(_cramjam().zstd.compress(data, ZSTD_DEFAULT_LEVEL if level is None else level))


def decompress(codec: Codec, data: Buffer, limit_bytes: int) -> Buffer:
    """``data`` decompressed; :class:`BadCompression` when it is damaged or gives more than ``limit_bytes``.

    Never holds more than ``limit_bytes`` of output, plus the buffer it has just outgrown.
    """
    match codec:
        case Codec.NONE:
            return data
        case Codec.GZIP:
            return _gzip_decompressed(data, limit_bytes)
        case Codec.SNAPPY:
            return _snappy_decompressed(data, limit_bytes)
        case Codec.LZ4:
            return _lz4_decompressed(data, limit_bytes)
        case Codec.ZSTD:
            return _grown(_cramjam().zstd.decompress_into, data, 4 * len(data), limit_bytes)


def _cramjam() -> Any:
    # imported late: a broker that meets no compressed batch never pays for it
    import cramjam

    return cramjam


def _too_much(limit_bytes: int) -> BadCompression:
    return BadCompression(f"Compressed records hold more than {limit_bytes} bytes")


def _grown(decompress_into: Callable[[Buffer, bytearray], int], data: Buffer, guess: int, limit_bytes: int) -> Buffer:
    """Decompress into a buffer that doubles until it is large enough or would pass the limit.

    cramjam stops writing when the buffer is full, so a bomb never holds more than the buffer given to it.
    """
    size = min(max(guess, _SMALLEST_GUESS), limit_bytes)
    while True:
        out = bytearray(size)
        try:
            return memoryview(out)[: decompress_into(data, out)]
        except Exception as failure:  # cramjam has one error for everything
            if "failed to write whole buffer" not in str(failure):
                raise BadCompression(f"Cannot decompress records: {failure}") from None
        if size >= limit_bytes:
            raise _too_much(limit_bytes)
        size = min(4 * size, limit_bytes)


# gzip: ordinary, possibly several members in a row, anything after the last is ignored as java.util.zip does


def _gzip_decompressed(data: Buffer, limit_bytes: int) -> Buffer:
    parts: list[bytes] = []
    room = limit_bytes
    rest: Buffer = data
    try:
        while True:
            member = zlib.decompressobj(_GZIP)
            part = member.decompress(rest, room + 1)
            room -= len(part)
            if room < 0:
                raise _too_much(limit_bytes)
            parts.append(part)
            if not member.eof:
                raise BadCompression("Cannot decompress records: incomplete gzip stream")
            rest = member.unused_data
            if rest[:2] != _GZIP_MAGIC:
                break
    except zlib.error as failure:
        raise BadCompression(f"Cannot decompress records: {failure}") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


# snappy: xerial's stream of length-prefixed raw blocks, or one raw block


def _snappy_compressed(data: Buffer) -> Buffer:
    compress_raw = _cramjam().snappy.compress_raw
    view = memoryview(data)
    out = bytearray(_XERIAL_HEADER)
    for start in range(0, len(view), _SNAPPY_BLOCK_BYTES):
        block = memoryview(compress_raw(view[start : start + _SNAPPY_BLOCK_BYTES]))
        out += _BIG_INT.pack(len(block))
        out += block
    return out


def _snappy_decompressed(data: Buffer, limit_bytes: int) -> Buffer:
    snappy = _cramjam().snappy
    view = memoryview(data)
    try:
        if view[:8] != _XERIAL_MAGIC:
            if snappy.decompress_raw_len(view) > limit_bytes:
                raise _too_much(limit_bytes)
            return memoryview(snappy.decompress_raw(view))
        blocks: list[memoryview] = []
        size, position, end = 0, len(_XERIAL_HEADER), len(view)
        while position < end:
            length: int = _BIG_INT.unpack_from(view, position)[0]
            if length == _XERIAL_MAGIC_INT:  # streams may follow one another
                position += len(_XERIAL_HEADER)
                continue
            position += 4
            if length < 0 or position + length > end:
                raise BadCompression("Cannot decompress records: incomplete snappy block")
            block = view[position : position + length]
            size += snappy.decompress_raw_len(block)
            if size > limit_bytes:
                raise _too_much(limit_bytes)
            blocks.append(block)
            position += length
        if len(blocks) == 1:
            return memoryview(snappy.decompress_raw(blocks[0]))
        out = bytearray(size)
        target, filled = memoryview(out), 0
        for block in blocks:
            filled += snappy.decompress_raw_into(block, target[filled:])
        return out
    except BadCompression:
        raise
    except Exception as failure:  # cramjam's one error, or struct's
        raise BadCompression(f"Cannot decompress records: {failure}") from None


# lz4: frames of independent blocks of 64 KiB, without checksums, as Lz4BlockOutputStream writes them


def _lz4_compressed(data: Buffer, level: int | None) -> Buffer:
    if level is not None and level != LZ4_DEFAULT_LEVEL:
        return _lz4_compressed_high(data, level)
    compress_block = _cramjam().lz4.compress_block
    view = memoryview(data)
    out = bytearray(_LZ4_HEADER)
    for start in range(0, len(view), _LZ4_BLOCK_BYTES):
        raw = view[start : start + _LZ4_BLOCK_BYTES]
        block = memoryview(compress_block(raw, store_size=False))
        if len(block) < len(raw):
            out += _LITTLE_INT.pack(len(block))
            out += block
        else:
            out += _LITTLE_INT.pack(len(raw) | _LZ4_STORED)
            out += raw
    out += _LZ4_END
    return out


def _lz4_compressed_high(data: Buffer, level: int) -> Buffer:
    """With the slow compressor, whose levels only cramjam's own frames know; they bear a checksum after every block."""
    packer = _cramjam().lz4.Compressor(max(level, _LZ4_LEAST_HIGH), content_checksum=False, block_linked=False)
    packer.compress(bytes(data))
    frame = memoryview(packer.finish())
    assert frame[4:6] == _LZ4_INDEPENDENT_CHECKED
    out = bytearray(_LZ4_HEADER)
    position = len(_LZ4_HEADER)
    while size := _LITTLE_INT.unpack_from(frame, position)[0]:
        end = position + _LITTLE_INT.size + (size & ~_LZ4_STORED)
        out += frame[position:end]
        position = end + _LITTLE_INT.size
    out += _LZ4_END
    return out


def _lz4_decompressed(data: Buffer, limit_bytes: int) -> Buffer:
    view = memoryview(data)
    if len(view) < 7 or view[:4] != _LZ4_MAGIC:
        raise BadCompression("Cannot decompress records: Stream unsupported (invalid magic bytes)")
    flags, block_descriptor = view[4], view[5]
    if not flags & 0x20:
        raise BadCompression("Dependent block stream is unsupported (BLOCK_INDEPENDENCE must be set)")
    # the blocks' number times their size bounds the output, so that usually one buffer does
    block_size = _LZ4_BLOCK_SIZES.get(block_descriptor >> 4 & 7, 0)
    position = 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
    checksum = 4 if flags & 0x10 else 0
    bound, end = 0, len(view)
    try:
        while length := _LITTLE_INT.unpack_from(view, position)[0]:
            stored = length & _LZ4_STORED
            length &= ~_LZ4_STORED
            # a block of n bytes never unpacks to more than 255 n
            bound += length if stored else min(block_size, 255 * length)
            position += 4 + length + checksum
    except StructError:
        raise BadCompression("Cannot decompress records: incomplete lz4 frame") from None
    # what follows the end mark is not looked at, as in Lz4BlockInputStream
    position = min(position + 4 + (4 if flags & 0x04 else 0), end)
    return _grown(_cramjam().lz4.decompress_into, view[:position], bound, limit_bytes)


def lz4_with_wrong_checksum(frame: Buffer) -> Buffer:
    """An lz4 frame as message format v0 has it: the header checksum taken over the magic, too (KAFKA-3160)."""
    return _with_header_checksum(frame, 0)


def lz4_with_right_checksum(frame: Buffer) -> Buffer:
    """An lz4 frame out of message format v0 with the header checksum that the lz4 format asks for."""
    return _with_header_checksum(frame, 4)


def _with_header_checksum(frame: Buffer, start: int) -> Buffer:
    out = bytearray(frame)
    if len(out) < 7:
        raise BadCompression("Cannot decompress records: incomplete lz4 frame")
    end = 6 + (8 if out[4] & 0x08 else 0) + (4 if out[4] & 0x01 else 0)
    if end >= len(out):
        raise BadCompression("Cannot decompress records: incomplete lz4 frame")
    out[end] = _xxh32(out[start:end]) >> 8 & 0xFF
    return out


def _xxh32(data: bytes | bytearray) -> int:
    """XXH32 with seed 0 of the few bytes of an lz4 frame header."""
    mask = 0xFFFFFFFF
    one, two, three, four, five = 2654435761, 2246822519, 3266489917, 668265263, 374761393
    position, end = 0, len(data)
    if end >= 16:
        lanes = [(one + two) & mask, two, 0, -one & mask]
        while position + 16 <= end:
            for lane in range(4):
                word = int.from_bytes(data[position : position + 4], "little")
                value = (lanes[lane] + word * two) & mask
                lanes[lane] = (value << 13 | value >> 19) * one & mask
                position += 4
        value = sum((lane << turn | lane >> 32 - turn) & mask for lane, turn in zip(lanes, (1, 7, 12, 18), strict=True))
    else:
        value = five
    value = (value + end) & mask
    while position + 4 <= end:
        value = (value + int.from_bytes(data[position : position + 4], "little") * three) & mask
        value = (value << 17 | value >> 15) * four & mask
        position += 4
    for byte in data[position:]:
        value = (value + byte * five) & mask
        value = (value << 11 | value >> 21) * one & mask
    value = (value ^ value >> 15) * two & mask
    value = (value ^ value >> 13) * three & mask
    return value ^ value >> 16


_GZIP = zlib.MAX_WBITS | 16
_GZIP_MAGIC = b"\x1f\x8b"

_BIG_INT = Struct(">i")
_LITTLE_INT = Struct("<I")

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_MAGIC_INT = int.from_bytes(_XERIAL_MAGIC[:4], "big", signed=True)
_XERIAL_HEADER = _XERIAL_MAGIC + b"\x00\x00\x00\x01\x00\x00\x00\x01"
_SNAPPY_BLOCK_BYTES = 32 * 1024

_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_LZ4_INDEPENDENT_CHECKED = b"\x70\x40"
"""The flags of a frame with independent blocks of 64 KiB, each with a checksum."""
_LZ4_LEAST_HIGH = 3
"""Below this level lz4's frames are made by the fast compressor; Java's levels 1 and 2 are slow ones already."""
_LZ4_HEADER = bytes(_with_header_checksum(_LZ4_MAGIC + b"\x60\x40\x00", 4))
_LZ4_END = bytes(4)
_LZ4_STORED = 0x80000000
_LZ4_BLOCK_BYTES = 64 * 1024
_LZ4_BLOCK_SIZES = {4: 64 * 1024, 5: 256 * 1024, 6: 1024 * 1024, 7: 4 * 1024 * 1024}

_SMALLEST_GUESS = 4096
