"""What this broker believes of the cluster: live brokers, the controller, and who leads which partition.

Fed by UpdateMetadata, from whatever controller; read by nearly every request, so looking something up costs a
dictionary access and answers to Metadata keep what they built until something changes. Rings the topic's name, and
``BROKERS`` for brokers and controller, whenever it has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from msgspec import Struct, field

from pykafka_broker.config.listeners import PROTOCOLS
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import NO_BROKER, NO_TOPIC_ID, BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.wire import messages

LEADER_DURING_DELETE: Final = -2

_PROTOCOL_NAMES: Final = dict(enumerate(PROTOCOLS))
"""A listener without a name of its own is called after its protocol."""

ELSEWHERE: Final = frozenset((ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH))
"""The refusals that may name the leader."""

BROKERS: Final = object()
"""The key that rings when brokers come, go or change, or the controller does."""

AWAITED: Final = object()
"""The key that rings when the controller has told of topics that were awaited."""


class Address(Struct, frozen=True):
    """Where one listener of a broker can be reached; the protocol is Kafka's number."""

    host: str
    port: int
    security_protocol: int


class BrokerInfo(Struct, frozen=True):
    """A live broker: its addresses by listener name, and its rack."""

    broker_id: BrokerId
    listeners: Mapping[str, Address]
    rack: str | None


class PartitionInfo(Struct, frozen=True):
    """One partition as the controller last told it; the leader is -1 when there is none."""

    index: int
    leader: BrokerId
    leader_epoch: LeaderEpoch
    isr: tuple[BrokerId, ...]
    replicas: tuple[BrokerId, ...]
    offline_replicas: tuple[BrokerId, ...]
    partition_epoch: int
    controller_epoch: int


class TopicInfo(Struct):
    """A topic and its partitions, by index and in order."""

    name: str
    topic_id: TopicId
    partitions: dict[int, PartitionInfo] = field(default_factory=dict)


