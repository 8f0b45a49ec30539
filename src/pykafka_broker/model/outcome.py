"""What a room that decides hands back: answers, records to store first, and facts for the log."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, NewType, TypeVar

from msgspec import Struct, field

Ticket = NewType("Ticket", int)
"""Stands for a caller who is waiting for an answer; the room that decides knows nothing else of the caller."""

NOBODY = Ticket(0)
"""A ticket that was given to nobody: what is done for the broker itself is answered to it."""

Reply = TypeVar("Reply")
Stored = TypeVar("Stored")

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Level(enum.IntEnum):
    """How loud a fact is; the numbers are those of the standard library's logging."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Fact(Struct, frozen=True):
    """Something that happened, said once: logged and counted by ``observe``, asserted by tests."""

    name: str
    level: Level = Level.INFO
    fields: Mapping[str, object] = field(default_factory=dict)


class Outcome(Struct, Generic[Reply, Stored], frozen=True):
    """A decision: ``replies`` may go out once ``records`` are committed; ``facts`` tell what happened."""

    replies: Mapping[Ticket, Reply] = field(default_factory=lambda: _NOTHING)
    records: Sequence[Stored] = ()
    facts: Sequence[Fact] = ()
