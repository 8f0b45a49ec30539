"""What a leader may make of its in-sync replicas, check by check, and what everybody is told of it."""

from __future__ import annotations

import pytest

from pykafka_broker.control.cluster import Assignment, PartitionState, Topic
from pykafka_broker.control.commands import AnswerTicket
from pykafka_broker.control.events import BrokersSeen, DeletionsSeen, IsrChangeAsked, ShutdownAsked, StatesRefused
from pykafka_broker.control.isr_changes import IsrWish
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicPartition
from pykafka_broker.model.outcome import Ticket
from tests.rooms.control.test_controller import T0, TOPIC_ID, Story, broker, state, topic


def story(*, epoch: int = 4, version: int = 9, is_recovering: bool = False) -> Story:
    """Brokers 1 to 3; 1 leads t-0, and 2 is in sync with it."""
    begun = PartitionState(
        BrokerId(1), LeaderEpoch(epoch), (BrokerId(1), BrokerId(2)), 1, is_recovering=is_recovering, version=version
    )
    if is_recovering:
        begun = PartitionState(BrokerId(1), LeaderEpoch(epoch), (BrokerId(1),), 1, True, version)
    return Story().begins([broker(1), broker(2), broker(3)], {"t": topic((1, 2, 3))}, {T0: begun})


def wish(*isr: int, epoch: int = 4, version: int = 9, is_recovering: bool = False) -> IsrWish:
    return IsrWish(LeaderEpoch(epoch), version, tuple(map(BrokerId, isr)), is_recovering)


def asks(
    told: Story, wanted: IsrWish, *, leader: int = 1, broker_epoch: int = 11, partition: TopicPartition = T0
) -> Story:
    return told.hears(IsrChangeAsked(Ticket(5), BrokerId(leader), broker_epoch, {partition: wanted}))


def verdict(told: Story, partition: TopicPartition = T0) -> object:
    (answer,) = [one for one in told.commands if isinstance(one, AnswerTicket)]
    assert answer.ticket == 5
    if isinstance(answer.verdicts, KafkaError):
        return answer.verdicts.code
    found = answer.verdicts[partition]
    return found.code if isinstance(found, KafkaError) else found


def test_a_replica_joins_in_the_same_leader_epoch_and_only_metadata_is_told() -> None:
    told = asks(story(), wish(1, 2, 3))
    (write,) = told.writes
    assert (write.state.isr, write.state.leader, write.state.leader_epoch, write.expected) == ((1, 2, 3), 1, 4, 9)
    told.all_written()
    found = verdict(told)
    assert isinstance(found, PartitionState)
    assert (found.isr, found.leader_epoch, found.version) == ((1, 2, 3), 4, 10)
    assert told.kinds() == [(1, "UpdateMetadata"), (2, "UpdateMetadata"), (3, "UpdateMetadata")]


def test_what_stands_already_is_answered_with_it_whatever_version_the_leader_knew() -> None:
    told = asks(story(), wish(2, 1, version=3))
    assert told.writes == []
    found = verdict(told)
    assert isinstance(found, PartitionState)
    assert found.version == 9


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (wish(1, version=10), ErrorCode.NOT_CONTROLLER),
        (wish(1, epoch=5), ErrorCode.NOT_CONTROLLER),
        (wish(1, epoch=3), ErrorCode.FENCED_LEADER_EPOCH),
        (wish(1, version=8), ErrorCode.INVALID_UPDATE_VERSION),
        (wish(1, 2, is_recovering=True), ErrorCode.INVALID_REQUEST),
        (wish(1, is_recovering=True), ErrorCode.INVALID_REQUEST),
        (wish(1, 2, 7), ErrorCode.INELIGIBLE_REPLICA),
        (wish(2), ErrorCode.INVALID_REQUEST),
        (wish(), ErrorCode.INVALID_REQUEST),
    ],
)
def test_what_cannot_be_is_refused_in_kafkas_order(wanted: IsrWish, code: ErrorCode) -> None:
    told = asks(story(), wanted)
    assert verdict(told) is code
    assert told.writes == []


def test_who_does_not_lead_may_not_ask() -> None:
    told = asks(story(), wish(2, 3), leader=2, broker_epoch=12)
    assert verdict(told) is ErrorCode.INVALID_REQUEST
    assert told.writes == []


def test_who_is_shutting_down_may_not_join_nor_stay() -> None:
    told = story()
    told.hears(ShutdownAsked(Ticket(6), BrokerId(3), 13))
    assert verdict(asks(told, wish(1, 2, 3))) is ErrorCode.INELIGIBLE_REPLICA


def test_an_unknown_partition_is_refused() -> None:
    ghost = TopicPartition("t", 7)
    assert verdict(asks(story(), wish(1), partition=ghost), ghost) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize(("leader", "broker_epoch"), [(1, 10), (1, 12), (9, 19)])
def test_an_earlier_life_of_a_broker_is_refused_as_a_whole(leader: int, broker_epoch: int) -> None:
    assert verdict(asks(story(), wish(1), leader=leader, broker_epoch=broker_epoch)) is ErrorCode.STALE_BROKER_EPOCH


def test_a_leader_that_was_elected_uncleanly_goes_on_from_there() -> None:
    told = asks(story(is_recovering=True), wish(1, 2))
    (write,) = told.writes
    assert not write.state.is_recovering


def test_who_loses_against_another_writer_is_told_so() -> None:
    told = asks(story(), wish(1, 2, 3))
    told.hears(StatesRefused({T0: state(1, 1, 2, epoch=4, version=11)}))
    assert verdict(told) is ErrorCode.INVALID_UPDATE_VERSION


def test_a_partition_on_its_way_out_is_refused_at_once() -> None:
    told = story()
    told.hears(DeletionsSeen({"t"}))
    assert told.controller.is_being_deleted("t")
    assert verdict(asks(told, wish(1))) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_a_partition_that_waits_to_be_deleted_is_led_as_before() -> None:
    told = story()
    told.hears(BrokersSeen([broker(1), broker(2)]))
    told.hears(DeletionsSeen({"t"}))
    asks(told, wish(1))
    assert [write.state.isr for write in told.writes] == [(1,)]


def test_the_leader_has_its_answer_before_the_move_that_it_completes_goes_on() -> None:
    moving = Topic(TOPIC_ID, {0: Assignment((BrokerId(2), BrokerId(1)), (BrokerId(2),), (BrokerId(1),))})
    told = Story().begins([broker(1), broker(2)], {"t": moving}, {T0: state(1, 1, epoch=4, version=9)})
    asks(told, wish(1, 2))
    told.all_written()
    found = verdict(told)
    assert isinstance(found, PartitionState)
    assert (found.isr, found.leader_epoch, found.version) == ((1, 2), 4, 10)
    (write,) = told.writes
    assert (write.state.leader, write.state.leader_epoch, write.expected) == (2, 5, 10)


def test_a_change_waits_for_the_write_under_way() -> None:
    told = story()
    asks(told, wish(1, 2, 3))
    first = told.writes
    asks(told, wish(1))
    assert told.writes == []
    assert len(first) == 1
