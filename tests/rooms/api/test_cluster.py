"""What brokers ask of the controller, over the wire and against a controller that really decides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pykafka_broker.api.cluster import ClusterApi
from pykafka_broker.control.topics import NewTopic
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_TOPIC_ID
from pykafka_broker.wire import messages
from pykafka_broker.zk import nodes
from tests.doubles.lone_broker import LoneBroker, brokers, lone_broker
from tests.rooms.api.conftest import call

ALTER = messages.AlterPartitionRequest


@asynccontextmanager
async def leading(folder: Path) -> AsyncIterator[LoneBroker]:
    """A broker that is alone and leads a topic ``t`` of one partition."""
    async with lone_broker(folder) as broker:
        await broker.topics.create(NewTopic(name="t", partitions=1, replication_factor=1))
        await broker.led("t")
        yield broker


async def ask(broker: LoneBroker, version: int, body: Any) -> Any:
    """The answer of a broker's desk to another broker."""
    api = type(body).__name__.removesuffix("Request")
    route = next(route for route in ClusterApi(broker.loop).routes() if route.api == api)
    asked = call(api, version, body)
    with trio.fail_after(5):
        try:
            response = await route.answer(asked)
        except KafkaError as error:
            response = route.refuse(asked, error.code, error.detail)
    messages.encode(response, version)
    return response


def wish(broker: LoneBroker, topic: str, *isr: int, version: int, **more: Any) -> messages.AlterPartitionRequest:
    """That a partition's ISR should be this."""
    known = broker.leaderships.hosted
    part = next(one for one in known.values() if one.partition.topic == topic)
    data = ALTER.PartitionData(leader_epoch=part.leader_epoch, partition_epoch=part.partition_epoch)
    if version >= 3:
        data.new_isr_with_epochs = [ALTER.BrokerState(broker_id=one) for one in isr]  # type: ignore[arg-type]
    else:
        data.new_isr = list(isr)  # type: ignore[arg-type]
    named = {"topic_id": part.topic_id} if version >= 2 else {"topic_name": topic}
    epoch = broker.leaderships.broker_epoch
    topics = [ALTER.TopicData(partitions=[data], **named)]
    return ALTER(**{"broker_id": broker.me, "broker_epoch": epoch, "topics": topics, **more})


@pytest.mark.parametrize("version", range(4))
async def test_a_leader_loses_and_gains_a_replica(tmp_path: Path, version: int) -> None:
    async with brokers(tmp_path) as several:
        first = await several.start(0)
        await several.start(1)
        await first.topics.create(NewTopic(name="t", assignment={0: (0, 1)}))  # type: ignore[dict-item]
        await first.led("t")
        answer = await ask(first, version, wish(first, "t", 0, version=version))
        (told,) = answer.topics[0].partitions
        assert (told.error_code, told.leader_id, told.isr, told.partition_epoch) == (0, 0, [0], 1)
        state = nodes.PartitionState.decode((await first.tree.read(nodes.partition_state_path("t", 0))).data)
        assert (state.isr, state.leader_epoch) == ((0,), 0)


@pytest.mark.parametrize(("version", "code"), [(0, 55), (1, 55), (2, 107), (3, 107)])
async def test_a_broker_that_is_not_there_may_not_join(tmp_path: Path, version: int, code: int) -> None:
    async with leading(tmp_path) as broker:
        answer = await ask(broker, version, wish(broker, "t", 0, 9, version=version))
        assert answer.topics[0].partitions[0].error_code == code


async def test_a_topic_of_an_unknown_id_is_refused_by_itself(tmp_path: Path) -> None:
    async with leading(tmp_path) as broker:
        body = wish(broker, "t", 0, version=3)
        body.topics[0].topic_id = type(body.topics[0].topic_id)(int=99)
        answer = await ask(broker, 3, body)
        assert answer.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


@pytest.mark.parametrize("version", [2, 3])
async def test_a_topic_without_id_is_nobodys(tmp_path: Path, version: int) -> None:
    async with leading(tmp_path) as broker:
        body = wish(broker, "t", 0, version=version)
        body.topics[0].topic_id = NO_TOPIC_ID
        answer = await ask(broker, version, body)
        assert answer.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


