"""A client on a bare socket, for what a library's own patience would hide: how soon a broker that starts is of use.

librdkafka rests a second after LEADER_NOT_AVAILABLE for a topic that comes about by being asked for. This client asks
again at once.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Any, Final

from pykafka_broker.wire.batch import Record, build
from pykafka_broker.wire.exchange import read_response, write_request
from pykafka_broker.wire.messages import MetadataRequest, ProduceRequest

PATIENCE_S: Final = 120.0
_PAUSE_S: Final = 0.001
_METADATA: Final = 9
_PRODUCE: Final = 9
_ALL: Final = -1


def first(bootstrap: str) -> dict[str, float]:
    """Waits for a broker that is being started and writes one record; prints when it is acknowledged."""
    metadata = write_request(
        "Metadata",
        _METADATA,
        0,
        "bench",
        MetadataRequest(topics=[MetadataRequest.Topic(name="first")], allow_auto_topic_creation=True),
    )
    produce = write_request("Produce", _PRODUCE, 0, "bench", _one_record("first"))
    print("waiting", flush=True)
    host, _, port = bootstrap.partition(":")
    deadline = time.monotonic() + PATIENCE_S
    last: object = "never connected"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host, int(port)), 1.0) as connection:
                connection.settimeout(PATIENCE_S)
                while time.monotonic() < deadline:
                    last = _attempt(connection, metadata, produce)
                    if not last:
                        return {"at": time.time()}
                    time.sleep(_PAUSE_S)
        except (OSError, EOFError) as problem:
            last = problem
            time.sleep(_PAUSE_S)
    raise TimeoutError(f"no record was acknowledged within {PATIENCE_S} s: {last}")


def _one_record(topic: str) -> ProduceRequest:
    batch = build([Record(timestamp=int(time.time() * 1000), value=b"x")])
    partition = ProduceRequest.PartitionProduceData(index=0, records=batch)
    data = ProduceRequest.TopicProduceData(name=topic, partition_data=[partition])
    return ProduceRequest(acks=_ALL, timeout_ms=30_000, topic_data=[data])


def _attempt(connection: socket.socket, metadata: bytes, produce: bytes) -> str:
    """What stood in the way of a record that is acknowledged; empty if nothing did."""
    (topic,) = _ask(connection, "Metadata", _METADATA, metadata).topics
    if topic.error_code or not topic.partitions or topic.partitions[0].leader_id < 0:
        return f"no leader (error {topic.error_code})"
    (answer,) = _ask(connection, "Produce", _PRODUCE, produce).responses
    code = answer.partition_responses[0].error_code
    return f"not written (error {code})" if code else ""


def _ask(connection: socket.socket, api: str, version: int, request: bytes) -> Any:
    connection.sendall(request)
    (size,) = struct.unpack(">i", _exactly(connection, 4))
    return read_response(api, version, _exactly(connection, size))[1]


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = connection.recv(count - len(found))
        if not piece:
            raise EOFError("the connection was closed")
        found += piece
    return found
