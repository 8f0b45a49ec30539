"""Waiting for what other processes do: until it is so, with a deadline, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
PATIENCE_S: Final = 30.0
"""Ample; what a test waits for comes within a second or two unless something is broken."""


def until(look: Callable[[], T], *, within_s: float = PATIENCE_S, what: str = "") -> T:
    """The first true value that `look` returns. Raises `AssertionError` with the last one after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s} s for {what or 'something true'}; last: {found!r}")
        time.sleep(0.01)
