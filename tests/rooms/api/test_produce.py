"""Produce appends to what is led here, and says what was refused and why."""

from __future__ import annotations

from typing import Any

import pytest

from pykafka_broker.api.produce import ADMIN_CLIENT_ID, ProduceApi
from pykafka_broker.model.errors import ErrorCode, WireError
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import close_call
from tests.rooms.api.conftest import Partitions, batch, call

Answer = messages.ProduceResponse.PartitionProduceResponse


@pytest.fixture
def api(partitions: Partitions) -> ProduceApi:
    partitions.leads("orders", 2)
    return ProduceApi(partitions.leaderships, partitions.changes, partitions.clock, partitions.keeper.flush)


def request(topic: str, *records: Any, acks: int = -1) -> messages.ProduceRequest:
    return messages.ProduceRequest(
        acks=acks,
        timeout_ms=1000,
        topic_data=[
            messages.ProduceRequest.TopicProduceData(
                name=topic,
                partition_data=[
                    messages.ProduceRequest.PartitionProduceData(index=index, records=one)
                    for index, one in enumerate(records)
                ],
            )
        ],
    )


async def answers(
    api: ProduceApi, body: messages.ProduceRequest, version: int = 9, client_id: str = "c"
) -> list[Answer]:
    response = await api.produce(call("Produce", version, body, client_id))
    assert response is not None
    return [answer for topic in response.responses for answer in topic.partition_responses]


async def test_offsets_grow_with_every_append_partition_by_partition(api: ProduceApi) -> None:
    first, second = await answers(api, request("orders", batch(b"a", b"b"), batch(b"c")))
    assert (first.base_offset, second.base_offset) == (0, 0)
    (again,) = await answers(api, request("orders", batch(b"d")))
    assert (again.error_code, again.base_offset, again.log_start_offset) == (0, 2, 0)


async def test_an_unknown_partition_is_refused_and_the_others_are_written(api: ProduceApi) -> None:
    good, _also, unknown = await answers(api, request("orders", batch(b"a"), batch(b"b"), batch(b"c")))
    assert (good.error_code, unknown.error_code) == (0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    assert unknown.base_offset == -1


async def test_a_partition_led_elsewhere_is_refused(api: ProduceApi, partitions: Partitions) -> None:
    partitions.leads("orders", 2, leader=1, epoch=1)
    (answer, *_rest) = await answers(api, request("orders", batch(b"a")))
    assert answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER


async def test_strange_acks_are_refused_for_every_partition(api: ProduceApi, partitions: Partitions) -> None:
    refused = await answers(api, request("orders", batch(b"a"), batch(b"b"), acks=2))
    assert [answer.error_code for answer in refused] == [ErrorCode.INVALID_REQUIRED_ACKS] * 2
    assert partitions.log("orders").log_end_offset == 0


async def test_without_acks_there_is_no_answer(api: ProduceApi, partitions: Partitions) -> None:
    assert await api.produce(call("Produce", 9, request("orders", batch(b"a"), acks=0))) is None
    assert partitions.log("orders").log_end_offset == 1


async def test_without_acks_an_error_closes_the_connection(api: ProduceApi) -> None:
    with pytest.raises(WireError):
        await api.produce(call("Produce", 9, request("nowhere", batch(b"a"), acks=0)))


async def test_internal_topics_are_for_the_tools_alone(api: ProduceApi, partitions: Partitions) -> None:
    partitions.leads("__consumer_offsets")
    (refused,) = await answers(api, request("__consumer_offsets", batch(b"a")))
    assert refused.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    (taken,) = await answers(api, request("__consumer_offsets", batch(b"a")), client_id=ADMIN_CLIENT_ID)
    assert taken.error_code == 0


async def test_a_broken_batch_is_refused(api: ProduceApi, partitions: Partitions) -> None:
    broken = batch(b"a")
    broken[-1] ^= 1
    (answer,) = await answers(api, request("orders", broken))
    assert answer.error_code == ErrorCode.CORRUPT_MESSAGE
    assert partitions.log("orders").log_end_offset == 0


async def test_records_without_key_are_named_when_a_compacted_topic_refuses_them(
    api: ProduceApi, partitions: Partitions
) -> None:
    from pykafka_broker.wire.batch import Record, build

    partitions.leads("compacted", cleanup_policy=("compact",))
    records = build([Record(0, 1_700_000_000_000, None, b"a", ())])
    (answer,) = await answers(api, request("compacted", records))
    assert answer.error_code == ErrorCode.INVALID_RECORD
    assert [error.batch_index for error in answer.record_errors] == [0]
    assert "Compacted topic cannot accept message without key" in str(answer.record_errors[0].batch_index_error_message)


async def test_log_append_time_is_the_brokers(api: ProduceApi, partitions: Partitions) -> None:
    partitions.leads("stamped", message_timestamp_type="LogAppendTime")
    (answer,) = await answers(api, request("stamped", batch(b"a", timestamp=5)))
    assert answer.log_append_time_ms == partitions.now


async def test_an_idempotent_producer_that_sends_twice_hears_the_first_offset_again(
    api: ProduceApi, partitions: Partitions
) -> None:
    def again() -> bytearray:
        return batch(b"a", producer_id=7, producer_epoch=0, base_sequence=0)

    (first,) = await answers(api, request("orders", again()))
    (second,) = await answers(api, request("orders", again()))
    assert (first.base_offset, second.base_offset, second.error_code) == (0, 0, 0)
    assert partitions.log("orders").log_end_offset == 1


async def test_a_topic_that_wants_every_record_flushed_has_it_before_the_answer(
    api: ProduceApi, partitions: Partitions
) -> None:
    partitions.leads("precious", flush_messages=1)
    (answer,) = await answers(api, request("precious", batch(b"a")))
    assert answer.error_code == 0
    assert partitions.log("precious").recovery_point == 1
    await answers(api, request("orders", batch(b"a")))
    assert partitions.log("orders").recovery_point == 0


@pytest.mark.parametrize("version", range(12))
async def test_a_refusal_can_be_told_in_every_version(api: ProduceApi, version: int) -> None:
    one = call("Produce", version, request("orders", b""))
    (route,) = api.routes()
    assert close_call(one, route.refuse(one, ErrorCode.UNKNOWN_SERVER_ERROR, None))


async def test_who_came_to_the_wrong_broker_is_told_the_right_one(partitions: Partitions) -> None:
    partitions.leads("t", leader=7, epoch=5)
    update = messages.UpdateMetadataRequest
    endpoint = update.Endpoint(port=9094, host="seven", listener="PLAINTEXT")
    partitions.metadata.update(update(live_brokers=[update.Broker(id=7, endpoints=[endpoint], rack="r7")]))
    api = ProduceApi(
        partitions.leaderships, partitions.changes, partitions.clock, partitions.keeper.flush, partitions.metadata
    )
    request = messages.ProduceRequest
    data = request.PartitionProduceData(index=0, records=batch(b"a"))
    body = request(acks=1, topic_data=[request.TopicProduceData(name="t", partition_data=[data])])
    response = await api.produce(call("Produce", 10, body))
    assert response is not None
    assert messages.encode(response, 10)
    (answer,) = response.responses[0].partition_responses
    assert answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert (answer.current_leader.leader_id, answer.current_leader.leader_epoch) == (7, 5)
    assert [(one.node_id, one.host, one.port, one.rack) for one in response.node_endpoints] == [
        (7, "seven", 9094, "r7")
    ]
