"""What the leader of a partition knows of its followers, and what follows from that: who is in sync, and how far
everybody is.

After Kafka's ``Replica`` and the states of ``Partition``. A change of the in-sync replicas is only proposed here; until
the controller has written it, replicas that are to join count already and those that are to go count still
(``maximal_isr``), so that the high watermark is right whichever way the proposal ends (KIP-497).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from msgspec import Struct

from pykafka_broker.model.names import BrokerId
from pykafka_broker.model.time import Millis

UNKNOWN_OFFSET = -1


class Replica(Struct):
    """One follower, as its fetches show it."""

    broker: BrokerId
    log_end_offset: int = UNKNOWN_OFFSET
    """What it asked for last: it has everything below."""
    log_start_offset: int = UNKNOWN_OFFSET
    last_fetch_ms: int = 0
    last_fetch_end: int = UNKNOWN_OFFSET
    """Where the leader's log ended at its last fetch."""
    last_caught_up_ms: int = 0
    """The latest moment at which it is known to have had everything that the leader had then."""

    def fetched(self, now: Millis, offset: int, log_start_offset: int, leader_end: int) -> None:
        """It asks for what follows ``offset`` (``Replica.updateFetchState``)."""
        if offset >= leader_end:
            self.last_caught_up_ms = max(self.last_caught_up_ms, now)
        elif offset >= self.last_fetch_end:
            self.last_caught_up_ms = max(self.last_caught_up_ms, self.last_fetch_ms)
        self.log_end_offset = offset
        self.log_start_offset = log_start_offset
        self.last_fetch_end = max(leader_end, self.last_fetch_end)
        self.last_fetch_ms = now

    def has_caught_up(self, now: Millis, leader_end: int, lag_time_max_ms: int) -> bool:
        """Whether it has everything, or had so recently."""
        return self.log_end_offset == leader_end or now - self.last_caught_up_ms <= lag_time_max_ms


class Proposal(Struct, frozen=True):
    """A change of the in-sync replicas that the leader wants and the controller has not confirmed."""

    isr: tuple[BrokerId, ...]
    joining: BrokerId | None = None
    """The replica that is to join; ``None`` when replicas are to go."""


class Replicas:
    """The followers of one partition led here."""

    __slots__ = ("_followers", "isr", "pending")

    def __init__(self) -> None:
        self._followers: dict[BrokerId, Replica] = {}
        self.isr: tuple[BrokerId, ...] = ()
        """The in-sync replicas that the controller has written."""
        self.pending: Proposal | None = None

    def __bool__(self) -> bool:
        return bool(self._followers)

    def __iter__(self) -> Iterator[Replica]:
        return iter(self._followers.values())

    def get(self, broker: BrokerId) -> Replica | None:
        """What is known of a follower; ``None`` for a broker that is none."""
        return self._followers.get(broker)

    def lead(
        self,
        now: Millis,
        me: BrokerId,
        replicas: Collection[BrokerId],
        isr: Collection[BrokerId],
        leader_end: int,
        *,
        is_new_leader: bool,
    ) -> None:
        """The controller has made us the leader of these, in a new epoch (``Partition.makeLeader``)."""
        self.isr, self.pending = tuple(isr), None
        known = self._followers
        self._followers = {broker: known.get(broker) or Replica(broker) for broker in replicas if broker != me}
        for broker, replica in self._followers.items():
            is_in_sync = broker in isr
            caught_up_ms = now if is_in_sync else 0
            if is_new_leader:
                self._followers[broker] = Replica(broker, last_caught_up_ms=caught_up_ms)
            else:
                replica.last_fetch_end = leader_end
                replica.last_fetch_ms = replica.last_caught_up_ms = caught_up_ms

    def clear(self) -> None:
        """We do not lead any more."""
        self._followers, self.pending = {}, None

    # The high watermark

    @property
    def maximal_isr(self) -> Collection[BrokerId]:
        """All that are in sync or are to be: the high watermark waits for each of them."""
        pending = self.pending
        return self.isr if pending is None or pending.joining is None else pending.isr

    def high_watermark(
        self, now: Millis, leader_end: int, lag_time_max_ms: int, is_eligible: Callable[[BrokerId], bool]
    ) -> int:
        """What every replica in sync has, and those that are about to join (``Partition.maybeIncrementLeaderHW``)."""
        lowest = leader_end
        maximal = self.maximal_isr
        for broker, replica in self._followers.items():
            if replica.log_end_offset < lowest and (
                broker in maximal or (replica.has_caught_up(now, leader_end, lag_time_max_ms) and is_eligible(broker))
            ):
                lowest = replica.log_end_offset
        return lowest

    def low_watermark(self, log_start_offset: int, is_alive: Callable[[BrokerId], bool]) -> int:
        """Where the log of the last of all live replicas begins (``Partition.lowWatermarkIfLeader``)."""
        starts = (one.log_start_offset for broker, one in self._followers.items() if is_alive(broker))
        return min((log_start_offset, *starts))

    # Who is in sync

    def may_join(self, broker: BrokerId, high_watermark: int, epoch_start: int) -> bool:
        """Whether a follower has all that consumers may see, and all that this leader began with."""
        replica = self._followers.get(broker)
        return (
            self.pending is None
            and replica is not None
            and broker not in self.isr
            and replica.log_end_offset >= max(high_watermark, epoch_start)
        )

    def out_of_sync(self, now: Millis, leader_end: int, lag_time_max_ms: int) -> list[BrokerId]:
        """Replicas in sync that have lagged behind for too long; nobody while a change is under way."""
        if self.pending is not None:
            return []
        return [
            broker
            for broker in self.isr
            if (one := self._followers.get(broker)) is not None
            and not one.has_caught_up(now, leader_end, lag_time_max_ms)
        ]

    def propose_join(self, broker: BrokerId) -> None:
        """A follower is to join."""
        self.pending = Proposal((*self.isr, broker), broker)

    def propose_leave(self, brokers: Collection[BrokerId]) -> None:
        """Replicas are to go."""
        self.pending = Proposal(tuple(broker for broker in self.isr if broker not in brokers))

    def confirm(self, isr: Collection[BrokerId]) -> None:
        """The controller has written this."""
        self.isr, self.pending = tuple(isr), None

    def go_back(self) -> None:
        """The controller did not try to: everything is as it was."""
        self.pending = None
