"""The controller at work on the embedded tree: topics made by the broker and by others, restarts, half-done work."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.control.topics import NewTopic
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.wire import messages
from pykafka_broker.zk import nodes
from pykafka_broker.zk.port import Coordination, Create, NoNode
from tests.doubles.lone_broker import ME, LoneBroker, brokers, lone_broker
from tests.doubles.memory_logs import MemoryLogs

T0 = TopicPartition("t", 0)


async def state_of(tree: Coordination, partition: TopicPartition) -> nodes.PartitionState:
    return nodes.PartitionState.decode((await tree.read(nodes.partition_state_path(*partition))).data)


async def topic_node(tree: Coordination, topic: str) -> nodes.TopicAssignment:
    return nodes.TopicAssignment.decode(topic, (await tree.read(nodes.topic_path(topic))).data)


async def is_there(tree: Coordination, path: str) -> bool:
    try:
        await tree.read(path)
    except NoNode:
        return False
    return True


async def make(broker: LoneBroker, topic: str, partitions: int = 1) -> None:
    await broker.topics.create(NewTopic(name=topic, partitions=partitions, replication_factor=1))
    await broker.led(topic, partitions)


async def test_a_topic_gets_leaders_logs_and_metadata(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await make(broker, "t", 3)
        for index in range(3):
            partition = TopicPartition("t", index)
            assert await state_of(broker.tree, partition) == nodes.PartitionState(ME, (ME,), 0, 1)
            assert broker.leaderships.leader(partition).leader_epoch == 0
        assert list(broker.metadata.topics["t"].partitions) == [0, 1, 2]
        assert broker.metadata.controller_id == ME


async def test_a_topic_that_an_old_tool_wrote_gets_an_id(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await broker.tree.create(nodes.topic_path("t"), b'{"version":1,"partitions":{"0":[0],"1":[0]}}')
            await broker.led("t", 2)
        topic_id = (await topic_node(broker.tree, "t")).topic_id
        assert topic_id is not None
        assert broker.metadata.topic_id("t") == topic_id
        assert broker.metadata.topic_name(topic_id) == "t"
        assert broker.leaderships.leader(T0).log.topic_id == topic_id


async def test_partitions_that_an_old_tool_added_are_led_and_the_id_is_put_back(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await make(broker, "t")
            before = await topic_node(broker.tree, "t")
            await broker.tree.replace(nodes.topic_path("t"), b'{"version":1,"partitions":{"0":[0],"1":[0]}}')
            await broker.led("t", 2)
        after = await topic_node(broker.tree, "t")
        assert after.topic_id == before.topic_id
        assert list(after.partitions) == [0, 1]


async def test_a_deleted_topic_leaves_no_node_and_no_log(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await make(broker, "t", 2)
            await make(broker, "keep")
            await broker.topics.mark_for_deletion("t")
            await broker.metadata.wait_for(["t"], lambda: broker.metadata.topic("t") is None)
            await broker.loop.wait_until_gone(["t"])
        assert broker.logs.get(T0) is None
        assert await broker.tree.children(nodes.TOPICS) == ("keep",)
        assert await broker.tree.children(nodes.DELETE_TOPICS) == ()
        assert not await is_there(broker.tree, nodes.config_path(nodes.TOPIC_CONFIG, "t"))
        with pytest.raises(KafkaError) as refused:
            broker.leaderships.leader(T0)
        assert refused.value.code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_a_topic_made_again_at_once_is_another_topic(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            for _ in range(3):
                await make(broker, "t")
                first = broker.metadata.topic_id("t")
                await broker.topics.mark_for_deletion("t")
                await broker.loop.wait_until_gone(["t"])
                await make(broker, "t")
                assert broker.metadata.topic_id("t") != first
                await broker.topics.mark_for_deletion("t")
                await broker.loop.wait_until_gone(["t"])


async def test_marks_for_topics_that_are_not_there_are_removed(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            async with broker.tree.watching_children(nodes.DELETE_TOPICS) as watch:
                await broker.tree.create(nodes.delete_topic_path("ghost"))
                while await broker.tree.children(nodes.DELETE_TOPICS):
                    await watch.wait()


async def test_with_deletion_switched_off_marks_are_removed_and_topics_stay(tmp_path: Path) -> None:
    async with lone_broker(tmp_path, settings=BrokerSettings(delete_topic_enable=False)) as broker:
        with trio.fail_after(5):
            await make(broker, "t")
            async with broker.tree.watching_children(nodes.DELETE_TOPICS) as watch:
                await broker.tree.create(nodes.delete_topic_path("t"))
                while await broker.tree.children(nodes.DELETE_TOPICS):
                    await watch.wait()
        assert broker.leaderships.leader(T0).is_leader


async def test_a_topic_made_and_marked_in_one_breath_is_deleted(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await broker.tree.together(
                [
                    Create(nodes.topic_path("t"), b'{"version":1,"partitions":{"0":[0]}}'),
                    Create(nodes.delete_topic_path("t")),
                ]
            )
            async with broker.tree.watching_children(nodes.DELETE_TOPICS) as watch:
                while await broker.tree.children(nodes.DELETE_TOPICS):
                    await watch.wait()
        assert not await is_there(broker.tree, nodes.topic_path("t"))


async def test_after_a_restart_topics_are_led_in_the_same_epoch_and_the_log_is_the_same(tmp_path: Path) -> None:
    logs = MemoryLogs()
    async with lone_broker(tmp_path, logs=logs) as broker:
        await make(broker, "t")
        log, topic_id = broker.logs.get(T0), broker.metadata.topic_id("t")
    async with lone_broker(tmp_path, logs=logs) as broker:
        with trio.fail_after(5):
            await broker.led("t")
        assert broker.metadata.topic_id("t") == topic_id
        assert broker.leaderships.leader(T0).log is log
        assert await state_of(broker.tree, T0) == nodes.PartitionState(ME, (ME,), 0, 1)
        assert nodes.ControllerEpoch.decode((await broker.tree.read(nodes.CONTROLLER_EPOCH)).data).epoch == 2


async def test_a_topic_whose_nodes_were_half_written_is_led_after_a_restart(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        pass
    async with lone_broker(tmp_path) as broker:
        tree = broker.tree
        await tree.create(nodes.topic_path("t"), b'{"version":1,"partitions":{"0":[0],"1":[0]}}')
        await broker.led("t", 2)
        # What a crash between two writes leaves behind.
        for path in (nodes.partition_state_path("t", 1), nodes.partition_path("t", 1)):
            await tree.delete(path)
        await tree.delete(nodes.partition_state_path("t", 0))
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await broker.led("t", 2)
        assert await state_of(broker.tree, T0) == nodes.PartitionState(ME, (ME,), 0, 3)


async def test_a_half_deleted_topic_is_gone_after_a_restart(tmp_path: Path) -> None:
    async with lone_broker(tmp_path, settings=BrokerSettings()) as broker:
        await make(broker, "t", 2)
    logs = MemoryLogs()
    async with lone_broker(tmp_path, logs=logs) as broker:
        await broker.led("t", 2)
        logs.broken.add(T0)
        await broker.topics.mark_for_deletion("t")
        await broker.metadata.wait_for(["t"], lambda: broker.metadata.topic("t") is None)
        await broker.tree.delete(nodes.partition_state_path("t", 0))
    logs.broken.clear()
    async with lone_broker(tmp_path, logs=logs) as broker:
        with trio.fail_after(5):
            await broker.loop.wait_until_gone(["t"])
            async with broker.tree.watching_children(nodes.DELETE_TOPICS) as watch:
                while await broker.tree.children(nodes.DELETE_TOPICS):
                    await watch.wait()
        assert not await is_there(broker.tree, nodes.topic_path("t"))
        assert logs.get(T0) is None


async def test_a_controller_whose_epoch_was_taken_stops_and_stands_again(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            node = await broker.tree.read(nodes.CONTROLLER_EPOCH)
            await broker.tree.replace(nodes.CONTROLLER_EPOCH, b"7", node.stat.version)
            await broker.topics.create(NewTopic(name="t", partitions=1, replication_factor=1))
            await broker.led("t")
        names = [fact.name for fact in broker.facts if fact.name.startswith("Controller")]
        assert names == ["ControllerElected", "ControllerResigned", "ControllerElected"]
        assert (await state_of(broker.tree, T0)).controller_epoch == 8


async def test_the_controller_makes_the_feature_node_and_drops_old_notifications(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        assert nodes.Feature.decode((await broker.tree.read(nodes.FEATURE)).data) == nodes.Feature()
        await broker.tree.create(f"{nodes.ISR_CHANGES}/isr_change_", b"{}", sequential=True)
    async with lone_broker(tmp_path) as broker:
        assert await broker.tree.children(nodes.ISR_CHANGES) == ()


async def test_a_malformed_topic_node_is_told_and_spoils_nothing_else(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await broker.tree.create(nodes.topic_path("bad"), b"{")
            await make(broker, "t")
        assert "MalformedNode" in [fact.name for fact in broker.facts]


async def test_a_partition_whose_log_cannot_be_made_has_no_leader(tmp_path: Path) -> None:
    logs = MemoryLogs()
    logs.broken.add(T0)
    async with lone_broker(tmp_path, logs=logs) as broker:
        with trio.fail_after(5):
            await broker.topics.create(NewTopic(name="t", partitions=2, replication_factor=1))
            await broker.metadata.wait_for(
                ["t"],
                lambda: (
                    (found := broker.metadata.partition(T0)) is not None
                    and found.leader == -1
                    and broker.metadata.has_leaders("t", [1])
                ),
            )
        found = broker.metadata.partition(T0)
        assert found is not None
        assert found.offline_replicas == (BrokerId(0),)
        with pytest.raises(KafkaError) as refused:
            broker.leaderships.leader(T0)
        assert refused.value.code == ErrorCode.KAFKA_STORAGE_ERROR


async def test_brokers_are_told_who_lives_before_they_are_told_whom_to_follow(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t")
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await broker.led("t")
        kinds = [type(request).__name__ for _, request in broker.told]
        assert kinds == ["UpdateMetadataRequest", "LeaderAndIsrRequest", "UpdateMetadataRequest"]
        first = broker.told[0][1]
        assert isinstance(first, messages.UpdateMetadataRequest)
        assert first.topic_states == []
        assert [one.id for one in first.live_brokers] == [0]


async def make_replicated(broker: LoneBroker, topic: str, *replicas: tuple[int, ...]) -> None:
    assignment = {index: tuple(map(BrokerId, ids)) for index, ids in enumerate(replicas)}
    await broker.topics.create(NewTopic(name=topic, assignment=assignment))
    await broker.led(topic, len(replicas))


async def test_when_a_leader_dies_an_in_sync_replica_takes_over(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first, second = await cluster.start(0), await cluster.start(1)
            await make_replicated(first, "t", (1, 0), (0, 1))
            assert second.leaderships.leader(T0).isr == (1, 0)
            cluster.kill(1)
            await first.metadata.wait_for(
                ["t"], lambda: (found := first.metadata.partition(T0)) is not None and found.leader == 0
            )
            assert first.leaderships.leader(T0).isr == (0,)
            assert first.leaderships.leader(T0).leader_epoch == 1
            assert list(first.metadata.brokers) == [0]


async def test_when_the_controller_dies_another_broker_takes_over_and_finds_what_it_lost(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first, second = await cluster.start(0), await cluster.start(1)
            await make_replicated(first, "t", (0, 1))
            assert (first.loop.is_active, second.loop.is_active) == (True, False)
            cluster.kill(0)
            await second.metadata.wait_for(
                ["t"], lambda: (found := second.metadata.partition(T0)) is not None and found.leader == 1
            )
            assert second.loop.is_active
            assert second.metadata.controller_id == 1
            assert second.leaderships.leader(T0).isr == (1,)
            assert await state_of(second.tree, T0) == nodes.PartitionState(BrokerId(1), (BrokerId(1),), 1, 2)


async def test_a_broker_that_comes_back_hears_of_everything_it_missed(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first, _ = await cluster.start(0), await cluster.start(1)
            await make_replicated(first, "t", (1, 0))
            cluster.kill(1)
            await first.metadata.wait_for(
                ["t"], lambda: (found := first.metadata.partition(T0)) is not None and found.leader == 0
            )
            await make(first, "new")
            again = await cluster.start(1)
            await again.led("t")
            await again.led("new")
            part = again.leaderships.get(T0)
            while part is None:
                await again.changes.wait([T0])
                part = again.leaderships.get(T0)
            assert (part.leader, part.leader_epoch) == (0, 1)


async def test_a_topic_with_a_dead_replica_is_deleted_when_its_broker_is_back(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first, _ = await cluster.start(0), await cluster.start(1)
            await make_replicated(first, "t", (0, 1))
            cluster.kill(1)
            await first.metadata.wait_for(
                ["t"], lambda: (found := first.metadata.partition(T0)) is not None and found.isr == (0,)
            )
            await first.topics.mark_for_deletion("t")
            again = await cluster.start(1)
            await first.loop.wait_until_gone(["t"])
            assert again.logs.get(T0) is None
            assert first.logs.get(T0) is None
            assert await first.tree.children(nodes.TOPICS) == ()


async def test_a_broker_that_cannot_be_reached_is_told_again_until_it_can(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with brokers(tmp_path) as cluster:
        first, second = await cluster.start(0), await cluster.start(1)
        del cluster.members[BrokerId(1)]
        await first.topics.create(NewTopic(name="t", assignment={0: (BrokerId(1),)}))
        await first.led("t")
        assert second.leaderships.get(T0) is None
        while "BrokerUnreachable" not in [fact.name for fact in first.facts]:
            await trio.lowlevel.checkpoint()
        cluster.members[BrokerId(1)] = second
        await second.led("t")
        assert second.leaderships.leader(T0).is_leader
