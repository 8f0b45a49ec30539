"""Brokers that want to stop in good order (ControlledShutdown): what they lead is led elsewhere before they go.

A departure stays open until nothing about its partitions is under way any more; those that the broker still leads then
are told to it, and it decides itself whether to wait. After ``KafkaController.doControlledShutdown``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct, field

from pykafka_broker.control import election
from pykafka_broker.control.cluster import Cluster
from pykafka_broker.control.petitions import Due, Situation
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.outcome import Ticket


def refusal(cluster: Cluster, broker: BrokerId, broker_epoch: int) -> KafkaError | None:
    """Why a broker is not let go: it is not there, or speaks for an earlier life of itself."""
    known = cluster.brokers.get(broker)
    if known is None:
        return KafkaError(ErrorCode.BROKER_NOT_AVAILABLE, f"Broker id {broker} does not exist.")
    if 0 <= broker_epoch < known.epoch:
        return KafkaError(ErrorCode.STALE_BROKER_EPOCH)
    return None


class Departure(Struct):
    """One broker on its way out."""

    ticket: Ticket
    broker: BrokerId
    open: dict[TopicPartition, None]
    led: list[TopicPartition] = field(default_factory=list)
    """What it still leads, because nobody else can."""

    @classmethod
    def begin(
        cls, ticket: Ticket, broker: BrokerId, cluster: Cluster, is_being_deleted: Callable[[str], bool]
    ) -> Departure:
        """All partitions that have another replica are to do without this broker."""
        concerned = {
            partition: None
            for partition in cluster.partitions()
            if (assignment := cluster.assignment(partition)) is not None
            and broker in assignment.replicas
            and len(assignment.replicas) > 1
            and not is_being_deleted(partition.topic)
        }
        return cls(ticket, broker, concerned)

    def followed(self, cluster: Cluster) -> list[TopicPartition]:
        """What the broker follows; it may cease to fetch at once."""
        return [
            partition
            for partition in self.open
            if (state := cluster.states.get(partition)) is not None and state.leader != self.broker
        ]

    @property
    def verdicts(self) -> Mapping[TopicPartition, None]:
        """What the broker still leads."""
        return dict.fromkeys(self.led)

    def proceed(self, situation: Situation) -> Iterator[Due]:
        """The states that partitions have to get so that the broker can go."""
        for partition in tuple(self.open):
            if situation.is_being_deleted(partition.topic):
                del self.open[partition]
                continue
            if situation.is_busy(partition):
                continue
            due = self._without_us(partition, situation)
            if due is not None:
                # Written or not, it is looked at again.
                yield due
                continue
            del self.open[partition]
            state = situation.cluster.states.get(partition)
            if state is not None and state.leader == self.broker:
                self.led.append(partition)

    def _without_us(self, partition: TopicPartition, situation: Situation) -> Due | None:
        cluster, epoch = situation.cluster, situation.controller_epoch
        state, assignment = cluster.states.get(partition), cluster.assignment(partition)
        if state is None or assignment is None:
            return None
        live = cluster.live(partition, assignment.replicas)
        if state.leader == self.broker:
            due = election.elect_for_shutdown(assignment, state, live, cluster.shutting_down, epoch)
            return None if due is None else Due(partition, due)
        if self.broker in state.isr and len(state.isr) > 1:
            due = election.without_dead(state, [one for one in live if one != self.broker], epoch)
            # Told to follow again, it would fetch again.
            return None if due is None else Due(partition, due, spared=(self.broker,))
        return None
