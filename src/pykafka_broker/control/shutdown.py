"""Brokers that want to stop in good order (ControlledShutdown): what they lead is led elsewhere before they go.

A departure stays open until nothing about its partitions is under way any more; those that the broker still leads then
are told to it, and it decides itself whether to wait. After ``KafkaController.doControlledShutdown``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pykafka_broker.control import election
from pykafka_broker.control.cluster import Cluster, PartitionState
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


@dataclass(slots=True)
class Departure:
    """One broker on its way out."""

    ticket: Ticket
    broker: BrokerId
    open: dict[TopicPartition, None]
    led: list[TopicPartition] = field(default_factory=list)
    """What it still leads, because nobody else can."""
    _meant: set[TopicPartition] = field(default_factory=set)

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
            and partition in cluster.states
            and not is_being_deleted(partition.topic)
        }
        return cls(ticket, broker, concerned)

    def followed(self, cluster: Cluster) -> list[TopicPartition]:
        """What the broker follows; it may cease to fetch at once."""
        return [partition for partition in self.open if cluster.states[partition].leader != self.broker]

    def proceed(
        self, cluster: Cluster, controller_epoch: int, is_busy: Callable[[TopicPartition], bool]
    ) -> Iterator[tuple[TopicPartition, PartitionState]]:
        """The states that partitions have to get so that the broker can go."""
        for partition in tuple(self.open):
            if is_busy(partition):
                continue
            state, assignment = cluster.states.get(partition), cluster.assignment(partition)
            due = None
            if state is not None and assignment is not None and partition not in self._meant:
                live = cluster.live(partition, assignment.replicas)
                if state.leader == self.broker:
                    due = election.elect_for_shutdown(assignment, state, live, cluster.shutting_down, controller_epoch)
                elif self.broker in state.isr and len(state.isr) > 1:
                    due = election.without_dead(state, [one for one in live if one != self.broker], controller_epoch)
            if due is not None:
                self._meant.add(partition)
                yield partition, due
                continue
            del self.open[partition]
            if state is not None and state.leader == self.broker:
                self.led.append(partition)
