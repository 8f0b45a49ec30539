"""Offsets, administration and storage of groups, told as stories."""

from __future__ import annotations

from typing import Any

import pytest

from pykafka_broker.group.records import GroupRecord, OffsetRecord
from pykafka_broker.group.states import GroupState
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import GroupId, TopicPartition
from tests.rooms.group.story import GROUP, Story, alone, joined, subscription, synced

NONE = ErrorCode.NONE
MINUTE = 60_000
WEEK = 7 * 24 * 60 * MINUTE


# -- forgetting --------------------------------------------------------------------------------------------------


def test_simple_commits_expire_after_their_commit(group: Story) -> None:
    group.at(0).commits(t_0=1).hears(nobody=NONE)
    group.at(WEEK - 1)
    assert group.offset("t_0") == 1
    group.at(WEEK)
    assert (group.offset("t_0"), group.state) == (-1, GroupState.DEAD)


def test_an_emptied_groups_offsets_expire_after_it_was_emptied(prompt: Story) -> None:
    alone(prompt).commits("a", t_0=1).hears(a=NONE).at(30 * MINUTE - 1).leaves("a").hears(a=NONE)
    prompt.at(WEEK + 20 * MINUTE)
    assert prompt.offset("t_0") == 1
    prompt.at(WEEK + 30 * MINUTE)
    assert (prompt.offset("t_0"), prompt.state) == (-1, GroupState.DEAD)
    assert prompt.records[-2:] == [OffsetRecord(GROUP, TopicPartition("t", 0), None), GroupRecord(GROUP, None)]
    assert [fact["group"] for fact in prompt.told("GroupRemoved")] == [GROUP]


def keeps_beating(group: Story, until: int) -> Story:
    for moment in range(group.now, until, 25 * MINUTE):
        group.at(moment).beats("a").hears(a=NONE)
    return group.at(until)


def test_a_stable_group_keeps_offsets_of_topics_that_it_consumes() -> None:
    group = Story(group_initial_rebalance_delay_ms=0, offsets_retention_minutes=60)
    alone(group, topics=["t"]).commits("a", t_0=1, u_0=2).hears(a=NONE)
    keeps_beating(group, 60 * MINUTE)
    assert (group.offset("t_0"), group.offset("u_0")) == (1, -1)


def test_a_stable_group_that_cannot_be_read_keeps_everything() -> None:
    group = Story(group_initial_rebalance_delay_ms=0, offsets_retention_minutes=60)
    alone(group, kind="connect").commits("a", t_0=1).hears(a=NONE)
    keeps_beating(group, 120 * MINUTE)
    assert group.offset("t_0") == 1


def test_a_clients_own_retention_is_honoured(group: Story) -> None:
    group.at(0).commits(t_0=1, retention_ms=5 * MINUTE).hears(nobody=NONE).at(10 * MINUTE)
    assert group.offset("t_0") == -1


def test_a_group_that_never_formed_is_forgotten_at_the_next_look(prompt: Story) -> None:
    prompt.at(0).knocks("a").hears(a=ErrorCode.MEMBER_ID_REQUIRED).is_in(GroupState.EMPTY)
    prompt.at(10 * MINUTE).is_in(GroupState.DEAD)
    assert prompt.records == []


def test_a_deleted_partition_is_forgotten_in_all_groups(prompt: Story) -> None:
    alone(prompt).commits("a", t_0=1, t_1=2).hears(a=NONE).forgets_partition("t_0")
    assert (prompt.offset("t_0"), prompt.offset("t_1")) == (-1, 2)
    prompt.forgets_partition("t_1").is_in(GroupState.STABLE).fails_over().is_in(GroupState.STABLE)


def test_offsets_can_be_deleted_from_an_empty_group(group: Story) -> None:
    group.commits(t_0=1, t_1=2).hears(nobody=NONE)
    told = group.ask("delete_offsets", GROUP, [TopicPartition("t", 0), TopicPartition("t", 5)])
    assert (told, group.offset("t_0"), group.offset("t_1")) == ([NONE, NONE], -1, 2)


def test_with_its_last_offset_an_empty_group_goes_at_once(prompt: Story) -> None:
    alone(prompt).commits("a", t_0=1).hears(a=NONE).leaves("a").hears(a=NONE)
    assert prompt.ask("delete_offsets", GROUP, [TopicPartition("t", 0)]) == [NONE]
    prompt.is_in(GroupState.DEAD).fails_over().is_in(GroupState.DEAD)


def test_offsets_of_a_consumed_topic_are_not_deleted(prompt: Story) -> None:
    alone(prompt, topics=["t"]).commits("a", t_0=1, u_0=2).hears(a=NONE)
    told = prompt.ask("delete_offsets", GROUP, [TopicPartition("t", 0), TopicPartition("u", 0)])
    assert told == [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, NONE]
    assert (prompt.offset("t_0"), prompt.offset("u_0")) == (1, -1)


