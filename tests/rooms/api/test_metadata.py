"""Metadata and DescribeCluster against the embedded house."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from pykafka_broker.api.metadata import CLUSTER_OPERATIONS, FIRST_WORD_S, NOT_ASKED, TOPIC_OPERATIONS, MetadataApi
from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.control.topics import NewTopic
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.identity import Session
from pykafka_broker.model.names import (
    GROUP_METADATA_TOPIC,
    NO_BROKER,
    NO_TOPIC_ID,
    TRANSACTION_STATE_TOPIC,
    BrokerId,
    TopicPartition,
)
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.runtime.topics import Topics
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call
from pykafka_broker.zk import nodes
from tests.doubles.lone_broker import LoneBroker, lone_broker


async def ask(broker: LoneBroker, version: int, *names: str | None, listener: str = "PLAINTEXT", **more: Any) -> Any:
    request = messages.MetadataRequest
    body = request(topics=[request.Topic(name=name) for name in names], **more)
    response = await broker.ask("Metadata", version, body, listener)
    messages.encode(response, version)
    return response


async def ask_all(broker: LoneBroker, version: int = 12) -> Any:
    body = messages.MetadataRequest(topics=[] if version == 0 else None)
    return await broker.ask("Metadata", version, body)


async def make(broker: LoneBroker, topic: str, partitions: int = 1) -> None:
    await broker.topics.create(NewTopic(name=topic, partitions=partitions, replication_factor=1))
    await broker.led(topic, partitions)


async def test_a_topic_is_told_with_its_leaders(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t", 2)
        for version in range(13):
            response = await ask(broker, version, "t")
            assert [(one.node_id, one.host, one.port) for one in response.brokers] == [(0, "localhost", 9092)]
            assert (response.cluster_id, response.controller_id) == ("cluster", 0)
            (topic,) = response.topics
            assert (topic.error_code, topic.name, topic.is_internal) == (ErrorCode.NONE, "t", False)
            assert topic.topic_id == broker.metadata.topic_id("t")
            assert topic.topic_authorized_operations == NOT_ASKED
            assert [
                (one.partition_index, one.leader_id, one.leader_epoch, one.error_code) for one in topic.partitions
            ] == [
                (0, 0, 0, 0),
                (1, 0, 0, 0),
            ]
            assert [(one.replica_nodes, one.isr_nodes, one.offline_replicas) for one in topic.partitions] == [
                ([0], [0], []),
                ([0], [0], []),
            ]


async def test_what_was_built_once_is_given_again_until_the_topic_changes(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t")
        first, second = (await ask(broker, 12, "t")).topics[0], (await ask(broker, 9, "t")).topics[0]
        assert first is second
        await broker.topics.add_partitions("t", 2, None)
        await broker.led("t", 2)
        assert len((await ask(broker, 12, "t")).topics[0].partitions) == 2


async def test_all_topics_are_told_in_order(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "b")
        await make(broker, "a")
        for version in (0, 1, 12):
            assert [topic.name for topic in (await ask_all(broker, version)).topics] == ["a", "b"]
        assert (await ask(broker, 1)).topics == []


async def test_each_listener_is_told_its_own_addresses(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        response = await ask(broker, 12, listener="OTHER")
        assert [(one.host, one.port) for one in response.brokers] == [("example", 9093)]


@pytest.mark.parametrize(
    ("version", "code"),
    [(0, ErrorCode.LEADER_NOT_AVAILABLE), (5, ErrorCode.LEADER_NOT_AVAILABLE), (6, ErrorCode.LISTENER_NOT_FOUND)],
)
async def test_a_leader_without_the_callers_listener_is_no_leader(
    tmp_path: Path, version: int, code: ErrorCode
) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t")
        response = await ask(broker, version, "t", listener="INTERNAL")
        assert response.brokers == []
        (partition,) = response.topics[0].partitions
        assert (partition.error_code, partition.leader_id) == (code, -1)
        assert partition.replica_nodes == ([] if version == 0 else [0])


async def test_an_unknown_topic_is_made_and_the_caller_told_to_ask_again(tmp_path: Path) -> None:
    async with lone_broker(tmp_path, settings=BrokerSettings(num_partitions=3)) as broker:
        with trio.fail_after(5):
            (topic,) = (await ask(broker, 12, "t")).topics
            assert (topic.error_code, topic.name, topic.topic_id) == (
                ErrorCode.LEADER_NOT_AVAILABLE,
                "t",
                NO_TOPIC_ID,
            )
            await broker.led("t", 3)
            assert (await ask(broker, 12, "t")).topics[0].error_code == ErrorCode.NONE


async def test_two_who_ask_for_the_same_unknown_topic_make_it_once(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        codes: list[int] = []

        async def one() -> None:
            codes.append((await ask(broker, 12, "t")).topics[0].error_code)

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one)
                nursery.start_soon(one)
            await broker.led("t")
        assert sorted(codes) == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.LEADER_NOT_AVAILABLE]


@pytest.mark.parametrize("settings", [BrokerSettings(auto_create_topics_enable=False), BrokerSettings()])
async def test_topics_are_not_made_where_broker_or_caller_does_not_want_it(
    tmp_path: Path, settings: BrokerSettings
) -> None:
    async with lone_broker(tmp_path, settings=settings) as broker:
        allow = not settings.auto_create_topics_enable
        for _ in range(2):
            response = await ask(broker, 12, "t", "not legal", allow_auto_topic_creation=allow)
            assert [(topic.name, topic.error_code) for topic in response.topics] == [
                ("t", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
                ("not legal", ErrorCode.INVALID_TOPIC_EXCEPTION),
            ]
        assert await broker.tree.children(nodes.TOPICS) == ()


async def test_a_topic_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    async with lone_broker(tmp_path, settings=BrokerSettings(default_replication_factor=2)) as broker:
        response = await ask(broker, 12, "t", "not legal")
        assert [(topic.name, topic.error_code) for topic in response.topics] == [
            ("t", ErrorCode.INVALID_REPLICATION_FACTOR),
            ("not legal", ErrorCode.INVALID_TOPIC_EXCEPTION),
        ]


async def test_internal_topics_are_made_as_their_coordinators_want_them(tmp_path: Path) -> None:
    settings = BrokerSettings(
        offsets_topic_num_partitions=5,
        offsets_topic_replication_factor=1,
        transaction_state_log_num_partitions=2,
        transaction_state_log_replication_factor=1,
    )
    async with lone_broker(tmp_path, settings=settings) as broker:
        with trio.fail_after(5):
            told = await broker.topics.make_on_demand([GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC])
            assert set(told.values()) == {ErrorCode.LEADER_NOT_AVAILABLE}
            await broker.led(GROUP_METADATA_TOPIC, 5)
            await broker.led(TRANSACTION_STATE_TOPIC, 2)
        assert (await ask(broker, 1, GROUP_METADATA_TOPIC)).topics[0].is_internal
        node = await broker.tree.read(nodes.config_path(nodes.TOPIC_CONFIG, GROUP_METADATA_TOPIC))
        assert nodes.ConfigEntity.decode(nodes.TOPIC_CONFIG, GROUP_METADATA_TOPIC, node.data).config == {
            "cleanup.policy": "compact",
            "compression.type": "producer",
            "segment.bytes": "104857600",
        }


async def test_topics_are_asked_for_by_id(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t")
        known, unknown = broker.metadata.topic_id("t"), UUID(int=77)
        request = messages.MetadataRequest
        topics = [request.Topic(topic_id=known, name=None), request.Topic(topic_id=unknown, name=None)]
        response = await broker.ask("Metadata", 12, request(topics=topics))
        assert [(topic.name, topic.topic_id, topic.error_code) for topic in response.topics] == [
            (None, unknown, ErrorCode.UNKNOWN_TOPIC_ID),
            ("t", known, ErrorCode.NONE),
        ]
        messages.encode(response, 12)


async def test_a_topic_asked_for_by_neither_name_nor_id_fails_the_request(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        request = messages.MetadataRequest
        response = await broker.ask("Metadata", 12, request(topics=[request.Topic(name=None)]))
        assert [(topic.name, topic.error_code) for topic in response.topics] == [("", ErrorCode.UNKNOWN_SERVER_ERROR)]
        assert (response.brokers, response.cluster_id, response.controller_id) == ([], None, -1)


@pytest.mark.parametrize("version", [10, 11])
async def test_versions_10_and_11_cannot_ask_by_id(tmp_path: Path, version: int) -> None:
    async with lone_broker(tmp_path) as broker:
        request = messages.MetadataRequest
        for topic in (request.Topic(name=None), request.Topic(name="t", topic_id=UUID(int=7))):
            response = await broker.ask("Metadata", version, request(topics=[topic]))
            assert [one.error_code for one in response.topics] == [ErrorCode.INVALID_REQUEST]
            messages.encode(response, version)


async def test_what_the_caller_may_do_is_told_only_when_asked(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t")
        asked = {"include_cluster_authorized_operations": True, "include_topic_authorized_operations": True}
        response = await ask(broker, 10, "t", **asked)
        assert response.cluster_authorized_operations == CLUSTER_OPERATIONS == 8096
        assert response.topics[0].topic_authorized_operations == TOPIC_OPERATIONS == 3576
        response = await ask(broker, 10, "t")
        assert response.cluster_authorized_operations == response.topics[0].topic_authorized_operations == NOT_ASKED


async def test_a_partition_whose_leader_is_gone_has_none(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await make(broker, "t")
        state = messages.UpdateMetadataRequest.PartitionState(partition_index=0, leader=5, isr=[5], replicas=[5, 0])
        topic = messages.UpdateMetadataRequest.TopicState(topic_name="t", partition_states=[state])
        update = broker.told[-1][1]
        broker.metadata.update(
            messages.UpdateMetadataRequest(
                controller_epoch=9, topic_states=[topic], live_brokers=broker.told[0][1].live_brokers
            )
        )
        assert update.live_brokers
        (partition,) = (await ask(broker, 12, "t")).topics[0].partitions
        assert (partition.error_code, partition.leader_id) == (ErrorCode.LEADER_NOT_AVAILABLE, -1)
        assert (partition.replica_nodes, partition.isr_nodes) == ([5, 0], [5])
        (partition,) = (await ask(broker, 0, "t")).topics[0].partitions
        assert (partition.replica_nodes, partition.isr_nodes) == ([0], [])
        assert broker.metadata.partition(TopicPartition("t", 0)) is not None


async def test_the_cluster_is_described(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        request = messages.DescribeClusterRequest
        for version in (0, 1):
            response = await broker.ask("DescribeCluster", version, request())
            messages.encode(response, version)
            assert (response.error_code, response.error_message) == (ErrorCode.NONE, None)
            assert (response.cluster_id, response.controller_id) == ("cluster", 0)
            assert [(one.broker_id, one.host, one.port) for one in response.brokers] == [(0, "localhost", 9092)]
            assert response.cluster_authorized_operations == NOT_ASKED
        asked = await broker.ask("DescribeCluster", 1, request(include_cluster_authorized_operations=True))
        assert asked.cluster_authorized_operations == CLUSTER_OPERATIONS
        unknown = await broker.ask("DescribeCluster", 0, request(), listener="INTERNAL")
        assert (unknown.brokers, unknown.controller_id) == ([], -1)


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        (
            2,
            ErrorCode.MISMATCHED_ENDPOINT_TYPE,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
        ),
        (7, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE, "Unsupported endpoint type 7"),
    ],
)
async def test_only_brokers_are_described(tmp_path: Path, kind: int, code: ErrorCode, text: str) -> None:
    async with lone_broker(tmp_path) as broker:
        response = await broker.ask("DescribeCluster", 1, messages.DescribeClusterRequest(endpoint_type=kind))
        assert (response.error_code, response.error_message) == (code, text)


def fresh_api() -> MetadataApi:
    metadata = Metadata(BrokerId(0), Changes())
    return MetadataApi(metadata, cast(Topics, None), "cluster")


def told_of_one_broker(*topics: str) -> messages.UpdateMetadataRequest:
    request = messages.UpdateMetadataRequest
    endpoint = request.Endpoint(port=9092, host="here", listener="PLAINTEXT")
    broker = request.Broker(id=BrokerId(0), endpoints=[endpoint])
    partition = request.PartitionState(leader=BrokerId(0), replicas=[BrokerId(0)], isr=[BrokerId(0)])
    told = [request.TopicState(topic_name=name, partition_states=[partition]) for name in topics]
    return request(controller_id=BrokerId(0), controller_epoch=1, live_brokers=[broker], topic_states=told)


def call_for_metadata(*topics: str) -> Call[Any]:
    asked = [messages.MetadataRequest.Topic(name=name) for name in topics]
    body = messages.MetadataRequest(topics=asked, allow_auto_topic_creation=False)
    session = Session("PLAINTEXT", "/127.0.0.1")
    return Call(
        api="Metadata", key=3, version=12, correlation_id=1, client_id="t", body=body, size_bytes=0, session=session
    )


async def test_a_broker_that_has_just_started_answers_when_it_has_heard_who_is_there(autojump_clock: MockClock) -> None:
    api = fresh_api()

    async def hear_later() -> None:
        await trio.sleep(FIRST_WORD_S / 2)
        api.metadata.update(told_of_one_broker())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear_later)
        response = await api.tell(call_for_metadata())
    assert [(one.node_id, one.host) for one in response.brokers] == [(0, "here")]


async def test_a_broker_that_hears_nothing_says_in_the_end_that_it_knows_nobody(autojump_clock: MockClock) -> None:
    begun = autojump_clock.current_time()
    response = await fresh_api().tell(call_for_metadata())
    assert (response.brokers, response.controller_id) == ([], NO_BROKER)
    assert autojump_clock.current_time() - begun == pytest.approx(FIRST_WORD_S)


async def test_a_topic_that_was_there_before_the_broker_is_not_unknown_until_the_controller_has_told_of_topics(
    autojump_clock: MockClock,
) -> None:
    api = fresh_api()
    api.metadata.awaited.update(("orders", "others"))
    api.metadata.update(told_of_one_broker())

    async def hear_later() -> None:
        await trio.sleep(FIRST_WORD_S / 2)
        api.metadata.update(told_of_one_broker("orders"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear_later)
        response = await api.tell(call_for_metadata("orders"))
    assert [(one.name, one.error_code) for one in response.topics] == [("orders", ErrorCode.NONE)]


async def test_a_new_topic_does_not_wait_for_those_that_were_there_before(autojump_clock: MockClock) -> None:
    api = fresh_api()
    api.metadata.awaited.add("orders")
    api.metadata.update(told_of_one_broker("new"))
    begun = autojump_clock.current_time()
    assert (await api.tell(call_for_metadata("new"))).topics[0].error_code == ErrorCode.NONE
    assert autojump_clock.current_time() == begun


async def test_a_topic_that_was_deleted_meanwhile_is_waited_for_once(autojump_clock: MockClock) -> None:
    api = fresh_api()
    api.metadata.awaited.add("orders")
    api.metadata.update(told_of_one_broker())
    begun = autojump_clock.current_time()
    for _ in range(2):
        response = await api.tell(call_for_metadata("orders"))
        assert response.topics[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert autojump_clock.current_time() - begun == pytest.approx(FIRST_WORD_S)
