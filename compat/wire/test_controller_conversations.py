"""The controller answers what brokers ask of it as Apache Kafka 3.9.1 does; both have a ZooKeeper of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest
from kazoo.client import KazooClient

from compat.servers import Server, apache_kafka, our_broker
from compat.wire.conversation import Conversation
from pykafka_broker.model.names import NO_TOPIC_ID, BrokerId, LeaderEpoch, TopicId
from pykafka_broker.wire import messages as m

Alter = m.AlterPartitionRequest
ME, STRANGER = BrokerId(0), BrokerId(9)


class BrokerTalk(Conversation):
    """What broker 0 might say, whose registration is ``epoch``; it leads the two partitions of ``t``."""

    def __init__(self, server: Server, epoch: int) -> None:
        super().__init__(server.port)
        self.epoch = epoch
        create = m.CreateTopicsRequest
        topics = [create.CreatableTopic(name="t", num_partitions=2, replication_factor=1)]
        self.ask("setup", 4, create(topics=topics, timeout_ms=20_000), quietly=True)
        asked = m.MetadataRequest(topics=[m.MetadataRequest.Topic(name="t")])
        (topic,) = self.ask("setup", 12, asked, quietly=True).topics
        self.topic_id = TopicId(topic.topic_id)

    def alter(self, version: int, *parts: Alter.PartitionData, known: bool = True, **more: Any) -> None:
        """Wish for other in-sync replicas of a topic, or (not ``known``) of one that is not there."""
        if version >= 2:
            topic = Alter.TopicData(topic_id=self.topic_id if known else TopicId(UUID(int=99)), partitions=list(parts))
        else:
            topic = Alter.TopicData(topic_name="t" if known else "nope", partitions=list(parts))
        self.ask("bob", version, Alter(**{"broker_id": ME, "broker_epoch": self.epoch, "topics": [topic], **more}))


def part(version: int, *isr: int, index: int = 0, leader_epoch: int = 0, epoch: int = 0) -> Alter.PartitionData:
    data = Alter.PartitionData(partition_index=index, leader_epoch=LeaderEpoch(leader_epoch), partition_epoch=epoch)
    if version >= 3:
        data.new_isr_with_epochs = [Alter.BrokerState(broker_id=BrokerId(one)) for one in isr]
    else:
        data.new_isr = [BrokerId(one) for one in isr]
    return data


def in_sync_replicas(talk: BrokerTalk) -> None:
    for version in range(4):
        talk.alter(version, part(version, 0), part(version, 0, index=1))
        talk.alter(version, part(version, 0, epoch=-1))
        talk.alter(version, part(version, 0, epoch=5))
        talk.alter(version, part(version, 0, leader_epoch=5))
        talk.alter(version, part(version, 0, leader_epoch=-1))
        talk.alter(version, part(version, 0, 7))
        talk.alter(version, part(version, 0, 7, epoch=-1))
        talk.alter(version, part(version, 0, index=9))
        talk.alter(version, part(version, 0), known=False)
        talk.alter(version, part(version, 0), broker_epoch=talk.epoch - 1)
        talk.alter(version, part(version, 0), broker_epoch=talk.epoch + 1)
        talk.alter(version, part(version, 0), broker_id=STRANGER)
        talk.alter(version, topics=[])
        if version >= 1:
            recovering = part(version, 0)
            recovering.leader_recovery_state = 1
            talk.alter(version, recovering)
        if version >= 2:
            talk.alter(version, topics=[Alter.TopicData(topic_id=NO_TOPIC_ID, partitions=[part(version, 0)])])


def producer_ids(talk: BrokerTalk) -> None:
    request = m.AllocateProducerIdsRequest
    for broker, epoch in ((ME, talk.epoch - 1), (ME, talk.epoch + 1), (STRANGER, talk.epoch)):
        talk.ask("bob", 0, request(broker_id=broker, broker_epoch=epoch))
    # Where the first block begins depends on whether somebody has fetched one in advance.
    first, second = (talk.ask("bob", 0, request(broker_id=ME, broker_epoch=talk.epoch), quietly=True) for _ in range(2))
    talk.transcript.append(str((first.producer_id_len, second.producer_id_start - first.producer_id_start)))


def features(talk: BrokerTalk) -> None:
    request = m.UpdateFeaturesRequest
    update = request.FeatureUpdateKey
    for version, more in (
        (0, ({}, {"allow_downgrade": True})),
        (1, [{"upgrade_type": one} for one in (0, 1, 2, 3, 9)]),
    ):
        talk.ask("ann", version, request(timeout_ms=1_000))
        for name in ("x", ""):
            for level in (-1, 0, 1, 7):
                updates = [update(feature=name, max_version_level=level, **how) for how in more]
                for one in updates:
                    talk.ask("ann", version, request(timeout_ms=1_000, feature_updates=[one]))


def departures(talk: BrokerTalk) -> None:
    request = m.ControlledShutdownRequest
    for version in range(4):
        talk.ask("bob", version, request(broker_id=STRANGER))
    for version in (2, 3):
        talk.ask("bob", version, request(broker_id=ME, broker_epoch=talk.epoch - 1))
    talk.ask("bob", 3, request(broker_id=ME, broker_epoch=talk.epoch))


Talk = Callable[[BrokerTalk], None]
TALKS: tuple[Talk, ...] = (in_sync_replicas, producer_ids, features, departures)
"""In this order: once a broker has said that it departs, it is in sync nowhere."""


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, tuple[Server, int]]]:
    """Apache Kafka and this broker, and the epochs of their registrations."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name, server in (("apache", apache_kafka()), ("ours", our_broker(with_zookeeper=True))):
            running = stack.enter_context(server)
            zookeeper = KazooClient(running.zookeeper)
            zookeeper.start()
            found[name] = running, zookeeper.get("/brokers/ids/0")[1].czxid
            zookeeper.stop()
            zookeeper.close()
        yield found


def held(servers: Mapping[str, tuple[Server, int]], name: str) -> list[str]:
    talk = BrokerTalk(*servers[name])
    with talk:
        for one in TALKS:
            one(talk)
        return talk.transcript


@pytest.mark.compat
@pytest.mark.slow
def test_the_controller_answers_brokers_as_apache_kafka_does(servers: Mapping[str, tuple[Server, int]]) -> None:
    assert held(servers, "ours") == held(servers, "apache")
