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
from pykafka_broker.wire.structures import message_class
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
    return repr(value), reader.position


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
