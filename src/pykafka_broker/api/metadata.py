"""Metadata and DescribeCluster: who is there, and who leads what.

Metadata
  0      no topics means all; brokers that cannot be reached are errors of their partitions
  1      null means all, empty means none; controller, rack, internal topics
  2      cluster id
  4      whether missing topics may be made
  5      offline replicas
  6      LISTENER_NOT_FOUND instead of LEADER_NOT_AVAILABLE
  7      leader epochs
  8-10   what the caller may do with the cluster; from 8 on with topics
  10     topic ids in the answer; asking by them only from 12 on
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
from msgspec import Struct, field

from pykafka_broker.api.routes import Route
from pykafka_broker.control.topics import is_legal_name
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import INTERNAL_TOPICS, NO_BROKER, NO_TOPIC_ID, TopicId
from pykafka_broker.runtime.metadata import AWAITED, BROKERS, Metadata, PartitionInfo, TopicInfo
from pykafka_broker.runtime.topics import Topics
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call

NOT_ASKED = -(2**31)
"""Authorized operations that nobody asked for."""

TOPIC_OPERATIONS = 0b1101_1111_1000
"""READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS: all that a topic knows."""

CLUSTER_OPERATIONS = 0b1_1111_1010_0000
"""CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE."""

FIRST_WORD_S = 5.0
"""So long a broker that has just started waits for the controller's first word before it says what it does not know."""

_ENDPOINT_TYPES = {1: "BROKER", 2: "CONTROLLER"}


