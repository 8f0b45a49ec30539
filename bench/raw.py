"""A client on bare sockets, for what a library's own patience would hide: how soon a broker is of use, or of use again.

librdkafka rests a second after LEADER_NOT_AVAILABLE for a topic that comes about by being asked for, and a while after
every error. This client asks again at once.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from pykafka_broker.net.question import exchange
from pykafka_broker.wire.batch import Record, build
from pykafka_broker.wire.exchange import write_request
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
    produce = write_request("Produce", _PRODUCE, 0, "bench", one_record("first"))
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
        except OSError as problem:
            last = problem
            time.sleep(_PAUSE_S)
    raise TimeoutError(f"no record was acknowledged within {PATIENCE_S} s: {last}")


def await_leaders(port: int, topic: str, partitions: int) -> None:
    """Return when every partition of a topic has a leader. Raises `TimeoutError`."""
    body = MetadataRequest(topics=[MetadataRequest.Topic(name=topic)], allow_auto_topic_creation=False)
    request = write_request("Metadata", _METADATA, 0, "bench", body)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.settimeout(PATIENCE_S)
            while time.monotonic() < deadline:
                (answer,) = exchange(connection, "Metadata", _METADATA, request).topics
                if sum(one.leader_id >= 0 for one in answer.partitions) == partitions:
                    return
                time.sleep(10 * _PAUSE_S)
        time.sleep(_PAUSE_S)
    raise TimeoutError(f"{partitions} partitions of {topic} have had no leader within {PATIENCE_S} s")


class SteadyWriter:
    """Writes records to a partition, acks=all, one after the other, wherever it is led, on a thread of its own."""

    def __init__(self, brokers: Sequence[int], topic: str, partition: int) -> None:
        """`brokers` are their ports on loopback."""
        self._brokers = list(brokers)
        self._partition = partition
        request = MetadataRequest(topics=[MetadataRequest.Topic(name=topic)], allow_auto_topic_creation=False)
        self._metadata = write_request("Metadata", _METADATA, 0, "bench", request)
        self._produce = write_request("Produce", _PRODUCE, 0, "bench", one_record(topic, partition))
        self._connections: dict[int, socket.socket] = {}
        self._leader: int | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._run)
        self.acknowledged: list[tuple[float, float]] = []
        """When a record was sent first, and when it was acknowledged; by `time.monotonic`."""

    def __enter__(self) -> SteadyWriter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._thread.join()

    def await_record(self, sent_after: float) -> None:
        """Return when a record is acknowledged that was sent after this moment. Raises `TimeoutError`."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.acknowledged or self.acknowledged[-1][0] <= sent_after:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no record was acknowledged within {PATIENCE_S} s")
            time.sleep(0.01)

    def longest_wait(self, since: float) -> float:
        """The longest time without an acknowledgement that ended after this moment, in seconds."""
        moments = [at for _, at in self.acknowledged]
        return max(after - before for before, after in itertools.pairwise(moments) if after > since)

    def _run(self) -> None:
        while not self._is_over:
            begun = time.monotonic()
            while not self._is_over and not self._is_written():
                time.sleep(_PAUSE_S)
            if not self._is_over:
                self.acknowledged.append((begun, time.monotonic()))
        for connection in self._connections.values():
            connection.close()

    def _is_written(self) -> bool:
        asked = self._brokers[0] if self._leader is None else self._leader
        try:
            if self._leader is None:
                self._leader = self._find_leader(asked)
                return False
            (answer,) = exchange(self._connection(asked), "Produce", _PRODUCE, self._produce).responses
            if answer.partition_responses[0].error_code == 0:
                return True
        except OSError:
            with contextlib.suppress(KeyError):
                self._connections.pop(asked).close()
        self._leader = None
        self._brokers.append(self._brokers.pop(0))
        return False

    def _find_leader(self, asked: int) -> int | None:
        answer = exchange(self._connection(asked), "Metadata", _METADATA, self._metadata)
        leaders = [one.leader_id for one in answer.topics[0].partitions if one.partition_index == self._partition]
        ports = [broker.port for broker in answer.brokers if broker.node_id in leaders]
        if not ports:
            self._brokers.append(self._brokers.pop(0))
        return ports[0] if ports else None

    def _connection(self, port: int) -> socket.socket:
        if port not in self._connections:
            self._connections[port] = socket.create_connection(("127.0.0.1", port), 1.0)
            self._connections[port].settimeout(PATIENCE_S)
        return self._connections[port]


def one_record(topic: str, index: int = 0, value: bytes = b"x") -> ProduceRequest:
    """A request that writes one record, acks=all."""
    batch = build([Record(timestamp=int(time.time() * 1000), value=value)])
    partition = ProduceRequest.PartitionProduceData(index=index, records=batch)
    data = ProduceRequest.TopicProduceData(name=topic, partition_data=[partition])
    return ProduceRequest(acks=_ALL, timeout_ms=30_000, topic_data=[data])


def _attempt(connection: socket.socket, metadata: bytes, produce: bytes) -> str:
    """What stood in the way of a record that is acknowledged; empty if nothing did."""
    (topic,) = exchange(connection, "Metadata", _METADATA, metadata).topics
    if topic.error_code or not topic.partitions or topic.partitions[0].leader_id < 0:
        return f"no leader (error {topic.error_code})"
    (answer,) = exchange(connection, "Produce", _PRODUCE, produce).responses
    code = answer.partition_responses[0].error_code
    return f"not written (error {code})" if code else ""
