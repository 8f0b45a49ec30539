"""Somebody who waits for something to change, for as long as his patience lasts.

A call that waits may be parked: its coroutine yields its waiter to whoever drives it (``net/crowd.py``), is laid aside,
and is driven on when the waiter wakes. That takes neither a task nor a scope, of which a thousand long polls would
need a thousand. Between two such waits a parked call is driven by whichever task has the time: it must not hold a
cancel scope or a nursery open while it waits, and not read its request's bytes afterwards. Where nobody drives it, it
waits in its task, as everything else does.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Generator

import trio

from pykafka_broker.runtime.clock import monotonic_s


def _nobody() -> None:
    return


class Waiter:
    """Waits as often as it is told to; all waits together for ``patience_s`` at most, counted from the first."""

    __slots__ = ("deadline_s", "is_noted", "is_waiting", "may_park", "patience_s", "wake", "was_rung")

    def __init__(self, patience_s: float = math.inf, *, may_park: bool = False) -> None:
        self.patience_s = patience_s
        self.may_park = may_park
        """Whether whoever drives this call can park it (``Call.may_park``)."""
        self.deadline_s = math.inf
        """When the patience ends, by ``monotonic_s``; known when somebody has asked for it (``begin``)."""
        self.is_waiting = False
        self.was_rung = False
        """Whether the last wait ended by ``ring``, and not for want of patience."""
        self.is_noted = False
        """Whether somebody who looks at the clock will end the wait (``net/patience.py``)."""
        self.wake: Callable[[], None] = _nobody
        """Called once for each wait, when it is over."""

    def begin(self) -> float:
        """The deadline; the clock starts with the first call."""
        if self.deadline_s == math.inf and self.patience_s != math.inf:
            self.deadline_s = monotonic_s() + self.patience_s
        return self.deadline_s

    def ring(self) -> None:
        """What was waited for has come."""
        if self.is_waiting:
            self.is_waiting = False
            self.was_rung = True
            self.wake()

    def give_up(self) -> None:
        """The patience has ended."""
        if self.is_waiting:
            self.is_waiting = False
            self.wake()

    async def wait(self) -> bool:
        """True at the next ``ring``, false when the patience has ended before."""
        self.is_waiting = True
        self.was_rung = False
        try:
            await (_parked(self) if self.may_park else self._wait_in_task())
        finally:
            self.is_waiting = False
            # It may be noted for long yet, and whoever was woken by it gone.
            self.wake = _nobody
        return self.was_rung

    async def _wait_in_task(self) -> None:
        rung = trio.Event()
        self.wake = rung.set
        if self.patience_s == math.inf:
            await rung.wait()
        else:
            with trio.CancelScope(deadline=self.begin()):
                await rung.wait()


@types.coroutine
def _parked(waiter: Waiter) -> Generator[Waiter, None, None]:
    yield waiter
