"""OffsetCommit, OffsetFetch, OffsetDelete: where groups stand.

OffsetCommit and OffsetFetch
  0    kept in the coordination tree, not by the group's coordinator
OffsetCommit
  2-4  a retention time of the client's own
OffsetFetch
  2    null topics means all; an error of the group's own
  7    may ask for settled offsets only
  8    several groups at once
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from pykafka_broker.api.groups import shard_of
from pykafka_broker.api.routes import Route
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_OFFSET, GroupId, Offset, TopicPartition
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.runtime.shards import Shards
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call

if TYPE_CHECKING:
    # The room of groups is entered with the first of them: to load it takes a twentieth of a start.
    from pykafka_broker.group.coordinator import GroupCoordinator
    from pykafka_broker.group.records import CommittedOffset

    Found = list[tuple[str, list[tuple[int, CommittedOffset | None]]]]
    """By topic, what a group has committed for its partitions."""


class OldOffsets(Protocol):
    """Offsets of version 0, kept in the coordination tree."""

    async def read(self, group: str, topic: str, partition: int) -> int | None:
        """The offset, ``None`` if there is none."""
        ...

    async def write(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Keep the offset."""
        ...


class GroupOffsetApi(Struct):
    """Looks after topics that are not there; the rest is for the group's coordinator."""

    groups: Shards[GroupCoordinator]
    metadata: Metadata
    old_offsets: OldOffsets
    offset_metadata_max_bytes: int = 4_096

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("OffsetCommit", "0-9", self.commit, self._refuse_commit),
            Route("OffsetFetch", "0-9", self.fetch, self._refuse_fetch),
            Route("OffsetDelete", "0-0", self.delete, self._refuse_delete),
        )

    def _is_known(self, topic: str, partition: int) -> bool:
        return self.metadata.partition(TopicPartition(topic, partition)) is not None

    # -- OffsetCommit --------------------------------------------------------------------------------------------

    async def commit(self, call: Call[messages.OffsetCommitRequest]) -> messages.OffsetCommitResponse:
        """Store offsets of partitions that exist."""
        body = call.body
        known, refused = self._split(body.topics)
        answer = messages.OffsetCommitResponse(topics=refused)
        if not known:
            return answer
        if call.version == 0:
            answer.topics = _merged(refused, [await self._commit_to_tree(body.group_id, topic) for topic in known])
            return answer
        if refused:
            body.topics = known
        try:
            shard = shard_of(self.groups, body.group_id, may_be_empty=True)
            stored: messages.OffsetCommitResponse = await shard.ask(
                lambda group, now, ticket: group.commit_offsets(now, ticket, body), may_park=call.may_park
            )
        except KafkaError as error:
            stored = self._refuse_commit(call, error.code, None)
        if not refused:
            return stored
        answer.topics = _merged(refused, stored.topics)
        return answer

    def _split(
        self, topics: Sequence[messages.OffsetCommitRequest.Topic]
    ) -> tuple[list[messages.OffsetCommitRequest.Topic], list[messages.OffsetCommitResponse.Topic]]:
        """The topics and partitions that are there, and the refusal of those that are not."""
        known, refused = [], []
        for topic in topics:
            there = [wanted for wanted in topic.partitions if self._is_known(topic.name, wanted.partition_index)]
            if there:
                known.append(
                    topic
                    if len(there) == len(topic.partitions)
                    else messages.OffsetCommitRequest.Topic(name=topic.name, partitions=there)
                )
            if len(there) < len(topic.partitions):
                refused.append(
                    messages.OffsetCommitResponse.Topic(
                        name=topic.name,
                        partitions=[
                            messages.OffsetCommitResponse.Partition(
                                partition_index=wanted.partition_index,
                                error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
                            )
                            for wanted in topic.partitions
                            if not self._is_known(topic.name, wanted.partition_index)
                        ],
                    )
                )
        return known, refused

    async def _commit_to_tree(
        self, group_id: str, topic: messages.OffsetCommitRequest.Topic
    ) -> messages.OffsetCommitResponse.Topic:
        from pykafka_broker.group.commits import java_length

        answers = []
        for wanted in topic.partitions:
            error = ErrorCode.NONE
            if java_length(wanted.committed_metadata or "") > self.offset_metadata_max_bytes:
                error = ErrorCode.OFFSET_METADATA_TOO_LARGE
            else:
                try:
                    await self.old_offsets.write(group_id, topic.name, wanted.partition_index, wanted.committed_offset)
                except KafkaError as refusal:
                    error = refusal.code
            answers.append(
                messages.OffsetCommitResponse.Partition(partition_index=wanted.partition_index, error_code=error)
            )
        return messages.OffsetCommitResponse.Topic(name=topic.name, partitions=answers)

    @staticmethod
    def _refuse_commit(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.OffsetCommitResponse:
        from pykafka_broker.group import commits

        return commits.refused(code, call.body)

    # -- OffsetFetch ---------------------------------------------------------------------------------------------

    async def fetch(self, call: Call[messages.OffsetFetchRequest]) -> messages.OffsetFetchResponse:
        """Where groups stand; before version 8 one group, with another shape of the answer."""
        body = call.body
        if call.version == 0:
            return await self._fetch_from_tree(body)
        if call.version < 8:
            return await self._fetch_one(call.version, body)
        return messages.OffsetFetchResponse(groups=[await self._fetch_group(group) for group in body.groups])

    async def _found(self, group_id: GroupId, topics: Sequence[tuple[str, Sequence[int]]] | None) -> Found:
        shard = shard_of(self.groups, group_id, may_be_empty=True)
        found: Found = await shard.ask(lambda group, now, ticket: group.fetch_offsets(now, ticket, group_id, topics))
        return found

    async def _fetch_group(self, group: messages.OffsetFetchRequest.Group) -> messages.OffsetFetchResponse.Group:
        response = messages.OffsetFetchResponse
        nothing = _committed(NO_OFFSET)
        wanted = None if group.topics is None else [(topic.name, topic.partition_indexes) for topic in group.topics]
        try:
            found = await self._found(group.group_id, wanted)
        except KafkaError as error:
            return response.Group(group_id=group.group_id, error_code=error.code)
        return response.Group(
            group_id=group.group_id,
            topics=[
                response.Topics(
                    name=name,
                    partitions=[
                        response.Partitions(
                            partition_index=index,
                            committed_offset=(held := committed or nothing).offset,
                            committed_leader_epoch=held.leader_epoch,
                            metadata=held.metadata,
                        )
                        for index, committed in partitions
                    ],
                )
                for name, partitions in found
            ],
        )

    async def _fetch_one(self, version: int, body: messages.OffsetFetchRequest) -> messages.OffsetFetchResponse:
        wanted = None if body.topics is None else [(topic.name, topic.partition_indexes) for topic in body.topics]
        try:
            found = await self._found(body.group_id, wanted)
        except KafkaError as error:
            return _refused_fetch(version, body, error.code)
        response = messages.OffsetFetchResponse
        return response(
            topics=[
                response.Topic(name=name, partitions=[_fetched(index, committed) for index, committed in partitions])
                for name, partitions in found
            ]
        )

    async def _fetch_from_tree(self, body: messages.OffsetFetchRequest) -> messages.OffsetFetchResponse:
        """Version 0 knows no "nothing committed": that is UNKNOWN_TOPIC_OR_PARTITION, as is a missing partition."""
        topics = []
        for topic in body.topics or ():
            answers = []
            for index in topic.partition_indexes:
                error, offset = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None
                if self._is_known(topic.name, index):
                    try:
                        offset = await self.old_offsets.read(body.group_id, topic.name, index)
                    except KafkaError as refusal:
                        error = refusal.code
                answers.append(
                    _fetched(index, None, error) if offset is None else _fetched(index, _committed(Offset(offset)))
                )
            topics.append(messages.OffsetFetchResponse.Topic(name=topic.name, partitions=answers))
        return messages.OffsetFetchResponse(topics=topics)

    @staticmethod
    def _refuse_fetch(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.OffsetFetchResponse:
        return _refused_fetch(call.version, call.body, code)

    # -- OffsetDelete --------------------------------------------------------------------------------------------

    async def delete(self, call: Call[messages.OffsetDeleteRequest]) -> messages.OffsetDeleteResponse:
        """Forget offsets of partitions that exist and that nobody in the group consumes."""
        body, response = call.body, messages.OffsetDeleteResponse
        known = [
            TopicPartition(topic.name, wanted.partition_index)
            for topic in body.topics
            for wanted in topic.partitions
            if self._is_known(topic.name, wanted.partition_index)
        ]
        told = await shard_of(self.groups, body.group_id).ask(
            lambda group, now, ticket: group.delete_offsets(now, ticket, body.group_id, known)
        )
        if isinstance(told, ErrorCode):
            return response(error_code=told)
        errors = dict(zip(known, told, strict=True))
        answers: dict[str, messages.OffsetDeleteResponse.Topic] = {}
        for topic in body.topics:
            answer = answers.setdefault(topic.name, response.Topic(name=topic.name))
            for wanted in topic.partitions:
                partition = TopicPartition(topic.name, wanted.partition_index)
                answer.partitions.append(
                    response.Partition(
                        partition_index=wanted.partition_index,
                        error_code=errors.get(partition, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
                    )
                )
        return response(topics=list(answers.values()))

    @staticmethod
    def _refuse_delete(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.OffsetDeleteResponse:
        return messages.OffsetDeleteResponse(error_code=code)


def _committed(offset: Offset) -> CommittedOffset:
    from pykafka_broker.group.records import CommittedOffset

    return CommittedOffset(offset)


def _fetched(
    index: int, committed: CommittedOffset | None, error: ErrorCode = ErrorCode.NONE
) -> messages.OffsetFetchResponse.Partition:
    committed = committed or _committed(NO_OFFSET)
    return messages.OffsetFetchResponse.Partition(
        partition_index=index,
        committed_offset=committed.offset,
        committed_leader_epoch=committed.leader_epoch,
        metadata=committed.metadata,
        error_code=error,
    )


def _refused_fetch(version: int, body: messages.OffsetFetchRequest, code: ErrorCode) -> messages.OffsetFetchResponse:
    """The group's error where there is room for one, else each partition's (``OffsetFetchResponse.groupError``)."""
    response = messages.OffsetFetchResponse
    if version >= 8:
        return response(groups=[response.Group(group_id=group.group_id, error_code=code) for group in body.groups])
    if version >= 2:
        return response(error_code=code)
    return response(
        topics=[
            response.Topic(
                name=topic.name, partitions=[_fetched(index, None, code) for index in topic.partition_indexes]
            )
            for topic in body.topics or ()
        ]
    )


def _merged(
    refused: list[messages.OffsetCommitResponse.Topic], stored: list[messages.OffsetCommitResponse.Topic]
) -> list[messages.OffsetCommitResponse.Topic]:
    """Every topic once, the partitions that were refused first (``OffsetCommitResponse.Builder``)."""
    merged = {topic.name: topic for topic in refused}
    for topic in stored:
        if topic.name in merged:
            merged[topic.name].partitions += topic.partitions
        else:
            merged[topic.name] = topic
    return list(merged.values())
