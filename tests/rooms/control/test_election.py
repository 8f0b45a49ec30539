"""Who leads: each election for itself."""

from __future__ import annotations

from pykafka_broker.control.cluster import Assignment, PartitionState
from pykafka_broker.control.election import (
    elect_for_reassignment,
    elect_for_shutdown,
    elect_offline,
    elect_preferred,
    first_state,
    settle,
    without_dead,
)
from pykafka_broker.model.names import BrokerId, LeaderEpoch

A, B, C = BrokerId(1), BrokerId(2), BrokerId(3)
ABC = Assignment((A, B, C))


def led(leader: int, *isr: int, epoch: int = 5, version: int = 7, recovering: bool = False) -> PartitionState:
    return PartitionState(
        BrokerId(leader), LeaderEpoch(epoch), tuple(map(BrokerId, isr)), 2, is_recovering=recovering, version=version
    )


def never() -> bool:
    return False


def always() -> bool:
    return True


def test_a_new_partition_is_led_by_its_first_live_replica_and_all_live_ones_are_in_sync() -> None:
    assert first_state(ABC, {B, C}, 2) == PartitionState(B, LeaderEpoch(0), (B, C), 2)
    assert first_state(ABC, (), 2) is None


def test_the_first_live_replica_in_sync_takes_over() -> None:
    assert elect_offline(ABC, led(1, 1, 3), {B, C}, 9, may_be_unclean=never) == PartitionState(
        C, LeaderEpoch(6), (C,), 9, version=7
    )


def test_nobody_out_of_sync_takes_over_unless_that_is_allowed() -> None:
    assert elect_offline(ABC, led(1, 1), {B, C}, 9, may_be_unclean=never) is None
    unclean = elect_offline(ABC, led(1, 1), {B, C}, 9, may_be_unclean=always)
    assert unclean == PartitionState(B, LeaderEpoch(6), (B,), 9, is_recovering=True, version=7)


def test_the_preferred_leader_is_the_first_replica_if_it_is_live_and_in_sync() -> None:
    assert elect_preferred(ABC, led(2, 2, 1), {A, B}, 2) == led(1, 2, 1, epoch=6)
    assert elect_preferred(ABC, led(2, 2), {A, B}, 2) is None
    assert elect_preferred(ABC, led(2, 2, 1), {B}, 2) is None


def test_a_reassignment_is_led_by_its_first_target_that_is_live_and_in_sync() -> None:
    assert elect_for_reassignment((B, C), led(1, 1, 3), {A, B, C}, 2) == led(3, 1, 3, epoch=6)
    assert elect_for_reassignment((B,), led(1, 1, 3), {A, B, C}, 2) is None


def test_a_broker_that_shuts_down_hands_over_and_leaves_the_isr() -> None:
    assert elect_for_shutdown(ABC, led(1, 1, 2, 3), {A, B, C}, {A}, 2) == led(2, 2, 3, epoch=6)
    assert elect_for_shutdown(ABC, led(1, 1), {A, B, C}, {A}, 2) is None


def test_dead_replicas_leave_the_isr_but_the_last_one_stays() -> None:
    assert without_dead(led(1, 1, 2), {A}, 2) == led(1, 1, epoch=6)
    assert without_dead(led(1, 1), set(), 2) == led(-1, 1, epoch=6)
    assert without_dead(led(-1, 1), set(), 2) is None
    assert without_dead(led(1, 1, 2), {A, B}, 2) is None


def test_settling_leaves_a_healthy_partition_alone() -> None:
    assert settle(ABC, led(1, 1, 2, 3), {A, B, C}, (), 2, may_be_unclean=always) is None
    assert settle(ABC, led(1, 1, 2), {A, B, C}, (), 2, may_be_unclean=always) is None


def test_settling_raises_the_epoch_once_for_a_lost_leader() -> None:
    assert settle(ABC, led(1, 1, 2, 3), {B, C}, (), 2, may_be_unclean=never) == led(2, 2, 3, epoch=6)


def test_a_partition_nobody_can_lead_has_no_leader_and_keeps_its_last_in_sync_replica() -> None:
    assert settle(ABC, led(1, 1), {B, C}, (), 2, may_be_unclean=never) == led(-1, 1, epoch=6)


def test_a_broker_that_shuts_down_is_not_elected() -> None:
    assert settle(ABC, led(1, 1, 2, 3), {B, C}, {B}, 2, may_be_unclean=never) == led(3, 3, epoch=6)
    assert settle(ABC, None, {A, B}, {A}, 2, may_be_unclean=never) == PartitionState(B, LeaderEpoch(0), (B,), 2)
