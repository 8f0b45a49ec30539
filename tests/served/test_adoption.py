"""Log directories without a tree: what is found, what is refused, and that a broker serves them afterwards."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
import trio

from pykafka_broker import Broker
from pykafka_broker.adoption import CannotAdopt, adopt, survey
from pykafka_broker.houses import CannotStart
from pykafka_broker.log.partition_metadata import encode
from pykafka_broker.model.names import TopicId
from pykafka_broker.runtime.clock import wall_clock
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record, build
from tests.served.conftest import RawClient, connected

TREE = "coordination.tree"


async def make(client: RawClient, topic: str, partitions: int) -> None:
    request = messages.CreateTopicsRequest
    new = request.CreatableTopic(name=topic, num_partitions=partitions, replication_factor=1)
    response = await client.asks(5, request(topics=[new], timeout_ms=5_000))
    assert response.topics[0].error_code == 0


async def produce(client: RawClient, topic: str, index: int, producer: int = -1) -> None:
    record = Record(timestamp=1, key=b"k", value=b"v")
    idempotent = {"producer_id": producer, "producer_epoch": 0, "base_sequence": 0} if producer >= 0 else {}
    request = messages.ProduceRequest
    partition = request.PartitionProduceData(index=index, records=build([record], **idempotent))  # type: ignore[arg-type]
    data = request.TopicProduceData(name=topic, partition_data=[partition])
    response = await client.asks(9, request(acks=-1, timeout_ms=5_000, topic_data=[data]))
    assert response.responses[0].partition_responses[0].error_code == 0


async def ends(client: RawClient, topic: str, count: int) -> list[int]:
    request = messages.ListOffsetsRequest
    asked = request.Topic(
        name=topic, partitions=[request.Partition(partition_index=index, timestamp=-1) for index in range(count)]
    )
    response = await client.asks(5, request(replica_id=-1, topics=[asked]))
    assert all(one.error_code == 0 for one in response.topics[0].partitions)
    return [one.offset for one in sorted(response.topics[0].partitions, key=lambda one: one.partition_index)]


@pytest.fixture
async def orphan(tmp_path: Path) -> Path:
    """A directory with two topics, whose tree is lost."""
    path = tmp_path / "data"
    async with Broker(data_dir=path) as broker, connected(broker) as client:
        await make(client, "orders", 3)
        await make(client, "clicks", 1)
        for index in (0, 0, 2):
            await produce(client, "orders", index)
        await produce(client, "clicks", 0, producer=54_321)
    (path / TREE).unlink()
    return path


async def test_what_is_found_is_told_and_nothing_is_touched(orphan: Path) -> None:
    before = {path: path.read_bytes() for path in orphan.rglob("*") if path.is_file()}
    found = survey([orphan])
    first, *topics = found.lines()
    assert f"broker {found.broker_id} of cluster {found.cluster_id}" in first
    assert "shut down in good order" in first
    assert [line.split()[:3] for line in topics] == [["clicks", "1", "partition,"], ["orders", "3", "partitions,"]]
    assert all(line.endswith("gets retention.ms=-1") for line in topics)
    assert {path: path.read_bytes() for path in orphan.rglob("*") if path.is_file()} == before


async def test_what_was_taken_over_is_served_under_its_old_ids_and_nothing_is_deleted(orphan: Path) -> None:
    found = survey([orphan])
    await adopt(found, wall_clock)
    async with Broker({"log.retention.ms": "1"}, data_dir=orphan) as broker, connected(broker) as client:
        metadata = await client.asks(12, messages.MetadataRequest(topics=None))
        assert {topic.name: topic.topic_id for topic in metadata.topics} == {
            name: topic.topic_id for name, topic in found.topics.items()
        }
        assert metadata.cluster_id == found.cluster_id
        assert await ends(client, "orders", 3) == [2, 0, 1]
        await produce(client, "orders", 1)
        assert await ends(client, "orders", 3) == [2, 1, 1]
        # Whoever asks for a producer id gets one that nobody in these files has had.
        told = await client.asks(4, messages.InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000))
        assert told.producer_id > 54_321 + 10_000


async def test_a_start_before_that_is_refused_and_spoils_nothing(orphan: Path) -> None:
    found = survey([orphan])
    for _ in range(2):
        with pytest.raises(CannotStart) as refused:
            async with Broker(data_dir=orphan):
                pass
        assert str(refused.value) == (
            f"log.dirs belongs to cluster {found.cluster_id}, whose topics a broker without ZooKeeper has to be told "
            f"once: pykafka-broker import {orphan}"
        )
    await adopt(survey([orphan]), wall_clock)
    async with Broker(data_dir=orphan) as broker, connected(broker) as client:
        assert await ends(client, "orders", 3) == [2, 0, 1]


async def test_partitions_of_which_nobody_knows_whose_they_are_are_not_served_unawares(orphan: Path) -> None:
    (orphan / "meta.properties").unlink()
    with pytest.raises(CannotStart, match=r"log\.dirs belongs to another broker, whose topics"):
        async with Broker(data_dir=orphan):
            pass
    assert not (orphan / "meta.properties").exists()


async def test_nothing_is_taken_over_twice(orphan: Path) -> None:
    await adopt(survey([orphan]), wall_clock)
    with pytest.raises(CannotAdopt, match="has been taken over already: its tree knows clicks, orders"):
        await adopt(survey([orphan]), wall_clock)


async def test_a_tree_of_another_cluster_is_left_alone(orphan: Path) -> None:
    properties = orphan / "meta.properties"
    found = survey([orphan])
    await adopt(found, wall_clock)
    properties.write_text(properties.read_text().replace(found.cluster_id, "another-cluster-of-22-x"))
    with pytest.raises(CannotAdopt, match=f"a tree of cluster {found.cluster_id} already"):
        await adopt(survey([orphan]), wall_clock)


async def test_a_directory_of_before_clusters_had_ids_gets_one_at_its_first_start(orphan: Path) -> None:
    (orphan / "meta.properties").write_text("version=0\nbroker.id=0\n")
    found = survey([orphan])
    assert "broker 0 of a cluster without an id" in next(found.lines())
    await adopt(found, wall_clock)
    async with Broker(data_dir=orphan) as broker, connected(broker) as client:
        metadata = await client.asks(12, messages.MetadataRequest(topics=None))
        assert f"cluster.id={metadata.cluster_id}" in (orphan / "meta.properties").read_text()
        assert await ends(client, "orders", 3) == [2, 0, 1]


def without_meta(data: Path) -> None:
    (data / "meta.properties").unlink()


def of_kraft(data: Path) -> None:
    (data / "meta.properties").write_text("version=1\nnode.id=1\ncluster.id=abc\n")


def without_broker(data: Path) -> None:
    (data / "meta.properties").write_text("version=0\ncluster.id=abc\n")


def with_rubbish_for_meta(data: Path) -> None:
    (data / "meta.properties").write_text("broker.id=x\n")


def with_something_in_the_place_of_a_file(data: Path) -> None:
    (data / "orders-2" / "partition.metadata").unlink()
    (data / "orders-2" / "partition.metadata").mkdir()


def with_a_hole(data: Path) -> None:
    shutil.rmtree(data / "orders-1")


def with_two_ids(data: Path) -> None:
    (data / "orders-2" / "partition.metadata").write_bytes(encode(TopicId(UUID(int=7))))


def with_rubbish_for_an_id(data: Path) -> None:
    (data / "orders-2" / "partition.metadata").write_bytes(b"version: 0\ntopic_id: ?")


def with_a_foreign_directory(data: Path) -> None:
    (data / "lost+found").mkdir()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (without_meta, "has no meta.properties: no broker has kept its log there"),
        (of_kraft, "has version 1: it is of a broker without ZooKeeper"),
        (without_broker, "meta.properties names no broker.id"),
        (with_rubbish_for_meta, "Error while reading meta.properties file .*: Unable to read broker.id as a base-10"),
        (with_something_in_the_place_of_a_file, "Is a directory: .*orders-2/partition.metadata"),
        (with_a_hole, "of orders there are partitions up to 2, but not 1: another broker has them"),
        (with_two_ids, "orders-2 belongs to the topic id AAAAAAAAAAAAAAAAAAAABw, other partitions"),
        (with_rubbish_for_an_id, "partition.metadata cannot be read"),
        (with_a_foreign_directory, "'lost\\+found' is not in the form of topic-partition"),
        (shutil.rmtree, "is no directory"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_one_sentence(
    orphan: Path, spoil: Callable[[Path], None], why: str
) -> None:
    spoil(orphan)
    with pytest.raises(CannotAdopt, match=why):
        survey([orphan])


async def test_a_directory_that_a_broker_uses_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pykafka_broker", "import", str(tmp_path)]
    async with Broker(data_dir=tmp_path):
        refused = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, b"")
    (line,) = refused.stderr.decode().splitlines()
    assert line.endswith("A Kafka instance in another process or thread is using this directory.")


async def test_directories_have_to_belong_together(orphan: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(orphan, twin)
    with pytest.raises(CannotAdopt, match=r"clicks-0 is in .*data/clicks-0 and in .*twin/clicks-0"):
        survey([orphan, twin])
    for path in twin.glob("*-*"):
        if path.is_dir():
            shutil.rmtree(path)
    properties = twin / "meta.properties"
    # Brokers on their way to KRaft give each directory an id of its own.
    properties.write_text(properties.read_text() + "directory.id=zsIimwXkQiayGNJxGW9uUA\n")
    found = survey([orphan, twin])
    assert len(found.topics) == 2
    properties.write_text(properties.read_text().replace(f"broker.id={found.broker_id}", "broker.id=77"))
    with pytest.raises(CannotAdopt, match=r"data belongs to broker \d+ .*twin to broker 77"):
        survey([orphan, twin])
