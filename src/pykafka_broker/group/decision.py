"""A decision in the making: what one operation replies, stores and tells, gathered up to its ``Outcome``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykafka_broker.group.records import Record
from pykafka_broker.model.errors import KafkaError
from pykafka_broker.model.outcome import Fact, Level, Outcome, Ticket

Reply = Any
"""A response message, or the ``KafkaError`` that the whole call is refused with."""


class Decision:
    """Storing a record applies it at once, so that the rest of the operation sees its effect."""

    __slots__ = ("_facts", "_records", "_replay", "_replies")

    def __init__(self, replay: Callable[[Record], None]) -> None:
        self._replay = replay
        self._replies: dict[Ticket, Reply] = {}
        self._records: list[Record] = []
        self._facts: list[Fact] = []

    def reply(self, ticket: Ticket, message: Reply | KafkaError) -> None:
        """Answer a caller; a caller is answered once."""
        assert ticket not in self._replies, "a ticket is answered once"
        self._replies[ticket] = message

    def store(self, record: Record) -> None:
        """Decide a change of what is stored: it takes effect here and is written before any answer leaves."""
        self._records.append(record)
        self._replay(record)

    def tell(self, name: str, level: Level = Level.INFO, **fields: object) -> None:
        """Say what happened."""
        self._facts.append(Fact(name, level, fields))

    def outcome(self) -> Outcome[Reply, Record]:
        """What the operation hands back."""
        return Outcome(self._replies, self._records, self._facts)
