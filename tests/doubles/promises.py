"""What a story on a device has promised so far, so that a power cut at any moment can be held against it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Generic, TypeVar

from tests.doubles.power_cuts import TracedDevice

P = TypeVar("P")


class Promising(Generic[P]):
    """Promises (dataclasses), each of which holds from so many calls of the device on."""

    def __init__(self, device: TracedDevice, first: P) -> None:
        self.device = device
        self._promises: list[tuple[int, P]] = [(0, first)]

    @property
    def promise(self) -> P:
        """What is promised now."""
        return self._promises[-1][1]

    def promise_at(self, calls: int) -> P:
        """What had been promised when so many calls had returned."""
        return next(promise for count, promise in reversed(self._promises) if count <= calls)

    def _promise(self, **changes: Any) -> None:
        """From now on it is promised as before, but for these fields."""
        self._promises.append((len(self.device.calls), replace(self.promise, **changes)))  # type: ignore[type-var]