class Metadata:
    """The cache. One object for the life of the broker; ``is_filled`` from the first update on."""

    def __init__(self, me: BrokerId, changes: Changes) -> None:
        self.me = me
        self.changes = changes
        self.controller_id: BrokerId = NO_BROKER
        self.brokers: Mapping[BrokerId, BrokerInfo] = {}
        """Live brokers, in order of their ids."""
        self.topics: dict[str, TopicInfo] = {}
        self.awaited: set[str] = set()
        """Topics that the cluster had when this broker started and of which no controller has told it yet."""
        self.is_filled = False
        self.version = 0
        """Grows with every change of brokers or controller; what was derived from them is stale then."""
        self._controller_epoch = 0
        self._names: dict[TopicId, str] = {}
        self._derived: dict[str, dict[Any, Any]] = {}

    # Reading

    def topic(self, name: str) -> TopicInfo | None:
        """The topic, if the controller has told us of it."""
        return self.topics.get(name)

    def topic_name(self, topic_id: TopicId) -> str | None:
        """The name of the topic with that id."""
        return self._names.get(topic_id)

    def topic_id(self, name: str) -> TopicId:
        """The topic's id; zero when it is unknown."""
        topic = self.topics.get(name)
        return NO_TOPIC_ID if topic is None else topic.topic_id

    def partition(self, partition: TopicPartition) -> PartitionInfo | None:
        """The partition, if the controller has told us of it."""
        topic = self.topics.get(partition.topic)
        return None if topic is None else topic.partitions.get(partition.partition)

    def is_alive(self, broker: BrokerId) -> bool:
        """Whether the broker is among the live ones."""
        return broker in self.brokers

    def address(self, broker: BrokerId, listener: str) -> Address | None:
        """Where a live broker's listener can be reached."""
        known = self.brokers.get(broker)
        return None if known is None else known.listeners.get(listener)

    def leader_and_address(
        self, partition: TopicPartition, listener: str
    ) -> tuple[BrokerId, LeaderEpoch, Address | None, str | None] | None:
        """Who leads a partition, in which epoch, where that broker's listener is, and its rack (KIP-951)."""
        known = self.partition(partition)
        if known is None:
            return None
        broker = self.brokers.get(known.leader)
        if broker is None:
            return known.leader, known.leader_epoch, None, None
        return known.leader, known.leader_epoch, broker.listeners.get(listener), broker.rack

    def derived(self, topic: str, key: Any, make: Callable[[TopicInfo], Any]) -> Any:
        """What ``make`` made of the topic the last time, or makes now; forgotten when topic or brokers change.

        ``None`` for an unknown topic.
        """
        info = self.topics.get(topic)
        if info is None:
            return None
        kept = self._derived.setdefault(topic, {})
        try:
            return kept[key]
        except KeyError:
            made = kept[key] = make(info)
            return made

    async def wait_for(self, topics: Collection[str], holds: Callable[[], bool]) -> None:
        """Return once ``holds()``; it is asked again whenever one of the topics has changed."""
        while not holds():
            await self.changes.wait(topics)

    def has_leaders(self, topic: str, partitions: Collection[int]) -> bool:
        """Whether every one of the partitions has a live leader."""
        info = self.topics.get(topic)
        if info is None:
            return False
        return all(
            (partition := info.partitions.get(index)) is not None and partition.leader in self.brokers
            for index in partitions
        )

    # Writing

    def update(self, request: messages.UpdateMetadataRequest) -> tuple[ErrorCode, list[TopicPartition]]:
        """Take over what the controller says; also which partitions are gone.

        STALE_CONTROLLER_EPOCH when a newer controller has spoken already, INVALID_REQUEST when it names a protocol
        that there is not.
        """
        if request.controller_epoch < self._controller_epoch:
            return ErrorCode.STALE_CONTROLLER_EPOCH, []
        if any(
            endpoint.security_protocol not in _PROTOCOL_NAMES
            for broker in request.live_brokers
            for endpoint in broker.endpoints
        ):
            return ErrorCode.INVALID_REQUEST, []
        self._controller_epoch = request.controller_epoch
        self._update_brokers(request)
        gone: list[TopicPartition] = []
        changed: dict[str, None] = {}
        for told in request.topic_states:
            self._update_topic(told.topic_name, TopicId(told.topic_id), told.partition_states, gone)
            changed[told.topic_name] = None
        for state in request.ungrouped_partition_states:
            self._update_topic(state.topic_name, NO_TOPIC_ID, [state], gone)
            changed[state.topic_name] = None
        self.is_filled = True
        if not self.awaited.isdisjoint(changed):
            self.awaited.difference_update(changed)
            self.changes.ring(AWAITED)
        for name in changed:
            self._derived.pop(name, None)
            self.changes.ring(name)
        return ErrorCode.NONE, gone

    def _update_brokers(self, request: messages.UpdateMetadataRequest) -> None:
        brokers = {
            BrokerId(broker.id): BrokerInfo(
                BrokerId(broker.id),
                {
                    endpoint.listener or _PROTOCOL_NAMES[endpoint.security_protocol]: Address(
                        endpoint.host, endpoint.port, endpoint.security_protocol
                    )
                    for endpoint in broker.endpoints
                },
                broker.rack,
            )
            for broker in sorted(request.live_brokers, key=lambda one: one.id)
        }
        if brokers != self.brokers or request.controller_id != self.controller_id:
            self.brokers = brokers
            self.controller_id = BrokerId(request.controller_id)
            self.version += 1
            self._derived.clear()
            self.changes.ring(BROKERS)

    def _update_topic(
        self,
        name: str,
        topic_id: TopicId,
        states: Collection[messages.UpdateMetadataRequest.PartitionState],
        gone: list[TopicPartition],
    ) -> None:
        topic = self.topics.get(name)
        partitions = {} if topic is None else dict(topic.partitions)
        if topic is not None and topic_id == NO_TOPIC_ID:
            topic_id = topic.topic_id
        if topic is not None and topic_id != topic.topic_id != NO_TOPIC_ID:
            # Another topic of the same name: nothing of the earlier one is true any more.
            partitions = {}
        for state in states:
            if state.leader == LEADER_DURING_DELETE:
                if partitions.pop(state.partition_index, None) is not None:
                    gone.append(TopicPartition(name, state.partition_index))
                continue
            partitions[state.partition_index] = PartitionInfo(
                index=state.partition_index,
                leader=BrokerId(state.leader),
                leader_epoch=LeaderEpoch(state.leader_epoch),
                isr=tuple(BrokerId(broker) for broker in state.isr),
                replicas=tuple(BrokerId(broker) for broker in state.replicas),
                offline_replicas=tuple(BrokerId(broker) for broker in state.offline_replicas),
                partition_epoch=state.zk_version,
                controller_epoch=state.controller_epoch,
            )
        if topic is not None and topic.topic_id != topic_id:
            self._names.pop(topic.topic_id, None)
        if partitions:
            self.topics[name] = TopicInfo(name, topic_id, dict(sorted(partitions.items())))
            if topic_id != NO_TOPIC_ID:
                self._names[topic_id] = name
        elif topic is not None:
            del self.topics[name]
            self._names.pop(topic.topic_id, None)
