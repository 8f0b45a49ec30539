"""CreateTopics, DeleteTopics and CreatePartitions: for the controller; any other broker says NOT_CONTROLLER.

The nodes are written at once; then the answer waits until the broker's own metadata shows the outcome, or the caller's
time is over: REQUEST_TIMED_OUT, although it will still happen. Every item is answered for itself.

CreateTopics      4  -1 leaves partitions and replication factor to the broker
                  5  the answer tells partitions, replication factor and settings
                  7  the answer tells the topic id
DeleteTopics      3  TOPIC_DELETION_DISABLED instead of INVALID_REQUEST
                  6  by name or by id
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import trio
from msgspec import Struct

from pykafka_broker.api.routes import Route
from pykafka_broker.config.layers import ShownConfig
from pykafka_broker.control.topics import CLUSTER_METADATA_TOPIC, NewTopic
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_TOPIC_ID, BrokerId, TopicId
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.runtime.topics import Created, Topics
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call


class Leading(Protocol):
    """What is needed of ``ControlLoop``."""

    @property
    def is_active(self) -> bool:
        """Whether this broker is the controller."""
        ...

    def is_being_deleted(self, topic: str) -> bool:
        """Whether the topic is marked for deletion and still there."""
        ...

    async def wait_until_gone(self, topics: Collection[str]) -> None:
        """Return when the controller has forgotten all of the topics."""
        ...


ShowConfigs = Callable[[Mapping[str, str]], Sequence[ShownConfig]]
"""All settings that a topic with these of its own would have."""


class TopicApi(Struct):
    """Topics come, grow and go."""

    topics: Topics
    metadata: Metadata
    controller: Leading
    show_configs: ShowConfigs
    delete_topic_enable: bool = True

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("CreateTopics", "0-7", self.create, self._refuse_create),
            Route("DeleteTopics", "0-6", self.delete, self._refuse_delete),
            Route("CreatePartitions", "0-3", self.add_partitions, self._refuse_add),
        )

    # CreateTopics

    async def create(self, call: Call[Any]) -> messages.CreateTopicsResponse:
        """Make topics, or only say whether they could be made."""
        body = call.body
        if not self.controller.is_active:
            return self._refuse_create(call, ErrorCode.NOT_CONTROLLER, "")
        times = Counter(topic.name for topic in body.topics)
        results, due = [], []
        for topic in body.topics:
            result = messages.CreateTopicsResponse.CreatableTopicResult(name=topic.name, error_message=None)
            results.append(result)
            if times[topic.name] > 1:
                self._fail(result, KafkaError(ErrorCode.INVALID_REQUEST, "Found multiple entries for this topic."))
            elif topic.name == CLUSTER_METADATA_TOPIC:
                text = f"Creation of internal topic {topic.name} is prohibited."
                self._fail(result, KafkaError(ErrorCode.INVALID_REQUEST, text))
            else:
                due.append((result, _new_topic(topic)))
        outcomes = await self.topics.create_all([new for _, new in due], validate_only=body.validate_only)
        made = []
        for (result, new), outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, KafkaError):
                self._fail(result, outcome)
                continue
            self._show(result, new, outcome)
            if not body.validate_only:
                result.topic_id = outcome.topic_id
                made.append(result)
        await self._led({result.name: result.num_partitions for result in made}, body.timeout_ms)
        for result in made:
            if body.timeout_ms <= 0 or not self.metadata.has_leaders(result.name, range(result.num_partitions)):
                self._reset(result)
        return messages.CreateTopicsResponse(topics=results)

    @staticmethod
    def _fail(result: messages.CreateTopicsResponse.CreatableTopicResult, error: KafkaError) -> None:
        result.error_code, result.error_message = error.code, _text(error)

    def _show(
        self, result: messages.CreateTopicsResponse.CreatableTopicResult, new: NewTopic, created: Created
    ) -> None:
        result.num_partitions = len(created.placement)
        result.replication_factor = len(created.placement[0])
        result.configs = [
            messages.CreateTopicsResponse.CreatableTopicConfigs(
                name=shown.name,
                value=shown.value,
                read_only=shown.is_read_only,
                config_source=shown.source,
                is_sensitive=shown.is_sensitive,
            )
            for shown in self.show_configs({key: value for key, value in new.configs.items() if value is not None})
        ]

    @staticmethod
    def _reset(result: messages.CreateTopicsResponse.CreatableTopicResult) -> None:
        """What was already told of a topic is taken back when it was not made in time; its id stays."""
        result.error_code, result.error_message = ErrorCode.REQUEST_TIMED_OUT, None
        result.num_partitions, result.replication_factor, result.configs = -1, -1, []

    async def _led(self, wanted: Mapping[str, int], timeout_ms: int) -> None:
        """Wait until all partitions of these topics have leaders, or time is over."""
        with trio.move_on_after(max(0, timeout_ms) / 1000):
            await self.metadata.wait_for(
                wanted,
                lambda: all(self.metadata.has_leaders(name, range(count)) for name, count in wanted.items()),
            )

    @staticmethod
    def _refuse_create(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.CreateTopicsResponse:
        return messages.CreateTopicsResponse(
            topics=[
                messages.CreateTopicsResponse.CreatableTopicResult(
                    name=topic.name, error_code=code, error_message=detail
                )
                for topic in call.body.topics
            ]
        )

    # DeleteTopics

    async def delete(self, call: Call[Any]) -> messages.DeleteTopicsResponse:
        """Mark topics for deletion and wait until they are gone, copies, nodes and all.

        A result never has an error message, as in Apache Kafka.
        """
        body = call.body
        if not self.controller.is_active:
            return self._refuse_delete(call, ErrorCode.NOT_CONTROLLER, None)
        if not self.delete_topic_enable:
            disabled = ErrorCode.INVALID_REQUEST if call.version < 3 else ErrorCode.TOPIC_DELETION_DISABLED
            return self._refuse_delete(call, disabled, None)
        results, marked = [], []
        for name, topic_id in _wanted(call):
            result = messages.DeleteTopicsResponse.DeletableTopicResult(
                name=self.metadata.topic_name(topic_id) if topic_id != NO_TOPIC_ID else name, topic_id=topic_id
            )
            results.append(result)
            if result.name is None:
                # Neither name nor id: nothing that anybody may see (what Apache Kafka answers, too).
                unnamed = topic_id == NO_TOPIC_ID
                result.error_code = ErrorCode.TOPIC_AUTHORIZATION_FAILED if unnamed else ErrorCode.UNKNOWN_TOPIC_ID
            elif self.metadata.topic(result.name) is None:
                result.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            else:
                marked.append(result)
        async with trio.open_nursery() as nursery:
            # Together, so that those who keep the tree can make them lasting together.
            for result in marked:
                nursery.start_soon(self._mark, result)
        marked = [result for result in marked if not result.error_code]
        names = [result.name for result in marked if result.name is not None]
        with trio.move_on_after(max(0, body.timeout_ms) / 1000):
            await self.metadata.wait_for(names, lambda: not any(map(self.metadata.topic, names)))
            await self.controller.wait_until_gone(names)
        for result in marked:
            if body.timeout_ms <= 0 or (result.name and self.metadata.topic(result.name) is not None):
                result.error_code = ErrorCode.REQUEST_TIMED_OUT
        return messages.DeleteTopicsResponse(responses=results)

    async def _mark(self, result: messages.DeleteTopicsResponse.DeletableTopicResult) -> None:
        try:
            await self.topics.mark_for_deletion(result.name or "")
        except KafkaError as error:
            result.error_code = error.code

    @staticmethod
    def _refuse_delete(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.DeleteTopicsResponse:
        result = messages.DeleteTopicsResponse.DeletableTopicResult
        wanted = (
            [(topic.name, topic.topic_id) for topic in call.body.topics]
            if call.version >= 6
            else [(name, NO_TOPIC_ID) for name in call.body.topic_names]
        )
        return messages.DeleteTopicsResponse(
            responses=[result(name=name, topic_id=topic_id, error_code=code) for name, topic_id in wanted]
        )

    # CreatePartitions

    async def add_partitions(self, call: Call[Any]) -> messages.CreatePartitionsResponse:
        """Let topics grow, or only say whether they could."""
        body = call.body
        if not self.controller.is_active:
            return self._refuse_add(call, ErrorCode.NOT_CONTROLLER, None)
        times = Counter(topic.name for topic in body.topics)
        results: dict[str, messages.CreatePartitionsResponse.TopicResult] = {}
        grown: dict[str, int] = {}
        for topic in body.topics:
            result = messages.CreatePartitionsResponse.TopicResult(name=topic.name)
            results[topic.name] = result
            try:
                if times[topic.name] > 1:
                    raise KafkaError(ErrorCode.INVALID_REQUEST, "Duplicate topic in request.")
                if self.controller.is_being_deleted(topic.name):
                    raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, "The topic is queued for deletion.")
                count = await self.topics.add_partitions(
                    topic.name,
                    topic.count,
                    None
                    if topic.assignments is None
                    else [tuple(map(BrokerId, one.broker_ids)) for one in topic.assignments],
                    validate_only=body.validate_only,
                )
                if not body.validate_only:
                    grown[topic.name] = count
            except KafkaError as error:
                result.error_code, result.error_message = error.code, _text(error)
        await self._led(grown, body.timeout_ms)
        for name, count in grown.items():
            if body.timeout_ms <= 0 or not self.metadata.has_leaders(name, range(count)):
                results[name].error_code = ErrorCode.REQUEST_TIMED_OUT
        return messages.CreatePartitionsResponse(results=list(results.values()))

    @staticmethod
    def _refuse_add(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.CreatePartitionsResponse:
        return messages.CreatePartitionsResponse(
            results=[
                messages.CreatePartitionsResponse.TopicResult(name=name, error_code=code, error_message=detail)
                for name in dict.fromkeys(topic.name for topic in call.body.topics)
            ]
        )


def _new_topic(topic: messages.CreateTopicsRequest.CreatableTopic) -> NewTopic:
    given = {one.partition_index: tuple(map(BrokerId, one.broker_ids)) for one in topic.assignments}
    return NewTopic(
        name=topic.name,
        partitions=None if topic.num_partitions == -1 else topic.num_partitions,
        replication_factor=None if topic.replication_factor == -1 else topic.replication_factor,
        assignment=given or None,
        configs={config.name: config.value for config in topic.configs},
    )


def _text(error: KafkaError) -> str | None:
    """The message of an item: nothing where it would only repeat the code (``ApiError.fromThrowable``)."""
    if error.code == ErrorCode.UNKNOWN_SERVER_ERROR or error.detail == error.code.sentence:
        return None
    return error.detail


def _wanted(call: Call[Any]) -> list[tuple[str | None, TopicId]]:
    """What a DeleteTopics names, by name or by id; INVALID_REQUEST if one item does both."""
    if call.version < 6:
        return [(name, NO_TOPIC_ID) for name in call.body.topic_names]
    for topic in call.body.topics:
        if topic.name is not None and topic.topic_id != NO_TOPIC_ID:
            raise KafkaError(ErrorCode.INVALID_REQUEST, "Topic name and topic ID can not both be specified.")
    return [(topic.name, TopicId(topic.topic_id)) for topic in call.body.topics]
