"""Deadlines by key, cheap to put off: a heartbeat moves its member's deadline without touching the queue.

The queue holds at most one live entry for a key. When an entry comes up and the key's deadline has moved on, it is
queued again; so putting off is one dictionary write, and only bringing forward costs a push.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

from pykafka_broker.model.time import Millis

Key = TypeVar("Key", bound=Hashable)


class Deadlines(Generic[Key]):
    """When each key is due; keys must be ordered among themselves."""

    def __init__(self) -> None:
        self._due: dict[Key, Millis] = {}
        self._queued: dict[Key, Millis] = {}
        self._queue: list[tuple[Millis, Key]] = []

    def set(self, key: Key, at: Millis) -> None:
        """Make the key due at this time, whatever was set before."""
        self._due[key] = at
        queued = self._queued.get(key)
        if queued is None or at < queued:
            self._queued[key] = at
            heapq.heappush(self._queue, (at, key))

    def clear(self, key: Key) -> None:
        """Forget the key's deadline."""
        self._due.pop(key, None)

    def get(self, key: Key) -> Millis | None:
        """When the key is due."""
        return self._due.get(key)

    def earliest(self) -> Millis | None:
        """The time of the first deadline, exactly."""
        while self._queue:
            at, key = self._queue[0]
            due = self._due.get(key)
            if due == at:
                return at
            heapq.heappop(self._queue)
            if self._queued.get(key) == at:
                del self._queued[key]
                if due is not None:
                    self._queued[key] = due
                    heapq.heappush(self._queue, (due, key))
        return None

    def take(self, now: Millis) -> Key | None:
        """The first key that is due by now, its deadline cleared; ``None`` when nothing is."""
        at = self.earliest()
        if at is None or at > now:
            return None
        at, key = heapq.heappop(self._queue)
        if self._queued.get(key) == at:
            del self._queued[key]
        del self._due[key]
        return key
