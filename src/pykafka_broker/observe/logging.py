"""The broker's log: one line for each thing that happened, on standard error; facts from the rooms that decide."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping

from pykafka_broker.model.outcome import Fact

FORMAT = "%(asctime)s %(levelname)-5s %(name)s %(message)s"

_room_loggers: dict[str, logging.Logger] = {}


def log_to_stderr(level: str = "INFO") -> None:
    """Send everything from ``level`` up to standard error; called once, by the command line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger("pykafka_broker")
    root.addHandler(handler)
    root.setLevel(level.upper())
    root.propagate = False
    # kazoo tells of every lost connection at length; what matters of it the broker says itself.
    kazoo = logging.getLogger("kazoo")
    kazoo.propagate = False
    kazoo.addHandler(handler if root.level <= logging.DEBUG else logging.NullHandler())


def say(room: str, facts: Iterable[Fact], context: Mapping[str, object] | None = None) -> None:
    """Log facts under the name of the room they come from: ``GroupRebalanced group=orders generation=3``."""
    for fact in facts:
        logger = _room_loggers.get(room)
        if logger is None:
            logger = _room_loggers[room] = logging.getLogger(f"pykafka_broker.{room}")
        if logger.isEnabledFor(fact.level):
            fields = {**context, **fact.fields} if context else fact.fields
            logger.log(fact.level, "%s %s", fact.name, " ".join(f"{key}={value}" for key, value in fields.items()))
