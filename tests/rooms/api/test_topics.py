"""CreateTopics, DeleteTopics and CreatePartitions against the embedded house."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio

from pykafka_broker.api.routes import collect
from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import NO_TOPIC_ID, TopicPartition
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call
from pykafka_broker.zk import nodes
from tests.doubles.lone_broker import LoneBroker, lone_broker

NONE = ErrorCode.NONE


def wanted(name: str, partitions: int = 1, factor: int = 1, **more: Any) -> Any:
    return messages.CreateTopicsRequest.CreatableTopic(
        name=name, num_partitions=partitions, replication_factor=factor, **more
    )


def assigned(name: str, *replicas: list[int], **more: Any) -> Any:
    given = [
        messages.CreateTopicsRequest.CreatableReplicaAssignment(partition_index=index, broker_ids=brokers)
        for index, brokers in enumerate(replicas)
    ]
    return wanted(name, -1, -1, assignments=given, **more)


def configs(**values: str | None) -> Any:
    return [
        messages.CreateTopicsRequest.CreatableTopicConfig(name=key.replace("_", "."), value=value)
        for key, value in values.items()
    ]


async def create(broker: LoneBroker, *topics: Any, version: int = 7, **more: Any) -> Any:
    more.setdefault("timeout_ms", 5_000)
    response = await broker.ask("CreateTopics", version, messages.CreateTopicsRequest(topics=list(topics), **more))
    messages.encode(response, version)
    return response.topics


async def create_one(broker: LoneBroker, topic: Any, **more: Any) -> tuple[ErrorCode, str | None]:
    (result,) = await create(broker, topic, **more)
    return ErrorCode(result.error_code), result.error_message


async def delete(broker: LoneBroker, *names: str, version: int = 6, timeout_ms: int = 5_000) -> Any:
    request = messages.DeleteTopicsRequest
    body = (
        request(topics=[request.DeleteTopicState(name=name) for name in names], timeout_ms=timeout_ms)
        if version >= 6
        else request(topic_names=list(names), timeout_ms=timeout_ms)
    )
    response = await broker.ask("DeleteTopics", version, body)
    messages.encode(response, version)
    return response.responses


async def grow(broker: LoneBroker, name: str, count: int, given: Any = None, **more: Any) -> tuple[int, str | None]:
    request = messages.CreatePartitionsRequest
    assignments = None if given is None else [request.Assignment(broker_ids=brokers) for brokers in given]
    body = request(
        topics=[request.Topic(name=name, count=count, assignments=assignments)], **{"timeout_ms": 5_000, **more}
    )
    response = await broker.ask("CreatePartitions", 3, body)
    messages.encode(response, 3)
    (result,) = response.results
    return ErrorCode(result.error_code), result.error_message


async def test_a_created_topic_is_led_when_the_answer_comes(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        (result,) = await create(broker, wanted("t", 3, configs=configs(retention_ms="5")))
        assert (result.error_code, result.error_message) == (NONE, None)
        assert (result.num_partitions, result.replication_factor) == (3, 1)
        assert result.topic_id == broker.metadata.topic_id("t") != NO_TOPIC_ID
        assert [(one.name, one.value, one.config_source) for one in result.configs] == [("retention.ms", "5", 1)]
        assert broker.metadata.has_leaders("t", range(3))
        settings = await broker.tree.read(nodes.config_path(nodes.TOPIC_CONFIG, "t"))
        assert settings.data == b'{"version":1,"config":{"retention.ms":"5"}}'


async def test_minus_one_means_what_the_broker_thinks_right(tmp_path: Path) -> None:
    async with lone_broker(tmp_path, settings=BrokerSettings(num_partitions=4)) as broker:
        (result,) = await create(broker, wanted("t", -1, -1))
        assert result.num_partitions == 4


async def test_given_replicas_are_taken(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        assert await create_one(broker, assigned("t", [0], [0])) == (NONE, None)
        assert list(broker.metadata.topics["t"].partitions) == [0, 1]


async def test_validating_changes_nothing(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        (result,) = await create(broker, wanted("t", 2), validate_only=True)
        assert (result.error_code, result.num_partitions, result.topic_id) == (NONE, 2, NO_TOPIC_ID)
        assert await broker.tree.children(nodes.TOPICS) == ()


@pytest.mark.parametrize(
    ("topic", "code", "text"),
    [
        (wanted("old"), ErrorCode.TOPIC_ALREADY_EXISTS, "Topic 'old' already exists."),
        (
            wanted("t", 1, 2),
            ErrorCode.INVALID_REPLICATION_FACTOR,
            "Replication factor: 2 larger than available brokers: 1.",
        ),
        (wanted("t", 1, 0), ErrorCode.INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0."),
        (wanted("t", 0, 1), ErrorCode.INVALID_PARTITIONS, "Number of partitions must be larger than 0."),
        (
            wanted(""),
            ErrorCode.INVALID_TOPIC_EXCEPTION,
            "Topic name is invalid: the empty string is not allowed",
        ),
        (wanted(".."), ErrorCode.INVALID_TOPIC_EXCEPTION, "Topic name is invalid: '..' is not allowed"),
        (
            wanted("a" * 250),
            ErrorCode.INVALID_TOPIC_EXCEPTION,
            f"Topic name is invalid: the length of '{'a' * 250}' is longer than the max allowed length 249",
        ),
        (
            wanted("a b"),
            ErrorCode.INVALID_TOPIC_EXCEPTION,
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, "
            "'.', '_' and '-'",
        ),
        (
            wanted("a_b"),
            ErrorCode.INVALID_TOPIC_EXCEPTION,
            "Topic 'a_b' collides with existing topics: a.b",
        ),
        (
            wanted("__cluster_metadata"),
            ErrorCode.INVALID_REQUEST,
            "Creation of internal topic __cluster_metadata is prohibited.",
        ),
        (
            wanted("t", configs=configs(nope="1")),
            ErrorCode.INVALID_CONFIG,
            "Unknown topic config name: nope",
        ),
        (
            wanted("t", configs=configs(retention_ms=None)),
            ErrorCode.INVALID_CONFIG,
            "Null value not supported for topic configs: retention.ms",
        ),
        (
            wanted("t", 1, 1, assignments=assigned("t", [0]).assignments),
            ErrorCode.INVALID_REQUEST,
            "Both numPartitions or replicationFactor and replicasAssignments were set. "
            "Both cannot be used at the same time.",
        ),
        (
            assigned("t", [0], [0, 1]),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "All partitions should have the same number of replicas",
        ),
        (
            assigned("t", [9]),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "Unknown broker(s) in replica assignment: 9.",
        ),
    ],
)
async def test_what_cannot_be_made_is_refused_as_apache_kafka_does(
    tmp_path: Path, topic: Any, code: ErrorCode, text: str
) -> None:
    async with lone_broker(tmp_path) as broker:
        await create(broker, wanted("old"), wanted("a.b"))
        (result,) = await create(broker, topic)
        assert (result.error_code, result.error_message) == (code, text)
        assert (result.num_partitions, result.replication_factor, result.configs) == (-1, -1, [])
        assert await broker.tree.children(nodes.TOPICS) == ("a.b", "old")


async def test_one_bad_topic_does_not_spoil_the_others(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        results = await create(broker, wanted("a"), wanted("dup"), wanted("b c"), wanted("dup"))
        assert [(one.name, one.error_code) for one in results] == [
            ("a", NONE),
            ("dup", ErrorCode.INVALID_REQUEST),
            ("b c", ErrorCode.INVALID_TOPIC_EXCEPTION),
            ("dup", ErrorCode.INVALID_REQUEST),
        ]
        assert results[1].error_message == "Found multiple entries for this topic."


async def test_topics_of_one_request_collide_with_each_other_too(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        results = await create(broker, wanted("a.b"), wanted("a_b"))
        assert [(one.error_code, one.error_message) for one in results] == [
            (NONE, None),
            (ErrorCode.INVALID_TOPIC_EXCEPTION, "Topic 'a_b' collides with existing topics: a.b"),
        ]


async def test_many_topics_are_made_and_deleted_in_one_request(tmp_path: Path) -> None:
    names = [f"t{number}" for number in range(40)]
    async with lone_broker(tmp_path) as broker:
        with trio.fail_after(10):
            assert {one.error_code for one in await create(broker, *map(wanted, names))} == {NONE}
            assert {one.error_code for one in await delete(broker, *names)} == {NONE}
        assert await broker.tree.children(nodes.TOPICS) == ()


async def test_settings_that_an_earlier_topic_left_behind_are_overwritten(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        path = nodes.config_path(nodes.TOPIC_CONFIG, "t")
        await broker.tree.create(path, b'{"version":1,"config":{"retention.ms":"1"}}')
        results = await create(broker, wanted("other"), wanted("t"))
        assert {one.error_code for one in results} == {NONE}
        assert (await broker.tree.read(path)).data == b'{"version":1,"config":{}}'


async def test_a_topic_that_somebody_else_made_in_the_same_moment_exists(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        codes: list[ErrorCode] = []

        async def one() -> None:
            codes.append((await create_one(broker, wanted("t")))[0])

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one)
                nursery.start_soon(one)
        assert sorted(codes) == [NONE, ErrorCode.TOPIC_ALREADY_EXISTS]


async def test_without_time_to_wait_the_topic_is_made_and_the_answer_says_timed_out(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        (result,) = await create(broker, wanted("t"), timeout_ms=0)
        assert (result.error_code, result.error_message) == (ErrorCode.REQUEST_TIMED_OUT, None)
        with trio.fail_after(5):
            await broker.led("t")


async def test_a_broker_that_is_not_controller_says_so(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        broker.loop._term = None
        assert await create_one(broker, wanted("t")) == (ErrorCode.NOT_CONTROLLER, "")
        (result,) = await delete(broker, "t")
        assert (result.name, result.error_code) == ("t", ErrorCode.NOT_CONTROLLER)
        assert (await grow(broker, "t", 2)) == (ErrorCode.NOT_CONTROLLER, None)


async def test_a_deleted_topic_is_gone_when_the_answer_comes(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await create(broker, wanted("t", 2))
        (result,) = await delete(broker, "t")
        assert (result.name, result.error_code, result.error_message) == ("t", NONE, None)
        assert await broker.tree.children(nodes.TOPICS) == ()
        assert await create_one(broker, wanted("t")) == (NONE, None)


async def test_topics_are_deleted_by_id(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        (made,) = await create(broker, wanted("t"))
        request = messages.DeleteTopicsRequest
        unknown = UUID(int=77)
        body = request(
            topics=[request.DeleteTopicState(topic_id=made.topic_id), request.DeleteTopicState(topic_id=unknown)],
            timeout_ms=5_000,
        )
        results = (await broker.ask("DeleteTopics", 6, body)).responses
        assert [(one.name, one.topic_id, one.error_code) for one in results] == [
            ("t", made.topic_id, NONE),
            (None, unknown, ErrorCode.UNKNOWN_TOPIC_ID),
        ]


async def test_a_topic_named_twice_is_answered_twice(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        for version in (5, 6):
            await create(broker, wanted("t"))
            results = await delete(broker, "t", "t", version=version)
            assert [(one.name, one.error_code) for one in results] == [("t", NONE), ("t", NONE)]


async def test_an_item_without_name_and_id_is_answered_as_something_nobody_may_see(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        request = messages.DeleteTopicsRequest
        body = request(topics=[request.DeleteTopicState()], timeout_ms=5_000)
        (result,) = (await broker.ask("DeleteTopics", 6, body)).responses
        assert (result.name, result.error_code) == (None, ErrorCode.TOPIC_AUTHORIZATION_FAILED)


async def test_name_and_id_together_are_an_invalid_request(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        request = messages.DeleteTopicsRequest
        body = request(topics=[request.DeleteTopicState(name="t", topic_id=UUID(int=7))], timeout_ms=5_000)
        (result,) = (await broker.ask("DeleteTopics", 6, body)).responses
        assert (result.error_code, result.error_message) == (ErrorCode.INVALID_REQUEST, None)


async def test_a_topic_that_is_not_there_cannot_be_deleted(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        for version in range(7):
            (result,) = await delete(broker, "nope", version=version)
            assert (result.name, result.error_code) == ("nope", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)


@pytest.mark.parametrize(("version", "code"), [(2, ErrorCode.INVALID_REQUEST), (3, ErrorCode.TOPIC_DELETION_DISABLED)])
async def test_deletion_may_be_switched_off(tmp_path: Path, version: int, code: ErrorCode) -> None:
    async with lone_broker(tmp_path, settings=BrokerSettings(delete_topic_enable=False)) as broker:
        await create(broker, wanted("t"))
        (result,) = await delete(broker, "t", version=version)
        assert result.error_code == code
        assert broker.metadata.topic("t") is not None


async def test_a_topic_grows(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await create(broker, wanted("t", 2))
        assert await grow(broker, "t", 5) == (NONE, None)
        assert broker.metadata.has_leaders("t", range(5))
        assert await grow(broker, "t", 6, [[0]]) == (NONE, None)
        assert broker.leaderships.leader(TopicPartition("t", 5)).is_leader


async def test_validating_growth_changes_nothing(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        await create(broker, wanted("t", 2))
        assert await grow(broker, "t", 5, validate_only=True) == (NONE, None)
        assert len(broker.metadata.topics["t"].partitions) == 2


@pytest.mark.parametrize(
    ("name", "count", "given", "code", "text"),
    [
        ("t", 5, None, ErrorCode.INVALID_PARTITIONS, "Topic already has 5 partitions."),
        (
            "t",
            2,
            None,
            ErrorCode.INVALID_PARTITIONS,
            "Topic currently has 5 partitions, which is higher than the requested 2.",
        ),
        ("nope", 2, None, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The topic 'nope' does not exist."),
        ("../x", 2, None, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The topic '../x' does not exist."),
        ("t", 6, [[9]], ErrorCode.INVALID_REPLICA_ASSIGNMENT, "Unknown broker(s) in replica assignment: 9."),
        (
            "t",
            7,
            [[0]],
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "Increasing the number of partitions by 2 but 1 assignments provided.",
        ),
        (
            "t",
            6,
            [[0, 0]],
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "Duplicate brokers not allowed in replica assignment: 0, 0 for partition id 5.",
        ),
        (
            "t",
            6,
            [[]],
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "Cannot have replication factor of 0 for partition id 5.",
        ),
    ],
)
async def test_growth_that_cannot_be_is_refused_as_apache_kafka_does(
    tmp_path: Path, name: str, count: int, given: Any, code: ErrorCode, text: str
) -> None:
    async with lone_broker(tmp_path) as broker:
        await create(broker, wanted("t", 5))
        assert await grow(broker, name, count, given) == (code, text)


async def test_every_refusal_fits_every_version(tmp_path: Path) -> None:
    bodies = {
        "CreateTopics": messages.CreateTopicsRequest(topics=[wanted("t")]),
        "DeleteTopics": messages.DeleteTopicsRequest(topic_names=["t"]),
        "CreatePartitions": messages.CreatePartitionsRequest(topics=[messages.CreatePartitionsRequest.Topic(name="t")]),
        "Metadata": messages.MetadataRequest(topics=[messages.MetadataRequest.Topic(name="t")]),
        "DescribeCluster": messages.DescribeClusterRequest(),
    }
    async with lone_broker(tmp_path) as broker:
        families = (broker.topic_api, broker.metadata_api)
        collect(families)
        for family in families:
            for route in family.routes():
                low, high = map(int, route.serves.split("-"))
                for version in range(low, high + 1):
                    call: Call[Any] = Call(
                        api=route.api,
                        key=0,
                        version=version,
                        correlation_id=1,
                        client_id=None,
                        body=bodies[route.api],
                        size_bytes=0,
                    )
                    messages.encode(route.refuse(call, ErrorCode.UNKNOWN_SERVER_ERROR, None), version)
