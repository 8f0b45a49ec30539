"""Arrays, structs that may be null, tagged fields, and what of them is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pykafka_broker.model.errors import WireError
from pykafka_broker.wire import messages
from pykafka_broker.wire.codec import codec
from pykafka_broker.wire.primitives import Number, Reader, Shape, Sized, Writer
from pykafka_broker.wire.shapes import ArrayOf, Fields, Maybe, Run, TaggedMaybe, unknown_tags

TEXT = Sized("string", True, False)


def _written(shape: Shape, value: Any) -> bytes:
    writer = Writer()
    shape.give(value, writer)
    return writer.joined()


@pytest.mark.parametrize(
    ("shape", "value", "written"),
    [
        (Run("bhi"), (1, 2, 3), b"\x01\x00\x02\x00\x00\x00\x03"),
        (ArrayOf(Number("h"), True, False), [1, 2], b"\x03\x00\x01\x00\x02"),
        (ArrayOf(Number("h"), False, False), [1], b"\x00\x00\x00\x01\x00\x01"),
        (ArrayOf(TEXT, True, False), ["a", ""], b"\x03\x02a\x01"),
        (ArrayOf(TEXT, True, True), None, b"\x00"),
        (ArrayOf(TEXT, False, True), None, b"\xff\xff\xff\xff"),
        (Maybe(TEXT), "a", b"\x01\x02a"),
        (Maybe(TEXT), None, b"\xff"),
        (TaggedMaybe(TEXT), "a", b"\x01\x02a"),
        (TaggedMaybe(TEXT), None, b"\x00"),
    ],
)
def test_how_values_look(shape: Shape, value: object, written: bytes) -> None:
    assert _written(shape, value) == written
    reader = Reader(written + b"behind")
    assert shape.take(reader) == value
    assert reader.position == len(written)


@pytest.mark.parametrize("compact", [False, True])
def test_null_arrays_are_refused_where_they_are_not_allowed(compact: bool) -> None:
    null = _written(ArrayOf(TEXT, compact, True), None)
    with pytest.raises(WireError, match="null"):
        ArrayOf(TEXT, compact, False).take(Reader(null))
    with pytest.raises(ValueError, match="null"):
        _written(ArrayOf(TEXT, compact, False), None)


def test_a_count_is_checked_before_anything_is_made() -> None:
    with pytest.raises(WireError, match="3 elements announced, 11 bytes left"):
        ArrayOf(Number("i"), True, False).take(Reader(b"\x04" + bytes(11)))
    with pytest.raises(WireError, match="2147483647 elements announced"):
        ArrayOf(TEXT, False, False).take(Reader(b"\x7f\xff\xff\xff" + bytes(11)))


def test_small_things_are_refused_when_they_would_hold_too_much() -> None:
    shape = ArrayOf(TEXT, True, False)
    reader = Reader(b"\x03\x01\x01")
    reader.room = 2 * shape.charge
    assert shape.take(reader) == ["", ""]
    assert reader.room == 0
    with pytest.raises(WireError, match="small things"):
        shape.take(_reader_with_room(b"\x03\x01\x01", 2 * shape.charge - 1))


def _reader_with_room(data: bytes, room: int) -> Reader:
    reader = Reader(data)
    reader.room = room
    return reader


def _fetch(version: int = 17) -> Fields:
    return codec(messages.FetchRequest, version)


def _tail(*tagged: bytes) -> bytes:
    return bytes(21) + b"\x01\x01\x01" + bytes([len(tagged)]) + b"".join(tagged)


def test_tagged_fields_are_written_only_when_they_differ() -> None:
    assert _written(_fetch(), messages.FetchRequest(max_bytes=0, session_epoch=0)) == _tail()
    named = messages.FetchRequest(max_bytes=0, session_epoch=0, cluster_id="a")
    assert _written(_fetch(), named) == _tail(b"\x00\x02\x02a")
    assert _fetch().take(Reader(_tail(b"\x00\x02\x02a"))) == named


def test_unknown_tagged_fields_are_kept_and_written_back_in_order() -> None:
    data = _tail(b"\x00\x02\x02a", b"\x07\x03xyz", b"\x09\x00")
    request = _fetch().take(Reader(data))
    assert unknown_tags(request._tags) == {7: b"xyz", 9: b""}
    assert _written(_fetch(), request) == data


def test_tagged_fields_may_come_in_any_order_and_twice_as_kafka_takes_them() -> None:
    request = _fetch().take(Reader(_tail(b"\x07\x01x", b"\x00\x02\x02a", b"\x07\x01y", b"\x00\x02\x02b")))
    assert request.cluster_id == "b"
    assert _written(_fetch(), request) == _tail(b"\x00\x02\x02b", b"\x07\x01y")


def test_the_size_of_a_tagged_field_that_is_known_does_not_matter_as_in_kafka() -> None:
    for size in (b"\x01", b"\x03", b"\x7f"):
        assert _fetch().take(Reader(_tail(b"\x00" + size + b"\x02a"))).cluster_id == "a"


@pytest.mark.parametrize(
    ("tail", "complaint"),
    [
        (_tail(b"\x00\x02\x03a"), "2 bytes announced, 1 left"),
        (_tail(b"\x07\x09x"), "9 bytes announced for tag 7, 1 left"),
        (_tail()[:-1] + b"\x7f\x07\x00", "127 tagged fields announced, 2 bytes left"),
    ],
)
def test_tagged_fields_that_do_not_add_up_are_refused(tail: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        _fetch().take(Reader(tail))


def test_versions_without_tagged_fields_refuse_to_lose_them() -> None:
    request = messages.FetchRequest()
    request._tags = b"\x07\x00"
    with pytest.raises(ValueError, match="no tagged fields"):
        _written(_fetch(11), request)


def test_what_a_version_lacks_must_be_default_unless_it_is_lossy() -> None:
    lossy = messages.JoinGroupRequest(reason="why")
    assert _written(codec(messages.JoinGroupRequest, 4), lossy)
    with pytest.raises(ValueError, match="cannot say group_instance_id"):
        _written(codec(messages.JoinGroupRequest, 4), messages.JoinGroupRequest(group_instance_id="a"))


def test_a_structure_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"HeartbeatRequest where FetchRequest is wanted"):
        _written(_fetch(), messages.HeartbeatRequest())
