"""A shard over a coordinator that adds numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, assert_no_checkpoints, wait_all_tasks_blocked

from pykafka_broker.model.errors import ErrorCode, KafkaError, WireError
from pykafka_broker.model.outcome import Fact, Outcome, Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.clock import trio_clock
from pykafka_broker.runtime.shard import MAX_QUEUED_DECISIONS, Shard
from pykafka_broker.runtime.waiter import Waiter
from tests.doubles.coordinator_memory import CoordinatorMemory


@dataclass(frozen=True)
class Added:
    number: int

    def encode(self) -> tuple[bytes, bytes | None]:
        return b"add", str(self.number).encode()


def decode(key: bytes, value: bytes | None) -> Added | None:
    if key == b"unreadable":
        raise WireError("no")
    return Added(int(value or b"0")) if key == b"add" else None


@dataclass
class Sum:
    """Adds, tells its sum, and lets callers wait until it has been told to ring."""

    total: int = 0
    parked: list[Ticket] = field(default_factory=list)
    abandoned: list[Ticket] = field(default_factory=list)
    alarm: Millis | None = None

    def add(self, now: Millis, ticket: Ticket, number: int) -> Outcome[Any, Added]:
        record = Added(number)
        self.replay(record)
        return Outcome({ticket: self.total}, (record,), (Fact("Added", fields={"number": number}),))

    def look(self, now: Millis, ticket: Ticket) -> Outcome[Any, Added]:
        return Outcome({ticket: self.total})

    def park(self, now: Millis, ticket: Ticket, ms: int | None = None) -> Outcome[Any, Added]:
        self.parked.append(ticket)
        if ms is not None:
            self.alarm = Millis(now + ms)
        return Outcome()

    def refuse(self, now: Millis, ticket: Ticket) -> Outcome[Any, Added]:
        raise KafkaError(ErrorCode.INVALID_REQUEST)

    def trip(self, now: Millis, ticket: Ticket) -> Outcome[Any, Added]:
        self.total = -1
        raise RuntimeError("a bug")

    def next_deadline(self) -> Millis | None:
        return self.alarm

    def tick(self, now: Millis) -> Outcome[Any, Added]:
        if self.alarm is None or self.alarm > now:
            return Outcome()
        self.alarm = None
        parked, self.parked = self.parked, []
        return Outcome(dict.fromkeys(parked, f"rung at {now}"))

    def replay(self, record: Added) -> None:
        self.total += record.number

    def loaded(self, now: Millis) -> Outcome[Any, Added]:
        return Outcome()

    def abandon(self, now: Millis, ticket: Ticket) -> Outcome[Any, Added]:
        self.abandoned.append(ticket)
        return Outcome()


def add(number: int) -> Callable[[Sum, Millis, Ticket], Outcome[Any, Added]]:
    return lambda coordinator, now, ticket: coordinator.add(now, ticket, number)


def park(ms: int | None = None) -> Callable[[Sum, Millis, Ticket], Outcome[Any, Added]]:
    return lambda coordinator, now, ticket: coordinator.park(now, ticket, ms)


class Desk:
    """A shard at work, and what its callers hear."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.memory = CoordinatorMemory()
        self.facts: list[Fact] = []
        self.made: list[Sum] = []
        self.nursery = nursery
        self.shard: Shard[Sum] = Shard(self._make, decode, self.memory, trio_clock(Millis(0)), self.facts.append)
        self.heard: list[Any] = []

    def _make(self) -> Sum:
        self.made.append(Sum())
        return self.made[-1]

    async def opens(self) -> Desk:
        self.nursery.start_soon(self.shard.run)
        await wait_all_tasks_blocked()
        return self

    async def asks(self, operation: Any) -> Any:
        try:
            answer: Any = await self.shard.ask(operation)
        except KafkaError as error:
            answer = error.code
        self.heard.append(answer)
        return answer

    def asks_on(self, operation: Any) -> trio.CancelScope:
        scope = trio.CancelScope()

        async def ask() -> None:
            with scope:
                await self.asks(operation)

        self.nursery.start_soon(ask)
        return scope

    def told(self, name: str) -> int:
        return sum(fact.name == name for fact in self.facts)


