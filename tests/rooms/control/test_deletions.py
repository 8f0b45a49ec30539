"""How far a topic's deletion is."""

from __future__ import annotations

from pykafka_broker.control.cluster import Assignment, Cluster, LiveBroker, Topic
from pykafka_broker.control.deletions import Deletion, Stage
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.time import Millis

ONE, TWO = BrokerId(1), BrokerId(2)
T0 = TopicPartition("t", 0)


def cluster(*live: BrokerId, assignment: Assignment | None = None) -> Cluster:
    known = Cluster()
    known.brokers = {broker: LiveBroker(broker, 1, ()) for broker in live}
    known.topics["t"] = Topic(None, {0: assignment or Assignment((ONE, TWO))})
    return known


def test_it_begins_when_every_replica_is_live_and_stays() -> None:
    assert Deletion("t").may_begin(Millis(0), cluster(ONE, TWO))
    assert not Deletion("t").may_begin(Millis(0), cluster(ONE))
    moving = Assignment((ONE, TWO), adding=(TWO,))
    assert not Deletion("t").may_begin(Millis(0), cluster(ONE, TWO, assignment=moving))
    failed = cluster(ONE, TWO)
    failed.offline_replicas.add((T0, TWO))
    assert not Deletion("t").may_begin(Millis(0), failed)


def test_it_is_done_when_every_copy_is_gone() -> None:
    deletion = Deletion("t")
    deletion.begin(cluster(ONE, TWO))
    deletion.gone(T0, ONE)
    assert not deletion.is_done
    deletion.gone(T0, TWO)
    assert deletion.is_done


def test_it_rests_and_forgets_what_was_gone_already() -> None:
    deletion = Deletion("t")
    deletion.begin(cluster(ONE, TWO))
    deletion.gone(T0, ONE)
    deletion.rest(Millis(50))
    assert deletion.stage is Stage.WAITING
    assert not deletion.may_begin(Millis(49), cluster(ONE, TWO))
    assert deletion.may_begin(Millis(50), cluster(ONE, TWO))
    deletion.gone(T0, TWO)
    deletion.begin(cluster(ONE, TWO))
    assert deletion.left == {(T0, ONE), (T0, TWO)}
