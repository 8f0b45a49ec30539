"""What a topic may be called and look like; the texts a client sees are asserted in tests/rooms/api/test_topics.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.control.cluster import Assignment, Topic
from pykafka_broker.control.placement import Seat
from pykafka_broker.control.topics import (
    NewTopic,
    Surroundings,
    colliding,
    is_legal_name,
    plan_partitions,
    plan_topic,
)
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId

SEATS = [Seat(BrokerId(1)), Seat(BrokerId(2)), Seat(BrokerId(3))]


def accept(configs: Mapping[str, str]) -> None:
    return


def around(**changes: Any) -> Surroundings:
    known: dict[str, Any] = {
        "topics": ("old",),
        "marked": (),
        "seats": SEATS,
        "default_partitions": 2,
        "default_replication_factor": 3,
        "check_configs": accept,
        "start_index": 0,
        "next_shift": 0,
    }
    return Surroundings(**{**known, **changes})


def refusal(new: NewTopic, surroundings: Surroundings) -> tuple[ErrorCode, str | None]:
    with pytest.raises(KafkaError) as refused:
        plan_topic(new, surroundings)
    return refused.value.code, refused.value.detail


def brokers(*ids: int) -> tuple[BrokerId, ...]:
    return tuple(map(BrokerId, ids))


def test_what_is_not_said_is_what_the_broker_thinks_right() -> None:
    assert plan_topic(NewTopic(name="t"), around()) == {0: (1, 2, 3), 1: (2, 3, 1)}


def test_a_topic_on_its_way_out_still_holds_its_name() -> None:
    expected = (ErrorCode.TOPIC_ALREADY_EXISTS, "Topic 'old' is marked for deletion.")
    assert refusal(NewTopic(name="old"), around(marked=("old",))) == expected


def test_numbers_are_checked_before_the_name() -> None:
    code, _ = refusal(NewTopic(name="not legal", replication_factor=9), around())
    assert code == ErrorCode.INVALID_REPLICATION_FACTOR


def test_settings_are_checked_last() -> None:
    def refuse(configs: Mapping[str, str]) -> None:
        raise KafkaError(ErrorCode.INVALID_CONFIG, str(dict(configs)))

    new = NewTopic(name="t", configs={"a": "1"})
    assert refusal(new, around(check_configs=refuse)) == (ErrorCode.INVALID_CONFIG, "{'a': '1'}")
    assert refusal(NewTopic(name="..", configs={"a": "1"}), around(check_configs=refuse))[0] == (
        ErrorCode.INVALID_TOPIC_EXCEPTION
    )


@pytest.mark.parametrize(
    ("given_replicas", "text"),
    [
        ({0: (1, 1)}, "Duplicate replica assignment found: HashMap(0 -> ArrayBuffer(1, 1))"),
        ({1: (1,)}, "partitions should be a consecutive 0-based integer sequence"),
        ({-1: (1,), 0: (1,)}, "partitions should be a consecutive 0-based integer sequence"),
        ({0: ()}, "Cannot have replication factor of 0 for partition id 0."),
        ({0: (1,), 1: (2, 3)}, "All partitions should have the same number of replicas"),
        ({0: (7,), 1: (8,)}, "Unknown broker(s) in replica assignment: 7, 8."),
    ],
)
def test_an_assignment_must_make_sense(given_replicas: dict[int, tuple[int, ...]], text: str) -> None:
    new = NewTopic(name="t", assignment={index: brokers(*ids) for index, ids in given_replicas.items()})
    assert refusal(new, around()) == (ErrorCode.INVALID_REPLICA_ASSIGNMENT, text)


def test_absurd_numbers_of_partitions_are_refused_at_once() -> None:
    assert refusal(NewTopic(name="t", partitions=2**31 - 1), around())[0] == ErrorCode.POLICY_VIOLATION


def test_names_collide_when_dots_and_underscores_are_the_only_difference() -> None:
    topics = ("a.b_c", "a.b.c", "abc", "a-b-c")
    assert colliding("a_b_c", topics) == ["a.b.c", "a.b_c"]
    assert colliding("a.b.c", topics) == ["a.b_c"]
    assert colliding("abc", topics) == []


@given(st.text(alphabet="aZ09._-", min_size=1, max_size=249))
def test_legal_characters_make_a_legal_name(name: str) -> None:
    assert is_legal_name(name) == (name not in (".", ".."))


@given(st.text(max_size=20))
def test_anything_else_does_not(name: str) -> None:
    legal = name not in ("", ".", "..") and all(
        character.isascii() and (character.isalnum() or character in "._-") for character in name
    )
    assert is_legal_name(name) == legal


def topic(*replicas: tuple[int, ...]) -> Topic:
    return Topic(None, {index: Assignment(brokers(*ids)) for index, ids in enumerate(replicas)})


def test_added_partitions_begin_at_the_broker_that_leads_the_first() -> None:
    assert plan_partitions("t", topic((2, 3)), 3, None, SEATS) == {1: (3, 2), 2: (1, 3)}


def growth_refusal(known: Topic, count: int, given_replicas: Any) -> tuple[ErrorCode, str | None]:
    with pytest.raises(KafkaError) as refused:
        plan_partitions("t", known, count, given_replicas, SEATS)
    return refused.value.code, refused.value.detail


def test_added_partitions_have_as_many_replicas_as_the_first() -> None:
    assert growth_refusal(topic((1, 2)), 3, [brokers(1), brokers(3, 2)]) == (
        ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        "Inconsistent replication factor between partitions, partition 0 has 2 while partitions [1] have "
        "replication factors [1], respectively.",
    )


def test_a_topic_that_is_being_moved_does_not_grow() -> None:
    moving = Topic(None, {0: Assignment(brokers(1, 2), adding=brokers(2))})
    assert growth_refusal(moving, 3, None) == (
        ErrorCode.REASSIGNMENT_IN_PROGRESS,
        "A partition reassignment is in progress for the topic 't'.",
    )
