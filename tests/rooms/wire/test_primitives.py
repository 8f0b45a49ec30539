"""Positions, varints, and values without parts; construct's own parts can be mixed in."""

from __future__ import annotations

import io
from typing import Any
from uuid import UUID

import construct
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.model.errors import WireError
from pykafka_broker.wire.pieces import FilePiece, FilePieces
from pykafka_broker.wire.primitives import (
    BORROWED_FROM_BYTES,
    LONGEST_STRING_BYTES,
    Number,
    Reader,
    Shape,
    Sized,
    Uuid,
    Writer,
    take_uvarint,
    uvarint,
)


def _written(shape: Shape, value: Any) -> bytes:
    writer = Writer()
    shape.give(value, writer)
    return writer.joined()


@given(st.integers(0, 2**32 - 1))
def test_varints_come_back(value: int) -> None:
    reader = Reader(uvarint(value) + b"rest")
    assert take_uvarint(reader) == value
    assert reader.position == len(uvarint(value)) <= 5


@pytest.mark.parametrize("data", [b"\x80" * 5 + b"\x01", b"\xff" * 6, b"\xff\xff\xff\xff\x7f"])
def test_varints_end_with_32_bits(data: bytes) -> None:
    with pytest.raises(WireError):
        take_uvarint(Reader(data))


@pytest.mark.parametrize("value", [-1, 2**32])
def test_varints_are_unsigned_and_have_32_bits(value: int) -> None:
    with pytest.raises(ValueError):
        uvarint(value)


@pytest.mark.parametrize(
    ("shape", "value", "written"),
    [
        (Number("h"), -2, b"\xff\xfe"),
        (Number("?"), True, b"\x01"),
        (Uuid(), UUID(int=1), bytes(15) + b"\x01"),
        (Sized("string", False, False), "é", b"\x00\x02\xc3\xa9"),
        (Sized("string", True, False), "é", b"\x03\xc3\xa9"),
        (Sized("string", False, True), None, b"\xff\xff"),
        (Sized("bytes", False, True), None, b"\xff\xff\xff\xff"),
        (Sized("bytes", True, True), None, b"\x00"),
        (Sized("bytes", False, False), b"ab", b"\x00\x00\x00\x02ab"),
        (Sized("bytes", True, False), bytearray(b"ab"), b"\x03ab"),
        (Sized("records", True, True), memoryview(b"ab"), b"\x03ab"),
    ],
)
def test_how_values_look(shape: Shape, value: object, written: bytes) -> None:
    assert _written(shape, value) == written
    reader = Reader(b"before" + written + b"behind", len(b"before"))
    assert shape.take(reader) == value
    assert reader.position == len(b"before") + len(written)
    assert len(written) >= shape.least


def test_any_byte_but_zero_is_true() -> None:
    assert Number("?").take(Reader(b"\x02")) is True


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("kind", ["string", "bytes", "records"])
def test_null_is_refused_where_it_is_not_allowed(kind: str, compact: bool) -> None:
    null = _written(Sized(kind, compact, True), None)
    with pytest.raises(WireError, match="null"):
        Sized(kind, compact, False).take(Reader(null))
    with pytest.raises(ValueError, match="null"):
        _written(Sized(kind, compact, False), None)


def test_any_negative_length_is_null_as_in_kafka() -> None:
    assert Sized("string", False, True).take(Reader(b"\xff\xfb")) is None


@pytest.mark.parametrize("kind", ["string", "bytes", "records"])
def test_more_announced_than_left_is_refused(kind: str) -> None:
    with pytest.raises(WireError, match="9 bytes announced, 2 left"):
        Sized(kind, True, False).take(Reader(b"\x0aab"))


def test_texts_are_no_longer_than_kafkas() -> None:
    longest = "x" * LONGEST_STRING_BYTES
    shape = Sized("string", True, False)
    assert shape.take(Reader(_written(shape, longest))) == longest
    with pytest.raises(ValueError, match="too long"):
        _written(shape, longest + "x")
    with pytest.raises(WireError, match="too long"):
        shape.take(Reader(uvarint(LONGEST_STRING_BYTES + 2) + b"x" * (LONGEST_STRING_BYTES + 1)))


def test_malformed_text_is_replaced_as_in_java() -> None:
    assert Sized("string", True, False).take(Reader(b"\x04a\xffb")) == "a\ufffdb"
    assert _written(Sized("string", True, False), "a\ud800") == b"\x03a?"


def test_records_are_views_and_bytes_are_copies() -> None:
    frame = bytearray(b"\x03ab")
    view = Sized("records", True, False).take(Reader(frame))
    copy = Sized("bytes", True, False).take(Reader(frame))
    frame[1:] = b"xy"
    assert (bytes(view), copy) == (b"xy", b"ab")  # type: ignore[arg-type]
    assert type(copy) is bytes


def test_long_records_are_passed_on_and_short_ones_copied() -> None:
    long, short = memoryview(bytes(BORROWED_FROM_BYTES)), b"short"
    writer = Writer()
    shape = Sized("records", True, False)
    shape.give(long, writer)
    shape.give(short, writer)
    first, second, third = writer.finish()
    assert (first, third) == (uvarint(len(long) + 1), b"\x06short")
    assert second is long


def test_pieces_of_files_are_passed_on_behind_their_length() -> None:
    writer = Writer()
    region = FilePiece(3, 100, 1_000)
    Sized("records", False, False).give(FilePieces([b"ab", region]), writer)
    assert writer.finish() == [b"\x00\x00\x03\xeaab", region]
    writer.pass_on(region)
    with pytest.raises(ValueError, match="in a file"):
        writer.joined()


def test_a_reader_is_a_stream() -> None:
    reader = Reader(b"abcdef")
    assert reader.read(2) == b"ab"
    assert (reader.tell(), reader.seek(-1, io.SEEK_END), reader.read(), reader.read(1)) == (2, 5, b"f", b"")
    assert reader.seek(1) == 1
    assert reader.seek(1, io.SEEK_CUR) == 2


def test_shapes_mix_with_constructs_own_parts() -> None:
    pair = construct.Struct("size" / construct.Int8ub, "name" / Sized("string", True, False), "end" / construct.Int8ub)
    assert pair.build({"size": 1, "name": "ab", "end": 7}) == b"\x01\x03ab\x07"
    parsed = pair.parse(b"\x01\x03ab\x07")
    assert (parsed.size, parsed.name, parsed.end) == (1, "ab", 7)
    assert Sized("string", True, False).parse(b"\x03ab") == "ab"
    assert construct.Int16ub.parse_stream(Reader(b"\x01\x02")) == 0x102
