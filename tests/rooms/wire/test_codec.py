"""One construct per message and version, compiled after some use, and errors that say what is wrong where."""

from __future__ import annotations

import construct
import pytest

from pykafka_broker.model.errors import WireError
from pykafka_broker.model.names import GroupId
from pykafka_broker.wire import messages, spec
from pykafka_broker.wire.codec import COMPILED_AFTER, Codec, codec
from pykafka_broker.wire.primitives import Reader, Writer
from pykafka_broker.wire.structures import message_class


def test_every_message_in_every_version_has_a_construct() -> None:
    for found in spec.messages():
        made = message_class(found.name)
        for version in range(found.versions.low, found.versions.high + 1):
            assert isinstance(codec(made, version), construct.Construct)
            assert messages.decode(made, messages.encode(made(), version), version, whole=True) == made()


def test_a_construct_is_made_once() -> None:
    assert codec(messages.HeartbeatRequest, 3) is codec(messages.HeartbeatRequest, 3)


@pytest.mark.parametrize("version", [-1, 5])
def test_versions_that_do_not_exist_are_refused(version: int) -> None:
    with pytest.raises(ValueError, match=f"HeartbeatRequest has versions 0-4, not {version}"):
        codec(messages.HeartbeatRequest, version)


def test_constructs_parse_and_build() -> None:
    request = messages.HeartbeatRequest(group_id=GroupId("g"), generation_id=3)
    data = codec(messages.HeartbeatRequest, 4).build(request)
    assert data == b"\x02g\x00\x00\x00\x03\x01\x00\x00"
    assert codec(messages.HeartbeatRequest, 4).parse(data) == request


def test_fields_that_stand_together_are_one_call() -> None:
    steps = codec(messages.LeaderAndIsrRequest, 7).steps
    assert next(names for names, _ in steps) == (
        "controller_id",
        "is_kraft_controller",
        "controller_epoch",
        "broker_epoch",
        "type",
    )


def test_a_message_in_frequent_use_is_compiled() -> None:
    ways = Codec(codec(messages.HeartbeatRequest, 4))
    first = (ways.take, ways.give)
    request = messages.HeartbeatRequest(group_id=GroupId("g"), generation_id=3)
    written = set()
    for _ in range(COMPILED_AFTER + 2):
        writer = Writer()
        ways.give(request, writer)
        written.add(writer.joined())
        assert ways.take(Reader(b"\x02g\x00\x00\x00\x03\x01\x00\x00")) == request
    assert written == {b"\x02g\x00\x00\x00\x03\x01\x00\x00"}
    assert ways.take not in first
    assert ways.give not in first


@pytest.mark.parametrize("times", [1, COMPILED_AFTER + 3])
def test_errors_say_which_message_and_what_is_wrong(times: int) -> None:
    for _ in range(times):
        with pytest.raises(WireError, match=r"SyncGroupRequest version 5: 9 bytes announced, 1 left \(before byte 1\)"):
            messages.decode(messages.SyncGroupRequest, b"\x0ag", 5)
        with pytest.raises(WireError, match="SyncGroupRequest version 5: cut short"):
            messages.decode(messages.SyncGroupRequest, b"\x02g\x00", 5)
        with pytest.raises(ValueError, match="SyncGroupRequest version 5: group_id: null"):
            messages.encode(messages.SyncGroupRequest(group_id=None), 5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"SyncGroupRequest version 2: .* cannot say group_instance_id"):
            messages.encode(messages.SyncGroupRequest(group_instance_id="a"), 2)
