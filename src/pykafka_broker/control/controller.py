"""The controller: keeps every partition led, tells brokers, and carries topics from creation to deletion.

Event in, commands out (``KafkaController`` with its state machines). It works by level, not by edge: whatever was
seen, it compares what should be with what is, so that a new controller that starts from any half-done state arrives
at the same place as the old one would have. Writing, sending and watching are left to ``runtime/control_loop``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from pykafka_broker.control.balance import FIRST_AFTER_MS, out_of_place
from pykafka_broker.control.ballots import Ballot, ElectionType
from pykafka_broker.control.cluster import Assignment, Cluster, LiveBroker, Topic
from pykafka_broker.control.commands import (
    AnswerTicket,
    Command,
    ForgetDeletion,
    ForgetElection,
    ForgetTopic,
    Note,
    WriteReassignments,
    WriteTopic,
)
from pykafka_broker.control.deletions import AT_ONCE, RETRY_AFTER_MS, Deletion, Stage
from pykafka_broker.control.errands import WrittenReassignments
from pykafka_broker.control.events import (
    BrokerAnswered,
    BrokersSeen,
    DeletionsSeen,
    ElectionAsked,
    ElectionWritten,
    Event,
    IsrChangeAsked,
    LogDirsFailed,
    ReassignmentAsked,
    ReassignmentsWritten,
    SettingsChanged,
    ShutdownAsked,
    StatesRefused,
    StatesWritten,
    TermBegan,
    TopicAssignmentChanged,
    TopicForgotten,
    TopicRefused,
    TopicsSeen,
    TopicWritten,
)
from pykafka_broker.control.isr_changes import IsrPetition
from pykafka_broker.control.outbox import EPOCH_DURING_DELETE, Outbox
from pykafka_broker.control.partitions import Partitions
from pykafka_broker.control.petitions import Due, Petition, Situation
from pykafka_broker.control.reassignment import Reassignments, StateStep, StopStep, Target, TopicStep
from pykafka_broker.control.shutdown import Departure, refusal
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, TopicId, TopicPartition
from pykafka_broker.model.outcome import NOBODY, Fact, Level, Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages


class ControllerSettings(Struct, frozen=True, kw_only=True):
    """What the controller takes from the broker's configuration."""

    inter_broker_listener: str = "PLAINTEXT"
    delete_topic_enable: bool = True
    auto_leader_rebalance_enable: bool = True
    leader_imbalance_check_interval_seconds: int = 300
    leader_imbalance_per_broker_percentage: int = 10


