"""What the group coordinator writes into ``__consumer_offsets``, and how it reads it back.

A record's key begins with an int16 that says what the record is about (0 and 1: a group's offset in a partition;
2: the group itself), its value with the int16 version of its format; a null value forgets the key.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from pykafka_broker.model.names import NO_EPOCH, GroupId, LeaderEpoch, Offset, TopicPartition
from pykafka_broker.wire import messages
from pykafka_broker.wire.structures import Message

OFFSET_KEY = 1
"""Written; 0 is an older writer's, with the same fields."""
GROUP_KEY = 2
OFFSET_VALUE = 3
OFFSET_VALUE_WITH_EXPIRY = 1
"""Written when a client names a retention time; it has no room for the leader epoch."""
GROUP_VALUE = 3
_NEWEST_OFFSET_VALUE = 4
_NEWEST_GROUP_VALUE = 4

NO_EXPIRY = -1

_RECORD_BYTES = 32
"""The most that a record takes in a batch besides its key and value."""


class CommittedOffset(Struct, frozen=True):
    """Where a group stands in a partition (``OffsetAndMetadata``)."""

    offset: Offset
    leader_epoch: LeaderEpoch = NO_EPOCH
    metadata: str = ""
    commit_timestamp_ms: int = -1
    expire_timestamp_ms: int = NO_EXPIRY
    """When the client wanted it forgotten, -1 if it left that to the broker."""


class OffsetRecord(Struct, frozen=True):
    """A group's position in one partition; ``None`` forgets it."""

    group_id: GroupId
    partition: TopicPartition
    committed: CommittedOffset | None

    @property
    def size_bytes(self) -> int:
        """About what it takes in a batch: an upper bound."""
        metadata = self.committed.metadata if self.committed is not None else ""
        return 80 + 3 * (len(self.group_id) + len(self.partition.topic) + len(metadata))

    def encode(self) -> tuple[bytes, bytes | None]:
        """The record's key and value."""
        topic, index = self.partition
        key = messages.OffsetCommitKey(group=self.group_id, topic=topic, partition=index)
        return _versioned(key, OFFSET_KEY), self._encode_value()

    def _encode_value(self) -> bytes | None:
        committed = self.committed
        if committed is None:
            return None
        version = OFFSET_VALUE if committed.expire_timestamp_ms == NO_EXPIRY else OFFSET_VALUE_WITH_EXPIRY
        value = messages.OffsetCommitValue(
            offset=committed.offset,
            leader_epoch=committed.leader_epoch,
            metadata=committed.metadata,
            commit_timestamp=committed.commit_timestamp_ms,
            expire_timestamp=committed.expire_timestamp_ms,
        )
        return _versioned(value, version)


class GroupRecord(Struct, frozen=True):
    """A group at rest: generation, protocol, members and what they were assigned; ``None`` forgets it."""

    group_id: GroupId
    value: messages.GroupMetadataValue | None

    @property
    def size_bytes(self) -> int:
        """About what it takes in a batch: an upper bound."""
        size = 200 + 3 * len(self.group_id)
        if self.value is not None:
            for member in self.value.members:
                names = len(member.member_id) + len(member.client_id) + len(member.group_instance_id or "")
                size += 64 + 3 * (names + len(member.client_host)) + len(member.subscription) + len(member.assignment)
        return size

    def encode(self) -> tuple[bytes, bytes | None]:
        """The record's key and value."""
        key = _versioned(messages.GroupMetadataKey(group=self.group_id), GROUP_KEY)
        return key, None if self.value is None else _versioned(self.value, GROUP_VALUE)


Record = OffsetRecord | GroupRecord


def fit(records: Sequence[Record], limit_bytes: int) -> bool:
    """Whether the records take no more than this in a batch; they are only written out if that is in doubt."""
    if sum(record.size_bytes for record in records) <= limit_bytes:
        return True
    written = [record.encode() for record in records]
    return sum(len(key) + len(value or b"") + _RECORD_BYTES for key, value in written) <= limit_bytes


def decode(key: bytes, value: bytes | None) -> Record | None:
    """The record behind a stored key and value; ``None`` for what another kind of coordinator has written.

    Raises ``WireError`` for bytes that are neither.
    """
    kind = _version(key)
    if kind in (0, OFFSET_KEY):
        name = messages.decode(messages.OffsetCommitKey, key[2:], kind)
        return OffsetRecord(name.group, TopicPartition(name.topic, name.partition), _committed(value))
    if kind == GROUP_KEY:
        group_id = messages.decode(messages.GroupMetadataKey, key[2:], kind).group
        if value is None:
            return GroupRecord(group_id, None)
        version = min(_version(value), _NEWEST_GROUP_VALUE)
        stored = messages.decode(messages.GroupMetadataValue, value[2:], version)
        if version == 0:
            for member in stored.members:
                member.rebalance_timeout = member.session_timeout
        return GroupRecord(group_id, stored)
    return None


def _committed(value: bytes | None) -> CommittedOffset | None:
    if value is None:
        return None
    stored = messages.decode(messages.OffsetCommitValue, value[2:], min(_version(value), _NEWEST_OFFSET_VALUE))
    return CommittedOffset(
        stored.offset, stored.leader_epoch, stored.metadata, stored.commit_timestamp, stored.expire_timestamp
    )


def _versioned(message: Message, version: int) -> bytes:
    return version.to_bytes(2, "big") + messages.encode(message, version)


def _version(data: bytes) -> int:
    return int.from_bytes(data[:2], "big", signed=True)
