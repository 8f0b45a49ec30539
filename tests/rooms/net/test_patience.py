"""Ending the waits of those whose time is over."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from pykafka_broker.net import patience
from pykafka_broker.net.patience import Patience
from pykafka_broker.runtime.clock import monotonic_s
from pykafka_broker.runtime.waiter import Waiter


class Sitting:
    """Waiters as a crowd lets them wait, and when each was woken."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.patience = Patience()
        self.woken: dict[Waiter, list[float]] = {}
        nursery.start_soon(self.patience.run)

    def waits(self, waiter: Waiter) -> Waiter:
        waiter.is_waiting, waiter.was_rung = True, False
        woken = self.woken.setdefault(waiter, [])
        waiter.wake = lambda: woken.append(monotonic_s())
        self.patience.note(waiter)
        return waiter


async def test_each_gives_up_in_its_time(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    sitting, began = Sitting(nursery), monotonic_s()
    waiters = [sitting.waits(Waiter(patience_s)) for patience_s in (5.0, 3.0, 8.0, 1.0, math.inf, 3.0)]
    await trio.sleep(100)
    assert [[at - began for at in sitting.woken[waiter]] for waiter in waiters] == [
        [5.0],
        [3.0],
        [8.0],
        [1.0],
        [],
        [3.0],
    ]
    assert not any(waiter.was_rung for waiter in waiters)


async def test_whoever_waits_again_has_what_is_left_of_its_patience(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    sitting, began = Sitting(nursery), monotonic_s()
    patient, late = sitting.waits(Waiter(5.0)), sitting.waits(Waiter(5.0))
    await trio.sleep(2)
    for waiter in (patient, late):
        waiter.ring()
    sitting.waits(patient)
    await trio.sleep(10)
    assert [at - began for at in sitting.woken[patient]] == [2.0, 5.0]
    assert not patient.was_rung
    sitting.waits(late)
    await trio.sleep(1)
    assert [at - began for at in sitting.woken[late]] == [2.0, 12.0], "its time was over while it did not wait"


async def test_those_who_were_rung_in_time_are_forgotten(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    sitting = Sitting(nursery)
    again = sitting.waits(Waiter(100.0))
    again.ring()
    still = [sitting.waits(Waiter(50.0)) for _ in range(10)]
    for _ in range(10_000):
        sitting.waits(Waiter(3600.0)).ring()
    assert len(sitting.patience) < 1_100
    sitting.waits(again)
    await trio.sleep(101)
    assert not any(waiter.is_waiting for waiter in (again, *still))


async def test_nobody_is_looked_for_who_has_stopped_waiting(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def look() -> float:
        nonlocal looks
        looks += 1
        return monotonic_s()

    monkeypatch.setattr(patience, "monotonic_s", look)
    sitting = Sitting(nursery)
    for _ in range(500):
        sitting.waits(Waiter(1.0)).ring()
        await trio.sleep(0.01)
    assert looks <= 6
