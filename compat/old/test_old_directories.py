"""A log directory that an old Apache Kafka has written is opened by this broker as Apache Kafka opens it."""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from compat.old.clients import java
from compat.servers import QUICK, apache_kafka, our_broker, zookeeper
from compat.waiting import until
from compat.wire.conversation import Conversation
from pykafka_broker.model.names import BrokerId
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record, build
from pykafka_broker.wire.formats import header_at, records
from pykafka_broker.wire.message_set import shallow, unwrap

pytestmark = [pytest.mark.compat, pytest.mark.slow]

TOPIC = "old"
RECORDS = 27
"""What the Java programs of one version write: 18 by the producer of 0.8.2, 9 by the one before."""
WRITING = {name: value for name, value in QUICK.items() if name != "log.retention.ms"} | {
    "log.retention.check.interval.ms": "3600000",
    "num.partitions": "1",
    "offsets.topic.num.partitions": "1",
    "log.segment.bytes": "1200",
    "zookeeper.session.timeout.ms": "2000",
    "log.index.interval.bytes": "200",
    "log.cleaner.enable": "false",
    "auto.create.topics.enable": "true",
    "group.max.session.timeout.ms": "30000",
}
CASES = [
    # The broker that writes, its format, and whether it is stopped or killed.
    ("0.8.2.2", 0, "stopped"),
    ("0.9.0.1", 0, "killed"),
]

BROKERS = (our_broker, apache_kafka)


def ask_everything(conversation: Conversation, times: list[int]) -> dict[str, Any]:
    """What a broker makes of the directory: every record, from any offset on, in any version, and what groups did."""
    found: dict[str, Any] = {}
    for version in (0, 1, 2, 3, 4, 11):
        found[f"fetch v{version}"] = [
            shown(fetch(conversation, version, offset, size))
            for offset in range(RECORDS + 1)
            for size in (1_000_000, 400)
        ]
    found["times"] = {one: first_at(conversation, one) for one in (-2, -1, *range(0, 20_000, 500), 2**62, *times)}
    until(lambda: has_coordinator(conversation))
    wanted = [messages.OffsetFetchRequest.Topic(name=TOPIC, partition_indexes=[0])]
    for version in (0, 1):
        body = messages.OffsetFetchRequest(group_id=f"group-of-{TOPIC}", topics=wanted)
        found[f"committed v{version}"] = conversation.ask("a", version, body, quietly=True)
    group = messages.DescribeGroupsRequest(groups=[f"consumers-of-{TOPIC}"])
    found["group"] = conversation.ask("a", 0, group, quietly=True)
    return found


def has_coordinator(conversation: Conversation) -> bool:
    if conversation.ask("a", 0, messages.FindCoordinatorRequest(key="any"), quietly=True).error_code:
        return False
    group = messages.DescribeGroupsRequest(groups=["any"])
    return bool(conversation.ask("a", 0, group, quietly=True).groups[0].error_code == 0)


def fetch(conversation: Conversation, version: int, offset: int, size: int) -> tuple[int, int, bytes]:
    request = messages.FetchRequest
    part = request.Partition(partition=0, fetch_offset=offset, partition_max_bytes=size)
    body = request(
        max_wait_ms=1, min_bytes=1, max_bytes=1 << 20, topics=[request.Topic(topic=TOPIC, partitions=[part])]
    )
    ((entry,),) = (one.partitions for one in conversation.ask("a", version, body, quietly=True).responses)
    return entry.error_code, entry.high_watermark, bytes(entry.records or b"")


def shown(given: tuple[int, int, bytes]) -> tuple[Any, ...]:
    """An answer as it must be the same: all but how well two libraries compress what had to be converted."""
    error, high_watermark, data = given
    found = []
    at = 0
    while len(data) - at >= 17 and at + 12 + struct.unpack_from(">i", data, at + 8)[0] <= len(data):
        header = header_at(data, at)
        batch = data[at : at + header.size_bytes]
        found.append((header.magic, header.codec, header.last_offset, header.max_timestamp, list(records(batch))))
        at += header.size_bytes
    return error, high_watermark, found


def first_at(conversation: Conversation, timestamp: int) -> tuple[int, int, int]:
    request = messages.ListOffsetsRequest
    part = request.Partition(partition_index=0, timestamp=timestamp)
    body = request(replica_id=-1, topics=[request.Topic(name=TOPIC, partitions=[part])])
    ((entry,),) = (one.partitions for one in conversation.ask("a", 1, body, quietly=True).topics)
    return entry.error_code, entry.offset, entry.timestamp


@contextmanager
def written(version: str, end: str) -> Iterator[tuple[Path, str]]:
    """A directory in which an old Apache Kafka was stopped or killed, and the ZooKeeper that knows of its topics."""
    actions = ["produce", "produce-scala", "commit", *([] if version.startswith("0.8.") else ["consume"])]
    with (
        zookeeper() as coordination,
        apache_kafka(WRITING, version=version, heap="256m", connect=coordination.bootstrap) as old,
    ):
        with Conversation(old.port) as conversation:
            topic = messages.MetadataRequest(topics=[messages.MetadataRequest.Topic(name=TOPIC)])
            until(lambda: not conversation.ask("a", 0, topic, quietly=True).topics[0].error_code)
            ask = messages.FindCoordinatorRequest(key="any")
            until(lambda: not conversation.ask("a", 0, ask, quietly=True).error_code)
        said = java(version, old.port, TOPIC, *actions)
        assert sum(line.startswith("produced ") for line in said) == 18 + 3
        # Three were sent without waiting for an answer, and may be on their way still.
        until(lambda: len(written_so_far(old.data_dir)) == RECORDS)
        (old.stop if end == "stopped" else old.kill)()
        yield old.data_dir, coordination.bootstrap


