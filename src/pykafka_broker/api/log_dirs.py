"""DescribeLogDirs: the log directories of this broker, and how much each partition takes there.

3    an error for the whole call;  4  the size of the volume and what is left of it
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pykafka_broker.api.routes import Route
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.runtime.log_keeper import LogKeeper, Usage
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call


@dataclass(slots=True)
class LogDirApi:
    """Tells what the log keeper knows."""

    keeper: LogKeeper

    def routes(self) -> tuple[Route, ...]:
        return (Route("DescribeLogDirs", "0-4", self.describe_log_dirs, self._refuse),)

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
        for partition in _shown(usage.partitions, wanted):
            topics.setdefault(partition.topic, []).append(
                response.Partition(
                    partition_index=partition.partition, partition_size=usage.partitions[partition], offset_lag=0
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


def _shown(kept: Iterable[TopicPartition], wanted: set[TopicPartition] | None) -> list[TopicPartition]:
    return sorted(partition for partition in kept if wanted is None or partition in wanted)
