"""From one generation to the next, told as stories."""

from __future__ import annotations

from pykafka_broker.group.states import GroupState
from pykafka_broker.model.errors import ErrorCode
from tests.rooms.group.story import PATIENT, Story, joined, pair, synced

NONE = ErrorCode.NONE
REBALANCING = ErrorCode.REBALANCE_IN_PROGRESS
UNKNOWN = ErrorCode.UNKNOWN_MEMBER_ID


def test_a_member_that_stops_heartbeating_leaves_and_the_rest_rebalance(group: Story) -> None:
    group.at(0).joins("a").joins("b")
    group.at(6_000).hears(a=joined(generation=1, leader=True), b=joined(generation=1, leader=False))
    group.at(15_000).beats("a").hears(a=NONE)
    group.at(16_100).beats("a").hears(a=REBALANCING)


def test_a_new_group_waits_its_initial_delay_for_more_members(group: Story) -> None:
    group.at(0).joins("a")
    group.at(2_999).hears_nothing()
    group.at(3_000).hears(a=joined(generation=1, members=1))


def test_every_late_comer_prolongs_the_initial_delay(group: Story) -> None:
    group.at(0).joins("a").at(2_000).joins("b").at(3_000).hears_nothing()
    group.at(5_000).joins("c").at(6_000).hears_nothing()
    group.at(9_000).hears(a=joined(members=3), b=joined(members=0), c=joined(members=0))


def test_the_initial_delay_is_prolonged_no_longer_than_the_rebalance_timeout() -> None:
    group = Story(group_initial_rebalance_delay_ms=3_000)
    group.at(0).joins("a", rebalance_ms=7_000).at(1_000).joins("b", rebalance_ms=7_000).at(3_000).hears_nothing()
    group.at(4_000).joins("c", rebalance_ms=7_000).at(6_000).hears_nothing()
    group.at(6_500).joins("d", rebalance_ms=7_000)
    group.at(7_000).hears(a=joined(members=4), b=joined(), c=joined(), d=joined())


def test_without_an_initial_delay_the_first_member_is_a_group_at_once(prompt: Story) -> None:
    prompt.at(0).joins("a").hears(a=joined(generation=1, leader=True, members=1, protocol="range"))


def test_a_group_that_was_emptied_forms_with_the_initial_delay_again(group: Story) -> None:
    group.at(0).joins("a").at(3_000).hears(a=joined(generation=1)).leaves("a").hears(a=NONE)
    group.is_in(GroupState.EMPTY)
    group.joins("b").at(5_999).hears_nothing()
    group.at(6_000).hears(b=joined(generation=3, leader=True))


def test_only_the_leader_is_told_who_the_members_are(group: Story) -> None:
    group.at(0).joins("a").joins("b").joins("c")
    group.at(6_000).hears(
        a=joined(leader=True, members=3), b=joined(leader=False, members=0), c=joined(leader=False, members=0)
    )


# -- choosing a protocol -----------------------------------------------------------------------------------------


def test_the_protocol_with_most_votes_among_the_common_ones_wins(group: Story) -> None:
    group.at(0).joins("a", protocols={"range": b"", "sticky": b"", "robin": b""})
    group.joins("b", protocols={"robin": b"", "sticky": b"", "range": b""})
    group.joins("c", protocols={"only-mine": b"", "sticky": b"", "robin": b""})
    group.at(6_000).hears(a=joined(protocol="sticky"), b=joined(protocol="sticky"), c=joined(protocol="sticky"))


# -- syncing -----------------------------------------------------------------------------------------------------


def test_everybody_waits_for_the_leaders_assignment(prompt: Story) -> None:
    pair(prompt).joins("a").joins("b").hears(a=joined(), b=joined())
    prompt.syncs("b").hears_nothing().syncs("a", b=b"B").hears(a=synced(b""), b=synced(b"B"))
    prompt.is_in(GroupState.STABLE)


def test_an_assignment_can_be_fetched_again(prompt: Story) -> None:
    pair(prompt).syncs("b").hears(b=synced(b"1"))


def test_a_sync_of_another_generation_or_by_a_stranger_is_refused(prompt: Story) -> None:
    pair(prompt).syncs("b", generation=1).hears(b=ErrorCode.ILLEGAL_GENERATION)
    prompt.people["b"].member_id = type(prompt.people["b"].member_id)("who")
    prompt.syncs("b").hears(b=UNKNOWN)


def test_a_sync_must_name_the_protocol_type_of_the_group(prompt: Story) -> None:
    pair(prompt).syncs("b", kind="connect").hears(b=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)


def test_a_sync_during_a_rebalance_is_told_to_rejoin(prompt: Story) -> None:
    pair(prompt).joins("a").syncs("b").hears(b=REBALANCING)


def test_heartbeats_before_the_leader_has_assigned_are_fine(prompt: Story) -> None:
    prompt.at(0).joins("a").hears(a=joined()).beats("a").hears(a=NONE)


def test_who_does_not_sync_within_the_rebalance_timeout_is_out(prompt: Story) -> None:
    pair(prompt, **PATIENT).joins("a", **PATIENT).joins("b", **PATIENT)
    prompt.hears(a=joined(generation=3), b=joined(generation=3)).syncs("a", a=b"A").hears(a=synced(b"A"))
    prompt.at(19_999).beats("a").beats("b").hears(a=NONE, b=NONE)
    prompt.at(20_000).beats("a").beats("b").hears(a=REBALANCING, b=UNKNOWN)
    assert prompt.told("MembersDidNotSync")


def test_a_leader_that_never_assigns_makes_the_others_start_again(prompt: Story) -> None:
    pair(prompt, **PATIENT).joins("a", **PATIENT).joins("b", **PATIENT)
    prompt.hears(a=joined(), b=joined()).syncs("b").at(20_000).hears(b=REBALANCING)
    prompt.joins("b", **PATIENT).hears(b=joined(generation=4, leader=True))


def test_with_a_rebalance_timeout_of_nothing_the_sync_comes_too_late(prompt: Story) -> None:
    prompt.at(0).joins("a", rebalance_ms=0).hears(a=joined()).at(1).syncs("a", a=b"").hears(a=UNKNOWN)


def test_an_assignment_too_large_to_store_is_not_handed_out() -> None:
    group = Story(group_initial_rebalance_delay_ms=0, max_record_bytes=2_000)
    group.at(0).joins("a").hears(a=joined()).syncs("a", a=b"x" * 2_000).hears(a=ErrorCode.UNKNOWN_SERVER_ERROR)
    group.is_in(GroupState.PREPARING_REBALANCE)
    assert group.records == []
