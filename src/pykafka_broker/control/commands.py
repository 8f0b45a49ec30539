"""What the controller wants done: writes to the tree and requests to brokers.

Commands are carried out in the order given. Every write goes together with a check of the controller epoch, so that
a controller whose term is over cannot write; the outcome of each comes back as an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pykafka_broker.control.cluster import PartitionState, Topic
from pykafka_broker.model.errors import KafkaError
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.outcome import Fact, Ticket


@dataclass(frozen=True, slots=True)
class StateWrite:
    """One partition's next state; ``expected`` is the version it replaces, ``None`` when it is the first."""

    partition: TopicPartition
    state: PartitionState
    expected: int | None


@dataclass(frozen=True, slots=True)
class WriteStates:
    """Write partition states; ends in ``StatesWritten`` and ``StatesRefused``, which may share them out."""

    writes: Sequence[StateWrite]


@dataclass(frozen=True, slots=True)
class WriteTopic:
    """Write a topic's node if it still has ``topic.version``; ends in ``TopicWritten`` or ``TopicRefused``."""

    name: str
    topic: Topic


@dataclass(frozen=True, slots=True)
class ForgetTopic:
    """Remove a topic's nodes, its settings, and last the deletion mark; ends in ``TopicForgotten``."""

    name: str
    partitions: Sequence[int]


@dataclass(frozen=True, slots=True)
class ForgetDeletion:
    """Remove a deletion mark that will not be acted on."""

    name: str


@dataclass(frozen=True, slots=True)
class ForgetElection:
    """Remove the node by which an old tool asked for an election."""


@dataclass(frozen=True, slots=True)
class WriteReassignments:
    """Leave only these in the node by which old tools ask for reassignments; without any, remove it."""

    left: Mapping[TopicPartition, Sequence[BrokerId]]


@dataclass(frozen=True, slots=True)
class TellBroker:
    """Send a request to a broker until it answers or is gone; ends in ``BrokerAnswered``."""

    broker: BrokerId
    broker_epoch: int
    request: Any


@dataclass(frozen=True, slots=True)
class AnswerTicket:
    """Tell who asked what became of each of his partitions, or why nothing was done at all."""

    ticket: Ticket
    verdicts: Mapping[TopicPartition, Any] | KafkaError


@dataclass(frozen=True, slots=True)
class Note:
    """Say for the log what happened."""

    fact: Fact


Command = (
    WriteStates
    | WriteTopic
    | ForgetTopic
    | ForgetDeletion
    | ForgetElection
    | WriteReassignments
    | TellBroker
    | AnswerTicket
    | Note
)
