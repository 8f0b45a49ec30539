"""The states of a classic group, and which may follow which: one table for the code, the tests and the docs.

Loading a group from its records is not a move: a record only ever holds a group at rest (Empty or Stable), and
replaying several of them may jump between the two.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping


class GroupState(enum.Enum):
    """Where a group stands; the value is its name on the wire (``GroupState`` of Kafka's group coordinator)."""

    EMPTY = "Empty"
    """Nobody is in it; it lives on for its offsets."""
    PREPARING_REBALANCE = "PreparingRebalance"
    """Waiting for members to (re)join."""
    COMPLETING_REBALANCE = "CompletingRebalance"
    """Everybody has joined; waiting for the leader's assignment."""
    STABLE = "Stable"
    """Everybody may fetch an assignment."""
    DEAD = "Dead"
    """Removed, or never known here."""


PREDECESSORS: Mapping[GroupState, frozenset[GroupState]] = {
    GroupState.EMPTY: frozenset({GroupState.PREPARING_REBALANCE}),
    GroupState.PREPARING_REBALANCE: frozenset({GroupState.STABLE, GroupState.COMPLETING_REBALANCE, GroupState.EMPTY}),
    GroupState.COMPLETING_REBALANCE: frozenset({GroupState.PREPARING_REBALANCE}),
    GroupState.STABLE: frozenset({GroupState.COMPLETING_REBALANCE}),
    GroupState.DEAD: frozenset(GroupState),
}
"""For every state, the states it may be entered from."""

AT_REST = frozenset({GroupState.EMPTY, GroupState.STABLE})
"""The states that a stored record can speak of."""


def may_follow(state: GroupState, previous: GroupState) -> bool:
    """Whether a group may move from ``previous`` to ``state``."""
    return previous in PREDECESSORS[state]
