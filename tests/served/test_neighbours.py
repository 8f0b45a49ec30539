"""Three brokers of this process on a real ZooKeeper: they replicate, hand over, come back, and share their duties."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from pykafka_broker import Broker
from pykafka_broker.app import READY_WITHIN_S
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record, build, records
from pykafka_broker.wire.formats import headers
from pykafka_broker.zk.session import open_ensemble
from tests.cluster.zookeeper import ZooKeeper, running_zookeeper
from tests.served.conftest import connected

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_chroots = itertools.count(1)


class Cluster:
    """Brokers on one chroot, each with a data directory that outlives it."""

    def __init__(self, connect: str, root: Path, nursery: trio.Nursery, **more: Any) -> None:
        """``more`` are properties with ``_`` for each dot."""
        self.connect = connect
        self._root = root
        self._nursery = nursery
        self._more = {key.replace("_", "."): value for key, value in more.items()}
        self._stops: dict[int, trio.Event] = {}
        self._ended: dict[int, trio.Event] = {}
        self.brokers: dict[int, Broker] = {}

    async def start(self, *numbers: int) -> None:
        """Start brokers, one after the other."""
        for number in numbers:
            properties = {
                "broker.id": number,
                "zookeeper.connect": self.connect,
                "zookeeper.session.timeout.ms": 6000,
                "default.replication.factor": 3,
                "offsets.topic.num.partitions": 1,
                "offsets.topic.replication.factor": 3,
                "min.insync.replicas": 2,
                **self._more,
            }
            await self._nursery.start(self._run, number, Broker(properties, data_dir=self._root / str(number)))

    async def _run(self, number: int, broker: Broker, *, task_status: trio.TaskStatus[None]) -> None:
        ended = self._ended[number] = trio.Event()
        async with broker:
            self._stops[number] = trio.Event()
            self.brokers[number] = broker
            task_status.started()
            await self._stops[number].wait()
        ended.set()

    async def stop(self, *numbers: int) -> None:
        """Stop brokers in good order."""
        for number in numbers:
            del self.brokers[number]
            self._stops[number].set()
            await self._ended[number].wait()

    async def ask(self, number: int, version: int, body: Any) -> Any:
        async with connected(self.brokers[number]) as client:
            return await client.asks(version, body)

    async def partition(self, topic: str, *, seen_by: int, index: int = 0) -> Any:
        """A partition as a broker tells it."""
        request = messages.MetadataRequest(topics=[messages.MetadataRequest.Topic(name=topic)])
        (found,) = (await self.ask(seen_by, 9, request)).topics
        return next((one for one in found.partitions if one.partition_index == index), None)

    async def until(self, topic: str, seen_by: int, leader: set[int], isr: set[int]) -> Any:
        """Wait for a leader out of these and this ISR."""
        with trio.fail_after(20):
            while True:
                found = await self.partition(topic, seen_by=seen_by)
                if found is not None and found.leader_id in leader and set(found.isr_nodes) == isr:
                    return found
                await trio.lowlevel.checkpoint()

    async def create(self, topic: str, replicas: list[int]) -> None:
        """Have a topic of one partition made, by the controller."""
        request = messages.CreateTopicsRequest(
            topics=[
                messages.CreateTopicsRequest.CreatableTopic(
                    name=topic,
                    num_partitions=-1,
                    replication_factor=-1,
                    assignments=[
                        messages.CreateTopicsRequest.CreatableReplicaAssignment(
                            partition_index=0,
                            broker_ids=replicas,  # type: ignore[arg-type]
                        )
                    ],
                )
            ],
            timeout_ms=10_000,
        )
        controller = (await self.ask(next(iter(self.brokers)), 9, messages.MetadataRequest(topics=[]))).controller_id
        (made,) = (await self.ask(controller, 5, request)).topics
        assert made.error_code == ErrorCode.NONE

    async def produce(self, topic: str, leader: int, *values: bytes) -> int:
        """Append one batch with acks=all; the base offset."""
        request = messages.ProduceRequest
        body = request(
            acks=-1,
            timeout_ms=10_000,
            topic_data=[
                request.TopicProduceData(
                    name=topic,
                    partition_data=[
                        request.PartitionProduceData(
                            index=0, records=build([Record(timestamp=1, key=None, value=value) for value in values])
                        )
                    ],
                )
            ],
        )
        with trio.fail_after(10):
            while True:
                (answer,) = (await self.ask(leader, 9, body)).responses[0].partition_responses
                if answer.error_code != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                    break
                # The leader has yet to hear what another broker knows already.
                await trio.lowlevel.checkpoint()
        assert answer.error_code == ErrorCode.NONE
        return int(answer.base_offset)

    async def read(self, topic: str, leader: int) -> list[bytes]:
        """Every record that consumers may see."""
        request = messages.FetchRequest
        body = request(
            max_wait_ms=100,
            min_bytes=1,
            topics=[
                request.Topic(topic=topic, partitions=[request.Partition(partition=0, partition_max_bytes=1 << 20)])
            ],
        )
        (answer,) = (await self.ask(leader, 11, body)).responses[0].partitions
        assert answer.error_code == ErrorCode.NONE
        data = memoryview(bytes(answer.records))
        return [
            bytes(record.value or b"")
            for position, header in headers(data)
            for record in records(data[position : position + header.size_bytes])
        ]


@pytest.fixture
async def cluster(zookeeper: ZooKeeper, tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Cluster]:
    cluster = Cluster(f"{zookeeper.connect}/neighbours{next(_chroots)}", tmp_path, nursery)
    await cluster.start(0, 1, 2)
    yield cluster
    await cluster.stop(*reversed(tuple(cluster.brokers)))


async def test_an_acknowledged_record_is_on_every_replica_in_sync(cluster: Cluster) -> None:
    await cluster.create("orders", [1, 2, 0])
    await cluster.until("orders", 0, {1}, {0, 1, 2})
    assert await cluster.produce("orders", 1, b"a", b"b") == 0
    assert await cluster.read("orders", 1) == [b"a", b"b"]


async def test_a_leader_that_stops_hands_over_and_comes_back_into_sync(cluster: Cluster) -> None:
    await cluster.create("orders", [1, 2, 0])
    await cluster.until("orders", 0, {1}, {0, 1, 2})
    await cluster.produce("orders", 1, b"before")
    await cluster.stop(1)
    await cluster.until("orders", 0, {2}, {0, 2})
    assert await cluster.produce("orders", 2, b"meanwhile") == 1
    await cluster.start(1)
    await cluster.until("orders", 1, {2}, {0, 1, 2})
    await cluster.stop(2)
    await cluster.until("orders", 0, {0, 1}, {0, 1})
    found = await cluster.partition("orders", seen_by=0)
    with trio.fail_after(20):
        # A new leader shows what is committed once its followers have told it.
        while await cluster.read("orders", found.leader_id) != [b"before", b"meanwhile"]:
            await trio.lowlevel.checkpoint()


async def test_a_controller_stops_even_while_zookeeper_is_away(tmp_path: Path, nursery: trio.Nursery) -> None:
    (tmp_path / "zookeeper").mkdir()
    with running_zookeeper(tmp_path / "zookeeper") as zookeeper:
        limits = {"controller_socket_timeout_ms": 500, "controlled_shutdown_retry_backoff_ms": 100}
        cluster = Cluster(zookeeper.connect, tmp_path, nursery, **limits)
        await cluster.start(0, 1)
        request = messages.MetadataRequest(topics=[])
        controller = (await cluster.ask(0, 9, request)).controller_id
        zookeeper.kill()
        with trio.fail_after(20):
            await cluster.stop(controller)
            await cluster.stop(1 - controller)


async def test_the_controller_may_stop(cluster: Cluster) -> None:
    await cluster.create("orders", [0, 1, 2])
    first = (await cluster.ask(1, 9, messages.MetadataRequest(topics=[]))).controller_id
    others = {0, 1, 2} - {first}
    await cluster.stop(first)
    asked = min(others)
    await cluster.until("orders", asked, others, others)
    with trio.fail_after(20):
        while (await cluster.ask(asked, 9, messages.MetadataRequest(topics=[]))).controller_id not in others:
            await trio.lowlevel.checkpoint()


async def test_producer_ids_are_never_given_twice_by_two_brokers(cluster: Cluster) -> None:
    given = []
    for number in cluster.brokers:
        with trio.fail_after(20):
            while True:
                answer = await cluster.ask(number, 4, messages.InitProducerIdRequest(transactional_id=None))
                if answer.error_code != ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                    break
        assert answer.error_code == ErrorCode.NONE
        given.append(answer.producer_id)
    assert len({producer_id // 1000 for producer_id in given}) == 3


async def test_a_topic_made_by_whichever_broker_is_asked_is_known_to_all(cluster: Cluster) -> None:
    for number in cluster.brokers:
        await cluster.until(f"asked-of-{number}", number, {0, 1, 2}, {0, 1, 2})
    for number, other in itertools.product(cluster.brokers, repeat=2):
        await cluster.until(f"asked-of-{number}", other, {0, 1, 2}, {0, 1, 2})


async def test_a_broker_does_not_wait_for_topics_that_make_no_sense(cluster: Cluster) -> None:
    async with open_ensemble(cluster.connect, session_timeout_ms=6_000, connection_timeout_ms=20_000) as house:
        await house.create("/brokers/topics/nonsense", b"nonsense")
        await house.create("/brokers/topics/nothing", b'{"version":1,"partitions":{}}')
    await cluster.create("orders", [1, 2, 0])
    await cluster.stop(2)
    with trio.fail_after(READY_WITHIN_S / 2):
        await cluster.start(2)
        found = await cluster.ask(2, 9, messages.MetadataRequest(topics=None))
    assert [topic.name for topic in found.topics] == ["orders"]


async def test_only_the_controller_makes_topics_on_request(cluster: Cluster) -> None:
    controller = (await cluster.ask(0, 9, messages.MetadataRequest(topics=[]))).controller_id
    other = min({0, 1, 2} - {controller})
    request = messages.CreateTopicsRequest(
        topics=[messages.CreateTopicsRequest.CreatableTopic(name="t", num_partitions=1, replication_factor=1)]
    )
    (refused,) = (await cluster.ask(other, 5, request)).topics
    assert refused.error_code == ErrorCode.NOT_CONTROLLER
