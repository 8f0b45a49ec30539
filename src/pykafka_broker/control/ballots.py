"""Elections that somebody asked for (ElectLeaders, KIP-183 and KIP-460): who is to lead, or why nobody else does.

A ballot stays open until each of its partitions has a verdict. What an election needs written is proposed to the
controller; whether it came true is seen from the state that the partition has afterwards. After
``KafkaController.processReplicaLeaderElection``; how long a caller waits, and for what, is his business.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from msgspec import Struct, field

from pykafka_broker.control import election
from pykafka_broker.control.cluster import Cluster, PartitionState
from pykafka_broker.control.petitions import Due, Situation
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.outcome import Ticket


class ElectionType(enum.IntEnum):
    """Which election; the numbers are those of ElectLeaders."""

    PREFERRED = 0
    UNCLEAN = 1


Verdict = BrokerId | KafkaError
"""The leader that was elected, or why there was no election."""

_STRATEGIES = {
    ElectionType.PREFERRED: "PreferredReplicaPartitionLeaderElectionStrategy",
    ElectionType.UNCLEAN: "OfflinePartitionLeaderElectionStrategy(true)",
}
_FAILURES = {
    ElectionType.PREFERRED: ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE,
    ElectionType.UNCLEAN: ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE,
}


class Ballot(Struct):
    """One request for elections, and what has come of it so far."""

    ticket: Ticket
    kind: ElectionType
    open: dict[TopicPartition, None]
    verdicts: dict[TopicPartition, Verdict] = field(default_factory=dict)
    _meant: dict[TopicPartition, PartitionState] = field(default_factory=dict)

    def proceed(self, situation: Situation) -> Iterator[Due]:
        """Give a verdict on every partition that is not busy, or the state that it has to get first."""
        cluster = situation.cluster
        for partition in tuple(self.open):
            if situation.is_being_deleted(partition.topic):
                self.verdicts[partition] = KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, "The topic is being deleted")
                del self.open[partition]
                continue
            if situation.is_busy(partition):
                continue
            found: Verdict | PartitionState
            state, meant = cluster.states.get(partition), self._meant.pop(partition, None)
            if meant is not None and state is not None and _came_true(meant, state):
                found = meant.leader
            else:
                found = decide(self.kind, partition, cluster, situation.controller_epoch)
            if isinstance(found, PartitionState):
                self._meant[partition] = found
                yield Due(partition, found)
            else:
                del self.open[partition]
                self.verdicts[partition] = found


def _came_true(meant: PartitionState, state: PartitionState) -> bool:
    return (meant.leader, meant.leader_epoch) == (state.leader, state.leader_epoch)


def decide(
    kind: ElectionType, partition: TopicPartition, cluster: Cluster, controller_epoch: int
) -> PartitionState | KafkaError:
    """The state after the election that is asked for, or why there is none."""
    assignment, state = cluster.assignment(partition), cluster.states.get(partition)
    if assignment is None:
        return KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.")
    live = [one for one in cluster.live(partition, assignment.replicas) if one not in cluster.shutting_down]
    elected = None
    if state is not None and kind is ElectionType.PREFERRED:
        if state.leader == assignment.replicas[0]:
            return KafkaError(ErrorCode.ELECTION_NOT_NEEDED)
        elected = election.elect_preferred(assignment, state, live, controller_epoch)
    elif state is not None:
        if state.leader in cluster.brokers and state.leader not in cluster.shutting_down:
            return KafkaError(ErrorCode.ELECTION_NOT_NEEDED)
        elected = election.elect_offline(assignment, state, live, controller_epoch, may_be_unclean=lambda: True)
    if elected is None:
        text = f"Failed to elect leader for partition {partition} under strategy {_STRATEGIES[kind]}"
        return KafkaError(_FAILURES[kind], text)
    return elected
