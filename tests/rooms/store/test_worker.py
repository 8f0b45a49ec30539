"""Blocking work on threads."""

from __future__ import annotations

import threading

import pytest
import trio

from pykafka_broker.store.worker import Worker
from tests.doubles.inline_worker import InlineWorker


async def test_work_is_done_on_another_thread_and_its_result_comes_back() -> None:
    assert await Worker().run(threading.get_ident) != threading.get_ident()


@pytest.mark.parametrize("make", [Worker, InlineWorker])
async def test_errors_come_back_as_they_are(make: type[Worker]) -> None:
    def fail() -> None:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        await make().run(fail)
    assert await make().run(lambda: 7) == 7


async def test_a_cancelled_caller_waits_for_the_end_of_the_work() -> None:
    done: list[bool] = []
    with trio.CancelScope() as scope:

        def work() -> None:
            trio.from_thread.run_sync(scope.cancel)
            done.append(True)

        await Worker().run(work)
    assert done[-1]
