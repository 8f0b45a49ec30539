"""The follower's side of a fetch session: everything once, then only what is new."""

from __future__ import annotations

from uuid import UUID

from pykafka_broker.log.fetch_session import FetchSession, Wish
from pykafka_broker.model.names import NO_TOPIC_ID, TopicId, TopicPartition

ID = TopicId(UUID(int=9))
T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


def wish(offset: int = 0, topic_id: TopicId = ID) -> Wish:
    return Wish(topic_id, offset, 0, 0, 0)


def asked(session: FetchSession, wishes: dict[TopicPartition, Wish], *forgotten: TopicPartition) -> list[int]:
    topics, _ = session.request(wishes, forgotten, 1)
    return [one.partition for topic in topics for one in topic.partitions]


def test_the_first_request_names_all_and_the_next_what_has_changed() -> None:
    session = FetchSession()
    assert asked(session, {T0: wish(), T1: wish()}) == [0, 1]
    session.answered(7)
    assert (session.session_id, session.epoch) == (7, 1)
    assert asked(session, {T0: wish(), T1: wish(5)}) == [1]


def test_what_is_forgotten_is_named_once_and_only_if_the_leader_knows_it() -> None:
    session = FetchSession()
    asked(session, {T0: wish()})
    session.answered(7)
    _, gone = session.request({}, [T0, T1], 1)
    assert [(one.topic, one.topic_id, one.partitions) for one in gone] == [("t", ID, [0])]
    assert session.request({}, [T0], 1)[1] == []


def test_a_leader_that_keeps_no_session_is_asked_for_everything_again() -> None:
    session = FetchSession()
    asked(session, {T0: wish()})
    session.answered(0)
    assert session.is_full
    assert session.told == {T0: wish()}, "the answer at hand is still about this"
    assert asked(session, {T0: wish()}) == [0]


def test_one_topic_without_an_id_makes_all_be_asked_for_by_name() -> None:
    session = FetchSession()
    asked(session, {T0: wish()})
    assert session.has_ids
    other = TopicPartition("old", 0)
    asked(session, {T0: wish(), other: wish(topic_id=NO_TOPIC_ID)})
    assert not session.has_ids
    assert session.name(ID) == "t"
    session.answered(7)
    session.request({}, [other], 1)
    assert session.has_ids


def test_the_epoch_begins_again_at_one() -> None:
    session = FetchSession()
    session.session_id, session.epoch = 7, 2**31 - 1
    session.answered(7)
    assert session.epoch == 1
