"""Headers and sizes, the oddities of two APIs, and what is not a call at all."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.model.errors import ErrorCode, WireError
from pykafka_broker.model.names import GroupId
from pykafka_broker.wire import messages, spec
from pykafka_broker.wire.codec import read
from pykafka_broker.wire.exchange import (
    Call,
    FilePiece,
    FilePieces,
    Piece,
    Served,
    close_call,
    open_call,
    read_response,
    request_header_version,
    write_request,
)
from pykafka_broker.wire.primitives import Reader
from pykafka_broker.wire.structures import message_class

SERVED = Served({heading.key: (heading.low, heading.high) for heading in map(spec.heading, spec.api_names())})
HEARTBEAT = messages.HeartbeatRequest(group_id=GroupId("g"), generation_id=3)


def _joined(pieces: list[Piece]) -> bytes:
    return b"".join(bytes(piece) for piece in pieces if not isinstance(piece, FilePiece))


def _opened(frame: bytes) -> Call[Any]:
    return open_call(frame[4:], SERVED)


@pytest.mark.parametrize("name", spec.api_names())
def test_every_request_is_opened_and_answered_in_every_version(name: str) -> None:
    heading = spec.heading(name)
    for version in range(heading.low, heading.high + 1):
        frame = write_request(name, version, 77, "me", message_class(f"{name}Request")())
        assert struct.unpack_from(">i", frame) == (len(frame) - 4,)
        call = _opened(frame)
        assert (call.api, call.key, call.version, call.correlation_id) == (name, heading.key, version, 77)
        assert call.client_id == ("me" if request_header_version(heading, version) else "")
        assert call.body == message_class(f"{name}Request")()
        assert call.size_bytes == len(frame) - 4
        assert not call.unsupported
        response = message_class(f"{name}Response")()
        answer = _joined(close_call(call, response))
        assert struct.unpack_from(">i", answer) == (len(answer) - 4,)
        assert read_response(name, version, answer[4:]) == (77, response)


@pytest.mark.parametrize(
    ("name", "version", "header"),
    [
        ("ControlledShutdown", 0, 0),
        ("ControlledShutdown", 1, 1),
        ("ControlledShutdown", 3, 2),
        ("Produce", 8, 1),
        ("Produce", 9, 2),
        ("SaslHandshake", 1, 1),
        ("OffsetDelete", 0, 1),
        ("AlterPartition", 0, 2),
        ("ApiVersions", 2, 1),
        ("ApiVersions", 3, 2),
        ("ApiVersions", 99, 2),
        ("ApiVersions", -1, 1),
    ],
)
def test_request_headers(name: str, version: int, header: int) -> None:
    assert request_header_version(spec.heading(name), version) == header


def test_how_a_request_looks() -> None:
    plain = struct.pack(">ihhih", 17, 12, 0, 7, 2) + b"me" + b"\x00\x01g\x00\x00\x00\x03\x00\x00"
    assert write_request("Heartbeat", 0, 7, "me", HEARTBEAT) == struct.pack(">i", len(plain) - 4) + plain[4:]
    flexible = struct.pack(">hhih", 12, 4, 7, 2) + b"me\x00" + b"\x02g\x00\x00\x00\x03\x01\x00\x00"
    assert write_request("Heartbeat", 4, 7, "me", HEARTBEAT) == struct.pack(">i", len(flexible)) + flexible


def test_how_a_response_looks() -> None:
    response = messages.HeartbeatResponse(error_code=27)
    assert close_call(_opened(write_request("Heartbeat", 0, 7, "", HEARTBEAT)), response) == [
        b"\x00\x00\x00\x06\x00\x00\x00\x07\x00\x1b"
    ]
    assert close_call(_opened(write_request("Heartbeat", 4, 7, "", HEARTBEAT)), response) == [
        b"\x00\x00\x00\x0c\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x1b\x00"
    ]


def test_a_client_needs_no_id() -> None:
    for version in (0, 4):
        assert _opened(write_request("Heartbeat", version, 7, None, HEARTBEAT)).client_id is None


def test_controlled_shutdown_0_has_no_client_id_at_all() -> None:
    frame = write_request("ControlledShutdown", 0, 7, None, messages.ControlledShutdownRequest())
    assert frame == struct.pack(">ihhii", 12, 7, 0, 7, 0)


def test_tagged_fields_of_a_header_are_passed_over() -> None:
    head = struct.pack(">hhih", 12, 4, 7, 2) + b"me"
    body = b"\x02g\x00\x00\x00\x03\x01\x00\x00"
    assert open_call(head + b"\x01\x05\x02xy" + body, SERVED).body == HEARTBEAT


@pytest.mark.parametrize(("key", "version", "header"), [(12, 0, 1), (12, 4, 2), (7, 0, 0)])
@given(data=st.data())
def test_a_header_is_read_as_its_spec_says_however_odd(
    key: int, version: int, header: int, data: st.DataObject
) -> None:
    """Usual headers are read by hand."""
    length = data.draw(st.integers(-3, 40))
    tags = data.draw(st.sampled_from([b"\0", b"\1\5\2xy", b"\2\1\0", b"\x80\0", b"\xff"]))
    name = data.draw(st.binary(min_size=max(length, 0), max_size=max(length, 0)))
    body = message_class("HeartbeatRequest" if key == 12 else "ControlledShutdownRequest")()
    frame = struct.pack(">hhih", key, version, 77, length) + name + tags + messages.encode(body, version) + b"more"
    frame = frame[: data.draw(st.integers(0, len(frame)) | st.just(len(frame)))]

    def by_spec() -> Any:
        reader = Reader(frame)
        read_header: Any = read(message_class("RequestHeader"), header, reader)
        return read_header.client_id, read(type(body), version, reader)

    def by_hand() -> Any:
        call = open_call(memoryview(frame), SERVED)
        assert (call.key, call.version, call.correlation_id) == (key, version, 77)
        return call.client_id, call.body

    found: list[Any] = []
    for way in (by_spec, by_hand):
        try:
            found.append(way())
        except WireError:
            found.append("refused")
    assert found[0] == found[1]


def test_bytes_behind_a_body_are_ignored_as_in_kafka() -> None:
    assert _opened(write_request("Heartbeat", 4, 7, "me", HEARTBEAT) + b"more").body == HEARTBEAT


def test_records_are_views_of_the_frame() -> None:
    partition = messages.ProduceRequest.PartitionProduceData(records=b"batch")
    topic = messages.ProduceRequest.TopicProduceData(name="t", partition_data=[partition])
    frame = bytearray(write_request("Produce", 9, 7, "me", messages.ProduceRequest(topic_data=[topic])))
    call = open_call(memoryview(frame)[4:], SERVED)
    frame[frame.index(b"batch")] = ord("B")
    assert call.body.topic_data[0].partition_data[0].records == b"Batch"


def test_regions_of_files_are_counted_but_not_touched() -> None:
    region = FilePiece(5, 1_000, 50_000)
    partition = messages.FetchResponse.PartitionData(records=FilePieces([region]))
    topic = messages.FetchResponse.FetchableTopicResponse(partitions=[partition])
    call = _opened(write_request("Fetch", 12, 7, "me", messages.FetchRequest()))
    before, between, after = close_call(call, messages.FetchResponse(responses=[topic]))
    assert between is region
    assert isinstance(before, bytearray)
    assert isinstance(after, bytearray)
    assert struct.unpack_from(">i", before) == (len(before) + 50_000 + len(after) - 4,)


# ApiVersions: answered whatever the version, with a header that everybody can read.


@pytest.mark.parametrize("version", range(5))
def test_api_versions_is_answered_with_header_0(version: int) -> None:
    call = _opened(write_request("ApiVersions", version, 7, "me", messages.ApiVersionsRequest()))
    answer = _joined(close_call(call, messages.ApiVersionsResponse(error_code=0)))
    assert answer[8:10] == b"\x00\x00"
    assert answer[10:11] == (b"\x01" if version >= 3 else b"\x00")


@pytest.mark.parametrize("version", [5, 99, 32767])
def test_api_versions_of_an_unknown_version_is_a_call_of_version_0(version: int) -> None:
    frame = struct.pack(">hhih", 18, version, 7, 2) + b"me\x00" + b"whatever this may be one day"
    call = open_call(frame, SERVED)
    assert call.unsupported
    assert (call.version, call.correlation_id, call.client_id) == (0, 7, "me")
    assert call.body == messages.ApiVersionsRequest()
    only = messages.ApiVersionsResponse.ApiVersion(api_key=18, min_version=0, max_version=4)
    response = messages.ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=[only])
    assert _joined(close_call(call, response)) == struct.pack(">iihihhh", 16, 7, 35, 1, 18, 0, 4)


def test_api_versions_of_a_negative_version_is_answered_too() -> None:
    assert open_call(struct.pack(">hhih", 18, -1, 7, -1), SERVED).unsupported


def test_api_versions_of_an_unknown_version_still_needs_a_header() -> None:
    with pytest.raises(WireError):
        open_call(struct.pack(">hhih", 18, 99, 7, 20) + b"me", SERVED)


# What is no call.


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (b"", "too short"),
        (bytes(7), "too short"),
        (struct.pack(">hhih", 52, 0, 1, -1), "API 52 is not served"),
        (struct.pack(">hhih", -1, 0, 1, -1), "API -1 is not served"),
        (struct.pack(">hhih", 12, 5, 1, -1), "API 12 is not served in version 5"),
        (struct.pack(">hhih", 12, -1, 1, -1), "API 12 is not served in version -1"),
        (struct.pack(">hhi", 12, 0, 1), "RequestHeader version 1: cut short"),
        (struct.pack(">hhih", 12, 0, 1, 3) + b"me", "RequestHeader version 1: 3 bytes announced, 2 left"),
        (struct.pack(">hhih", 12, 0, 1, -1) + b"\x00\x01", "HeartbeatRequest version 0: 1 bytes announced, 0 left"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "API 18245 is not served"),
    ],
)
def test_what_is_no_call(frame: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        open_call(frame, SERVED)


def test_only_what_is_served_is_opened() -> None:
    frame = write_request("Heartbeat", 4, 7, "me", HEARTBEAT)[4:]
    for served in ({}, {12: (0, 3)}, {18: (0, 4)}):
        with pytest.raises(WireError, match="not served"):
            open_call(frame, Served(served))
    assert open_call(frame, Served({12: (4, 4)})).body == HEARTBEAT


def test_answers_and_questions_of_another_kind_are_refused() -> None:
    call = _opened(write_request("Heartbeat", 4, 7, "me", HEARTBEAT))
    with pytest.raises(ValueError, match="Heartbeat is not answered by LeaveGroupResponse"):
        close_call(call, messages.LeaveGroupResponse())
    with pytest.raises(ValueError, match="Heartbeat is not asked by LeaveGroupRequest"):
        write_request("Heartbeat", 4, 7, "me", messages.LeaveGroupRequest())
    with pytest.raises(ValueError, match="Heartbeat has versions 0-4, not 5"):
        write_request("Heartbeat", 5, 7, "me", HEARTBEAT)


def test_a_response_that_is_none_is_a_wire_error() -> None:
    with pytest.raises(WireError, match="ResponseHeader version 1: cut short"):
        read_response("Heartbeat", 4, b"\x00\x00\x00\x07")
    with pytest.raises(WireError, match="HeartbeatResponse version 4: cut short"):
        read_response("Heartbeat", 4, b"\x00\x00\x00\x07\x00\x00")
