"""What old tools leave in the tree for the controller to do: reassignments to be struck off as they end.

``kafka-reassign-partitions`` of before KIP-455 writes all it wants into one node, which the controller shortens until
nothing is left of it (``KafkaController.maybeRemoveFromZkReassignment``). What is done about them, ``reassignment``
knows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from pykafka_broker.control.reassignment import Target
from pykafka_broker.model.names import TopicPartition


class WrittenReassignments:
    """The reassignments that the node tells, as far as nobody has struck them off."""

    def __init__(self) -> None:
        self._written: dict[TopicPartition, Target] = {}
        self._is_shorter = False

    def see(self, wanted: Mapping[TopicPartition, Target]) -> dict[TopicPartition, Target]:
        """The node tells this now; what of it is news."""
        known, self._written = self._written, dict(wanted)
        return {partition: target for partition, target in wanted.items() if known.get(partition) != target}

    def strike(self, partitions: Collection[TopicPartition]) -> None:
        """These are over, or somebody wants something else by now."""
        for partition in partitions:
            self._is_shorter |= self._written.pop(partition, None) is not None

    def shortened(self, is_active: Callable[[TopicPartition], bool]) -> Mapping[TopicPartition, Target] | None:
        """What the node has to tell, if that is less than it tells."""
        self.strike([partition for partition in self._written if not is_active(partition)])
        if not self._is_shorter:
            return None
        self._is_shorter = False
        return dict(self._written)
