"""Waking those who wait for a change."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.waiter import Waiter


async def test_everybody_who_waits_for_a_key_is_woken_by_its_ring(nursery: trio.Nursery) -> None:
    changes = Changes()
    woken: list[str] = []

    async def wait(name: str, *keys: str) -> None:
        await changes.wait(keys)
        woken.append(name)

    nursery.start_soon(wait, "a", "orders")
    nursery.start_soon(wait, "b", "orders", "payments")
    nursery.start_soon(wait, "c", "payments")
    await wait_all_tasks_blocked()
    changes.ring("orders")
    await wait_all_tasks_blocked()
    assert sorted(woken) == ["a", "b"]
    changes.ring("payments")
    await wait_all_tasks_blocked()
    assert sorted(woken) == ["a", "b", "c"]


async def test_a_ring_that_nobody_waits_for_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    changes = Changes()
    changes.ring("orders")
    with trio.move_on_after(1) as scope:
        await changes.wait(["orders"])
    assert scope.cancelled_caught


async def test_a_cancelled_waiter_leaves_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    changes = Changes()
    with trio.move_on_after(1):
        await changes.wait(["orders", "payments"])
    assert changes._waiting == {}


async def test_a_waiter_may_wait_again_for_as_long_as_its_patience_lasts(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    changes = Changes()
    waiter = Waiter(5.0)
    rung: list[tuple[float, bool]] = []
    began = autojump_clock.current_time()

    async def wait() -> None:
        for _ in range(3):
            was_rung = await changes.wait_as(waiter, ["orders", "payments"])
            rung.append((autojump_clock.current_time() - began, was_rung))

    nursery.start_soon(wait)
    for key in ("orders", "payments"):
        await trio.sleep(2)
        changes.ring(key)
    await trio.sleep(10)
    assert rung == [(2.0, True), (4.0, True), (5.0, False)]
    assert changes._waiting == {}


def test_a_parked_wait_is_driven_on_by_whoever_it_wakes() -> None:
    changes = Changes()
    waiter = Waiter(may_park=True)
    waiting = changes.wait_as(waiter, ["orders", "payments"])
    assert waiting.send(None) is waiter
    woken: list[str] = []
    waiter.wake = lambda: woken.append("once")
    for key in ("payments", "orders", "orders"):
        changes.ring(key)
    waiter.give_up()
    assert woken == ["once"]
    with pytest.raises(StopIteration) as done:
        waiting.send(None)
    assert done.value.value is True
    assert changes._waiting == {}


def test_a_parked_wait_that_is_closed_leaves_nothing_behind() -> None:
    changes = Changes()
    waiter = Waiter(may_park=True)
    waiting = changes.wait_as(waiter, ["orders"])
    assert waiting.send(None) is waiter
    waiting.close()
    assert changes._waiting == {}
    assert not waiter.is_waiting
