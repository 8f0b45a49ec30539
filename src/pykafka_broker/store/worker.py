"""Blocking work on threads, the only place that asks trio for them; how many at once is limited here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio
from trio import to_thread

Result = TypeVar("Result")


class Worker:
    """Threads for fsync, recovery and compaction."""

    def __init__(self, threads: int = 4) -> None:
        self._limiter = trio.CapacityLimiter(threads)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do ``work`` on a thread; a cancelled caller still waits for it, for work on files must not be orphaned."""
        return await to_thread.run_sync(work, limiter=self._limiter)

    def crew(self, threads: int) -> Worker:
        """So many threads more, for work that takes long and shall not keep others from theirs."""
        return Worker(threads)
