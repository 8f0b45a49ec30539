"""A ``Worker`` without threads: virtual time would jump ahead while a real one is still at work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from pykafka_broker.store.worker import Worker

Result = TypeVar("Result")


class InlineWorker(Worker):
    """Does the work at once, between two checkpoints."""

    async def run(self, work: Callable[[], Result]) -> Result:
        await trio.lowlevel.checkpoint()
        return work()

    def crew(self, threads: int) -> Worker:
        return self