@pytest.mark.parametrize("version", [0, 1])
async def test_a_topic_of_an_unknown_name_is_refused_by_itself(tmp_path: Path, version: int) -> None:
    async with leading(tmp_path) as broker:
        body = wish(broker, "t", 0, version=version)
        body.topics[0].topic_name = "ghost"
        answer = await ask(broker, version, body)
        assert answer.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_an_earlier_life_of_a_leader_is_refused_as_a_whole(tmp_path: Path) -> None:
    async with leading(tmp_path) as broker:
        answer = await ask(broker, 3, wish(broker, "t", 0, version=3, broker_epoch=1))
        assert (answer.error_code, answer.topics) == (ErrorCode.STALE_BROKER_EPOCH, [])


@pytest.mark.parametrize("version", range(4))
async def test_a_broker_is_let_go(tmp_path: Path, version: int) -> None:
    async with brokers(tmp_path) as several:
        first = await several.start(0)
        second = await several.start(1)
        await first.topics.create(NewTopic(name="t", assignment={0: (1, 0)}))  # type: ignore[dict-item]
        await first.led("t")
        body = messages.ControlledShutdownRequest(broker_id=second.me)
        if version >= 2:
            body.broker_epoch = second.leaderships.broker_epoch
        answer = await ask(first, version, body)
        assert (answer.error_code, answer.remaining_partitions) == (ErrorCode.NONE, [])
        await first.led("t")
        state = nodes.PartitionState.decode((await first.tree.read(nodes.partition_state_path("t", 0))).data)
        assert (state.leader, state.isr) == (0, (0,))


async def test_producer_ids_are_given_to_registered_brokers(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        request = messages.AllocateProducerIdsRequest
        mine = broker.leaderships.broker_epoch
        first = await ask(broker, 0, request(broker_id=broker.me, broker_epoch=mine))
        second = await ask(broker, 0, request(broker_id=broker.me, broker_epoch=mine))
        assert (first.producer_id_start, first.producer_id_len, second.producer_id_start) == (0, 1000, 1000)
        unknown = await ask(broker, 0, request(broker_id=9, broker_epoch=mine))  # type: ignore[arg-type]
        assert unknown.error_code == ErrorCode.BROKER_ID_NOT_REGISTERED
        stale = await ask(broker, 0, request(broker_id=broker.me, broker_epoch=mine - 1))
        assert stale.error_code == ErrorCode.STALE_BROKER_EPOCH


async def test_there_are_no_features_to_update(tmp_path: Path) -> None:
    async with lone_broker(tmp_path) as broker:
        update = messages.UpdateFeaturesRequest.FeatureUpdateKey
        asked = [
            update(feature="x", max_version_level=1),
            update(feature="", max_version_level=1),
            update(feature="x", max_version_level=0),
            update(feature="x", max_version_level=0, upgrade_type=2),
            update(feature="x", max_version_level=1, upgrade_type=9),
        ]
        answer = await ask(broker, 1, messages.UpdateFeaturesRequest(feature_updates=asked))
        assert (answer.error_code, answer.error_message) == (ErrorCode.NONE, None)
        assert {one.error_code for one in answer.results} == {ErrorCode.INVALID_REQUEST}
        assert [one.error_message for one in answer.results] == [
            "Could not apply finalized feature update because the provided feature is not supported.",
            "Feature name can not be empty.",
            "Can not provide versionLevel: 0 less than 1 without setting the SAFE downgradeType in the request.",
            "Can not delete non-existing finalized feature.",
            "Received unknown upgrade type.",
        ]


async def test_who_is_not_the_controller_says_so(tmp_path: Path) -> None:
    async with brokers(tmp_path) as several:
        await several.start(0)
        second = await several.start(1)
        for body, version in (
            (ALTER(broker_id=second.me), 3),
            (messages.AllocateProducerIdsRequest(broker_id=second.me), 0),
            (messages.UpdateFeaturesRequest(), 1),
        ):
            assert (await ask(second, version, body)).error_code == ErrorCode.NOT_CONTROLLER
        shutdown = await ask(second, 3, messages.ControlledShutdownRequest(broker_id=second.me))
        assert shutdown.error_code == ErrorCode.STALE_CONTROLLER_EPOCH
