"""The controller at work on the embedded tree: topics made by the broker and by others, restarts, half-done work."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.control.ballots import ElectionType
from pykafka_broker.control.cluster import PartitionState
from pykafka_broker.control.commands import Command
from pykafka_broker.control.controller import Controller
from pykafka_broker.control.events import ElectionAsked, Event, TermBegan, TopicsSeen
from pykafka_broker.control.isr_changes import IsrWish
from pykafka_broker.control.topics import NewTopic
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages
from pykafka_broker.zk import nodes
from pykafka_broker.zk.port import Coordination, Create, NoNode
from pykafka_broker.zk.registration import prepare
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


@pytest.mark.parametrize(
    "data", [b"", b"[" * 5000, b'{"version":3,"partitions":{"0":[]}}', b'{"partitions":{"0":[1e999]}}']
)
async def test_topics_and_brokers_that_make_no_sense_are_passed_over(tmp_path: Path, data: bytes) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await make(broker, "t")
            await broker.tree.create(nodes.topic_path("bad"), data)
            await broker.tree.replace(nodes.topic_path("t"), data)
            for name in ("7", "abc", "\N{SUPERSCRIPT TWO}", "99999999999"):
                await broker.tree.create(f"{nodes.BROKER_IDS}/{name}", data)
            await broker.tree.create(nodes.REASSIGN_PARTITIONS, data)
            await make(broker, "later")
        assert broker.leaderships.leader(T0).leader_epoch == 0
        assert list(broker.metadata.brokers) == [ME]


async def test_whoever_asks_without_end_does_not_keep_the_controller_from_looking_at_the_tree(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker, trio.open_nursery() as nursery:
        with trio.fail_after(5):
            await make(broker, "t")

            async def ask_again_and_again() -> None:
                while True:
                    await broker.loop.reassign({T0: (ME,)})

            for _ in range(3):
                nursery.start_soon(ask_again_and_again)
            await make(broker, "u")
        nursery.cancel_scope.cancel()


async def test_a_topic_that_made_no_sense_is_led_once_its_node_is_mended(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await broker.tree.create(nodes.topic_path("t"), b"{")
            await make(broker, "other")
            await broker.tree.replace(nodes.topic_path("t"), b'{"version":1,"partitions":{"0":[0]}}')
            await broker.led("t")


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


# What brokers ask for


def wish(*isr: int, leader_epoch: int = 0, partition_epoch: int = 0) -> IsrWish:
    return IsrWish(LeaderEpoch(leader_epoch), partition_epoch, tuple(map(BrokerId, isr)))


async def until_led_by(broker: LoneBroker, leader: int, isr: tuple[int, ...], partition: TopicPartition = T0) -> None:
    """Return when the broker answers to Metadata that it is so."""
    await broker.metadata.wait_for(
        [partition.topic],
        lambda: (
            (found := broker.metadata.partition(partition)) is not None and (found.leader, found.isr) == (leader, isr)
        ),
    )


async def until_gone(broker: LoneBroker, path: str) -> None:
    async with broker.tree.watching_data(path) as watch:
        while await is_there(broker.tree, path):
            await watch.wait()


async def test_a_leader_changes_its_isr_and_everybody_hears_of_it_by_metadata(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first, second = await cluster.start(0), await cluster.start(1)
            await make_replicated(first, "t", (1, 0))
            first.told.clear()
            epoch = second.leaderships.broker_epoch
            verdicts = await first.loop.change_isr(BrokerId(1), epoch, {T0: wish(1)})
            stands = verdicts[T0]
            assert isinstance(stands, PartitionState)
            assert (stands.leader, stands.isr, stands.leader_epoch, stands.version) == (1, (1,), 0, 1)
            assert await state_of(first.tree, T0) == nodes.PartitionState(BrokerId(1), (BrokerId(1),), 0, 1)
            await until_led_by(second, 1, (1,))
        assert {type(request).__name__ for _, request in first.told} == {"UpdateMetadataRequest"}


async def test_a_leader_that_loses_against_another_writer_learns_it(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first, second = await cluster.start(0), await cluster.start(1)
            await make_replicated(first, "t", (1, 0))
            path = nodes.partition_state_path(*T0)
            await first.tree.replace(path, (await first.tree.read(path)).data)
            epoch = second.leaderships.broker_epoch
            verdicts = await first.loop.change_isr(BrokerId(1), epoch, {T0: wish(1)})
            lost = verdicts[T0]
            assert isinstance(lost, KafkaError)
            assert lost.code is ErrorCode.INVALID_UPDATE_VERSION
            verdicts = await first.loop.change_isr(BrokerId(1), epoch, {T0: wish(1, partition_epoch=1)})
            stands = verdicts[T0]
            assert isinstance(stands, PartitionState)
            assert (stands.isr, stands.version) == ((1,), 2)


async def test_a_broker_hands_over_what_others_can_lead_and_keeps_the_rest(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first, second = await cluster.start(0), await cluster.start(1)
            await make_replicated(first, "t", (1, 0), (0, 1))
            await make_replicated(first, "alone", (1,))
            await make_replicated(first, "behind", (1, 0))
            behind, epoch = TopicPartition("behind", 0), second.leaderships.broker_epoch
            await first.loop.change_isr(BrokerId(1), epoch, {behind: wish(1)})
            fetched: list[tuple[str, TopicPartition]] = []
            second.leaderships.on_unfollow = lambda partition: fetched.append(("no more", partition))
            second.leaderships.on_follow = lambda part: fetched.append(("again", part.partition))
            assert await first.loop.shut_down(BrokerId(1), epoch) == (behind,)
            await until_led_by(second, 0, (0,))
            await until_led_by(second, 0, (0,), TopicPartition("t", 1))
            await until_led_by(second, 1, (1,), TopicPartition("alone", 0))
            assert first.leaderships.leader(T0).leader_epoch == 1
            assert fetched.count(("no more", TopicPartition("t", 1))) == 1
            assert ("again", TopicPartition("t", 1)) not in fetched
            verdicts = await first.loop.change_isr(
                BrokerId(0), first.leaderships.broker_epoch, {T0: wish(0, 1, leader_epoch=1, partition_epoch=1)}
            )
            refused = verdicts[T0]
            assert isinstance(refused, KafkaError)
            assert refused.code is ErrorCode.INELIGIBLE_REPLICA
            cluster.kill(1)
            again = await cluster.start(1)
            await until_led_by(again, 1, (1,), behind)
            fresh = wish(0, 1, leader_epoch=1, partition_epoch=1)
            verdicts = await first.loop.change_isr(BrokerId(0), first.leaderships.broker_epoch, {T0: fresh})
            assert isinstance(verdicts[T0], PartitionState), "a broker that is back is like any other"


async def test_blocks_of_producer_ids_are_given_to_registered_brokers_one_after_the_other(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first, second = await cluster.start(0), await cluster.start(1)
            epochs = [broker.leaderships.broker_epoch for broker in (first, second)]
            assert await first.loop.producer_id_block(BrokerId(0), epochs[0]) == range(1000)
            assert await first.loop.producer_id_block(BrokerId(1), epochs[1]) == range(1000, 2000)
            node = await first.tree.read(nodes.LATEST_PRODUCER_ID_BLOCK)
            assert nodes.ProducerIdBlock.decode(node.data) == nodes.ProducerIdBlock(BrokerId(1), 1000, 1999)
            for broker, epoch, code in (
                (BrokerId(9), 1, ErrorCode.BROKER_ID_NOT_REGISTERED),
                (BrokerId(1), epochs[1] - 1, ErrorCode.STALE_BROKER_EPOCH),
            ):
                with pytest.raises(KafkaError) as refused:
                    await first.loop.producer_id_block(broker, epoch)
                assert refused.value.code is code


async def test_when_there_are_no_producer_ids_left_nobody_gets_any(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        last = nodes.ProducerIdBlock(ME, 2**63 - 1000, 2**63 - 1)
        await broker.tree.replace(nodes.LATEST_PRODUCER_ID_BLOCK, last.encode())
        with pytest.raises(KafkaError) as refused:
            await broker.loop.producer_id_block(ME, broker.leaderships.broker_epoch)
        assert refused.value.code is ErrorCode.UNKNOWN_SERVER_ERROR
        assert "NoProducerIds" in [fact.name for fact in broker.facts]


async def test_who_is_not_the_controller_says_so_to_brokers(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            await cluster.start(0)
            second = await cluster.start(1)
            for ask in (
                lambda: second.loop.change_isr(BrokerId(1), 1, {}),
                lambda: second.loop.shut_down(BrokerId(1), 1),
                lambda: second.loop.producer_id_block(BrokerId(1), 1),
            ):
                with pytest.raises(KafkaError) as refused:
                    await ask()
                assert refused.value.code is ErrorCode.NOT_CONTROLLER
            with pytest.raises(KafkaError):
                second.loop.topic_names()
            second.loop.settings_changed(None)


async def test_a_broker_that_tells_of_a_failed_disk_is_asked_what_was_on_it(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first, second = await cluster.start(0), await cluster.start(1)
            await make_replicated(first, "t", (1, 0), (1, 0))
            await second.led("t", 2)
            second.logs.break_under(T0)
            second.leaderships.went_offline([T0])
            await first.tree.create(nodes.LogDirEvent.prefix, nodes.LogDirEvent(BrokerId(1)).encode(), sequential=True)
            await until_led_by(second, 0, (0,))
            found = second.metadata.partition(T0)
            assert found is not None
            assert found.offline_replicas == (1,)
            assert await first.tree.children(nodes.LOG_DIR_EVENTS) == ()
            await until_led_by(first, 1, (1, 0), TopicPartition("t", 1))


async def test_what_old_leaders_tell_of_their_isr_is_removed(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await broker.tree.create(
                f"{nodes.ISR_CHANGES}/isr_change_", b'{"version":1,"partitions":[]}', sequential=True
            )
            async with broker.tree.watching_children(nodes.ISR_CHANGES) as watch:
                while await broker.tree.children(nodes.ISR_CHANGES):
                    await watch.wait()


# What old tools write


async def test_an_election_that_an_old_tool_wrote_is_held_and_its_node_goes(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first = await cluster.start(0)
            await first.tree.create(nodes.topic_path("t"), b'{"version":1,"partitions":{"0":[1,0]}}')
            await first.led("t")
            await cluster.start(1)
            joined = wish(0, 1)
            await first.loop.change_isr(BrokerId(0), first.leaderships.broker_epoch, {T0: joined})
            written = nodes.PreferredReplicaElection((T0, TopicPartition("ghost", 0)))
            await first.tree.create(written.path, written.encode())
            await until_gone(first, written.path)
            await until_led_by(first, 1, (0, 1))


async def test_a_malformed_election_is_told_and_removed(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(5):
            await broker.tree.create(nodes.PREFERRED_REPLICA_ELECTION, b"{")
            await until_gone(broker, nodes.PREFERRED_REPLICA_ELECTION)
        assert "MalformedNode" in [fact.name for fact in broker.facts]


async def test_a_reassignment_that_an_old_tool_wrote_is_done_and_struck_off_partition_by_partition(
    tmp_path: Path,
) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first, second = await cluster.start(0), await cluster.start(1)
            await make_replicated(first, "t", (0,), (0,))
            t1, target = TopicPartition("t", 1), (BrokerId(1),)
            written = nodes.ReassignPartitions({T0: target, t1: target, TopicPartition("ghost", 0): target})
            async with first.tree.watching_data(written.path) as watch:
                await first.tree.create(written.path, written.encode())
                for partition, left in ((T0, {t1: target}), (t1, None)):
                    while second.leaderships.get(partition) is None:
                        await second.changes.wait([partition])
                    caught_up = wish(0, 1, leader_epoch=1, partition_epoch=1)
                    await first.loop.change_isr(BrokerId(0), first.leaderships.broker_epoch, {partition: caught_up})
                    while left is not None:
                        found = nodes.ReassignPartitions.decode((await first.tree.read(written.path)).data)
                        if found.partitions == left:
                            break
                        await watch.wait()
                await until_gone(first, written.path)
            for partition in (T0, t1):
                await until_led_by(first, 1, (1,), partition)
            node = await topic_node(first.tree, "t")
            assert (node.partitions, node.adding_replicas, node.removing_replicas) == ({0: (1,), 1: (1,)}, {}, {})


async def test_what_old_tools_wrote_while_nobody_was_the_controller_is_found(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            async with cluster.session() as session:
                await prepare(session)
                await session.create(nodes.topic_path("t"), b'{"version":1,"partitions":{"0":[1,0],"1":[0]}}')
                for path in (nodes.partitions_path("t"), nodes.partition_path("t", 0)):
                    await session.create(path)
                led = nodes.PartitionState(BrokerId(0), (BrokerId(0), BrokerId(1)), 3, 0)
                await session.create(nodes.partition_state_path("t", 0), led.encode())
                election = nodes.PreferredReplicaElection((T0,))
                await session.create(election.path, election.encode())
                moves = nodes.ReassignPartitions({TopicPartition("t", 1): (BrokerId(0),)})
                await session.create(moves.path, moves.encode())
            first = await cluster.start(0)
            await until_gone(first, election.path)
            await until_gone(first, moves.path)


# Unclean elections


async def test_an_unclean_election_is_held_as_soon_as_a_setting_allows_it(tmp_path: Path) -> None:
    async with brokers(tmp_path) as cluster:
        with trio.fail_after(5):
            first, second = await cluster.start(0), await cluster.start(1)
            await make_replicated(first, "t", (1, 0))
            await first.loop.change_isr(BrokerId(1), second.leaderships.broker_epoch, {T0: wish(1)})
            cluster.kill(1)
            await until_led_by(first, -1, (1,))
            first.loop.settings_changed("t")
            first.unclean.add("t")
            first.loop.settings_changed("other")
            first.loop.settings_changed("t")
            await until_led_by(first, 0, (0,))
            state = await state_of(first.tree, T0)
            assert (state.leader_epoch, state.leader_recovery_state) == (2, 1)
            recovered = wish(0, leader_epoch=2, partition_epoch=3)
            await first.loop.change_isr(BrokerId(0), first.leaderships.broker_epoch, {T0: recovered})
            assert (await state_of(first.tree, T0)).leader_recovery_state == 0


class Faulty:
    """Controllers with a bug: each fails at some event, as often as it is told to."""

    def __init__(self, patch: pytest.MonkeyPatch, kind: type[Event], times: int) -> None:
        self.left = times
        handle = Controller.handle

        def failing(controller: Controller, now: Millis, event: Event) -> list[Command]:
            if isinstance(event, kind) and self.left:
                self.left -= 1
                raise LookupError("a bug")
            return handle(controller, now, event)

        patch.setattr(Controller, "handle", failing)


async def test_a_bug_in_the_controller_ends_its_term_and_not_its_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t")
        Faulty(monkeypatch, TopicsSeen, 3)
        await make(broker, "u")
        assert broker.leaderships.leader(T0).leader_epoch == 0
        assert [fact.name for fact in broker.facts if fact.name.startswith("Controller")][-2:] == [
            "ControllerResigned",
            "ControllerElected",
        ]


async def test_a_controller_that_fails_again_and_again_rests_longer_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async with lone_broker(tmp_path) as broker:
        Faulty(monkeypatch, TermBegan, 8)
        Faulty(monkeypatch, TopicsSeen, 1)
        begun_s = autojump_clock.current_time()
        await make(broker, "t")
        assert autojump_clock.current_time() - begun_s == pytest.approx(1 + 2 + 4 + 8 + 16 + 32 + 60 + 60 + 60, abs=5)


async def test_another_broker_is_elected_after_a_controller_with_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async with brokers(tmp_path) as cluster:
        for number in (1, 2):
            await cluster.start(number)
        first, second = cluster.members[BrokerId(1)], cluster.members[BrokerId(2)]
        assert first.loop.is_active
        Faulty(monkeypatch, TopicsSeen, 1)
        await first.topics.create(NewTopic(name="t", partitions=2, replication_factor=2))
        await second.led("t", 2)
        assert second.loop.is_active
        assert not first.loop.is_active


async def test_whoever_asks_what_the_controller_fails_at_is_told_of_an_error_and_not_to_ask_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t")
        Faulty(monkeypatch, ElectionAsked, 1)
        with pytest.raises(KafkaError) as refused:
            await broker.loop.elect(ElectionType.PREFERRED, [T0])
        assert refused.value.code == ErrorCode.UNKNOWN_SERVER_ERROR
        await make(broker, "u")
