"""A coordinator at work: decide at once, store in order, answer what is stored, wake when time is up.

The coordinator decides and never waits; this is where its decisions become durable. Trio switches tasks only at an
``await``, so "decide, then queue" needs no lock, and the queue is first-in first-out, so that no answer leaves before
the records that were decided earlier are committed. When storing fails, memory may say more than the log: the shard
drops its coordinator, refuses everybody with NOT_COORDINATOR and reads the log again, as after a crash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import trio

from pykafka_broker.model.errors import ErrorCode, KafkaError, WireError
from pykafka_broker.model.outcome import Fact, Level, Outcome, Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.tickets import Tickets

MAX_QUEUED_DECISIONS = 10_000
"""More than this waiting to be stored, and new calls are refused with COORDINATOR_NOT_AVAILABLE."""

JOINED_BYTES = 64 * 1024
"""Decisions that wait are stored together up to this size, so that none is cut where the log cuts its batches."""

RELOAD_PAUSE_S = 1.0
"""Between two attempts to load, and after a coordinator that broke down or never could store anything."""

_STORE_ERRORS = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.REQUEST_TIMED_OUT: ErrorCode.COORDINATOR_NOT_AVAILABLE,
}
"""What the callers hear whose own records could not be stored; anything else is NOT_COORDINATOR."""


class Storable(Protocol):
    """A record that a coordinator decides to store."""

    def encode(self) -> tuple[bytes, bytes | None]:
        """Its key and value; a null value forgets the key."""
        ...


class Coordinator(Protocol):
    """What a shard needs of the room that decides."""

    def next_deadline(self) -> Millis | None:
        """When ``tick`` has something to do."""
        ...

    def tick(self, now: Millis) -> Outcome[Any, Any]:
        """Do what is due."""
        ...

    def replay(self, record: Any) -> None:
        """Apply a stored record."""
        ...

    def loaded(self, now: Millis) -> Outcome[Any, Any]:
        """All records have been replayed."""
        ...

    def abandon(self, now: Millis, ticket: Ticket) -> Outcome[Any, Any]:
        """The caller hung up."""
        ...


class CoordinatorLog(Protocol):
    """The log partition that remembers for one coordinator."""

    async def append(self, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Store the records and return when they are committed; ``KafkaError`` when that is not certain."""
        ...

    async def replay(self, apply: Callable[[bytes, bytes | None], None]) -> None:
        """Call ``apply`` with every committed record's key and value, oldest first; ``KafkaError``."""
        ...


C = TypeVar("C", bound=Coordinator)
Operation = Callable[[C, Millis, Ticket], Outcome[Any, Any]]
"""One call, put to the coordinator: the time and the caller's ticket are given to it."""


class _Decided:
    """A decision that waits to be stored, and the answers that wait for it."""

    __slots__ = ("entries", "replies", "size_bytes")

    def __init__(self, outcome: Outcome[Any, Any]) -> None:
        self.entries: list[tuple[bytes, bytes | None]] = [record.encode() for record in outcome.records]
        self.size_bytes = sum(len(key) + len(value or b"") for key, value in self.entries)
        self.replies = outcome.replies


