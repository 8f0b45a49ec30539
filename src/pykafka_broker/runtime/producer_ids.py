"""Producer ids, handed out from blocks of 1,000 that the cluster never gives twice (``RPCProducerIdManager``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import ProducerId

PATIENCE_S = 1.0
"""How long a producer waits for a block before it is told to ask again."""

PREFETCH_AT = 0.9
"""The next block is fetched when this much of the current one is used."""


class ProducerIds:
    """``fetch_block`` reserves the next block, as a range of ids; ``start`` runs it in the background."""

    def __init__(
        self,
        fetch_block: Callable[[], Awaitable[range]],
        start: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._fetch_block = fetch_block
        self._start = start
        self._block = range(0)
        self._used = 0
        self._next_block: range | None = None
        self._is_fetching = False

    async def next(self) -> ProducerId:
        """A producer id that nobody has had; ``COORDINATOR_LOAD_IN_PROGRESS`` while there is none."""
        if self._used >= len(self._block):
            if self._next_block is None:
                with trio.move_on_after(PATIENCE_S):
                    await self.prefetch()
            if self._next_block is None:
                raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
            # No await between taking the block and counting from it.
            self._block, self._next_block, self._used = self._next_block, None, 0
        given = ProducerId(self._block[self._used])
        self._used += 1
        if self._used >= len(self._block) * PREFETCH_AT and self._next_block is None and not self._is_fetching:
            self._start(self.prefetch)
        return given

    async def prefetch(self) -> None:
        """Reserve the next block, unless that is done or under way."""
        if self._is_fetching or self._next_block is not None:
            return
        self._is_fetching = True
        try:
            self._next_block = await self._fetch_block()
        finally:
            self._is_fetching = False
