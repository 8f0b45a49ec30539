"""The classic rebalance protocol, told as stories."""

from __future__ import annotations

from typing import Any

import pytest

from pykafka_broker.group.states import GroupState
from pykafka_broker.model.errors import ErrorCode
from tests.rooms.group.story import GROUP, PATIENT, Story, joined, pair, static_pair, synced

NONE = ErrorCode.NONE
REBALANCING = ErrorCode.REBALANCE_IN_PROGRESS
UNKNOWN = ErrorCode.UNKNOWN_MEMBER_ID


# -- member ids (KIP-394) ----------------------------------------------------------------------------------------


def test_a_new_member_is_told_its_id_before_it_may_join(prompt: Story) -> None:
    prompt.at(0).knocks("a").hears(a=ErrorCode.MEMBER_ID_REQUIRED)
    assert prompt.people["a"].member_id.startswith("a-id")
    prompt.is_in(GroupState.EMPTY).joins("a").hears(a=joined(generation=1, leader=True))


def test_an_id_that_was_given_out_holds_the_rebalance_up_until_it_is_used(prompt: Story) -> None:
    pair(prompt).knocks("c").hears(c=ErrorCode.MEMBER_ID_REQUIRED)
    prompt.joins("a").joins("b", protocols={"range": b"new"}).hears_nothing()
    prompt.joins("c").hears(a=joined(generation=3), b=joined(generation=3), c=joined(generation=3))


def test_an_id_that_is_not_used_within_its_session_is_forgotten(prompt: Story) -> None:
    pair(prompt).knocks("c", session_ms=6_000).hears(c=ErrorCode.MEMBER_ID_REQUIRED)
    prompt.joins("a").joins("b", protocols={"range": b"new"}).hears_nothing()
    prompt.at(6_000).hears(a=joined(generation=3), b=joined(generation=3))
    prompt.joins("c").hears(c=UNKNOWN)


def test_an_id_that_was_given_out_can_be_handed_back(prompt: Story) -> None:
    prompt.at(0).knocks("a").hears(a=ErrorCode.MEMBER_ID_REQUIRED).leaves("a").hears(a=NONE)
    prompt.joins("a").hears(a=UNKNOWN)


# -- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session_ms", [5_999, 1_800_001])
def test_a_session_must_be_within_the_brokers_limits(prompt: Story, session_ms: int) -> None:
    prompt.at(0).joins("a", session_ms=session_ms).hears(a=ErrorCode.INVALID_SESSION_TIMEOUT)


def test_a_member_id_of_an_unknown_group_is_refused(prompt: Story) -> None:
    prompt.at(0).joins("a").hears(a=joined()).leaves("a").hears(a=NONE)
    prompt.joins("a").hears(a=UNKNOWN)


