"""The names of Kafka's things, typed so that two of them cannot be mixed up."""

from __future__ import annotations

from typing import NamedTuple, NewType
from uuid import UUID

Offset = NewType("Offset", int)
LeaderEpoch = NewType("LeaderEpoch", int)
ProducerId = NewType("ProducerId", int)
GroupId = NewType("GroupId", str)
MemberId = NewType("MemberId", str)
BrokerId = NewType("BrokerId", int)
TopicId = NewType("TopicId", UUID)

NO_TOPIC_ID = TopicId(UUID(int=0))
NO_OFFSET = Offset(-1)
NO_EPOCH = LeaderEpoch(-1)
NO_BROKER = BrokerId(-1)

GROUP_METADATA_TOPIC = "__consumer_offsets"
TRANSACTION_STATE_TOPIC = "__transaction_state"
INTERNAL_TOPICS = frozenset({GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC})


class TopicPartition(NamedTuple):
    """One partition of one topic; its text is the name of its directory, as in Kafka."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


def java_string_hash(text: str) -> int:
    """Java's ``String.hashCode``: 32 bits, signed; it picks the coordinator's partition."""
    value = 0
    data = text.encode("utf-16-be", "surrogatepass")
    for index in range(0, len(data), 2):
        value = (31 * value + (data[index] << 8 | data[index + 1])) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def coordinator_partition(key: str, partitions: int) -> int:
    """The partition of an internal topic that answers for a group or transactional id (``Utils.abs``)."""
    value = java_string_hash(key)
    return (0 if value == -(1 << 31) else abs(value)) % partitions
