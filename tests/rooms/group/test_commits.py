"""Who may commit what, told as stories."""

from __future__ import annotations

from typing import Any

from pykafka_broker.group.commits import java_length
from pykafka_broker.group.records import CommittedOffset, OffsetRecord
from pykafka_broker.group.states import GroupState
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import LeaderEpoch, Offset, TopicPartition
from tests.rooms.group.story import GROUP, Story, alone, joined, synced

NONE = ErrorCode.NONE


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


def test_java_counts_characters_beyond_the_first_plane_twice() -> None:
    assert [java_length(text) for text in ("", "ab", "\u4e16", "\U0001f600")] == [0, 2, 1, 2]
