"""The controller, event by event. What it makes of chaos is asked in tests/machines/test_controller_machine.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from pykafka_broker.control.cluster import Assignment, Endpoint, LiveBroker, PartitionState, Topic
from pykafka_broker.control.commands import (
    Command,
    ForgetDeletion,
    ForgetTopic,
    Note,
    StateWrite,
    TellBroker,
    WriteStates,
    WriteTopic,
)
from pykafka_broker.control.controller import Controller, ControllerSettings
from pykafka_broker.control.deletions import RETRY_AFTER_MS
from pykafka_broker.control.events import (
    BrokerAnswered,
    BrokersSeen,
    DeletionsSeen,
    Event,
    IsrChangeAsked,
    StatesWritten,
    TermBegan,
    TopicAssignmentChanged,
    TopicForgotten,
    TopicRefused,
    TopicsSeen,
    TopicWritten,
)
from pykafka_broker.control.isr_changes import IsrWish
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.model.outcome import Ticket
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)
TOPIC_ID = TopicId(UUID(int=77))
NEW_ID = TopicId(UUID(int=1))


def broker(number: int, epoch: int = 0) -> LiveBroker:
    return LiveBroker(BrokerId(number), epoch or 10 + number, (Endpoint("PLAINTEXT", f"host{number}", 9092),))


def topic(*replicas: tuple[int, ...], topic_id: TopicId | None = TOPIC_ID, version: int = 0) -> Topic:
    return Topic(
        topic_id,
        {index: Assignment(tuple(map(BrokerId, ids))) for index, ids in enumerate(replicas)},
        version,
    )


def state(leader: int, *isr: int, epoch: int = 0, version: int = 0, controller_epoch: int = 1) -> PartitionState:
    return PartitionState(
        BrokerId(leader), LeaderEpoch(epoch), tuple(map(BrokerId, isr)), controller_epoch, version=version
    )


class Story:
    """A controller and what it wants done after each event."""

    def __init__(self, *, unclean: bool = False, **settings: Any) -> None:
        self.unclean = unclean
        self.controller = Controller(
            BrokerId(1), ControllerSettings(**settings), lambda: NEW_ID, lambda topic: self.unclean
        )
        self.now = Millis(0)
        self.commands: tuple[Command, ...] = ()

    def hears(self, event: Event) -> Story:
        self.commands = self.controller.handle(self.now, event)
        return self

    def begins(
        self,
        brokers: Iterable[LiveBroker] = (),
        topics: dict[str, Topic] | None = None,
        states: dict[TopicPartition, PartitionState] | None = None,
        deletions: Iterable[str] = (),
        epoch: int = 1,
    ) -> Story:
        return self.hears(TermBegan(epoch, tuple(brokers), topics or {}, states or {}, tuple(deletions)))

    @property
    def writes(self) -> list[StateWrite]:
        return [write for command in self.commands if isinstance(command, WriteStates) for write in command.writes]

    @property
    def told(self) -> list[tuple[int, Any]]:
        return [(one.broker, one.request) for one in self.commands if isinstance(one, TellBroker)]

    def kinds(self) -> list[tuple[int, str]]:
        return [(number, type(request).__name__.removesuffix("Request")) for number, request in self.told]

    def all_written(self) -> Story:
        """The tree takes what was wanted."""
        written = {
            write.partition: PartitionState(
                write.state.leader,
                write.state.leader_epoch,
                write.state.isr,
                write.state.controller_epoch,
                write.state.is_recovering,
                0 if write.expected is None else write.expected + 1,
            )
            for write in self.writes
        }
        return self.hears(StatesWritten(written))

    def all_stopped(self, code: ErrorCode = ErrorCode.NONE) -> Story:
        """The brokers do what StopReplica wants, or fail in the same way."""
        stops = [one for one in self.commands if isinstance(one, TellBroker)]
        for one in stops:
            if isinstance(one.request, messages.StopReplicaRequest):
                errors = [
                    messages.StopReplicaResponse.PartitionError(
                        topic_name=told.topic_name, partition_index=part.partition_index, error_code=code
                    )
                    for told in one.request.topic_states
                    for part in told.partition_states
                ]
                response = messages.StopReplicaResponse(partition_errors=errors)
                self.hears(BrokerAnswered(one.broker, one.broker_epoch, one.request, response))
        return self


def test_a_term_begins_by_telling_who_lives_then_who_leads_then_what_is_where() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(1, 1, 2)})
    assert story.kinds() == [
        (1, "UpdateMetadata"),
        (2, "UpdateMetadata"),
        (1, "LeaderAndIsr"),
        (2, "LeaderAndIsr"),
        (1, "UpdateMetadata"),
        (2, "UpdateMetadata"),
    ]
    assert story.told[0][1].topic_states == []
    assert len(story.told[4][1].topic_states) == 1
    assert story.writes == []


def test_a_new_topic_gets_leaders_and_its_brokers_hear_of_it_when_that_is_written() -> None:
    story = Story().begins([broker(1), broker(2)])
    story.hears(TopicsSeen({"t"}, {"t": topic((1, 2), (2, 1))}))
    assert story.writes == [
        StateWrite(T0, state(1, 1, 2, version=-1), None),
        StateWrite(T1, state(2, 2, 1, version=-1), None),
    ]
    assert story.told == []
    story.all_written()
    assert story.kinds() == [(1, "LeaderAndIsr"), (2, "LeaderAndIsr"), (1, "UpdateMetadata"), (2, "UpdateMetadata")]
    (told,) = story.told[0][1].topic_states
    assert (told.topic_name, told.topic_id) == ("t", TOPIC_ID)
    assert [(part.leader, part.is_new, part.partition_epoch) for part in told.partition_states] == [
        (1, True, 0),
        (2, True, 0),
    ]


def test_a_topic_without_id_gets_one_before_anything_else_happens() -> None:
    story = Story().begins([broker(1)])
    story.hears(TopicsSeen({"t"}, {"t": topic((1,), topic_id=None, version=4)}))
    assert story.commands == (WriteTopic("t", topic((1,), topic_id=NEW_ID, version=4)),)
    story.hears(TopicWritten("t", 5))
    assert [write.partition for write in story.writes] == [T0]


def test_somebody_was_faster_to_write_the_topic() -> None:
    story = Story().begins([broker(1)])
    story.hears(TopicsSeen({"t"}, {"t": topic((1,), topic_id=None)}))
    story.hears(TopicRefused("t", topic((1,), (1,), topic_id=TOPIC_ID, version=1)))
    assert sorted(write.partition for write in story.writes) == [T0, T1]
    story.all_written()
    assert story.told[0][1].topic_states[0].topic_id == TOPIC_ID


def test_what_was_written_while_we_wrote_is_not_missed() -> None:
    story = Story().begins([broker(1)])
    story.hears(TopicsSeen({"t"}, {"t": topic((1,), topic_id=None)}))
    story.hears(TopicAssignmentChanged("t", topic((1,), (1,), topic_id=NEW_ID, version=2)))
    assert story.commands == ()
    story.hears(TopicWritten("t", 1))
    assert [write.partition for write in story.writes] == [T0, T1]


def test_added_partitions_are_led() -> None:
    story = Story().begins([broker(1)], {"t": topic((1,))}, {T0: state(1, 1)})
    story.hears(TopicAssignmentChanged("t", topic((1,), (1,), version=1)))
    assert [write.partition for write in story.writes] == [T1]


def test_an_old_tool_that_drops_the_id_is_put_right() -> None:
    story = Story().begins([broker(1)], {"t": topic((1,))}, {T0: state(1, 1)})
    story.hears(TopicAssignmentChanged("t", topic((1,), (1,), topic_id=None, version=1)))
    assert story.commands == (WriteTopic("t", topic((1,), (1,), version=1)),)


def test_nobody_leads_a_partition_without_live_replica_until_one_comes() -> None:
    story = Story().begins([broker(1)])
    story.hears(TopicsSeen({"t"}, {"t": topic((2,))}))
    assert story.commands == ()
    story.hears(BrokersSeen([broker(1), broker(2)]))
    assert [write.state.leader for write in story.writes] == [2]


def test_a_dead_leader_is_replaced_with_one_raise_of_the_epoch() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(1, 1, 2, epoch=3, version=4)})
    story.hears(BrokersSeen([broker(2)]))
    assert story.writes == [StateWrite(T0, state(2, 2, epoch=4, version=4), 4)]
    assert story.kinds() == [(2, "UpdateMetadata")]
    story.all_written()
    assert story.kinds() == [(2, "LeaderAndIsr"), (2, "UpdateMetadata")]
    (part,) = story.told[1][1].topic_states[0].partition_states
    assert (part.leader, part.offline_replicas, part.zk_version) == (2, [1], 5)
    assert [one.id for one in story.told[1][1].live_brokers] == [2]


def test_a_dead_follower_leaves_the_isr() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(1, 1, 2)})
    story.hears(BrokersSeen([broker(1)]))
    assert story.writes == [StateWrite(T0, state(1, 1, epoch=1), 0)]


def test_an_unclean_election_happens_only_where_it_may() -> None:
    known = {"t": topic((1, 2))}
    story = Story().begins([broker(1), broker(2)], known, {T0: state(1, 1)})
    assert [write.state.leader for write in story.hears(BrokersSeen([broker(2)])).writes] == [-1]
    story = Story(unclean=True).begins([broker(1), broker(2)], known, {T0: state(1, 1)})
    (write,) = story.hears(BrokersSeen([broker(2)])).writes
    assert (write.state.leader, write.state.isr, write.state.is_recovering) == (2, (2,), True)


def test_a_broker_that_restarted_unnoticed_is_lost_first_and_let_in_then() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(1, 1, 2)})
    story.hears(BrokersSeen([broker(1, epoch=99), broker(2)]))
    assert [(write.state.leader, write.state.isr) for write in story.writes] == [(2, (2,))]
    assert story.kinds() == [(2, "UpdateMetadata")]
    story.all_written()
    assert story.kinds() == [
        (2, "LeaderAndIsr"),
        (2, "UpdateMetadata"),
        (2, "UpdateMetadata"),
        (1, "UpdateMetadata"),
        (1, "LeaderAndIsr"),
        (2, "UpdateMetadata"),
        (1, "UpdateMetadata"),
    ]
    assert story.told[4][1].broker_epoch == 99


def test_a_broker_that_joins_hears_everything_and_the_others_hear_of_it() -> None:
    story = Story().begins([broker(1)], {"t": topic((1, 2))}, {T0: state(1, 1)})
    story.hears(BrokersSeen([broker(1), broker(2)]))
    assert story.kinds()[:3] == [(1, "UpdateMetadata"), (2, "UpdateMetadata"), (2, "LeaderAndIsr")]
    assert story.told[0][1].topic_states == []
    assert [one.topic_name for one in story.told[1][1].topic_states] == ["t"]
    assert story.writes == []


def test_changed_endpoints_are_told_to_all() -> None:
    story = Story().begins([broker(1), broker(2)])
    moved = LiveBroker(BrokerId(2), 12, (Endpoint("PLAINTEXT", "elsewhere", 1),))
    story.hears(BrokersSeen([broker(1), moved]))
    assert story.kinds() == [(1, "UpdateMetadata"), (2, "UpdateMetadata")]
    assert [one.endpoints[0].host for one in story.told[0][1].live_brokers] == ["host1", "elsewhere"]


def test_seeing_the_same_again_changes_nothing() -> None:
    known = {"t": topic((1,))}
    story = Story().begins([broker(1)], known, {T0: state(1, 1)})
    assert story.hears(BrokersSeen([broker(1)])).commands == ()
    assert story.hears(TopicsSeen({"t"}, {})).commands == ()
    assert story.hears(TopicAssignmentChanged("t", known["t"])).commands == ()
    assert story.hears(DeletionsSeen(())).commands == ()


def answer(code: ErrorCode) -> messages.LeaderAndIsrResponse:
    response = messages.LeaderAndIsrResponse
    errors = [response.PartitionError(error_code=code)]
    return response(topics=[response.TopicError(topic_id=TOPIC_ID, partition_errors=errors)])


def test_a_replica_whose_log_directory_failed_leads_no_more_and_is_told_so_when_it_is_back() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(1, 1, 2)})
    (request,) = [one for number, one in story.told if number == 1 and isinstance(one, messages.LeaderAndIsrRequest)]
    story.hears(BrokerAnswered(BrokerId(1), 11, request, answer(ErrorCode.KAFKA_STORAGE_ERROR)))
    assert [(write.state.leader, write.state.isr) for write in story.writes] == [(2, (2,))]
    story.all_written()
    assert story.kinds() == [(2, "LeaderAndIsr"), (1, "UpdateMetadata"), (2, "UpdateMetadata")]
    # An order from before the election reaches a disk that works again.
    story.hears(BrokerAnswered(BrokerId(1), 11, request, answer(ErrorCode.NONE)))
    assert story.kinds() == [(1, "LeaderAndIsr"), (1, "UpdateMetadata"), (2, "UpdateMetadata")]
    assert story.told[0][1].topic_states[0].partition_states[0].leader_epoch == 1


def test_a_broker_that_does_not_take_up_its_parts_is_told_of_in_the_log() -> None:
    story = Story().begins([broker(1)], {"t": topic((1,))}, {T0: state(1, 1)})
    request = next(one for _, one in story.told if isinstance(one, messages.LeaderAndIsrRequest))
    refused = messages.LeaderAndIsrResponse(error_code=ErrorCode.UNKNOWN_SERVER_ERROR)
    story.hears(BrokerAnswered(BrokerId(1), 11, request, refused))
    (note,) = story.commands
    assert isinstance(note, Note)
    assert note.fact.fields == {"broker": 1, "code": "UNKNOWN_SERVER_ERROR"}


def test_the_answer_of_an_earlier_life_is_not_believed() -> None:
    story = Story().begins([broker(1)], {"t": topic((1,))}, {T0: state(1, 1)}, ["t"])
    (request,) = [one for _, one in story.told if isinstance(one, messages.StopReplicaRequest)][1:]
    story.hears(BrokerAnswered(BrokerId(1), 5, request, messages.StopReplicaResponse()))
    assert story.commands == ()


def test_a_topic_is_deleted_copies_first_nodes_last() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(1, 1, 2)})
    story.hears(DeletionsSeen({"t"}))
    assert story.controller.is_being_deleted("t")
    assert story.kinds() == [
        (1, "UpdateMetadata"),
        (2, "UpdateMetadata"),
        (1, "StopReplica"),
        (2, "StopReplica"),
        (1, "StopReplica"),
        (2, "StopReplica"),
    ]
    (part,) = story.told[0][1].topic_states[0].partition_states
    assert part.leader == -2
    stops = [one.topic_states[0].partition_states[0] for _, one in story.told[2:]]
    assert [(stop.leader_epoch, stop.delete_partition) for stop in stops] == [
        (-2, False),
        (-2, False),
        (-2, True),
        (-2, True),
    ]
    story.all_stopped()
    assert story.commands == (ForgetTopic("t", (0,)),)
    story.hears(TopicForgotten("t"))
    assert not story.controller.is_being_deleted("t")
    assert story.controller.cluster.topics == {}


def test_a_topic_waits_for_its_dead_replica_before_it_is_deleted() -> None:
    story = Story().begins([broker(1)], {"t": topic((1, 2))}, {T0: state(1, 1)})
    assert story.hears(DeletionsSeen({"t"})).commands == ()
    story.hears(BrokersSeen([broker(1), broker(2)]))
    assert (2, "StopReplica") in story.kinds()


def test_a_copy_that_could_not_be_deleted_is_tried_again_later() -> None:
    story = Story().begins([broker(1)], {"t": topic((1,))}, {T0: state(1, 1)})
    story.hears(DeletionsSeen({"t"})).all_stopped(ErrorCode.KAFKA_STORAGE_ERROR)
    assert story.told == []
    assert story.controller.next_deadline() == RETRY_AFTER_MS
    story.commands = story.controller.tick(Millis(RETRY_AFTER_MS))
    assert (1, "StopReplica") in story.kinds()


def test_a_deletion_that_has_rested_but_still_may_not_begin_does_not_ask_for_another_look_at_once() -> None:
    story = Story(auto_leader_rebalance_enable=False).begins(
        [broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(1, 1, 2)}
    )
    story.hears(DeletionsSeen({"t"})).all_stopped(ErrorCode.KAFKA_STORAGE_ERROR)
    story.hears(BrokersSeen([broker(1)]))
    assert story.controller.tick(Millis(RETRY_AFTER_MS)) == ()
    assert story.controller.next_deadline() is None
    story.now = Millis(RETRY_AFTER_MS + 1)
    assert (2, "StopReplica") in story.hears(BrokersSeen([broker(1), broker(2, epoch=50)])).kinds()


def test_a_broker_that_dies_while_it_deletes_is_asked_again_in_its_next_life() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(1, 1, 2)})
    story.hears(DeletionsSeen({"t"}))
    story.hears(BrokersSeen([broker(1)]))
    assert "StopReplica" not in [kind for _, kind in story.kinds()]
    story.hears(BrokersSeen([broker(1), broker(2, epoch=50)]))
    assert (2, "StopReplica") in story.kinds()


def test_nothing_is_elected_for_a_topic_on_its_way_out() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(1, 1, 2)})
    story.hears(DeletionsSeen({"t"}))
    assert story.hears(BrokersSeen([broker(2)])).writes == []


def test_partitions_added_to_a_topic_on_its_way_out_are_taken_back() -> None:
    story = Story().begins([broker(1)], {"t": topic((1, 2))}, {T0: state(1, 1)}, ["t"])
    story.hears(TopicAssignmentChanged("t", topic((1, 2), (1,), version=1)))
    assert story.commands == (WriteTopic("t", topic((1, 2), version=1)),)


def test_a_move_ends_although_the_topic_is_on_its_way_out_and_its_node_was_written_without_a_change() -> None:
    moving = Topic(TOPIC_ID, {0: Assignment((BrokerId(2), BrokerId(1)), (BrokerId(2),), (BrokerId(1),))})
    story = Story().begins([broker(1), broker(2)], {"t": moving}, {T0: state(1, 1)}, ["t"])
    story.hears(TopicAssignmentChanged("t", replace(moving, version=1)))
    ticket = Ticket(1)
    wish = IsrWish(LeaderEpoch(0), 0, (BrokerId(1), BrokerId(2)))
    story.hears(IsrChangeAsked(ticket, BrokerId(1), broker(1).epoch, {T0: wish})).all_written().all_written()
    assert [one.topic.version for one in story.commands if isinstance(one, WriteTopic)] == [1]


def test_marks_without_topic_or_permission_are_removed() -> None:
    assert Story().begins([broker(1)], deletions=["ghost"]).commands[-1] == ForgetDeletion("ghost")
    story = Story(delete_topic_enable=False).begins([broker(1)], {"t": topic((1,))}, {T0: state(1, 1)})
    assert ForgetDeletion("t") in story.hears(DeletionsSeen({"t"})).commands
    assert not story.controller.is_being_deleted("t")


def test_a_topic_whose_node_vanished_is_forgotten_everywhere() -> None:
    story = Story().begins([broker(1)], {"t": topic((1,))}, {T0: state(1, 1)})
    story.hears(TopicsSeen((), {}))
    (part,) = story.told[0][1].topic_states[0].partition_states
    assert part.leader == -2
    assert story.controller.cluster.topics == {}
