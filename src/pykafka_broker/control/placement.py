"""Where the replicas of new partitions go (``AdminUtils.assignReplicasToBrokers``).

Leaders go round the brokers; the further replicas are shifted by one more broker each time round. With racks the
brokers are taken rack by rack in turn, and a partition's replicas go to different racks and brokers first.
The dice are thrown by the caller: ``start_index`` and ``next_shift``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId


class Seat(Struct, frozen=True):
    """A live broker that can take replicas, and its rack if it has one."""

    broker_id: BrokerId
    rack: str | None = None


Placement = dict[int, tuple[BrokerId, ...]]
"""The replicas of each partition, preferred leader first."""


def place(
    seats: Sequence[Seat],
    partitions: int,
    replication_factor: int,
    *,
    start_index: int,
    next_shift: int,
    first_partition: int = 0,
) -> Placement:
    """Replicas for ``partitions`` new partitions, numbered from ``first_partition``.

    Raises INVALID_PARTITIONS or INVALID_REPLICATION_FACTOR; UNKNOWN_SERVER_ERROR when only some brokers have racks.
    """
    if partitions <= 0:
        raise KafkaError(ErrorCode.INVALID_PARTITIONS, "Number of partitions must be larger than 0.")
    if replication_factor <= 0:
        raise KafkaError(ErrorCode.INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0.")
    if replication_factor > len(seats):
        raise KafkaError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Replication factor: {replication_factor} larger than available brokers: {len(seats)}.",
        )
    racks = {seat.broker_id: seat.rack for seat in seats if seat.rack is not None}
    if not racks:
        brokers = [seat.broker_id for seat in seats]
        return _without_racks(brokers, partitions, replication_factor, start_index, next_shift, first_partition)
    if len(racks) < len(seats):
        raise KafkaError(
            ErrorCode.UNKNOWN_SERVER_ERROR,
            "Not all brokers have rack information for replica rack aware assignment.",
        )
    return _with_racks(racks, partitions, replication_factor, start_index, next_shift, first_partition)


def _replica_index(first: int, shift: int, replica: int, brokers: int) -> int:
    return (first + 1 + (shift + replica) % (brokers - 1)) % brokers


def _without_racks(
    brokers: Sequence[BrokerId], partitions: int, factor: int, start: int, shift: int, first_partition: int
) -> Placement:
    placed: Placement = {}
    for partition in range(first_partition, first_partition + partitions):
        if partition > 0 and partition % len(brokers) == 0:
            shift += 1
        first = (partition + start) % len(brokers)
        further = (brokers[_replica_index(first, shift, replica, len(brokers))] for replica in range(factor - 1))
        placed[partition] = (brokers[first], *further)
    return placed


def _with_racks(
    racks: Mapping[BrokerId, str], partitions: int, factor: int, start: int, shift: int, first_partition: int
) -> Placement:
    count = len(set(racks.values()))
    brokers = rack_alternated(racks)
    placed: Placement = {}
    for partition in range(first_partition, first_partition + partitions):
        if partition > 0 and partition % len(brokers) == 0:
            shift += 1
        first = (partition + start) % len(brokers)
        replicas = [brokers[first]]
        used_racks = {racks[brokers[first]]}
        step = 0
        for _ in range(factor - 1):
            while True:
                broker = brokers[_replica_index(first, shift * count, step, len(brokers))]
                step += 1
                # A rack or a broker comes a second time only when all others have been used.
                if (racks[broker] not in used_racks or len(used_racks) == count) and (
                    broker not in replicas or len(replicas) == len(brokers)
                ):
                    replicas.append(broker)
                    used_racks.add(racks[broker])
                    break
        placed[partition] = tuple(replicas)
    return placed


def rack_alternated(racks: Mapping[BrokerId, str]) -> list[BrokerId]:
    """The brokers, one of each rack in turn, racks and brokers in order (``getRackAlternatedBrokerList``)."""
    by_rack: dict[str, list[BrokerId]] = {}
    for broker in sorted(racks):
        by_rack.setdefault(racks[broker], []).append(broker)
    queues = [by_rack[rack] for rack in sorted(by_rack)]
    longest = max(len(queue) for queue in queues)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
