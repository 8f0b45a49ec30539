"""DescribeLogDirs and AlterReplicaLogDirs: what lies in which log directory of this broker, and what is to move.

DescribeLogDirs        3    an error for the whole call
                       4    the size of the volume and what is left of it
AlterReplicaLogDirs    an answer without error says that the move has begun; DescribeLogDirs tells how far it is
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from pykafka_broker.api.routes import Route
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.runtime.log_dir_moves import LogDirMoves
from pykafka_broker.runtime.log_keeper import LogKeeper, Usage
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call


class LogDirApi(Struct):
    """Tells what the log keeper knows, and passes moves on."""

    keeper: LogKeeper
    moves: LogDirMoves

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("DescribeLogDirs", "0-4", self.describe_log_dirs, self._refuse),
            Route("AlterReplicaLogDirs", "0-2", self.alter, self._refuse_alter),
        )

    async def describe_log_dirs(self, call: Call[Any]) -> messages.DescribeLogDirsResponse:
        """Every log directory, with the partitions asked for (all of them if the request names none)."""
        asked = call.body.topics
        wanted = (
            None
            if asked is None
            else {TopicPartition(topic.topic, index) for topic in asked for index in topic.partitions}
        )
        return messages.DescribeLogDirsResponse(results=[self._result(usage, wanted) for usage in self.keeper.usage()])

    @staticmethod
    def _result(usage: Usage, wanted: set[TopicPartition] | None) -> messages.DescribeLogDirsResponse.Result:
        response = messages.DescribeLogDirsResponse
        if usage.is_offline:
            return response.Result(error_code=ErrorCode.KAFKA_STORAGE_ERROR, log_dir=usage.path)
        topics: dict[str, list[messages.DescribeLogDirsResponse.Partition]] = {}
        for partition in _shown({*usage.partitions, *usage.copies}, wanted):
            size, lag = usage.copies.get(partition) or (usage.partitions[partition], 0)
            topics.setdefault(partition.topic, []).append(
                response.Partition(
                    partition_index=partition.partition,
                    partition_size=size,
                    offset_lag=lag,
                    is_future_key=partition in usage.copies,
                )
            )
        return response.Result(
            log_dir=usage.path,
            topics=[response.Topic(name=name, partitions=partitions) for name, partitions in topics.items()],
            total_bytes=usage.total_bytes,
            usable_bytes=usage.usable_bytes,
        )

    @staticmethod
    def _refuse(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.DescribeLogDirsResponse:
        """Before version 3 there is no place for an error of the whole call; it is told as no directories."""
        return messages.DescribeLogDirsResponse(error_code=code if call.version >= 3 else 0)

    async def alter(self, call: Call[Any]) -> messages.AlterReplicaLogDirsResponse:
        """Begin moves; of two entries for one partition the later counts."""
        wanted = {
            TopicPartition(topic.name, index): directory.path
            for directory in call.body.dirs
            for topic in directory.topics
            for index in topic.partitions
        }
        return _altered({partition: self._begin(partition, path) for partition, path in wanted.items()})

    def _begin(self, partition: TopicPartition, path: str) -> ErrorCode:
        try:
            self.moves.move(partition, path)
        except KafkaError as error:
            return error.code
        return ErrorCode.NONE

    @staticmethod
    def _refuse_alter(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.AlterReplicaLogDirsResponse:
        return _altered(
            {
                TopicPartition(topic.name, index): code
                for directory in call.body.dirs
                for topic in directory.topics
                for index in topic.partitions
            }
        )


def _altered(codes: Mapping[TopicPartition, ErrorCode]) -> messages.AlterReplicaLogDirsResponse:
    response = messages.AlterReplicaLogDirsResponse
    topics: dict[str, messages.AlterReplicaLogDirsResponse.AlterReplicaLogDirTopicResult] = {}
    for (name, index), code in codes.items():
        topic = topics.get(name)
        if topic is None:
            topic = topics[name] = response.AlterReplicaLogDirTopicResult(topic_name=name)
        topic.partitions.append(response.AlterReplicaLogDirPartitionResult(partition_index=index, error_code=code))
    return response(results=list(topics.values()))


def _shown(kept: Iterable[TopicPartition], wanted: set[TopicPartition] | None) -> list[TopicPartition]:
    return sorted(partition for partition in kept if wanted is None or partition in wanted)
