"""Bringing leadership back to the preferred replicas by itself (Kafka's ``checkAndTriggerAutoLeaderRebalance``).

When a broker has come back, others still lead what is its own to lead; from time to time that is put right, if it is
too much of it.
"""

from __future__ import annotations

from collections.abc import Callable

from pykafka_broker.control.cluster import Cluster
from pykafka_broker.model.names import BrokerId, TopicPartition

FIRST_AFTER_MS = 5_000
"""How long a new controller waits before it looks for the first time."""


def out_of_place(cluster: Cluster, percentage: int, is_being_deleted: Callable[[str], bool]) -> list[TopicPartition]:
    """Partitions to be led by their first replica, which could do so: those of brokers with more than ``percentage``
    of their own leaderships elsewhere. None while anything is reassigned.
    """
    own: dict[BrokerId, int] = {}
    elsewhere: dict[BrokerId, list[TopicPartition]] = {}
    for partition in cluster.partitions():
        assignment, state = cluster.assignment(partition), cluster.states.get(partition)
        if assignment is None or is_being_deleted(partition.topic):
            continue
        if assignment.is_moving:
            return []
        preferred = assignment.replicas[0]
        own[preferred] = own.get(preferred, 0) + 1
        if state is not None and state.leader != preferred:
            elsewhere.setdefault(preferred, []).append(partition)
    return [
        partition
        for broker, partitions in elsewhere.items()
        if 100 * len(partitions) > percentage * own[broker] and broker not in cluster.shutting_down
        for partition in partitions
        if cluster.is_live(partition, broker) and broker in cluster.states[partition].isr
    ]
