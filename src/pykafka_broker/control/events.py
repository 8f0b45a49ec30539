"""What the controller is told: what was seen in the tree, how writes ended, what brokers answered.

Facts in the past tense. Seen things are whole ("these are the brokers"), never differences, so that a lost or merged
notification does no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct

from pykafka_broker.control.ballots import ElectionType
from pykafka_broker.control.cluster import LiveBroker, PartitionState, Topic
from pykafka_broker.control.isr_changes import IsrWish
from pykafka_broker.control.reassignment import Target
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.outcome import Ticket


class TermBegan(Struct, frozen=True):
    """We were elected and have read everything; watches were armed before the reading."""

    controller_epoch: int
    brokers: Collection[LiveBroker]
    topics: Mapping[str, Topic]
    states: Mapping[TopicPartition, PartitionState]
    deletions: Collection[str] = ()


class BrokersSeen(Struct, frozen=True):
    """These brokers are registered now."""

    brokers: Collection[LiveBroker]


class TopicsSeen(Struct, frozen=True):
    """These topics exist now; ``fresh`` are those among them that were not there before."""

    names: Collection[str]
    fresh: Mapping[str, Topic]


class TopicAssignmentChanged(Struct, frozen=True):
    """A topic's node was written, by us or by somebody else."""

    topic: str
    now: Topic


class DeletionsSeen(Struct, frozen=True):
    """Somebody wants these topics deleted."""

    topics: Collection[str]


class StatesWritten(Struct, frozen=True):
    """These partition states stand in the tree; each has its new version."""

    states: Mapping[TopicPartition, PartitionState]


class StatesRefused(Struct, frozen=True):
    """These states could not be written because the tree holds something else; ``None`` where it holds nothing."""

    found: Mapping[TopicPartition, PartitionState | None]


class TopicWritten(Struct, frozen=True):
    """A topic's node was written by us and has this version now."""

    topic: str
    version: int


class TopicRefused(Struct, frozen=True):
    """A topic's node was not the one we meant to write; ``found`` is what is there, ``None`` when nothing is."""

    topic: str
    found: Topic | None


class TopicForgotten(Struct, frozen=True):
    """Every node of a topic is gone, its deletion mark last."""

    topic: str


class BrokerAnswered(Struct, frozen=True):
    """A broker has answered a request of ours."""

    broker: BrokerId
    broker_epoch: int
    request: Any
    response: Any


class ElectionAsked(Struct, frozen=True):
    """Somebody wants leaders elected for these partitions; ends in ``AnswerTicket``."""

    ticket: Ticket
    kind: ElectionType
    partitions: Collection[TopicPartition]


class ReassignmentAsked(Struct, frozen=True):
    """Somebody wants these replicas for partitions, ``None`` to cancel a move; ends in ``AnswerTicket``."""

    ticket: Ticket
    wanted: Mapping[TopicPartition, Target | None]


class IsrChangeAsked(Struct, frozen=True):
    """A leader wants other in-sync replicas for partitions that it leads; ends in ``AnswerTicket``."""

    ticket: Ticket
    leader: BrokerId
    broker_epoch: int
    wishes: Mapping[TopicPartition, IsrWish]


class ShutdownAsked(Struct, frozen=True):
    """A broker wants to stop; ends in ``AnswerTicket`` with the partitions that it still leads."""

    ticket: Ticket
    broker: BrokerId
    broker_epoch: int


class LogDirsFailed(Struct, frozen=True):
    """These brokers have lost a log directory, and have to be asked which partitions were in it."""

    brokers: Collection[BrokerId]


class ElectionWritten(Struct, frozen=True):
    """An old tool wants preferred leaders elected, by a node of the tree, which has to go when that is done."""

    partitions: Collection[TopicPartition]


class ReassignmentsWritten(Struct, frozen=True):
    """This is what old tools want reassigned, by a node of the tree; nothing when there is none."""

    wanted: Mapping[TopicPartition, Target]


class SettingsChanged(Struct, frozen=True):
    """Unclean elections may be allowed now, of one topic or (``None``) of any."""

    topic: str | None


Event = (
    TermBegan
    | BrokersSeen
    | TopicsSeen
    | TopicAssignmentChanged
    | DeletionsSeen
    | StatesWritten
    | StatesRefused
    | TopicWritten
    | TopicRefused
    | TopicForgotten
    | BrokerAnswered
    | ElectionAsked
    | ReassignmentAsked
    | IsrChangeAsked
    | ShutdownAsked
    | LogDirsFailed
    | ElectionWritten
    | ReassignmentsWritten
    | SettingsChanged
)
