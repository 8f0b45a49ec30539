"""Waking those who wait for a change of something: long polls, joins, metadata.

A waiter reads, finds too little, and waits; whoever changes the thing rings. There is no ``await`` between the
reading and the waiting, so no ring is lost (the parking lot's rule).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from pykafka_broker.runtime.waiter import Waiter


class Changes:
    """A bell for each key; waiting on several keys returns at the first ring of any."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, dict[Waiter, None]] = {}

    def ring(self, key: Hashable) -> None:
        """Wake everybody who waits for this key."""
        waiting = self._waiting.get(key)
        if waiting:
            for waiter in waiting:
                waiter.ring()

    async def wait(self, keys: Iterable[Hashable]) -> None:
        """Return at the next ring of any of the keys."""
        await self.wait_as(Waiter(), keys)

    async def wait_as(self, waiter: Waiter, keys: Iterable[Hashable]) -> bool:
        """True at the next ring of any of the keys, false when the waiter's patience has ended before."""
        keys = tuple(keys)
        for key in keys:
            self._waiting.setdefault(key, {})[waiter] = None
        try:
            return await waiter.wait()
        finally:
            for key in keys:
                waiting = self._waiting.get(key)
                if waiting is not None:
                    waiting.pop(waiter, None)
                    if not waiting:
                        del self._waiting[key]
