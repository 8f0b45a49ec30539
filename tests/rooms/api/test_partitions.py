"""The controller's orders, in every version that a controller may speak."""

from __future__ import annotations

from typing import Any

import pytest

from pykafka_broker.api.partitions import PartitionApi
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import NO_TOPIC_ID, TopicPartition
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Served, close_call, open_call, read_response, write_request
from tests.rooms.api.conftest import Partitions

SERVED = Served({4: (0, 7), 5: (0, 4), 6: (0, 8)})


async def asks(partitions: Partitions, version: int, body: Any) -> Any:
    """The answer as it arrives at the controller."""
    api = type(body).__name__.removesuffix("Request")
    call = open_call(memoryview(write_request(api, version, 1, "0", body))[4:], SERVED)
    family = PartitionApi(partitions.leaderships)
    route = next(route for route in family.routes() if route.api == api)
    sent = b"".join(bytes(piece) for piece in close_call(call, await route.answer(call)))  # type: ignore[arg-type]
    return read_response(api, version, memoryview(sent)[4:])[1]


def order(partitions: Partitions, version: int, **more: Any) -> Any:
    request = messages.LeaderAndIsrRequest
    state = request.PartitionState(
        topic_name="t" if version < 2 else "", leader=0, leader_epoch=3, isr=[0], replicas=[0], is_new=True
    )
    if version < 2:
        return request(controller_epoch=1, ungrouped_partition_states=[state], **more)
    topic_id = partitions.topic_id("t") if version >= 5 else NO_TOPIC_ID
    topic = request.TopicState(topic_name="t", topic_id=topic_id, partition_states=[state])
    return request(controller_epoch=1, topic_states=[topic], **more)


@pytest.mark.parametrize("version", range(8))
async def test_a_leader_and_isr_of_every_version_makes_a_leader(partitions: Partitions, version: int) -> None:
    answer = await asks(partitions, version, order(partitions, version))
    if version < 5:
        assert [(one.topic_name, one.partition_index, one.error_code) for one in answer.partition_errors] == [
            ("t", 0, 0)
        ]
    else:
        (topic,) = answer.topics
        assert topic.topic_id == partitions.topic_id("t")
        assert [(one.partition_index, one.error_code) for one in topic.partition_errors] == [(0, 0)]
    assert partitions.leaderships.leader(TopicPartition("t", 0)).leader_epoch == 3


@pytest.mark.parametrize("version", range(5))
async def test_a_stop_replica_of_every_version_takes_the_partition_away(partitions: Partitions, version: int) -> None:
    partitions.leads("t")
    request = messages.StopReplicaRequest
    body = request(controller_epoch=1)
    if version == 0:
        body.ungrouped_partitions = [request.PartitionV0(topic_name="t", partition_index=0)]
        body.delete_partitions = True
    elif version < 3:
        body.topics = [request.TopicV1(name="t", partition_indexes=[0])]
        body.delete_partitions = True
    else:
        state = request.PartitionState(partition_index=0, leader_epoch=-2, delete_partition=True)  # type: ignore[arg-type]
        body.topic_states = [request.TopicState(topic_name="t", partition_states=[state])]
    answer = await asks(partitions, version, body)
    assert [(one.topic_name, one.error_code) for one in answer.partition_errors] == [("t", 0)]
    assert partitions.leaderships.get(TopicPartition("t", 0)) is None


@pytest.mark.parametrize("version", range(9))
async def test_an_update_metadata_of_every_version_is_remembered(partitions: Partitions, version: int) -> None:
    request = messages.UpdateMetadataRequest
    state = request.PartitionState(topic_name="u" if version < 5 else "", leader=7, isr=[7], replicas=[7])
    broker = request.Broker(id=7, v0_host="seven", v0_port=9000)
    if version >= 1:
        listener = "PLAINTEXT" if version >= 3 else ""
        broker = request.Broker(id=7, endpoints=[request.Endpoint(port=9000, host="seven", listener=listener)])
    body = request(controller_id=7, controller_epoch=1, live_brokers=[broker])
    if version < 5:
        body.ungrouped_partition_states = [state]
    else:
        body.topic_states = [request.TopicState(topic_name="u", partition_states=[state])]
    answer = await asks(partitions, version, body)
    assert answer.error_code == ErrorCode.NONE
    address = partitions.metadata.address(7, "PLAINTEXT")  # type: ignore[arg-type]
    assert address is not None
    assert (address.host, address.port) == ("seven", 9000)
    known = partitions.metadata.partition(TopicPartition("u", 0))
    assert known is not None
    assert known.leader == 7


async def test_a_controller_whose_time_is_over_is_refused(partitions: Partitions) -> None:
    await asks(partitions, 7, order(partitions, 7))
    late = order(partitions, 7)
    late.controller_epoch = 0
    assert (await asks(partitions, 7, late)).error_code == ErrorCode.STALE_CONTROLLER_EPOCH


async def test_an_order_to_an_earlier_life_of_this_broker_is_refused(partitions: Partitions) -> None:
    partitions.leaderships.broker_epoch = 10
    for body, version in (
        (order(partitions, 7, broker_epoch=9), 7),
        (messages.UpdateMetadataRequest(controller_epoch=1, broker_epoch=9), 8),
        (messages.StopReplicaRequest(controller_epoch=1, broker_epoch=9), 4),
    ):
        assert (await asks(partitions, version, body)).error_code == ErrorCode.STALE_BROKER_EPOCH
