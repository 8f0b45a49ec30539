"""Replicas on the move: what may be asked for, and Kafka's steps, seen from the controller."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from pykafka_broker.control.cluster import Assignment, Endpoint, LiveBroker, PartitionState, Topic
from pykafka_broker.control.commands import AnswerTicket, Command, TellBroker, WriteStates, WriteTopic
from pykafka_broker.control.controller import Controller, ControllerSettings
from pykafka_broker.control.events import (
    BrokersSeen,
    DeletionsSeen,
    Event,
    ReassignmentAsked,
    StatesRefused,
    StatesWritten,
    TermBegan,
    TopicAssignmentChanged,
    TopicRefused,
    TopicsSeen,
    TopicWritten,
)
from pykafka_broker.control.reassignment import flaw, is_complete, origin_of, target_of, towards
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.model.outcome import Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages

T0 = TopicPartition("t", 0)
TOPIC_ID = TopicId(UUID(int=77))


def ids(*numbers: int) -> tuple[BrokerId, ...]:
    return tuple(map(BrokerId, numbers))


def state(leader: int, *isr: int, epoch: int = 3, version: int = 0) -> PartitionState:
    return PartitionState(BrokerId(leader), LeaderEpoch(epoch), ids(*isr), 1, version=version)


def broker(number: int) -> LiveBroker:
    return LiveBroker(BrokerId(number), 10 + number, (Endpoint("PLAINTEXT", f"host{number}", 9092),))


class Story:
    """A controller, and a tree that takes what it wants written when it is told to."""

    def __init__(
        self, assignment: Assignment, states: PartitionState | None, live: tuple[int, ...] = (1, 2, 3)
    ) -> None:
        self.controller = Controller(BrokerId(1), ControllerSettings(), lambda: TOPIC_ID, lambda topic: False)
        self.commands: list[Command] = []
        self.tickets = 0
        self.topic = Topic(TOPIC_ID, {0: assignment}, 4)
        known = {} if states is None else {T0: states}
        self.hears(TermBegan(1, [broker(one) for one in live], {"t": self.topic}, known))

    def hears(self, event: Event) -> Story:
        self.commands = list(self.controller.handle(Millis(0), event))
        return self

    def asks(self, wanted: tuple[int, ...] | None, partition: TopicPartition = T0) -> Story:
        self.tickets += 1
        target = None if wanted is None else ids(*wanted)
        return self.hears(ReassignmentAsked(Ticket(self.tickets), {partition: target}))

    @property
    def answers(self) -> list[Any]:
        return [one.verdicts for one in self.commands if isinstance(one, AnswerTicket)]

    def wants_topic(self) -> Assignment:
        (write,) = [one for one in self.commands if isinstance(one, WriteTopic)]
        self.topic = write.topic
        return write.topic.partitions[0]

    def topic_written(self) -> Story:
        written = Topic(TOPIC_ID, self.topic.partitions, self.topic.version + 1)
        self.topic = written
        return self.hears(TopicWritten("t", written.version))

    def wants_state(self) -> PartitionState:
        (write,) = [one for command in self.commands if isinstance(command, WriteStates) for one in command.writes]
        return write.state

    def state_written(self, version: int = 1) -> Story:
        due = self.wants_state()
        written = PartitionState(due.leader, due.leader_epoch, due.isr, due.controller_epoch, version=version)
        return self.hears(StatesWritten({T0: written}))

    def told(self, kind: str) -> list[int]:
        return [
            one.broker
            for one in self.commands
            if isinstance(one, TellBroker) and type(one.request).__name__ == f"{kind}Request"
        ]


def test_assignments_on_the_way() -> None:
    moving = towards(Assignment(ids(1, 2)), ids(3, 1))
    assert moving == Assignment(ids(3, 1, 2), ids(3), ids(2))
    assert (target_of(moving), origin_of(moving)) == (ids(3, 1), ids(1, 2))
    assert towards(moving, ids(4)) == Assignment(ids(4, 1, 2), ids(4), ids(1, 2))
    assert towards(moving, origin_of(moving)) == Assignment(ids(1, 2))
    assert not is_complete(moving, state(1, 1, 2))
    assert is_complete(moving, state(1, 1, 2, 3))


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ((), "Empty replica list specified in partition reassignment."),
        ((0, 0), "Duplicate replica ids in partition reassignment replica list: ArrayBuffer(0, 0)"),
        ((-1, -1), "Duplicate replica ids in partition reassignment replica list: ArrayBuffer(-1, -1)"),
        ((-1,), "Invalid broker id in replica list: ArrayBuffer(-1)"),
        (
            (0, 7, 8),
            "Replica assignment has brokers that are not alive. Replica list: ArrayBuffer(7, 8), live broker list: "
            "Set(0)",
        ),
    ],
)
def test_flaws_are_told_as_kafka_tells_them(wanted: tuple[int, ...], says: str) -> None:
    found = flaw(ids(*wanted), Assignment(ids(0)), ids(0))
    assert found is not None
    assert (found.code, found.message) == (ErrorCode.INVALID_REPLICA_ASSIGNMENT, says)


def test_a_dead_replica_that_is_there_already_may_stay() -> None:
    assert flaw(ids(5, 0), Assignment(ids(0, 5)), ids(0)) is None


def refusal(story: Story, partition: TopicPartition = T0) -> ErrorCode:
    ((said),) = (verdicts[partition] for verdicts in story.answers)
    assert isinstance(said, KafkaError)
    return said.code


def test_what_cannot_be_done_is_refused_at_once() -> None:
    story = Story(Assignment(ids(1)), state(1, 1))
    ghost = TopicPartition("ghost", 0)
    assert refusal(story.asks(None)) == ErrorCode.NO_REASSIGNMENT_IN_PROGRESS
    assert refusal(story.asks(None, ghost), ghost) == ErrorCode.NO_REASSIGNMENT_IN_PROGRESS
    assert refusal(story.asks((1,), ghost), ghost) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert refusal(story.asks((9,), ghost), ghost) == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    story.hears(BrokersSeen([])).hears(DeletionsSeen(["t"]))
    assert refusal(story.asks((1,))) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_the_same_replica_again_is_only_a_new_leader_epoch() -> None:
    story = Story(Assignment(ids(1)), state(1, 1), live=(1,)).asks((1,))
    assert (story.wants_state().leader_epoch, story.answers) == (4, [])
    story.state_written()
    assert story.told("LeaderAndIsr") == [1]
    assert story.answers == [{T0: None}]
    assert story.controller.moving() == {}


def test_an_epoch_that_was_not_written_is_tried_again() -> None:
    story = Story(Assignment(ids(1)), state(1, 1), live=(1,)).asks((1,))
    story.hears(StatesRefused({T0: state(1, 1, version=8)}))
    assert (story.wants_state().leader_epoch, story.answers) == (4, [])
    assert story.state_written().answers == [{T0: None}]


def test_a_replica_that_goes_is_deleted_before_the_node_says_that_it_is_over() -> None:
    story = Story(Assignment(ids(1, 2)), state(1, 1, 2)).asks((2,))
    assert story.wants_topic() == Assignment(ids(2, 1), (), ids(1))
    story.topic_written()
    assert list(story.controller.moving()) == [T0]
    due = story.wants_state()
    assert (due.leader, due.isr, due.leader_epoch) == (2, (2,), 4)
    story.state_written()
    assert story.told("StopReplica") == [1]
    assert (story.wants_topic(), story.answers) == (Assignment(ids(2)), [])
    story.topic_written()
    assert story.answers == [{T0: None}]
    assert sorted(set(story.told("UpdateMetadata"))) == [1, 2, 3]
    assert story.controller.moving() == {}


def test_a_replica_that_comes_is_told_and_awaited() -> None:
    story = Story(Assignment(ids(1)), state(1, 1)).asks((3,))
    assert story.wants_topic() == Assignment(ids(3, 1), ids(3), ids(1))
    story.topic_written()
    due = story.wants_state()
    assert (due.leader, due.isr, due.leader_epoch) == (1, (1,), 4)
    story.state_written()
    assert sorted(story.told("LeaderAndIsr")) == [1, 3]
    assert story.answers == [{T0: None}]
    assert story.controller.moving() == {T0: Assignment(ids(3, 1), ids(3), ids(1))}


def test_only_a_replica_that_comes_is_new() -> None:
    story = Story(Assignment(ids(1)), state(1, 1)).asks((3,))
    story.topic_written()
    story.state_written()
    assert {
        (one.broker, part.is_new)
        for one in story.commands
        if isinstance(one, TellBroker) and isinstance(one.request, messages.LeaderAndIsrRequest)
        for part in one.request.topic_states[0].partition_states
    } == {(1, False), (3, True)}


def test_a_move_whose_target_is_in_sync_ends_under_a_new_controller() -> None:
    story = Story(Assignment(ids(3, 1), ids(3), ids(1)), state(1, 1, 3))
    due = story.wants_state()
    assert (due.leader, due.isr) == (3, (3,))
    story.state_written()
    assert story.told("StopReplica") == [1]
    assert story.wants_topic() == Assignment(ids(3))


def test_who_stays_is_told_in_the_last_epoch_of_a_move_that_nothing_moves_any_more() -> None:
    story = Story(Assignment(ids(1, 3), ids(3), ids(1)), state(1, 1, 3))
    story.state_written()
    assert story.told("LeaderAndIsr") == [3], "who goes is only stopped"
    (request,) = [
        one.request
        for one in story.commands
        if isinstance(one, TellBroker) and isinstance(one.request, messages.LeaderAndIsrRequest)
    ]
    (part,) = request.topic_states[0].partition_states
    assert (part.replicas, part.adding_replicas, part.removing_replicas) == ([3], [], [])
    story.wants_topic()
    story.topic_written()
    assert story.told("LeaderAndIsr") == []
    assert story.told("UpdateMetadata") == [1, 2, 3]


def test_partitions_that_do_not_move_are_told_nothing() -> None:
    story = Story(Assignment(ids(1)), state(1, 1))
    story.hears(
        TopicsSeen({"t", "u"}, {"u": Topic(TopicId(UUID(int=78)), {0: Assignment(ids(1)), 1: Assignment(ids(1))})})
    )
    u0, u1 = TopicPartition("u", 0), TopicPartition("u", 1)
    story.hears(StatesWritten({u0: state(1, 1), u1: state(1, 1)}))
    story.asks((2,), u0)
    story.hears(TopicWritten("u", 1))
    (request,) = {
        tuple(part.partition_index for topic in one.request.topic_states for part in topic.partition_states)
        for one in story.commands
        if isinstance(one, TellBroker)
    }
    assert request == (0,)


def test_a_move_is_gone_back_on() -> None:
    story = Story(Assignment(ids(3, 1), ids(3), ids(1)), state(1, 1)).asks(None)
    assert story.wants_topic() == Assignment(ids(1))
    story.topic_written().state_written()
    assert story.told("StopReplica") == [3]
    assert story.answers == [{T0: None}]


def test_somebody_else_wrote_the_topic_meanwhile() -> None:
    story = Story(Assignment(ids(1, 2)), state(1, 1, 2)).asks((1,))
    found = Topic(TOPIC_ID, {0: Assignment(ids(1, 2))}, 9)
    story.hears(TopicRefused("t", found))
    (write,) = [one for one in story.commands if isinstance(one, WriteTopic)]
    assert write.topic == Topic(TOPIC_ID, {0: Assignment(ids(1, 2), (), ids(2))}, 9)


def test_our_own_writing_seen_by_the_watch_changes_nothing() -> None:
    story = Story(Assignment(ids(1)), state(1, 1)).asks((3,))
    story.wants_topic()
    story.topic_written()
    story.state_written()
    story.hears(TopicAssignmentChanged("t", story.topic))
    assert story.commands == []


def test_nobody_of_the_target_can_lead_so_it_stays_as_it_is() -> None:
    story = Story(Assignment(ids(1, 2), (), ids(1)), state(1, 1, 2), live=(1,))
    assert [one for one in story.commands if isinstance(one, WriteStates)][1:] == []
    assert list(story.controller.moving()) == [T0]


def test_a_partition_that_nobody_could_lead_is_led_by_whom_it_is_given_to() -> None:
    story = Story(Assignment(ids(9)), None, live=(1,)).asks((1,))
    assert story.wants_topic() == Assignment(ids(1, 9), ids(1), ids(9))
    story.topic_written()
    assert story.wants_state().leader == 1


def test_a_replica_that_came_while_nobody_led_is_told_and_deleted_when_the_move_is_gone_back_on() -> None:
    story = Story(Assignment(ids(1)), state(-1, 1), live=(3,)).asks((3,))
    story.wants_topic()
    story.topic_written()
    assert (story.wants_state().leader, story.wants_state().leader_epoch) == (-1, 4)
    story.state_written()
    assert story.told("LeaderAndIsr") == [3]
    story.asks(None)
    assert story.wants_topic() == Assignment(ids(1))
    story.topic_written()
    assert story.told("StopReplica") == [3]
    assert story.answers == [{T0: None}]


def test_who_comes_while_a_move_ends_is_let_in_when_it_has_ended() -> None:
    story = Story(Assignment(ids(3, 1), ids(3), ids(1)), state(1, 1, 3))
    story.state_written()
    assert story.wants_topic() == Assignment(ids(3))
    story.hears(BrokersSeen([LiveBroker(BrokerId(1), 99, broker(1).endpoints), broker(2), broker(3)]))
    assert story.told("LeaderAndIsr") == []
    story.topic_written()
    assert [one.broker for one in story.commands if isinstance(one, TellBroker) and one.broker_epoch == 99] == [1]
    assert story.told("LeaderAndIsr") == [], "it hosts nothing any more"


def test_a_cancellation_that_would_leave_nobody_with_the_records_is_refused() -> None:
    story = Story(Assignment(ids(3, 2, 1), ids(3, 2), ids(1)), state(3, 3, epoch=0), live=(3,))
    assert refusal(story.asks(None)) == ErrorCode.UNKNOWN_SERVER_ERROR
    assert list(story.controller.moving()) == [T0]


def test_a_topic_that_moves_is_led_although_it_is_to_be_deleted() -> None:
    story = Story(Assignment(ids(1, 2), (), ids(2)), None, live=())
    story.hears(DeletionsSeen(["t"])).hears(BrokersSeen([broker(1), broker(2)]))
    assert story.wants_state().isr == (1, 2)
    story.state_written()
    assert (story.wants_state().leader, story.wants_state().isr) == (1, (1,))
