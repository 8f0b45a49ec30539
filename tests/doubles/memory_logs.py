"""The log keeper's logs, in memory; they outlive the broker that made them, as files would."""

from __future__ import annotations

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.partition import PartitionLog
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicId, TopicPartition
from pykafka_broker.model.time import Millis
from tests.doubles.memory_disk import MemoryDisk


class MemoryLogs:
    """``runtime.leaderships.Logs`` over memory disks; partitions in ``broken`` have a broken disk.

    As with the log keeper, a log whose disk broke while it was open is still there, and offline.
    """

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

    def break_under(self, partition: TopicPartition) -> None:
        """The disk of an open log breaks."""
        self.logs[partition].discard()
        self.broken.add(partition)

    def mend(self) -> None:
        """New disks; what was on the old ones is lost."""
        self.broken.clear()
        self.logs = {partition: log for partition, log in self.logs.items() if not log.is_offline}

    def delete(self, partition: TopicPartition) -> None:
        if partition in self.broken:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR)
        self.logs.pop(partition, None)
