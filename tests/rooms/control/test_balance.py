"""Leadership returns to the preferred replicas, from time to time and where it is worth it."""

from __future__ import annotations

from pykafka_broker.control.balance import FIRST_AFTER_MS, out_of_place
from pykafka_broker.control.cluster import Assignment, Cluster, Topic
from pykafka_broker.control.events import LogDirsFailed, SettingsChanged
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages
from tests.rooms.control.test_controller import T0, TOPIC_ID, Story, broker, state, topic


def cluster(leaders: dict[int, int], replicas: tuple[int, ...] = (1, 2)) -> Cluster:
    """Partitions of one topic, all of the same replicas, and who leads each."""
    return Cluster(
        brokers={one: broker(one) for one in map(BrokerId, (1, 2))},
        topics={"t": topic(*([replicas] * len(leaders)))},
        states={TopicPartition("t", index): state(leader, 1, 2) for index, leader in leaders.items()},
    )


def never(_: str) -> bool:
    return False


def test_too_many_leaderships_elsewhere_are_brought_back() -> None:
    found = out_of_place(cluster({0: 2, 1: 1, 2: 1, 3: 1}), 10, never)
    assert found == [T0]


def test_a_few_are_put_up_with() -> None:
    leaders = dict.fromkeys(range(10), 1) | {0: 2}
    assert out_of_place(cluster(leaders), 10, never) == []
    assert out_of_place(cluster(leaders), 9, never) == [T0]


def test_who_is_dead_leaving_or_out_of_sync_is_no_candidate() -> None:
    dead = cluster({0: 2})
    del dead.brokers[BrokerId(1)]
    assert out_of_place(dead, 10, never) == []
    leaving = cluster({0: 2})
    leaving.shutting_down.add(BrokerId(1))
    assert out_of_place(leaving, 10, never) == []
    behind = cluster({0: 2})
    behind.states[T0] = state(2, 2)
    assert out_of_place(behind, 10, never) == []


def test_nothing_is_brought_back_while_replicas_move_or_topics_go() -> None:
    moving = cluster({0: 2})
    moving.topics["m"] = Topic(TOPIC_ID, {0: Assignment((BrokerId(1),), (BrokerId(1),), ())})
    assert out_of_place(moving, 10, never) == []
    assert out_of_place(cluster({0: 2}), 10, lambda _: True) == []


def test_a_controller_looks_five_seconds_after_its_election_and_then_ever_so_often() -> None:
    story = Story(leader_imbalance_check_interval_seconds=60).begins(
        [broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(2, 1, 2)}
    )
    assert story.controller.next_deadline() == FIRST_AFTER_MS
    story.commands = story.controller.tick(Millis(FIRST_AFTER_MS))
    (write,) = story.writes
    assert write.state.leader == 1
    assert story.controller.next_deadline() == FIRST_AFTER_MS + 60_000


def test_a_controller_told_not_to_never_looks() -> None:
    story = Story(auto_leader_rebalance_enable=False).begins([broker(1)])
    assert story.controller.next_deadline() is None


def test_a_broker_with_a_failed_disk_is_told_again_what_it_hosts() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2), (2,))}, {T0: state(1, 1, 2)})
    story.hears(LogDirsFailed([BrokerId(1)]))
    ((number, request),) = story.told
    assert number == 1
    assert isinstance(request, messages.LeaderAndIsrRequest)
    assert [one.partition_index for topic in request.topic_states for one in topic.partition_states] == [0]


def test_a_setting_that_allows_unclean_elections_is_heeded_at_once() -> None:
    story = Story().begins([broker(2)], {"t": topic((1, 2))}, {T0: state(-1, 1)})
    assert story.writes == []
    story.unclean = True
    story.hears(SettingsChanged("t"))
    (write,) = story.writes
    assert (write.state.leader, write.state.isr, write.state.is_recovering) == (2, (2,), True)
