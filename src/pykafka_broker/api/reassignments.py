"""AlterPartitionReassignments and ListPartitionReassignments: replicas move to other brokers (KIP-455).

Both are for the controller; any other broker says NOT_CONTROLLER. An answer without error says that a move has begun;
``ListPartitionReassignments`` tells as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from pykafka_broker.api.routes import Route
from pykafka_broker.control.cluster import Assignment
from pykafka_broker.control.reassignment import Target
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call


class Reassigning(Protocol):
    """What is needed of ``ControlLoop``."""

    async def reassign(
        self, wanted: Mapping[TopicPartition, Target | None]
    ) -> Mapping[TopicPartition, KafkaError | None]:
        """Why partitions are not reassigned, ``None`` for those that are; NOT_CONTROLLER."""
        ...

    def moving(self) -> Mapping[TopicPartition, Assignment]:
        """Every partition with a reassignment in progress; NOT_CONTROLLER."""
        ...


class ReassignmentApi(Struct):
    """Passes reassignments on to the controller, and tells of those in progress."""

    controller: Reassigning

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("AlterPartitionReassignments", "0-0", self.alter, self._refuse_alter),
            Route("ListPartitionReassignments", "0-0", self.list, self._refuse_list),
        )

    async def alter(self, call: Call[Any]) -> messages.AlterPartitionReassignmentsResponse:
        """Begin moves, or (replicas null) go back on them; of two entries for one partition the later counts."""
        wanted = {
            TopicPartition(topic.name, one.partition_index): (
                None if one.replicas is None else tuple(map(BrokerId, one.replicas))
            )
            for topic in call.body.topics
            for one in topic.partitions
        }
        response = messages.AlterPartitionReassignmentsResponse
        try:
            verdicts = await self.controller.reassign(wanted)
        except KafkaError as error:
            return response(error_code=error.code, error_message=error.message)
        return response(
            error_message="",
            responses=_by_topic(
                (partition, ErrorCode.NONE, None) if error is None else (partition, error.code, _text(error))
                for partition, error in verdicts.items()
            ),
        )

    @staticmethod
    def _refuse_alter(
        call: Call[Any], code: ErrorCode, detail: str | None
    ) -> messages.AlterPartitionReassignmentsResponse:
        return messages.AlterPartitionReassignmentsResponse(
            error_code=code,
            error_message=detail,
            responses=_by_topic(
                (TopicPartition(topic.name, one.partition_index), code, detail)
                for topic in call.body.topics
                for one in topic.partitions
            ),
        )

    async def list(self, call: Call[Any]) -> messages.ListPartitionReassignmentsResponse:
        """The moves in progress, of the partitions asked for or (null) of all."""
        response = messages.ListPartitionReassignmentsResponse
        try:
            moving = self.controller.moving()
        except KafkaError as error:
            return response(error_code=error.code, error_message=error.message)
        asked = call.body.topics
        if asked is not None:
            named = {TopicPartition(topic.name, index) for topic in asked for index in topic.partition_indexes}
            moving = {partition: found for partition, found in moving.items() if partition in named}
        answer = response(error_message="")
        topics: dict[str, messages.ListPartitionReassignmentsResponse.OngoingTopicReassignment] = {}
        for partition, assignment in moving.items():
            topic = topics.get(partition.topic)
            if topic is None:
                topic = topics[partition.topic] = response.OngoingTopicReassignment(name=partition.topic)
                answer.topics.append(topic)
            topic.partitions.append(
                response.OngoingPartitionReassignment(
                    partition_index=partition.partition,
                    replicas=[*assignment.replicas],
                    adding_replicas=[*assignment.adding],
                    removing_replicas=[*assignment.removing],
                )
            )
        return answer

    @staticmethod
    def _refuse_list(
        call: Call[Any], code: ErrorCode, detail: str | None
    ) -> messages.ListPartitionReassignmentsResponse:
        response = messages.ListPartitionReassignmentsResponse
        return response(
            error_code=code,
            error_message=detail,
            topics=[
                response.OngoingTopicReassignment(
                    name=topic.name,
                    partitions=[
                        response.OngoingPartitionReassignment(partition_index=index)
                        for index in topic.partition_indexes
                    ],
                )
                for topic in call.body.topics or ()
            ],
        )


def _text(error: KafkaError) -> str | None:
    return None if error.code == ErrorCode.UNKNOWN_SERVER_ERROR else error.message


def _by_topic(
    results: Iterable[tuple[TopicPartition, ErrorCode, str | None]],
) -> list[messages.AlterPartitionReassignmentsResponse.ReassignableTopicResponse]:
    response = messages.AlterPartitionReassignmentsResponse
    topics: dict[str, messages.AlterPartitionReassignmentsResponse.ReassignableTopicResponse] = {}
    for (name, index), code, text in results:
        topic = topics.get(name)
        if topic is None:
            topic = topics[name] = response.ReassignableTopicResponse(name=name)
        topic.partitions.append(
            response.ReassignablePartitionResponse(partition_index=index, error_code=code, error_message=text)
        )
    return list(topics.values())
