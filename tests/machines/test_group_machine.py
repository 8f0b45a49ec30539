"""A group of unruly members: whatever they do, and whenever, nobody is forgotten and nothing stored is lost.

Members join, sync, beat, leave, restart, commit and hang about in any order; the coordinator fails over at any time.
That no state is entered from where it must not be is asserted by the group itself, in every step taken here.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pykafka_broker.group.classic import ClassicGroup
from pykafka_broker.group.rebalance import JOIN, MEMBER, SYNC
from pykafka_broker.group.records import decode
from pykafka_broker.group.states import GroupState
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.wire import messages
from tests.rooms.group.story import GROUP, Story, subscription

LONGEST_REBALANCE_MS = 60_000
INITIAL_DELAY_MS = 3_000
DYNAMIC, STATIC = ("ann", "bob", "cid"), ("sue", "tom")
PEOPLE = st.sampled_from(DYNAMIC + STATIC)
PROTOCOLS = st.sampled_from(
    [
        {"range": subscription("t")},
        {"range": subscription("t", "u")},
        {"range": subscription("t"), "sticky": subscription("t")},
        {"sticky": subscription("u"), "range": b"nonsense"},
        {"own": b""},
    ]
)
PARTITIONS = st.sampled_from(["t_0", "t_1", "u_0"])


class GroupMachine(RuleBasedStateMachine):
    """Everything goes through a ``Story``, which checks that no ticket is answered twice."""

    @initialize(size=st.sampled_from([2, 3, 100]), delay=st.sampled_from([0, INITIAL_DELAY_MS]))
    def begin(self, size: int, delay: int) -> None:
        self.story = Story(
            group_max_size=size, group_initial_rebalance_delay_ms=delay, offsets_retention_minutes=100_000_000
        )
        self.generation = 0
        self.committed: dict[str, int] = {}
        self.stored_generation = 0

    # -- what people do ------------------------------------------------------------------------------------------

    @rule(
        name=PEOPLE,
        protocols=PROTOCOLS,
        session=st.sampled_from([6_000, 30_000]),
        rebalance=st.sampled_from([0, 5_000, LONGEST_REBALANCE_MS]),
        how=st.sampled_from(["again", "as nobody", "knocking", "before version 9"]),
    )
    def joins(self, name: str, protocols: dict[str, bytes], session: int, rebalance: int, how: str) -> None:
        self.story.joins(
            name,
            instance=f"i-{name}" if name in STATIC else None,
            protocols=protocols,
            session_ms=session,
            rebalance_ms=rebalance,
            as_nobody=how != "again",
            needs_member_id=how == "knocking" and name not in STATIC,
            may_skip=how != "before version 9",
        )

    @rule(name=PEOPLE, others=st.sets(PEOPLE))
    def syncs(self, name: str, others: set[str]) -> None:
        known = {other: other.encode() for other in others if other in self.story.people}
        if name in self.story.people:
            self.story.syncs(name, **known)  # type: ignore[arg-type]

    @rule(
        names=st.lists(PEOPLE, min_size=1, unique=True),
        wait=st.sampled_from([0, INITIAL_DELAY_MS, 5_000]),
        leader_assigns=st.booleans(),
    )
    def some_behave(self, names: list[str], wait: int, leader_assigns: bool) -> None:
        """They join, wait, and sync, as good clients do; only so do groups become stable often enough."""
        for name in names:
            self.joins(name, {"range": subscription("t")}, 30_000, LONGEST_REBALANCE_MS, "again")
        self.story.after(wait)
        for name in names:
            self.story.beats(name)
            group = self._group()
            if leader_assigns or group is None or group.members.leader != self.story.people[name].member_id:
                self.syncs(name, set(names))

    @rule(name=PEOPLE)
    def beats(self, name: str) -> None:
        if name in self.story.people:
            self.story.beats(name)

    @rule(name=PEOPLE, by_instance=st.booleans())
    def leaves(self, name: str, by_instance: bool) -> None:
        if name in self.story.people:
            self.story.leaves(name, by_instance=by_instance and name in STATIC)

    @rule(name=st.one_of(st.none(), PEOPLE), partition=PARTITIONS, offset=st.integers(0, 1_000))
    def commits(self, name: str | None, partition: str, offset: int) -> None:
        self.story.commits(name, **{partition: offset})  # type: ignore[arg-type]
        answer: Any = self.story.people[name or "nobody"].heard[-1]
        if not answer.topics[0].partitions[0].error_code:
            self.committed[partition] = offset

    # -- what happens to them ------------------------------------------------------------------------------------

    @rule(ms=st.sampled_from([1, 999, 3_000, 4_000, 5_000, 6_000, 29_999, 300_000]))
    def time_passes(self, ms: int) -> None:
        self.story.after(ms)

    @rule(partition=PARTITIONS)
    def a_partition_is_deleted(self, partition: str) -> None:
        self.story.forgets_partition(partition)
        self.committed.pop(partition, None)

    @rule(partition=PARTITIONS)
    def an_offset_is_deleted(self, partition: str) -> None:
        topic, index = partition.split("_")
        told = self.story.ask("delete_offsets", GROUP, [TopicPartition(topic, int(index))])
        if told == [ErrorCode.NONE]:
            self.committed.pop(partition, None)

    @rule()
    def the_group_is_deleted(self) -> None:
        if self.story.ask("delete_group", GROUP) == ErrorCode.NONE:
            self.committed.clear()

    @rule()
    def the_coordinator_fails_over(self) -> None:
        self.story.fails_over()
        self.generation = self.stored_generation

    # -- what always holds ---------------------------------------------------------------------------------------

    def _group(self) -> ClassicGroup | None:
        return next(iter(self.story.coordinator.groups()), None)

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        bound = max(LONGEST_REBALANCE_MS, INITIAL_DELAY_MS)
        for ticket, asked_at in self.story.asked_at.items():
            assert self.story.now - asked_at <= bound, (ticket, self.story.state)

    @invariant()
    def who_waits_is_parked(self) -> None:
        group = self._group()
        members = [] if group is None else list(group.members)
        parked = [ticket for member in members for ticket in (member.joining, member.syncing) if ticket is not None]
        assert sorted(parked) == sorted(self.story.asked_at)

    @invariant()
    def the_clock_is_watched(self) -> None:
        story, group = self.story, self._group()
        due = story.coordinator.next_deadline()
        assert due is not None
        deadlines = story.coordinator._deadlines
        if group is None:
            return
        if group.state is GroupState.PREPARING_REBALANCE:
            assert deadlines.get((JOIN, GROUP, "")) is not None
        if group.state is GroupState.COMPLETING_REBALANCE:
            assert deadlines.get((SYNC, GROUP, "")) is not None
        for member in group.members:
            assert member.is_waiting or deadlines.get((MEMBER, GROUP, member.member_id)) is not None

    @invariant()
    def generations_only_grow(self) -> None:
        group = self._group()
        if group is None:
            self.generation = self.stored_generation = 0
            return
        assert group.generation >= self.generation
        self.generation = group.generation
        if group.stored is not None:
            assert group.stored.generation >= self.stored_generation
            self.stored_generation = group.stored.generation

    @invariant()
    def one_member_leads_and_nobody_leads_nobody(self) -> None:
        group = self._group()
        if group is None:
            return
        if len(group.members):
            assert group.members.leader is not None
            assert group.members.leader in group.members
        else:
            assert group.members.leader is None

    @invariant()
    def a_group_is_as_its_state_says(self) -> None:
        group = self._group()
        if group is None:
            return
        members = list(group.members)
        if group.state is GroupState.EMPTY:
            assert not members
        if group.state is GroupState.STABLE:
            assert group.stored is not None
            assert group.stored.generation == group.generation
            assert {m.member_id: bytes(m.assignment) for m in group.stored.members} == {
                m.member_id: m.assignment for m in members
            }
        if group.state in (GroupState.STABLE, GroupState.COMPLETING_REBALANCE):
            assert members
            assert all(group.protocol in dict(m.protocols) for m in members)
            assert not any(m.joining for m in members)
        if group.state is not GroupState.COMPLETING_REBALANCE:
            assert not any(m.syncing for m in members)
        assert group.members.joining == sum(m.joining is not None for m in members)

    @invariant()
    def a_generation_has_one_leader(self) -> None:
        for person in self.story.people.values():
            for answer in person.heard:
                if isinstance(answer, messages.JoinGroupResponse) and not answer.error_code and answer.members:
                    assert answer.leader == answer.member_id
            person.heard.clear()

    @invariant()
    def what_is_stored_is_what_is_known(self) -> None:
        fresh = self.story._empty()
        for record in self.story.records:
            again = decode(*record.encode())
            assert again is not None
            fresh.replay(again)
        assert fresh.hard_state() == self.story.coordinator.hard_state()

    @invariant()
    def committed_offsets_are_there(self) -> None:
        found = self.story.ask("fetch_offsets", GROUP, None)
        assert {
            f"{topic}_{index}": held.offset for topic, partitions in found for index, held in partitions
        } == self.committed


@pytest.mark.slow
def test_an_unruly_group_forgets_nobody_and_loses_nothing() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(GroupMachine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