class MetadataApi(Struct):
    """Answers from the cache; what a topic looks like is built once per listener and kept until it changes."""

    metadata: Metadata
    topics: Topics
    cluster_id: str
    auto_create: bool = True
    _brokers: dict[str, tuple[int, Any]] = field(default_factory=dict)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("Metadata", "0-12", self.tell, self._refuse_metadata),
            Route("DescribeCluster", "0-1", self.describe_cluster, self._refuse_cluster),
        )

    # Metadata

    async def tell(self, call: Call[Any]) -> messages.MetadataResponse:
        """Brokers, controller, and the topics asked for; missing ones may be made on the way."""
        body, version, listener = call.body, call.version, call.session.listener
        asked = body.topics
        await self._hear_first_word(asked)
        with_operations = version >= 8 and body.include_topic_authorized_operations
        if asked is None or (version == 0 and not asked):
            topics = self._known(sorted(self.metadata.topics), listener, version, with_operations)
        else:
            topics = await self._asked(asked, body.allow_auto_topic_creation, listener, version, with_operations)
        wants_cluster = 8 <= version <= 10 and body.include_cluster_authorized_operations
        return messages.MetadataResponse(
            brokers=self._live_brokers(listener),
            cluster_id=self.cluster_id,
            controller_id=self.metadata.controller_id,
            topics=topics,
            cluster_authorized_operations=CLUSTER_OPERATIONS if wants_cluster else NOT_ASKED,
        )

    async def _hear_first_word(self, asked: Sequence[messages.MetadataRequest.Topic] | None) -> None:
        """Wait while no broker is known, or while it is known only that there are topics that are asked for.

        Clients forget what an answer leaves out. librdkafka 2.16, told of no broker by the first one of a cluster that
        comes back, never finds it again; told that a topic is not there, it refuses to produce to it for minutes. A new
        controller tells of brokers first and of topics afterwards (``KafkaController.onControllerFailover``).
        """
        metadata = self.metadata
        if metadata.brokers and not metadata.awaited:
            return
        names = None if not asked or any(topic.name is None for topic in asked) else {topic.name for topic in asked}
        with trio.move_on_after(FIRST_WORD_S) as patience:
            while not metadata.brokers or (
                metadata.awaited and not metadata.awaited.isdisjoint(names or metadata.awaited)
            ):
                await metadata.changes.wait((BROKERS, AWAITED))
        if patience.cancelled_caught:
            metadata.awaited.clear()

    async def _asked(
        self,
        asked: Sequence[messages.MetadataRequest.Topic],
        may_create: bool,
        listener: str,
        version: int,
        with_operations: bool,
    ) -> list[messages.MetadataResponse.Topic]:
        answers: list[messages.MetadataResponse.Topic] = []
        ids = _ids_asked(asked, version)
        if ids:
            known: dict[str, None] = {}
            for topic_id in ids:
                name = self.metadata.topic_name(topic_id)
                if name is None:
                    answers.append(
                        messages.MetadataResponse.Topic(
                            error_code=ErrorCode.UNKNOWN_TOPIC_ID, name=None, topic_id=topic_id
                        )
                    )
                else:
                    known[name] = None
            return answers + self._known(known, listener, version, with_operations)
        if any(topic.name is None for topic in asked):
            # Neither name nor id; Apache Kafka stumbles over it and answers just this.
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR)
        names: dict[str, None] = dict.fromkeys(topic.name or "" for topic in asked)
        present = self.metadata.topics
        missing = [name for name in names if name not in present]
        if not missing:
            return self._known(names, listener, version, with_operations)
        answers = self._known((name for name in names if name in present), listener, version, with_operations)
        if self.auto_create and may_create:
            errors = await self.topics.make_on_demand(missing)
        else:
            errors = {
                name: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if is_legal_name(name) else ErrorCode.INVALID_TOPIC_EXCEPTION
                for name in missing
            }
        for name, error in errors.items():
            answers.append(
                messages.MetadataResponse.Topic(
                    error_code=error,
                    name=name,
                    is_internal=name in INTERNAL_TOPICS,
                    topic_authorized_operations=TOPIC_OPERATIONS if with_operations else NOT_ASKED,
                )
            )
        return answers

    def _known(
        self, names: Any, listener: str, version: int, with_operations: bool
    ) -> list[messages.MetadataResponse.Topic]:
        # What a version changes in the answer itself: errors for unreachable replicas, and for missing listeners.
        age = 0 if version == 0 else 1 if version < 6 else 6
        key = (listener, age, with_operations)
        found = (
            self.metadata.derived(name, key, lambda topic: self._topic(topic, listener, age, with_operations))
            for name in names
        )
        return [topic for topic in found if topic is not None]

    def _topic(
        self, topic: TopicInfo, listener: str, age: int, with_operations: bool
    ) -> messages.MetadataResponse.Topic:
        return messages.MetadataResponse.Topic(
            name=topic.name,
            topic_id=topic.topic_id,
            is_internal=topic.name in INTERNAL_TOPICS,
            partitions=[self._partition(partition, listener, age) for partition in topic.partitions.values()],
            topic_authorized_operations=TOPIC_OPERATIONS if with_operations else NOT_ASKED,
        )

    def _partition(self, partition: PartitionInfo, listener: str, age: int) -> messages.MetadataResponse.Partition:
        """One partition as a caller of this listener sees it (``ZkMetadataCache.getPartitionMetadata``)."""
        metadata = self.metadata
        replicas, isr = list(partition.replicas), list(partition.isr)
        error, leader = ErrorCode.NONE, partition.leader
        if age == 0:
            replicas = [broker for broker in replicas if metadata.address(broker, listener) is not None]
            isr = [broker for broker in isr if metadata.address(broker, listener) is not None]
        if metadata.address(leader, listener) is None:
            error = ErrorCode.LEADER_NOT_AVAILABLE
            if age >= 6 and metadata.is_alive(leader):
                error = ErrorCode.LISTENER_NOT_FOUND
            leader = NO_BROKER
        elif len(replicas) < len(partition.replicas) or len(isr) < len(partition.isr):
            error = ErrorCode.REPLICA_NOT_AVAILABLE
        return messages.MetadataResponse.Partition(
            error_code=error,
            partition_index=partition.index,
            leader_id=leader,
            leader_epoch=partition.leader_epoch,
            replica_nodes=replicas,
            isr_nodes=isr,
            offline_replicas=list(partition.offline_replicas),
        )

    def _live_brokers(self, listener: str) -> list[messages.MetadataResponse.Broker]:
        metadata = self.metadata
        kept = self._brokers.get(listener)
        if kept is not None and kept[0] == metadata.version:
            brokers: list[messages.MetadataResponse.Broker] = kept[1]
            return brokers
        brokers = [
            messages.MetadataResponse.Broker(
                node_id=broker.broker_id, host=address.host, port=address.port, rack=broker.rack
            )
            for broker in metadata.brokers.values()
            if (address := broker.listeners.get(listener)) is not None
        ]
        self._brokers[listener] = (metadata.version, brokers)
        return brokers

    @staticmethod
    def _refuse_metadata(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.MetadataResponse:
        return messages.MetadataResponse(
            topics=[
                messages.MetadataResponse.Topic(error_code=code, name=topic.name or "", topic_id=topic.topic_id)
                for topic in call.body.topics or ()
            ]
        )

    # DescribeCluster

    async def describe_cluster(self, call: Call[Any]) -> messages.DescribeClusterResponse:
        """The live brokers behind this listener, and the controller if it is one of them."""
        body = call.body
        kind = _ENDPOINT_TYPES.get(body.endpoint_type)
        if kind != "BROKER":
            unknown, mismatched = ErrorCode.UNSUPPORTED_ENDPOINT_TYPE, ErrorCode.MISMATCHED_ENDPOINT_TYPE
            error = unknown if kind is None else mismatched
            says = (
                f"Unsupported endpoint type {body.endpoint_type}"
                if kind is None
                else f"The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type {kind}"
            )
            raise KafkaError(ErrorCode.INVALID_REQUEST if call.version == 0 else error, says)
        brokers = [
            messages.DescribeClusterResponse.Broker(
                broker_id=broker.node_id, host=broker.host, port=broker.port, rack=broker.rack
            )
            for broker in self._live_brokers(call.session.listener)
        ]
        controller = self.metadata.controller_id
        return messages.DescribeClusterResponse(
            cluster_id=self.cluster_id,
            controller_id=controller if any(broker.broker_id == controller for broker in brokers) else NO_BROKER,
            brokers=brokers,
            cluster_authorized_operations=(
                CLUSTER_OPERATIONS if body.include_cluster_authorized_operations else NOT_ASKED
            ),
        )

    @staticmethod
    def _refuse_cluster(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.DescribeClusterResponse:
        return messages.DescribeClusterResponse(error_code=code, error_message=detail)


def _ids_asked(asked: Sequence[messages.MetadataRequest.Topic], version: int) -> list[TopicId]:
    """The ids by which topics are asked for, if by ids; INVALID_REQUEST in the versions that cannot."""
    if version < 10:
        return []
    if version < 12:
        for topic in asked:
            if topic.name is None:
                raise KafkaError(ErrorCode.INVALID_REQUEST, f"Topic name can not be null for version {version}")
            if topic.topic_id != NO_TOPIC_ID:
                text = f"Topic IDs are not supported in requests for version {version}"
                raise KafkaError(ErrorCode.INVALID_REQUEST, text)
        return []
    return [
        TopicId(topic_id) for topic_id in dict.fromkeys(topic.topic_id for topic in asked) if topic_id != NO_TOPIC_ID
    ]
