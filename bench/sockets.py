"""Requests over bare sockets, as many under way as wanted, so that no client library stands in the way.

Every connection sends the same bytes again and again; answers are counted by their bytes, because all are of one size.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

from bench.raw import await_leaders, one_record
from bench.topics import make_topic
from pykafka_broker.model.names import BrokerId, Offset
from pykafka_broker.net.question import ask, exchange
from pykafka_broker.wire.exchange import write_request
from pykafka_broker.wire.messages import ApiVersionsRequest, FetchRequest, ListOffsetsRequest

_PATIENCE_S: Final = 120.0
_SIZE_BYTES: Final = 4
_AT_ONCE: Final = 1 << 16
"""So much is received at most, into memory that need not be asked for anew each time."""


class Refused(RuntimeError):
    """An answer that is not what was asked for."""


class Line:
    """One connection that asks one thing, over and over."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self.first = self._one_answer()
        limit_in_the_kernel(self.socket, _PATIENCE_S)
        self._size = len(self.first)
        self._rest = 0
        self.under_way = 0

    def ask(self, times: int) -> None:
        """Send the request so many times."""
        self.socket.sendall(self._request * times)
        self.under_way += times

    def hear(self) -> int:
        """How many answers have come; to be asked when something has."""
        data = self.socket.recv(_AT_ONCE)
        if not data:
            raise Refused(f"the broker hung up with {self.under_way} requests under way")
        answers, self._rest = divmod(self._rest + len(data), self._size)
        self.under_way -= answers
        return answers

    def _one_answer(self) -> bytes:
        self.socket.sendall(self._request)
        data = b""
        while len(data) < _SIZE_BYTES or len(data) < _SIZE_BYTES + int.from_bytes(data[:_SIZE_BYTES], "big"):
            more = self.socket.recv(_AT_ONCE)
            if not more:
                raise Refused("the broker hung up at the first request")
            data += more
        return data


def limit_in_the_kernel(connection: socket.socket, patience_s: float) -> None:
    """Let sends and receives wait for so long at most; with a time limit of its own, Python would look whether the
    socket is ready before each of them.
    """
    connection.settimeout(None)
    for limit in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", int(patience_s), 0))


def ask_again_and_again(port: int, requests: Sequence[bytes], in_flight: int, seconds: float) -> dict[str, float]:
    """One connection for each of the requests, with so many under way on each: answers, and the seconds they took.

    Each connection has had one answer before the time begins, and everything that was asked is answered in the end.
    """
    lines = [Line(port, request) for request in requests]
    by_descriptor = {line.socket.fileno(): line for line in lines}
    poll = select.epoll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    answers = 0
    begun = time.perf_counter()
    until = begun + seconds
    for line in lines:
        line.ask(in_flight)
    while (now := time.perf_counter()) < until:
        for descriptor, _ in poll.poll(_PATIENCE_S):
            line = by_descriptor[descriptor]
            heard = line.hear()
            answers += heard
            if heard:
                line.ask(heard)
    took = now - begun
    total = answers + len(lines)
    for line in lines:
        while line.under_way:
            total += line.hear()
        line.socket.close()
    poll.close()
    return {"requests": answers, "seconds": took, "answered": total}


def versions(bootstrap: str, connections: int, in_flight: int, seconds: int) -> dict[str, float]:
    """ApiVersions, the smallest of all requests: what every request costs."""
    version = 3
    body = ApiVersionsRequest(client_software_name="bench", client_software_version="1")
    request = write_request("ApiVersions", version, 0, "bench", body)
    return ask_again_and_again(_port(bootstrap), [request] * connections, in_flight, seconds)


def singles(
    bootstrap: str, connections: int, in_flight: int, seconds: int, partitions: int = 1, flush: int = 0
) -> dict[str, float]:
    """One record of 100 bytes to a request, acks=all, each connection to one partition; with `flush`, a topic of which
    every record is flushed before its answer. What was answered is there in the end, and nothing else.
    """
    topic = f"singles-{connections}-{in_flight}-{flush}"
    make_topic(bootstrap, topic, partitions, config={"flush.messages": "1"} if flush else {})
    port = _port(bootstrap)
    await_leaders(port, topic, partitions)
    requests = [
        write_request("Produce", 9, 0, "bench", one_record(topic, index % partitions, b"x" * 100))
        for index in range(connections)
    ]
    found = ask_again_and_again(port, requests, in_flight, seconds)
    held = _end(port, topic, partitions)
    if held != found.pop("answered"):
        raise Refused(f"{topic} holds {held} records, and another number was answered: {found}")
    return found


