"""Producer ids are given out once, in blocks of a thousand."""

from __future__ import annotations

import pytest
import trio

from pykafka_broker.model.names import BrokerId
from pykafka_broker.zk.nodes import LATEST_PRODUCER_ID_BLOCK, ProducerIdBlock
from pykafka_broker.zk.port import Coordination
from pykafka_broker.zk.producer_ids import ProducerIdsExhausted, allocate_block, next_block

ONE = BrokerId(1)


def test_the_first_block_begins_with_0_and_the_next_ones_follow() -> None:
    first = next_block(None, ONE)
    assert first == ProducerIdBlock(ONE, 0, 999)
    assert next_block(first, BrokerId(2)) == ProducerIdBlock(BrokerId(2), 1000, 1999)


def test_the_last_ids_are_not_given_out() -> None:
    with pytest.raises(ProducerIdsExhausted):
        next_block(ProducerIdBlock(ONE, 0, 2**63 - 1000), ONE)


async def test_those_who_ask_at_the_same_time_get_different_blocks(tree: Coordination) -> None:
    await tree.ensure(LATEST_PRODUCER_ID_BLOCK)
    starts: list[int] = []

    async def allocate() -> None:
        starts.append((await allocate_block(tree, ONE)).block_start)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(allocate)
    assert sorted(starts) == [0, 1000, 2000, 3000, 4000]
    node = await tree.read(LATEST_PRODUCER_ID_BLOCK)
    assert node.data == b'{"version":1,"broker":1,"block_start":"4000","block_end":"4999"}'
