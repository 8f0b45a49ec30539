"""The offset handlers: what differs from version to version, and what exists."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from pykafka_broker.api.group_offsets import GroupOffsetApi
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import GroupId, MemberId, Offset
from pykafka_broker.wire import messages
from tests.rooms.api.conftest import call
from tests.rooms.api.group_desk import GROUP, GroupDesk
from tests.rooms.api.test_groups import every
from tests.rooms.group.story import subscription

UNKNOWN = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@pytest.fixture
async def desk(nursery: trio.Nursery) -> GroupDesk:
    return await GroupDesk().opens(nursery)


def commit(group_id: str = GROUP, metadata: str | None = "m", **offsets: int) -> messages.OffsetCommitRequest:
    request = messages.OffsetCommitRequest
    topics: dict[str, list[Any]] = {}
    for text, offset in offsets.items():
        topic, index = text.split("_")
        topics.setdefault(topic, []).append(
            request.Partition(partition_index=int(index), committed_offset=Offset(offset), committed_metadata=metadata)
        )
    return request(
        group_id=GroupId(group_id), topics=[request.Topic(name=name, partitions=held) for name, held in topics.items()]
    )


def codes(answer: Any) -> dict[tuple[str, int], int]:
    return {
        (topic.name, partition.partition_index): partition.error_code
        for topic in answer.topics
        for partition in topic.partitions
    }


def fetch(version: int, *topics: tuple[str, list[int]], group_id: str = GROUP, everything: bool = False) -> Any:
    request = messages.OffsetFetchRequest
    if version >= 8:
        named = None if everything else [request.Topics(name=name, partition_indexes=held) for name, held in topics]
        return request(groups=[request.Group(group_id=GroupId(group_id), topics=named)])
    return request(
        group_id=GroupId(group_id),
        topics=None if everything else [request.Topic(name=name, partition_indexes=held) for name, held in topics],
    )


def found(answer: Any) -> dict[tuple[str, int], tuple[int, str, int]]:
    topics = answer.topics or [topic for group in answer.groups for topic in group.topics]
    return {
        (topic.name, held.partition_index): (held.committed_offset, held.metadata, held.error_code)
        for topic in topics
        for held in topic.partitions
    }


# -- committing and fetching -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, 10))
async def test_what_is_committed_is_fetched_in_every_version(desk: GroupDesk, version: int) -> None:
    assert codes(await desk.ask(version, commit(t_0=7, u_0=8))) == {("t", 0): 0, ("u", 0): 0}
    answer = await desk.ask(version, fetch(version, ("t", [0, 1]), ("u", [0])))
    assert found(answer) == {("t", 0): (7, "m", 0), ("t", 1): (-1, "", 0), ("u", 0): (8, "m", 0)}
    assert desk.tree.kept == {}


async def test_version_0_keeps_offsets_in_the_tree(desk: GroupDesk) -> None:
    assert codes(await desk.ask(0, commit(t_0=7, t_5=1))) == {("t", 0): 0, ("t", 5): UNKNOWN}
    assert desk.tree.kept == {("g", "t", 0): 7}
    answer = await desk.ask(0, fetch(0, ("t", [0, 1, 5])))
    assert found(answer) == {("t", 0): (7, "", 0), ("t", 1): (-1, "", UNKNOWN), ("t", 5): (-1, "", UNKNOWN)}
    assert desk.memories[desk.shards.partition_of(GROUP)].records == []


async def test_in_version_0_the_trees_trouble_is_the_partitions(desk: GroupDesk) -> None:
    failed = ErrorCode.UNKNOWN_SERVER_ERROR
    assert codes(await desk.ask(0, commit("bad", t_0=7))) == {("t", 0): failed}
    assert found(await desk.ask(0, fetch(0, ("t", [0]), group_id="bad"))) == {("t", 0): (-1, "", failed)}
    assert codes(await desk.ask(0, commit(metadata="x" * 5_000, t_0=7))) == {
        ("t", 0): ErrorCode.OFFSET_METADATA_TOO_LARGE
    }


async def test_partitions_that_do_not_exist_are_refused_one_by_one(desk: GroupDesk) -> None:
    answer = await desk.ask(9, commit(t_0=1, t_2=2, v_0=3, u_0=4))
    assert codes(answer) == {("t", 0): 0, ("t", 2): UNKNOWN, ("v", 0): UNKNOWN, ("u", 0): 0}
    assert len(answer.topics) == 3
    assert codes(await desk.ask(9, commit(v_0=3))) == {("v", 0): UNKNOWN}


async def test_the_leader_epoch_comes_back_from_version_6_on(desk: GroupDesk) -> None:
    request = commit(t_0=1)
    request.topics[0].partitions[0].committed_leader_epoch = 4  # type: ignore[assignment]
    await desk.ask(6, request)
    answer = await desk.ask(8, fetch(8, ("t", [0])))
    assert answer.groups[0].topics[0].partitions[0].committed_leader_epoch == 4


async def test_a_null_metadata_is_an_empty_one(desk: GroupDesk) -> None:
    await desk.ask(9, commit(metadata=None, t_0=1))
    assert found(await desk.ask(7, fetch(7, ("t", [0])))) == {("t", 0): (1, "", 0)}


@pytest.mark.parametrize("version", range(2, 10))
async def test_everything_is_fetched_with_null_topics(desk: GroupDesk, version: int) -> None:
    await desk.ask(9, commit(t_1=7))
    assert found(await desk.ask(version, fetch(version, everything=True))) == {("t", 1): (7, "m", 0)}


async def test_several_groups_are_fetched_at_once(desk: GroupDesk) -> None:
    await desk.ask(9, commit("a", t_0=1))
    await desk.ask(9, commit("c", t_0=3))
    desk.loads("b")
    request = messages.OffsetFetchRequest
    body = request(groups=[request.Group(group_id=GroupId(name), topics=None) for name in "abc"])
    groups = (await desk.ask(9, body)).groups
    assert [(group.group_id, group.error_code, len(group.topics)) for group in groups] == [
        ("a", 0, 1),
        ("b", ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, 0),
        ("c", 0, 1),
    ]


async def test_the_empty_group_may_commit_and_fetch(desk: GroupDesk) -> None:
    assert codes(await desk.ask(9, commit("", t_0=1))) == {("t", 0): 0}
    assert found(await desk.ask(9, fetch(9, ("t", [0]), group_id=""))) == {("t", 0): (1, "m", 0)}


async def test_a_coordinator_that_cannot_answer_is_an_error_of_each_partition(desk: GroupDesk) -> None:
    desk.moves()
    moved = ErrorCode.NOT_COORDINATOR
    assert codes(await desk.ask(9, commit(t_0=1, t_9=2))) == {("t", 0): moved, ("t", 9): UNKNOWN}
    assert found(await desk.ask(1, fetch(1, ("t", [0])))) == {("t", 0): (-1, "", moved)}
    assert (await desk.ask(2, fetch(2, ("t", [0])))).error_code == moved
    assert (await desk.ask(7, fetch(7, ("t", [0])))).error_code == moved
    assert (await desk.ask(8, fetch(8, ("t", [0])))).groups[0].error_code == moved


# -- deleting ----------------------------------------------------------------------------------------------------


def delete(*partitions: tuple[str, int], group_id: str = GROUP) -> messages.OffsetDeleteRequest:
    request = messages.OffsetDeleteRequest
    return request(
        group_id=GroupId(group_id),
        topics=[
            request.Topic(name=topic, partitions=[request.Partition(partition_index=index)])
            for topic, index in partitions
        ],
    )


async def test_offsets_are_deleted(desk: GroupDesk) -> None:
    await desk.ask(9, commit(t_0=1, u_0=2))
    answer = await desk.ask(0, delete(("t", 0), ("v", 0)))
    assert (answer.error_code, codes(answer)) == (0, {("t", 0): 0, ("v", 0): UNKNOWN})
    assert found(await desk.ask(9, fetch(9, everything=True))) == {("u", 0): (2, "m", 0)}


async def test_offsets_of_consumed_topics_stay(desk: GroupDesk) -> None:
    joined = await desk.joins()
    await desk.syncs(joined)
    request = commit(t_0=1)
    request.member_id, request.generation_id_or_member_epoch = MemberId(joined.member_id), 1
    assert codes(await desk.ask(9, request)) == {("t", 0): 0}
    answer = await desk.ask(0, delete(("t", 0), ("u", 0)))
    assert codes(answer) == {("t", 0): ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, ("u", 0): 0}


async def test_errors_of_the_group_come_before_those_of_partitions(desk: GroupDesk) -> None:
    answer = await desk.ask(0, delete(("v", 0)))
    assert (answer.error_code, answer.topics) == (ErrorCode.GROUP_ID_NOT_FOUND, [])
    assert (await desk.ask(0, delete(("t", 0), group_id=""))).error_code == ErrorCode.INVALID_GROUP_ID
    connect = [messages.JoinGroupRequest.Protocol(name="range", metadata=subscription("t"))]
    await desk.joins(protocol_type="connect", protocols=connect)
    assert (await desk.ask(0, delete(("t", 0)))).error_code == ErrorCode.NON_EMPTY_GROUP


@pytest.mark.parametrize("api, version", every(GroupOffsetApi))
async def test_every_refusal_can_be_written_in_every_version(desk: GroupDesk, api: str, version: int) -> None:
    (route,) = (route for route in desk.offsets.routes() if route.api == api)
    bodies: dict[str, Any] = {
        "OffsetCommit": commit(t_0=1),
        "OffsetFetch": fetch(version, ("t", [0])),
        "OffsetDelete": delete(("t", 0)),
    }
    answer = route.refuse(call(api, version, bodies[api]), ErrorCode.UNKNOWN_SERVER_ERROR, "detail")
    messages.encode(answer, version)
