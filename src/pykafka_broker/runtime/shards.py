"""Which coordinator answers for a group or transactional id: one shard for each partition led here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import trio

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import coordinator_partition
from pykafka_broker.model.outcome import Fact
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.shard import Coordinator, CoordinatorLog, Operation, Shard

C = TypeVar("C", bound=Coordinator)


class Shards(Generic[C]):
    """The shards of one internal topic; they come and go with the leadership of its partitions."""

    def __init__(
        self,
        make: Callable[[], C],
        decode: Callable[[bytes, bytes | None], Any],
        partitions: Callable[[], int],
        clock: Clock,
        tell: Callable[[Fact], None] = lambda fact: None,
    ) -> None:
        """``partitions`` tells how many the topic has, or would have; for the rest see ``Shard``."""
        self._make = make
        self._decode = decode
        self._partitions = partitions
        self._clock = clock
        self._tell = tell
        self._nursery: trio.Nursery | None = None
        self._shards: dict[int, tuple[Shard[C], trio.CancelScope]] = {}

    def __iter__(self) -> Iterator[Shard[C]]:
        return iter([shard for shard, _ in self._shards.values()])

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the shards running; ``lead`` and ``resign`` may be called once this has started."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def lead(self, partition: int, log: CoordinatorLog) -> None:
        """This broker leads the partition now: its coordinator loads, and then answers."""
        assert self._nursery is not None, "shards are led while run() runs"
        self.resign(partition)
        shard, scope = Shard(self._make, self._decode, log, self._clock, self._tell), trio.CancelScope()
        self._shards[partition] = shard, scope
        self._nursery.start_soon(_run_within, scope, shard)

    def resign(self, partition: int) -> None:
        """This broker does not lead the partition any more: whoever waits is told NOT_COORDINATOR."""
        led = self._shards.pop(partition, None)
        if led is not None:
            led[1].cancel()

    def of(self, key: str) -> Shard[C]:
        """The shard that answers for this id; NOT_COORDINATOR if that is another broker's business."""
        led = self._shards.get(self.partition_of(key))
        if led is None:
            raise KafkaError(ErrorCode.NOT_COORDINATOR)
        return led[0]

    def partition_of(self, key: str) -> int:
        """The partition of the internal topic that answers for this id."""
        return coordinator_partition(key, self._partitions())

    async def tell_all(self, operation: Operation[C]) -> None:
        """Put an operation to every coordinator here; one that cannot take it now is passed over."""
        for shard in self:
            try:
                await shard.ask(operation)
            except KafkaError:
                continue


async def _run_within(scope: trio.CancelScope, shard: Shard[Any]) -> None:
    with scope:
        await shard.run()