def test_offsets_of_other_kinds_of_groups_are_not_deleted_while_somebody_is_in(prompt: Story) -> None:
    alone(prompt, kind="connect")
    assert prompt.ask("delete_offsets", GROUP, [TopicPartition("t", 0)]) == ErrorCode.NON_EMPTY_GROUP
    assert prompt.ask("delete_offsets", GroupId("who"), []) == ErrorCode.GROUP_ID_NOT_FOUND


# -- administration ----------------------------------------------------------------------------------------------


def test_a_group_is_deleted_when_nobody_is_in_it(prompt: Story) -> None:
    alone(prompt).commits("a", t_0=1).hears(a=NONE)
    assert prompt.ask("delete_group", GROUP) == ErrorCode.NON_EMPTY_GROUP
    prompt.leaves("a").hears(a=NONE)
    assert prompt.ask("delete_group", GROUP) == NONE
    assert prompt.ask("delete_group", GROUP) == ErrorCode.GROUP_ID_NOT_FOUND
    prompt.is_in(GroupState.DEAD).fails_over().is_in(GroupState.DEAD)


def test_a_deleted_group_can_come_back(prompt: Story) -> None:
    alone(prompt).leaves("a").hears(a=NONE)
    prompt.ask("delete_group", GROUP)
    prompt.joins("b").hears(b=joined(generation=1))


def test_an_unknown_group_is_dead(group: Story) -> None:
    described = group.ask("describe", GROUP)
    assert (described.error_code, described.group_state, described.members) == (0, "Dead", [])
    assert described.authorized_operations == -(2**31)


def test_a_stable_group_is_described_with_its_assignments(prompt: Story) -> None:
    described = alone(prompt, topics=["t"], instance="i").ask("describe", GROUP)
    assert (described.group_state, described.protocol_type, described.protocol_data) == ("Stable", "consumer", "range")
    (member,) = described.members
    assert (member.client_id, member.client_host, member.group_instance_id) == ("a", "/127.0.0.1", "i")
    assert (member.member_metadata, member.member_assignment) == (subscription("t"), b"x")


def test_a_rebalancing_group_is_described_without_them(prompt: Story) -> None:
    described = alone(prompt).joins("b").ask("describe", GROUP)
    assert (described.group_state, described.protocol_data) == ("PreparingRebalance", "")
    assert [(member.member_metadata, member.member_assignment) for member in described.members] == [(b"", b"")] * 2


@pytest.mark.parametrize(
    "states, types, count",
    [((), (), 1), (("stable",), (), 1), (("empty",), (), 0), ((), ("classic",), 1), ((), ("consumer",), 0)],
)
def test_groups_are_listed_by_state_and_type(prompt: Story, states: Any, types: Any, count: int) -> None:
    listed = alone(prompt).ask("list_groups", frozenset(states), frozenset(types))
    assert len(listed) == count
    assert {(group.group_id, group.protocol_type, group.group_state, group.group_type) for group in listed} <= {
        (GROUP, "consumer", "Stable", "classic")
    }


# -- storage -----------------------------------------------------------------------------------------------------


def test_everything_stored_survives_a_failover(prompt: Story) -> None:
    alone(prompt).commits("a", t_0=1, u_0=2).hears(a=NONE).commits("a", t_0=3).hears(a=NONE)
    prompt.fails_over()
    assert (prompt.offset("t_0"), prompt.offset("u_0")) == (3, 2)


def test_a_compacted_log_gives_the_same_groups(prompt: Story) -> None:
    alone(prompt).commits("a", t_0=1).hears(a=NONE).commits("a", t_0=2).hears(a=NONE).joins("b").joins("a")
    prompt.hears(a=joined(generation=2), b=joined()).syncs("a", a=b"A", b=b"B").hears(a=synced(b"A"))
    newest = {record.encode()[0]: record for record in prompt.records}
    prompt.records = list(newest.values())
    prompt.fails_over().is_in(GroupState.STABLE)
    assert prompt.offset("t_0") == 2


def test_a_tombstone_in_the_log_forgets_a_group_whatever_it_was(prompt: Story) -> None:
    alone(prompt).commits("a", t_0=1).hears(a=NONE)
    for record in (*prompt.records, GroupRecord(GROUP, None)):
        prompt.coordinator.replay(record)
    assert (prompt.offset("t_0"), prompt.state) == (1, GroupState.EMPTY)


def test_a_name_that_no_record_can_hold_is_refused(prompt: Story) -> None:
    prompt.joins("a", instance="i" * 32_800).hears(a=ErrorCode.INVALID_REQUEST)


def test_hanging_up_leaves_the_member_in_its_place(group: Story) -> None:
    from pykafka_broker.model.outcome import Ticket

    outcome = group.joins("a").coordinator.abandon(group.now, Ticket(1))
    assert (outcome.replies, outcome.records) == ({}, ())
    group.at(3_000).hears(a=joined())
