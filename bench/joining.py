"""From a consumer's beginning, in a group of its own, to its first record, over bare sockets.

librdkafka takes two rests of its own meanwhile, 150 ms together, beside which no broker's part can be seen. This client
asks for the same things in the same order, and takes no rest: where the coordinator is, to join twice (KIP-394), to be
told its part, its offset, the beginning of the log, the record.
"""

from __future__ import annotations

import socket
import statistics
import time
from typing import Any, Final

from bench.raw import PATIENCE_S, await_leaders, one_record
from bench.topics import make_topic
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import BrokerId, GroupId, Offset
from pykafka_broker.net.question import exchange
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import write_request

_TOPIC: Final = "joined-bare"


class NotJoined(RuntimeError):
    """An answer on the way to the first record that does not lead there."""


def join_bare(bootstrap: str, times: int) -> dict[str, float]:
    """Milliseconds from the connection to the record; the median of so many groups, after one that does not count."""
    port = int(bootstrap.rpartition(":")[2])
    make_topic(bootstrap, _TOPIC, 1)
    await_leaders(port, _TOPIC, 1)
    with _Consumer(port) as producer:
        (written,) = producer.asks("Produce", 9, one_record(_TOPIC)).responses
        _succeed(written.partition_responses[0].error_code, "Produce")
    waits = []
    for number in range(times + 1):
        begun = time.perf_counter()
        with _Consumer(port) as consumer:
            consumer.reads_its_first_record(GroupId(f"joined-bare-{number}"))
        waits.append(time.perf_counter() - begun)
    return {"join_bare": statistics.median(waits[1:]) * 1000}


class _Consumer:
    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> _Consumer:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def asks(self, api: str, version: int, body: Any) -> Any:
        return exchange(self._connection, api, version, write_request(api, version, 0, "bench", body))

    def reads_its_first_record(self, group: GroupId) -> None:
        self.asks("ApiVersions", 3, messages.ApiVersionsRequest(client_software_name="b", client_software_version="1"))
        deadline = time.monotonic() + PATIENCE_S
        while self.asks("FindCoordinator", 2, messages.FindCoordinatorRequest(key=group, key_type=0)).error_code:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{group} has had no coordinator within {PATIENCE_S} s")
        join = messages.JoinGroupRequest(
            group_id=group,
            session_timeout_ms=45_000,
            rebalance_timeout_ms=300_000,
            protocol_type="consumer",
            protocols=[messages.JoinGroupRequest.Protocol(name="range", metadata=b"")],
        )
        joined = self.asks("JoinGroup", 5, join)
        _succeed(joined.error_code, "JoinGroup", ErrorCode.MEMBER_ID_REQUIRED)
        join.member_id = joined.member_id
        joined = self.asks("JoinGroup", 5, join)
        _succeed(joined.error_code, "JoinGroup")
        part = messages.SyncGroupRequest.Assignment(member_id=joined.member_id, assignment=b"everything")
        sync = messages.SyncGroupRequest(
            group_id=group, generation_id=joined.generation_id, member_id=joined.member_id, assignments=[part]
        )
        _succeed(self.asks("SyncGroup", 3, sync).error_code, "SyncGroup")
        topic = messages.OffsetFetchRequest.Topic(name=_TOPIC, partition_indexes=[0])
        kept = self.asks("OffsetFetch", 5, messages.OffsetFetchRequest(group_id=group, topics=[topic]))
        _succeed(kept.error_code, "OffsetFetch")
        wanted = messages.ListOffsetsRequest.Partition(partition_index=0, timestamp=-2)
        lists = messages.ListOffsetsRequest.Topic(name=_TOPIC, partitions=[wanted])
        listed = self.asks("ListOffsets", 5, messages.ListOffsetsRequest(replica_id=BrokerId(-1), topics=[lists]))
        fetched = messages.FetchRequest.Partition(
            partition=0, fetch_offset=Offset(listed.topics[0].partitions[0].offset), partition_max_bytes=1 << 20
        )
        fetch = messages.FetchRequest(
            replica_id=BrokerId(-1),
            max_wait_ms=500,
            min_bytes=1,
            max_bytes=1 << 20,
            session_epoch=-1,
            topics=[messages.FetchRequest.Topic(topic=_TOPIC, partitions=[fetched])],
        )
        (answer,) = self.asks("Fetch", 11, fetch).responses
        if not answer.partitions[0].records:
            raise NotJoined(f"{group} was given no record: error {answer.partitions[0].error_code}")


def _succeed(code: int, api: str, expected: int = 0) -> None:
    if code != expected:
        raise NotJoined(f"{api} was answered with error {code}")
