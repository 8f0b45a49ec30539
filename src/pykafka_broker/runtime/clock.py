"""The only place that knows what time it is."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from pykafka_broker.model.time import Millis

Clock = Callable[[], Millis]
"""Gives the time of day in milliseconds; under trio's ``MockClock`` it turns with the virtual clock."""


def wall_clock() -> Millis:
    """Milliseconds since 1970 by the machine's clock."""
    return Millis(time.time_ns() // 1_000_000)


def trio_clock(epoch_ms: Millis) -> Clock:
    """A clock that starts at ``epoch_ms`` and runs with trio's own, so that a test can turn it."""
    started = trio.current_time()
    return lambda: Millis(epoch_ms + round((trio.current_time() - started) * 1000))


def monotonic_s() -> float:
    """Seconds since no matter when, by trio's clock: deadlines of cancel scopes are told in it."""
    return trio.current_time()
