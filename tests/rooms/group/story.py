"""Tell a group's story: who does what at which time, and what they hear.

    group.at(0).joins("a").joins("b")
    group.at(3_000).hears(a=joined(generation=1, leader=True), b=joined(generation=1))

People have names; their member ids are learned from the answers, as a client learns them. Between two times every
deadline on the way is met exactly when it is due.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pykafka_broker.config.group import GroupSettings
from pykafka_broker.group.coordinator import GroupCoordinator
from pykafka_broker.group.records import CommittedOffset, Record
from pykafka_broker.group.states import GroupState
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.identity import Client
from pykafka_broker.model.names import GroupId, LeaderEpoch, MemberId, Offset, TopicPartition
from pykafka_broker.model.outcome import Fact, Outcome, Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages

NOBODY = MemberId("")
GROUP = GroupId("orders")
Expected = Callable[[Any], str | None]
"""Looks at an answer and says what is wrong with it."""


def subscription(*topics: str, version: int = 1, rest: bytes = b"\0\0\0\0") -> bytes:
    """What a consumer of these topics says when it joins."""
    named = b"".join(len(topic).to_bytes(2, "big") + topic.encode() for topic in topics)
    return version.to_bytes(2, "big") + len(topics).to_bytes(4, "big") + named + rest


def joined(**wanted: Any) -> Expected:
    """A JoinGroup that worked: ``generation``, ``leader`` (whether it leads), ``protocol``, ``members``, ``skip``."""

    def look(answer: Any) -> str | None:
        if not isinstance(answer, messages.JoinGroupResponse) or answer.error_code:
            return f"not a successful join: {answer}"
        found = {
            "generation": answer.generation_id,
            "leader": answer.leader == answer.member_id,
            "protocol": answer.protocol_name,
            "members": len(answer.members),
            "skip": answer.skip_assignment,
            "led_by": answer.leader,
        }
        return _difference(wanted, found)

    return look


def synced(assignment: bytes = b"") -> Expected:
    """A SyncGroup that worked, with this assignment."""

    def look(answer: Any) -> str | None:
        if not isinstance(answer, messages.SyncGroupResponse) or answer.error_code:
            return f"not a successful sync: {answer}"
        return _difference({"assignment": assignment}, {"assignment": answer.assignment})

    return look


def _difference(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    wrong = {key: (value, found[key]) for key, value in wanted.items() if found[key] != value}
    return f"(wanted, heard): {wrong}" if wrong else None


@dataclass
class Person:
    """What a client knows of itself."""

    member_id: MemberId = NOBODY
    generation: int = -1
    instance_id: str | None = None
    protocols: Mapping[str, bytes] = field(default_factory=lambda: {"range": subscription("t")})
    heard: list[Any] = field(default_factory=list)


class Story:
    """One group (``orders``) on one coordinator."""

    def __init__(self, **settings: Any) -> None:
        largest = settings.pop("max_record_bytes", 1_000_000)
        ids = itertools.count(1)
        self.settings = GroupSettings(**settings)
        self.new_id = lambda: f"id{next(ids)}"
        self.largest = largest
        self.coordinator = self._empty()
        self.now = Millis(0)
        self.people: dict[str, Person] = {}
        self.records: list[Record] = []
        self.facts: list[Fact] = []
        self._tickets = itertools.count(1)
        self._waiting: dict[Ticket, str] = {}
        self.asked_at: dict[Ticket, Millis] = {}
        """When those who still wait for an answer asked."""
        self._answered: set[Ticket] = set()
        self.coordinator.loaded(self.now)

    def _empty(self) -> GroupCoordinator:
        return GroupCoordinator(self.settings, self.new_id, max_record_bytes=self.largest)

    # -- time ----------------------------------------------------------------------------------------------------

    def at(self, now: int) -> Story:
        """Let time pass until then."""
        assert now >= self.now, "stories are told forwards"
        while (deadline := self.coordinator.next_deadline()) is not None and deadline <= now:
            self.now = max(self.now, deadline)
            self._take(self.coordinator.tick(self.now))
        self.now = Millis(now)
        return self

    def after(self, ms: int) -> Story:
        """Let so much time pass."""
        return self.at(self.now + ms)

    # -- members -------------------------------------------------------------------------------------------------

    def joins(
        self,
        name: str,
        *,
        instance: str | None = None,
        protocols: Mapping[str, bytes] | None = None,
        topics: Sequence[str] | None = None,
        session_ms: int = 10_000,
        rebalance_ms: int = 60_000,
        kind: str = "consumer",
        as_nobody: bool = False,
        needs_member_id: bool = False,
        may_skip: bool = True,
    ) -> Story:
        """Somebody sends JoinGroup with the member id that it knows; as before KIP-394 none is needed."""
        person = self.people.setdefault(name, Person())
        if instance is not None:
            person.instance_id = instance
        if topics is not None:
            protocols = {"range": subscription(*topics)}
        if protocols is not None:
            person.protocols = protocols
        request = messages.JoinGroupRequest(
            group_id=GROUP,
            session_timeout_ms=session_ms,
            rebalance_timeout_ms=rebalance_ms,
            member_id=MemberId("") if as_nobody else person.member_id,
            group_instance_id=person.instance_id,
            protocol_type=kind,
            protocols=[
                messages.JoinGroupRequest.Protocol(name=protocol, metadata=metadata)
                for protocol, metadata in person.protocols.items()
            ],
        )
        client = Client(name, "/127.0.0.1")
        ticket = self._ticket(name)
        self._take(
            self.coordinator.join(
                self.now, ticket, client, request, needs_member_id=needs_member_id, may_skip_assignment=may_skip
            )
        )
        return self

    def knocks(self, name: str, **how: Any) -> Story:
        """Somebody new joins as clients do since KIP-394: it is told its id first."""
        return self.joins(name, needs_member_id=True, as_nobody=True, **how)

    def restarts(self, name: str, **how: Any) -> Story:
        """A static member joins without its member id."""
        return self.joins(name, as_nobody=True, **how)

    def syncs(self, name: str, generation: int | None = None, kind: str | None = None, **assignments: bytes) -> Story:
        """Somebody sends SyncGroup, the leader with assignments by name."""
        person = self.people[name]
        request = messages.SyncGroupRequest(
            group_id=GROUP,
            generation_id=person.generation if generation is None else generation,
            member_id=person.member_id,
            group_instance_id=person.instance_id,
            protocol_type=kind,
            assignments=[
                messages.SyncGroupRequest.Assignment(member_id=self.people[other].member_id, assignment=assignment)
                for other, assignment in assignments.items()
            ],
        )
        self._take(self.coordinator.sync(self.now, self._ticket(name), request))
        return self

    def beats(self, name: str, generation: int | None = None) -> Story:
        """Somebody sends Heartbeat."""
        person = self.people[name]
        request = messages.HeartbeatRequest(
            group_id=GROUP,
            generation_id=person.generation if generation is None else generation,
            member_id=person.member_id,
            group_instance_id=person.instance_id,
        )
        self._take(self.coordinator.heartbeat(self.now, self._ticket(name), request))
        return self

    def leaves(self, name: str, *, by_instance: bool = False) -> Story:
        """Somebody sends LeaveGroup, or is sent off by its instance id."""
        person = self.people[name]
        leaver = messages.LeaveGroupRequest.MemberIdentity(
            member_id=MemberId("") if by_instance else person.member_id, group_instance_id=person.instance_id
        )
        self._take(self.coordinator.leave(self.now, self._ticket(name), GROUP, [leaver]))
        return self

    # -- offsets -------------------------------------------------------------------------------------------------

    def commits(
        self,
        name: str | None = None,
        *,
        generation: int | None = None,
        retention_ms: int = -1,
        at: int = -1,
        metadata: str = "",
        epoch: int = -1,
        **offsets: int,
    ) -> Story:
        """Somebody (or nobody: a consumer without a group) commits offsets: ``t_0=5`` is partition 0 of t."""
        who = name or "nobody"
        person = self.people.setdefault(who, Person())
        request = messages.OffsetCommitRequest(
            group_id=GROUP,
            generation_id_or_member_epoch=person.generation if generation is None else generation,
            member_id=person.member_id,
            group_instance_id=person.instance_id,
            retention_time_ms=retention_ms,
            topics=[
                messages.OffsetCommitRequest.Topic(
                    name=partition.topic,
                    partitions=[
                        messages.OffsetCommitRequest.Partition(
                            partition_index=partition.partition,
                            committed_offset=Offset(offset),
                            committed_leader_epoch=LeaderEpoch(epoch),
                            commit_timestamp=at,
                            committed_metadata=metadata,
                        )
                    ],
                )
                for partition, offset in ((_partition(text), offset) for text, offset in offsets.items())
            ],
        )
        self._take(self.coordinator.commit_offsets(self.now, self._ticket(who), request))
        return self

    def offset(self, text: str) -> int:
        """What the group has committed for ``t_0``; -1 if nothing."""
        committed = self.committed(text)
        return -1 if committed is None else committed.offset

    def committed(self, text: str) -> CommittedOffset | None:
        """The commit with all that belongs to it."""
        topic, index = _partition(text)
        ((_, ((_, committed),)),) = self.ask("fetch_offsets", GROUP, [(topic, [index])])
        return committed  # type: ignore[no-any-return]

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Any other operation, whose answer comes at once."""
        ticket = Ticket(next(self._tickets))
        outcome = getattr(self.coordinator, operation)(self.now, ticket, *arguments)
        replies = dict(outcome.replies)
        answer = replies.pop(ticket)
        self._take(Outcome(replies, outcome.records, outcome.facts))
        return answer

    def forgets_partition(self, text: str) -> Story:
        """The partition was deleted."""
        self.ask("forget_partitions", [_partition(text)])
        return self

    # -- what is to be seen --------------------------------------------------------------------------------------

    def hears(self, **expected: Expected | ErrorCode) -> Story:
        """Exactly these people have heard something since we last asked, and this is what."""
        heard = {name: person.heard for name, person in self.people.items() if person.heard}
        assert set(heard) == set(expected), f"at {self.now}: heard {heard}"
        for name, expectation in expected.items():
            assert len(heard[name]) == 1, f"at {self.now}: {name} heard {heard[name]}"
            problem = _mismatch(heard[name].pop(), expectation)
            assert problem is None, f"at {self.now}: {name}: {problem}"
        return self

    def hears_nothing(self) -> Story:
        """Everybody who waits still waits."""
        return self.hears()

    @property
    def state(self) -> GroupState:
        """Where the group stands."""
        for group in self.coordinator.groups():
            if group.group_id == GROUP:
                return group.state
        return GroupState.DEAD

    def is_in(self, state: GroupState) -> Story:
        """The group stands there."""
        assert self.state is state
        return self

    def told(self, name: str) -> list[Mapping[str, object]]:
        """The facts of this name."""
        return [fact.fields for fact in self.facts if fact.name == name]

    # -- failover ------------------------------------------------------------------------------------------------

    def fails_over(self) -> Story:
        """Another coordinator reads what was stored, encoded and decoded as on disk; whoever waits is forgotten."""
        from pykafka_broker.group.records import decode

        before = self.coordinator.hard_state()
        self.coordinator = self._empty()
        for record in self.records:
            again = decode(*record.encode())
            assert again is not None
            self.coordinator.replay(again)
        assert self.coordinator.hard_state() == before
        self._waiting.clear()
        self.asked_at.clear()
        self._take(self.coordinator.loaded(self.now))
        return self

    # -- small things --------------------------------------------------------------------------------------------

    def _ticket(self, name: str) -> Ticket:
        ticket = Ticket(next(self._tickets))
        self._waiting[ticket] = name
        self.asked_at[ticket] = self.now
        return ticket

    def _take(self, outcome: Outcome[Any, Record]) -> None:
        self.records += outcome.records
        self.facts += outcome.facts
        for ticket, answer in outcome.replies.items():
            assert ticket not in self._answered, "answered twice"
            self._answered.add(ticket)
            del self.asked_at[ticket]
            person = self.people[self._waiting.pop(ticket)]
            person.heard.append(answer)
            if isinstance(answer, messages.JoinGroupResponse):
                if answer.error_code in (ErrorCode.NONE, ErrorCode.MEMBER_ID_REQUIRED):
                    person.member_id = answer.member_id
                if not answer.error_code:
                    person.generation = answer.generation_id


