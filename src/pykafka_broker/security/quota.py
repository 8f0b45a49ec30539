"""The arithmetic of quotas: how much a second, averaged over some windows of time, and whether that is too much.

The rate is that of Kafka's ``SimpleRate``: everything of the last windows, divided by the time since the oldest of
them began, and by no less than one window, so that the first bytes after a rest are not taken for a flood. Whom a
quota holds back, and how, is ``runtime/throttles.py``'s.
"""

from __future__ import annotations

from msgspec import Struct

from pykafka_broker.model.time import Millis


class _Window(Struct):
    began_ms: Millis
    last_ms: Millis
    amount: float = 0.0

    def begin(self, now: Millis) -> None:
        self.began_ms = self.last_ms = now
        self.amount = 0.0


class WindowedRate:
    """So much a second over ``count`` windows of ``window_ms``."""

    __slots__ = ("_count", "_current", "_window_ms", "_windows")

    def __init__(self, count: int, window_ms: int) -> None:
        self._count = count
        self._window_ms = window_ms
        self._windows: list[_Window] = []
        self._current = 0

    def record(self, now: Millis, amount: float) -> None:
        """This much more, whatever the quota says."""
        window = self._window_at(now)
        window.amount += amount
        window.last_ms = now

    def rate(self, now: Millis) -> float:
        """How much a second of late."""
        windows = self._windows
        if not windows:
            # To be asked is a beginning, too.
            windows.append(_Window(now, now))
        reach_ms = self._count * self._window_ms
        for window in windows:
            # A window counts until the last of what it holds is too old.
            if now - window.last_ms >= reach_ms:
                window.begin(now)
        elapsed_ms = now - min(window.began_ms for window in windows)
        return sum(window.amount for window in windows) * 1000 / max(elapsed_ms, self._window_ms)

    def is_exceeded(self, now: Millis, bound: float) -> bool:
        """Whether it has been more than ``bound`` a second."""
        return self.rate(now) > bound

    def _window_at(self, now: Millis) -> _Window:
        windows = self._windows
        if not windows:
            windows.append(_Window(now, now))
            return windows[0]
        window = windows[self._current]
        if now - window.began_ms < self._window_ms:
            return window
        # One more than are counted, because the oldest may reach into the time that is looked at.
        self._current = (self._current + 1) % (self._count + 1)
        if self._current == len(windows):
            windows.append(_Window(now, now))
        else:
            windows[self._current].begin(now)
        return windows[self._current]
