"""The classic rebalance protocol of one group: join, sync, heartbeat, leave, and what time does to it.

Follows ``GroupCoordinator`` and ``GroupMetadata`` of Kafka 3.9. What is stored (generation, protocol, leader, members
with their assignments, as of the last rest) changes only in ``restore``; a rebalance under way is soft state that a
failover forgets, as in Kafka. Offsets are ``offsets.py``'s, the group's place among others ``coordinator.py``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pykafka_broker.group.deadlines import Deadlines
from pykafka_broker.group.decision import Decision
from pykafka_broker.group.members import CONSUMER_PROTOCOL, Member, Roster
from pykafka_broker.group.offsets import Offsets
from pykafka_broker.group.records import GroupRecord
from pykafka_broker.group.states import AT_REST, GroupState, may_follow
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.identity import Client
from pykafka_broker.model.names import GroupId, MemberId
from pykafka_broker.model.outcome import Level, Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages

NOBODY = MemberId("")

NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60 * 1000
"""A new member whose JoinGroup is parked is dropped after this long: it may have hung up, we could not tell."""

NOBODY_REJOINED_WAIT_MS = 1_000
"""Static members with a rebalance timeout of 0 must not make us look again and again without a pause."""

MEMBER, PENDING, JOIN, SYNC = "member", "pending", "join", "sync"
"""What a deadline is about: a session, an id given out, a rebalance's joining, its syncing."""

DeadlineKey = tuple[str, str, str]
"""What, which group, which member (or nobody)."""


@dataclass(frozen=True, slots=True)
class Joiner:
    """A JoinGroup as the rules need it."""

    ticket: Ticket
    client: Client
    instance_id: str | None
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocol_type: str
    protocols: tuple[tuple[str, bytes], ...]
    reason: str
    needs_member_id: bool
    """It must come back with the id that it is given first (KIP-394)."""
    may_skip_assignment: bool
    """It understands being told to leave the assignment alone (KIP-814)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The group settings that a rebalance obeys."""

    initial_rebalance_delay_ms: int
    max_size: int
    max_record_bytes: int
    """What fits into one batch of the offsets topic."""