@pytest.fixture
async def desk(nursery: trio.Nursery) -> Desk:
    return await Desk(nursery).opens()


async def test_what_was_decided_is_stored_before_it_is_answered(desk: Desk) -> None:
    desk.memory.open = trio.Event()
    desk.asks_on(add(5))
    await wait_all_tasks_blocked()
    assert (desk.made[0].total, desk.heard) == (5, [])
    desk.memory.open.set()
    await wait_all_tasks_blocked()
    assert (desk.heard, desk.memory.records) == ([5], [(b"add", b"5")])
    assert desk.told("Added") == 1


async def test_a_look_costs_no_switch_when_nothing_waits_to_be_stored(desk: Desk) -> None:
    with assert_no_checkpoints():
        assert await desk.shard.ask(Sum.look) == 0


async def test_no_answer_overtakes_a_decision_that_is_being_stored(desk: Desk) -> None:
    desk.memory.open = trio.Event()
    desk.asks_on(add(5))
    await wait_all_tasks_blocked()
    desk.asks_on(Sum.look)
    await wait_all_tasks_blocked()
    assert desk.heard == []
    desk.memory.open.set()
    await wait_all_tasks_blocked()
    assert desk.heard == [5, 5]


async def test_decisions_that_gather_are_stored_together(desk: Desk) -> None:
    desk.memory.open = trio.Event()
    for number in (1, 2, 3):
        desk.asks_on(add(number))
        await wait_all_tasks_blocked()
    desk.memory.open.set()
    await wait_all_tasks_blocked()
    assert [len(batch) for batch in desk.memory.batches] == [1, 2]
    assert sorted(desk.heard) == [1, 3, 6]


async def test_deadlines_are_met_when_they_are_due(desk: Desk, autojump_clock: MockClock) -> None:
    assert await desk.asks(park(2_500)) == "rung at 2500"


async def test_an_earlier_deadline_wakes_the_shard_earlier(desk: Desk, autojump_clock: MockClock) -> None:
    desk.asks_on(park(60_000))
    await wait_all_tasks_blocked()
    assert await desk.asks(park(1_000)) == "rung at 1000"


async def test_a_caller_that_hangs_up_is_abandoned(desk: Desk, autojump_clock: MockClock) -> None:
    scope = desk.asks_on(park())
    await wait_all_tasks_blocked()
    scope.cancel()
    await wait_all_tasks_blocked()
    assert desk.made[0].abandoned == desk.made[0].parked
    desk.asks_on(park(10))
    await trio.sleep(1)
    assert desk.heard == ["rung at 10"]


async def test_a_caller_that_was_parked_and_hangs_up_is_abandoned(desk: Desk) -> None:
    asking = desk.shard.ask(Sum.park, may_park=True)
    assert isinstance(asking.send(None), Waiter)
    asking.close()
    assert desk.made[0].abandoned == desk.made[0].parked != []


