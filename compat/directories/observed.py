"""All that a broker tells of what is in its log directory, in a form that can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from compat.cluster.asking import ask
from compat.waiting import until
from pykafka_broker.wire.batch import records
from pykafka_broker.wire.formats import headers
from pykafka_broker.wire.messages import (
    DescribeProducersRequest,
    FetchRequest,
    FindCoordinatorRequest,
    ListOffsetsRequest,
    MetadataRequest,
    OffsetFetchRequest,
    OffsetForLeaderEpochRequest,
)

UNCOMMITTED, COMMITTED = 0, 1
_WITHIN_S: Final = 20.0
_EARLIEST, _LATEST, _MAX_TIMESTAMP = -2, -1, -3
_EPOCHS: Final = 6
_ALL_BYTES: Final = 50_000_000


def observe(port: int, topics: Sequence[str], groups: Sequence[str]) -> dict[str, Any]:
    """What each topic has, read in several ways, and what the groups have committed."""
    told: dict[str, Any] = {}
    known = until(lambda: _known(port, topics), what="every topic to be led")
    for name in topics:
        topic = known[name]
        told[f"{name}: id"] = str(topic.topic_id)
        for partition in sorted(topic.partitions, key=lambda one: one.partition_index):
            told[f"{name}-{partition.partition_index}"] = _partition(port, name, partition.partition_index)
    for group in groups:
        told[f"group {group}"] = _committed(port, group)
    return told


def _known(port: int, topics: Sequence[str]) -> dict[str, Any] | None:
    answer = ask(port, 12, MetadataRequest(topics=None, allow_auto_topic_creation=False), _WITHIN_S)
    found = {topic.name: topic for topic in answer.topics}
    led = all(name in found and all(one.leader_id >= 0 for one in found[name].partitions) for name in topics)
    return found if led else None


def _partition(port: int, topic: str, index: int) -> dict[str, Any]:
    start, end = (_offset(port, topic, index, which)[0] for which in (_EARLIEST, _LATEST))
    data = b"".join(piece for piece, _ in _fetched(port, topic, index, start, end, UNCOMMITTED))
    batches = [(header, data[at : at + header.size_bytes]) for at, header in headers(data)]
    found = [record for header, batch in batches if not header.is_control for record in records(batch)]
    times = sorted({record.timestamp for record in found})
    stable = _offset(port, topic, index, _LATEST, COMMITTED)[0]
    aborted = [entry for _, entries in _fetched(port, topic, index, start, stable, COMMITTED) for entry in entries]
    return {
        "start, stable, end": (start, stable, end),
        "bytes": hashlib.sha256(data).hexdigest(),
        "batches": [(header.base_offset, header.last_offset, header.leader_epoch) for header, _ in batches],
        "records": len(found),
        "aborted": sorted(set(aborted)),
        "greatest time": _offset(port, topic, index, _MAX_TIMESTAMP),
        "times": {
            time: _offset(port, topic, index, time)
            for moment in times[:: 1 + len(times) // 8]
            for time in (moment - 1, moment, moment + 1)
        },
        "epochs": [_epoch_end(port, topic, index, epoch) for epoch in range(_EPOCHS)],
        "producers": _producers(port, topic, index),
    }


def _offset(port: int, topic: str, index: int, time: int, isolation: int = UNCOMMITTED) -> tuple[int, int, int]:
    request = ListOffsetsRequest
    asked = request.Topic(name=topic, partitions=[request.Partition(partition_index=index, timestamp=time)])
    body = request(replica_id=-1, isolation_level=isolation, topics=[asked])
    told = ask(port, 7, body, _WITHIN_S).topics[0].partitions[0]
    assert told.error_code == 0, f"{topic}-{index}: ListOffsets {time}: {told.error_code}"
    return told.offset, told.timestamp, told.leader_epoch


def _fetched(
    port: int, topic: str, index: int, start: int, end: int, isolation: int
) -> Iterator[tuple[bytes, list[tuple[int, int]]]]:
    """Bytes, and (producer id, first offset) of aborted transactions, of one answer after the other."""
    request = FetchRequest
    while start < end:
        partition = request.Partition(partition=index, fetch_offset=start, partition_max_bytes=_ALL_BYTES)
        asked = request.Topic(topic=topic, partitions=[partition])
        body = request(max_wait_ms=0, min_bytes=1, isolation_level=isolation, topics=[asked], max_bytes=_ALL_BYTES)
        told = ask(port, 12, body, _WITHIN_S).responses[0].partitions[0]
        assert told.error_code == 0, f"{topic}-{index}: Fetch {start}: {told.error_code}"
        data = bytes(told.records or b"")
        assert data, f"{topic}-{index}: nothing at {start}, which is below {end}"
        yield data, [(one.producer_id, one.first_offset) for one in told.aborted_transactions or []]
        start = [header.next_offset for _, header in headers(data)][-1]


def _epoch_end(port: int, topic: str, index: int, epoch: int) -> tuple[int, int, int]:
    request = OffsetForLeaderEpochRequest
    asked = request.OffsetForLeaderTopic(
        topic=topic, partitions=[request.OffsetForLeaderPartition(partition=index, leader_epoch=epoch)]
    )
    told = ask(port, 3, request(replica_id=-1, topics=[asked]), _WITHIN_S).topics[0].partitions[0]
    return told.error_code, told.leader_epoch, told.end_offset


def _producers(port: int, topic: str, index: int) -> list[tuple[int, ...]]:
    request = DescribeProducersRequest
    body = request(topics=[request.TopicRequest(name=topic, partition_indexes=[index])])
    told = ask(port, 0, body, _WITHIN_S).topics[0].partitions[0]
    return sorted(
        (one.producer_id, one.producer_epoch, one.last_sequence, one.current_txn_start_offset)
        for one in told.active_producers
    )


def _committed(port: int, group: str) -> list[tuple[Any, ...]]:
    def is_here() -> bool:
        answer = ask(port, 2, FindCoordinatorRequest(key=group, key_type=0), _WITHIN_S)
        return int(answer.error_code) == 0

    until(is_here, what=f"the coordinator of {group}")
    answer = until(lambda: _offsets(port, group), what=f"the offsets of {group}")
    return sorted(
        (topic.name, one.partition_index, one.committed_offset, one.committed_leader_epoch, one.metadata)
        for topic in answer.topics
        for one in topic.partitions
    )


def _offsets(port: int, group: str) -> Any:
    answer = ask(port, 7, OffsetFetchRequest(group_id=group, topics=None, require_stable=False), _WITHIN_S)
    return None if answer.error_code else answer
