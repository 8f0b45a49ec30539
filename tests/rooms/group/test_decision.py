"""A decision in the making."""

from __future__ import annotations

import pytest

from pykafka_broker.group.decision import Decision
from pykafka_broker.group.records import GroupRecord, Record
from pykafka_broker.model.names import GroupId
from pykafka_broker.model.outcome import Fact, Ticket


def test_storing_takes_effect_at_once_and_is_handed_back() -> None:
    replayed: list[Record] = []
    decision = Decision(replayed.append)
    record = GroupRecord(GroupId("g"), None)
    decision.store(record)
    assert replayed == [record]
    decision.reply(Ticket(1), "yes")
    decision.tell("Happened", group="g")
    outcome = decision.outcome()
    assert (outcome.records, outcome.replies, outcome.facts) == (
        [record],
        {Ticket(1): "yes"},
        [Fact("Happened", fields={"group": "g"})],
    )


def test_a_ticket_is_answered_once() -> None:
    decision = Decision(lambda record: None)
    decision.reply(Ticket(1), "yes")
    with pytest.raises(AssertionError):
        decision.reply(Ticket(1), "no")
