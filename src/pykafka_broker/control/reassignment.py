"""Replicas on the move from some brokers to others (KIP-455): what may be asked for, and the steps on the way.

A move has Kafka's phases (``KafkaController.onPartitionReassignment``): the topic's node tells the goal; the leader
is told, in a new epoch, whom to let in; once the whole target is in sync, leadership and ISR come to lie within the
target, the copies that are left over are deleted, and only then the topic's node tells that it is over. Everything is
decided from what stands in the tree, so that a new controller goes on where the old one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from pykafka_broker.control import election
from pykafka_broker.control.cluster import Assignment, Cluster, PartitionState, Topic
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicPartition
from pykafka_broker.model.outcome import Ticket

Target = tuple[BrokerId, ...]
Verdict = KafkaError | None
"""Why a partition is not reassigned, or ``None``: its reassignment has begun, and perhaps ended."""


def origin_of(assignment: Assignment) -> Target:
    """The replicas before the reassignment, without those that it adds."""
    return tuple(one for one in assignment.replicas if one not in assignment.adding)


def target_of(assignment: Assignment) -> Target:
    """The replicas after the reassignment, without those that it removes."""
    return tuple(one for one in assignment.replicas if one not in assignment.removing)


def towards(assignment: Assignment, target: Sequence[BrokerId]) -> Assignment:
    """The assignment on the way from where it was to the target (``ReplicaAssignment.reassignTo``)."""
    origin = origin_of(assignment)
    everybody = tuple(dict.fromkeys((*target, *origin)))
    return Assignment(
        everybody,
        tuple(one for one in everybody if one not in origin),
        tuple(one for one in everybody if one not in target),
    )


def is_complete(assignment: Assignment, state: PartitionState) -> bool:
    """Whether nothing moves, or the whole target is in sync."""
    return not assignment.is_moving or set(target_of(assignment)) <= set(state.isr)


def flaw(replicas: Sequence[BrokerId], current: Assignment, live: Collection[BrokerId]) -> KafkaError | None:
    """Why a partition cannot have these replicas (``KafkaController.validateReplicas``)."""
    says = None
    if not replicas:
        says = "Empty replica list specified in partition reassignment."
    elif len(set(replicas)) != len(replicas):
        says = f"Duplicate replica ids in partition reassignment replica list: {_buffer(replicas)}"
    elif any(one < 0 for one in replicas):
        says = f"Invalid broker id in replica list: {_buffer(replicas)}"
    else:
        adding = towards(current, replicas).adding
        if not set(adding) <= set(live):
            says = (
                f"Replica assignment has brokers that are not alive. Replica list: {_buffer(adding)}, "
                f"live broker list: {_set(live)}"
            )
    return None if says is None else KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, says)


def _buffer(brokers: Iterable[BrokerId]) -> str:
    """As Scala shows a sequence of this kind; it is part of texts that people read."""
    return f"ArrayBuffer({', '.join(map(str, brokers))})"


def _set(brokers: Iterable[BrokerId]) -> str:
    return f"Set({', '.join(map(str, brokers))})"


class TopicStep(Struct, frozen=True):
    """The topic's node has to be written so."""

    name: str
    topic: Topic


class StateStep(Struct, frozen=True):
    """The partition's state has to be written so, and its replicas told of this assignment; ``joining`` are those that
    have yet to get in sync.
    """

    partition: TopicPartition
    state: PartitionState
    assignment: Assignment
    joining: Target = ()


class StopStep(Struct, frozen=True):
    """A broker has to delete its copy, which is no longer wanted."""

    partition: TopicPartition
    broker: BrokerId
    leader_epoch: LeaderEpoch


Step = TopicStep | StateStep | StopStep


class Petition(Struct):
    """One AlterPartitionReassignments, and what has come of it so far."""

    ticket: Ticket
    open: dict[TopicPartition, None]
    verdicts: dict[TopicPartition, Verdict] = field(default_factory=dict)