def test_the_first_member_must_name_a_protocol(prompt: Story) -> None:
    prompt.at(0).joins("a", protocols={}).hears(a=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    prompt.at(0).joins("a", kind="", protocols={"range": b""}).hears(a=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)


def test_members_must_have_a_protocol_in_common(prompt: Story) -> None:
    pair(prompt).joins("c", protocols={"sticky": b""}).hears(c=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    prompt.joins("c", kind="connect", protocols={"range": b""}).hears(c=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)


def test_a_protocol_named_twice_counts_once(prompt: Story) -> None:
    from pykafka_broker.model.identity import Client
    from pykafka_broker.model.outcome import Ticket
    from pykafka_broker.wire import messages

    request = messages.JoinGroupRequest(group_id=GROUP, session_timeout_ms=10_000, protocol_type="consumer")
    request.protocols = [messages.JoinGroupRequest.Protocol(name="range", metadata=bytes([n])) for n in (1, 2)]
    client = Client("c", "/h")
    outcome = prompt.coordinator.join(prompt.now, Ticket(999), client, request, needs_member_id=False)
    assert outcome.replies[Ticket(999)].protocol_name == "range"
    assert outcome.replies[Ticket(999)].members[0].metadata == b"\x01"


def test_a_full_group_takes_nobody_new_but_lets_its_members_rejoin() -> None:
    group = Story(group_initial_rebalance_delay_ms=0, group_max_size=2)
    pair(group).joins("c").hears(c=ErrorCode.GROUP_MAX_SIZE_REACHED)
    group.joins("a").hears_nothing().joins("c").hears_nothing()
    group.joins("b").hears(b=ErrorCode.GROUP_MAX_SIZE_REACHED, a=joined(members=2), c=joined())


def test_a_group_that_is_loaded_too_big_sheds_those_who_come_last() -> None:
    group = Story(group_initial_rebalance_delay_ms=0)
    pair(group)
    group.settings = type(group.settings)(group_initial_rebalance_delay_ms=0, group_max_size=1)
    group.fails_over().is_in(GroupState.PREPARING_REBALANCE)
    group.joins("b").hears_nothing().joins("a").hears(
        a=ErrorCode.GROUP_MAX_SIZE_REACHED, b=joined(generation=3, leader=True)
    )


# -- rejoining ---------------------------------------------------------------------------------------------------


def test_a_follower_that_joins_again_without_news_gets_the_same_generation(prompt: Story) -> None:
    pair(prompt).joins("b").hears(b=joined(generation=2, leader=False, members=0)).syncs("b").hears(b=synced(b"1"))


def test_a_leader_that_joins_again_rebalances_the_group(prompt: Story) -> None:
    pair(prompt).joins("a").hears_nothing().beats("b").hears(b=REBALANCING)
    prompt.joins("b").hears(a=joined(generation=3, leader=True), b=joined(generation=3))


def test_a_member_with_news_rebalances_the_group(prompt: Story) -> None:
    pair(prompt).joins("b", topics=["t", "u"]).hears_nothing().is_in(GroupState.PREPARING_REBALANCE)


def test_a_member_that_missed_its_answer_gets_it_again_before_syncing(prompt: Story) -> None:
    prompt.at(0).joins("a").hears(a=joined(generation=1, members=1))
    prompt.joins("a").hears(a=joined(generation=1, leader=True, members=1)).syncs("a", a=b"x").hears(a=synced(b"x"))


def test_news_while_the_leader_assigns_call_the_syncing_off(prompt: Story) -> None:
    pair(prompt).joins("a").joins("b").hears(a=joined(), b=joined()).syncs("b").hears_nothing()
    prompt.joins("a", topics=["t", "u"]).hears(b=REBALANCING)


def test_a_join_sent_twice_answers_the_first_and_keeps_the_second(prompt: Story) -> None:
    pair(prompt).joins("a").hears_nothing().joins("a").hears(a=REBALANCING)
    prompt.joins("b").hears(a=joined(generation=3), b=joined(generation=3))


def test_who_does_not_rejoin_in_time_is_out_and_another_leads(prompt: Story) -> None:
    pair(prompt, session_ms=30_000, rebalance_ms=20_000)
    prompt.joins("b", topics=["u"], rebalance_ms=20_000).at(19_999).hears_nothing()
    prompt.at(20_000).hears(b=joined(generation=3, leader=True, members=1))
    prompt.beats("a").hears(a=UNKNOWN)


def test_heartbeats_during_a_rebalance_keep_the_member(prompt: Story) -> None:
    pair(prompt).joins("b", topics=["u"])
    for moment in range(5_000, 60_000, 5_000):
        prompt.at(moment).beats("a").hears(a=REBALANCING)
    prompt.joins("a").hears(a=joined(generation=3, leader=True), b=joined(generation=3))


def test_a_new_member_whose_join_waits_is_dropped_after_five_minutes(prompt: Story) -> None:
    long: dict[str, Any] = {"session_ms": 1_800_000, "rebalance_ms": 1_800_000}
    pair(prompt, **long).joins("c", **long)
    prompt.at(299_999).hears_nothing().at(300_000).hears(c=UNKNOWN)


# -- leaving -----------------------------------------------------------------------------------------------------


def test_a_leaving_member_makes_the_rest_rebalance(prompt: Story) -> None:
    pair(prompt).leaves("b").hears(b=NONE).beats("a").hears(a=REBALANCING)
    prompt.joins("a").hears(a=joined(generation=3, leader=True, members=1))


def test_a_leaver_that_is_waited_for_lets_the_others_go_on(prompt: Story) -> None:
    pair(prompt).joins("a").hears_nothing().leaves("b").hears(b=NONE, a=joined(generation=3))


def test_when_the_last_member_leaves_the_empty_generation_is_stored(prompt: Story) -> None:
    prompt.at(0).joins("a").hears(a=joined()).syncs("a", a=b"x").hears(a=synced(b"x"))
    prompt.at(5).leaves("a").hears(a=NONE).is_in(GroupState.EMPTY)
    stored: Any = prompt.coordinator.hard_state()[GROUP][0]
    assert (stored.generation, stored.protocol, stored.leader, stored.members) == (2, None, None, [])
    assert (stored.protocol_type, stored.current_state_timestamp) == ("consumer", 5)


def test_a_stranger_cannot_leave(prompt: Story) -> None:
    pair(prompt).leaves("b").hears(b=NONE).leaves("b").hears(b=UNKNOWN)


def test_a_member_that_leaves_from_elsewhere_while_its_sync_waits_is_told(prompt: Story) -> None:
    pair(prompt).joins("a").joins("b").hears(a=joined(), b=joined()).syncs("b").hears_nothing()
    prompt.leaves("b")
    assert [answer.error_code if hasattr(answer, "error_code") else 0 for answer in prompt.people["b"].heard] == [
        UNKNOWN,
        NONE,
    ]


def test_a_heartbeat_of_another_generation_is_refused(prompt: Story) -> None:
    pair(prompt).beats("a", generation=1).hears(a=ErrorCode.ILLEGAL_GENERATION)


# -- static members (KIP-345) ------------------------------------------------------------------------------------


def test_a_static_member_is_named_after_its_instance(prompt: Story) -> None:
    prompt.at(0).joins("a", instance="i-a", needs_member_id=False).hears(a=joined())
    assert prompt.people["a"].member_id.startswith("i-a-id")


def test_a_static_follower_restarts_without_a_rebalance(prompt: Story) -> None:
    static_pair(prompt)
    before = prompt.people["b"].member_id
    prompt.restarts("b").hears(b=joined(generation=2, leader=False, skip=False, members=0))
    assert prompt.people["b"].member_id != before
    prompt.syncs("b").beats("a")
    assert prompt.people["b"].heard.pop().assignment == b"1"
    prompt.hears(a=NONE).is_in(GroupState.STABLE)


def test_a_static_leader_that_restarts_leads_but_leaves_the_assignment_alone(prompt: Story) -> None:
    static_pair(prompt).restarts("a").hears(a=joined(generation=2, leader=True, skip=True, members=2))


def test_an_older_static_leader_that_restarts_is_told_that_its_old_self_leads(prompt: Story) -> None:
    before = static_pair(prompt).people["a"].member_id
    prompt.restarts("a", may_skip=False).hears(a=joined(generation=2, leader=False, led_by=before, members=0))


def test_a_static_member_that_changes_the_choice_of_protocol_rebalances(prompt: Story) -> None:
    both = {"range": b"", "sticky": b""}
    static_pair(prompt, protocols=both).restarts("b", protocols={"sticky": b""}).hears_nothing()
    prompt.joins("a", protocols=both).hears(a=joined(protocol="sticky"), b=joined(protocol="sticky"))


def test_a_static_member_that_restarts_while_the_leader_assigns_makes_all_rejoin(prompt: Story) -> None:
    static_pair(prompt).joins("a").joins("b", topics=["u"]).hears(a=joined(), b=joined())
    prompt.restarts("b").hears_nothing().joins("a").hears(a=joined(generation=4), b=joined(generation=4))


def test_the_old_self_of_a_replaced_static_member_is_fenced(prompt: Story) -> None:
    static_pair(prompt)
    old = prompt.people["b"].member_id
    prompt.restarts("b").hears(b=joined())
    prompt.people["b"].member_id = old
    fenced = ErrorCode.FENCED_INSTANCE_ID
    prompt.beats("b").hears(b=fenced).syncs("b").hears(b=fenced).joins("b").hears(b=fenced)
    prompt.commits("b", t_0=1).hears(b=fenced).leaves("b").hears(b=fenced)


def test_a_waiting_join_of_the_old_self_is_fenced_when_it_is_replaced(prompt: Story) -> None:
    static_pair(prompt).joins("b", topics=["u"]).hears_nothing().restarts("b").hears(b=ErrorCode.FENCED_INSTANCE_ID)
    prompt.joins("a").hears(a=joined(generation=3), b=joined(generation=3))


def test_an_instance_id_that_nobody_has_is_an_unknown_member(prompt: Story) -> None:
    pair(prompt)
    prompt.people["b"].instance_id = "new"
    prompt.joins("b").hears(b=UNKNOWN).beats("b").hears(b=UNKNOWN)


def test_a_static_member_keeps_its_place_until_its_session_ends(prompt: Story) -> None:
    how: dict[str, Any] = {"session_ms": 15_000, "rebalance_ms": 20_000}
    static_pair(prompt, **how).at(5_000).beats("b").hears(b=NONE).joins("a", **how)
    prompt.at(19_999).hears_nothing().at(20_000).hears(a=joined(generation=3, leader=True, members=1))


def test_a_static_member_that_is_merely_late_stays_in_the_next_generation(prompt: Story) -> None:
    static_pair(prompt, **PATIENT).joins("a", **PATIENT)
    prompt.at(20_000).hears(a=joined(generation=3, leader=True, members=2)).syncs("a", b=b"B")
    prompt.hears(a=synced(b"")).restarts("b", **PATIENT).hears(b=joined(generation=3, leader=False))
    prompt.syncs("b").hears(b=synced(b"B"))


def test_a_group_of_absent_static_members_waits_until_their_sessions_end(prompt: Story) -> None:
    static_pair(prompt, session_ms=60_000, rebalance_ms=20_000).leaves("b").hears(b=NONE)
    prompt.at(59_000).is_in(GroupState.PREPARING_REBALANCE).at(60_000).is_in(GroupState.EMPTY)


def test_a_static_member_can_be_sent_off_by_its_instance_id(prompt: Story) -> None:
    static_pair(prompt).leaves("b", by_instance=True).hears(b=NONE).leaves("b", by_instance=True).hears(b=UNKNOWN)
    prompt.beats("a").hears(a=REBALANCING)
