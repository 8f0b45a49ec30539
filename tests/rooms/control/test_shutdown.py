"""A broker that wants to stop: its leaderships go to others first, and it is told what nobody can take."""

from __future__ import annotations

from typing import Any

from pykafka_broker.control.commands import AnswerTicket
from pykafka_broker.control.events import BrokersSeen, DeletionsSeen, ShutdownAsked, StatesRefused
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId
from pykafka_broker.model.outcome import Ticket
from pykafka_broker.wire import messages
from tests.rooms.control.test_controller import T0, T1, Story, broker, state, topic


def asks(story: Story, number: int = 1, broker_epoch: int | None = None) -> Story:
    return story.hears(
        ShutdownAsked(Ticket(5), BrokerId(number), 10 + number if broker_epoch is None else broker_epoch)
    )


def answer(story: Story) -> Any:
    (found,) = [one for one in story.commands if isinstance(one, AnswerTicket)]
    return found.verdicts


def begun(*assignments: tuple[int, ...]) -> Story:
    """Brokers 1 to 3; the first of each assignment leads, and all are in sync."""
    states = {partition: state(ids[0], *ids) for partition, ids in zip((T0, T1), assignments, strict=False)}
    return Story().begins([broker(1), broker(2), broker(3)], {"t": topic(*assignments)}, states)


def test_what_a_broker_leads_is_led_by_another_in_sync_before_it_may_go() -> None:
    story = asks(begun((1, 2, 3)))
    (write,) = story.writes
    assert (write.state.leader, write.state.isr, write.state.leader_epoch) == (2, (2, 3), 1)
    story.all_written()
    assert answer(story) == {}


def test_what_a_broker_follows_it_may_cease_to_fetch_and_leaves_the_isr_of() -> None:
    story = asks(begun((2, 1, 3)))
    stops = [(number, one) for number, one in story.told if isinstance(one, messages.StopReplicaRequest)]
    ((number, stop),) = stops
    assert number == 1
    assert [part.delete_partition for part in stop.topic_states[0].partition_states] == [False]
    (write,) = story.writes
    assert (write.state.leader, write.state.isr, write.state.leader_epoch) == (2, (2, 3), 1)
    story.all_written()
    assert answer(story) == {}


def test_who_leaves_is_not_told_to_follow_again_but_a_leader_is_told_that_it_leads_no_more() -> None:
    story = asks(begun((2, 1, 3), (1, 2, 3)))
    story.all_written()
    told = {
        (number, part.partition_index)
        for number, request in story.told
        if isinstance(request, messages.LeaderAndIsrRequest)
        for part in request.topic_states[0].partition_states
    }
    assert told == {(2, 0), (3, 0), (1, 1), (2, 1), (3, 1)}


def test_a_handover_that_was_not_written_is_tried_again() -> None:
    story = asks(begun((1, 2, 3)))
    story.hears(StatesRefused({T0: state(1, 1, 2, 3, epoch=0, version=7)}))
    (write,) = story.writes
    assert (write.state.leader, write.expected) == (2, 7)
    story.all_written()
    assert answer(story) == {}


def test_a_topic_that_is_to_be_deleted_keeps_nobody_here() -> None:
    story = asks(begun((1, 2, 3)))
    story.hears(DeletionsSeen({"t"}))
    assert answer(story) == {}


def test_when_the_last_others_in_sync_are_dead_the_isr_is_left_as_it_is() -> None:
    story = Story().begins([broker(1)], {"t": topic((2, 1))}, {T0: state(-1, 2)})
    assert answer(asks(story)) == {}
    assert story.writes == []


def test_what_nobody_else_has_stays_where_it_is() -> None:
    story = asks(begun((1,)))
    assert story.writes == []
    assert answer(story) == {}, "a partition with one replica is nobody's business"


def test_what_nobody_else_has_in_sync_is_told() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(1, 1)})
    assert answer(asks(story)) == {T0: None}


def test_a_broker_that_is_leaving_is_elected_for_nothing_any_more() -> None:
    story = asks(begun((1, 2, 3)))
    story.all_written()
    story.hears(ShutdownAsked(Ticket(6), BrokerId(2), 12))
    (write,) = story.writes
    assert (write.state.leader, write.state.isr) == (3, (3,))


def test_a_broker_that_comes_back_is_like_any_other() -> None:
    story = asks(begun((1, 2, 3)))
    story.all_written()
    story.hears(BrokersSeen((broker(1, 99), broker(2), broker(3))))
    assert story.controller.cluster.shutting_down == set()


def test_who_is_not_there_or_speaks_for_an_earlier_life_is_refused() -> None:
    refused = answer(asks(begun((1, 2)), 9))
    assert isinstance(refused, KafkaError)
    assert (refused.code, refused.detail) == (ErrorCode.BROKER_NOT_AVAILABLE, "Broker id 9 does not exist.")
    refused = answer(asks(begun((1, 2)), 1, broker_epoch=3))
    assert isinstance(refused, KafkaError)
    assert refused.code is ErrorCode.STALE_BROKER_EPOCH
    assert answer(asks(begun((1,)), 1, broker_epoch=-1)) == {}, "old brokers know no epoch"


def test_asking_again_tells_how_it_stands() -> None:
    story = asks(begun((1, 2, 3)))
    story.all_written()
    assert answer(asks(story)) == {}
    assert story.writes == []
