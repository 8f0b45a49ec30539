"""Running something for as long as its ground holds."""

from __future__ import annotations

import pytest
import trio

from pykafka_broker.zk.spans import run_until


class Over(Exception):
    """The end that is forgiven."""


async def forever() -> None:
    await trio.sleep_forever()


async def nothing() -> None:
    return None


async def test_it_ends_with_its_ground() -> None:
    cancelled = False

    async def serve() -> None:
        nonlocal cancelled
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled = True
            raise

    assert not await run_until(nothing, serve, forgiving=Over)
    assert cancelled


async def test_it_may_return_before() -> None:
    assert await run_until(forever, nothing, forgiving=Over)


async def test_the_forgiven_end_is_an_end_like_any_other_alone_or_in_a_group() -> None:
    async def alone() -> None:
        raise Over

    async def grouped() -> None:
        raise ExceptionGroup("together", [Over(), ExceptionGroup("inner", [Over()])])

    for serve in (alone, grouped):
        assert not await run_until(forever, serve, forgiving=Over)
        assert not await run_until(serve, forever, forgiving=Over)


async def test_any_other_error_goes_on_as_it_is() -> None:
    async def alone() -> None:
        raise LookupError("x")

    async def mixed() -> None:
        raise ExceptionGroup("together", [Over(), LookupError("x")])

    for ended, serve in ((forever, alone), (alone, forever)):
        with pytest.raises(LookupError):
            await run_until(ended, serve, forgiving=Over)
    with pytest.raises(ExceptionGroup) as group:
        await run_until(forever, mixed, forgiving=Over)
    assert [type(error) for error in group.value.exceptions] == [LookupError]


async def test_cancelling_it_cancels_both() -> None:
    with trio.move_on_after(0) as scope:
        await run_until(forever, forever, forgiving=Over)
    assert scope.cancelled_caught
