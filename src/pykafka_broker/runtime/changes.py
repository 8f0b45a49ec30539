"""Waking those who wait for a change of something: long polls, joins, metadata.

A waiter reads, finds too little, and parks; whoever changes the thing rings. There is no ``await`` between the
reading and the parking, so no ring is lost (the parking lot's rule).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import trio


class Changes:
    """A bell for each key; waiting on several keys returns at the first ring of any."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, dict[trio.lowlevel.Task, trio.Event]] = {}

    def ring(self, key: Hashable) -> None:
        """Wake everybody who waits for this key."""
        waiting = self._waiting.get(key)
        if waiting:
            for event in waiting.values():
                event.set()

    async def wait(self, keys: Iterable[Hashable]) -> None:
        """Return at the next ring of any of the keys."""
        event = trio.Event()
        task = trio.lowlevel.current_task()
        parked = tuple(keys)
        for key in parked:
            self._waiting.setdefault(key, {})[task] = event
        try:
            await event.wait()
        finally:
            for key in parked:
                waiting = self._waiting.get(key)
                if waiting is not None:
                    waiting.pop(task, None)
                    if not waiting:
                        del self._waiting[key]
