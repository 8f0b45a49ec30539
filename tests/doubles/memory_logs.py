"""The log keeper's logs, in memory; they outlive the broker that made them, as files would."""

from __future__ import annotations

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.partition import PartitionLog
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicId, TopicPartition
from pykafka_broker.model.time import Millis
from tests.doubles.memory_disk import MemoryDisk


class MemoryLogs:
    """``runtime.leaderships.Logs`` over memory disks; partitions in ``broken`` have a broken disk."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, PartitionLog] = {}
        self.disks: dict[TopicPartition, MemoryDisk] = {}
        self.broken: set[TopicPartition] = set()

    def get(self, partition: TopicPartition) -> PartitionLog | None:
        return self.logs.get(partition)

    def create(self, partition: TopicPartition, topic_id: TopicId, settings: TopicSettings) -> PartitionLog:
        if partition in self.broken:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR)
        disk = self.disks[partition] = MemoryDisk()
        log = self.logs[partition] = PartitionLog.create(disk, partition, topic_id, settings, Millis(0))
        return log

    def delete(self, partition: TopicPartition) -> None:
        if partition in self.broken:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR)
        self.logs.pop(partition, None)
