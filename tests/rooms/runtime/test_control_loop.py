"""The controller at work on the embedded tree: topics made by the broker and by others, restarts, half-done work."""

from __future__ import annotations

from pathlib import Path

import trio

from pykafka_broker.model.names import TopicPartition
from pykafka_broker.zk import nodes
from pykafka_broker.zk.port import Coordination
from tests.doubles.lone_broker import ME, lone_broker

T0 = TopicPartition("t", 0)


async def partition_state(tree: Coordination, partition: TopicPartition) -> nodes.PartitionState:
    return nodes.PartitionState.decode((await tree.read(nodes.partition_state_path(*partition))).data)


async def test_a_topic_that_an_old_tool_wrote_gets_an_id_a_leader_and_a_log(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await broker.tree.create(nodes.topic_path("t"), b'{"version":1,"partitions":{"0":[0],"1":[0]}}')
            await broker.led("t", 2)
        node = nodes.TopicAssignment.decode("t", (await broker.tree.read(nodes.topic_path("t"))).data)
        assert node.topic_id is not None
        assert broker.metadata.topic_id("t") == node.topic_id
        assert await partition_state(broker.tree, T0) == nodes.PartitionState(ME, (ME,), 0, 1)
        assert broker.leaderships.leader(T0).log.topic_id == node.topic_id