@pytest.mark.parametrize("version, magic, end", CASES)
def test_a_directory_of_old_is_read_record_by_record(version: str, magic: int, end: str, tmp_path: Path) -> None:
    with written(version, end) as (data_dir, coordination):
        inside = contents(data_dir, magic)
        copies = [tmp_path / "ours", tmp_path / "theirs"]
        for copy in copies:
            shutil.copytree(data_dir, copy)
        answers = [asked(start, copy, coordination) for start, copy in zip(BROKERS, copies, strict=True)]
        compare(*answers, inside)


def test_what_this_broker_adds_to_an_old_directory_is_read_by_apache_kafka() -> None:
    with written("0.10.2.2", "stopped") as (data_dir, coordination):
        inside = contents(data_dir, 1)
        added = Record(RECORDS, int(time.time() * 1000) + 60_000, b"new", b"one")
        ours, theirs = [asked(start, data_dir, coordination, add=added) for start in BROKERS]
        compare(ours, theirs, [*inside, added._replace(headers=[])])
        assert ours["times"][added.timestamp] == (0, RECORDS, added.timestamp)


def test_a_follower_has_the_bytes_of_an_apache_kafka_leader_with_an_old_log() -> None:
    with written("0.10.2.2", "killed") as (data_dir, coordination):
        leads, follows = QUICK | {"log.dirs": str(data_dir)}, QUICK | {"broker.id": "1"}
        with (
            apache_kafka(leads, connect=coordination) as leader,
            our_broker(follows, connect=coordination) as follower,
        ):
            request = messages.AlterPartitionReassignmentsRequest
            part = request.ReassignablePartition(partition_index=0, replicas=[BrokerId(0), BrokerId(1)])
            body = request(timeout_ms=10_000, topics=[request.ReassignableTopic(name=TOPIC, partitions=[part])])
            with Conversation(leader.port) as conversation:
                until(lambda: fetch(conversation, 4, 0, 100)[0] == 0)
                until(lambda: is_begun(conversation.ask("a", 0, body, quietly=True)))
                until(lambda: in_sync(conversation) == [0, 1])
            assert stored(follower.data_dir) == stored(data_dir)
            follower.stop()


def is_begun(answer: messages.AlterPartitionReassignmentsResponse) -> bool:
    return not answer.error_code and not answer.responses[0].partitions[0].error_code


def in_sync(conversation: Conversation) -> list[int]:
    topic = messages.MetadataRequest(topics=[messages.MetadataRequest.Topic(name=TOPIC)])
    (found,) = conversation.ask("a", 1, topic, quietly=True).topics[0].partitions
    return sorted(found.isr_nodes)


def stored(data_dir: Path) -> bytes:
    """All that a partition's segments hold, wherever one ends and the next begins."""
    return b"".join(path.read_bytes() for path in sorted((data_dir / f"{TOPIC}-0").glob("*.log")))


def written_so_far(data_dir: Path) -> list[Record]:
    """The records that the old broker's files hold."""
    return [one for message, _ in shallow(stored(data_dir)) for one in unwrap(message, 1 << 20, is_stored=True)]


def contents(data_dir: Path, magic: int) -> list[Record]:
    """What the old broker has written in the end, in more than one segment, and in the format that it should."""
    assert len(list((data_dir / f"{TOPIC}-0").glob("*.log"))) > 1
    assert {message.magic for message, _ in shallow(stored(data_dir))} == {magic}
    inside = written_so_far(data_dir)
    assert [one.offset for one in inside] == list(range(RECORDS))
    return inside


def asked(start: Any, data_dir: Path, coordination: str, *, add: Record | None = None) -> dict[str, Any]:
    """What a broker says of the directory; it writes a record first if that is not there yet."""
    with start(QUICK | {"log.dirs": str(data_dir)}, connect=coordination) as server:
        with Conversation(server.port) as conversation:
            until(lambda: fetch(conversation, 4, 0, 100)[0] == 0)
            if add is not None and fetch(conversation, 4, add.offset, 100)[1] == add.offset:
                produce(conversation, add)
            found = ask_everything(conversation, [] if add is None else [add.timestamp])
        server.stop()
    return found


def produce(conversation: Conversation, record: Record) -> None:
    request = messages.ProduceRequest
    part = request.PartitionProduceData(index=0, records=bytes(build([record._replace(offset=-1)])))
    topics = [request.TopicProduceData(name=TOPIC, partition_data=[part])]
    body = request(acks=-1, timeout_ms=10_000, topic_data=topics)
    (answer,) = conversation.ask("a", 3, body, quietly=True).responses[0].partition_responses
    assert (answer.error_code, answer.base_offset) == (0, record.offset)


def compare(ours: dict[str, Any], theirs: dict[str, Any], inside: list[Record]) -> None:
    """Both say the same, and it is what was written."""
    assert ours == theirs
    found: list[Record] = []
    for _, _, batches in ours["fetch v4"]:
        found += [one for *_, given in batches for one in given if one.offset == len(found)]
    assert found == inside
    formats = {
        version: {magic for _, _, given in ours[f"fetch v{version}"] for magic, *_ in given} for version in (1, 3)
    }
    assert formats[1] == {0}
    assert formats[3] <= {0, 1}
    (committed,) = ours["committed v1"].topics[0].partitions
    assert (committed.committed_offset, committed.metadata) == (8, "note 1")
