"""Ends the waits of calls that are parked: one task for the deadlines of all of them."""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from itertools import count

import trio

from pykafka_broker.runtime.clock import monotonic_s
from pykafka_broker.runtime.waiter import Waiter

_SPARE = 1_000
"""So many who have stopped waiting may be noted beside as many again as those who wait."""


class Patience:
    """``run`` it, and ``note`` waiters; each gives up when its time is over, unless it has been rung before."""

    def __init__(self) -> None:
        self._noted: list[tuple[float, int, Waiter]] = []
        self._numbers = count()
        self._bound = _SPARE
        self._scope = trio.CancelScope()

    def __len__(self) -> int:
        return len(self._noted)

    def note(self, waiter: Waiter) -> None:
        """See to it that this waiter, who waits, does not do so for too long."""
        if waiter.is_noted or waiter.patience_s == math.inf:
            return
        waiter.is_noted = True
        deadline_s = waiter.begin()
        heappush(self._noted, (deadline_s, next(self._numbers), waiter))
        if len(self._noted) > self._bound:
            self._forget()
        if deadline_s < self._scope.deadline:
            self._scope.deadline = deadline_s

    def _forget(self) -> None:
        """Keep no more of those who were rung in time than there are others."""
        for _, _, waiter in self._noted:
            waiter.is_noted = waiter.is_waiting
        self._noted = [one for one in self._noted if one[2].is_waiting]
        heapify(self._noted)
        self._bound = 2 * len(self._noted) + _SPARE

    async def run(self) -> None:
        """Look at the clock until cancelled."""
        while True:
            while self._noted and not self._noted[0][2].is_waiting:
                heappop(self._noted)[2].is_noted = False
            with trio.CancelScope(deadline=self._noted[0][0] if self._noted else math.inf) as self._scope:
                await trio.sleep_forever()
            now_s = monotonic_s()
            while self._noted and self._noted[0][0] <= now_s:
                _, _, waiter = heappop(self._noted)
                # If it waits again, it is noted again, and gives up at once.
                waiter.is_noted = False
                waiter.give_up()
