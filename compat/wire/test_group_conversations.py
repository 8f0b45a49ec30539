"""Groups answer raw requests as Apache Kafka 3.9.1 does: every version, the refusals, static members, commits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from compat.java.stage import Stage
from compat.wire.conversation import Conversation
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.wire import messages as m

TOPIC = "spoken-of"
SUBSCRIPTION = b"\0\1\0\0\0\1" + len(TOPIC).to_bytes(2, "big") + TOPIC.encode() + b"\0\0\0\0\0\0\0\0"
Talk = Callable[[Conversation, str], None]


def prepare(talk: Conversation, group: str) -> None:
    """A topic, and a coordinator that answers."""
    topic = m.CreateTopicsRequest.CreatableTopic(name=TOPIC, num_partitions=2, replication_factor=1)
    talk.ask("setup", 5, m.CreateTopicsRequest(topics=[topic], timeout_ms=30_000), quietly=True)
    ready = 0
    while ready < 2:
        found = talk.ask("setup", 4, m.FindCoordinatorRequest(coordinator_keys=[group]), quietly=True)
        listed = talk.ask("setup", 0, m.HeartbeatRequest(group_id=group), quietly=True)
        asked = [m.MetadataRequest.Topic(name=TOPIC)]
        topics = talk.ask("setup", 5, m.MetadataRequest(topics=asked), quietly=True).topics
        led = len(topics[0].partitions) == 2 and not any(p.error_code for p in topics[0].partitions)
        settled = not found.coordinators[0].error_code and listed.error_code == ErrorCode.UNKNOWN_MEMBER_ID and led
        ready = ready + 1 if settled else 0
        time.sleep(0.05)


# -- requests ----------------------------------------------------------------------------------------------------


def join(group: str, version: int = 9, **how: Any) -> m.JoinGroupRequest:
    settings: dict[str, Any] = {
        "group_id": group,
        "session_timeout_ms": 30_000,
        "protocol_type": "consumer",
        "protocols": protocols("range"),
        **({"rebalance_timeout_ms": 30_000} if version else {}),
        **how,
    }
    return m.JoinGroupRequest(**settings)


def protocols(*names: str, metadata: bytes = SUBSCRIPTION) -> list[m.JoinGroupRequest.Protocol]:
    return [m.JoinGroupRequest.Protocol(name=name, metadata=metadata) for name in names]


def sync(group: str, joined: Any, version: int = 5, instance: str | None = None, **assigned: bytes) -> Any:
    named = {"protocol_type": "consumer", "protocol_name": "range"} if version >= 5 else {}
    assignments = [
        m.SyncGroupRequest.Assignment(member_id=joined.member_id if member == "me" else member, assignment=data)
        for member, data in assigned.items()
    ]
    return m.SyncGroupRequest(
        group_id=group,
        generation_id=joined.generation_id,
        member_id=joined.member_id,
        group_instance_id=instance,
        assignments=assignments,
        **named,  # type: ignore[arg-type]
    )


def beat(group: str, joined: Any, **how: Any) -> m.HeartbeatRequest:
    settings = {"group_id": group, "generation_id": joined.generation_id, "member_id": joined.member_id, **how}
    return m.HeartbeatRequest(**settings)


def leave(group: str, version: int, *members: tuple[str, str | None]) -> m.LeaveGroupRequest:
    if version < 3:
        return m.LeaveGroupRequest(group_id=group, member_id=members[0][0])  # type: ignore[arg-type]
    leaving = [
        m.LeaveGroupRequest.MemberIdentity(member_id=name, group_instance_id=instance)  # type: ignore[arg-type]
        for name, instance in members
    ]
    return m.LeaveGroupRequest(group_id=group, members=leaving)  # type: ignore[arg-type]


def commit(group: str, *where: tuple[str, int, int], metadata: str | None = "m", **how: Any) -> m.OffsetCommitRequest:
    topics: dict[str, list[Any]] = {}
    for topic, index, offset in where:
        topics.setdefault(topic, []).append(
            m.OffsetCommitRequest.Partition(
                partition_index=index,
                committed_offset=offset,  # type: ignore[arg-type]
                committed_metadata=metadata,
            )
        )
    return m.OffsetCommitRequest(
        group_id=group,  # type: ignore[arg-type]
        topics=[m.OffsetCommitRequest.Topic(name=name, partitions=held) for name, held in topics.items()],
        **how,
    )


def fetch(version: int, group: str, **topics: list[int]) -> m.OffsetFetchRequest:
    if version >= 8:
        several = [
            m.OffsetFetchRequest.Topics(name=t.replace("_", "-"), partition_indexes=p) for t, p in topics.items()
        ]
        wanted = m.OffsetFetchRequest.Group(group_id=group, topics=several or None)  # type: ignore[arg-type]
        return m.OffsetFetchRequest(groups=[wanted])
    one = [m.OffsetFetchRequest.Topic(name=t.replace("_", "-"), partition_indexes=p) for t, p in topics.items()]
    return m.OffsetFetchRequest(group_id=group, topics=one or None)  # type: ignore[arg-type]


def delete_offsets(group: str, *where: tuple[str, int]) -> m.OffsetDeleteRequest:
    request = m.OffsetDeleteRequest
    topics = [
        request.Topic(name=topic, partitions=[request.Partition(partition_index=index)]) for topic, index in where
    ]
    return request(group_id=group, topics=topics)  # type: ignore[arg-type]


def enter(talk: Conversation, group: str, version: int = 9, who: str = "ann", **how: Any) -> Any:
    """Join, with the second step that newer versions ask for."""
    answer = talk.ask(who, version, join(group, version, **how))
    if answer.error_code == ErrorCode.MEMBER_ID_REQUIRED:
        answer = talk.ask(who, version, join(group, version, member_id=answer.member_id, **how))
    return answer


def describe(group: str) -> m.DescribeGroupsRequest:
    return m.DescribeGroupsRequest(groups=[group])  # type: ignore[list-item]


# -- conversations -----------------------------------------------------------------------------------------------


def a_life_in_every_version(talk: Conversation, group: str) -> None:
    for version in range(10):
        name = f"{group}-{version}"
        prepare(talk, name)
        joined = enter(talk, name, version)
        talk.ask("ann", min(version, 5), sync(name, joined, min(version, 5), me=b"all"))
        talk.ask("ann", min(version, 4), beat(name, joined))
        member = {"generation_id_or_member_epoch": joined.generation_id, "member_id": joined.member_id}
        talk.ask("ann", version, commit(name, (TOPIC, 0, 7), ("nowhere", 0, 1), (TOPIC, 5, 1), **member))
        talk.ask("ann", version, fetch(version, name, **{TOPIC: [0, 1, 5], "nowhere": [0]}))
        if version >= 2:
            talk.ask("ann", version, fetch(version, name))
        if version <= 5:
            talk.ask("ann", version, describe(name))
            everything = talk.ask("ann", version, m.ListGroupsRequest(), quietly=True)
            mine = [listed for listed in everything.groups if listed.group_id == name]
            talk.transcript.append(
                f"listed v{version}: {[(g.protocol_type, g.group_state, g.group_type) for g in mine]}"
            )
            talk.ask("ann", version, leave(name, version, (joined.member_id, None)))
            talk.ask("ann", version, leave(name, version, (joined.member_id, None)))
        if version <= 2:
            talk.ask("ann", version, m.DeleteGroupsRequest(groups_names=[name, "nobody", name]))  # type: ignore[list-item]


def coordinators_in_every_version(talk: Conversation, group: str) -> None:
    prepare(talk, group)
    for version in range(7):
        keys: dict[str, Any] = {"coordinator_keys": [group, "", "g:x:0"]} if version >= 4 else {"key": group}
        talk.ask("ann", version, m.FindCoordinatorRequest(**keys))
        if version >= 1:
            talk.ask("ann", version, m.FindCoordinatorRequest(key_type=9, **keys))
            talk.ask("ann", version, m.FindCoordinatorRequest(key_type=2, **keys))


def refusals_to_join(talk: Conversation, group: str) -> None:
    prepare(talk, group)
    for version in (0, 5, 6, 9):
        talk.ask("ann", version, join(group, version, session_timeout_ms=10))
        talk.ask("ann", version, join("", version))
        talk.ask("ann", version, join(group, version, member_id="who"))
        talk.ask("ann", version, join(group, version, protocols=[]))
        talk.ask("ann", version, join(group, version, protocol_type=""))
    joined = enter(talk, group)
    for version in (0, 5, 6, 9):
        talk.ask("bob", version, join(group, version, protocol_type="connect"))
        talk.ask("bob", version, join(group, version, protocols=protocols("other")))
        talk.ask("bob", version, join(group, version, member_id="who"))
    talk.ask("bob", 9, join(group, 9, member_id="who", group_instance_id="i"))
    talk.ask("ann", 5, sync(group, joined, 5, me=b"x"))
    talk.ask("ann", 5, describe(group))


def refusals_to_members(talk: Conversation, group: str) -> None:
    prepare(talk, group)
    joined = enter(talk, group)
    stale = m.JoinGroupResponse(generation_id=7, member_id=joined.member_id)
    stranger = m.JoinGroupResponse(generation_id=1, member_id="who")  # type: ignore[arg-type]
    for version in (0, 3, 4, 5):
        talk.ask("ann", version, sync(group, stale, version))
        talk.ask("ann", version, sync(group, stranger, version))
        talk.ask("ann", version, sync("", joined, version))
        talk.ask("ann", version, sync("nobody", joined, version))
    talk.ask("ann", 5, m.SyncGroupRequest(group_id=group, generation_id=1, member_id=joined.member_id))  # type: ignore[arg-type]
    wrong = m.SyncGroupRequest(
        group_id=group,  # type: ignore[arg-type]
        generation_id=1,
        member_id=joined.member_id,
        protocol_type="consumer",
        protocol_name="other",
    )
    talk.ask("ann", 5, wrong)
    for version in (0, 3, 4):
        talk.ask("ann", version, beat(group, stale))
        talk.ask("ann", version, beat(group, stranger))
        talk.ask("ann", version, beat("", joined))
        talk.ask("ann", version, beat("nobody", joined))
    talk.ask("ann", 4, beat(group, joined, group_instance_id="i"))
    for version in (0, 2, 3, 5):
        talk.ask("ann", version, leave(group, version, ("who", None)))
        talk.ask("ann", version, leave("", version, ("who", None)))
        talk.ask("ann", version, leave("nobody", version, ("who", None)))
    talk.ask("ann", 5, leave(group, 5, ("", None), ("", "i"), ("who", "i"), (joined.member_id, "i")))
    talk.ask("ann", 5, leave(group, 5))


def two_members(talk: Conversation, group: str) -> None:
    prepare(talk, group)
    ann = enter(talk, group)
    talk.ask("ann", 5, sync(group, ann, me=b"all"))
    first = talk.ask("bob", 9, join(group))
    talk.send("bob", 9, join(group, member_id=first.member_id))
    talk.is_waiting("bob", 0.5)
    talk.ask("ann", 4, beat(group, ann))
    talk.ask("ann", 5, sync(group, ann, me=b"late"))
    talk.ask("ann", 5, describe(group))
    ann = talk.ask("ann", 9, join(group, member_id=ann.member_id))
    bob = talk.hear("bob")
    talk.ask("ann", 5, describe(group))
    talk.ask("bob", 4, beat(group, bob))
    told = {"generation_id_or_member_epoch": bob.generation_id, "member_id": bob.member_id}
    talk.ask("bob", 9, commit(group, (TOPIC, 0, 1), **told))
    talk.send("bob", 5, sync(group, bob))
    talk.is_waiting("bob", 0.5)
    talk.ask("ann", 5, sync(group, ann, me=b"a", **{bob.member_id: b"b", "who": b"w"}))
    talk.hear("bob")
    talk.ask("bob", 9, join(group, member_id=bob.member_id))
    talk.ask("bob", 5, sync(group, bob))
    talk.ask("ann", 5, describe(group))
    talk.ask("bob", 9, commit(group, (TOPIC, 0, 1), **told))
    talk.ask("bob", 9, commit(group, (TOPIC, 0, 1)))
    talk.ask("bob", 9, commit(group, (TOPIC, 0, 1), **told | {"generation_id_or_member_epoch": 1}))
    talk.ask("bob", 9, commit(group, (TOPIC, 0, 1), **told | {"member_id": "who"}))
    talk.ask("bob", 9, commit(group, (TOPIC, 0, 1), group_instance_id="i", **told))
    talk.ask("bob", 0, delete_offsets(group, (TOPIC, 0), ("nowhere", 0)))
    talk.ask("bob", 2, m.DeleteGroupsRequest(groups_names=[group]))  # type: ignore[list-item]
    talk.send("bob", 9, join(group, member_id=bob.member_id, protocols=protocols("range", metadata=b"new")))
    talk.is_waiting("bob", 0.5)
    talk.ask("ann", 5, leave(group, 5, (bob.member_id, None)))
    talk.hear("bob")
    talk.ask("ann", 4, beat(group, ann))
    talk.ask("ann", 9, join(group, member_id=ann.member_id))


def static_members(talk: Conversation, group: str) -> None:
    prepare(talk, group)
    ann = enter(talk, group, group_instance_id="i-ann")
    talk.ask("ann", 5, sync(group, ann, instance="i-ann", me=b"all"))
    talk.send("bob", 9, join(group, group_instance_id="i-bob"))
    talk.is_waiting("bob", 0.5)
    ann = talk.ask("ann", 9, join(group, member_id=ann.member_id, group_instance_id="i-ann"))
    bob = talk.hear("bob")
    talk.send("bob", 5, sync(group, bob, instance="i-bob"))
    talk.is_waiting("bob", 0.5)
    talk.ask("ann", 5, sync(group, ann, instance="i-ann", me=b"a", **{bob.member_id: b"b"}))
    talk.hear("bob")
    again = talk.ask("bob", 9, join(group, group_instance_id="i-bob"))
    talk.ask("bob", 5, sync(group, again, instance="i-bob"))
    for version, body in (
        (4, beat(group, bob, group_instance_id="i-bob")),
        (5, sync(group, bob, instance="i-bob")),
        (9, join(group, member_id=bob.member_id, group_instance_id="i-bob")),
        (5, leave(group, 5, (bob.member_id, "i-bob"))),
        (9, commit(group, (TOPIC, 0, 1), group_instance_id="i-bob", member_id=bob.member_id)),
        (4, beat(group, bob)),
        (4, beat(group, again)),
    ):
        talk.ask("bob", version, body)
    talk.ask("ann", 8, join(group, 8, group_instance_id="i-ann"))
    ann = talk.ask("ann", 9, join(group, group_instance_id="i-ann"))
    talk.ask("ann", 5, sync(group, ann, instance="i-ann"))
    talk.ask("ann", 5, describe(group))
    talk.send("bob", 9, join(group, group_instance_id="i-bob", protocols=protocols("other", "range")))
    if not talk.is_waiting("bob", 0.5):
        talk.hear("bob")
    talk.ask("ann", 5, leave(group, 5, ("", "i-bob"), ("", "i-who")))
    talk.ask("ann", 4, beat(group, ann, group_instance_id="i-ann"))


def commits_without_members(talk: Conversation, group: str) -> None:
    prepare(talk, group)
    for version in (1, 2, 4, 5, 6, 9):
        retention = {"retention_time_ms": 1_000_000} if 2 <= version <= 4 else {}
        talk.ask("ann", version, commit(group, (TOPIC, 0, version), (TOPIC, 1, 5), **retention))
        talk.ask("ann", version, fetch(version, group, **{TOPIC: [0, 1]}))
    talk.ask("ann", 9, commit(group, (TOPIC, 0, 1), metadata=None))
    talk.ask("ann", 9, commit(group, (TOPIC, 0, 1), (TOPIC, 1, 1), metadata="x" * 4_097))
    talk.ask("ann", 9, commit(group, (TOPIC, 0, -1)))
    talk.ask("ann", 9, commit(group, (TOPIC, 0, 1), member_id="who"))
    talk.ask("ann", 9, commit(group, (TOPIC, 0, 1), generation_id_or_member_epoch=3))
    talk.ask("ann", 9, commit(group, (TOPIC, 0, 1), generation_id_or_member_epoch=0, member_id="who"))
    talk.ask("ann", 9, commit("never-seen", (TOPIC, 0, 1), generation_id_or_member_epoch=3))
    talk.ask("ann", 9, commit(group))
    talk.ask("ann", 9, fetch(9, group))
    talk.ask("ann", 5, describe(group))
    talk.ask("ann", 0, delete_offsets(group, (TOPIC, 1), (TOPIC, 9), ("nowhere", 0)))
    talk.ask("ann", 9, fetch(9, group))
    talk.ask("ann", 0, delete_offsets(group, (TOPIC, 0)))
    talk.ask("ann", 5, describe(group))
    talk.ask("ann", 0, delete_offsets(group, (TOPIC, 0)))
    talk.ask("ann", 0, delete_offsets("", (TOPIC, 0)))
    talk.ask("ann", 0, delete_offsets("never-seen", ("nowhere", 0)))


def the_group_without_a_name(talk: Conversation, group: str) -> None:
    prepare(talk, group)
    for version in (1, 9):
        talk.ask("ann", version, commit("", (TOPIC, 0, 1)))
        talk.ask("ann", version, fetch(version, "", **{TOPIC: [0]}))
    talk.ask("ann", 5, m.DescribeGroupsRequest(groups=[""], include_authorized_operations=True))  # type: ignore[list-item]
    talk.ask("ann", 2, m.DeleteGroupsRequest(groups_names=[""]))  # type: ignore[list-item]


def descriptions(talk: Conversation, group: str) -> None:
    prepare(talk, group)
    talk.ask("ann", 9, join(group))
    several = [group, "never-seen", group]
    for version in range(6):
        wants = {"include_authorized_operations": True} if version >= 3 else {}
        talk.ask("ann", version, m.DescribeGroupsRequest(groups=several, **wants))  # type: ignore[arg-type]
    for filters in (
        {"states_filter": ["EMPTY"]},
        {"states_filter": ["stable", "Nonsense"]},
        {"types_filter": ["classic"], "states_filter": ["Empty"]},
        {"types_filter": ["Consumer"]},
        {"types_filter": ["nonsense"]},
    ):
        found = talk.ask("ann", 5, m.ListGroupsRequest(**filters), quietly=True)  # type: ignore[arg-type]
        mine = [(g.group_state, g.group_type) for g in found.groups if g.group_id == group]
        talk.transcript.append(f"{filters}: {found.error_code} {mine}")


def members_that_do_not_sync(talk: Conversation, group: str) -> None:
    prepare(talk, group)
    hasty = {"rebalance_timeout_ms": 1_500}
    ann = enter(talk, group, **hasty)
    talk.ask("ann", 5, sync(group, ann, me=b"all"))
    first = talk.ask("bob", 9, join(group, **hasty))
    talk.send("bob", 9, join(group, member_id=first.member_id, **hasty))
    talk.is_waiting("bob", 0.3)
    ann = talk.ask("ann", 9, join(group, member_id=ann.member_id, **hasty))
    bob = talk.hear("bob")
    talk.send("bob", 5, sync(group, bob))
    talk.hear("bob")
    talk.ask("ann", 4, beat(group, ann))
    talk.ask("bob", 4, beat(group, bob))
    bob = talk.ask("bob", 9, join(group, member_id=bob.member_id, **hasty))
    talk.ask("bob", 5, sync(group, bob, me=b"b"))


def members_that_do_not_rejoin(talk: Conversation, group: str) -> None:
    prepare(talk, group)
    hasty = {"rebalance_timeout_ms": 1_500}
    ann = enter(talk, group, **hasty)
    talk.ask("ann", 5, sync(group, ann, me=b"all"))
    first = talk.ask("bob", 9, join(group, **hasty))
    talk.send("bob", 9, join(group, member_id=first.member_id, **hasty))
    talk.hear("bob")
    talk.ask("ann", 4, beat(group, ann))


def sessions_that_end(talk: Conversation, group: str) -> None:
    prepare(talk, group)
    brief = {"session_timeout_ms": 6_000}
    ann = enter(talk, group, group_instance_id="i-ann", **brief)
    talk.ask("ann", 5, sync(group, ann, instance="i-ann", me=b"all"))
    talk.ask("bob", 9, join(group, **brief))
    talk.send("cid", 8, join(group, 8, group_instance_id="i-cid"))
    talk.is_waiting("cid", 4)
    talk.hear("cid")
    talk.ask("ann", 4, beat(group, ann, group_instance_id="i-ann"))
    talk.ask("ann", 5, describe(group))


TALKS: tuple[Talk, ...] = (
    members_that_do_not_sync,
    members_that_do_not_rejoin,
    sessions_that_end,
    a_life_in_every_version,
    coordinators_in_every_version,
    refusals_to_join,
    refusals_to_members,
    two_members,
    static_members,
    commits_without_members,
    the_group_without_a_name,
    descriptions,
)


def held(talk: Talk, port: int) -> list[str]:
    """The talk's transcript."""
    with Conversation(port) as conversation:
        talk(conversation, f"group-{talk.__name__}")
        return conversation.transcript


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk.__name__)
def test_groups_answer_as_apache_kafka_does(stage: Stage, talk: Talk) -> None:
    ours = stage.server("embedded")
    theirs = stage.server("apache")
    with ThreadPoolExecutor(1) as beside:
        expected = beside.submit(held, talk, theirs.port)
        assert held(talk, ours.port) == expected.result(), "ours, and theirs"