def wide(bootstrap: str, partitions: int, seconds: int) -> dict[str, float]:
    """One Fetch after the other that names many partitions, each of which has a record to give."""
    topic = "wide"
    make_topic(bootstrap, topic, partitions)
    port = _port(bootstrap)
    await_leaders(port, topic, partitions)
    with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as connection:
        for index in range(partitions):
            request = write_request("Produce", 9, 0, "bench", one_record(topic, index, b"x" * 100))
            (answer,) = exchange(connection, "Produce", 9, request).responses
            if answer.partition_responses[0].error_code:
                raise Refused(f"{topic}-{index}: error {answer.partition_responses[0].error_code}")
    asked = FetchRequest.Topic(
        topic=topic,
        partitions=[
            FetchRequest.Partition(partition=index, partition_max_bytes=1 << 20) for index in range(partitions)
        ],
    )
    body = FetchRequest(
        replica_id=BrokerId(-1), max_wait_ms=500, min_bytes=1, max_bytes=1 << 26, session_epoch=-1, topics=[asked]
    )
    request = write_request("Fetch", 11, 0, "bench", body)
    found = ask_again_and_again(port, [request], 1, seconds)
    with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as connection:
        (told,) = exchange(connection, "Fetch", 11, request).responses
    given = sum(bool(part.records) for part in told.partitions)
    if given != partitions:
        raise Refused(f"{given} of {partitions} partitions gave records")
    return found


def middle(bootstrap: str, offset: int, seconds: int) -> dict[str, float]:
    """1 MB from that offset of the one partition of `sized`, one Fetch after the other."""
    asked = FetchRequest.Topic(
        topic="sized",
        partitions=[FetchRequest.Partition(partition=0, fetch_offset=Offset(offset), partition_max_bytes=1 << 20)],
    )
    body = FetchRequest(
        replica_id=BrokerId(-1), max_wait_ms=500, min_bytes=1, max_bytes=1 << 20, session_epoch=-1, topics=[asked]
    )
    request = write_request("Fetch", 11, 0, "bench", body)
    port = _port(bootstrap)
    with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as connection:
        (told,) = exchange(connection, "Fetch", 11, request).responses
    if not told.partitions[0].records:
        raise Refused(f"no records from offset {offset}: error {told.partitions[0].error_code}")
    return ask_again_and_again(port, [request], 1, seconds)


def dated(bootstrap: str, timestamp_s: int, seconds: int) -> dict[str, float]:
    """The first offset as late as that in the one partition of `sized`, one ListOffsets after the other."""
    asked = ListOffsetsRequest.Topic(
        name="sized", partitions=[ListOffsetsRequest.Partition(partition_index=0, timestamp=timestamp_s * 1000)]
    )
    request = write_request("ListOffsets", 5, 0, "bench", ListOffsetsRequest(replica_id=BrokerId(-1), topics=[asked]))
    port = _port(bootstrap)
    with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as connection:
        (told,) = exchange(connection, "ListOffsets", 5, request).topics
    if told.partitions[0].offset < 0:
        raise Refused(f"no offset at {timestamp_s} s: error {told.partitions[0].error_code}")
    return ask_again_and_again(port, [request], 1, seconds)


def _end(port: int, topic: str, partitions: int) -> int:
    asked = ListOffsetsRequest.Topic(
        name=topic,
        partitions=[ListOffsetsRequest.Partition(partition_index=index, timestamp=-1) for index in range(partitions)],
    )
    version = 5
    answer = ask(
        "127.0.0.1", port, "ListOffsets", version, ListOffsetsRequest(replica_id=BrokerId(-1), topics=[asked]),
        client_id="bench", timeout_s=_PATIENCE_S,
    )  # fmt: skip
    return sum(part.offset for part in answer.topics[0].partitions)


def _port(bootstrap: str) -> int:
    return int(bootstrap.rpartition(":")[2])
