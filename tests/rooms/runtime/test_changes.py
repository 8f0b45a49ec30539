"""Waking those who wait for a change."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from pykafka_broker.runtime.changes import Changes


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
