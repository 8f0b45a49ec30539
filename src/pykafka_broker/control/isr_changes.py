"""Changes of in-sync replicas that leaders ask for (AlterPartition, KIP-497): what may be written, what stands then.

A petition stays open until each of its partitions has a verdict: the state that stands now, or why it is not what was
asked for. After ``KafkaController.doAlterPartition``; the order of the checks is part of the contract with leaders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from pykafka_broker.control.cluster import Cluster, PartitionState
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicPartition
from pykafka_broker.model.outcome import Ticket


@dataclass(frozen=True, slots=True)
class IsrWish:
    """The in-sync replicas that a leader wants, and what it believes to stand now."""

    leader_epoch: LeaderEpoch
    partition_epoch: int
    isr: tuple[BrokerId, ...]
    is_recovering: bool = False


Verdict = PartitionState | KafkaError


@dataclass(slots=True)
class IsrPetition:
    """One AlterPartition, and what has come of it so far."""

    ticket: Ticket
    leader: BrokerId
    open: dict[TopicPartition, IsrWish]
    verdicts: dict[TopicPartition, Verdict] = field(default_factory=dict)
    _meant: dict[TopicPartition, PartitionState] = field(default_factory=dict)

    def proceed(
        self, cluster: Cluster, controller_epoch: int, is_busy: Callable[[TopicPartition], bool]
    ) -> Iterator[tuple[TopicPartition, PartitionState]]:
        """Give a verdict on every partition that is not busy, or the state that it has to get first."""
        for partition, wish in tuple(self.open.items()):
            if is_busy(partition):
                continue
            state, meant = cluster.states.get(partition), self._meant.pop(partition, None)
            found: Verdict | None = None
            if meant is not None and state is not None:
                if (meant.leader, meant.leader_epoch, meant.isr) == (state.leader, state.leader_epoch, state.isr):
                    found = state
                else:
                    # Somebody else wrote first.
                    found = KafkaError(ErrorCode.INVALID_UPDATE_VERSION)
            if found is None:
                due = decide(self.leader, partition, wish, cluster, controller_epoch)
                if isinstance(due, PartitionState) and due is not state:
                    self._meant[partition] = due
                    yield partition, due
                    continue
                found = due
            del self.open[partition]
            self.verdicts[partition] = found


def decide(
    leader: BrokerId, partition: TopicPartition, wish: IsrWish, cluster: Cluster, controller_epoch: int
) -> Verdict:
    """The state that has to be written, the one that stands if it is what is wanted already, or why not."""
    state = cluster.states.get(partition)
    if state is None or cluster.assignment(partition) is None:
        return KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if wish.partition_epoch > state.version or wish.leader_epoch > state.leader_epoch:
        # Who knows more than the controller was told by another one.
        return KafkaError(ErrorCode.NOT_CONTROLLER)
    if wish.leader_epoch < state.leader_epoch:
        return KafkaError(ErrorCode.FENCED_LEADER_EPOCH)
    if (leader, set(wish.isr), wish.is_recovering) == (state.leader, set(state.isr), state.is_recovering):
        return state
    if wish.partition_epoch < state.version:
        return KafkaError(ErrorCode.INVALID_UPDATE_VERSION)
    if wish.is_recovering and (len(wish.isr) > 1 or not state.is_recovering):
        return KafkaError(ErrorCode.INVALID_REQUEST)
    if any(broker not in cluster.brokers or broker in cluster.shutting_down for broker in wish.isr):
        return KafkaError(ErrorCode.INELIGIBLE_REPLICA)
    return replace(
        state, leader=leader, isr=wish.isr, is_recovering=wish.is_recovering, controller_epoch=controller_epoch
    )
