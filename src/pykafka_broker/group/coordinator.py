"""All groups of one partition of ``__consumer_offsets``: who is in them and where they stand.

Decides only: every operation takes the time, gives an ``Outcome``, and never waits. Storing the records before the
answers leave, loading them, and waking at ``next_deadline`` is ``runtime/shard.py``'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pykafka_broker.group import commits
from pykafka_broker.group.classic import ClassicGroup, Joiner
from pykafka_broker.group.deadlines import Deadlines
from pykafka_broker.group.decision import Decision, Reply
from pykafka_broker.group.members import Member
from pykafka_broker.group.rebalance import JOIN, MEMBER, PENDING, SYNC, DeadlineKey, Rules
from pykafka_broker.group.records import CommittedOffset, GroupRecord, OffsetRecord, Record, fit
from pykafka_broker.group.states import GroupState
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.identity import Client
from pykafka_broker.model.names import GroupId, MemberId, TopicPartition
from pykafka_broker.model.outcome import Outcome, Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages

GROUP_TYPE = "classic"
"""The only type of group here (KIP-848's are a later coordinator's)."""

_LONGEST_NAME_BYTES = 32_767 - 37
"""The limit of a string on the wire, less what a member id has besides its client id or instance id."""
_SHORT_NAME = 1_000
"""A name of so few characters fits in any case."""
BATCH_BYTES = 61
"""What a batch takes besides its records."""
EXPIRY = "expiry"
_LOOK_FOR_EXPIRED: DeadlineKey = (EXPIRY, "", "")

Decided = Outcome[Reply, Record]


class Settings(Protocol):
    """The settings of ``config/group.py`` that are decided by here."""

    @property
    def group_min_session_timeout_ms(self) -> int: ...
    @property
    def group_max_session_timeout_ms(self) -> int: ...
    @property
    def group_max_size(self) -> int: ...
    @property
    def group_initial_rebalance_delay_ms(self) -> int: ...
    @property
    def offset_metadata_max_bytes(self) -> int: ...
    @property
    def offsets_retention_minutes(self) -> int: ...
    @property
    def offsets_retention_check_interval_ms(self) -> int: ...


class GroupCoordinator:
    """What is stored changes only in ``replay``; deadlines and parked tickets are forgotten by a failover."""

    def __init__(self, settings: Settings, new_id: Callable[[], str], *, max_record_bytes: int = 1_000_000) -> None:
        """``new_id`` makes the random part of member ids; ``max_record_bytes`` is how large a stored batch may be."""
        self._settings = settings
        self._new_id = new_id
        self._rules = Rules(
            settings.group_initial_rebalance_delay_ms, settings.group_max_size, max_record_bytes - BATCH_BYTES
        )
        self._deadlines: Deadlines[DeadlineKey] = Deadlines()
        self._groups: dict[GroupId, ClassicGroup] = {}

    # -- time and storage ----------------------------------------------------------------------------------------

    def next_deadline(self) -> Millis | None:
        """When ``tick`` has something to do, if nothing else happens until then."""
        return self._deadlines.earliest()

    def tick(self, now: Millis) -> Decided:
        """Do everything that is due by now."""
        decision = Decision(self.replay)
        while (key := self._deadlines.take(now)) is not None:
            what, group_id, member_id = key[0], GroupId(key[1]), MemberId(key[2])
            if what == EXPIRY:
                self._expire_offsets(now, decision)
                continue
            group = self._groups.get(group_id)
            if group is None:
                continue
            if what == MEMBER:
                group.expire_member(now, decision, member_id)
            elif what == PENDING:
                group.expire_pending(now, decision, member_id)
            elif what == JOIN:
                group.end_join(now, decision)
            elif what == SYNC:
                group.end_sync(now, decision)
        return decision.outcome()

    def replay(self, record: Record) -> None:
        """Apply a stored record: the only place where hard state changes."""
        group = self._groups.get(record.group_id)
        if isinstance(record, OffsetRecord):
            if group is None:
                if record.committed is None:
                    return
                group = self._found(record.group_id, None)
            group.offsets.restore(record.partition, record.committed)
        elif record.value is not None:
            if group is None:
                group = self._found(record.group_id, None)
            group.restore(record.value)
        elif group is not None:
            group.forget()
        if group is not None and group.stored is None and not group.offsets:
            self._drop(group)

    def loaded(self, now: Millis) -> Decided:
        """Everything stored has been replayed: begin to watch the clock."""
        decision = Decision(self.replay)
        for group in self._groups.values():
            group.loaded(now, decision)
        self._deadlines.set(_LOOK_FOR_EXPIRED, Millis(now + self._settings.offsets_retention_check_interval_ms))
        return decision.outcome()

    def abandon(self, now: Millis, ticket: Ticket) -> Decided:
        """The caller hung up. As in Kafka its member keeps its place: it may come back with its next request.

        Kafka cannot even see it (a parked request's connection is not read); sessions and the new member's join
        timeout take care of those who do not come back, and an answer for a ticket nobody holds is dropped.
        """
        return Outcome()

    def hard_state(self) -> Mapping[str, tuple[Any, Mapping[str, Mapping[int, CommittedOffset]]]]:
        """Everything that records say, by group: what a failover must not change."""
        return {
            group.group_id: (group.stored, {topic: dict(held) for topic, held in group.offsets.topics().items()})
            for group in self._groups.values()
            if group.stored is not None or group.offsets
        }

    def groups(self) -> Iterator[ClassicGroup]:
        """Every group here."""
        return iter(self._groups.values())

    # -- membership ----------------------------------------------------------------------------------------------

    def join(
        self,
        now: Millis,
        ticket: Ticket,
        client: Client,
        request: messages.JoinGroupRequest,
        *,
        needs_member_id: bool = True,
        may_skip_assignment: bool = True,
    ) -> Decided:
        """Enter a group, or re-enter it; answered when the joining is complete.

        ``needs_member_id`` from version 4 on, ``may_skip_assignment`` from version 9 on.
        """
        decision = Decision(self.replay)
        timeout = request.session_timeout_ms
        low, high = self._settings.group_min_session_timeout_ms, self._settings.group_max_session_timeout_ms
        if not _can_be_named(client.client_id if request.group_instance_id is None else request.group_instance_id):
            return _answer(ticket, KafkaError(ErrorCode.INVALID_REQUEST))
        if not low <= timeout <= high:
            return _answer(ticket, _refused_join(ErrorCode.INVALID_SESSION_TIMEOUT, request))
        group = self._groups.get(request.group_id)
        if group is None:
            if request.member_id:
                return _answer(ticket, _refused_join(ErrorCode.UNKNOWN_MEMBER_ID, request))
            group = self._found(request.group_id, now)
        joiner = Joiner(
            ticket,
            client,
            request.group_instance_id,
            request.rebalance_timeout_ms,
            timeout,
            request.protocol_type,
            _distinct(request.protocols),
            request.reason or "not provided",
            needs_member_id,
            may_skip_assignment,
        )
        group.join(now, decision, request.member_id, joiner)
        return decision.outcome()

    def sync(self, now: Millis, ticket: Ticket, request: messages.SyncGroupRequest) -> Decided:
        """Hand in (the leader) and get (everybody) the assignment; answered when the leader has assigned."""
        group = self._groups.get(request.group_id)
        if group is None:
            return _answer(ticket, messages.SyncGroupResponse(error_code=ErrorCode.UNKNOWN_MEMBER_ID))
        decision = Decision(self.replay)
        group.sync(now, decision, ticket, request)
        return decision.outcome()

    def heartbeat(self, now: Millis, ticket: Ticket, request: messages.HeartbeatRequest) -> Decided:
        """Stay a member; never parked, never stored."""
        group = self._groups.get(request.group_id)
        error = ErrorCode.UNKNOWN_MEMBER_ID if group is None else group.heartbeat(now, request)
        return _answer(ticket, messages.HeartbeatResponse(error_code=error))

    def leave(
        self,
        now: Millis,
        ticket: Ticket,
        group_id: GroupId,
        leavers: Sequence[messages.LeaveGroupRequest.MemberIdentity],
    ) -> Decided:
        """Members go; each has an answer of its own."""
        decision = Decision(self.replay)
        group = self._groups.get(group_id)
        answers = []
        for leaver in leavers:
            error = ErrorCode.UNKNOWN_MEMBER_ID if group is None else group.leave(now, decision, leaver)
            answers.append(
                messages.LeaveGroupResponse.MemberResponse(
                    member_id=leaver.member_id, group_instance_id=leaver.group_instance_id, error_code=error
                )
            )
        decision.reply(ticket, messages.LeaveGroupResponse(members=answers))
        return decision.outcome()

    # -- offsets -------------------------------------------------------------------------------------------------

    def commit_offsets(self, now: Millis, ticket: Ticket, request: messages.OffsetCommitRequest) -> Decided:
        """Store where a group stands; one batch of records, or one error for all partitions."""
        decision = Decision(self.replay)
        group = self._groups.get(request.group_id)
        error = commits.refusal(group, request)
        if error is not None:
            decision.reply(ticket, commits.refused(error, request))
            return decision.outcome()
        if group is not None and group.state is not GroupState.EMPTY:
            group.touch(now, request.member_id)
        response, records = commits.records_of(now, request, self._settings.offset_metadata_max_bytes)
        if not fit(records, self._rules.max_record_bytes):
            decision.reply(ticket, commits.refused(ErrorCode.INVALID_COMMIT_OFFSET_SIZE, request))
            return decision.outcome()
        for record in records:
            decision.store(record)
        decision.reply(ticket, response)
        return decision.outcome()

    def fetch_offsets(
        self, now: Millis, ticket: Ticket, group_id: GroupId, topics: Sequence[tuple[str, Sequence[int]]] | None
    ) -> Decided:
        """Where the group stands in these partitions, or in all it knows (``None``).

        The answer is a list of (topic, [(partition, ``CommittedOffset`` or ``None``)]).
        """
        group = self._groups.get(group_id)
        held = {} if group is None else group.offsets.topics()
        answer: list[tuple[str, list[tuple[int, CommittedOffset | None]]]]
        if topics is None:
            answer = [(topic, list(partitions.items())) for topic, partitions in held.items()]
        else:
            answer = [
                (topic, [(index, held.get(topic, {}).get(index)) for index in indexes]) for topic, indexes in topics
            ]
        return _answer(ticket, answer)

    def delete_offsets(
        self, now: Millis, ticket: Ticket, group_id: GroupId, partitions: Sequence[TopicPartition]
    ) -> Decided:
        """Forget where a group stands; topics that its consumers use are kept.

        The answer is an ``ErrorCode`` for the whole group, or one for each partition, in their order.
        """
        group = self._groups.get(group_id)
        if group is None:
            return _answer(ticket, ErrorCode.GROUP_ID_NOT_FOUND)
        if group.state is not GroupState.EMPTY and not group.is_consumer_group:
            return _answer(ticket, ErrorCode.NON_EMPTY_GROUP)
        decision = Decision(self.replay)
        in_use = [
            group.state is not GroupState.EMPTY and group.is_subscribed_to(partition.topic) for partition in partitions
        ]
        self._delete(now, decision, group, [p for p, used in zip(partitions, in_use, strict=True) if not used])
        decision.reply(ticket, [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if used else ErrorCode.NONE for used in in_use])
        return decision.outcome()

    def forget_partitions(self, now: Millis, ticket: Ticket, partitions: Iterable[TopicPartition]) -> Decided:
        """Partitions were deleted: so are all groups' positions in them."""
        decision = Decision(self.replay)
        gone = list(partitions)
        for group in list(self._groups.values()):
            self._delete(now, decision, group, gone)
        decision.reply(ticket, None)
        return decision.outcome()

    def _expire_offsets(self, now: Millis, decision: Decision) -> None:
        retention_ms = self._settings.offsets_retention_minutes * 60_000
        for group in list(self._groups.values()):
            expired: list[TopicPartition] = []
            if group.protocol_type is None:
                expired = group.offsets.expired(now, retention_ms, since=None)
            elif group.state is GroupState.EMPTY:
                expired = group.offsets.expired(now, retention_ms, since=group.entered_ms)
            elif group.is_consumer_group and group.state is GroupState.STABLE and group.subscribed is not None:
                expired = group.offsets.expired(now, retention_ms, since=None, spared=group.subscribed)
            if expired:
                decision.tell("OffsetsExpired", group=group.group_id, count=len(expired))
            self._delete(now, decision, group, expired)
        self._deadlines.set(_LOOK_FOR_EXPIRED, Millis(now + self._settings.offsets_retention_check_interval_ms))

    def _delete(
        self, now: Millis, decision: Decision, group: ClassicGroup, partitions: Iterable[TopicPartition]
    ) -> None:
        """Forget offsets, and with the last of them a group that nobody is in (``cleanupGroupMetadata``)."""
        for partition in partitions:
            if group.offsets.get(*partition) is not None:
                decision.store(OffsetRecord(group.group_id, partition, None))
        if group.state is GroupState.EMPTY and not group.offsets:
            self._bury(decision, group)

    def _bury(self, decision: Decision, group: ClassicGroup) -> None:
        # A group that never had a generation has no record to take back.
        if group.stored is not None:
            decision.store(GroupRecord(group.group_id, None))
        self._drop(group)
        decision.tell("GroupRemoved", group=group.group_id, generation=group.generation)

    # -- administration ------------------------------------------------------------------------------------------

    def describe(self, now: Millis, ticket: Ticket, group_id: GroupId) -> Decided:
        """One group as DescribeGroups shows it; one that we do not know is Dead."""
        described = messages.DescribeGroupsResponse.DescribedGroup
        group = self._groups.get(group_id)
        if group is None:
            return _answer(ticket, described(group_id=group_id, group_state=GroupState.DEAD.value))
        is_stable = group.state is GroupState.STABLE
        return _answer(
            ticket,
            described(
                group_id=group_id,
                group_state=group.state.value,
                protocol_type=group.protocol_type or "",
                protocol_data=(group.protocol or "") if is_stable else "",
                members=[_described(member, group.protocol, is_stable) for member in group.members],
            ),
        )

    def list_groups(self, now: Millis, ticket: Ticket, states: frozenset[str], types: frozenset[str]) -> Decided:
        """The groups here in these states and of these types (lower case; empty means any)."""
        listed = messages.ListGroupsResponse.ListedGroup
        groups = (
            []
            if types and GROUP_TYPE not in types
            else [
                listed(
                    group_id=group.group_id,
                    protocol_type=group.protocol_type or "",
                    group_state=group.state.value,
                    group_type=GROUP_TYPE,
                )
                for group in self._groups.values()
                if not states or group.state.value.lower() in states
            ]
        )
        return _answer(ticket, groups)

    def delete_group(self, now: Millis, ticket: Ticket, group_id: GroupId) -> Decided:
        """Remove a group that nobody is in, offsets and all; the answer is an ``ErrorCode``."""
        group = self._groups.get(group_id)
        if group is None:
            return _answer(ticket, ErrorCode.GROUP_ID_NOT_FOUND)
        if group.state is not GroupState.EMPTY:
            return _answer(ticket, ErrorCode.NON_EMPTY_GROUP)
        decision = Decision(self.replay)
        for partition in list(group.offsets):
            decision.store(OffsetRecord(group_id, partition, None))
        self._bury(decision, group)
        decision.reply(ticket, ErrorCode.NONE)
        return decision.outcome()

    # -- small things --------------------------------------------------------------------------------------------

    def _found(self, group_id: GroupId, now: Millis | None) -> ClassicGroup:
        group = ClassicGroup(group_id, now, self._rules, self._deadlines, self._new_id)
        self._groups[group_id] = group
        return group

    def _drop(self, group: ClassicGroup) -> None:
        if group.state is GroupState.EMPTY and self._groups.get(group.group_id) is group:
            group.state = GroupState.DEAD
            del self._groups[group.group_id]


def _answer(ticket: Ticket, reply: Reply) -> Decided:
    return Outcome({ticket: reply})


def _refused_join(error: ErrorCode, request: messages.JoinGroupRequest) -> messages.JoinGroupResponse:
    return messages.JoinGroupResponse(
        error_code=error, generation_id=-1, protocol_name=None, member_id=request.member_id
    )


def _described(
    member: Member, protocol: str | None, is_stable: bool
) -> messages.DescribeGroupsResponse.DescribedGroupMember:
    return messages.DescribeGroupsResponse.DescribedGroupMember(
        member_id=member.member_id,
        group_instance_id=member.instance_id,
        client_id=member.client_id,
        client_host=member.client_host,
        member_metadata=member.metadata(protocol) if is_stable else b"",
        member_assignment=member.assignment if is_stable else b"",
    )


def _can_be_named(after: str) -> bool:
    """Whether a member id that begins with this name fits where it is stored and told."""
    return len(after) <= _SHORT_NAME or len(after.encode()) <= _LONGEST_NAME_BYTES


def _distinct(protocols: Iterable[messages.JoinGroupRequest.Protocol]) -> tuple[tuple[str, bytes], ...]:
    """The protocols a member names, each once: one named twice must not count as two members' support."""
    named: dict[str, bytes] = {}
    for protocol in protocols:
        named.setdefault(protocol.name, bytes(protocol.metadata))
    return tuple(named.items())
