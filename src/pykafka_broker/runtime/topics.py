"""What anybody may ask of topics: make one, add partitions, mark it for deletion, and make it when first asked for.

Checks with ``control/topics`` and writes the nodes; the controller, whoever it is, sees them and does the rest. In
ZooKeeper mode a broker that auto-creates a topic writes its nodes itself, controller or not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.control.cluster import Assignment, Topic
from pykafka_broker.control.placement import Placement, Seat
from pykafka_broker.control.topics import NewTopic, Surroundings, is_legal_name, plan_partitions, plan_topic
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC, BrokerId, TopicId
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.zk import nodes
from pykafka_broker.zk.port import BadVersion, Coordination, CoordinationError, Create, NodeExists, NoNode, Replace

_BYTES_TOGETHER = 256 * 1024
"""Topics share a transaction up to about this size, well below ZooKeeper's megabyte."""

CheckConfigs = Callable[[Mapping[str, str]], None]
"""Raises INVALID_CONFIG for settings that a topic cannot have."""


class Created(Struct, frozen=True):
    """A topic that was made, or could be."""

    topic_id: TopicId
    placement: Placement


class _Planned(Struct, frozen=True):
    """The two nodes of a topic that may be made."""

    name: str
    settings: Create
    topic: Create

    @property
    def changes(self) -> tuple[Create, Create]:
        """What is written together."""
        return self.settings, self.topic

    @property
    def size_bytes(self) -> int:
        """What the two take of a transaction, about."""
        return sum(len(change.path) + len(change.data or b"") + 50 for change in self.changes)


