"""Changes of in-sync replicas that leaders ask for (AlterPartition, KIP-497): what may be written, what stands then.

A petition stays open until each of its partitions has a verdict: the state that stands now, or why it is not what was
asked for. After ``KafkaController.doAlterPartition``; the order of the checks is part of the contract with leaders.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from pykafka_broker.control.cluster import Cluster, PartitionState
from pykafka_broker.control.petitions import Due, Situation
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicPartition
from pykafka_broker.model.outcome import Ticket


class IsrWish(Struct, frozen=True):
    """The in-sync replicas that a leader wants, and what it believes to stand now."""

    leader_epoch: LeaderEpoch
    partition_epoch: int
    isr: tuple[BrokerId, ...]
    is_recovering: bool = False


Verdict = PartitionState | KafkaError


class IsrPetition(Struct):
    """One AlterPartition, and what has come of it so far."""

    ticket: Ticket
    leader: BrokerId
    open: dict[TopicPartition, IsrWish]
    verdicts: dict[TopicPartition, Verdict] = field(default_factory=dict)
    _meant: dict[TopicPartition, PartitionState] = field(default_factory=dict)

    def proceed(self, situation: Situation) -> Iterator[Due]:
        """Give a verdict on every partition that is not busy, or the state that it has to get first."""
        cluster = situation.cluster
        for partition, wish in tuple(self.open.items()):
            if situation.is_going(partition.topic):
                # Its leader is stopped as well; other partitions of his must not wait until that is done.
                self._close(partition, KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
                continue
            if situation.is_busy(partition):
                continue
            state, meant = cluster.states.get(partition), self._meant.pop(partition, None)
            if meant is not None and state is not None:
                # If it is another, somebody else wrote first.
                is_ours = (meant.leader, meant.leader_epoch, meant.isr) == (state.leader, state.leader_epoch, state.isr)
                self._close(partition, state if is_ours else KafkaError(ErrorCode.INVALID_UPDATE_VERSION))
                continue
            found = decide(self.leader, partition, wish, cluster, situation.controller_epoch)
            if isinstance(found, KafkaError) or found is state:
                self._close(partition, found)
                continue
            self._meant[partition] = found
            assignment = cluster.assignment(partition)
            # The leader has the answer, and followers learn of nothing that they would not know.
            yield Due(partition, found, spared=() if assignment is None else assignment.replicas)

    def _close(self, partition: TopicPartition, verdict: Verdict) -> None:
        del self.open[partition]
        self._meant.pop(partition, None)
        self.verdicts[partition] = verdict


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
    if leader != state.leader or leader not in wish.isr:
        # A leader that does not think so; Apache Kafka believes it, only its KRaft controller does not.
        return KafkaError(ErrorCode.INVALID_REQUEST)
    if wish.is_recovering and (len(wish.isr) > 1 or not state.is_recovering):
        return KafkaError(ErrorCode.INVALID_REQUEST)
    if any(broker not in cluster.brokers or broker in cluster.shutting_down for broker in wish.isr):
        return KafkaError(ErrorCode.INELIGIBLE_REPLICA)
    return replace(state, isr=wish.isr, is_recovering=wish.is_recovering, controller_epoch=controller_epoch)
