"""Messages by name, as bytes and back."""

from __future__ import annotations

from uuid import UUID

import pytest

from pykafka_broker.model.errors import WireError
from pykafka_broker.wire import messages
from pykafka_broker.wire.structures import message_class


def test_classes_are_there_by_name() -> None:
    assert messages.JoinGroupRequest is message_class("JoinGroupRequest")
    assert messages.OffsetCommitKey is message_class("OffsetCommitKey")


def test_names_that_the_specs_do_not_know_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="the specs know no message JoinGroupRequests"):
        messages.JoinGroupRequests  # type: ignore[attr-defined]  # noqa: B018


def test_a_stored_record() -> None:
    key = messages.OffsetCommitKey(group="g", topic="t", partition=1)  # type: ignore[arg-type]
    data = messages.encode(key, 1)
    assert data == b"\x00\x01g\x00\x01t\x00\x00\x00\x01"
    assert messages.decode(messages.OffsetCommitKey, data, 1) == key


def test_bytes_behind_a_message_are_ignored_unless_it_must_be_whole() -> None:
    data = messages.encode(messages.EndTxnMarker(coordinator_epoch=3), 0) + b"more"
    assert messages.decode(messages.EndTxnMarker, data, 0).coordinator_epoch == 3
    with pytest.raises(WireError, match="4 bytes behind EndTxnMarker version 0"):
        messages.decode(messages.EndTxnMarker, data, 0, whole=True)


def test_any_buffer_will_do() -> None:
    topic = messages.MetadataResponse.Topic(topic_id=UUID(int=7))  # type: ignore[arg-type]
    data = messages.encode(messages.MetadataResponse(topics=[topic]), 12)
    for buffer in (data, bytearray(data), memoryview(data)):
        assert messages.decode(messages.MetadataResponse, buffer, 12).topics[0].topic_id == UUID(int=7)
