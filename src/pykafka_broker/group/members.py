"""The members of one classic group: who they are, what they support, who leads them, and who is waiting.

This is bookkeeping without a clock: the rules of joining and leaving are in ``classic.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec import Struct

from pykafka_broker.model.names import MemberId
from pykafka_broker.model.outcome import Ticket
from pykafka_broker.wire import messages

CONSUMER_PROTOCOL = "consumer"
"""The one protocol type whose subscriptions the broker can read."""


class Member(Struct, eq=False):
    """One member of a group (``MemberMetadata``)."""

    member_id: MemberId
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: tuple[tuple[str, bytes], ...]
    """Names it supports, the best first, each with its subscription."""
    assignment: bytes = b""
    joining: Ticket | None = None
    """Its JoinGroup that is waiting for the others."""
    syncing: Ticket | None = None
    """Its SyncGroup that is waiting for the leader."""
    is_new: bool = False
    """It has not got an answer to its first JoinGroup yet."""

    @property
    def is_static(self) -> bool:
        """Whether it keeps its place over a restart (KIP-345)."""
        return self.instance_id is not None

    @property
    def is_waiting(self) -> bool:
        """Whether we owe it an answer, so that it cannot send heartbeats."""
        return self.joining is not None or self.syncing is not None

    def metadata(self, protocol: str | None) -> bytes:
        """What it said for this protocol; empty if it does not support it."""
        for name, metadata in self.protocols:
            if name == protocol:
                return metadata
        return b""

    def vote(self, candidates: frozenset[str]) -> str:
        """The first of its protocols that is a candidate."""
        return next(name for name, _ in self.protocols if name in candidates)


class Roster:
    """All members of a group, with the counts that make its questions cheap (part of ``GroupMetadata``)."""

    def __init__(self) -> None:
        self._members: dict[MemberId, Member] = {}
        self._instances: dict[str, MemberId] = {}
        self._supported: Counter[str] = Counter()
        self._joining = 0
        self.leader: MemberId | None = None
        """The member that assigns; the first to join when there was none."""
        self.pending: set[MemberId] = set()
        """Member ids given out whose owners have not come back with them yet (KIP-394)."""

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member_id: MemberId) -> bool:
        return member_id in self._members

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __getitem__(self, member_id: MemberId) -> Member:
        return self._members[member_id]

    def get(self, member_id: MemberId) -> Member | None:
        """The member, if it is one."""
        return self._members.get(member_id)

    def instance(self, instance_id: str) -> MemberId | None:
        """The member id that a static member has now."""
        return self._instances.get(instance_id)

    @property
    def joining(self) -> int:
        """How many members' JoinGroups are waiting."""
        return self._joining

    @property
    def have_all_joined(self) -> bool:
        """Whether nobody is missing: every member has rejoined, every id given out was used."""
        return self._joining == len(self._members) and not self.pending

    @property
    def rebalance_timeout_ms(self) -> int:
        """The most patient member's, never negative."""
        return max(0, max((member.rebalance_timeout_ms for member in self), default=0))

    def add(self, member: Member) -> None:
        """Take a member in; the first becomes the leader."""
        self._members[member.member_id] = member
        if member.instance_id is not None:
            self._instances[member.instance_id] = member.member_id
        self._supported.update(name for name, _ in member.protocols)
        if member.joining is not None:
            self._joining += 1
        if self.leader is None:
            self.leader = member.member_id
        self.pending.discard(member.member_id)

    def remove(self, member_id: MemberId) -> Member | None:
        """Let a member go; if it led, the first of the others leads."""
        member = self._members.pop(member_id, None)
        if member is not None:
            self._supported.subtract(name for name, _ in member.protocols)
            if member.joining is not None:
                self._joining -= 1
            if member.instance_id is not None:
                self._instances.pop(member.instance_id, None)
        if self.leader == member_id:
            self.leader = next(iter(self._members), None)
        self.pending.discard(member_id)
        return member

    def rename(self, member: Member, member_id: MemberId) -> None:
        """A static member came back under a new id; whatever else was its stays its own."""
        del self._members[member.member_id]
        if self.leader == member.member_id:
            self.leader = member_id
        member.member_id = member_id
        self._members[member_id] = member
        if member.instance_id is not None:
            self._instances[member.instance_id] = member_id

    def update(
        self,
        member: Member,
        protocols: tuple[tuple[str, bytes], ...],
        rebalance_timeout_ms: int,
        session_timeout_ms: int,
    ) -> None:
        """A member joined again, perhaps with other wishes."""
        self._supported.subtract(name for name, _ in member.protocols)
        self._supported.update(name for name, _ in protocols)
        member.protocols = protocols
        member.rebalance_timeout_ms = rebalance_timeout_ms
        member.session_timeout_ms = session_timeout_ms

    def park_join(self, member: Member, ticket: Ticket) -> Ticket | None:
        """The member waits with this JoinGroup; gives back the one it waited with before."""
        before = member.joining
        member.joining = ticket
        if before is None:
            self._joining += 1
        return before

    def release_join(self, member: Member) -> Ticket | None:
        """The member's waiting JoinGroup, to be answered now."""
        ticket = member.joining
        if ticket is not None:
            member.joining = None
            self._joining -= 1
        return ticket

    def clear(self) -> None:
        """Nobody is in it any more."""
        self._members.clear()
        self._instances.clear()
        self._supported.clear()
        self._joining = 0
        self.leader = None

    def elect(self) -> bool:
        """See to it that the leader is somebody who has rejoined; false if nobody has."""
        if self.leader is None:
            return False
        if self[self.leader].joining is not None:
            return True
        for member in self:
            if member.joining is not None:
                self.leader = member.member_id
                return True
        return False

    def supports_any(self, protocols: Iterable[str]) -> bool:
        """Whether one of the protocols is supported by everybody here."""
        size = len(self._members)
        return any(self._supported[name] == size for name in protocols)

    def candidates(self) -> frozenset[str]:
        """The protocols that everybody supports."""
        size = len(self._members)
        return frozenset(name for name, count in self._supported.items() if count == size)

    def select_protocol(self) -> str:
        """Everybody votes for the first candidate of its own list; most votes win, the earliest vote on a tie."""
        candidates = self.candidates()
        votes = Counter(member.vote(candidates) for member in self)
        return max(votes, key=votes.__getitem__)

    def subscribed_topics(self, protocol: str | None) -> frozenset[str] | None:
        """The topics that anybody here wants, read from consumers' subscriptions; ``None`` if they make no sense.

        Only the fields of version 0 are read: every later version begins with them.
        """
        topics: set[str] = set()
        for member in self:
            wanted = subscription_topics(member.metadata(protocol))
            if wanted is None:
                return None
            topics |= wanted
        return frozenset(topics)

    def described(self, protocol: str | None) -> list[messages.JoinGroupResponse.Member]:
        """What the leader is told of everybody."""
        return [
            messages.JoinGroupResponse.Member(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                metadata=member.metadata(protocol),
            )
            for member in self
        ]


def subscription_topics(subscription: bytes) -> frozenset[str] | None:
    """The topics in a consumer's subscription (``ConsumerProtocol``), ``None`` if it is not one."""
    view = memoryview(subscription)
    if len(view) < 6 or int.from_bytes(view[:2], "big", signed=True) < 0:
        return None
    count = int.from_bytes(view[2:6], "big", signed=True)
    position, topics = 6, set()
    for _ in range(count):
        start = position + 2
        end = start + int.from_bytes(view[position:start], "big", signed=True)
        if end < start or end > len(view):
            return None
        try:
            topics.add(str(view[start:end], "utf-8"))
        except UnicodeDecodeError:
            return None
        position = end
    return frozenset(topics) if count >= 0 else None
