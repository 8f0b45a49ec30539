"""``partition.metadata``: which topic a partition's directory belongs to (KIP-516)."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from pykafka_broker.log.disk import Disk
from pykafka_broker.model.names import NO_TOPIC_ID, TopicId

FILE = "partition.metadata"
_LONGEST_BYTES = 4_096


def text(topic_id: TopicId) -> str:
    """Kafka's way to write an id: 22 characters of URL-safe base64."""
    return urlsafe_b64encode(topic_id.bytes).decode().rstrip("=")


def encode(topic_id: TopicId) -> bytes:
    """The file's content; Kafka writes no newline at its end."""
    return f"version: 0\ntopic_id: {text(topic_id)}".encode()


def decode(content: bytes) -> TopicId:
    """The id in a file's content; ``ValueError`` if that is something else."""
    fields = dict(line.split(": ", 1) for line in content.decode("ascii").splitlines() if line)
    if fields.get("version") != "0":
        raise ValueError(f"{FILE} has the unknown version {fields.get('version')}")
    return TopicId(UUID(bytes=urlsafe_b64decode(fields.get("topic_id", "") + "==")))


def read(disk: Disk) -> TopicId:
    """The id in a directory; none where the file is absent or was lost in a power cut before it was synced."""
    try:
        return decode(disk.read(FILE, 0, _LONGEST_BYTES))
    except (FileNotFoundError, ValueError):
        return NO_TOPIC_ID
