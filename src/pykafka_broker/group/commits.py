"""What an OffsetCommit may do and what it stores (``validateOffsetCommit``, ``storeOffsets`` of Kafka 3.9)."""

from __future__ import annotations

from pykafka_broker.group.records import NO_EXPIRY, CommittedOffset, OffsetRecord
from pykafka_broker.group.standing import Standing
from pykafka_broker.group.states import GroupState
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages

_LATEST = (1 << 63) - 1


def refusal(group: Standing | None, request: messages.OffsetCommitRequest) -> ErrorCode | None:
    """Why nothing may be committed; for a group that is not there, or that nobody is in, less is asked."""
    generation = request.generation_id_or_member_epoch
    if group is None:
        return ErrorCode.ILLEGAL_GENERATION if generation >= 0 else None
    if generation < 0 and group.state is GroupState.EMPTY:
        return None
    if generation < 0 and not request.member_id and request.group_instance_id is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    refusal = group.refusal(request.member_id, request.group_instance_id)
    if refusal is not None:
        return refusal
    if generation != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    if group.state is GroupState.COMPLETING_REBALANCE:
        return ErrorCode.REBALANCE_IN_PROGRESS
    return None


def records_of(
    now: Millis, request: messages.OffsetCommitRequest, max_metadata_bytes: int
) -> tuple[messages.OffsetCommitResponse, list[OffsetRecord]]:
    """The records of a commit that is allowed, and its answer; too much metadata refuses its partition alone."""
    response, records = messages.OffsetCommitResponse(), []
    retention = request.retention_time_ms
    expires = NO_EXPIRY if retention == -1 else min(now + retention, _LATEST)
    for topic in request.topics:
        answers = []
        for wanted in topic.partitions:
            metadata = wanted.committed_metadata or ""
            error = ErrorCode.NONE
            if java_length(metadata) > max_metadata_bytes:
                error = ErrorCode.OFFSET_METADATA_TOO_LARGE
            else:
                committed_at = now if wanted.commit_timestamp == -1 else wanted.commit_timestamp
                committed = CommittedOffset(
                    wanted.committed_offset, wanted.committed_leader_epoch, metadata, committed_at, expires
                )
                partition = TopicPartition(topic.name, wanted.partition_index)
                records.append(OffsetRecord(request.group_id, partition, committed))
            answers.append(
                messages.OffsetCommitResponse.Partition(partition_index=wanted.partition_index, error_code=error)
            )
        response.topics.append(messages.OffsetCommitResponse.Topic(name=topic.name, partitions=answers))
    return response, records


def refused(error: ErrorCode, request: messages.OffsetCommitRequest) -> messages.OffsetCommitResponse:
    """The same error for every partition of the request."""
    response = messages.OffsetCommitResponse
    return response(
        topics=[
            response.Topic(
                name=topic.name,
                partitions=[
                    response.Partition(partition_index=wanted.partition_index, error_code=error)
                    for wanted in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


def java_length(text: str) -> int:
    """How long Java thinks a string is: in UTF-16 units."""
    return len(text) if text.isascii() else len(text) + sum(character > "\uffff" for character in text)
