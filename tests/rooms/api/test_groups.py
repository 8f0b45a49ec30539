"""The group handlers: what differs from version to version, and who is asked."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pykafka_broker.api.groups import GroupApi
from pykafka_broker.api.routes import Route
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import GroupId, MemberId
from pykafka_broker.wire import messages, spec
from tests.rooms.api.conftest import call
from tests.rooms.api.group_desk import GROUP, GroupDesk


@pytest.fixture
async def desk(nursery: trio.Nursery) -> GroupDesk:
    return await GroupDesk().opens(nursery)


def leave(*members: Any, member_id: str = "", group_id: GroupId = GROUP) -> messages.LeaveGroupRequest:
    return messages.LeaveGroupRequest(group_id=group_id, member_id=MemberId(member_id), members=list(members))


def identity(member_id: str = "", instance: str | None = None) -> messages.LeaveGroupRequest.MemberIdentity:
    return messages.LeaveGroupRequest.MemberIdentity(member_id=MemberId(member_id), group_instance_id=instance)


# -- JoinGroup ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(10))
async def test_a_member_joins_in_every_version(desk: GroupDesk, version: int) -> None:
    joined = await desk.joins(version)
    assert (joined.error_code, joined.generation_id, joined.protocol_name) == (0, 1, "range")
    assert joined.leader == joined.member_id == "tests-id1"
    assert [member.member_id for member in joined.members] == [joined.member_id]
    assert joined.protocol_type == ("consumer" if version >= 7 else None)


@pytest.mark.parametrize("version", range(10))
async def test_from_version_4_on_a_member_is_first_told_its_id(desk: GroupDesk, version: int) -> None:
    body = messages.JoinGroupRequest(group_id=GROUP, session_timeout_ms=30_000, protocol_type="consumer")
    body.protocols = [messages.JoinGroupRequest.Protocol(name="range")]
    answer = await desk.ask(version, body)
    assert answer.error_code == (ErrorCode.MEMBER_ID_REQUIRED if version >= 4 else 0)
    assert answer.member_id == "tests-id1"
    assert answer.protocol_name == ("range" if version < 4 else "" if version < 7 else None)


async def test_a_static_member_needs_no_id(desk: GroupDesk) -> None:
    joined = await desk.joins(9, group_instance_id="i")
    assert (joined.error_code, joined.member_id) == (0, "i-id1")


async def test_in_version_0_the_session_timeout_bounds_the_rebalance(
    desk: GroupDesk, autojump_clock: MockClock
) -> None:
    joined = await desk.joins(0, session_timeout_ms=6_000)
    await trio.sleep(6.1)
    assert (await desk.syncs(joined, 0)).error_code == ErrorCode.UNKNOWN_MEMBER_ID


async def test_only_from_version_9_on_a_leader_is_told_to_leave_the_assignment_alone(desk: GroupDesk) -> None:
    joined = await desk.joins(9, group_instance_id="i")
    await desk.syncs(joined, group_instance_id="i")
    older = await desk.joins(8, group_instance_id="i")
    newer = await desk.joins(9, group_instance_id="i")
    assert (older.leader, older.skip_assignment) == (joined.member_id, False)
    assert (newer.leader, newer.skip_assignment, len(newer.members)) == (newer.member_id, True, 1)


# -- SyncGroup, Heartbeat ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(6))
async def test_a_leader_gets_its_own_assignment(desk: GroupDesk, version: int) -> None:
    synced = await desk.syncs(await desk.joins(), version)
    assert (synced.error_code, synced.assignment) == (0, b"all")
    assert synced.protocol_name == ("range" if version >= 5 else None)


async def test_from_version_5_on_a_sync_must_name_the_protocol(desk: GroupDesk) -> None:
    joined = await desk.joins()
    refused = await desk.syncs(joined, 5, protocol_name=None)
    assert refused.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert (await desk.syncs(joined, 5, protocol_name="other")).error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


@pytest.mark.parametrize("version", range(5))
async def test_a_heartbeat_is_heard_in_every_version(desk: GroupDesk, version: int) -> None:
    joined = await desk.joins()
    body = messages.HeartbeatRequest(group_id=GROUP, generation_id=1, member_id=joined.member_id)
    assert (await desk.ask(version, body)).error_code == 0


async def test_while_loading_heartbeats_are_believed_and_syncs_begin_anew(desk: GroupDesk) -> None:
    joined = await desk.joins()
    desk.loads()
    body = messages.HeartbeatRequest(group_id=GROUP, generation_id=1, member_id=joined.member_id)
    assert (await desk.ask(4, body)).error_code == 0
    assert (await desk.syncs(joined)).error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert (await desk.joins()).error_code == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


async def test_a_parked_join_is_told_when_the_coordinator_moves(desk: GroupDesk, nursery: trio.Nursery) -> None:
    await desk.syncs(await desk.joins())
    heard = []

    async def join() -> None:
        heard.append(await desk.joins())

    nursery.start_soon(join)
    await wait_all_tasks_blocked()
    desk.moves()
    await wait_all_tasks_blocked()
    assert [(answer.error_code, answer.member_id) for answer in heard] == [(ErrorCode.NOT_COORDINATOR, "tests-id2")]


# -- LeaveGroup --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(3))
async def test_before_version_3_one_member_leaves_and_its_error_is_the_answers(desk: GroupDesk, version: int) -> None:
    joined = await desk.joins()
    assert (await desk.ask(version, leave(member_id=joined.member_id))).error_code == 0
    assert (await desk.ask(version, leave(member_id=joined.member_id))).error_code == ErrorCode.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("version", range(3, 6))
async def test_from_version_3_on_each_leaver_has_its_own_error(desk: GroupDesk, version: int) -> None:
    await desk.joins(group_instance_id="i")
    left = await desk.ask(version, leave(identity(instance="i"), identity("who")))
    assert left.error_code == 0
    assert [(member.member_id, member.group_instance_id, member.error_code) for member in left.members] == [
        ("", "i", 0),
        ("who", None, ErrorCode.UNKNOWN_MEMBER_ID),
    ]


# -- administration ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(6))
async def test_groups_are_described_each_by_its_coordinator(desk: GroupDesk, version: int) -> None:
    joined = await desk.joins(group_instance_id="i")
    await desk.syncs(joined, group_instance_id="i")
    desk.moves("b")
    body = messages.DescribeGroupsRequest(groups=[GROUP, GroupId("a"), GroupId("b")])
    stable, dead, moved = (await desk.ask(version, body)).groups
    assert (stable.error_code, stable.group_state, stable.protocol_data) == (0, "Stable", "range")
    (member,) = stable.members
    assert (member.client_id, member.client_host, member.member_assignment) == ("tests", "/127.0.0.1", b"all")
    assert member.group_instance_id == ("i" if version >= 4 else None)
    assert (dead.error_code, dead.group_state) == (0, "Dead")
    assert (moved.error_code, moved.group_state) == (ErrorCode.NOT_COORDINATOR, "")
    assert stable.authorized_operations == -(2**31)


async def test_what_may_be_done_with_a_group_is_told_when_asked(desk: GroupDesk) -> None:
    body = messages.DescribeGroupsRequest(groups=[GROUP], include_authorized_operations=True)
    assert (await desk.ask(5, body)).groups[0].authorized_operations == 328


@pytest.mark.parametrize("version", range(6))
async def test_groups_of_all_coordinators_are_listed(desk: GroupDesk, version: int) -> None:
    for name in "abc":
        await desk.joins(group_id=GroupId(name))
    listed = await desk.ask(version, messages.ListGroupsRequest())
    assert sorted(group.group_id for group in listed.groups) == ["a", "b", "c"]
    assert {(group.protocol_type, group.group_state, group.group_type) for group in listed.groups} == {
        ("consumer", "CompletingRebalance" if version >= 4 else "", "classic" if version >= 5 else "")
    }


@pytest.mark.parametrize(
    "states, types, count",
    [(["STABLE"], [], 0), (["completingrebalance"], ["Classic"], 1), ([], ["consumer"], 0), ([], ["nonsense"], 0)],
)
async def test_lists_are_filtered_whatever_the_case(desk: GroupDesk, states: Any, types: Any, count: int) -> None:
    await desk.joins()
    listed = await desk.ask(5, messages.ListGroupsRequest(states_filter=states, types_filter=types))
    assert len(listed.groups) == count


async def test_a_list_says_when_a_coordinator_is_still_loading(desk: GroupDesk) -> None:
    await desk.joins(group_id=GroupId("a"))
    desk.loads("b")
    listed = await desk.ask(5, messages.ListGroupsRequest())
    assert (listed.error_code, [group.group_id for group in listed.groups]) == (
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ["a"],
    )


@pytest.mark.parametrize("version", range(3))
async def test_each_group_to_be_deleted_has_its_own_error(desk: GroupDesk, version: int) -> None:
    joined = await desk.joins()
    empty = await desk.joins(group_id=GroupId("d"))
    await desk.ask(5, leave(identity(empty.member_id), group_id=GroupId("d")))
    desk.loads("b")
    body = messages.DeleteGroupsRequest(groups_names=[GROUP, GroupId("d"), GroupId("d"), GroupId("who"), GroupId("b")])
    deleted = await desk.ask(version, body)
    assert joined.error_code == 0
    assert [(result.group_id, result.error_code) for result in deleted.results] == [
        (GROUP, ErrorCode.NON_EMPTY_GROUP),
        ("d", 0),
        ("who", ErrorCode.GROUP_ID_NOT_FOUND),
        ("b", ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
    ]


# -- refusals ----------------------------------------------------------------------------------------------------


async def test_a_group_must_have_a_name(desk: GroupDesk) -> None:
    named = GroupId("")
    invalid = ErrorCode.INVALID_GROUP_ID
    assert (await desk.joins(group_id=named)).error_code == invalid
    assert (await desk.ask(5, leave(identity("m"), group_id=named))).error_code == invalid
    assert (await desk.ask(4, messages.HeartbeatRequest(group_id=named))).error_code == invalid


def every(family: Any) -> list[Any]:
    return [
        pytest.param(route.api, version, id=f"{route.api}-{version}")
        for route in family.routes(family)
        for version in range(spec.heading(route.api).low, spec.heading(route.api).high + 1)
    ]


@pytest.mark.parametrize("api, version", every(GroupApi))
async def test_every_refusal_can_be_written_in_every_version(desk: GroupDesk, api: str, version: int) -> None:
    (route,) = (route for route in desk.groups.routes() if route.api == api)
    assert isinstance(route, Route)
    body = getattr(messages, f"{api}Request")()
    answer = route.refuse(call(api, version, body), ErrorCode.UNKNOWN_SERVER_ERROR, "detail")
    messages.encode(answer, version)
