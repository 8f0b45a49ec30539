"""DescribeConfigs and the two ways to alter, against what Apache Kafka 3.9.1 answered to the same requests in order.

``observed/*_configs.jsonl`` are conversations with a broker of Kafka 3.9.1 (fresh topics ``d1`` and ``d2``), one
exchange a line: of an alteration the error code and message of each resource, of a description every setting that some
layer above the file says something of. Left out: a topic called ``..`` (Kafka tells how ZooKeeper dislikes the path),
and a resource that comes twice in AlterConfigs (Kafka gives no answer at all).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pykafka_broker.api.configs import ConfigApi
from pykafka_broker.config.loading import load
from pykafka_broker.config.overrides import wanted
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import BrokerId
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.dynamic_configs import DynamicConfigs
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call
from pykafka_broker.zk import nodes
from pykafka_broker.zk.embedded import open_embedded
from pykafka_broker.zk.registration import prepare
from tests.rooms.zk.conftest import inline

TOPIC, BROKER, LOGGER = 2, 4, 8
SET, DELETE, APPEND, SUBTRACT = range(4)
OBSERVED = Path(__file__).parent / "observed"
PROPERTIES = "broker.id=0\nlisteners=PLAINTEXT://127.0.0.1:9092\nzookeeper.connect=127.0.0.1:2181\n"


class Known:
    """Topics that exist."""

    def topic(self, name: str) -> object | None:
        return name if name in ("d1", "d2") else None


class Story:
    """The handlers, asked as the desk would ask them, with the answers taken through the wire format."""

    def __init__(self, api: ConfigApi) -> None:
        self.api = api

    async def ask(self, name: str, version: int, body: Any) -> Any:
        (route,) = (route for route in self.api.routes() if route.api == name)
        call = Call(api=name, key=0, version=version, correlation_id=1, client_id="t", body=body, size_bytes=0)
        answer = await route.answer(call)
        return messages.decode(type(answer), messages.encode(answer, version), version)

    async def describe(self, kind: int, name: str, keys: list[str] | None = None, **how: Any) -> Any:
        request = messages.DescribeConfigsRequest
        version = how.pop("version", 4)
        how.setdefault("include_synonyms", version >= 1)
        resource = request.Resource(resource_type=kind, resource_name=name, configuration_keys=keys)
        return (await self.ask("DescribeConfigs", version, request(resources=[resource], **how))).results[0]

    async def alter(self, name: str, version: int, resources: list[Any], validate_only: bool = False) -> Any:
        if name == "AlterConfigs":
            plain = messages.AlterConfigsRequest
            body: Any = plain(
                resources=[
                    plain.Resource(
                        resource_type=kind,
                        resource_name=entity,
                        configs=[plain.AlterableConfig(name=key, value=value) for key, _, value in changes],
                    )
                    for kind, entity, changes in resources
                ],
                validate_only=validate_only,
            )
        else:
            request = messages.IncrementalAlterConfigsRequest
            body = request(
                resources=[
                    request.AlterConfigsResource(
                        resource_type=kind,
                        resource_name=entity,
                        configs=[
                            request.AlterableConfig(name=key, config_operation=operation, value=value)
                            for key, operation, value in changes
                        ],
                    )
                    for kind, entity, changes in resources
                ],
                validate_only=validate_only,
            )
        return (await self.ask(name, version, body)).responses


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    async with open_embedded(tmp_path, in_worker=inline, clock=lambda: 1) as house:
        await prepare(house)
        await house.create(nodes.CONTROLLER, b"{}")
        configs = DynamicConfigs(load(PROPERTIES), house, lambda: Millis(1))
        await configs.load(BrokerId(0))
        yield Story(ConfigApi(configs, Known(), BrokerId(0)))


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["topic", "broker"])
async def test_a_long_conversation_goes_as_it_went_with_apache_kafka(story: Story, subject: str) -> None:
    for line in (OBSERVED / f"{subject}_configs.jsonl").read_text().splitlines():
        then = json.loads(line)
        if then["api"] == "DescribeConfigs":
            result = await story.describe(*then["resource"], then.get("keys"))
            if "answer" in then:
                assert [result.error_code, result.error_message] == then["answer"], line
                continue
            told = [
                [
                    config.name,
                    config.value,
                    config.config_source,
                    [[s.name, s.value, s.source] for s in config.synonyms],
                ]
                for config in result.configs
                if config.config_source in (1, 2, 3) or any(s.source in (2, 3) for s in config.synonyms)
            ]
            assert sorted(told) == then["set"], line
        else:
            version = 2 if then["api"] == "AlterConfigs" else 1
            answers = await story.alter(then["api"], version, then["resources"], then.get("validate_only", False))
            assert [[one.error_code, one.error_message] for one in answers] == then["answers"], line


async def test_a_topic_shows_36_settings_and_a_broker_314(story: Story) -> None:
    for version in range(5):
        topic = await story.describe(TOPIC, "d1", version=version)
        broker = await story.describe(BROKER, "0", version=version)
        assert (len(topic.configs), len(broker.configs)) == (36, 314)
        assert (topic.error_code, topic.error_message) == (0, "")


async def test_each_version_tells_what_it_can(story: Story) -> None:
    def of(result: Any) -> Any:
        return next(config for config in result.configs if config.name == "segment.bytes")

    shown = of(await story.describe(TOPIC, "d1", version=0))
    assert (shown.value, shown.is_default, shown.config_type) == ("1073741824", False, 0)
    shown = of(await story.describe(TOPIC, "d1", version=1))
    assert (shown.config_source, [synonym.name for synonym in shown.synonyms]) == (5, ["log.segment.bytes"])
    shown = of(await story.describe(TOPIC, "d1", version=1, include_synonyms=False))
    assert (shown.config_source, shown.synonyms) == (5, [])
    shown = of(await story.describe(TOPIC, "d1", version=3))
    assert (shown.config_type, shown.documentation) == (3, None)
    shown = of(await story.describe(TOPIC, "d1", version=4, include_documentation=True))
    assert shown.documentation


async def test_settings_come_in_the_order_in_which_kafka_gives_them(story: Story) -> None:
    result = await story.describe(TOPIC, "d1")
    assert [config.name for config in result.configs][:3] == [
        "compression.type",
        "remote.log.delete.on.disable",
        "leader.replication.throttled.replicas",
    ]
    assert result.configs == (await story.describe(TOPIC, "d1", [])).configs
    assert [config.name for config in wanted(story.api.configs.shown({}), ["segment.ms", "cleanup.policy"])] == [
        config.name for config in (await story.describe(TOPIC, "d1", ["segment.ms", "cleanup.policy"])).configs
    ]


async def test_loggers_are_shown_and_set(story: Story) -> None:
    shown = {config.name: config for config in (await story.describe(LOGGER, "0")).configs}
    assert (shown["root"].config_source, shown["root"].config_type, shown["root"].synonyms) == (6, 0, [])
    name = "pykafka_broker.runtime.dynamic_configs"
    for operation, level in ((SET, "ERROR"), (SET, "DEBUG")):
        (answer,) = await story.alter("IncrementalAlterConfigs", 1, [[LOGGER, "0", [[name, operation, level]]]])
        assert answer.error_code == ErrorCode.NONE
        (config,) = (await story.describe(LOGGER, "0", [name])).configs
        assert config.value == level
    await story.alter("IncrementalAlterConfigs", 1, [[LOGGER, "0", [[name, SET, "ERROR"]]]], validate_only=True)
    (config,) = (await story.describe(LOGGER, "0", [name])).configs
    assert config.value == "DEBUG"
    (answer,) = await story.alter("IncrementalAlterConfigs", 1, [[LOGGER, "0", [[name, DELETE, None]]]])
    assert answer.error_code == ErrorCode.NONE


async def test_a_resource_that_comes_twice_is_refused_both_times(story: Story) -> None:
    twice = [[TOPIC, "d1", [["retention.ms", SET, "5"]]]] * 2
    for name in ("AlterConfigs", "IncrementalAlterConfigs"):
        for answer in await story.alter(name, 1, twice):
            assert answer.error_message == "Each resource must appear at most once."


@pytest.mark.parametrize("api", ["DescribeConfigs", "AlterConfigs", "IncrementalAlterConfigs"])
async def test_a_refusal_of_the_whole_call_answers_for_every_resource(story: Story, api: str) -> None:
    (route,) = (route for route in story.api.routes() if route.api == api)
    low, high = map(int, route.serves.split("-"))
    request = {
        "DescribeConfigs": messages.DescribeConfigsRequest(
            resources=[messages.DescribeConfigsRequest.Resource(resource_type=TOPIC, resource_name="d1")]
        ),
        "AlterConfigs": messages.AlterConfigsRequest(
            resources=[messages.AlterConfigsRequest.Resource(resource_type=TOPIC, resource_name="d1")]
        ),
        "IncrementalAlterConfigs": messages.IncrementalAlterConfigsRequest(
            resources=[
                messages.IncrementalAlterConfigsRequest.AlterConfigsResource(resource_type=TOPIC, resource_name="d1")
            ]
        ),
    }[api]
    for version in range(low, high + 1):
        call = Call(api=api, key=0, version=version, correlation_id=1, client_id="t", body=request, size_bytes=0)
        answer: Any = route.refuse(call, ErrorCode.CLUSTER_AUTHORIZATION_FAILED, None)
        back = messages.decode(type(answer), messages.encode(answer, version), version)
        (item,) = back.results if api == "DescribeConfigs" else back.responses
        assert (item.error_code, item.resource_name) == (ErrorCode.CLUSTER_AUTHORIZATION_FAILED, "d1")
        assert item.error_message
