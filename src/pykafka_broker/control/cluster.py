"""What the controller knows of the cluster: live brokers, topics' assignments, and the state of each partition.

Values only. What follows from them is ``election``'s and ``controller``'s business; how they are kept is ``zk``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

from pykafka_broker.model.names import NO_BROKER, BrokerId, LeaderEpoch, TopicId, TopicPartition


class Endpoint(Struct, frozen=True):
    """One advertised listener of a broker; the protocol is Kafka's number (0 PLAINTEXT … 3 SASL_SSL)."""

    listener: str
    host: str
    port: int
    security_protocol: int = 0


class LiveBroker(Struct, frozen=True):
    """A registered broker; ``epoch`` is the ``czxid`` of its registration and grows with every start."""

    broker_id: BrokerId
    epoch: int
    endpoints: tuple[Endpoint, ...]
    rack: str | None = None

    def endpoint(self, listener: str) -> Endpoint | None:
        """Where that listener can be reached, if the broker has it."""
        return next((endpoint for endpoint in self.endpoints if endpoint.listener == listener), None)


class Assignment(Struct, frozen=True):
    """The replicas of a partition, preferred leader first; ``adding`` and ``removing`` while it is reassigned."""

    replicas: tuple[BrokerId, ...]
    adding: tuple[BrokerId, ...] = ()
    removing: tuple[BrokerId, ...] = ()

    @property
    def is_moving(self) -> bool:
        """Whether a reassignment is in progress."""
        return bool(self.adding or self.removing)


class Topic(Struct, frozen=True):
    """A topic as its node tells it; ``version`` is the node's, ``topic_id`` missing when an old tool wrote it."""

    topic_id: TopicId | None
    partitions: Mapping[int, Assignment]
    version: int = 0


class PartitionState(Struct, frozen=True):
    """Leader and in-sync replicas; ``version``, the partition epoch, is that of the node, -1 while unwritten."""

    leader: BrokerId
    leader_epoch: LeaderEpoch
    isr: tuple[BrokerId, ...]
    controller_epoch: int
    is_recovering: bool = False
    version: int = -1

    @property
    def has_leader(self) -> bool:
        """Whether somebody leads, alive or not."""
        return self.leader != NO_BROKER


class Cluster(Struct):
    """The controller's picture of everything, changed in place as events come in."""

    brokers: dict[BrokerId, LiveBroker] = field(default_factory=dict)
    shutting_down: set[BrokerId] = field(default_factory=set)
    topics: dict[str, Topic] = field(default_factory=dict)
    states: dict[TopicPartition, PartitionState] = field(default_factory=dict)
    offline_replicas: set[tuple[TopicPartition, BrokerId]] = field(default_factory=set)
    """Replicas on a live broker's failed log directory."""

    def assignment(self, partition: TopicPartition) -> Assignment | None:
        """The replicas of a partition, if it exists."""
        topic = self.topics.get(partition.topic)
        return None if topic is None else topic.partitions.get(partition.partition)

    def partitions_of(self, topic: str) -> tuple[TopicPartition, ...]:
        """A topic's partitions in order; none when it is unknown."""
        known = self.topics.get(topic)
        return () if known is None else tuple(TopicPartition(topic, index) for index in sorted(known.partitions))

    def partitions(self) -> Iterator[TopicPartition]:
        """Every partition there is."""
        for topic in tuple(self.topics):
            yield from self.partitions_of(topic)

    def is_live(self, partition: TopicPartition, broker: BrokerId) -> bool:
        """Whether the broker is there and can use its copy of the partition."""
        return broker in self.brokers and (partition, broker) not in self.offline_replicas

    def live(self, partition: TopicPartition, replicas: Iterable[BrokerId]) -> tuple[BrokerId, ...]:
        """Those of the replicas that are live, in the order given."""
        return tuple(broker for broker in replicas if self.is_live(partition, broker))

    def forget(self, topic: str) -> None:
        """Drop everything known of a topic."""
        for partition in self.partitions_of(topic):
            self.states.pop(partition, None)
        self.topics.pop(topic, None)
        self.offline_replicas = {one for one in self.offline_replicas if one[0].topic != topic}
