"""ListOffsets, OffsetForLeaderEpoch and DeleteRecords: questions about where a partition's log begins and ends.

ListOffsets
  0    a list of segment starts, newest first
  1    the first record at or after a time
  2    isolation level
  4    leader epochs
  5    OFFSET_NOT_AVAILABLE
  7    -3, the greatest timestamp;  8  -4, the earliest local offset;  9  -5, the latest tiered offset
OffsetForLeaderEpoch
  1    the epoch beside the offset;  2  the client's own epoch is checked;  3  replica id
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from msgspec import Struct

from pykafka_broker.api.routes import Route
from pykafka_broker.log import lookups
from pykafka_broker.log.partition import Isolation
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import INTERNAL_TOPICS, NO_OFFSET, LeaderEpoch, Offset, TopicPartition
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.leaderships import Leadership, Leaderships
from pykafka_broker.runtime.waiter import Waiter
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call

_SPECIAL_SINCE = {-1: 0, -2: 0, -3: 7, -4: 8, -5: 9}
"""The special timestamps of ListOffsets and the version that first knew each."""
_EPOCH_SINCE = 4
"""The version of ListOffsets that first tells the leader epoch of what it found."""
_NOT_AVAILABLE_SINCE = 5
_CONSUMER, _DEBUGGING = -1, -2
"""Replica ids of those who are no broker; a tool that looks for errors may ask any replica."""


class _Deleting(Struct, frozen=True):
    """Records deleted here, the answer about which waits until all live replicas have deleted them, too."""

    answer: messages.DeleteRecordsResponse.PartitionResult
    leadership: Leadership
    wanted: Offset
    term: int
    """The leader's term in which they were: a later leader need not know of it."""

    def is_done(self) -> bool:
        """Whether nothing is to be waited for any more; the answer says then how it ended."""
        try:
            self.leadership.require_leadership(self.term)
        except KafkaError as error:
            self.answer.error_code, self.answer.low_watermark = error.code, NO_OFFSET
            return True
        self.answer.low_watermark = self.leadership.low_watermark
        return self.answer.low_watermark >= self.wanted


