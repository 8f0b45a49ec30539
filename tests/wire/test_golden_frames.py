"""Frames that real clients sent and Apache Kafka 3.9.1 answered are understood, and written again byte for byte."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pykafka_broker.wire import spec
from pykafka_broker.wire.exchange import Call, FilePiece, Served, close_call, open_call, read_response, write_request

SERVED = Served({heading.key: (heading.low, heading.high) for heading in map(spec.heading, spec.api_names())})
RECORDINGS = sorted((Path(__file__).parent / "golden").glob("*.txt"))
FRAMES = [
    pytest.param(name, int(version), kind, bytes.fromhex(frame), id=f"{recording.stem}-{name}-{version}-{kind}")
    for recording in RECORDINGS
    for name, version, kind, frame in (
        line.split() for line in recording.read_text(encoding="ascii").splitlines() if not line.startswith("#")
    )
]


@pytest.mark.parametrize(("name", "version", "kind", "frame"), FRAMES)
def test_frames_of_real_conversations(name: str, version: int, kind: str, frame: bytes) -> None:
    if kind == "request":
        call = open_call(frame, SERVED)
        assert (call.api, call.version) == (name, version)
        written = write_request(name, version, call.correlation_id, call.client_id, call.body)
    else:
        correlation_id, message = read_response(name, version, frame)
        call = Call(name, spec.heading(name).key, version, correlation_id, None, None, 0)
        written = b"".join(piece for piece in close_call(call, message) if not isinstance(piece, FilePiece))
    assert written == struct.pack(">i", len(frame)) + frame


def test_there_are_recordings() -> None:
    assert len(RECORDINGS) == 5
    assert len(FRAMES) > 150
