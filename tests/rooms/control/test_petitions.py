"""Petitions of all kinds, as the controller serves them: in turn, and each answered once nothing of it is open."""

from __future__ import annotations

from pykafka_broker.control.ballots import Ballot, ElectionType
from pykafka_broker.control.commands import AnswerTicket, Command
from pykafka_broker.control.events import ElectionAsked, IsrChangeAsked, ShutdownAsked, StatesWritten
from pykafka_broker.control.isr_changes import IsrPetition, IsrWish
from pykafka_broker.control.petitions import Due, Petition, Situation
from pykafka_broker.control.shutdown import Departure
from pykafka_broker.model.names import BrokerId, LeaderEpoch
from pykafka_broker.model.outcome import Ticket
from tests.rooms.control.test_controller import T0, Story, broker, state, topic


def answered(commands: tuple[Command, ...]) -> list[int]:
    return [one.ticket for one in commands if isinstance(one, AnswerTicket)]


def test_every_kind_has_the_one_shape() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(2, 1, 2)})
    wish = IsrWish(LeaderEpoch(0), 0, (BrokerId(2),))
    situation = Situation(story.controller.cluster, 7, lambda _: False, lambda _: False, lambda _: False)
    petitions: list[Petition] = [
        Ballot(Ticket(1), ElectionType.PREFERRED, {T0: None}),
        IsrPetition(Ticket(2), BrokerId(2), {T0: wish}),
        Departure.begin(Ticket(3), BrokerId(2), story.controller.cluster, lambda _: False),
    ]
    for petition in petitions:
        (due,) = petition.proceed(situation)
        assert isinstance(due, Due)
        assert due.state.controller_epoch == 7
        assert list(petition.open) == [T0]


def test_they_are_served_in_the_order_in_which_they_came() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(2, 1, 2)})
    story.hears(IsrChangeAsked(Ticket(1), BrokerId(2), 12, {T0: IsrWish(LeaderEpoch(0), 0, (BrokerId(2),))}))
    (first,) = story.writes
    story.hears(ElectionAsked(Ticket(2), ElectionType.PREFERRED, (T0,)))
    story.hears(ShutdownAsked(Ticket(3), BrokerId(1), 11))
    assert story.writes == []
    story.hears(StatesWritten({T0: state(2, 2, version=1)}))
    assert first.state.isr == (2,)
    assert story.writes == []
    assert answered(story.commands) == [1, 2, 3], "1 is not in sync any more, so it is not elected, and may go"
