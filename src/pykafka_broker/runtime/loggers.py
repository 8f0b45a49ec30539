"""The levels of this program's loggers under Kafka's names for them, for the broker logger resource (KIP-412)."""

from __future__ import annotations

import logging

ROOT = "root"
"""What Kafka calls the logger above all others; here it is the program's own, ``pykafka_broker``."""

_PROGRAM = "pykafka_broker"
_TRACE = 5
_LEVELS = {
    "TRACE": _TRACE,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
}
LEVELS = frozenset(_LEVELS)
"""The levels that can be set."""


class Loggers:
    """The loggers of this program; a name that no module has logged under yet does not exist."""

    def levels(self) -> dict[str, str]:
        """Every logger with the level that holds for it."""
        found = {ROOT: _name(logging.getLogger(_PROGRAM))}
        for name in sorted(logging.root.manager.loggerDict):
            if name.startswith(f"{_PROGRAM}."):
                found[name] = _name(logging.getLogger(name))
        return found

    def __contains__(self, name: str) -> bool:
        return name == ROOT or (name.startswith(f"{_PROGRAM}.") and name in logging.root.manager.loggerDict)

    def set(self, name: str, level: str) -> None:
        """Let a logger speak from this level up."""
        self._of(name).setLevel(_LEVELS[level])

    def unset(self, name: str) -> None:
        """Let a logger follow the one above it again."""
        self._of(name).setLevel(logging.NOTSET)

    @staticmethod
    def _of(name: str) -> logging.Logger:
        return logging.getLogger(_PROGRAM if name == ROOT else name)


def _name(logger: logging.Logger) -> str:
    level = logger.getEffectiveLevel()
    return next((name for name, number in reversed(_LEVELS.items()) if level >= number), "TRACE")
