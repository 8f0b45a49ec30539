"""Elections, reassignments and moves between log directories answer raw requests as Apache Kafka 3.9.1 does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from compat.servers import QUICK, Server, apache_kafka, our_broker
from compat.waiting import until
from compat.wire.conversation import Conversation
from pykafka_broker.model.names import BrokerId
from pykafka_broker.wire import messages as m
from pykafka_broker.wire.batch import Record, build

Partitions = Mapping[str, list[int]]
LONG_NAME = "x" * 220


class ReplicaTalk(Conversation):
    """A conversation about the replicas of topics ``t`` (two partitions) and ``u`` (one), and two log directories."""

    def __init__(self, port: int, directories: list[str]) -> None:
        super().__init__(port)
        self.directories = directories
        create = m.CreateTopicsRequest
        topics = [
            create.CreatableTopic(name=name, num_partitions=count, replication_factor=1)
            for name, count in (("t", 2), ("u", 1))
        ]
        self.ask("setup", 4, create(topics=topics, timeout_ms=20_000), quietly=True)

    def elect(self, version: int, partitions: Partitions | None, kind: int = 0, timeout_ms: int = 5_000) -> None:
        request = m.ElectLeadersRequest
        asked = partitions and [request.TopicPartitions(topic=name, partitions=ids) for name, ids in partitions.items()]
        self.ask(
            "ann",
            version,
            request(
                election_type=kind,
                topic_partitions=None if partitions is None else asked or [],
                timeout_ms=timeout_ms,
            ),
        )

    def reassign(self, wanted: Mapping[str, Mapping[int, list[int] | None]]) -> None:
        request = m.AlterPartitionReassignmentsRequest
        topics = [
            request.ReassignableTopic(
                name=name,
                partitions=[
                    request.ReassignablePartition(
                        partition_index=index, replicas=None if ids is None else [BrokerId(one) for one in ids]
                    )
                    for index, ids in partitions.items()
                ],
            )
            for name, partitions in wanted.items()
        ]
        self.ask("ann", 0, request(topics=topics))

    def list_moves(self, partitions: Partitions | None) -> None:
        request = m.ListPartitionReassignmentsRequest
        asked = partitions and [request.Topics(name=name, partition_indexes=ids) for name, ids in partitions.items()]
        self.ask("ann", 0, request(topics=None if partitions is None else asked or []))

    def alter(self, version: int, *wanted: tuple[str, Partitions]) -> None:
        request = m.AlterReplicaLogDirsRequest
        directories = [
            request.AlterReplicaLogDir(
                path=path,
                topics=[request.AlterReplicaLogDirTopic(name=name, partitions=ids) for name, ids in partitions.items()],
            )
            for path, partitions in wanted
        ]
        self.ask("ann", version, request(dirs=directories))

    def epochs(self) -> list[tuple[int, int]]:
        asked = m.MetadataRequest(topics=[m.MetadataRequest.Topic(name="t")])
        (topic,) = self.ask("setup", 9, asked, quietly=True).topics
        return sorted((one.partition_index, one.leader_epoch) for one in topic.partitions)

    def layout(self) -> list[tuple[int, str, int, int, int, bool]]:
        """Which directory has what: topic, partition, bytes, lag, whether it is on its way."""
        answer = self.ask("setup", 4, m.DescribeLogDirsRequest(topics=None), quietly=True)
        return sorted(
            (
                self.directories.index(result.log_dir),
                topic.name,
                one.partition_index,
                one.partition_size,
                one.offset_lag,
                one.is_future_key,
            )
            for result in answer.results
            for topic in result.topics
            for one in topic.partitions
        )

    def note_layout(self) -> None:
        """Wait until nothing moves, and put what is where into the transcript."""
        until(lambda: not any(row[-1] for row in self.layout()), what="nothing to move any more")
        self.transcript.append(str(self.layout()))


def elections(talk: ReplicaTalk) -> None:
    for version in (0, 1, 2):
        talk.elect(version, {"t": [0, 1, 1, 9], "nope": [0], "": [0], "not legal": [0]})
        talk.elect(version, {})
        talk.elect(version, None)
    for version in (1, 2):
        talk.elect(version, {"t": [0, 9]}, kind=1)
        talk.elect(version, None, kind=1)
        talk.elect(version, {"t": [0]}, kind=7)
        talk.elect(version, None, kind=-1)
    for timeout_ms in (0, -5):
        talk.elect(2, {"t": [0]}, timeout_ms=timeout_ms)


def moves_in_progress(talk: ReplicaTalk) -> None:
    talk.list_moves(None)
    talk.list_moves({})
    talk.list_moves({"t": [0, 1, 9], "nope": [0]})


def reassignments(talk: ReplicaTalk) -> None:
    for replicas in ([], [0, 0], [-1], [-1, -1], [0, 7, 8], [7]):
        talk.reassign({"t": {0: replicas}, "nope": {0: replicas}})
    talk.reassign({"t": {0: None, 9: None}, "nope": {0: None}})
    talk.reassign({"t": {9: [0]}, "nope": {0: [0]}})
    talk.reassign({"t": {}})
    talk.reassign({})
    before = talk.epochs()
    talk.reassign({"t": {0: [0], 1: [0]}, "u": {0: [5]}})
    grown = [(index, epoch + 1) for index, epoch in before]
    until(lambda: talk.epochs() == grown, what="a new leader epoch of each partition")
    time.sleep(0.3)
    talk.transcript.append(str([after - epoch for (_, after), (_, epoch) in zip(talk.epochs(), before, strict=True)]))
    talk.list_moves(None)


def log_directories(talk: ReplicaTalk) -> None:
    one, other = talk.directories
    for version in (0, 1, 2):
        talk.alter(version, ("/nowhere", {"t": [0], "nope": [0], LONG_NAME: [0]}))
        talk.alter(version, (f"{one}/", {"t": [0]}), ("", {"t": [1]}))
        talk.alter(version, (other, {"t": [9], "nope": [0, 1]}))
        talk.alter(version, (one, {"t": [0]}), (other, {"t": [0]}), ("/nowhere", {"t": [0]}))
        talk.alter(version)
    data = build([Record(timestamp=1_600_000_000_000, key=None, value=b"a value")])
    produce = m.ProduceRequest
    for _ in range(3):
        partition = produce.PartitionProduceData(index=0, records=bytearray(data))
        topic = produce.TopicProduceData(name="t", partition_data=[partition])
        talk.ask("setup", 9, produce(acks=-1, timeout_ms=9_000, topic_data=[topic]), quietly=True)
    for path, partitions in ((one, {"t": [0, 1], "u": [0]}), (other, {"t": [0], "u": [0]}), (one, {"u": [0]})):
        talk.alter(2, (path, partitions))
        talk.note_layout()
        talk.alter(2, (path, partitions))
        talk.note_layout()


Talk = Callable[[ReplicaTalk], None]
TALKS: tuple[Talk, ...] = (elections, moves_in_progress, reassignments, log_directories)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Server, list[str]]]]:
    """Apache Kafka and this broker, each with two log directories."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name, start in (("apache", apache_kafka), ("ours", our_broker)):
            home: Path = tmp_path_factory.mktemp(name)
            directories = [str(home / "one"), str(home / "other")]
            server = stack.enter_context(start({**QUICK, "log.dirs": ",".join(directories)}))
            found[name] = server, directories
        yield found


def held(talk: Talk, server: Server, directories: list[str]) -> list[str]:
    conversation = ReplicaTalk(server.port, directories)
    with conversation:
        talk(conversation)
        said = conversation.transcript
        for index, path in enumerate(directories):
            said = [line.replace(path, f"<{index}>") for line in said]
        return said


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk.__name__)
def test_replicas_answer_as_apache_kafka_does(servers: Mapping[str, tuple[Server, list[str]]], talk: Talk) -> None:
    assert held(talk, *servers["ours"]) == held(talk, *servers["apache"])
