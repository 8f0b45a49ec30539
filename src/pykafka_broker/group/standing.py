"""What is known of one group at any time: its state, its generation, who is in it, and what of that is stored.

What is stored (generation, protocol, leader, members with their assignments, as of the last rest) changes only in
``restore`` and ``forget``. How a group gets from one rest to the next is ``rebalance.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping

from pykafka_broker.group.members import CONSUMER_PROTOCOL, Member, Roster
from pykafka_broker.group.offsets import Offsets
from pykafka_broker.group.records import GroupRecord
from pykafka_broker.group.states import AT_REST, GroupState, may_follow
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import GroupId, MemberId
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages


class Standing:
    """One group between two events (part of ``GroupMetadata``)."""

    def __init__(self, group_id: GroupId, now: Millis | None) -> None:
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
