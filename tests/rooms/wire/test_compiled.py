"""Compiled functions do exactly what the shapes do that they were made from."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pykafka_broker.model.errors import WireError
from pykafka_broker.model.names import GroupId
from pykafka_broker.wire import messages, spec
from pykafka_broker.wire.codec import codec
from pykafka_broker.wire.compiled import compiled_give, compiled_take
from pykafka_broker.wire.primitives import Reader, Writer
from pykafka_broker.wire.structures import Structure, message_class
from tests.wire.random_messages import messages as random_messages

FEW = settings(
    max_examples=max(2, settings().max_examples // 50),
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
NAMES = [message.name for message in spec.messages()]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@FEW
@given(data=st.data())
def test_the_same_bytes_and_the_same_messages(name: str, data: st.DataObject) -> None:
    message, made = spec.message(name), message_class(name)
    for version in range(message.versions.low, message.versions.high + 1):
        fields = codec(made, version)
        sent = data.draw(random_messages(name, version))
        writer, other = Writer(), Writer()
        fields.give(sent, writer)
        compiled_give(fields)(sent, other)
        written = writer.joined()
        assert other.joined() == written
        padded = written + b"more"
        first, second = Reader(padded), Reader(padded)
        assert fields.take(first) == compiled_take(fields)(second) == sent
        assert first.position == second.position == len(written)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@FEW
@given(data=st.data())
def test_the_same_bytes_are_refused(name: str, data: st.DataObject) -> None:
    message, made = spec.message(name), message_class(name)
    version = data.draw(st.integers(message.versions.low, message.versions.high))
    fields = codec(made, version)
    quick = compiled_take(fields)
    good = messages.encode(data.draw(random_messages(name, version)), version)
    for _ in range(10):
        bad = bytearray(good) or bytearray(1)
        for _ in range(data.draw(st.integers(1, 3))):
            bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
        bad = bad[: data.draw(st.integers(0, len(bad)))]
        assert _outcome(fields.take, bytes(bad)) == _outcome(quick, bytes(bad))


def _outcome(take: Any, data: bytes) -> Any:
    reader = Reader(data)
    try:
        value = take(reader)
    except (WireError, struct.error, IndexError):
        return "refused"
    return _told(value), reader.position


def _told(value: Any) -> Any:
    """All that is in a value; what is not a number at all is equal to itself here."""
    if isinstance(value, Structure):
        return type(value), [_told(getattr(value, name)) for name in value._names]
    if isinstance(value, list):
        return [_told(one) for one in value]
    return bytes(value) if isinstance(value, memoryview) else repr(value)


@pytest.mark.parametrize("size", [125, 126, 127, 128, 16_382, 16_383, 16_384])
def test_lengths_where_a_varint_grows(size: int) -> None:
    sent = messages.JoinGroupRequest(protocol_type="x" * size)
    fields = codec(messages.JoinGroupRequest, 6)
    writer, other = Writer(), Writer()
    fields.give(sent, writer)
    compiled_give(fields)(sent, other)
    written = writer.joined()
    assert other.joined() == written
    assert compiled_take(fields)(Reader(written)) == sent
    for cut in (1, size // 2, size, len(written) - 1):
        assert _outcome(compiled_take(fields), written[:cut]) == "refused"


def test_a_varint_may_be_longer_than_it_need_be() -> None:
    fields = codec(messages.HeartbeatRequest, 4)
    plain = messages.encode(messages.HeartbeatRequest(group_id=GroupId("g")), 4)
    assert plain[:2] == b"\x02g"
    for lengthened in (b"\x82\x00g", b"\x82\x80\x00g", b"\x82\x80\x80\x00g", b"\x82\x80\x80\x80\x00g"):
        data = lengthened + plain[2:]
        assert _outcome(compiled_take(fields), data) == _outcome(fields.take, data)
        assert compiled_take(fields)(Reader(data)).group_id == "g"
    too_long = b"\x82\x80\x80\x80\x80\x00g" + plain[2:]
    assert _outcome(compiled_take(fields), too_long) == _outcome(fields.take, too_long) == "refused"


def test_what_cannot_be_said_is_refused_by_both() -> None:
    request = messages.JoinGroupRequest
    for wrong, version in [
        (request(group_id=GroupId("x" * 40_000)), 9),
        (request(group_id=GroupId("x" * 40_000)), 0),
        (request(group_id=None), 6),  # type: ignore[arg-type]
        (request(group_id=None), 0),  # type: ignore[arg-type]
        (request(protocols=None), 6),  # type: ignore[arg-type]
        (request(protocols=[request()]), 6),  # type: ignore[list-item]
        (request(session_timeout_ms=2**31), 6),
        (request(group_instance_id="a"), 4),
    ]:
        fields = codec(type(wrong), version)
        refusals = 0
        for give in (fields.give, compiled_give(fields)):
            try:
                give(wrong, Writer())
            except (struct.error, ValueError, TypeError, AttributeError):
                refusals += 1
        assert refusals == 2
