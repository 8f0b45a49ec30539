"""Elections on request: who is elected, and what is said when nobody is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from pykafka_broker.control.ballots import Ballot, ElectionType, Verdict
from pykafka_broker.control.cluster import Assignment, Cluster, Endpoint, LiveBroker, PartitionState, Topic
from pykafka_broker.control.petitions import Situation
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_BROKER, NO_TOPIC_ID, BrokerId, LeaderEpoch, TopicPartition
from pykafka_broker.model.outcome import Ticket

T0 = TopicPartition("t", 0)
PREFERRED, UNCLEAN = ElectionType.PREFERRED, ElectionType.UNCLEAN


def cluster(replicas: tuple[int, ...], leader: int, isr: tuple[int, ...], live: tuple[int, ...]) -> Cluster:
    brokers = {BrokerId(one): LiveBroker(BrokerId(one), one, (Endpoint("PLAINTEXT", "h", 9),)) for one in live}
    topic = Topic(NO_TOPIC_ID, {0: Assignment(tuple(map(BrokerId, replicas)))})
    state = PartitionState(BrokerId(leader), LeaderEpoch(3), tuple(map(BrokerId, isr)), 1, version=5)
    return Cluster(brokers=brokers, topics={"t": topic}, states={T0: state})


def hold(
    ballot: Ballot, known: Cluster, *, busy: bool = False, deleted: bool = False
) -> Mapping[TopicPartition, PartitionState]:
    situation = Situation(known, 2, lambda _: busy, lambda _: deleted, lambda _: False)
    return {due.partition: due.state for due in ballot.proceed(situation)}


def ballot(kind: ElectionType, partition: TopicPartition = T0) -> Ballot:
    return Ballot(Ticket(1), kind, {partition: None})


def verdict(
    known: Cluster,
    kind: ElectionType,
    partition: TopicPartition = T0,
    *,
    busy: bool = False,
    deleted: bool = False,
) -> Verdict:
    """What is said when nothing has to be written."""
    asked = ballot(kind, partition)
    assert hold(asked, known, busy=busy, deleted=deleted) == {}
    assert not asked.open
    return asked.verdicts[partition]


def refusal(known: Cluster, kind: ElectionType, *, busy: bool = False, deleted: bool = False) -> tuple[ErrorCode, str]:
    said = verdict(known, kind, busy=busy, deleted=deleted)
    assert isinstance(said, KafkaError)
    return said.code, said.message


def test_the_preferred_replica_is_elected_once_that_is_written() -> None:
    known, asked = cluster((1, 2), 2, (2, 1), (1, 2)), ballot(PREFERRED)
    (due,) = hold(asked, known).values()
    assert (due.leader, due.leader_epoch, due.isr, due.controller_epoch) == (1, 4, (2, 1), 2)
    assert asked.open
    assert hold(asked, known, busy=True) == {}
    known.states[T0] = replace(due, version=6)
    assert hold(asked, known) == {}
    assert asked.verdicts == {T0: 1}


def test_an_election_that_was_not_written_is_held_again() -> None:
    known, asked = cluster((1, 2), 2, (2, 1), (1, 2)), ballot(PREFERRED)
    hold(asked, known)
    known.states[T0] = replace(known.states[T0], leader_epoch=LeaderEpoch(7))
    (due,) = hold(asked, known).values()
    assert due.leader_epoch == 8


def test_a_leader_that_is_preferred_already_needs_no_election() -> None:
    said = refusal(cluster((1, 2), 1, (1, 2), (1, 2)), PREFERRED)
    assert said == (ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")


def test_a_preferred_replica_that_is_dead_or_behind_is_not_available() -> None:
    text = "Failed to elect leader for partition t-0 under strategy PreferredReplicaPartitionLeaderElectionStrategy"
    for known in (cluster((1, 2), 2, (2, 1), (2,)), cluster((1, 2), 2, (2,), (1, 2))):
        assert refusal(known, PREFERRED) == (ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE, text)


def test_a_broker_that_is_shutting_down_is_not_elected() -> None:
    known = cluster((1, 2), 2, (2, 1), (1, 2))
    known.shutting_down.add(BrokerId(1))
    assert refusal(known, PREFERRED)[0] == ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE


def test_an_unclean_election_takes_who_is_alive_and_leaves_him_alone_and_recovering() -> None:
    known = cluster((1, 2), NO_BROKER, (1,), (2,))
    (due,) = hold(ballot(UNCLEAN), known).values()
    assert (due.leader, due.isr, due.is_recovering) == (2, (2,), True)


def test_an_unclean_election_without_need_or_without_anybody() -> None:
    known = cluster((1, 2), 2, (2,), (1, 2))
    assert refusal(known, UNCLEAN)[0] == ErrorCode.ELECTION_NOT_NEEDED
    text = "Failed to elect leader for partition t-0 under strategy OfflinePartitionLeaderElectionStrategy(true)"
    said = refusal(cluster((1, 2), NO_BROKER, (1,), (3,)), UNCLEAN)
    assert said == (ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE, text)


@pytest.mark.parametrize("kind", ElectionType)
def test_partitions_that_are_not_there_or_going_or_never_led(kind: ElectionType) -> None:
    known = cluster((1, 2), 2, (2,), (1, 2))
    ghost = verdict(known, kind, TopicPartition("t", 9))
    assert isinstance(ghost, KafkaError)
    assert (ghost.code, ghost.message) == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.")
    said = refusal(known, kind, busy=True, deleted=True)
    assert said == (ErrorCode.INVALID_TOPIC_EXCEPTION, "The topic is being deleted")
    known.states.clear()
    assert refusal(known, kind)[0] in (
        ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE,
        ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE,
    )
