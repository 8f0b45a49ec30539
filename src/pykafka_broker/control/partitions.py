"""The state of every partition: what it has to become, the write under way, and who is told when it is written.

One write at a time for each partition; what changes meanwhile is looked at again afterwards. After
``PartitionStateMachine`` and ``ReplicaStateMachine``, whose transitions follow here from comparing what should be with
what is. Who is elected is ``election``'s business; when a topic's partitions may be touched at all is ``controller``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec import Struct

from pykafka_broker.control import election
from pykafka_broker.control.cluster import Assignment, Cluster, PartitionState
from pykafka_broker.control.commands import Command, Note, StateWrite, WriteStates
from pykafka_broker.control.outbox import Outbox
from pykafka_broker.control.petitions import Due
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.outcome import Fact, Level


class _UnderWay(Struct, frozen=True):
    """A write, and what it means for those who are told of it."""

    is_first: bool = False
    spared: Collection[BrokerId] = ()
    joining: Collection[BrokerId] = ()
    assignment: Assignment | None = None


class Partitions:
    """All states; what has to be done about them is added to ``commands``."""

    def __init__(
        self,
        cluster: Cluster,
        outbox: Outbox,
        commands: list[Command],
        *,
        may_be_settled: Callable[[TopicPartition], bool],
        may_be_told: Callable[[TopicPartition], bool],
        may_be_unclean: Callable[[str], bool],
    ) -> None:
        self.controller_epoch = 0
        self._cluster = cluster
        self._outbox = outbox
        self._commands = commands
        self._may_be_settled = may_be_settled
        self._may_be_told = may_be_told
        self._may_be_unclean = may_be_unclean
        self._under_way: dict[TopicPartition, _UnderWay] = {}
        self._again: set[TopicPartition] = set()
        """Partitions to look at again when the write under way is done."""

    def is_writing(self, partition: TopicPartition) -> bool:
        """Whether a write of its state is under way."""
        return partition in self._under_way

    @property
    def are_at_rest(self) -> bool:
        """Whether no write at all is under way."""
        return not self._under_way

    def flush(self) -> None:
        """Let go out what brokers are to be told."""
        self._commands.extend(self._outbox.take(self._cluster, self.controller_epoch))

    def settle(self, partitions: Iterable[TopicPartition]) -> None:
        """Give each partition the state it should have, as far as that is possible now."""
        self.write([due for partition in partitions if (due := self._due(partition)) is not None])

    def _due(self, partition: TopicPartition) -> Due | None:
        if partition in self._under_way:
            self._again.add(partition)
            return None
        assignment = self._cluster.assignment(partition)
        if assignment is None or not self._may_be_settled(partition):
            return None
        state = self._cluster.states.get(partition)
        due = election.settle(
            assignment,
            state,
            self._cluster.live(partition, assignment.replicas),
            self._cluster.shutting_down,
            self.controller_epoch,
            may_be_unclean=lambda: self._may_be_unclean(partition.topic),
        )
        if due is None:
            return None
        if due.is_recovering and state is not None and not state.is_recovering:
            fields = {"partition": str(partition), "leader": due.leader}
            self._commands.append(Note(Fact("UncleanElection", Level.WARNING, fields)))
        return Due(partition, due)

    def write(self, dues: Iterable[Due]) -> None:
        """Write states; nothing else is decided about a partition before that has ended."""
        writes = []
        for due in dues:
            partition, state = due.partition, self._cluster.states.get(due.partition)
            self._under_way[partition] = _UnderWay(state is None, due.spared, due.joining, due.assignment)
            writes.append(StateWrite(partition, due.state, None if state is None else state.version))
        if writes:
            self._commands.append(WriteStates(tuple(writes)))

    def announce(self, partition: TopicPartition) -> None:
        """Tell the live replicas who leads, and everybody what Metadata should answer."""
        self._announce(partition, _UnderWay())

    def _announce(self, partition: TopicPartition, done: _UnderWay) -> None:
        assignment = done.assignment or self._cluster.assignment(partition)
        if assignment is None or not self._may_be_told(partition):
            return
        for broker in self._cluster.live(partition, assignment.replicas):
            if broker not in done.spared:
                is_new = done.is_first or broker in done.joining
                self._outbox.lead((broker,), partition, is_new=is_new, assignment=done.assignment)
        self._outbox.update(self._cluster.brokers, (partition,))

    def written(self, states: Mapping[TopicPartition, PartitionState]) -> None:
        """These states stand in the tree now."""
        again = []
        for partition, state in states.items():
            done = self._under_way.pop(partition, None)
            if done is None or self._cluster.assignment(partition) is None:
                continue
            self._cluster.states[partition] = state
            self._announce(partition, done)
            if partition in self._again:
                self._again.discard(partition)
                again.append(partition)
        self.settle(again)

    def refused(self, found: Mapping[TopicPartition, PartitionState | None]) -> None:
        """These states were not written: the tree holds something else."""
        again = []
        for partition, state in found.items():
            done = self._under_way.pop(partition, None)
            self._again.discard(partition)
            if done is None or self._cluster.assignment(partition) is None:
                continue
            if state is not None:
                self._cluster.states[partition] = state
                self.announce(partition)
                again.append(partition)
            else:
                self._cluster.states.pop(partition, None)
                if not done.is_first:
                    again.append(partition)
                # A first state without a place to put it: the topic's node is gone, as we shall see.
        self.settle(again)

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """These are no more; how writes of theirs end is of no interest."""
        for partition in partitions:
            self._under_way.pop(partition, None)
            self._again.discard(partition)