class ClassicGroup:
    """One group. ``now`` is the time of every call; ``decision`` takes what comes of it."""

    def __init__(
        self,
        group_id: GroupId,
        now: Millis | None,
        rules: Rules,
        deadlines: Deadlines[DeadlineKey],
        new_id: Callable[[], str],
    ) -> None:
        self.group_id = group_id
        self.state = GroupState.EMPTY
        self.entered_ms = now
        """When the state was entered; ``None`` when an old record does not tell."""
        self.generation = 0
        self.protocol_type: str | None = None
        self.protocol: str | None = None
        self.subscribed: frozenset[str] | None = None
        """Topics that consumers here subscribe to, ``None`` if unknown."""
        self.members = Roster()
        self.offsets = Offsets()
        self.stored: messages.GroupMetadataValue | None = None
        """The last record of this group, exactly as it was written."""
        self._rules = rules
        self._deadlines = deadlines
        self._new_id = new_id
        self._owing_sync: set[MemberId] = set()
        self._initial: tuple[int, int] | None = None
        """While a group that was empty forms: this wait, and how much longer it may be made (both ms)."""
        self._has_new_member = False

    # -- facts ---------------------------------------------------------------------------------------------------

    @property
    def is_consumer_group(self) -> bool:
        """Whether its members are consumers, whose subscriptions can be read."""
        return self.protocol_type == CONSUMER_PROTOCOL

    @property
    def may_rebalance(self) -> bool:
        """Whether a rebalance can be started from here."""
        return may_follow(GroupState.PREPARING_REBALANCE, self.state)

    def is_subscribed_to(self, topic: str) -> bool:
        """Whether somebody consumes the topic; to be safe, yes if we cannot know."""
        return self.subscribed is None or topic in self.subscribed

    def supports(self, protocol_type: str, protocols: tuple[tuple[str, bytes], ...]) -> bool:
        """Whether somebody with these protocols could be a member."""
        if self.state is GroupState.EMPTY:
            return bool(protocol_type and protocols)
        return self.protocol_type == protocol_type and self.members.supports_any(name for name, _ in protocols)

    def refusal(self, member_id: MemberId, instance_id: str | None) -> ErrorCode | None:
        """Why somebody who says so is not a member: unknown, or replaced by another with its instance id."""
        if instance_id is not None:
            current = self.members.instance(instance_id)
            if current is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            if current != member_id:
                return ErrorCode.FENCED_INSTANCE_ID
        return None if member_id in self.members else ErrorCode.UNKNOWN_MEMBER_ID

    # -- what is stored ------------------------------------------------------------------------------------------

    def restore(self, value: messages.GroupMetadataValue) -> None:
        """Become what the record says; members that are here already keep what a record does not hold."""
        state = GroupState.STABLE if value.members else GroupState.EMPTY
        assert may_follow(state, self.state) or {state, self.state} <= AT_REST, (self.state, state)
        here = {member.member_id: member for member in self.members}
        self.members.clear()
        for stored in value.members:
            member = here.get(stored.member_id)
            if member is None:
                member = Member(
                    stored.member_id,
                    stored.group_instance_id,
                    stored.client_id,
                    stored.client_host,
                    stored.rebalance_timeout,
                    stored.session_timeout,
                    ((value.protocol or "", bytes(stored.subscription)),),
                )
            elif member.metadata(value.protocol) != stored.subscription:
                member.protocols = ((value.protocol or "", bytes(stored.subscription)),)
            member.rebalance_timeout_ms = stored.rebalance_timeout
            member.session_timeout_ms = stored.session_timeout
            member.assignment = bytes(stored.assignment)
            self.members.add(member)
        self.members.leader = None if value.leader is None else MemberId(value.leader)
        self.protocol_type = value.protocol_type or None
        self.protocol = value.protocol
        self.generation = value.generation
        self.subscribed = self._subscriptions()
        self.state = state
        self.entered_ms = None if value.current_state_timestamp == -1 else Millis(value.current_state_timestamp)
        self.stored = value

    def forget(self) -> None:
        """Become a group that was never formed; offsets that have no record of forgetting yet stay."""
        self.members.clear()
        self.stored = None
        self.protocol_type = self.protocol = self.subscribed = None
        self.generation = 0
        self.state = GroupState.EMPTY

    def loaded(self, now: Millis, decision: Decision) -> None:
        """All records are read: from now on the members must show up, and a group that is too big must shrink."""
        if len(self.members) > self._rules.max_size:
            self._prepare(now, decision, "Freshly-loaded group is over capacity")
        for member in self.members:
            self._expect(now, member)

    def _record(self, assignments: Mapping[MemberId, bytes], *, protocol: str | None, generation: int) -> GroupRecord:
        return GroupRecord(
            self.group_id,
            messages.GroupMetadataValue(
                protocol_type=self.protocol_type or "",
                generation=generation,
                protocol=protocol,
                leader=self.members.leader,
                current_state_timestamp=-1 if self.entered_ms is None else self.entered_ms,
                members=[
                    messages.GroupMetadataValue.MemberMetadata(
                        member_id=member.member_id,
                        group_instance_id=member.instance_id,
                        client_id=member.client_id,
                        client_host=member.client_host,
                        rebalance_timeout=member.rebalance_timeout_ms,
                        session_timeout=member.session_timeout_ms,
                        subscription=member.metadata(protocol),
                        assignment=assignments[member.member_id],
                    )
                    for member in self.members
                ],
            ),
        )

    # -- joining -------------------------------------------------------------------------------------------------

    def join(self, now: Millis, decision: Decision, member_id: MemberId, joiner: Joiner) -> None:
        """Answer the joiner, or park it until the rebalance has everybody."""
        if not self._has_room(member_id):
            self.members.remove(member_id)
            decision.reply(joiner.ticket, refused_join(ErrorCode.GROUP_MAX_SIZE_REACHED))
        elif not self.supports(joiner.protocol_type, joiner.protocols):
            decision.reply(joiner.ticket, refused_join(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, member_id))
        elif not member_id:
            self._join_without_id(now, decision, joiner)
        elif member_id in self.members.pending:
            self._admit(now, decision, member_id, joiner)
        else:
            refusal = self.refusal(member_id, joiner.instance_id)
            if refusal is not None:
                decision.reply(joiner.ticket, refused_join(refusal, member_id))
            else:
                self._rejoin(now, decision, self.members[member_id], joiner)
        self.try_complete_join(now, decision)

    def _has_room(self, member_id: MemberId) -> bool:
        """Whether group.max.size lets this one join; while preparing, those who came first are in."""
        limit = self._rules.max_size
        if self.state is GroupState.EMPTY:
            return True
        member = self.members.get(member_id)
        if self.state is GroupState.PREPARING_REBALANCE:
            return (member is not None and member.joining is not None) or self.members.joining < limit
        return member is not None or len(self.members) < limit

    def _join_without_id(self, now: Millis, decision: Decision, joiner: Joiner) -> None:
        if joiner.instance_id is not None:
            member_id = MemberId(f"{joiner.instance_id}-{self._new_id()}")
            before = self.members.instance(joiner.instance_id)
            if before is not None:
                self._replace(now, decision, self.members[before], member_id, joiner)
            else:
                self._admit(now, decision, member_id, joiner)
            return
        member_id = MemberId(f"{joiner.client.client_id}-{self._new_id()}")
        if joiner.needs_member_id:
            self.members.pending.add(member_id)
            self._deadlines.set(self._key(PENDING, member_id), Millis(now + joiner.session_timeout_ms))
            decision.reply(joiner.ticket, refused_join(ErrorCode.MEMBER_ID_REQUIRED, member_id))
        else:
            self._admit(now, decision, member_id, joiner)

    def _admit(self, now: Millis, decision: Decision, member_id: MemberId, joiner: Joiner) -> None:
        """A new member: it waits for the rebalance that it causes."""
        if self.state is GroupState.PREPARING_REBALANCE and self.generation == 0:
            self._has_new_member = True
        if not len(self.members):
            self.protocol_type = joiner.protocol_type
        member = Member(
            member_id,
            joiner.instance_id,
            joiner.client.client_id,
            joiner.client.host,
            joiner.rebalance_timeout_ms,
            joiner.session_timeout_ms,
            joiner.protocols,
            joining=joiner.ticket,
            is_new=True,
        )
        self._deadlines.clear(self._key(PENDING, member_id))
        self.members.add(member)
        self._deadlines.set(self._key(MEMBER, member_id), Millis(now + NEW_MEMBER_JOIN_TIMEOUT_MS))
        decision.tell("MemberJoined", group=self.group_id, member=member_id, instance=joiner.instance_id)
        self._rebalance(
            now,
            decision,
            f"Adding new member {member_id} with instance id {joiner.instance_id}; client reason: {joiner.reason}",
        )

    def _rejoin(self, now: Millis, decision: Decision, member: Member, joiner: Joiner) -> None:
        """A member comes again: with news it means a rebalance, without it may have missed our answer."""
        is_leader = member.member_id == self.members.leader
        unchanged = member.protocols == joiner.protocols
        if self.state is GroupState.EMPTY or self.state is GroupState.DEAD:
            decision.reply(joiner.ticket, refused_join(ErrorCode.UNKNOWN_MEMBER_ID, member.member_id))
        elif self.state is GroupState.COMPLETING_REBALANCE and unchanged:
            decision.reply(joiner.ticket, self._joined(member, tell_members=is_leader))
        elif self.state is GroupState.STABLE and unchanged and not is_leader:
            decision.reply(joiner.ticket, self._joined(member, tell_members=False))
        else:
            why = f"Member {member.member_id} joining group during {self.state.value}; client reason: {joiner.reason}"
            self._park(decision, member, joiner)
            self._rebalance(now, decision, why)

    def _park(self, decision: Decision, member: Member, joiner: Joiner) -> None:
        self.members.update(member, joiner.protocols, joiner.rebalance_timeout_ms, joiner.session_timeout_ms)
        before = self.members.park_join(member, joiner.ticket)
        if before is not None:
            decision.reply(before, refused_join(ErrorCode.REBALANCE_IN_PROGRESS, member.member_id))

    def _replace(self, now: Millis, decision: Decision, member: Member, member_id: MemberId, joiner: Joiner) -> None:
        """A static member restarts: it gets a new id, and if nothing else changes, nobody notices (KIP-345)."""
        leader = self.members.leader
        self._answer_all(decision, member, ErrorCode.FENCED_INSTANCE_ID, member.member_id)
        self._deadlines.clear(self._key(MEMBER, member.member_id))
        self._has_synced(member)
        self.members.rename(member, member_id)
        self._expect(now, member)
        self._park(decision, member, joiner)
        decision.tell("MemberReplaced", group=self.group_id, member=member_id, instance=joiner.instance_id)
        why = f"static member {member_id} with instance id {joiner.instance_id}; client reason: {joiner.reason}"
        if self.state is GroupState.COMPLETING_REBALANCE:
            # The leader may be assigning to the old id already, and then the new one would get nothing.
            self._prepare(now, decision, f"Updating metadata for {why}")
        elif self.state is GroupState.STABLE:
            if self.members.select_protocol() != self.protocol:
                self._rebalance(now, decision, f"Group's selectedProtocol will change because of {why}")
                return
            kept = {other.member_id: other.assignment for other in self.members}
            decision.store(self._record(kept, protocol=self.protocol, generation=self.generation))
            self._answer_replacement(decision, member, leader, joiner)

    def _answer_replacement(self, decision: Decision, member: Member, leader: str | None, joiner: Joiner) -> None:
        """A leader that came back must not assign: it is told so (v9+), or told that its old self leads (KIP-814)."""
        is_leader = member.member_id == self.members.leader
        if joiner.may_skip_assignment:
            answer = self._joined(member, tell_members=is_leader)
            answer.skip_assignment = is_leader
        else:
            answer = self._joined(member, tell_members=False)
            answer.leader = leader or ""
        self.members.release_join(member)
        decision.reply(joiner.ticket, answer)

    def _joined(self, member: Member, *, tell_members: bool) -> messages.JoinGroupResponse:
        return messages.JoinGroupResponse(
            generation_id=self.generation,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol,
            leader=self.members.leader or "",
            member_id=member.member_id,
            members=self.members.described(self.protocol) if tell_members else [],
        )

    # -- rebalancing ---------------------------------------------------------------------------------------------

    def _rebalance(self, now: Millis, decision: Decision, reason: str) -> None:
        if self.may_rebalance:
            self._prepare(now, decision, reason)

    def _prepare(self, now: Millis, decision: Decision, reason: str) -> None:
        """Begin a rebalance: call off the syncing, and wait for everybody to join."""
        if self.state is GroupState.COMPLETING_REBALANCE:
            self._call_off_sync(now, decision, ErrorCode.REBALANCE_IN_PROGRESS)
        self._owing_sync.clear()
        self._deadlines.clear(self._key(SYNC))
        if self.state is GroupState.EMPTY:
            delay = self._rules.initial_rebalance_delay_ms
            self._initial = (delay, max(self.members.rebalance_timeout_ms - delay, 0))
        else:
            delay = self.members.rebalance_timeout_ms
            self._initial = None
        decision.tell(
            "RebalancePrepared", group=self.group_id, state=self.state.value, generation=self.generation, reason=reason
        )
        self._move(now, GroupState.PREPARING_REBALANCE)
        self._deadlines.set(self._key(JOIN), Millis(now + delay))
        self.try_complete_join(now, decision)

    def try_complete_join(self, now: Millis, decision: Decision) -> None:
        """Finish the joining if nobody is missing; a group that forms anew waits its initial delay out instead."""
        if self.state is not GroupState.PREPARING_REBALANCE:
            return
        if self._initial is not None:
            deadline = self._deadlines.get(self._key(JOIN))
            if deadline is not None and deadline <= now and len(self.members):
                self.end_join(now, decision)
        elif self.members.have_all_joined:
            self._complete_join(now, decision)

    def end_join(self, now: Millis, decision: Decision) -> None:
        """The joining's time is over; a forming group that still grows gets some more (``InitialDelayedJoin``)."""
        if self.state is not GroupState.PREPARING_REBALANCE:
            return
        if self._initial is not None:
            delay, remaining = self._initial
            if self._has_new_member and remaining:
                self._has_new_member = False
                longer = min(self._rules.initial_rebalance_delay_ms, remaining)
                self._initial = (longer, max(remaining - delay, 0))
                self._deadlines.set(self._key(JOIN), Millis(now + longer))
                return
        self._complete_join(now, decision)

    def _complete_join(self, now: Millis, decision: Decision) -> None:
        """The next generation begins, with whoever has joined (``onCompleteJoin``)."""
        self._deadlines.clear(self._key(JOIN))
        self._initial = None
        absent = [m.member_id for m in self.members if m.joining is None and not m.is_static]
        for member_id in absent:
            self._forget(member_id)
        if absent:
            decision.tell("MembersDidNotRejoin", group=self.group_id, members=absent)
        if not self.members.elect() and len(self.members):
            # Only static members that may still come back: wait for them until their sessions end.
            wait = max(self.members.rebalance_timeout_ms, NOBODY_REJOINED_WAIT_MS)
            self._deadlines.set(self._key(JOIN), Millis(now + wait))
            return
        self._owing_sync.clear()
        if not len(self.members):
            self.entered_ms = now
            decision.store(self._record({}, protocol=None, generation=self.generation + 1))
            decision.tell("GroupEmptied", group=self.group_id, generation=self.generation)
            return
        self.generation += 1
        self.protocol = self.members.select_protocol()
        self.subscribed = self._subscriptions()
        self._move(now, GroupState.COMPLETING_REBALANCE)
        decision.tell(
            "GroupRebalanced",
            group=self.group_id,
            generation=self.generation,
            members=len(self.members),
            protocol=self.protocol,
        )
        for member in self.members:
            answer = self._joined(member, tell_members=member.member_id == self.members.leader)
            ticket = self.members.release_join(member)
            if ticket is not None:
                decision.reply(ticket, answer)
            self._expect(now, member)
            member.is_new = False
            self._owing_sync.add(member.member_id)
        self._deadlines.set(self._key(SYNC), Millis(now + self.members.rebalance_timeout_ms))

    # -- syncing -------------------------------------------------------------------------------------------------

    def sync(self, now: Millis, decision: Decision, ticket: Ticket, request: messages.SyncGroupRequest) -> None:
        """Give the member its assignment, or park it until the leader has made one."""
        error = self._sync_refusal(request)
        if error is not None:
            decision.reply(ticket, messages.SyncGroupResponse(error_code=error))
            return
        member = self.members[request.member_id]
        self._has_synced(member)
        if self.state is GroupState.STABLE:
            decision.reply(ticket, self._assigned(member))
            self._expect(now, member)
            return
        before, member.syncing = member.syncing, ticket
        if before is not None:
            decision.reply(before, messages.SyncGroupResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS))
        if member.member_id == self.members.leader:
            self._assign(now, decision, {a.member_id: bytes(a.assignment) for a in request.assignments})

    def _sync_refusal(self, request: messages.SyncGroupRequest) -> ErrorCode | None:
        refusal = self.refusal(request.member_id, request.group_instance_id)
        if refusal is not None:
            return refusal
        if request.generation_id != self.generation:
            return ErrorCode.ILLEGAL_GENERATION
        if request.protocol_type is not None and request.protocol_type != self.protocol_type:
            return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        if request.protocol_name is not None and request.protocol_name != self.protocol:
            return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        if self.state is GroupState.PREPARING_REBALANCE:
            return ErrorCode.REBALANCE_IN_PROGRESS
        return None

    def _assign(self, now: Millis, decision: Decision, assignments: Mapping[MemberId, bytes]) -> None:
        """The leader has assigned: store the generation, and tell everybody who waits; the forgotten get nothing."""
        missing = [member.member_id for member in self.members if member.member_id not in assignments]
        if missing:
            decision.tell(
                "AssignmentIncomplete", Level.WARNING, group=self.group_id, generation=self.generation, missing=missing
            )
        complete = {member.member_id: assignments.get(member.member_id, b"") for member in self.members}
        record = self._record(complete, protocol=self.protocol, generation=self.generation)
        if record.size_bytes > self._rules.max_record_bytes:
            # What a leader may not store it must not hand out (``storeGroup`` turns this into an unknown error).
            decision.tell("GroupTooLarge", Level.ERROR, group=self.group_id, size_bytes=record.size_bytes)
            self._call_off_sync(now, decision, ErrorCode.UNKNOWN_SERVER_ERROR)
            self._rebalance(now, decision, "error when storing group assignment during SyncGroup")
            return
        decision.store(record)
        for member in self.members:
            ticket, member.syncing = member.syncing, None
            if ticket is not None:
                decision.reply(ticket, self._assigned(member))
                self._expect(now, member)

    def _assigned(self, member: Member) -> messages.SyncGroupResponse:
        return messages.SyncGroupResponse(
            protocol_type=self.protocol_type, protocol_name=self.protocol, assignment=member.assignment
        )

    def _call_off_sync(self, now: Millis, decision: Decision, error: ErrorCode) -> None:
        for member in self.members:
            member.assignment = b""
            ticket, member.syncing = member.syncing, None
            if ticket is not None:
                decision.reply(ticket, messages.SyncGroupResponse(error_code=error))
                self._expect(now, member)

    def _has_synced(self, member: Member) -> None:
        self._owing_sync.discard(member.member_id)
        if not self._owing_sync:
            self._deadlines.clear(self._key(SYNC))

    def end_sync(self, now: Millis, decision: Decision) -> None:
        """Those who were told to sync and did not are out (``DelayedSync``)."""
        if self.state not in (GroupState.COMPLETING_REBALANCE, GroupState.STABLE) or not self._owing_sync:
            return
        late = sorted(self._owing_sync)
        for member_id in late:
            self._forget(member_id)
        decision.tell("MembersDidNotSync", group=self.group_id, members=late)
        self._prepare(now, decision, f"Removing {late} on pending sync request expiration")

    # -- staying and leaving -------------------------------------------------------------------------------------

    def heartbeat(self, now: Millis, request: messages.HeartbeatRequest) -> ErrorCode:
        """The member is alive; learn whether it must rejoin."""
        refusal = self.refusal(request.member_id, request.group_instance_id)
        if refusal is not None:
            return refusal
        if request.generation_id != self.generation:
            return ErrorCode.ILLEGAL_GENERATION
        self._expect(now, self.members[request.member_id])
        if self.state is GroupState.PREPARING_REBALANCE:
            return ErrorCode.REBALANCE_IN_PROGRESS
        return ErrorCode.NONE

    def touch(self, now: Millis, member_id: MemberId) -> None:
        """Anything a member does proves it alive."""
        member = self.members.get(member_id)
        if member is not None:
            self._expect(now, member)

    def leave(self, now: Millis, decision: Decision, leaver: messages.LeaveGroupRequest.MemberIdentity) -> ErrorCode:
        """One member goes; an administrator may name it by its instance id alone."""
        member_id, instance_id = leaver.member_id, leaver.group_instance_id
        if not member_id:
            current = None if instance_id is None else self.members.instance(instance_id)
            if current is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            member_id = current
        elif member_id in self.members.pending:
            self.expire_pending(now, decision, member_id)
            return ErrorCode.NONE
        else:
            refusal = self.refusal(member_id, instance_id)
            if refusal is not None:
                return refusal
        why = leaver.reason or "not provided"
        decision.tell("MemberLeft", group=self.group_id, member=member_id, reason=why)
        self._remove(now, decision, member_id, f"Removing member {member_id} on LeaveGroup; client reason: {why}")
        return ErrorCode.NONE

    def expire_member(self, now: Millis, decision: Decision, member_id: MemberId) -> None:
        """A session is over, unless we are the ones who keep the member waiting."""
        member = self.members.get(member_id)
        if member is None or (member.is_waiting and not member.is_new):
            return
        decision.tell("MemberExpired", group=self.group_id, member=member_id)
        self._remove(now, decision, member_id, f"removing member {member_id} on heartbeat expiration")

    def expire_pending(self, now: Millis, decision: Decision, member_id: MemberId) -> None:
        """An id that was given out will not be used."""
        self._deadlines.clear(self._key(PENDING, member_id))
        if member_id in self.members.pending:
            self.members.pending.discard(member_id)
            self.try_complete_join(now, decision)

    def _remove(self, now: Millis, decision: Decision, member_id: MemberId, reason: str) -> None:
        self._answer_all(decision, self.members[member_id], ErrorCode.UNKNOWN_MEMBER_ID, NOBODY)
        self._forget(member_id)
        if self.state is GroupState.PREPARING_REBALANCE:
            self.try_complete_join(now, decision)
        else:
            self._rebalance(now, decision, reason)

    def _answer_all(self, decision: Decision, member: Member, error: ErrorCode, member_id: MemberId) -> None:
        ticket = self.members.release_join(member)
        if ticket is not None:
            decision.reply(ticket, refused_join(error, member_id))
        ticket, member.syncing = member.syncing, None
        if ticket is not None:
            decision.reply(ticket, messages.SyncGroupResponse(error_code=error))

    def _forget(self, member_id: MemberId) -> None:
        self.members.remove(member_id)
        self._owing_sync.discard(member_id)
        self._deadlines.clear(self._key(MEMBER, member_id))

    # -- small things --------------------------------------------------------------------------------------------

    def _expect(self, now: Millis, member: Member) -> None:
        self._deadlines.set(self._key(MEMBER, member.member_id), Millis(now + member.session_timeout_ms))

    def _key(self, what: str, member_id: str = "") -> DeadlineKey:
        return (what, self.group_id, member_id)

    def _move(self, now: Millis, state: GroupState) -> None:
        assert may_follow(state, self.state), (self.state, state)
        self.state = state
        self.entered_ms = now

    def _subscriptions(self) -> frozenset[str] | None:
        if not self.is_consumer_group:
            return None
        if len(self.members) and self.protocol is None:
            return None
        return self.members.subscribed_topics(self.protocol)


def refused_join(error: ErrorCode, member_id: MemberId = NOBODY) -> messages.JoinGroupResponse:
    """What a JoinGroup is refused with."""
    return messages.JoinGroupResponse(error_code=error, generation_id=-1, protocol_name=None, member_id=member_id)
