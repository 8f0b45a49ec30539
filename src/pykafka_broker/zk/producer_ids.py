"""Blocks of producer ids: whoever writes the next block first has it, and no id is ever given out twice (KIP-730)."""

from __future__ import annotations

from pykafka_broker.model.names import BrokerId
from pykafka_broker.zk.nodes import LATEST_PRODUCER_ID_BLOCK, ProducerIdBlock
from pykafka_broker.zk.port import BadVersion, Coordination

BLOCK_SIZE = 1_000
LAST_ID = 2**63 - 1


class ProducerIdsExhausted(Exception):
    """All ids there are have been given out."""


def next_block(latest: ProducerIdBlock | None, broker_id: BrokerId) -> ProducerIdBlock:
    """The block after the latest (``ZkProducerIdManager``); ``ProducerIdsExhausted``."""
    start = 0 if latest is None else latest.block_end + 1
    if start > LAST_ID - BLOCK_SIZE:
        raise ProducerIdsExhausted(f"the last block of producer ids was {latest}")
    return ProducerIdBlock(broker_id, start, start + BLOCK_SIZE - 1)


async def allocate_block(coordination: Coordination, broker_id: BrokerId) -> ProducerIdBlock:
    """Take the next block for a broker, however many others do so at the same time."""
    while True:
        node = await coordination.read(LATEST_PRODUCER_ID_BLOCK)
        block = next_block(ProducerIdBlock.decode(node.data), broker_id)
        try:
            await coordination.replace(LATEST_PRODUCER_ID_BLOCK, block.encode(), node.stat.version)
        except BadVersion:
            continue
        return block
