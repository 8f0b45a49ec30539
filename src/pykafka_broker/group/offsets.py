"""Where one group stands in its partitions, and when that may be forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from pykafka_broker.group.records import NO_EXPIRY, CommittedOffset
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.model.time import Millis


class Offsets:
    """The committed offsets of one group."""

    def __init__(self) -> None:
        self._committed: dict[str, dict[int, CommittedOffset]] = {}

    def __bool__(self) -> bool:
        return bool(self._committed)

    def __iter__(self) -> Iterator[TopicPartition]:
        return (TopicPartition(topic, index) for topic, held in self._committed.items() for index in held)

    def get(self, topic: str, partition: int) -> CommittedOffset | None:
        """What was committed last for the partition."""
        held = self._committed.get(topic)
        return None if held is None else held.get(partition)

    def topics(self) -> Mapping[str, Mapping[int, CommittedOffset]]:
        """Everything, by topic and partition."""
        return self._committed

    def restore(self, partition: TopicPartition, committed: CommittedOffset | None) -> None:
        """Apply a stored record: keep the offset, or forget it."""
        if committed is not None:
            self._committed.setdefault(partition.topic, {})[partition.partition] = committed
            return
        held = self._committed.get(partition.topic)
        if held is not None:
            held.pop(partition.partition, None)
            if not held:
                del self._committed[partition.topic]

    def expired(
        self, now: Millis, retention_ms: int, *, since: Millis | None, spared: Collection[str] = ()
    ) -> list[TopicPartition]:
        """What has been kept long enough: ``retention_ms`` after ``since``, or after the commit if that is unknown.

        A retention that the client named in the commit goes before ours. Topics in ``spared`` are in use.
        """
        return [
            TopicPartition(topic, index)
            for topic, held in self._committed.items()
            if topic not in spared
            for index, committed in held.items()
            if _is_expired(committed, now, retention_ms, since)
        ]


def _is_expired(committed: CommittedOffset, now: Millis, retention_ms: int, since: Millis | None) -> bool:
    if committed.expire_timestamp_ms != NO_EXPIRY:
        return now >= committed.expire_timestamp_ms
    base = committed.commit_timestamp_ms if since is None else since
    return now - base >= retention_ms
