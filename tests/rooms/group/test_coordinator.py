"""Offsets, administration and storage of groups, told as stories."""

from __future__ import annotations

from typing import Any

import pytest

from pykafka_broker.group.records import CommittedOffset, GroupRecord, OffsetRecord
from pykafka_broker.group.states import GroupState
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import GroupId, LeaderEpoch, Offset, TopicPartition
from tests.rooms.group.story import GROUP, Story, joined, subscription, synced

NONE = ErrorCode.NONE
MINUTE = 60_000
WEEK = 7 * 24 * 60 * MINUTE


def alone(group: Story, **how: Any) -> Story:
    """One member in generation 1, stable, with an endless session."""
    how = {"session_ms": 1_800_000, "rebalance_ms": 1_800_000, **how}
    return group.joins("a", **how).hears(a=joined()).syncs("a", a=b"x").hears(a=synced(b"x"))


# -- committing --------------------------------------------------------------------------------------------------


def test_a_member_commits_what_can_be_fetched(prompt: Story) -> None:
    alone(prompt).at(5).commits("a", t_0=7, metadata="m", epoch=3).hears(a=NONE)
    assert prompt.committed("t_0") == CommittedOffset(Offset(7), LeaderEpoch(3), "m", 5)
    assert prompt.committed("t_1") is None


def test_a_commit_is_one_batch_of_records(prompt: Story) -> None:
    alone(prompt).commits("a", t_0=7, u_1=8).hears(a=NONE)
    assert [record.partition for record in prompt.records[-2:] if isinstance(record, OffsetRecord)] == [
        TopicPartition("t", 0),
        TopicPartition("u", 1),
    ]


def test_a_consumer_without_a_group_commits_to_a_group_that_nobody_is_in(group: Story) -> None:
    group.at(0).commits(t_0=7).hears(nobody=NONE).is_in(GroupState.EMPTY)
    assert group.offset("t_0") == 7


def test_a_consumer_without_a_group_may_not_commit_where_members_are(prompt: Story) -> None:
    alone(prompt).commits(t_0=7).hears(nobody=ErrorCode.UNKNOWN_MEMBER_ID)


def test_a_commit_of_a_generation_that_nobody_knows_is_refused(prompt: Story) -> None:
    prompt.commits(generation=3, t_0=7).hears(nobody=ErrorCode.ILLEGAL_GENERATION)
    alone(prompt).commits("a", generation=3, t_0=7).hears(a=ErrorCode.ILLEGAL_GENERATION)
    prompt.commits(generation=1, t_0=7).hears(nobody=ErrorCode.UNKNOWN_MEMBER_ID)


def test_a_member_of_an_emptied_group_may_not_commit(prompt: Story) -> None:
    alone(prompt).leaves("a").hears(a=NONE).commits("a", t_0=7).hears(a=ErrorCode.UNKNOWN_MEMBER_ID)


def test_commits_are_refused_between_join_and_sync_but_not_while_preparing(prompt: Story) -> None:
    prompt.joins("a").hears(a=joined()).commits("a", t_0=1).hears(a=ErrorCode.REBALANCE_IN_PROGRESS)
    prompt.syncs("a", a=b"").hears(a=synced()).joins("b").commits("a", t_0=2).hears(a=NONE)
    assert prompt.offset("t_0") == 2


def test_a_commit_keeps_the_member_alive(prompt: Story) -> None:
    alone(prompt, session_ms=10_000).at(9_000).commits("a", t_0=1).hears(a=NONE).at(18_000).beats("a").hears(a=NONE)


def test_metadata_has_a_limit(group: Story) -> None:
    group.commits(t_0=1, metadata="x" * 4_096).hears(nobody=NONE)
    group.commits(t_0=2, metadata="x" * 4_097).hears(nobody=ErrorCode.OFFSET_METADATA_TOO_LARGE)
    group.commits(t_0=3, metadata="\U0001f600" * 2_049).hears(nobody=ErrorCode.OFFSET_METADATA_TOO_LARGE)
    assert group.offset("t_0") == 1


def test_a_commit_too_large_to_store_is_refused_whole() -> None:
    group = Story(max_record_bytes=1_000)
    offsets: dict[str, Any] = {f"t_{index}": index for index in range(100)}
    group.commits(**offsets).hears(nobody=ErrorCode.INVALID_COMMIT_OFFSET_SIZE)
    assert group.records == []


def test_a_retention_beyond_all_time_is_cut(group: Story) -> None:
    group.at(5).commits(t_0=1, retention_ms=(1 << 63) - 1).hears(nobody=NONE)
    group.fails_over()
    assert group.offset("t_0") == 1


def test_the_time_of_a_commit_may_be_the_clients(group: Story) -> None:
    group.at(100).commits(t_0=1, at=40).hears(nobody=NONE)
    committed = group.committed("t_0")
    assert committed is not None
    assert committed.commit_timestamp_ms == 40


def test_everything_can_be_fetched(group: Story) -> None:
    group.commits(t_0=1, t_1=2, u_0=3).hears(nobody=NONE)
    found = group.ask("fetch_offsets", GROUP, None)
    assert {(topic, index): held.offset for topic, partitions in found for index, held in partitions} == {
        ("t", 0): 1,
        ("t", 1): 2,
        ("u", 0): 3,
    }


def test_an_unknown_group_has_committed_nothing(group: Story) -> None:
    assert group.ask("fetch_offsets", GROUP, None) == []
    assert group.ask("fetch_offsets", GROUP, [("t", [0, 1])]) == [("t", [(0, None), (1, None)])]


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
