"""Producer ids come from blocks and are never given twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.runtime.producer_ids import ProducerIds


class Blocks:
    """Gives blocks of ten ids, and counts how many were asked."""

    def __init__(self) -> None:
        self.given = 0
        self.is_refusing = False

    async def __call__(self) -> range:
        await trio.lowlevel.checkpoint()
        if self.is_refusing:
            raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        self.given += 1
        return range((self.given - 1) * 10, self.given * 10)


async def test_ids_follow_one_another_across_blocks(nursery: trio.Nursery) -> None:
    def start(work: Callable[[], Awaitable[None]]) -> None:
        nursery.start_soon(work)

    ids = ProducerIds(Blocks(), start)
    assert [await ids.next() for _ in range(35)] == list(range(35))


async def test_the_next_block_is_fetched_before_the_current_one_is_used_up(nursery: trio.Nursery) -> None:
    blocks = Blocks()
    ids = ProducerIds(blocks, lambda work: nursery.start_soon(work))
    for _ in range(9):
        await ids.next()
    await trio.testing.wait_all_tasks_blocked()
    assert blocks.given == 2


async def test_two_who_ask_at_once_get_different_ids(nursery: trio.Nursery) -> None:
    ids = ProducerIds(Blocks(), lambda work: nursery.start_soon(work))
    given: list[int] = []

    async def ask() -> None:
        try:
            given.append(await ids.next())
        except KafkaError as error:
            assert error.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS

    async with trio.open_nursery() as askers:
        for _ in range(5):
            askers.start_soon(ask)
    assert len(given) == len(set(given)) >= 1


async def test_without_a_block_the_producer_is_asked_to_come_again(nursery: trio.Nursery) -> None:
    blocks = Blocks()
    blocks.is_refusing = True
    ids = ProducerIds(blocks, lambda work: nursery.start_soon(work))
    with pytest.raises(KafkaError) as refused:
        await ids.next()
    assert refused.value.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    blocks.is_refusing = False
    assert await ids.next() == 0


async def test_a_block_that_is_long_in_coming_does_not_hold_the_producer(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def never() -> range:
        await trio.sleep_forever()

    ids = ProducerIds(never, lambda work: nursery.start_soon(work))
    with pytest.raises(KafkaError) as refused, trio.fail_after(2):
        await ids.next()
    assert refused.value.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
