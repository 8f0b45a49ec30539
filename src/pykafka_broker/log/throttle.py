"""What holds replication back (KIP-73), as those who move records see it; what decides is ``runtime/throttles.py``."""

from __future__ import annotations

from typing import Protocol

from pykafka_broker.model.names import TopicPartition


class Throttle(Protocol):
    """One side of replication: what leaders give, or what followers ask for."""

    def holds_back(self, partition: TopicPartition) -> bool:
        """Whether the partition is throttled here, and more has moved lately than may."""
        ...

    def moved(self, partition: TopicPartition, size_bytes: int) -> None:
        """So much has moved."""
        ...


class _Unthrottled:
    def holds_back(self, partition: TopicPartition) -> bool:
        return False

    def moved(self, partition: TopicPartition, size_bytes: int) -> None:
        return


UNTHROTTLED: Throttle = _Unthrottled()
"""Everything moves as fast as it can."""
