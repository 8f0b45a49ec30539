"""The classic group protocol: who may join, who stays, who leaves, and when a rebalance is due.

Follows ``GroupCoordinator`` of Kafka 3.9 with its static members (KIP-345) and member ids (KIP-394). Offsets are
``commits.py``'s, the group's place among others ``coordinator.py``'s.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from pykafka_broker.group.deadlines import Deadlines
from pykafka_broker.group.decision import Decision
from pykafka_broker.group.members import Member
from pykafka_broker.group.rebalance import MEMBER, PENDING, DeadlineKey, Rebalancing, Rules
from pykafka_broker.group.states import GroupState
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.identity import Client
from pykafka_broker.model.names import GroupId, MemberId
from pykafka_broker.model.outcome import Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages

NOBODY = MemberId("")

NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60 * 1000
"""A new member whose JoinGroup is parked is dropped after this long: it may have hung up, we could not tell."""


class Joiner(Struct, frozen=True):
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


class ClassicGroup(Rebalancing):
    """One group. ``now`` is the time of every call; ``decision`` takes what comes of it."""

    def __init__(
        self,
        group_id: GroupId,
        now: Millis | None,
        rules: Rules,
        deadlines: Deadlines[DeadlineKey],
        new_id: Callable[[], str],
    ) -> None:
        super().__init__(group_id, now, rules, deadlines)
        self._new_id = new_id

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


def refused_join(error: ErrorCode, member_id: MemberId = NOBODY) -> messages.JoinGroupResponse:
    """What a JoinGroup is refused with."""
    return messages.JoinGroupResponse(error_code=error, generation_id=-1, protocol_name=None, member_id=member_id)
