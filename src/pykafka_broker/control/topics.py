"""What a topic may be called and look like: CreateTopics and CreatePartitions checked rule by rule.

The first broken rule answers for the topic. Codes, texts and the order of the rules are those of ``ZkAdminManager``,
``AdminZkClient`` and ``Topic``; where a settings map comes from and how nodes are written is left to others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from msgspec import Struct, field

from pykafka_broker.control.cluster import Topic
from pykafka_broker.control.placement import Placement, Seat, place
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId

MAX_NAME_LENGTH = 249
CLUSTER_METADATA_TOPIC = "__cluster_metadata"
"""A topic of KRaft's own, which nobody may create."""

MAX_PARTITIONS_AT_ONCE = 100_000
"""Apache Kafka has no such bound; it fails when the node outgrows ZooKeeper's megabyte, at about this many."""

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+")


class NewTopic(Struct, frozen=True, kw_only=True):
    """What is asked for; ``None`` for a number or the assignment means that the caller leaves it to the broker."""

    name: str
    partitions: int | None = None
    replication_factor: int | None = None
    assignment: Placement | None = None
    configs: Mapping[str, str | None] = field(default_factory=dict)


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a new topic has to get along with, and the dice for its placement."""

    topics: Collection[str]
    marked: Collection[str]
    """Topics that are on their way out."""
    seats: Sequence[Seat]
    default_partitions: int
    default_replication_factor: int
    check_configs: Callable[[Mapping[str, str]], None]
    """Raises ``KafkaError`` (INVALID_CONFIG) for settings that a topic cannot have."""
    start_index: int
    next_shift: int


class Rule(Struct, frozen=True):
    """``holds`` must be true, or the topic is refused with ``error`` and the text that ``says`` gives."""

    error: ErrorCode
    says: Callable[[NewTopic, Surroundings], str]
    holds: Callable[[NewTopic, Surroundings], bool]


def name_flaw(name: str) -> str | None:
    """Why a name is not legal (``Topic.detectInvalidTopic``)."""
    if not name:
        return "the empty string is not allowed"
    if name in (".", ".."):
        return f"'{name}' is not allowed"
    if len(name) > MAX_NAME_LENGTH:
        return f"the length of '{name}' is longer than the max allowed length {MAX_NAME_LENGTH}"
    if not _LEGAL_NAME.fullmatch(name):
        return f"'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    return None


def is_legal_name(name: str) -> bool:
    """Whether a topic may be called so."""
    return name_flaw(name) is None


def colliding(name: str, topics: Collection[str]) -> list[str]:
    """Topics that metric names could not tell from this one: ``.`` and ``_`` look the same there."""
    if "." not in name and "_" not in name:
        return []
    plain = name.replace(".", "_")
    return sorted(topic for topic in topics if topic != name and topic.replace(".", "_") == plain)


def _null_configs(new: NewTopic) -> list[str]:
    return [key for key, value in new.configs.items() if value is None]


def _collides(new: NewTopic, around: Surroundings) -> list[str]:
    return colliding(new.name, around.topics)


def _exists(new: NewTopic, _: Surroundings) -> str:
    return f"Topic '{new.name}' already exists."


_BEFORE_PLACEMENT = (
    Rule(
        ErrorCode.TOPIC_ALREADY_EXISTS,
        _exists,
        lambda new, around: new.name not in around.topics or new.name in around.marked,
    ),
    Rule(
        ErrorCode.INVALID_CONFIG,
        lambda new, _: f"Null value not supported for topic configs: {','.join(_null_configs(new))}",
        lambda new, _: not _null_configs(new),
    ),
    Rule(
        ErrorCode.INVALID_REQUEST,
        lambda *_: (
            "Both numPartitions or replicationFactor and replicasAssignments were set. "
            "Both cannot be used at the same time."
        ),
        lambda new, _: new.assignment is None or (new.partitions is None and new.replication_factor is None),
    ),
    Rule(
        ErrorCode.POLICY_VIOLATION,
        lambda *_: "Excessively large number of partitions per request.",
        lambda new, around: (
            (around.default_partitions if new.partitions is None else new.partitions) <= MAX_PARTITIONS_AT_ONCE
        ),
    ),
)

_AFTER_PLACEMENT = (
    Rule(
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        lambda new, _: f"Topic name is invalid: {name_flaw(new.name)}",
        lambda new, _: is_legal_name(new.name),
    ),
    Rule(
        ErrorCode.TOPIC_ALREADY_EXISTS,
        lambda new, _: f"Topic '{new.name}' is marked for deletion.",
        lambda new, around: new.name not in around.marked,
    ),
    Rule(
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        lambda new, around: f"Topic '{new.name}' collides with existing topics: {', '.join(_collides(new, around))}",
        lambda new, around: not _collides(new, around),
    ),
)


def _check(rules: Sequence[Rule], new: NewTopic, around: Surroundings) -> None:
    for rule in rules:
        if not rule.holds(new, around):
            raise KafkaError(rule.error, rule.says(new, around))


def plan_topic(new: NewTopic, around: Surroundings) -> Placement:
    """The replicas of a topic that may be created; ``KafkaError`` when it may not."""
    _check(_BEFORE_PLACEMENT, new, around)
    if new.assignment is None:
        placement = place(
            around.seats,
            around.default_partitions if new.partitions is None else new.partitions,
            around.default_replication_factor if new.replication_factor is None else new.replication_factor,
            start_index=around.start_index,
            next_shift=around.next_shift,
        )
    else:
        placement = new.assignment
    _check(_AFTER_PLACEMENT, new, around)
    if new.assignment is not None:
        _check_assignment(placement, {seat.broker_id for seat in around.seats})
    around.check_configs({key: value for key, value in new.configs.items() if value is not None})
    return placement


def _check_assignment(placement: Placement, live: Collection[BrokerId]) -> None:
    def refused(says: str) -> KafkaError:
        return KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, says)

    if len({len(replicas) for replicas in placement.values()}) != 1:
        raise refused("All partitions should have the same number of replicas")
    if any(len(replicas) != len(set(replicas)) for replicas in placement.values()):
        shown = ", ".join(f"{index} -> ArrayBuffer({_joined(placement[index])})" for index in sorted(placement))
        raise refused(f"Duplicate replica assignment found: HashMap({shown})")
    if sorted(placement) != list(range(len(placement))):
        raise refused("partitions should be a consecutive 0-based integer sequence")
    _refuse_empty(placement)
    # Apache Kafka makes a topic that nobody can see of an assignment to unknown brokers, and times out.
    _refuse_unknown((replicas for _, replicas in sorted(placement.items())), live)


def _joined(brokers: Collection[BrokerId]) -> str:
    return ", ".join(str(broker) for broker in brokers)


def _refuse_empty(placement: Placement) -> None:
    for index, replicas in sorted(placement.items()):
        if not replicas:
            raise KafkaError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"Cannot have replication factor of 0 for partition id {index}."
            )


def _refuse_unknown(assignments: Iterable[Sequence[BrokerId]], live: Collection[BrokerId]) -> None:
    unknown = dict.fromkeys(broker for replicas in assignments for broker in replicas if broker not in live)
    if unknown:
        raise KafkaError(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"Unknown broker(s) in replica assignment: {_joined(unknown)}."
        )


def plan_partitions(
    name: str,
    topic: Topic | None,
    count: int,
    given: Sequence[Sequence[BrokerId]] | None,
    seats: Sequence[Seat],
) -> Placement:
    """The replicas of the partitions to be added, so that the topic has ``count``; ``KafkaError`` when it may not."""
    if topic is None or not topic.partitions:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
    if any(assignment.is_moving for assignment in topic.partitions.values()):
        raise KafkaError(
            ErrorCode.REASSIGNMENT_IN_PROGRESS, f"A partition reassignment is in progress for the topic '{name}'."
        )
    present = len(topic.partitions)
    added = count - present
    if added < 0:
        raise KafkaError(
            ErrorCode.INVALID_PARTITIONS,
            f"Topic currently has {present} partitions, which is higher than the requested {count}.",
        )
    if added == 0:
        raise KafkaError(ErrorCode.INVALID_PARTITIONS, f"Topic already has {present} partitions.")
    if added > MAX_PARTITIONS_AT_ONCE:
        raise KafkaError(ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request.")
    first = topic.partitions[0].replicas if 0 in topic.partitions else ()
    if given is not None:
        placement = _given_partitions(given, present, added, {seat.broker_id for seat in seats})
        _check_same_factor(placement, len(first))
        return placement
    ordered = sorted(seats, key=lambda seat: seat.broker_id)
    start = next((index for index, seat in enumerate(ordered) if first and seat.broker_id >= first[0]), 0)
    return place(ordered, added, len(first), start_index=start, next_shift=start, first_partition=present)


def _given_partitions(
    given: Sequence[Sequence[BrokerId]], present: int, added: int, live: Collection[BrokerId]
) -> Placement:
    _refuse_unknown(given, live)
    if len(given) != added:
        raise KafkaError(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"Increasing the number of partitions by {added} but {len(given)} assignments provided.",
        )
    placement = {present + index: tuple(replicas) for index, replicas in enumerate(given)}
    for index, replicas in placement.items():
        _refuse_empty({index: replicas})
        if len(replicas) != len(set(replicas)):
            raise KafkaError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Duplicate brokers not allowed in replica assignment: {_joined(replicas)} for partition id {index}.",
            )
    return placement


def _check_same_factor(placement: Placement, factor: int) -> None:
    odd = {index: len(replicas) for index, replicas in sorted(placement.items()) if len(replicas) != factor}
    if odd:
        raise KafkaError(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"Inconsistent replication factor between partitions, partition 0 has {factor} while partitions "
            f"[{', '.join(map(str, odd))}] have replication factors [{', '.join(map(str, odd.values()))}], "
            "respectively.",
        )
