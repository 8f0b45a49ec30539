"""What the controller wants done: writes to the tree and requests to brokers.

Commands are carried out in the order given. Every write goes together with a check of the controller epoch, so that
a controller whose term is over cannot write; the outcome of each comes back as an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from pykafka_broker.control.cluster import PartitionState, Topic
from pykafka_broker.model.errors import KafkaError
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.outcome import Fact, Ticket


class StateWrite(Struct, frozen=True):
    """One partition's next state; ``expected`` is the version it replaces, ``None`` when it is the first."""

    partition: TopicPartition
    state: PartitionState
    expected: int | None


class WriteStates(Struct, frozen=True):
    """Write partition states; ends in ``StatesWritten`` and ``StatesRefused``, which may share them out."""

    writes: Sequence[StateWrite]


class WriteTopic(Struct, frozen=True):
    """Write a topic's node if it still has ``topic.version``; ends in ``TopicWritten`` or ``TopicRefused``."""

    name: str
    topic: Topic


class ForgetTopic(Struct, frozen=True):
    """Remove a topic's nodes, its settings, and last the deletion mark; ends in ``TopicForgotten``."""

    name: str
    partitions: Sequence[int]


class ForgetDeletion(Struct, frozen=True):
    """Remove a deletion mark that will not be acted on."""

    name: str


class ForgetElection(Struct, frozen=True):
    """Remove the node by which an old tool asked for an election."""


class WriteReassignments(Struct, frozen=True):
    """Leave only these in the node by which old tools ask for reassignments; without any, remove it."""

    left: Mapping[TopicPartition, Sequence[BrokerId]]


class TellBroker(Struct, frozen=True):
    """Send a request to a broker until it answers or is gone; ends in ``BrokerAnswered``."""

    broker: BrokerId
    broker_epoch: int
    request: Any


class AnswerTicket(Struct, frozen=True):
    """Tell who asked what became of each of his partitions, or why nothing was done at all."""

    ticket: Ticket
    verdicts: Mapping[TopicPartition, Any] | KafkaError


class Note(Struct, frozen=True):
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
