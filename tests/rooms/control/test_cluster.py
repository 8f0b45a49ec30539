"""The controller's picture of the cluster."""

from __future__ import annotations

from pykafka_broker.control.cluster import Assignment, Cluster, Endpoint, LiveBroker, PartitionState, Topic
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicPartition

ONE, TWO = BrokerId(1), BrokerId(2)
T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


def cluster() -> Cluster:
    known = Cluster()
    known.brokers[ONE] = LiveBroker(ONE, 5, (Endpoint("A", "host", 1), Endpoint("B", "host", 2)))
    known.topics["t"] = Topic(None, {1: Assignment((TWO,)), 0: Assignment((TWO, ONE))})
    known.topics["other"] = Topic(None, {0: Assignment((ONE,))})
    known.states[T0] = PartitionState(ONE, LeaderEpoch(0), (ONE,), 1)
    return known


def test_partitions_are_found_in_order() -> None:
    known = cluster()
    assert known.partitions_of("t") == (T0, T1)
    assert known.partitions_of("nope") == ()
    assert list(known.partitions()) == [T0, T1, TopicPartition("other", 0)]
    assert known.assignment(T1) == Assignment((TWO,))
    assert known.assignment(TopicPartition("t", 2)) is None


def test_a_replica_lives_when_its_broker_and_its_disk_do() -> None:
    known = cluster()
    assert known.live(T0, (TWO, ONE)) == (ONE,)
    known.offline_replicas.add((T0, ONE))
    assert known.live(T0, (TWO, ONE)) == ()
    assert known.is_live(T1, ONE)


def test_a_forgotten_topic_leaves_nothing_behind() -> None:
    known = cluster()
    known.offline_replicas.add((T0, ONE))
    known.forget("t")
    assert known.states == {}
    assert known.offline_replicas == set()
    assert list(known.topics) == ["other"]


def test_values_answer_for_themselves() -> None:
    broker = cluster().brokers[ONE]
    assert broker.endpoint("B") == Endpoint("B", "host", 2)
    assert broker.endpoint("C") is None
    assert not Assignment((ONE,)).is_moving
    assert Assignment((ONE,), removing=(TWO,)).is_moving
    assert cluster().states[T0].has_leader
