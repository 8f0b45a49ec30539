"""The nodes that making, growing and marking topics writes; what clients hear is asked in tests/rooms/api."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pykafka_broker.control.topics import NewTopic
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId
from pykafka_broker.runtime.topics import Created
from pykafka_broker.zk import nodes
from tests.doubles.lone_broker import LoneBroker, lone_broker


def new(name: str, partitions: int = 1) -> NewTopic:
    return NewTopic(name=name, partitions=partitions, replication_factor=1)


async def kept(broker: LoneBroker, topic: str) -> nodes.TopicAssignment:
    return nodes.TopicAssignment.decode(topic, (await broker.tree.read(nodes.topic_path(topic))).data)


async def test_a_topic_is_two_nodes_its_settings_and_its_assignment(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        made = await broker.topics.create(
            NewTopic(name="t", partitions=2, replication_factor=1, configs={"retention.ms": "5"})
        )
        assert await kept(broker, "t") == nodes.TopicAssignment("t", {0: (0,), 1: (0,)}, made.topic_id)
        settings = await broker.tree.read(nodes.config_path(nodes.TOPIC_CONFIG, "t"))
        assert nodes.ConfigEntity.decode(nodes.TOPIC_CONFIG, "t", settings.data).config == {"retention.ms": "5"}


async def test_many_topics_share_transactions(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await broker.topics.create_all([new(f"t{number}") for number in range(20)])
        times = {(await broker.tree.read(nodes.topic_path(f"t{number}"))).stat.czxid for number in range(20)}
        assert len(times) == 1


async def test_only_considering_writes_nothing(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        (outcome,) = await broker.topics.create_all([new("t", 3)], validate_only=True)
        assert isinstance(outcome, Created)
        assert list(outcome.placement) == [0, 1, 2]
        assert await broker.topics.are_known(["t"]) == set()


async def test_two_brokers_that_make_the_same_topic_make_it_once(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        outcomes: list[Created | KafkaError] = []

        async def one(*names: str) -> None:
            outcomes.extend(await broker.topics.create_all([new(name) for name in names]))

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one, "t", "mine")
                nursery.start_soon(one, "yours", "t")
        refused = [outcome for outcome in outcomes if isinstance(outcome, KafkaError)]
        assert [(error.code, error.detail) for error in refused] == [
            (ErrorCode.TOPIC_ALREADY_EXISTS, "Topic 't' already exists.")
        ]
        assert await broker.topics.are_known(["t", "mine", "yours", "theirs"]) == {"t", "mine", "yours"}


async def test_growing_keeps_what_is_there(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        made = await broker.topics.create(new("t"))
        assert await broker.topics.add_partitions("t", 3, None) == 3
        assert await kept(broker, "t") == nodes.TopicAssignment("t", {0: (0,), 1: (0,), 2: (0,)}, made.topic_id)


async def test_two_who_let_a_topic_grow_at_once_do_not_lose_each_others_partitions(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await broker.topics.create(new("t"))
        refused: list[KafkaError] = []

        async def one(count: int) -> None:
            try:
                await broker.topics.add_partitions("t", count, None)
            except KafkaError as error:
                refused.append(error)

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one, 3)
                nursery.start_soon(one, 3)
        assert [error.detail for error in refused] == ["Topic already has 3 partitions."]
        assert list((await kept(broker, "t")).partitions) == [0, 1, 2]


async def test_marking_twice_is_marking_once(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await broker.topics.create(new("t"))
        with trio.fail_after(5):
            await broker.led("t")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(broker.topics.mark_for_deletion, "t")
                nursery.start_soon(broker.topics.mark_for_deletion, "t")
            await broker.loop.wait_until_gone(["t"])
        with pytest.raises(KafkaError) as refused:
            await broker.topics.mark_for_deletion("t")
        assert refused.value.code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_a_name_that_cannot_be_a_node_is_an_error_of_the_server_as_in_apache_kafka(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        for name in ("", ".", ".."):
            with pytest.raises(KafkaError) as refused:
                await broker.topics.add_partitions(name, 3, [[BrokerId(0)]])
            assert refused.value.code == ErrorCode.UNKNOWN_SERVER_ERROR


async def test_topics_on_demand_are_made_once_and_those_that_exist_are_on_their_way(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        names = ["a", "b", "a", "not legal"]
        expected = {
            "a": ErrorCode.LEADER_NOT_AVAILABLE,
            "b": ErrorCode.LEADER_NOT_AVAILABLE,
            "not legal": ErrorCode.INVALID_TOPIC_EXCEPTION,
        }
        assert await broker.topics.make_on_demand(names) == expected
        first = (await kept(broker, "a")).topic_id
        assert await broker.topics.make_on_demand(names) == expected
        assert (await kept(broker, "a")).topic_id == first
