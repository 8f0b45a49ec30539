"""Any bytes are a call or a ``WireError``, and never hold more memory than is said in ``shapes.py``."""

from __future__ import annotations

import contextlib
import gc
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pykafka_broker.model.errors import WireError
from pykafka_broker.wire import messages, spec
from pykafka_broker.wire.codec import codec
from pykafka_broker.wire.compiled import compiled_take
from pykafka_broker.wire.exchange import Served, open_call, read_response, write_request
from pykafka_broker.wire.primitives import ROOM_BYTES, ROOM_PER_BYTE, Reader, uvarint
from pykafka_broker.wire.structures import Message, message_class
from tests.wire.random_messages import messages as random_messages

HEADINGS = [spec.heading(name) for name in spec.api_names()]
EVERYTHING = Served({heading.key: (heading.low, heading.high) for heading in HEADINGS})
HELD_PER_BYTE = 32

FUZZ = settings(
    max_examples=max(3, settings().max_examples // 30),
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", spec.api_names())
@FUZZ
@given(data=st.data())
def test_damaged_requests_are_calls_or_refused(name: str, data: st.DataObject) -> None:
    heading = spec.heading(name)
    for version in range(heading.low, heading.high + 1):
        body = data.draw(random_messages(f"{name}Request", version))
        frame = bytearray(write_request(name, version, 7, "me", body)[4:])
        for _ in range(data.draw(st.integers(0, 4))):
            frame[data.draw(st.integers(4, len(frame) - 1))] = data.draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]))
        frame = frame[: data.draw(st.sampled_from([len(frame), len(frame) - 1, len(frame) // 2]))]
        _is_opened_or_refused(bytes(frame))


@pytest.mark.slow
@pytest.mark.parametrize("name", spec.api_names())
@FUZZ
@given(data=st.data())
def test_random_bodies_are_calls_or_refused(name: str, data: st.DataObject) -> None:
    heading = spec.heading(name)
    for version in range(heading.low, heading.high + 1):
        _is_opened_or_refused(struct.pack(">hhi", heading.key, version, 1) + data.draw(st.binary(max_size=60)))


@given(st.binary(max_size=40))
def test_random_frames_are_calls_or_refused(frame: bytes) -> None:
    _is_opened_or_refused(frame)


@pytest.mark.slow
@pytest.mark.parametrize("name", spec.api_names())
@FUZZ
@given(data=st.data())
def test_random_responses_are_read_or_refused(name: str, data: st.DataObject) -> None:
    heading = spec.heading(name)
    for version in range(heading.low, heading.high + 1):
        with contextlib.suppress(WireError):
            read_response(name, version, data.draw(st.binary(max_size=60)))


def _is_opened_or_refused(frame: bytes) -> None:
    try:
        call = open_call(frame, EVERYTHING)
    except WireError:
        return
    assert call.size_bytes == len(frame)


def test_every_cut_of_a_request_is_refused() -> None:
    body = messages.JoinGroupRequest(protocols=[messages.JoinGroupRequest.Protocol(name="range", metadata=b"abc")])
    frame = write_request("JoinGroup", 9, 1, "me", body)[4:]
    for size in range(len(frame)):
        with pytest.raises(WireError):
            open_call(frame[:size], EVERYTHING)


# What is held.


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"{name}{kind}" for name in spec.api_names() for kind in ("Request", "Response")])
def test_what_an_array_holds_was_charged_before(name: str) -> None:
    found, made = spec.message(name), message_class(name)
    for version in range(found.versions.low, found.versions.high + 1):
        for path in _arrays(found.struct, version):
            written = messages.encode(_crowded(made, path, version, 100), version)
            reader = Reader(written)
            held = _held(partial(codec(made, version).take, reader))
            charged = ROOM_BYTES + ROOM_PER_BYTE * len(written) - reader.room
            assert held <= charged + 4 * len(written) + 4_000, (version, [field.name for field in path])


def _arrays(what: spec.Struct, version: int) -> Iterator[tuple[spec.Field, ...]]:
    """All ways to an array in a message."""
    for field in what.fields:
        if field.versions.has(version):
            element = field.kind.element if isinstance(field.kind, spec.Array) else field.kind
            if isinstance(field.kind, spec.Array):
                yield (field,)
            if isinstance(element, spec.Struct):
                yield from ((field, *rest) for rest in _arrays(element, version))


def _crowded(made: type[Message], path: tuple[spec.Field, ...], version: int, count: int) -> Any:
    """A message with ``count`` elements that are as small on the wire as can be, at the end of the way."""
    whole = _smallest(made, made, made._spec.struct, version)
    at = whole
    for field in path:
        kind = field.kind.element if isinstance(field.kind, spec.Array) else field.kind
        last = field is path[-1]
        if isinstance(kind, spec.Struct):
            inside = [_smallest(made, getattr(made, kind.name), kind, version) for _ in range(count if last else 1)]
            setattr(at, field.name, inside if isinstance(field.kind, spec.Array) else inside[0])
            at = inside[0]
        else:
            small = {"string": "Ā", "uuid": UUID(int=5), "int8": 100}.get(kind.name, 1_000)
            setattr(at, field.name, [small] * count)
    return whole


def _smallest(made: type[Message], inner: Any, what: spec.Struct, version: int) -> Any:
    value = inner()
    for field in what.fields:
        if field.versions.has(version) and field.tag is None:
            if field.may_be_null(version):
                setattr(value, field.name, None)
            elif isinstance(field.kind, spec.Struct):
                part = getattr(made, field.kind.name)
                setattr(value, field.name, _smallest(made, part, field.kind, version))
    return value


def _held(take: Callable[[], Any]) -> int:
    """How much memory what is taken holds when it holds most."""
    tracemalloc.start()
    try:
        kept = take()
        return tracemalloc.get_traced_memory()[1]
    except WireError:
        return tracemalloc.get_traced_memory()[1]
    finally:
        kept = None
        tracemalloc.stop()
        del kept


def _header(key: int, version: int) -> bytes:
    return struct.pack(">hhi", key, version, 1) + b"\xff\xff\x00"


COUNT = 100_000
BOMBS = {
    "assignments of two bytes": _header(37, 3) + b"\x02\x02t\0\0\0\0" + uvarint(COUNT + 1) + b"\x01\x00" * COUNT,
    "entries of three bytes": _header(49, 1) + uvarint(COUNT + 1) + b"\x01\x01\x00" * COUNT + b"\0\0",
    "topics of three bytes": _header(1, 12) + bytes(21) + uvarint(COUNT + 1) + b"\x01\x01\x00" * COUNT,
    "short names": _header(42, 2) + uvarint(COUNT + 1) + "\x03Ā".encode() * COUNT + b"\0",
    "topics with an unknown tag": _header(3, 9) + uvarint(COUNT + 1) + b"\x01\x01\x07\x00" * COUNT + b"\0" * 4,
    "unknown tags": _header(12, 4) + b"\x01\0\0\0\0\x01\x00" + uvarint(COUNT) + b"\x05\x00" * COUNT,
    "tags of the header": _header(12, 4)[:-1] + uvarint(COUNT) + b"\x05\x00" * COUNT + b"\x01\0\0\0\0\x01\x00\x00",
    "a tag repeated": _header(1, 17) + bytes(21) + b"\x01\x01\x01" + uvarint(COUNT) + (b"\x01\x0d" + bytes(13)) * COUNT,
    "endless array": _header(12, 4) + b"\x01\0\0\0\0\x01\x00" + b"\xff\xff\xff\xff\x0f",
    "huge count": _header(42, 2) + b"\xff\xff\xff\xff\x0f" + b"\x01" * 1000,
    "huge plain count": struct.pack(">hhihi", 42, 0, 1, -1, 2**31 - 1) + b"\0\0" * 1000,
    "huge text": _header(11, 9) + b"\xff\xff\xff\xff\x0f" + b"x" * 1000,
    "one wide character": _header(11, 9) + uvarint(32_001) + b"x" * 31_996 + "\U0001f600".encode(),
}


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("bomb", BOMBS)
def test_no_frame_holds_more_than_is_said(bomb: str, compiled: bool) -> None:
    frame = BOMBS[bomb]
    key, version = struct.unpack_from(">hh", frame)
    made = message_class(f"{next(heading.name for heading in HEADINGS if heading.key == key)}Request")
    if compiled:
        made._codecs.clear()
        codec(made, version)
        made._codecs[version].take = compiled_take(codec(made, version))
    open_call(write_request(made._spec.api, version, 1, None, made())[4:], EVERYTHING)
    gc.collect()
    held = _held(partial(open_call, frame, EVERYTHING))
    assert held <= HELD_PER_BYTE * len(frame) + ROOM_BYTES


@pytest.mark.parametrize(
    "bomb", ["assignments of two bytes", "entries of three bytes", "topics of three bytes", "huge count", "huge text"]
)
def test_bombs_are_refused(bomb: str) -> None:
    with pytest.raises(WireError):
        open_call(BOMBS[bomb], EVERYTHING)


def test_no_element_takes_no_byte() -> None:
    for found in spec.messages():
        made = message_class(found.name)
        for version in range(found.versions.low, found.versions.high + 1):
            for path in _arrays(found.struct, version):
                shape: Any = codec(made, version)
                for field in path:
                    shape = getattr(shape, "element", getattr(shape, "inner", shape))
                    steps = {names: inner for names, inner in shape.steps if isinstance(names, str)}
                    tagged = dict(shape.tagged.values()) if shape.tagged else {}
                    shape = {**steps, **tagged}[field.name]
                assert shape.element.least > 0, (found.name, version, [field.name for field in path])


def test_a_real_request_has_room() -> None:
    topic = messages.ListOffsetsRequest.Topic(name="measurements")
    topic.partitions = [messages.ListOffsetsRequest.Partition(partition_index=1_000)] * 60_000
    frame = write_request("ListOffsets", 7, 1, None, messages.ListOffsetsRequest(topics=[topic]))[4:]
    assert len(open_call(frame, EVERYTHING).body.topics[0].partitions) == 60_000
