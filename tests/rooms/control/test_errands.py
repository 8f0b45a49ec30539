"""What old tools write is done, and taken out of the tree when it is done or cannot be."""

from __future__ import annotations

from pykafka_broker.control.commands import ForgetElection, WriteReassignments
from pykafka_broker.control.errands import WrittenReassignments
from pykafka_broker.control.events import ElectionWritten, ReassignmentAsked, ReassignmentsWritten, StatesWritten
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.outcome import Ticket
from tests.rooms.control.test_controller import T0, T1, Story, broker, state, topic

TWO, THREE = (BrokerId(2),), (BrokerId(3),)


def left(story: Story) -> list[object]:
    return [command.left for command in story.commands if isinstance(command, WriteReassignments)]


def test_only_news_are_taken_in() -> None:
    written = WrittenReassignments()
    assert written.see({T0: TWO, T1: TWO}) == {T0: TWO, T1: TWO}
    assert written.see({T0: TWO, T1: THREE}) == {T1: THREE}


def test_what_is_over_is_struck_off_until_nothing_is_left() -> None:
    written = WrittenReassignments()
    written.see({T0: TWO, T1: TWO})
    active = {T0, T1}
    assert written.shortened(active.__contains__) is None
    active.remove(T0)
    assert written.shortened(active.__contains__) == {T1: TWO}
    assert written.shortened(active.__contains__) is None
    active.clear()
    assert written.shortened(active.__contains__) == {}


def test_whoever_asks_for_something_else_strikes_it_off() -> None:
    written = WrittenReassignments()
    written.see({T0: TWO, T1: TWO})
    written.strike([T0, TopicPartition("ghost", 0)])
    assert written.shortened(lambda _: True) == {T1: TWO}


def test_an_election_written_by_an_old_tool_is_held_and_its_node_removed() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(2, 1, 2)})
    story.hears(ElectionWritten([T0]))
    assert [write.state.leader for write in story.writes] == [1]
    assert ForgetElection() not in story.commands, "a controller that comes next has to find it"
    story.hears(ElectionWritten([T0]))
    assert story.writes == [], "it is the same, seen again"
    story.hears(StatesWritten({T0: state(1, 1, 2, epoch=1, version=1)}))
    assert ForgetElection() in story.commands
    story.hears(ElectionWritten([TopicPartition("ghost", 0)]))
    assert ForgetElection() in story.commands, "what cannot be done is not left for ever"


def test_a_reassignment_written_by_an_old_tool_is_carried_out_and_then_struck_off() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1,))}, {T0: state(1, 1)})
    ghost = TopicPartition("ghost", 0)
    story.hears(ReassignmentsWritten({T0: (BrokerId(2),), ghost: (BrokerId(2),)}))
    (left,) = [command for command in story.commands if isinstance(command, WriteReassignments)]
    assert left.left == {T0: (2,)}, "what cannot be done is not left for ever"
    assert story.controller.cluster.topics["t"].partitions[0].replicas == (1,)
    story.hears(ReassignmentsWritten({T0: (BrokerId(2),)}))
    assert not [command for command in story.commands if isinstance(command, WriteReassignments)]


def test_a_reassignment_that_is_nothing_new_is_struck_off_at_once() -> None:
    story = Story().begins([broker(1)], {"t": topic((1,))}, {T0: state(1, 1)})
    story.hears(ReassignmentsWritten({T0: (BrokerId(1),)}))
    story.all_written()
    (left,) = [command for command in story.commands if isinstance(command, WriteReassignments)]
    assert left.left == {}


def test_what_is_refused_is_struck_off_even_while_the_partition_moves_elsewhere() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1,))}, {T0: state(1, 1)})
    story.hears(ReassignmentAsked(Ticket(5), {T0: TWO}))
    story.hears(ReassignmentsWritten({T0: (BrokerId(1), BrokerId(9))}))
    assert left(story) == [{}]


def test_a_newer_request_takes_the_place_of_what_an_old_tool_wrote() -> None:
    brokers = [broker(1), broker(2), broker(3)]
    story = Story().begins(brokers, {"t": topic((1,), (1,))}, {T0: state(1, 1), T1: state(1, 1)})
    story.hears(ReassignmentsWritten({T0: TWO, T1: TWO}))
    story.hears(ReassignmentAsked(Ticket(5), {T0: THREE, T1: (BrokerId(9),)}))
    assert left(story) == [{T1: TWO}], "what was refused changes nothing"