class Controller:
    """One term of one controller. ``handle`` is the whole of it; ``next_deadline`` and ``tick`` are for retries."""

    def __init__(
        self,
        me: BrokerId,
        settings: ControllerSettings,
        new_topic_id: Callable[[], TopicId],
        may_be_unclean: Callable[[str], bool],
    ) -> None:
        self.cluster = Cluster()
        self._settings = settings
        self._new_topic_id = new_topic_id
        self._outbox = Outbox(me, settings.inter_broker_listener)
        self._commands: list[Command] = []
        self._partitions = Partitions(
            self.cluster,
            self._outbox,
            self._commands,
            may_be_settled=self._may_be_settled,
            may_be_told=self._may_be_told,
            may_be_unclean=may_be_unclean,
        )
        self._deletions: dict[str, Deletion] = {}
        self._arriving: dict[BrokerId, LiveBroker] = {}
        """Brokers seen but not yet let in: first the writes that their predecessors' end has caused must be done, and
        moves that are about to end must have ended, or they would be told of what they are not to host any more.
        """
        self._rewriting: dict[str, Topic] = {}
        """Topics whose node we are writing; nothing is done about their partitions before."""
        self._nameless: set[str] = set()
        """Topics whose id is not written down yet; nobody is told of them before."""
        self._seen_meanwhile: dict[str, Topic] = {}
        """What was seen of a topic's node while our write of it was under way."""
        self._petitions: list[Petition] = []
        self._reassignments = Reassignments()
        self._written_reassignments = WrittenReassignments()
        self._written_election: Ballot | None = None
        """The election that an old tool waits for; its node goes when it has been held."""
        self._balances_at: Millis | None = None

    def is_being_deleted(self, topic: str) -> bool:
        """Whether somebody wants the topic deleted and it is still there."""
        return topic in self._deletions

    def topic_names(self) -> dict[TopicId, str]:
        """All topics by their ids."""
        return {topic.topic_id: name for name, topic in self.cluster.topics.items() if topic.topic_id is not None}

    def moving(self) -> dict[TopicPartition, Assignment]:
        """The assignment of every partition that is being reassigned."""
        return {
            partition: assignment
            for partition in sorted(self._reassignments.moving)
            if (assignment := self.cluster.assignment(partition)) is not None
        }

    def handle(self, now: Millis, event: Event) -> tuple[Command, ...]:
        """What has to be done about an event, in this order."""
        match event:
            case TermBegan():
                self._begin(now, event)
            case BrokersSeen(brokers):
                self._see_brokers(brokers)
            case TopicsSeen(names, fresh):
                self._see_topics(names, fresh)
            case TopicAssignmentChanged(topic, found):
                self._see_assignment(topic, found)
            case DeletionsSeen(topics):
                self._see_deletions(topics)
            case StatesWritten(states):
                self._partitions.written(states)
            case StatesRefused(found):
                self._partitions.refused(found)
            case TopicWritten(topic, version):
                self._topic_written(topic, version)
            case TopicRefused(topic, found):
                self._topic_refused(topic, found)
            case TopicForgotten(topic):
                self._topic_forgotten(topic)
            case BrokerAnswered():
                self._broker_answered(now, event)
            case ElectionAsked(ticket, kind, partitions):
                self._petitions.append(Ballot(ticket, kind, dict.fromkeys(partitions)))
            case ReassignmentAsked(ticket, wanted):
                taken = self._reassignments.ask(ticket, wanted, self.cluster, self.is_being_deleted)
                self._written_reassignments.strike(taken)
            case IsrChangeAsked():
                self._isr_change_asked(event)
            case ShutdownAsked(ticket, broker, broker_epoch):
                self._shutdown_asked(ticket, broker, broker_epoch)
            case LogDirsFailed(brokers):
                self._ask_for_replicas(brokers)
            case ElectionWritten(partitions):
                if self._written_election is None:
                    self._written_election = Ballot(NOBODY, ElectionType.PREFERRED, dict.fromkeys(partitions))
                    self._petitions.append(self._written_election)
            case ReassignmentsWritten(wanted):
                self._see_reassignments(wanted)
            case SettingsChanged(topic):
                known = self.cluster
                self._partitions.settle(known.partitions() if topic is None else known.partitions_of(topic))
        return self._conclude(now)

    def next_deadline(self) -> Millis | None:
        """When ``tick`` has something to do, if ever."""
        resting = [
            one.not_before
            for one in self._deletions.values()
            if one.stage is Stage.WAITING and one.not_before > AT_ONCE
        ]
        if self._balances_at is not None:
            resting.append(self._balances_at)
        return min(resting, default=None)

    def tick(self, now: Millis) -> tuple[Command, ...]:
        """Try again what rested until now; what cannot begin even so has to wait for an event."""
        for deletion in self._deletions.values():
            deletion.wake(now)
        if self._balances_at is not None and now >= self._balances_at:
            self._balances_at = Millis(now + self._settings.leader_imbalance_check_interval_seconds * 1000)
            self._balance()
        return self._conclude(now)

    def _balance(self) -> None:
        percentage = self._settings.leader_imbalance_per_broker_percentage
        found = out_of_place(self.cluster, percentage, self.is_being_deleted)
        if found:
            self._note("LeadersOutOfPlace", partitions=len(found))
            self._petitions.append(Ballot(NOBODY, ElectionType.PREFERRED, dict.fromkeys(found)))

    # What is decided after every event

    def _conclude(self, now: Millis) -> tuple[Command, ...]:
        self._resume_deletions(now)
        self._flush()
        self._serve_petitions()
        self._move_replicas()
        self._tidy_reassignments()
        if self._arriving and self._partitions.are_at_rest and not self._rewriting:
            self._let_in()
            self._resume_deletions(now)
            self._flush()
        commands = tuple(self._commands)
        self._commands.clear()
        return commands

    def _flush(self) -> None:
        self._partitions.flush()

    def _note(self, name: str, level: Level = Level.INFO, **fields: object) -> None:
        self._commands.append(Note(Fact(name, level, fields)))

    # What may be done about a partition

    def _may_be_settled(self, partition: TopicPartition) -> bool:
        """Not while its topic's node is written, nor once that is to be deleted; but a move has to end before, and
        cannot without a leader.
        """
        assignment = self.cluster.assignment(partition)
        is_moving = assignment is not None and assignment.is_moving
        return partition.topic not in self._rewriting and (partition.topic not in self._deletions or is_moving)

    def _may_be_told(self, partition: TopicPartition) -> bool:
        """Not while its copies are being deleted, nor before its topic has an id that is written down."""
        name = partition.topic
        topic = self.cluster.topics.get(name)
        is_named = topic is not None and topic.topic_id is not None and name not in self._nameless
        return is_named and not self._is_going(name)

    def _is_going(self, topic: str) -> bool:
        """Whether copies of the topic are being deleted already."""
        deletion = self._deletions.get(topic)
        return deletion is not None and deletion.stage is not Stage.WAITING

    def _is_busy(self, partition: TopicPartition) -> bool:
        """Whether something about the partition is under way, so that nothing can be decided now."""
        return (
            self._partitions.is_writing(partition)
            or partition.topic in self._rewriting
            or self._is_going(partition.topic)
        )

    # What administrators and brokers ask for

    def _serve_petitions(self) -> None:
        """In the order in which they came: elections, changes of the ISR, departures."""
        situation = Situation(
            self.cluster, self._partitions.controller_epoch, self._is_busy, self.is_being_deleted, self._is_going
        )
        for petition in tuple(self._petitions):
            self._partitions.write(petition.proceed(situation))
            if petition.open:
                continue
            self._petitions.remove(petition)
            self._commands.append(AnswerTicket(petition.ticket, petition.verdicts))
            if petition is self._written_election:
                self._written_election = None
                self._commands.append(ForgetElection())

    def _isr_change_asked(self, event: IsrChangeAsked) -> None:
        known = self.cluster.brokers.get(event.leader)
        if known is None or known.epoch != event.broker_epoch:
            self._commands.append(AnswerTicket(event.ticket, KafkaError(ErrorCode.STALE_BROKER_EPOCH)))
        else:
            self._petitions.append(IsrPetition(event.ticket, event.leader, dict(event.wishes)))

    def _shutdown_asked(self, ticket: Ticket, broker: BrokerId, broker_epoch: int) -> None:
        refused = refusal(self.cluster, broker, broker_epoch)
        if refused is not None:
            self._commands.append(AnswerTicket(ticket, refused))
            return
        if broker not in self.cluster.shutting_down:
            self._note("BrokerShuttingDown", broker=broker)
        self.cluster.shutting_down.add(broker)
        departure = Departure.begin(ticket, broker, self.cluster, self.is_being_deleted)
        self._petitions.append(departure)
        for partition in departure.followed(self.cluster):
            self._outbox.stop((broker,), partition, self.cluster.states[partition].leader_epoch, delete=False)
        self._flush()

    def _move_replicas(self) -> None:
        dues = []
        epoch = self._partitions.controller_epoch
        for step in self._reassignments.steps(self.cluster, epoch, self._is_busy):
            match step:
                case TopicStep(name, topic):
                    self._rewrite(name, topic)
                case StateStep(partition, state, told, joining):
                    dues.append(Due(partition, state, joining=joining, assignment=told))
                case StopStep(partition, broker, leader_epoch):
                    self._outbox.stop((broker,), partition, leader_epoch, delete=True)
        self._flush()
        self._partitions.write(dues)
        for petition in self._reassignments.answered():
            self._commands.append(AnswerTicket(petition.ticket, petition.verdicts))

    def _see_reassignments(self, wanted: Mapping[TopicPartition, Target]) -> None:
        fresh = self._written_reassignments.see(wanted)
        if fresh:
            taken = self._reassignments.ask(NOBODY, fresh, self.cluster, self.is_being_deleted)
            self._written_reassignments.strike(fresh.keys() - taken)

    def _tidy_reassignments(self) -> None:
        left = self._written_reassignments.shortened(self._reassignments.is_active)
        if left is not None:
            self._commands.append(WriteReassignments(left))

    def _ask_for_replicas(self, brokers: Collection[BrokerId]) -> None:
        """Tell brokers again what they host: for what they have lost they answer KAFKA_STORAGE_ERROR."""
        for broker in brokers:
            self._note("LogDirectoryFailed", Level.WARNING, broker=broker)
            for partition in self.cluster.partitions():
                assignment = self.cluster.assignment(partition)
                if assignment is not None and broker in assignment.replicas and self._may_be_told(partition):
                    self._outbox.lead((broker,), partition)
        self._flush()

    # The term begins

    def _begin(self, now: Millis, event: TermBegan) -> None:
        cluster = self.cluster
        self._partitions.controller_epoch = event.controller_epoch
        if self._settings.auto_leader_rebalance_enable:
            self._balances_at = Millis(now + FIRST_AFTER_MS)
        cluster.brokers = {broker.broker_id: broker for broker in event.brokers}
        cluster.topics = dict(event.topics)
        cluster.states = {
            partition: state for partition, state in event.states.items() if cluster.assignment(partition) is not None
        }
        # Brokers must know who is alive before they are told whom to follow.
        self._outbox.update(cluster.brokers)
        self._flush()
        for topic in event.deletions:
            self._mark(topic)
        self._name_topics(event.topics)
        for name, known in event.topics.items():
            self._reassignments.see(name, known)
        for partition in cluster.partitions():
            if partition in cluster.states:
                self._partitions.announce(partition)
        self._flush()
        self._partitions.settle(cluster.partitions())

    # Brokers come and go

    def _see_brokers(self, brokers: Collection[LiveBroker]) -> None:
        known = self.cluster.brokers
        seen = {broker.broker_id: broker for broker in brokers}
        gone = {
            broker_id
            for broker_id, broker in known.items()
            if broker_id not in seen or seen[broker_id].epoch != broker.epoch
        }
        self._arriving = {
            broker_id: broker for broker_id, broker in seen.items() if broker_id in gone or broker_id not in known
        }
        changed = [
            broker_id for broker_id, broker in seen.items() if broker_id not in gone and known.get(broker_id) != broker
        ]
        for broker_id in changed:
            if broker_id in known:
                known[broker_id] = seen[broker_id]
                self._outbox.update(known)
        if gone:
            self._lose(gone)

    def _lose(self, gone: set[BrokerId]) -> None:
        cluster = self.cluster
        for broker_id in gone:
            self._note("BrokerLeft", broker=broker_id, epoch=cluster.brokers[broker_id].epoch)
            del cluster.brokers[broker_id]
            cluster.shutting_down.discard(broker_id)
        cluster.offline_replicas = {one for one in cluster.offline_replicas if one[1] not in gone}
        for deletion in self._deletions.values():
            if deletion.stage is Stage.STOPPING and any(broker in gone for _, broker in deletion.left):
                deletion.rest(AT_ONCE)
        touched = [
            partition
            for partition in cluster.partitions()
            if (assignment := cluster.assignment(partition)) is not None and not gone.isdisjoint(assignment.replicas)
        ]
        self._outbox.update(cluster.brokers, (one for one in touched if one.topic not in self._deletions))
        self._partitions.settle(touched)

    def _let_in(self) -> None:
        cluster = self.cluster
        arriving, self._arriving = self._arriving, {}
        present = tuple(cluster.brokers)
        cluster.brokers.update(arriving)
        for broker in arriving.values():
            self._note("BrokerJoined", broker=broker.broker_id, epoch=broker.epoch)
        told = [one for one in cluster.partitions() if self._may_be_told(one)]
        self._outbox.update(present)
        self._outbox.update(arriving, told)
        self._flush()
        touched = []
        for partition in told:
            assignment = cluster.assignment(partition)
            if assignment is None:
                continue
            hosts = [broker for broker in assignment.replicas if broker in arriving]
            if hosts:
                touched.append(partition)
                self._outbox.lead(hosts, partition)
                self._outbox.update(cluster.brokers, (partition,))
        self._flush()
        self._partitions.settle(cluster.partitions())

    # Topics come, grow and go

    def _see_topics(self, names: Collection[str], fresh: Mapping[str, Topic]) -> None:
        for topic in [topic for topic in self.cluster.topics if topic not in names]:
            deletion = self._deletions.get(topic)
            if deletion is None or deletion.stage is not Stage.FORGETTING:
                self._note("TopicVanished", Level.WARNING, topic=topic)
                self._drop(topic)
        came = {topic: seen for topic, seen in fresh.items() if topic not in self.cluster.topics}
        self.cluster.topics.update(came)
        for topic, seen in came.items():
            self._reassignments.see(topic, seen)
        self._name_topics(came)
        self._partitions.settle(partition for topic in came for partition in self.cluster.partitions_of(topic))

    def _name_topics(self, topics: Iterable[str]) -> None:
        """Give an id to those that an old tool has made, and write it down before anybody is told of them."""
        for name in tuple(topics):
            topic = self.cluster.topics[name]
            if topic.topic_id is None and name not in self._rewriting and name not in self._deletions:
                self._nameless.add(name)
                self._rewrite(name, replace(topic, topic_id=self._new_topic_id()))

    def _see_assignment(self, name: str, found: Topic) -> None:
        if name in self._rewriting:
            self._seen_meanwhile[name] = found
            return
        known = self.cluster.topics.get(name)
        if known is None or found.version < known.version:
            return
        if name in self._deletions:
            # Nobody may change a topic that is going away (KafkaController.processPartitionModifications).
            current = replace(known, version=found.version)
            if found.partitions != known.partitions:
                self._rewrite(name, current)
            else:
                self.cluster.topics[name] = current
            return
        added = {index: replicas for index, replicas in found.partitions.items() if index not in known.partitions}
        merged = replace(
            known,
            topic_id=known.topic_id or found.topic_id,
            partitions={**known.partitions, **added},
            version=found.version,
        )
        self.cluster.topics[name] = merged
        if found.topic_id != merged.topic_id or found.partitions != merged.partitions:
            # An old tool writes only the partitions; what it dropped is put back at once.
            self._rewrite(name, merged)
        else:
            self._partitions.settle(TopicPartition(name, index) for index in sorted(added))

    def _rewrite(self, name: str, topic: Topic) -> None:
        self._rewriting[name] = topic
        self._commands.append(WriteTopic(name, topic))

    def _topic_written(self, name: str, version: int) -> None:
        written, known = self._rewriting.pop(name, None), self.cluster.topics.get(name)
        if written is None or known is None:
            return
        self.cluster.topics[name] = replace(written, version=version)
        self._reassignments.see(name, written)
        self._named(name)
        changed = [
            TopicPartition(name, index)
            for index, assignment in written.partitions.items()
            if known.partitions.get(index) != assignment
        ]
        if changed and not self._is_going(name):
            # Who leads them has been told, or will be in a new epoch.
            self._outbox.update(self.cluster.brokers, changed)
        self._partitions.settle(self.cluster.partitions_of(name))
        self._look_again(name)

    def _named(self, name: str) -> None:
        """The topic has an id that is written down: now its brokers may hear of it."""
        if name in self._nameless:
            self._nameless.discard(name)
            for partition in self.cluster.partitions_of(name):
                if partition in self.cluster.states:
                    self._partitions.announce(partition)

    def _topic_refused(self, name: str, found: Topic | None) -> None:
        meant = self._rewriting.pop(name, None)
        known = self.cluster.topics.get(name)
        if meant is None or known is None:
            return
        if found is None:
            self._drop(name)
            return
        self.cluster.topics[name] = replace(known, topic_id=known.topic_id or found.topic_id or meant.topic_id)
        if found.topic_id is not None:
            self._named(name)
        self._see_assignment(name, found)
        if name not in self._rewriting:
            self._partitions.settle(self.cluster.partitions_of(name))
        self._look_again(name)

    def _look_again(self, name: str) -> None:
        found = self._seen_meanwhile.pop(name, None)
        if found is not None:
            self._see_assignment(name, found)

    def _drop(self, topic: str) -> None:
        """The topic's node is gone without our doing: forget it, and have everybody forget it."""
        partitions = self.cluster.partitions_of(topic)
        self._outbox.forget(self.cluster.brokers, partitions)
        self._flush()
        self._partitions.drop(partitions)
        self.cluster.forget(topic)
        self._rewriting.pop(topic, None)
        self._nameless.discard(topic)
        self._seen_meanwhile.pop(topic, None)
        if self._deletions.pop(topic, None) is not None:
            self._commands.append(ForgetDeletion(topic))

    # Deletion

    def _see_deletions(self, topics: Collection[str]) -> None:
        for topic in topics:
            if topic not in self._deletions:
                self._mark(topic)

    def _mark(self, topic: str) -> None:
        if not self._settings.delete_topic_enable:
            self._note("DeletionIgnored", Level.WARNING, topic=topic, reason="delete.topic.enable=false")
            self._commands.append(ForgetDeletion(topic))
        elif topic not in self.cluster.topics:
            self._note("DeletionIgnored", Level.WARNING, topic=topic, reason="no such topic")
            self._commands.append(ForgetDeletion(topic))
        else:
            self._deletions[topic] = Deletion(topic)

    def _resume_deletions(self, now: Millis) -> None:
        begun = [
            one
            for one in self._deletions.values()
            if one.stage is Stage.WAITING and self._is_at_rest(one) and one.may_begin(now, self.cluster)
        ]
        if begun:
            self._flush()
            for deletion in begun:
                deletion.begin(self.cluster)
                self._outbox.forget(self.cluster.brokers, self.cluster.partitions_of(deletion.topic))
                self._stop(deletion, delete=False)
            self._flush()
            for deletion in begun:
                self._stop(deletion, delete=True)
            self._flush()
        for deletion in self._deletions.values():
            if deletion.is_done:
                deletion.stage = Stage.FORGETTING
                partitions = sorted(self.cluster.topics[deletion.topic].partitions)
                self._commands.append(ForgetTopic(deletion.topic, tuple(partitions)))

    def _is_at_rest(self, deletion: Deletion) -> bool:
        return deletion.topic not in self._rewriting and not any(
            self._partitions.is_writing(partition) for partition in self.cluster.partitions_of(deletion.topic)
        )

    def _stop(self, deletion: Deletion, *, delete: bool) -> None:
        for partition, broker in sorted(deletion.left):
            self._outbox.stop((broker,), partition, EPOCH_DURING_DELETE, delete=delete)

    def _topic_forgotten(self, topic: str) -> None:
        if self._deletions.pop(topic, None) is not None:
            self._note("TopicDeleted", topic=topic)
            self.cluster.forget(topic)
            self._seen_meanwhile.pop(topic, None)

    # Answers

    def _broker_answered(self, now: Millis, event: BrokerAnswered) -> None:
        broker = self.cluster.brokers.get(event.broker)
        if broker is None or broker.epoch != event.broker_epoch:
            return
        if isinstance(event.request, messages.StopReplicaRequest):
            self._stopped(now, event.broker, event.request, event.response)
        elif isinstance(event.request, messages.LeaderAndIsrRequest):
            self._told_who_leads(event.broker, event.request, event.response)

    def _stopped(
        self,
        now: Millis,
        broker: BrokerId,
        request: messages.StopReplicaRequest,
        response: messages.StopReplicaResponse,
    ) -> None:
        failed = {
            TopicPartition(one.topic_name, one.partition_index): one.error_code
            for one in response.partition_errors
            if one.error_code not in (ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        }
        for topic in request.topic_states:
            deletion = self._deletions.get(topic.topic_name)
            if deletion is None:
                continue
            for asked in topic.partition_states:
                partition = TopicPartition(topic.topic_name, asked.partition_index)
                if not asked.delete_partition:
                    continue
                code = response.error_code or failed.get(partition, ErrorCode.NONE)
                if code == ErrorCode.NONE:
                    deletion.gone(partition, broker)
                elif deletion.stage is Stage.STOPPING:
                    self._note("DeletionFailed", Level.WARNING, partition=str(partition), broker=broker, code=code)
                    deletion.rest(Millis(now + RETRY_AFTER_MS))

    def _told_who_leads(
        self, broker: BrokerId, request: messages.LeaderAndIsrRequest, response: messages.LeaderAndIsrResponse
    ) -> None:
        if response.error_code != ErrorCode.NONE:
            # Nothing of it was done, or not all; sent again it would hardly be better received.
            code = ErrorCode.of(response.error_code).name
            self._note("LeaderAndIsrRefused", Level.WARNING, broker=broker, code=code)
            return
        names = {topic.topic_id: topic.topic_name for topic in request.topic_states}
        cluster = self.cluster
        touched = []
        for topic in response.topics:
            name = names.get(topic.topic_id)
            if name is None:
                continue
            for one in topic.partition_errors:
                replica = (TopicPartition(name, one.partition_index), broker)
                if one.error_code == ErrorCode.KAFKA_STORAGE_ERROR and replica not in cluster.offline_replicas:
                    cluster.offline_replicas.add(replica)
                    touched.append(replica[0])
                elif one.error_code == ErrorCode.NONE and replica in cluster.offline_replicas:
                    # It is back, and may have been told of a state that is no longer true.
                    cluster.offline_replicas.discard(replica)
                    self._outbox.lead((broker,), replica[0])
                    touched.append(replica[0])
        if touched:
            self._outbox.update(cluster.brokers, touched)
            self._partitions.settle(touched)