class Reassignments:
    """All moves that are asked for or under way."""

    def __init__(self) -> None:
        self.petitions: list[Petition] = []
        self._wanted: dict[TopicPartition, Target] = {}
        """Where partitions are to go, as long as the topic's node does not tell it."""
        self.moving: set[TopicPartition] = set()
        """Partitions with adding or removing replicas in the topic's node."""
        self._due: set[TopicPartition] = set()
        """Partitions whose replicas have to be told, in a new leader epoch."""
        self._meant: dict[TopicPartition, LeaderEpoch] = {}
        self._ending: set[TopicPartition] = set()
        """Moves whose target was seen in sync."""
        self._left_over: dict[TopicPartition, dict[BrokerId, None]] = {}
        """Copies that no assignment mentions any more, to be deleted after the next leader epoch."""

    def see(self, name: str, topic: Topic) -> None:
        """The topic's node is known to tell this."""
        for index, assignment in topic.partitions.items():
            if assignment.is_moving:
                self.moving.add(TopicPartition(name, index))
            else:
                self.moving.discard(TopicPartition(name, index))

    def ask(
        self,
        ticket: Ticket,
        wanted: Mapping[TopicPartition, Target | None],
        cluster: Cluster,
        is_being_deleted: Callable[[str], bool],
    ) -> Collection[TopicPartition]:
        """Take in a request; ``None`` cancels a move. The latest request for a partition counts. Gives those that are
        not refused.
        """
        petition = Petition(ticket, {})
        self.petitions.append(petition)
        live = [broker for broker in cluster.brokers if broker not in cluster.shutting_down]
        for partition, replicas in wanted.items():
            known = cluster.assignment(partition)
            current = known or Assignment(())
            refused = None if replicas is None else flaw(replicas, current, live)
            if refused is None and replicas is None and not current.is_moving:
                refused = KafkaError(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS)
            if refused is None and (known is None or is_being_deleted(partition.topic)):
                refused = _unknown()
            if refused is not None:
                petition.verdicts[partition] = refused
                continue
            self._wanted[partition] = origin_of(current) if replicas is None else replicas
            petition.open[partition] = None
        return tuple(petition.open)

    @property
    def _active(self) -> set[TopicPartition]:
        return {*self._wanted, *self.moving, *self._due, *self._meant, *self._ending}

    def is_active(self, partition: TopicPartition) -> bool:
        """Whether the partition is moving, or is about to."""
        return any(
            partition in some for some in (self._wanted, self.moving, self._due, self._meant, self._ending)
        ) or any(partition in petition.open for petition in self.petitions)

    def steps(
        self, cluster: Cluster, controller_epoch: int, is_busy: Callable[[TopicPartition], bool]
    ) -> Iterator[Step]:
        """What has to be done next for every partition that is not busy."""
        rewritten: dict[str, dict[int, Assignment]] = {}
        for partition in sorted(self._active):
            if is_busy(partition):
                continue
            assignment, state = cluster.assignment(partition), cluster.states.get(partition)
            if assignment is None:
                self._forget(partition)
                continue
            changed = self._next_assignment(partition, assignment, state)
            if state is None:
                # Nobody has ever led it; somebody may, once the node tells of a replica that lives.
                self._due.discard(partition)
            elif changed is None:
                yield from self._advance(partition, assignment, state, cluster, controller_epoch)
                if partition in self._ending and partition not in self._due and partition not in self._meant:
                    changed = Assignment(target_of(assignment))
            if changed is not None:
                rewritten.setdefault(partition.topic, {})[partition.partition] = changed
        for name, partitions in rewritten.items():
            topic = cluster.topics[name]
            yield TopicStep(name, replace(topic, partitions={**topic.partitions, **partitions}))
        self._give_verdicts(is_busy)

    def _next_assignment(
        self, partition: TopicPartition, assignment: Assignment, state: PartitionState | None
    ) -> Assignment | None:
        """What the topic's node has to tell before anything else is done, if it does not tell it yet."""
        wanted = self._wanted.get(partition)
        if wanted is None:
            return None
        changed = towards(assignment, wanted)
        if state is not None and not set(state.isr) & set(changed.replicas):
            # Nobody who has the records would stay (Apache Kafka goes ahead, fails, and explains nothing).
            del self._wanted[partition]
            self._refuse(partition, KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR))
            return None
        dropped = [broker for broker in assignment.replicas if broker not in changed.replicas]
        if dropped:
            self._left_over.setdefault(partition, {}).update(dict.fromkeys(dropped))
        if changed != assignment:
            return changed
        del self._wanted[partition]
        self._ending.discard(partition)
        self._due.add(partition)
        return None

    def _advance(
        self,
        partition: TopicPartition,
        assignment: Assignment,
        state: PartitionState,
        cluster: Cluster,
        controller_epoch: int,
    ) -> Iterator[Step]:
        meant = self._meant.pop(partition, None)
        if meant is not None:
            if state.leader_epoch < meant:
                self._due.add(partition)
            else:
                yield from self._stop_left_over(partition, assignment, state)
        if not assignment.is_moving:
            self._ending.discard(partition)
        elif partition not in self._ending and is_complete(assignment, state):
            self._ending.add(partition)
            self._due.add(partition)
        if partition in self._due:
            self._due.discard(partition)
            due = _next_state(assignment, state, cluster.live(partition, assignment.replicas), controller_epoch)
            if due is None:
                # Nobody of the target can lead: the partition stays as it is until somebody can.
                self._ending.discard(partition)
                yield from self._stop_left_over(partition, assignment, state)
                return
            self._meant[partition] = due.leader_epoch
            # The leader has to know the end of a move in the epoch that ends it: there may be no other for long.
            told = Assignment(target_of(assignment)) if partition in self._ending else assignment
            yield StateStep(partition, due, told, tuple(one for one in told.adding if one not in due.isr))

    def _stop_left_over(
        self, partition: TopicPartition, assignment: Assignment, state: PartitionState
    ) -> Iterator[StopStep]:
        over = self._left_over.pop(partition, {})
        if partition in self._ending:
            over.update(dict.fromkeys(assignment.removing))
        kept = target_of(assignment) if partition in self._ending else assignment.replicas
        for broker in over:
            if broker not in kept:
                yield StopStep(partition, broker, state.leader_epoch)

    def _give_verdicts(self, is_busy: Callable[[TopicPartition], bool]) -> None:
        """A partition is answered for when its move has nothing left to do but to wait for replicas."""
        at_work = {*self._wanted, *self._due, *self._meant, *self._ending}
        for petition in self.petitions:
            for partition in tuple(petition.open):
                if partition not in at_work and not is_busy(partition):
                    del petition.open[partition]
                    petition.verdicts[partition] = None

    def _forget(self, partition: TopicPartition) -> None:
        for found in (self.moving, self._due, self._ending):
            found.discard(partition)
        self._wanted.pop(partition, None)
        self._meant.pop(partition, None)
        self._left_over.pop(partition, None)
        self._refuse(partition, _unknown())

    def _refuse(self, partition: TopicPartition, why: KafkaError) -> None:
        for petition in self.petitions:
            if partition in petition.open:
                del petition.open[partition]
                petition.verdicts[partition] = why

    def answered(self) -> list[Petition]:
        """The petitions that nothing is open of; they are handed out once."""
        done = [petition for petition in self.petitions if not petition.open]
        if done:
            self.petitions = [petition for petition in self.petitions if petition.open]
        return done


def _unknown() -> KafkaError:
    return KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.")


def _next_state(
    assignment: Assignment, state: PartitionState, live: Collection[BrokerId], controller_epoch: int
) -> PartitionState | None:
    """A new leader epoch, with leader and ISR within those that stay; ``None`` when none of them can lead any more."""
    kept = target_of(assignment) if is_complete(assignment, state) else assignment.replicas
    if state.leader in kept and state.leader in live:
        elected: PartitionState | None = replace(
            state, leader_epoch=LeaderEpoch(state.leader_epoch + 1), controller_epoch=controller_epoch
        )
    else:
        elected = election.elect_for_reassignment(kept, state, live, controller_epoch)
    if elected is None and not state.has_leader and not is_complete(assignment, state):
        # Those who come have to be told all the same.
        elected = replace(state, leader_epoch=LeaderEpoch(state.leader_epoch + 1), controller_epoch=controller_epoch)
    if elected is None:
        return None
    return replace(elected, isr=tuple(one for one in elected.isr if one in kept))
