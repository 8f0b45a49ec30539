"""From one generation to the next: wait for everybody to join, let the leader assign, tell everybody.

A rebalance under way is soft state: a failover forgets it, and the members begin anew, as in Kafka. Follows the
delayed operations of Kafka 3.9's ``GroupCoordinator`` (``DelayedJoin``, ``InitialDelayedJoin``, ``DelayedSync``).
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from pykafka_broker.group.deadlines import Deadlines
from pykafka_broker.group.decision import Decision
from pykafka_broker.group.members import Member
from pykafka_broker.group.records import fit
from pykafka_broker.group.standing import Standing
from pykafka_broker.group.states import GroupState
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import GroupId, MemberId
from pykafka_broker.model.outcome import Level, Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages

NOBODY_REJOINED_WAIT_MS = 1_000
"""Static members with a rebalance timeout of 0 must not make us look again and again without a pause."""

MEMBER, PENDING, JOIN, SYNC = "member", "pending", "join", "sync"
"""What a deadline is about: a session, an id given out, a rebalance's joining, its syncing."""

DeadlineKey = tuple[str, str, str]
"""What, which group, which member (or nobody)."""


class Rules(Struct, frozen=True):
    """The group settings that a rebalance obeys."""

    initial_rebalance_delay_ms: int
    max_size: int
    max_record_bytes: int
    """What the records of one batch of the offsets topic may take."""


class Rebalancing(Standing):
    """A group that can rebalance. ``now`` is the time of every call; ``decision`` takes what comes of it."""

    def __init__(self, group_id: GroupId, now: Millis | None, rules: Rules, deadlines: Deadlines[DeadlineKey]) -> None:
        super().__init__(group_id, now)
        self._rules = rules
        self._deadlines = deadlines
        self._owing_sync: set[MemberId] = set()
        self._initial: tuple[int, int] | None = None
        """While a group that was empty forms: this wait, and how much longer it may be made (both ms)."""
        self._has_new_member = False

    def loaded(self, now: Millis, decision: Decision) -> None:
        """All records are read: from now on the members must show up, and a group that is too big must shrink."""
        if len(self.members) > self._rules.max_size:
            self._prepare(now, decision, "Freshly-loaded group is over capacity")
        for member in self.members:
            self._expect(now, member)

    # -- joining together ----------------------------------------------------------------------------------------

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

    def _joined(self, member: Member, *, tell_members: bool) -> messages.JoinGroupResponse:
        return messages.JoinGroupResponse(
            generation_id=self.generation,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol,
            leader=self.members.leader or "",
            member_id=member.member_id,
            members=self.members.described(self.protocol) if tell_members else [],
        )

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
        if not fit([record], self._rules.max_record_bytes):
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

    # -- sessions ------------------------------------------------------------------------------------------------

    def _expect(self, now: Millis, member: Member) -> None:
        self._deadlines.set(self._key(MEMBER, member.member_id), Millis(now + member.session_timeout_ms))

    def _key(self, what: str, member_id: str = "") -> DeadlineKey:
        return (what, self.group_id, member_id)

    def _forget(self, member_id: MemberId) -> None:
        self.members.remove(member_id)
        self._owing_sync.discard(member_id)
        self._deadlines.clear(self._key(MEMBER, member_id))
