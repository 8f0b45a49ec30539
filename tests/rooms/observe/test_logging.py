"""Facts become log lines under the name of their room."""

from __future__ import annotations

import logging

import pytest

from pykafka_broker.model.outcome import Fact, Level
from pykafka_broker.observe.logging import say


def test_a_fact_is_one_line_of_key_and_value(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pykafka_broker.group")
    say("group", [Fact("GroupRebalanced", fields={"generation": 3})], {"group": "orders"})
    (record,) = caplog.records
    assert record.name == "pykafka_broker.group"
    assert record.getMessage() == "GroupRebalanced group=orders generation=3"


def test_a_fact_is_as_loud_as_it_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "pykafka_broker.log")
    say("log", [Fact("SegmentRolled"), Fact("Damaged", Level.ERROR, {"file": "x"})])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
