"""Offsets as OffsetCommit version 0 keeps them: in the tree, at ``/consumers/<group>/offsets/<topic>/<partition>``."""

from __future__ import annotations

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.zk.nodes import ConsumerOffset, consumer_offset_path
from pykafka_broker.zk.port import Coordination, NodeExists, NoNode


class ConsumerOffsets:
    """Reads and writes them; an id that cannot be part of a path is UNKNOWN_SERVER_ERROR, as in Kafka."""

    def __init__(self, coordination: Coordination) -> None:
        self._tree = coordination

    async def read(self, group: str, topic: str, partition: int) -> int | None:
        """The offset, ``None`` if none was ever committed."""
        try:
            node = await self._tree.read(consumer_offset_path(group, topic, partition))
        except NoNode:
            return None
        except ValueError as error:
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR) from error
        return ConsumerOffset.decode(group, topic, partition, node.data).offset

    async def write(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Keep the offset, making its node on the first commit (``setOrCreateConsumerOffset``)."""
        node = ConsumerOffset(group, topic, partition, offset)
        try:
            try:
                await self._tree.replace(node.path, node.encode())
            except NoNode:
                await self._tree.ensure(node.path.rpartition("/")[0])
                try:
                    await self._tree.create(node.path, node.encode())
                except NodeExists:
                    await self._tree.replace(node.path, node.encode())
        except ValueError as error:
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR) from error
