"""Topics on their way out: which may go now, which replicas have yet to say that their copy is gone.

After ``TopicDeletionManager``: a topic waits while it is being reassigned or while a replica of it is not live;
then every replica is told to delete; when all have, its nodes go, the mark last.
"""

from __future__ import annotations

import enum

from msgspec import Struct, field

from pykafka_broker.control.cluster import Cluster
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.time import Millis

RETRY_AFTER_MS = 5_000
"""How long a topic rests after a replica said that it could not delete its copy."""

AT_ONCE = Millis(0)


class Stage(enum.Enum):
    """How far a deletion is."""

    WAITING = "waiting"
    STOPPING = "stopping"
    FORGETTING = "forgetting"


class Deletion(Struct):
    """One topic's deletion; ``left`` are the copies that are still there."""

    topic: str
    stage: Stage = Stage.WAITING
    left: set[tuple[TopicPartition, BrokerId]] = field(default_factory=set)
    not_before: Millis = AT_ONCE

    def may_begin(self, now: Millis, cluster: Cluster) -> bool:
        """Whether all copies can be deleted now."""
        if self.stage is not Stage.WAITING or now < self.not_before:
            return False
        return all(
            not assignment.is_moving and len(cluster.live(partition, assignment.replicas)) == len(assignment.replicas)
            for partition in cluster.partitions_of(self.topic)
            if (assignment := cluster.assignment(partition)) is not None
        )

    def begin(self, cluster: Cluster) -> None:
        """Every copy has to go."""
        self.stage = Stage.STOPPING
        self.left = {
            (partition, broker)
            for partition in cluster.partitions_of(self.topic)
            if (assignment := cluster.assignment(partition)) is not None
            for broker in assignment.replicas
        }

    def rest(self, until: Millis) -> None:
        """A copy could not be deleted, or its broker is gone: begin again later."""
        self.stage = Stage.WAITING
        self.left = set()
        self.not_before = until

    def wake(self, now: Millis) -> None:
        """It may begin again if it has rested long enough."""
        if self.not_before <= now:
            self.not_before = AT_ONCE

    def gone(self, partition: TopicPartition, broker: BrokerId) -> None:
        """A broker has deleted its copy."""
        if self.stage is Stage.STOPPING:
            self.left.discard((partition, broker))

    @property
    def is_done(self) -> bool:
        """Whether every copy is gone and only the nodes are left."""
        return self.stage is Stage.STOPPING and not self.left