class Topics:
    """The nodes of topics, seen from the side of those who want some."""

    def __init__(
        self,
        coordination: Coordination,
        metadata: Metadata,
        settings: BrokerSettings,
        check_configs: CheckConfigs,
        *,
        new_topic_id: Callable[[], TopicId],
        below: Callable[[int], int],
    ) -> None:
        """``below(n)`` throws dice: a number from 0 to n-1."""
        self._tree = coordination
        self._metadata = metadata
        self._settings = settings
        self._check_configs = check_configs
        self._new_topic_id = new_topic_id
        self._below = below
        self._in_flight: set[str] = set()

    def seats(self) -> list[Seat]:
        """The live brokers, where replicas can go."""
        return [Seat(broker.broker_id, broker.rack) for broker in self._metadata.brokers.values()]

    async def create(self, new: NewTopic) -> Created:
        """Make a topic's nodes; ``KafkaError`` says why not. The topic has leaders only some time later."""
        (made,) = await self.create_all([new])
        if isinstance(made, KafkaError):
            raise made
        return made

    async def create_all(
        self, wanted: Sequence[NewTopic], *, validate_only: bool = False
    ) -> list[Created | KafkaError]:
        """Make the nodes of several topics, or only say whether they could be made; each for itself."""
        taken = set(await self._tree.children(nodes.TOPICS))
        marked = set(await self._tree.children(nodes.DELETE_TOPICS))
        outcomes: list[Created | KafkaError] = []
        planned: dict[int, _Planned] = {}
        for place, new in enumerate(wanted):
            try:
                placement = plan_topic(new, self._surroundings(taken, marked))
            except KafkaError as error:
                outcomes.append(error)
                continue
            taken.add(new.name)
            made = Created(self._new_topic_id(), placement)
            outcomes.append(made)
            topic = nodes.TopicAssignment(new.name, placement, made.topic_id)
            stated = {key: value for key, value in new.configs.items() if value is not None}
            settings = nodes.ConfigEntity(nodes.TOPIC_CONFIG, new.name, stated)
            planned[place] = _Planned(
                new.name, Create(settings.path, settings.encode()), Create(topic.path, topic.encode())
            )
        if not validate_only:
            for place, refusal in (await self._write_all(planned)).items():
                outcomes[place] = refusal
        return outcomes

    def _surroundings(self, taken: Collection[str], marked: Collection[str]) -> Surroundings:
        seats = self.seats()
        return Surroundings(
            topics=taken,
            marked=marked,
            seats=seats,
            default_partitions=self._settings.num_partitions,
            default_replication_factor=self._settings.default_replication_factor,
            check_configs=self._check_configs,
            start_index=self._below(max(1, len(seats))),
            next_shift=self._below(max(1, len(seats))),
        )

    async def _write_all(self, planned: Mapping[int, _Planned]) -> dict[int, KafkaError]:
        """Write many topics in few transactions; where one is refused, each of its topics is tried alone."""
        refused: dict[int, KafkaError] = {}
        left = dict(planned)
        while left:
            some: dict[int, _Planned] = {}
            size = 0
            while left and (not some or size < _BYTES_TOGETHER):
                place = next(iter(left))
                some[place] = left.pop(place)
                size += some[place].size_bytes
            try:
                await self._tree.together([change for one in some.values() for change in one.changes])
            except CoordinationError:
                for place, one in some.items():
                    try:
                        await self._write(one)
                    except KafkaError as error:
                        refused[place] = error
        return refused

    async def _write(self, one: _Planned) -> None:
        """Write one topic; settings left behind by an earlier topic of the name are overwritten, as Kafka does."""
        try:
            try:
                await self._tree.together(one.changes)
            except NodeExists as error:
                if error.path != one.settings.path:
                    raise
                await self._tree.together((Replace(one.settings.path, one.settings.data), one.topic))
        except NodeExists as error:
            text = f"Topic '{one.name}' already exists."
            raise KafkaError(ErrorCode.TOPIC_ALREADY_EXISTS, text) from error

    async def add_partitions(
        self, name: str, count: int, given: Sequence[Sequence[BrokerId]] | None, *, validate_only: bool = False
    ) -> int:
        """Let a topic have ``count`` partitions; ``KafkaError`` says why not. Gives the count."""
        while True:
            topic, version = await self._read(name)
            known = None
            if topic is not None:
                known = Topic(
                    topic.topic_id,
                    {
                        index: Assignment(
                            replicas, topic.adding_replicas.get(index, ()), topic.removing_replicas.get(index, ())
                        )
                        for index, replicas in topic.partitions.items()
                    },
                )
            added = plan_partitions(name, known, count, given, self.seats())
            if validate_only or topic is None:
                return count
            grown = nodes.TopicAssignment(name, {**topic.partitions, **added}, topic.topic_id)
            try:
                await self._tree.replace(grown.path, grown.encode(), version)
            except BadVersion:
                # Somebody else wrote the topic in between: look and plan again.
                continue
            except NoNode as error:
                text = f"The topic '{name}' does not exist."
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, text) from error
            return count

    async def _read(self, name: str) -> tuple[nodes.TopicAssignment | None, int]:
        if name in ("", ".", ".."):
            # No name for a node: Apache Kafka's ZooKeeper client throws, and this is all that its caller hears.
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR)
        if not is_legal_name(name):
            return None, -1
        try:
            node = await self._tree.read(nodes.topic_path(name))
        except NoNode:
            return None, -1
        return nodes.TopicAssignment.decode(name, node.data), node.stat.version

    async def mark_for_deletion(self, name: str) -> None:
        """Ask the controller to delete a topic; UNKNOWN_TOPIC_OR_PARTITION if there is none."""
        if (await self._read(name))[0] is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Topic `{name}` to delete does not exist")
        try:
            await self._tree.create(nodes.delete_topic_path(name))
        except NodeExists:
            return

    async def make_on_demand(self, names: Iterable[str]) -> dict[str, ErrorCode]:
        """Make topics that somebody has asked for; what to tell of each (``AutoTopicCreationManager``).

        LEADER_NOT_AVAILABLE: it is there or on its way, ask again. INVALID_TOPIC_EXCEPTION,
        INVALID_REPLICATION_FACTOR: it cannot be made. UNKNOWN_TOPIC_OR_PARTITION: another caller is at it.
        """
        told: dict[str, ErrorCode] = {}
        due: list[NewTopic] = []
        for name in dict.fromkeys(names):
            new = self._on_demand(name)
            if not is_legal_name(name):
                told[name] = ErrorCode.INVALID_TOPIC_EXCEPTION
            elif len(self._metadata.brokers) < (new.replication_factor or 0):
                told[name] = ErrorCode.INVALID_REPLICATION_FACTOR
            elif name in self._in_flight:
                told[name] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            else:
                told[name] = ErrorCode.LEADER_NOT_AVAILABLE
                due.append(new)
        if due:
            self._in_flight.update(new.name for new in due)
            try:
                outcomes = await self.create_all(due)
            finally:
                self._in_flight.difference_update(new.name for new in due)
            for new, outcome in zip(due, outcomes, strict=True):
                if isinstance(outcome, KafkaError) and outcome.code != ErrorCode.TOPIC_ALREADY_EXISTS:
                    told[new.name] = outcome.code
        return told

    def _on_demand(self, name: str) -> NewTopic:
        """What a topic made on demand looks like: internal ones as their coordinators want them."""
        settings = self._settings
        if name == GROUP_METADATA_TOPIC:
            return NewTopic(
                name=name,
                partitions=settings.offsets_topic_num_partitions,
                replication_factor=settings.offsets_topic_replication_factor,
                configs=internal_configs(name, settings),
            )
        if name == TRANSACTION_STATE_TOPIC:
            return NewTopic(
                name=name,
                partitions=settings.transaction_state_log_num_partitions,
                replication_factor=settings.transaction_state_log_replication_factor,
                configs=internal_configs(name, settings),
            )
        return NewTopic(
            name=name,
            partitions=settings.num_partitions,
            replication_factor=settings.default_replication_factor,
        )

    async def are_known(self, names: Collection[str]) -> set[str]:
        """Those of the topics that have a node, whatever metadata says."""
        return set(names) & set(await self._tree.children(nodes.TOPICS))


def internal_configs(name: str, settings: BrokerSettings) -> dict[str, str]:
    """The settings with which an internal topic is made (``GroupCoordinator.offsetsTopicConfigs`` and the like)."""
    if name == GROUP_METADATA_TOPIC:
        return {
            "cleanup.policy": "compact",
            "compression.type": "producer",
            "segment.bytes": str(settings.offsets_topic_segment_bytes),
        }
    assert name == TRANSACTION_STATE_TOPIC
    return {
        "cleanup.policy": "compact",
        "compression.type": "uncompressed",
        "min.insync.replicas": str(settings.transaction_state_log_min_isr),
        "segment.bytes": str(settings.transaction_state_log_segment_bytes),
        "unclean.leader.election.enable": "false",
    }
