"""Running something for as long as its ground holds: a session, a term of leadership."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


async def run_until(
    ended: Callable[[], Awaitable[object]], serve: Callable[[], Awaitable[None]], *, forgiving: type[Exception]
) -> bool:
    """Run ``serve`` in a scope that is cancelled as soon as ``ended`` returns; tell whether it returned by itself.

    What it raises is raised here as it is, except for ``forgiving`` (alone or in a group), which is an end like any
    other. ``ended`` may raise the same.
    """
    completed = False
    raised: list[Exception] = []

    async def watch(scope: trio.CancelScope) -> None:
        try:
            await ended()
        except Exception as error:
            raised.append(error)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        try:
            await serve()
            completed = True
        except Exception as error:
            raised.append(error)
        nursery.cancel_scope.cancel()
    for each in raised:
        rest = each.split(forgiving)[1] if isinstance(each, ExceptionGroup) else each
        if rest is not None and not isinstance(rest, forgiving):
            raise rest
    return completed
