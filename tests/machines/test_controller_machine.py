"""The controller against an unkind world: brokers come and go, tools write behind its back, and it dies between any
two of its commands. Whatever happens, once the world keeps quiet everything is led, deleted or agreed upon.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.control.ballots import ElectionType
from pykafka_broker.control.cluster import Assignment, Endpoint, LiveBroker, PartitionState, Topic
from pykafka_broker.control.commands import (
    AnswerTicket,
    Command,
    ForgetDeletion,
    ForgetElection,
    ForgetTopic,
    Note,
    StateWrite,
    TellBroker,
    WriteReassignments,
    WriteStates,
    WriteTopic,
)
from pykafka_broker.control.controller import Controller, ControllerSettings
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
from pykafka_broker.control.isr_changes import IsrWish
from pykafka_broker.control.reassignment import target_of
from pykafka_broker.model.errors import KafkaError
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.model.outcome import NOBODY, Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.leaderships import Leadership, Leaderships
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.wire import messages
from tests.doubles.memory_logs import MemoryLogs

BROKERS = [BrokerId(number) for number in range(3)]
TOPICS = ["a", "b"]
REPLICAS = st.lists(st.sampled_from(BROKERS), min_size=1, max_size=3, unique=True).map(tuple)


@dataclass
class Tree:
    """What ZooKeeper would hold."""

    brokers: dict[BrokerId, int] = field(default_factory=dict)
    topics: dict[str, Topic] = field(default_factory=dict)
    states: dict[TopicPartition, PartitionState] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)
    failed: set[BrokerId] = field(default_factory=set)
    """Who has told of a failed log directory."""
    election: tuple[TopicPartition, ...] | None = None
    reassignments: dict[TopicPartition, tuple[BrokerId, ...]] | None = None

    def live(self) -> list[LiveBroker]:
        return [
            LiveBroker(broker, epoch, (Endpoint("PLAINTEXT", f"host{broker}", 9092),))
            for broker, epoch in self.brokers.items()
        ]


class Member:
    """One life of a broker: it obeys like the real one, because it is the real one."""

    def __init__(self, broker: BrokerId, epoch: int, logs: MemoryLogs) -> None:
        changes = Changes()
        self.metadata = Metadata(broker, changes)
        self.leaderships = Leaderships(broker, logs, self.metadata, lambda topic: TopicSettings(), changes)
        self.leaderships.broker_epoch = epoch
        self.told: deque[Any] = deque()

    def obey_next(self) -> tuple[Any, Any]:
        request = self.told.popleft()
        if isinstance(request, messages.LeaderAndIsrRequest):
            return request, self.leaderships.lead_and_follow(request)
        if isinstance(request, messages.UpdateMetadataRequest):
            return request, self.leaderships.update_metadata(request)
        return request, self.leaderships.stop(request)


class ControllerMachine(RuleBasedStateMachine):
    """Controller, tree and brokers; every step of each is a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree()
        self.now = Millis(1)
        self.ticks = itertools.count(1)
        self.ids = itertools.count(1)
        self.controller_epoch = 0
        self.logs = {broker: MemoryLogs() for broker in BROKERS}
        self.members: dict[BrokerId, Member] = {}
        self.commands: deque[Command] = deque()
        self.answers: deque[Event] = deque()
        self.known: set[str] = set()
        self.due: set[str] = set()
        """What watches rang for since it was looked at: each change is told once, and only once."""
        self.leaders: dict[Ticket, Leadership] = {}
        """Leaders who wait for the in-sync replicas that they have asked for."""
        self.asked: set[Ticket] = set()
        """Administrators who wait for an answer of this controller."""
        self.moved: set[TopicPartition] = set()
        """Partitions that were ever reassigned: a dead broker may keep a copy that nobody wants, as in Kafka."""
        self.best: dict[TopicId, dict[int, LeaderEpoch]] = {}
        self.unclean: set[str] = set()
        """Topics that may have unclean elections, from some time on."""
        self.risked: set[str] = set()
        """Topics for which somebody has asked for an unclean election."""

    # The controller's own steps

    def handle(self, event: Event) -> None:
        self.commands.extend(self.controller.handle(self.now, event))

    @initialize(brokers=st.sets(st.sampled_from(BROKERS)))
    def the_first_is_elected(self, brokers: set[BrokerId]) -> None:
        for broker in sorted(brokers):
            self.a_broker_starts(broker)
        self.elect()

    def elect(self) -> None:
        self.controller_epoch += 1
        self.controller = Controller(
            BrokerId(0),
            ControllerSettings(),
            lambda: TopicId(UUID(int=next(self.ids))),
            lambda topic: topic in self.unclean,
        )
        self.commands.clear()
        self.answers.clear()
        self.asked.clear()
        self.leaders.clear()
        for member in self.members.values():
            member.told.clear()
        self.known = set(self.tree.topics)
        self.due = {"/election", "/reassignments"}
        self.tree.failed.clear()
        self.handle(
            TermBegan(
                self.controller_epoch,
                self.tree.live(),
                dict(self.tree.topics),
                dict(self.tree.states),
                frozenset(self.tree.marked),
            )
        )

    @rule()
    def it_dies_and_another_is_elected(self) -> None:
        self.elect()

    @precondition(lambda self: self.commands)
    @rule(steps=st.integers(1, 12))
    def it_does_what_is_next(self, steps: int) -> None:
        for _ in range(min(steps, len(self.commands))):
            self.carry_out()

    def carry_out(self) -> None:
        tree = self.tree
        match self.commands.popleft():
            case WriteStates(writes):
                if len(writes) > 1:
                    self.commands.appendleft(WriteStates(writes[1:]))
                self.write_state(writes[0])
            case WriteTopic(name, topic):
                found = tree.topics.get(name)
                if found is None or found.version != topic.version:
                    self.handle(TopicRefused(name, found))
                else:
                    tree.topics[name] = replace(topic, version=topic.version + 1)
                    self.due.add(name)
                    self.handle(TopicWritten(name, topic.version + 1))
            case ForgetTopic(name, partitions):
                states = [one for one in tree.states if one.topic == name]
                if states:
                    del tree.states[states[0]]
                    self.commands.appendleft(ForgetTopic(name, partitions))
                elif name in tree.topics:
                    del tree.topics[name]
                    self.due.add("/topics")
                    self.commands.appendleft(ForgetTopic(name, partitions))
                else:
                    tree.marked.discard(name)
                    self.known.discard(name)
                    self.due.add("/topics")
                    self.handle(TopicForgotten(name))
            case ForgetDeletion(name):
                tree.marked.discard(name)
            case ForgetElection():
                tree.election = None
            case WriteReassignments(left):
                tree.reassignments = {partition: tuple(target) for partition, target in left.items()} or None
                self.due.add("/reassignments")
            case TellBroker(broker, epoch, request):
                if tree.brokers.get(broker) == epoch:
                    self.members[broker].told.append(request)
            case AnswerTicket(ticket, verdicts):
                if ticket != NOBODY:
                    self.asked.remove(ticket)
                self.tell_leader(ticket, verdicts)
            case Note():
                pass

    def write_state(self, write: StateWrite) -> None:
        tree, partition = self.tree, write.partition
        found = tree.states.get(partition)
        topic = tree.topics.get(partition.topic)
        if (
            topic is None
            or (found is None) != (write.expected is None)
            or (found is not None and found.version != write.expected)
        ):
            self.handle(StatesRefused({partition: found}))
            return
        state = replace(write.state, version=0 if found is None else found.version + 1)
        topic_id = self.controller.cluster.topics[partition.topic].topic_id
        assert topic_id is not None, "a topic is led before its id is written"
        best = self.best.setdefault(topic_id, {})
        if found is not None:
            is_for_leader = (found.leader, found.leader_epoch) == (state.leader, state.leader_epoch)
            assert is_for_leader or state.leader_epoch > best[partition.partition], "a leader epoch came twice"
            is_clean = state.leader == -1 or state.leader in found.isr
            assert is_clean or state.is_recovering, "a leader was elected that was not in sync"
            assert is_clean or partition.topic in self.unclean | self.risked, "nobody has allowed an unclean election"
        best[partition.partition] = state.leader_epoch
        tree.states[partition] = state
        self.handle(StatesWritten({partition: state}))

    # What it is told

    @precondition(lambda self: self.due)
    @rule(data=st.data())
    def it_looks(self, data: st.DataObject) -> None:
        self.look(data.draw(st.sampled_from(sorted(self.due))))

    def look(self, what: str) -> None:
        self.due.discard(what)
        if what == "/brokers":
            self.handle(BrokersSeen(self.tree.live()))
        elif what == "/topics":
            self.look_at_topics()
        elif what == "/marks":
            self.look_at_topics()
            self.handle(DeletionsSeen(frozenset(self.tree.marked)))
        elif what == "/log dirs":
            failed, self.tree.failed = self.tree.failed, set()
            self.handle(LogDirsFailed(sorted(failed)))
        elif what == "/election":
            if self.tree.election is not None:
                self.handle(ElectionWritten(self.tree.election))
        elif what == "/reassignments":
            self.handle(ReassignmentsWritten(self.tree.reassignments or {}))
        elif what in self.tree.topics and what in self.known:
            self.handle(TopicAssignmentChanged(what, self.tree.topics[what]))

    def look_at_topics(self) -> None:
        fresh = {name: topic for name, topic in self.tree.topics.items() if name not in self.known}
        self.known = set(self.tree.topics)
        self.handle(TopicsSeen(frozenset(self.tree.topics), fresh))

    @precondition(lambda self: self.answers)
    @rule()
    def it_hears_an_answer(self) -> None:
        self.handle(self.answers.popleft())

    @rule(broker=st.sampled_from(BROKERS))
    def a_broker_obeys(self, broker: BrokerId) -> None:
        """Or has nothing to do."""
        member = self.members.get(broker)
        if member is not None and member.told:
            request, response = member.obey_next()
            self.answers.append(BrokerAnswered(broker, self.tree.brokers[broker], request, response))

    # What others do

    @rule(broker=st.sampled_from(BROKERS))
    def a_broker_starts(self, broker: BrokerId) -> None:
        self.due.add("/brokers")
        self.tree.brokers[broker] = next(self.ticks)
        self.members[broker] = Member(broker, self.tree.brokers[broker], self.logs[broker])

    @rule(broker=st.sampled_from(BROKERS))
    def a_broker_dies(self, broker: BrokerId) -> None:
        self.due.add("/brokers")
        self.tree.brokers.pop(broker, None)
        self.members.pop(broker, None)

    @rule(broker=st.sampled_from(BROKERS), name=st.sampled_from(TOPICS), is_noticed=st.booleans())
    def a_disk_breaks(self, broker: BrokerId, name: str, is_noticed: bool) -> None:
        """If it is in use that is noticed at once, and told; otherwise when somebody wants to use it."""
        partition, logs = TopicPartition(name, 0), self.logs[broker]
        logs.broken.add(partition)
        member = self.members.get(broker)
        log = logs.get(partition)
        if is_noticed and member is not None and log is not None and not log.is_offline:
            log.discard()
            member.leaderships.went_offline([partition])
            self.tree.failed.add(broker)
            self.due.add("/log dirs")

    @rule(broker=st.sampled_from(BROKERS))
    def a_disk_is_mended(self, broker: BrokerId) -> None:
        """Which takes a new start of the broker."""
        self.logs[broker].mend()
        if broker in self.members:
            self.a_broker_starts(broker)

    @rule(name=st.sampled_from(TOPICS), replicas=st.lists(REPLICAS, min_size=1, max_size=3), has_id=st.booleans())
    def a_topic_is_made(self, name: str, replicas: list[tuple[BrokerId, ...]], has_id: bool) -> None:
        if name not in self.tree.topics and name not in self.tree.marked:
            topic_id = TopicId(UUID(int=next(self.ids))) if has_id else None
            assignments = {index: Assignment(brokers) for index, brokers in enumerate(replicas)}
            self.tree.topics[name] = Topic(topic_id, assignments, 0)
            self.due.add("/topics")

    @rule(name=st.sampled_from(TOPICS), replicas=REPLICAS)
    def a_topic_grows(self, name: str, replicas: tuple[BrokerId, ...]) -> None:
        self.grow(name, replicas, keeps_id=True)

    @rule(name=st.sampled_from(TOPICS), replicas=REPLICAS)
    def an_old_tool_lets_a_topic_grow(self, name: str, replicas: tuple[BrokerId, ...]) -> None:
        """It drops the id; a controller that dies before it has put it back makes another topic of it, in Kafka too."""
        self.look("/topics")
        if self.grow(name, replicas, keeps_id=False):
            self.look(name)
            while any(isinstance(command, WriteTopic) for command in self.commands):
                self.carry_out()

    def grow(self, name: str, replicas: tuple[BrokerId, ...], *, keeps_id: bool) -> bool:
        topic = self.tree.topics.get(name)
        if topic is None or len(topic.partitions) >= 5:
            return False
        grown = {**topic.partitions, len(topic.partitions): Assignment(replicas)}
        self.tree.topics[name] = Topic(topic.topic_id if keeps_id else None, grown, topic.version + 1)
        self.due.add(name)
        return True

    @rule(name=st.sampled_from(TOPICS))
    def a_topic_is_marked(self, name: str) -> None:
        self.tree.marked.add(name)
        self.due.add("/marks")

    @rule(name=st.sampled_from(TOPICS))
    def a_state_is_written_by_somebody(self, name: str) -> None:
        """The same again: only its version is another, so that a write under way is refused."""
        partition = TopicPartition(name, 0)
        if (state := self.tree.states.get(partition)) is not None:
            self.tree.states[partition] = replace(state, version=state.version + 1)

    @rule(kind=st.sampled_from(ElectionType))
    def leaders_are_asked_for(self, kind: ElectionType) -> None:
        ghost = TopicPartition("ghost", 0)
        if kind is ElectionType.UNCLEAN:
            self.risked.update(TOPICS)
        self.handle(ElectionAsked(self.ticket(), kind, [*(partition for partition, _ in self.partitions()), ghost]))

    @rule(name=st.sampled_from(TOPICS), index=st.integers(0, 2), wanted=st.none() | REPLICAS)
    def a_reassignment_is_asked_for(self, name: str, index: int, wanted: tuple[BrokerId, ...] | None) -> None:
        partition = TopicPartition(name, index)
        self.moved.add(partition)
        self.handle(ReassignmentAsked(self.ticket(), {partition: wanted}))

    @rule(broker=st.sampled_from(BROKERS), name=st.sampled_from(TOPICS), isr=st.sets(st.sampled_from(BROKERS)))
    def a_leader_asks_for_its_isr(self, broker: BrokerId, name: str, isr: set[BrokerId]) -> None:
        """As far as it knows to lead; it may be wrong by now."""
        member, partition = self.members.get(broker), TopicPartition(name, 0)
        part = None if member is None else member.leaderships.get(partition)
        if part is None or not part.is_leader:
            return
        ticket = self.ticket()
        self.leaders[ticket] = part
        wish = IsrWish(part.leader_epoch, part.partition_epoch, tuple(sorted({*(isr & set(part.replicas)), broker})))
        self.handle(IsrChangeAsked(ticket, broker, self.tree.brokers[broker], {partition: wish}))

    def tell_leader(self, ticket: Ticket, verdicts: Any) -> None:
        part = self.leaders.pop(ticket, None)
        if part is None or isinstance(verdicts, KafkaError):
            return
        verdict = verdicts[part.partition]
        if isinstance(verdict, PartitionState):
            part.isr_confirmed(verdict.leader_epoch, verdict.version, verdict.isr)

    @rule(broker=st.sampled_from(BROKERS))
    def a_broker_wants_to_stop(self, broker: BrokerId) -> None:
        self.handle(ShutdownAsked(self.ticket(), broker, self.tree.brokers.get(broker, 0)))

    @rule(name=st.sampled_from(TOPICS), is_said=st.booleans())
    def unclean_elections_are_allowed(self, name: str, is_said: bool) -> None:
        """From now on for ever; the controller may be told of that one topic, or that some setting changed."""
        self.unclean.add(name)
        self.handle(SettingsChanged(name if is_said else None))

    @precondition(lambda self: self.tree.election is None)
    @rule(name=st.sampled_from(TOPICS))
    def an_old_tool_writes_an_election(self, name: str) -> None:
        self.tree.election = (TopicPartition(name, 0), TopicPartition("ghost", 0))
        self.due.add("/election")

    @precondition(lambda self: self.tree.reassignments is None)
    @rule(name=st.sampled_from(TOPICS), wanted=st.lists(REPLICAS, min_size=1, max_size=2))
    def an_old_tool_writes_reassignments(self, name: str, wanted: list[tuple[BrokerId, ...]]) -> None:
        written = {TopicPartition(name, index): target for index, target in enumerate(wanted)}
        self.moved.update(written)
        self.tree.reassignments = written
        self.due.add("/reassignments")

    @rule()
    def time_passes(self) -> None:
        """Until the controller has something to do of itself."""
        deadline = self.controller.next_deadline()
        if deadline is not None:
            self.now = max(self.now, deadline)
            self.commands.extend(self.controller.tick(self.now))

    def ticket(self) -> Ticket:
        ticket = Ticket(next(self.ids))
        self.asked.add(ticket)
        return ticket

    # What must hold

    @invariant()
    def leaders_are_in_sync_replicas(self) -> None:
        for partition, state in self.tree.states.items():
            assert state.isr
            assert state.leader == -1 or state.leader in state.isr
            assert (
                set(state.isr) <= set(self.tree.topics[partition.topic].partitions[partition.partition].replicas)
                if (partition.topic in self.tree.topics)
                else True
            )

    @rule()
    def the_world_is_quiet_for_a_while(self) -> None:
        self.quiet()
        self.everything_is_as_it_should_be()

    def teardown(self) -> None:
        if not hasattr(self, "controller"):
            return
        self.the_world_is_quiet_for_a_while()
        for broker in BROKERS:
            is_leaving = broker in self.controller.cluster.shutting_down
            if self.logs[broker].broken or broker not in self.members or is_leaving:
                self.a_broker_starts(broker)
                self.a_disk_is_mended(broker)
        self.the_world_is_quiet_for_a_while()
        self.those_who_are_awaited_join()
        self.the_world_is_quiet_for_a_while()
        assert self.controller.moving() == {}
        assert self.tree.marked == set()
        assert all(state is not None and state.leader in BROKERS for _, state in self.partitions())
        states = dict(self.tree.states)
        self.elect()
        self.the_world_is_quiet_for_a_while()
        assert self.tree.states == states, "a failover without cause changed something"

    def those_who_are_awaited_join(self) -> None:
        """What a leader sees to in time; the next controller finds it done."""
        for partition, assignment in self.controller.moving().items():
            state = self.tree.states[partition]
            joined = tuple(dict.fromkeys((*state.isr, *target_of(assignment))))
            self.tree.states[partition] = replace(state, isr=joined, version=state.version + 1)
        self.elect()

    def everything_is_as_it_should_be(self) -> None:
        """What holds when nothing is under way: every live broker knows what the tree says."""
        assert not self.asked, "somebody was not answered"
        assert self.tree.election is None
        assert set(self.tree.reassignments or {}) <= set(self.controller.moving()), "what is over is not struck off"
        assert self.controller.moving() == {
            partition: self.tree.topics[partition.topic].partitions[partition.partition]
            for partition, _ in self.partitions()
            if self.tree.topics[partition.topic].partitions[partition.partition].is_moving
        }
        for partition, state in self.partitions():
            if partition.topic in self.tree.marked:
                assert not self.may_go(partition.topic), f"{partition.topic} is not deleted"
                continue
            leaving = self.controller.cluster.shutting_down
            live = [broker for broker in self.replicas(partition) if self.is_usable(partition, broker)]
            if state is not None and state.leader in live and state.leader in leaving:
                # It serves until it goes.
                assert all(one in leaving or one not in state.isr for one in live)
            live = [broker for broker in live if broker not in leaving or (state and broker == state.leader)]
            if state is None:
                assert not live, f"{partition} has live replicas {live} and no state"
            elif any(broker in state.isr for broker in live):
                assert state.leader in live, f"{partition} has {live} in sync and is led by {state.leader}"
            elif partition.topic in self.unclean and live:
                assert state.leader in live, f"{partition} could be led by any of {live}"
            else:
                assert state.leader == -1
            for broker, member in self.members.items():
                self.broker_agrees(broker, member, partition, state)
        wanted = {partition for partition, _ in self.partitions()}
        assert set(self.tree.states) <= wanted
        for broker, member in self.members.items():
            kept = {one for one in self.logs[broker].logs if one not in self.moved}
            assert kept <= {one for one in wanted if broker in self.replicas(one)}
            assert set(member.metadata.topics) <= set(self.tree.topics)

    def broker_agrees(
        self, broker: BrokerId, member: Member, partition: TopicPartition, state: PartitionState | None
    ) -> None:
        seen, part = member.metadata.partition(partition), member.leaderships.get(partition)
        if state is None:
            assert seen is None
            return
        assert seen is not None
        assert (seen.leader, seen.leader_epoch, seen.isr) == (state.leader, state.leader_epoch, state.isr)
        topic_id = self.tree.topics[partition.topic].topic_id
        assert member.metadata.topic_id(partition.topic) == topic_id
        kept = self.logs[broker].logs.get(partition)
        if kept is not None and kept.topic_id != topic_id and partition in self.moved:
            # As in Kafka, a broker that was away keeps what it has of an earlier topic, and cannot have the later one.
            return
        hosts = broker in self.replicas(partition) and self.is_usable(partition, broker)
        assert (part is not None) == hosts, f"{partition} on {broker}: {part}"
        if broker in self.controller.cluster.shutting_down:
            # It is not told any more of what it only follows.
            return
        if part is not None:
            if state.leader == -1:
                assert not part.is_leader
                return
            assert (part.leader, part.leader_epoch) == (state.leader, state.leader_epoch)
            if part.is_leader and part.partition_epoch == state.version:
                # A leader that asked for its ISR is answered, if its controller lives so long; followers are not told.
                assert part.isr == state.isr
            assert part.log.topic_id == topic_id

    def partitions(self) -> Iterator[tuple[TopicPartition, PartitionState | None]]:
        for name, topic in self.tree.topics.items():
            for index in topic.partitions:
                partition = TopicPartition(name, index)
                yield partition, self.tree.states.get(partition)

    def replicas(self, partition: TopicPartition) -> tuple[BrokerId, ...]:
        return self.tree.topics[partition.topic].partitions[partition.partition].replicas

    def may_go(self, topic: str) -> bool:
        """Whether every copy can be deleted."""
        return all(
            self.is_usable(partition, broker)
            and partition not in self.logs[broker].broken
            and not self.tree.topics[topic].partitions[partition.partition].is_moving
            for partition, _ in self.partitions()
            if partition.topic == topic
            for broker in self.replicas(partition)
        )

    def is_usable(self, partition: TopicPartition, broker: BrokerId) -> bool:
        return broker in self.members and (partition, broker) not in self.controller.cluster.offline_replicas

    def quiet(self) -> None:
        """Let everybody finish; nobody brings anything new."""
        idle = 0
        for _ in range(30):
            for _ in range(2_000):
                if self.commands:
                    self.carry_out()
                elif self.answers:
                    self.it_hears_an_answer()
                elif self.due:
                    self.look(min(self.due))
                elif any(member.told for member in self.members.values()):
                    for broker in BROKERS:
                        self.a_broker_obeys(broker)
                else:
                    break
            else:
                raise AssertionError("the controller never comes to rest")
            self.time_passes()
            # Leaderships may be brought back, deletions tried again.
            idle = 0 if self.commands else idle + 1
            if idle > 2:
                return


ControllerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestController = pytest.mark.slow(ControllerMachine.TestCase)
