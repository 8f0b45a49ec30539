"""The table of group states."""

from __future__ import annotations

from pykafka_broker.group.states import PREDECESSORS, GroupState, may_follow


def test_every_state_is_in_the_table_and_can_be_left_and_reached() -> None:
    assert set(PREDECESSORS) == set(GroupState)
    assert all(PREDECESSORS[state] for state in GroupState)
    left = set().union(*(before for state, before in PREDECESSORS.items() if state is not GroupState.DEAD))
    assert left >= set(GroupState) - {GroupState.DEAD}


def test_only_a_rebalance_makes_a_group_stable() -> None:
    assert [state for state in GroupState if may_follow(GroupState.STABLE, state)] == [GroupState.COMPLETING_REBALANCE]


def test_nothing_comes_back_from_the_dead() -> None:
    assert not any(may_follow(state, GroupState.DEAD) for state in GroupState if state is not GroupState.DEAD)


def test_the_names_are_those_on_the_wire() -> None:
    assert [state.value for state in GroupState] == [
        "Empty",
        "PreparingRebalance",
        "CompletingRebalance",
        "Stable",
        "Dead",
    ]