def _partition(text: str) -> TopicPartition:
    topic, index = text.rsplit("_", 1)
    return TopicPartition(topic, int(index))


def _mismatch(answer: Any, expected: Expected | ErrorCode) -> str | None:
    if not isinstance(expected, ErrorCode):
        return expected(answer)
    code = answer.code if isinstance(answer, KafkaError) else _code(answer)
    return None if code == expected else f"wanted {expected.name}, heard {answer}"


def _code(answer: Any) -> int:
    """The one error of an answer; of several members' or partitions', they must agree."""
    if isinstance(answer, messages.LeaveGroupResponse):
        codes = {answer.error_code} | {member.error_code for member in answer.members}
        return next(iter(codes - {0} or {0}))
    if isinstance(answer, messages.OffsetCommitResponse):
        (code,) = {partition.error_code for topic in answer.topics for partition in topic.partitions}
        return code
    return int(answer.error_code)


PATIENT: dict[str, Any] = {"session_ms": 30_000, "rebalance_ms": 20_000}
"""Members whose sessions outlast a rebalance."""


def pair(group: Story, **how: Any) -> Story:
    """Two members, a leads, both synced, in a group without an initial delay; ends at time 0 in generation 2."""
    group.at(0).joins("a", **how).hears(a=joined(generation=1, leader=True))
    group.syncs("a", a=b"all").hears(a=synced(b"all"))
    group.joins("b", **how).hears_nothing()
    group.joins("a", **how).hears(a=joined(generation=2, leader=True), b=joined(generation=2, leader=False))
    return group.syncs("b").syncs("a", a=b"0", b=b"1").hears(a=synced(b"0"), b=synced(b"1"))


def static_pair(group: Story, **how: Any) -> Story:
    """As ``pair``, with instance ids i-a and i-b."""
    group.at(0).joins("a", instance="i-a", **how).hears(a=joined(leader=True)).syncs("a", a=b"all")
    group.hears(a=synced(b"all")).joins("b", instance="i-b", **how).joins("a", **how)
    group.hears(a=joined(generation=2, leader=True), b=joined(generation=2))
    return group.syncs("b").syncs("a", a=b"0", b=b"1").hears(a=synced(b"0"), b=synced(b"1"))


def alone(group: Story, **how: Any) -> Story:
    """One member in generation 1, stable, with an endless session."""
    how = {"session_ms": 1_800_000, "rebalance_ms": 1_800_000, **how}
    return group.joins("a", **how).hears(a=joined()).syncs("a", a=b"x").hears(a=synced(b"x"))
