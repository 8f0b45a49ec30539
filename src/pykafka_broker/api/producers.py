"""InitProducerId for idempotent producers, and DescribeProducers.

InitProducerId
  3    the producer may name its id and epoch (KIP-360);  4  PRODUCER_FENCED instead of INVALID_PRODUCER_EPOCH
A transactional id needs a transaction coordinator, which this broker does not have yet.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from pykafka_broker.api.routes import Route
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import Offset, ProducerId, TopicPartition
from pykafka_broker.runtime.leaderships import Leaderships
from pykafka_broker.runtime.producer_ids import ProducerIds
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call


class ProducerApi(Struct):
    """Gives producer ids, and tells which producers a partition remembers."""

    producer_ids: ProducerIds
    leaderships: Leaderships

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("InitProducerId", "0-5", self.init_producer_id, self._refuse_init),
            Route("DescribeProducers", "0-0", self.describe_producers, self._refuse_describe),
        )

    async def init_producer_id(self, call: Call[Any]) -> messages.InitProducerIdResponse:
        """A new id with epoch 0 for a producer without transactional id."""
        body = call.body
        if body.transactional_id == "":
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        if body.transactional_id is not None:
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        if (body.producer_id == -1) != (body.producer_epoch == -1):
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        return messages.InitProducerIdResponse(producer_id=await self.producer_ids.next(), producer_epoch=0)

    async def describe_producers(self, call: Call[Any]) -> messages.DescribeProducersResponse:
        """The producers that each partition asked remembers, with their last sequence and open transaction."""
        response = messages.DescribeProducersResponse
        return response(
            topics=[
                response.TopicResponse(
                    name=topic.name, partitions=[self._describe(topic.name, index) for index in topic.partition_indexes]
                )
                for topic in call.body.topics
            ]
        )

    def _describe(self, topic: str, index: int) -> messages.DescribeProducersResponse.PartitionResponse:
        answer = messages.DescribeProducersResponse.PartitionResponse(partition_index=index)
        try:
            log = self.leaderships.leader(TopicPartition(topic, index)).log
        except KafkaError as error:
            answer.error_code, answer.error_message = error.code, error.message
            return answer
        answer.active_producers = [
            messages.DescribeProducersResponse.ProducerState(
                producer_id=ProducerId(state.producer_id),
                producer_epoch=state.producer_epoch,
                last_sequence=state.last_sequence,
                last_timestamp=state.last_timestamp,
                coordinator_epoch=state.coordinator_epoch,
                current_txn_start_offset=Offset(state.current_txn_start_offset),
            )
            for state in log.producers_state()
        ]
        return answer

    @staticmethod
    def _refuse_init(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.InitProducerIdResponse:
        return messages.InitProducerIdResponse(error_code=code, producer_id=ProducerId(-1), producer_epoch=-1)

    @staticmethod
    def _refuse_describe(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.DescribeProducersResponse:
        response = messages.DescribeProducersResponse
        return response(
            topics=[
                response.TopicResponse(
                    name=topic.name,
                    partitions=[
                        response.PartitionResponse(partition_index=index, error_code=code, error_message=detail)
                        for index in topic.partition_indexes
                    ],
                )
                for topic in call.body.topics
            ]
        )
