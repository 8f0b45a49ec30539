"""Loggers under Kafka's names for levels."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from pykafka_broker.runtime.loggers import ROOT, Loggers

NAME = "pykafka_broker.loggers_test"


@pytest.fixture
def loggers() -> Iterator[Loggers]:
    program = logging.getLogger("pykafka_broker")
    before = program.level
    logging.getLogger(NAME).setLevel(logging.NOTSET)
    yield Loggers()
    program.setLevel(before)
    logging.getLogger(NAME).setLevel(logging.NOTSET)


def test_a_logger_follows_the_root_until_it_is_set_and_again_after_it_is_unset(loggers: Loggers) -> None:
    loggers.set(ROOT, "WARN")
    assert loggers.levels()[NAME] == "WARN"
    loggers.set(NAME, "TRACE")
    assert loggers.levels()[NAME] == "TRACE"
    assert logging.getLogger(NAME).isEnabledFor(5)
    loggers.unset(NAME)
    assert loggers.levels()[NAME] == "WARN"


def test_only_loggers_of_this_program_that_somebody_uses_exist(loggers: Loggers) -> None:
    assert ROOT in loggers
    assert NAME in loggers
    assert "pykafka_broker.nobody_logs_here" not in loggers
    assert "trio" not in loggers
    assert all(name == ROOT or name.startswith("pykafka_broker.") for name in loggers.levels())


@pytest.mark.parametrize(
    ("number", "name"), [(50, "FATAL"), (40, "ERROR"), (30, "WARN"), (25, "INFO"), (10, "DEBUG"), (1, "TRACE")]
)
def test_every_level_has_a_name_of_kafkas(loggers: Loggers, number: int, name: str) -> None:
    logging.getLogger(NAME).setLevel(number)
    assert loggers.levels()[NAME] == name
