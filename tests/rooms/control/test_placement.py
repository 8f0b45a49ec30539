"""Where replicas go, with the dice in the test's hand."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.control.placement import Seat, place, rack_alternated
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId


def seats(*racks: str | None) -> list[Seat]:
    return [Seat(BrokerId(number), rack) for number, rack in enumerate(racks)]


def test_leaders_go_round_and_followers_are_shifted_each_time_round() -> None:
    # The example in the documentation of AdminUtils.assignReplicasToBrokers.
    placed = place(seats(*[None] * 5), 10, 3, start_index=0, next_shift=0)
    assert list(placed.values()) == [
        (0, 1, 2),
        (1, 2, 3),
        (2, 3, 4),
        (3, 4, 0),
        (4, 0, 1),
        (0, 2, 3),
        (1, 3, 4),
        (2, 4, 0),
        (3, 0, 1),
        (4, 1, 2),
    ]


def test_the_dice_decide_where_to_begin() -> None:
    assert place(seats(None, None, None), 2, 2, start_index=1, next_shift=1) == {0: (1, 0), 1: (2, 1)}


def test_added_partitions_go_on_where_the_others_ended() -> None:
    assert list(place(seats(None, None), 2, 1, start_index=0, next_shift=0, first_partition=3)) == [3, 4]


def test_brokers_are_taken_rack_by_rack_in_turn() -> None:
    # The example in the documentation of AdminUtils.getRackAlternatedBrokerList.
    racks = {0: "rack1", 1: "rack3", 2: "rack3", 3: "rack2", 4: "rack2", 5: "rack1"}
    assert rack_alternated({BrokerId(broker): rack for broker, rack in racks.items()}) == [0, 3, 1, 5, 4, 2]


def test_racks_place_as_in_apache_kafkas_documentation() -> None:
    racks = ["rack1", "rack3", "rack3", "rack2", "rack2", "rack1"]
    placed = place(seats(*racks), 7, 3, start_index=0, next_shift=0)
    assert list(placed.values()) == [(0, 3, 1), (3, 1, 5), (1, 5, 4), (5, 4, 2), (4, 2, 0), (2, 0, 3), (0, 4, 2)]


@given(
    racks=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=9),
    partitions=st.integers(1, 40),
    data=st.data(),
)
def test_replicas_are_different_brokers_and_as_many_racks_as_there_can_be(
    racks: list[str], partitions: int, data: st.DataObject
) -> None:
    factor = data.draw(st.integers(1, len(racks)))
    dice = st.integers(0, len(racks) - 1)
    placed = place(seats(*racks), partitions, factor, start_index=data.draw(dice), next_shift=data.draw(dice))
    assert list(placed) == list(range(partitions))
    for replicas in placed.values():
        assert len(set(replicas)) == factor
        assert len({racks[broker] for broker in replicas}) == min(factor, len(set(racks)))
    leaders = Counter(replicas[0] for replicas in placed.values())
    assert max(leaders.values()) - min(leaders[BrokerId(broker)] for broker in range(len(racks))) <= 1


@pytest.mark.parametrize(
    ("partitions", "factor", "code"),
    [
        (0, 1, ErrorCode.INVALID_PARTITIONS),
        (1, 0, ErrorCode.INVALID_REPLICATION_FACTOR),
        (1, 3, ErrorCode.INVALID_REPLICATION_FACTOR),
    ],
)
def test_impossible_numbers_are_refused(partitions: int, factor: int, code: ErrorCode) -> None:
    with pytest.raises(KafkaError) as refused:
        place(seats(None, None), partitions, factor, start_index=0, next_shift=0)
    assert refused.value.code == code


def test_racks_for_some_brokers_only_are_refused() -> None:
    with pytest.raises(KafkaError) as refused:
        place(seats("a", None), 1, 1, start_index=0, next_shift=0)
    assert refused.value.code == ErrorCode.UNKNOWN_SERVER_ERROR