class OffsetApi(Struct):
    """Every partition is asked for itself; one that fails does not spoil the others."""

    leaderships: Leaderships
    changes: Changes
    clock: Clock

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("ListOffsets", "0-9", self.list_offsets, self._refuse_list),
            Route("OffsetForLeaderEpoch", "0-4", self.offset_for_leader_epoch, self._refuse_epochs),
            Route("DeleteRecords", "0-2", self.delete_records, self._refuse_delete),
        )

    async def list_offsets(self, call: Call[Any]) -> messages.ListOffsetsResponse:
        """The offset for a time, for each partition asked; a partition asked twice is INVALID_REQUEST."""
        response = messages.ListOffsetsResponse
        asked_for = Counter(
            (topic.name, asked.partition_index) for topic in call.body.topics for asked in topic.partitions
        )
        return response(
            topics=[
                response.TopicResponse(
                    name=topic.name,
                    partitions=[
                        self._list_one(call, topic.name, asked, asked_for[topic.name, asked.partition_index] > 1)
                        for asked in topic.partitions
                    ],
                )
                for topic in call.body.topics
            ]
        )

    def _list_one(
        self, call: Call[Any], topic: str, asked: messages.ListOffsetsRequest.Partition, is_repeated: bool
    ) -> messages.ListOffsetsResponse.PartitionResponse:
        answer = messages.ListOffsetsResponse.PartitionResponse(partition_index=asked.partition_index)
        try:
            if is_repeated and call.version > 0:
                raise KafkaError(ErrorCode.INVALID_REQUEST)
            epoch, replica = LeaderEpoch(asked.current_leader_epoch), call.body.replica_id
            partition = TopicPartition(topic, asked.partition_index)
            may_be_any = replica == _DEBUGGING
            leadership = (self.leaderships.replica if may_be_any else self.leaderships.leader)(partition, epoch)
            isolation = Isolation.LOG_END
            if replica == _CONSUMER:
                isolation = Isolation.READ_COMMITTED if call.body.isolation_level == 1 else Isolation.READ_UNCOMMITTED
            if call.version == 0:
                answer.old_style_offsets = leadership.log.offsets_before(
                    self.clock(), asked.timestamp, asked.max_num_offsets, isolation
                )
                return answer
            if asked.timestamp < 0 and call.version < _SPECIAL_SINCE.get(asked.timestamp, 2**15):
                raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
            if replica == _CONSUMER and not leadership.is_settled:
                self._refuse_unsettled(call, leadership, asked.timestamp, isolation)
            found = leadership.log.offset_for_time(asked.timestamp, isolation)
            answer.offset, answer.timestamp = Offset(found.offset), found.timestamp
            if call.version >= _EPOCH_SINCE:
                answer.leader_epoch = LeaderEpoch(found.leader_epoch)
        except KafkaError as error:
            answer.error_code = error.code
        return answer

    @staticmethod
    def _refuse_unsettled(call: Call[Any], leadership: Leadership, timestamp: int, isolation: Isolation) -> None:
        """A new leader does not know yet how much is committed (KIP-207); what surely is, may be told."""
        if timestamp != lookups.LATEST and leadership.log.offset_for_time(timestamp, isolation).offset >= 0:
            return
        not_available = call.version >= _NOT_AVAILABLE_SINCE
        raise KafkaError(ErrorCode.OFFSET_NOT_AVAILABLE if not_available else ErrorCode.LEADER_NOT_AVAILABLE)

    async def offset_for_leader_epoch(self, call: Call[Any]) -> messages.OffsetForLeaderEpochResponse:
        """Where the largest epoch not above the asked one ends, for each partition asked."""
        response = messages.OffsetForLeaderEpochResponse
        return response(
            topics=[
                response.OffsetForLeaderTopicResult(
                    topic=topic.topic, partitions=[self._end_of_epoch(topic.topic, asked) for asked in topic.partitions]
                )
                for topic in call.body.topics
            ]
        )

    def _end_of_epoch(
        self, topic: str, asked: messages.OffsetForLeaderEpochRequest.OffsetForLeaderPartition
    ) -> messages.OffsetForLeaderEpochResponse.EpochEndOffset:
        answer = messages.OffsetForLeaderEpochResponse.EpochEndOffset(partition=asked.partition)
        try:
            epoch = LeaderEpoch(asked.current_leader_epoch)
            leadership = self.leaderships.leader(TopicPartition(topic, asked.partition), epoch)
            found = leadership.end_of_epoch(LeaderEpoch(asked.leader_epoch))
            answer.leader_epoch, answer.end_offset = LeaderEpoch(found.epoch), Offset(found.end_offset)
        except KafkaError as error:
            answer.error_code = error.code
        return answer

    async def delete_records(self, call: Call[Any]) -> messages.DeleteRecordsResponse:
        """Move the start of each log up to the offset asked; answers when all replicas have followed."""
        response = messages.DeleteRecordsResponse()
        waiting: list[_Deleting] = []
        for topic in call.body.topics:
            answers = []
            for asked in topic.partitions:
                answer = messages.DeleteRecordsResponse.PartitionResult(
                    partition_index=asked.partition_index, low_watermark=NO_OFFSET
                )
                answers.append(answer)
                try:
                    if topic.name in INTERNAL_TOPICS:
                        raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION)
                    leadership = self.leaderships.leader(TopicPartition(topic.name, asked.partition_index))
                    wanted = leadership.delete_records(Offset(asked.offset))
                    answer.low_watermark = leadership.low_watermark
                    if leadership.low_watermark < wanted:
                        waiting.append(_Deleting(answer, leadership, wanted, leadership.term))
                except KafkaError as error:
                    answer.error_code = error.code
            response.topics.append(messages.DeleteRecordsResponse.TopicResult(name=topic.name, partitions=answers))
        left = waiting
        waiter = Waiter(max(call.body.timeout_ms, 0) / 1000, may_park=call.may_park)
        while left := [one for one in left if not one.is_done()]:
            if not await self.changes.wait_as(waiter, [one.leadership.partition for one in left]):
                break
        for one in left:
            if one.is_done():
                # The replica that was behind has died meanwhile.
                continue
            one.answer.error_code, one.answer.low_watermark = ErrorCode.REQUEST_TIMED_OUT, NO_OFFSET
        return response

    @staticmethod
    def _refuse_list(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.ListOffsetsResponse:
        response = messages.ListOffsetsResponse
        return response(
            topics=[
                response.TopicResponse(
                    name=topic.name,
                    partitions=[
                        response.PartitionResponse(partition_index=asked.partition_index, error_code=code)
                        for asked in topic.partitions
                    ],
                )
                for topic in call.body.topics
            ]
        )

    @staticmethod
    def _refuse_epochs(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.OffsetForLeaderEpochResponse:
        response = messages.OffsetForLeaderEpochResponse
        return response(
            topics=[
                response.OffsetForLeaderTopicResult(
                    topic=topic.topic,
                    partitions=[
                        response.EpochEndOffset(partition=asked.partition, error_code=code)
                        for asked in topic.partitions
                    ],
                )
                for topic in call.body.topics
            ]
        )

    @staticmethod
    def _refuse_delete(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.DeleteRecordsResponse:
        response = messages.DeleteRecordsResponse
        return response(
            topics=[
                response.TopicResult(
                    name=topic.name,
                    partitions=[
                        response.PartitionResult(
                            partition_index=asked.partition_index, low_watermark=NO_OFFSET, error_code=code
                        )
                        for asked in topic.partitions
                    ],
                )
                for topic in call.body.topics
            ]
        )