async def test_what_is_stored_is_loaded_and_what_is_unreadable_is_told(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    desk = Desk(nursery)
    desk.memory.batches = [[(b"add", b"3"), (b"other", b"x"), (b"unreadable", None), (b"add", b"4")]]
    await desk.opens()
    assert await desk.asks(Sum.look) == 7
    assert desk.told("CoordinatorRecordUnreadable") == 1


async def test_calls_are_refused_while_loading(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    desk = Desk(nursery)
    desk.memory.open = trio.Event()
    await desk.opens()
    assert desk.shard.is_loading
    assert await desk.asks(Sum.look) == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    desk.memory.open.set()
    await wait_all_tasks_blocked()
    assert not desk.shard.is_loading


async def test_a_load_that_fails_is_tried_again_after_a_pause(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    desk = Desk(nursery)
    desk.memory.fails_with = ErrorCode.KAFKA_STORAGE_ERROR
    await desk.opens()
    assert await desk.asks(Sum.look) == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    await trio.sleep(1.1)
    assert await desk.asks(Sum.look) == 0


@pytest.mark.parametrize(
    "failure, told",
    [
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_COORDINATOR),
        (ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.NOT_COORDINATOR),
        (ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.COORDINATOR_NOT_AVAILABLE),
    ],
)
async def test_when_storing_fails_everybody_is_refused_and_the_log_counts(
    desk: Desk, failure: ErrorCode, told: ErrorCode
) -> None:
    await desk.asks(add(1))
    desk.asks_on(park())
    await wait_all_tasks_blocked()
    desk.memory.fails_with = failure
    assert await desk.asks(add(10)) == told
    await wait_all_tasks_blocked()
    assert sorted(desk.heard) == sorted([1, told, ErrorCode.NOT_COORDINATOR])
    assert await desk.asks(Sum.look) == 1
    assert len(desk.made) == 2


async def test_a_log_that_takes_nothing_is_not_read_again_at_every_attempt(
    desk: Desk, autojump_clock: MockClock
) -> None:
    for _ in range(100):
        desk.memory.fails_with = ErrorCode.NOT_ENOUGH_REPLICAS if not desk.shard.is_loading else None
        await desk.asks(add(1))
        await trio.sleep(0.1)
    assert len(desk.made) <= 12, "ten seconds"
    desk.memory.fails_with = None
    await trio.sleep(1)
    assert await desk.asks(add(1)) == 1


async def test_a_refusal_of_the_coordinator_reaches_its_caller_only(desk: Desk) -> None:
    assert await desk.asks(Sum.refuse) == ErrorCode.INVALID_REQUEST
    assert await desk.asks(Sum.look) == 0
    assert len(desk.made) == 1


async def test_a_coordinator_that_breaks_down_is_loaded_again(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.asks(add(2))
    desk.asks_on(park())
    await wait_all_tasks_blocked()
    with pytest.raises(RuntimeError):
        await desk.shard.ask(Sum.trip)
    await wait_all_tasks_blocked()
    assert desk.heard == [2, ErrorCode.NOT_COORDINATOR]
    await trio.sleep(1.1)
    assert await desk.asks(Sum.look) == 2


async def test_a_deadline_that_breaks_down_does_not_end_the_shard(desk: Desk, autojump_clock: MockClock) -> None:
    def sabotage(coordinator: Sum, now: Millis, ticket: Ticket) -> Outcome[Any, Added]:
        coordinator.tick = partial(coordinator.trip, ticket=ticket)  # type: ignore[method-assign]
        return coordinator.park(now, ticket, 5)

    assert await desk.asks(sabotage) == ErrorCode.NOT_COORDINATOR
    await trio.sleep(1.1)
    assert await desk.asks(Sum.look) == 0
    assert desk.told("CoordinatorBroke") == 1


async def test_a_shard_that_is_ended_refuses_everybody(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as callers, trio.open_nursery() as nursery:
        desk = await Desk(nursery).opens()
        desk.nursery = callers
        desk.asks_on(park())
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert desk.heard == [ErrorCode.NOT_COORDINATOR]
    assert await desk.asks(Sum.look) == ErrorCode.NOT_COORDINATOR


async def test_the_queue_has_a_limit(desk: Desk) -> None:
    desk.memory.open = trio.Event()
    desk.asks_on(add(1))
    await wait_all_tasks_blocked()
    desk.shard._queue.extend([desk.shard._storing[0]] * MAX_QUEUED_DECISIONS)
    assert await desk.asks(add(1)) == ErrorCode.COORDINATOR_NOT_AVAILABLE
    desk.shard._queue.clear()
