"""Producer ids are given out, and what a partition remembers of producers is told."""

from __future__ import annotations

import pytest
import trio

from pykafka_broker.api.producers import ProducerApi
from pykafka_broker.log.partition import Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.runtime.producer_ids import ProducerIds
from pykafka_broker.wire import messages
from tests.rooms.api.conftest import Partitions, batch, call


async def _block() -> range:
    return range(1000, 2000)


@pytest.fixture
def api(partitions: Partitions, nursery: trio.Nursery) -> ProducerApi:
    partitions.leads("orders")
    return ProducerApi(ProducerIds(_block, nursery.start_soon), partitions.leaderships)


async def test_every_idempotent_producer_gets_an_id_of_its_own(api: ProducerApi) -> None:
    request = messages.InitProducerIdRequest(transactional_id=None)
    given = [await api.init_producer_id(call("InitProducerId", 4, request)) for _ in range(3)]
    assert [(one.error_code, one.producer_id, one.producer_epoch) for one in given] == [
        (0, 1000, 0),
        (0, 1001, 0),
        (0, 1002, 0),
    ]


@pytest.mark.parametrize(
    "request_, error",
    [
        (messages.InitProducerIdRequest(transactional_id=""), ErrorCode.INVALID_REQUEST),
        (messages.InitProducerIdRequest(transactional_id=None, producer_id=5), ErrorCode.INVALID_REQUEST),
        (messages.InitProducerIdRequest(transactional_id="t"), ErrorCode.COORDINATOR_NOT_AVAILABLE),
    ],
)
async def test_what_makes_no_sense_is_refused(
    api: ProducerApi, request_: messages.InitProducerIdRequest, error: ErrorCode
) -> None:
    with pytest.raises(KafkaError) as refused:
        await api.init_producer_id(call("InitProducerId", 4, request_))
    assert refused.value.code is error


async def test_a_partition_tells_of_the_producers_it_remembers(api: ProducerApi, partitions: Partitions) -> None:
    partitions.leaderships.leader(TopicPartition("orders", 0)).append(
        partitions.now,
        batch(b"a", b"b", producer_id=7, producer_epoch=2, base_sequence=0),
        origin=Origin.CLIENT,
        api_version=9,
    )
    request = messages.DescribeProducersRequest
    body = request(topics=[request.TopicRequest(name="orders", partition_indexes=[0, 9])])
    known, unknown = (await api.describe_producers(call("DescribeProducers", 0, body))).topics[0].partitions
    (producer,) = known.active_producers
    assert (producer.producer_id, producer.producer_epoch, producer.last_sequence) == (7, 2, 1)
    assert (producer.coordinator_epoch, producer.current_txn_start_offset) == (-1, -1)
    assert unknown.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
