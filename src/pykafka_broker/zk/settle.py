"""kazoo's pending results as awaits: the one place where its threads meet trio."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio
from kazoo.interfaces import IAsyncResult


def from_thread(token: trio.lowlevel.TrioToken, tell: Callable[..., object], *arguments: object) -> None:
    """Have trio call ``tell`` soon, from any thread; nothing happens when trio has finished meanwhile."""
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(tell, *arguments)


async def settled(pending: IAsyncResult) -> Any:
    """Wait for kazoo to finish a request, and return or raise what came of it.

    If cancelled, forget it; ZooKeeper may still carry it out.
    """
    task = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()
    waiting = True

    def wake() -> None:
        nonlocal waiting
        if waiting:
            waiting = False
            trio.lowlevel.reschedule(task)

    def finished(_: IAsyncResult) -> None:
        from_thread(token, wake)

    def abandon(_: object) -> trio.lowlevel.Abort:
        nonlocal waiting
        waiting = False
        pending.unlink(finished)
        return trio.lowlevel.Abort.SUCCEEDED

    pending.rawlink(finished)
    await trio.lowlevel.wait_task_rescheduled(abandon)
    return pending.get_nowait()
