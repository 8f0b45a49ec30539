"""Produce: append record batches to the partitions led here.

0-2  message sets of the old formats, converted to batches on the way in
3    exactly one batch of format 2 for each partition; transactional id
5    the answer tells the log's start offset
7    zstd
8    which records were refused, and why
9    flexible
10   a refusal for want of leadership names the leader
11   may answer TRANSACTION_ABORTABLE
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio
from msgspec import Struct

from pykafka_broker.api.current_leaders import tell_leader
from pykafka_broker.api.routes import Route
from pykafka_broker.log.partition import Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError, WireError
from pykafka_broker.model.names import INTERNAL_TOPICS, NO_OFFSET, Offset, TopicPartition
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.leaderships import Leadership, Leaderships
from pykafka_broker.runtime.metadata import ELSEWHERE, Metadata
from pykafka_broker.runtime.waiter import Waiter
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call

_FIRST_VERSION_WITH_LEADERS = 10

ADMIN_CLIENT_ID = "__admin_client"
"""Only Kafka's own tools may write into internal topics, and this is what they call themselves."""


if TYPE_CHECKING:
    _Answer = messages.ProduceResponse.PartitionProduceResponse
    _Unflushed = tuple[_Answer, TopicPartition]


class _Waiting(Struct):
    """An append whose answer waits until the in-sync replicas have it too."""

    answer: messages.ProduceResponse.PartitionProduceResponse
    leadership: Leadership
    last_offset: Offset
    term: int
    """The leader's term in which it was appended: in a later one something else may be at that offset."""


class ProduceApi(Struct):
    """Appends on the trio thread, without a pause between two partitions of one request."""

    leaderships: Leaderships
    changes: Changes
    clock: Clock
    flush: Callable[[TopicPartition], Awaitable[None]]
    """Makes what has been appended to a partition last, for topics that want it before the answer."""
    metadata: Metadata | None = None
    """Knows who leads, for those who came to the wrong broker (KIP-951)."""

    def routes(self) -> tuple[Route, ...]:
        return (Route("Produce", "0-11", self.produce, self._refuse),)

    async def produce(self, call: Call[Any]) -> messages.ProduceResponse | None:
        """Append everything, then wait for the replicas if acks=all; no answer at all if acks=0."""
        body = call.body
        acks = body.acks
        if acks not in (-1, 0, 1):
            return self._refuse(call, ErrorCode.INVALID_REQUIRED_ACKS, None)
        response = messages.ProduceResponse()
        waiting: list[_Waiting] = []
        to_flush: list[_Unflushed] = []
        for topic in body.topic_data:
            name = topic.name
            answers = [self._append(call, acks, name, data, waiting, to_flush) for data in topic.partition_data]
            response.responses.append(
                messages.ProduceResponse.TopicProduceResponse(name=name, partition_responses=answers)
            )
        if to_flush:
            async with trio.open_nursery() as nursery:
                for answer, partition in to_flush:
                    nursery.start_soon(self._flush, answer, partition)
        if acks == 0:
            self._hang_up_on_error(response)
            return None
        if waiting:
            await self._replicated(waiting, Waiter(max(body.timeout_ms, 0) / 1000, may_park=call.may_park))
        if call.version >= _FIRST_VERSION_WITH_LEADERS and self.metadata is not None:
            self._tell_leaders(call, self.metadata, response)
        return response

    @staticmethod
    def _tell_leaders(call: Call[Any], metadata: Metadata, response: messages.ProduceResponse) -> None:
        for topic in response.responses:
            for answer in topic.partition_responses:
                if answer.error_code in ELSEWHERE:
                    partition = TopicPartition(topic.name, answer.index)
                    tell_leader(metadata, call.session.listener, partition, answer, response)

    def _append(
        self,
        call: Call[Any],
        acks: int,
        topic: str,
        data: messages.ProduceRequest.PartitionProduceData,
        waiting: list[_Waiting],
        to_flush: list[_Unflushed],
    ) -> messages.ProduceResponse.PartitionProduceResponse:
        answer = messages.ProduceResponse.PartitionProduceResponse(index=data.index, base_offset=NO_OFFSET)
        try:
            if topic in INTERNAL_TOPICS and call.client_id != ADMIN_CLIENT_ID:
                raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION)
            leadership = self.leaderships.leader(TopicPartition(topic, data.index))
            if acks == -1:
                leadership.require_enough_replicas()
            appended = leadership.append(
                self.clock(), data.records or b"", origin=Origin.CLIENT, api_version=call.version
            )
        except KafkaError as error:
            answer.error_code = error.code
            record_errors = getattr(error, "record_errors", ())
            if record_errors:
                answer.error_message = error.message
                answer.record_errors = [
                    messages.ProduceResponse.BatchIndexAndErrorMessage(
                        batch_index=index, batch_index_error_message=message
                    )
                    for index, message in record_errors
                ]
            return answer
        if appended.must_flush:
            to_flush.append((answer, leadership.partition))
        # They are offsets as they are; to say so by a call would cost as much as everything else here.
        answer.base_offset = appended.base_offset  # type: ignore[assignment]
        answer.log_append_time_ms = appended.log_append_time_ms
        answer.log_start_offset = appended.log_start_offset  # type: ignore[assignment]
        if acks == -1 and leadership.log.high_watermark <= appended.last_offset:
            waiting.append(_Waiting(answer, leadership, Offset(appended.last_offset), leadership.term))
        return answer

    async def _flush(self, answer: _Answer, partition: TopicPartition) -> None:
        try:
            await self.flush(partition)
        except KafkaError as error:
            answer.error_code, answer.base_offset = error.code, NO_OFFSET

    async def _replicated(self, waiting: list[_Waiting], waiter: Waiter) -> None:
        """Wait until the high watermark has passed every append, or the time is over."""
        left = waiting
        while left := [one for one in left if not self._is_done(one)]:
            if not await self.changes.wait_as(waiter, [one.leadership.partition for one in left]):
                break
        for one in left:
            one.answer.error_code = ErrorCode.REQUEST_TIMED_OUT
            one.answer.base_offset = NO_OFFSET

    @staticmethod
    def _is_done(one: _Waiting) -> bool:
        try:
            one.leadership.require_leadership(one.term)
            if one.leadership.log.high_watermark <= one.last_offset:
                return False
            one.leadership.require_enough_replicas(after_append=True)
        except KafkaError as error:
            one.answer.error_code = error.code
            one.answer.base_offset = NO_OFFSET
        return True

    @staticmethod
    def _hang_up_on_error(response: messages.ProduceResponse) -> None:
        """A client that wants no answer learns of an error by losing its connection (``KafkaApis``)."""
        for topic in response.responses:
            for answer in topic.partition_responses:
                if answer.error_code:
                    code = ErrorCode.of(answer.error_code).name
                    raise WireError(f"produce without acks failed: {topic.name}-{answer.index} {code}")

    @staticmethod
    def _refuse(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.ProduceResponse:
        response = messages.ProduceResponse
        return response(
            responses=[
                response.TopicProduceResponse(
                    name=topic.name,
                    partition_responses=[
                        response.PartitionProduceResponse(index=data.index, error_code=code, base_offset=NO_OFFSET)
                        for data in topic.partition_data
                    ],
                )
                for topic in call.body.topic_data
            ]
        )
