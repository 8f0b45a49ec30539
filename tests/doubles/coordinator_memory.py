"""A coordinator's memory without a log: keeps what it is given, fails or dawdles on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from pykafka_broker.model.errors import ErrorCode, KafkaError


class CoordinatorMemory:
    """``runtime.shard.CoordinatorLog``; ``batches`` is what was appended, one list for each append."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[bytes, bytes | None]]] = []
        self.fails_with: ErrorCode | None = None
        """The next append, or the next replay, fails so."""
        self.open = trio.Event()
        """Appends and replays wait for this."""
        self.open.set()

    @property
    def records(self) -> list[tuple[bytes, bytes | None]]:
        """Everything, in order."""
        return [record for batch in self.batches for record in batch]

    async def append(self, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        await self._pass()
        self.batches.append(list(records))

    async def replay(self, apply: Callable[[bytes, bytes | None], None]) -> None:
        await self._pass()
        for key, value in self.records:
            apply(key, value)

    async def _pass(self) -> None:
        await self.open.wait()
        if self.fails_with is not None:
            failure, self.fails_with = self.fails_with, None
            raise KafkaError(failure)
