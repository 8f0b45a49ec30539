"""What somebody waits for that takes writes of partition states: one shape for elections, ISR changes and departures.

A petition stays open until each of its partitions has a verdict. What has to be written first it proposes to the
controller; whether that came true it sees from the state that the partition has afterwards. Which states those are is
the business of ``ballots``, ``isr_changes`` and ``shutdown``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol

from msgspec import Struct

from pykafka_broker.control.cluster import Assignment, Cluster, PartitionState
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.outcome import Ticket


class Situation(Struct, frozen=True):
    """What there is to decide upon."""

    cluster: Cluster
    controller_epoch: int
    is_busy: Callable[[TopicPartition], bool]
    """Whether something about the partition is under way, so that nothing can be decided now."""
    is_being_deleted: Callable[[str], bool]
    is_going: Callable[[str], bool]
    """Whether copies of the topic are being deleted already."""


class Due(Struct, frozen=True):
    """The state that a partition has to get."""

    partition: TopicPartition
    state: PartitionState
    spared: Collection[BrokerId] = ()
    """Replicas that are not told by LeaderAndIsr when it is written."""
    joining: Collection[BrokerId] = ()
    """Replicas that the partition has not had yet: they make their log, whatever disks they miss."""
    assignment: Assignment | None = None
    """What the replicas are told of the assignment, if it is not what the topic's node tells yet."""


class Petition(Protocol):
    """One request, and what has come of it so far."""

    @property
    def ticket(self) -> Ticket: ...
    @property
    def open(self) -> Collection[TopicPartition]:
        """What has no verdict yet."""
        ...

    @property
    def verdicts(self) -> Mapping[TopicPartition, Any]: ...
    def proceed(self, situation: Situation) -> Iterator[Due]:
        """Give a verdict on every partition that is not busy, or the state that it has to get first."""
        ...