class Shard(Generic[C]):
    """One coordinator, the log partition that remembers for it, and the callers waiting on it."""

    def __init__(
        self,
        make: Callable[[], C],
        decode: Callable[[bytes, bytes | None], Any],
        log: CoordinatorLog,
        clock: Clock,
        tell: Callable[[Fact], None] = lambda fact: None,
    ) -> None:
        """``make`` gives an empty coordinator, ``decode`` a record from what is stored (``None``: none of ours)."""
        self._make = make
        self._decode = decode
        self._log = log
        self._clock = clock
        self._tell = tell
        self._tickets = Tickets()
        self._coordinator: C | None = None
        self._is_closed = False
        self._queue: deque[_Decided] = deque()
        self._storing: list[_Decided] = []
        self._bell = trio.Event()
        self._wakes_at: Millis | None = None
        self._term: trio.CancelScope | None = None
        self._has_broken = False
        self._has_stored = False
        """Whether this coordinator was able to store anything yet."""

    @property
    def is_loading(self) -> bool:
        """Whether the log is still being read."""
        return self._coordinator is None and not self._is_closed

    async def ask(self, operation: Operation[C], *, may_park: bool = False) -> Any:
        """Decide, and give the reply when everything decided up to it is stored. ``may_park`` is the call's.

        Raises ``KafkaError``: COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE, or what
        the coordinator refuses the call with. Without records to store nothing is awaited.
        """
        coordinator = self._coordinator
        if coordinator is None:
            raise KafkaError(ErrorCode.NOT_COORDINATOR if self._is_closed else ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        if len(self._queue) >= MAX_QUEUED_DECISIONS:
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        ticket = self._tickets.issue()
        try:
            self._accept(operation(coordinator, self._clock(), ticket))
        except KafkaError:
            self._tickets.drop(ticket)
            raise
        except Exception:
            # Half a decision may have been made: what the log says counts.
            self._tickets.drop(ticket)
            self._break_off()
            raise
        try:
            return await self._tickets.reply_to(ticket, may_park=may_park)
        except (trio.Cancelled, GeneratorExit):
            # The connection has ended, with or without a task of its own.
            if self._coordinator is coordinator:
                self._accept(coordinator.abandon(self._clock(), ticket))
            raise

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load by replay, then store records in decision order, release replies, and wake at deadlines; for ever.

        Started when calls are refused in the right way; ``ask`` answers once everything is loaded.
        """
        task_status.started()
        try:
            while True:
                with trio.CancelScope() as self._term:
                    try:
                        await self._load()
                        await self._serve()
                    except KafkaError as error:
                        self._tell(Fact("CoordinatorLogFailed", Level.WARNING, {"error": error}))
                        # A log that takes nothing, for want of replicas perhaps, is not read again at every attempt.
                        self._has_broken = self._coordinator is None or not self._has_stored
                    except Exception as error:
                        self._tell(Fact("CoordinatorBroke", Level.ERROR, {"error": repr(error)}))
                        self._has_broken = True
                self._lose(KafkaError(ErrorCode.NOT_COORDINATOR))
                await trio.sleep(RELOAD_PAUSE_S if self._has_broken else 0)
                self._has_broken = False
        finally:
            self._is_closed = True
            self._lose(KafkaError(ErrorCode.NOT_COORDINATOR))

    # -- deciding ------------------------------------------------------------------------------------------------

    def _accept(self, outcome: Outcome[Any, Any]) -> None:
        """Take a decision in: settle it if nothing has to be stored before, else queue it. No ``await`` in here."""
        for fact in outcome.facts:
            self._tell(fact)
        if outcome.records or self._queue or self._storing:
            if outcome.records or outcome.replies:
                self._queue.append(_Decided(outcome))
                self._bell.set()
        else:
            self._settle(outcome.replies)
        if self._coordinator is not None:
            deadline = self._coordinator.next_deadline()
            if deadline is not None and (self._wakes_at is None or deadline < self._wakes_at):
                self._bell.set()

    def _settle(self, replies: Mapping[Ticket, Any]) -> None:
        for ticket, reply in replies.items():
            self._tickets.answer(ticket, reply)

    def _break_off(self) -> None:
        """Give this coordinator up and load another."""
        self._has_broken = True
        self._lose(KafkaError(ErrorCode.NOT_COORDINATOR))
        if self._term is not None:
            self._term.cancel()

    def _lose(self, error: KafkaError) -> None:
        self._coordinator = None
        self._queue.clear()
        self._storing.clear()
        self._wakes_at = None
        self._tickets.refuse_all(error)

    # -- storing -------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        coordinator = self._make()
        read = 0

        def apply(key: bytes, value: bytes | None) -> None:
            nonlocal read
            read += 1
            try:
                record = self._decode(key, value)
            except WireError as error:
                self._tell(Fact("CoordinatorRecordUnreadable", Level.ERROR, {"key": key.hex(), "error": error}))
                return
            if record is not None:
                coordinator.replay(record)

        started = self._clock()
        await self._log.replay(apply)
        now = self._clock()
        outcome = coordinator.loaded(now)
        self._coordinator, self._has_stored = coordinator, False
        self._tell(Fact("CoordinatorLoaded", Level.DEBUG, {"records": read, "took_ms": now - started}))
        self._accept(outcome)

    async def _serve(self) -> None:
        while True:
            if self._queue:
                await self._store()
                continue
            coordinator = self._coordinator
            assert coordinator is not None
            deadline, now = coordinator.next_deadline(), self._clock()
            if deadline is not None and deadline <= now:
                self._accept(coordinator.tick(now))
                await trio.lowlevel.checkpoint()
                continue
            self._bell = trio.Event()
            self._wakes_at = deadline
            with trio.move_on_after(float("inf") if deadline is None else (deadline - now) / 1000):
                await self._bell.wait()
            self._wakes_at = None

    async def _store(self) -> None:
        """Write what was decided, as much at a time as has gathered, and let its answers go."""
        entries: list[tuple[bytes, bytes | None]] = []
        size = 0
        while self._queue and (not entries or size + self._queue[0].size_bytes <= JOINED_BYTES):
            decided = self._queue.popleft()
            self._storing.append(decided)
            entries += decided.entries
            size += decided.size_bytes
        if entries:
            try:
                await self._log.append(entries)
            except KafkaError as error:
                self._refuse_storing(KafkaError(_STORE_ERRORS.get(error.code, ErrorCode.NOT_COORDINATOR)))
                raise
            self._has_stored = True
        stored, self._storing = self._storing, []
        for decided in stored:
            self._settle(decided.replies)

    def _refuse_storing(self, error: KafkaError) -> None:
        for decided in self._storing:
            for ticket in decided.replies:
                self._tickets.answer(ticket, error)
