"""Members of consumer groups as their coordinator sees them, over bare sockets: they find it, join, agree, and say that
they are still there and where they are.

What the bytes mean is the codec's; when a member speaks without being asked is the crowd's (`consumers`).
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Final

from bench.sessions import CLIENT, Session
from bench.sockets import Refused, limit_in_the_kernel
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import GroupId, MemberId, Offset
from pykafka_broker.wire.codec import read, write
from pykafka_broker.wire.exchange import read_response, write_request
from pykafka_broker.wire.messages import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    FindCoordinatorRequest,
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    OffsetCommitRequest,
    SyncGroupRequest,
)
from pykafka_broker.wire.primitives import Reader, Writer

PATIENCE_S: Final = 60.0
VERSIONS: Final = {
    "FindCoordinator": 4,
    "JoinGroup": 7,
    "SyncGroup": 5,
    "Heartbeat": 4,
    "OffsetCommit": 8,
    "LeaveGroup": 4,
}
_PAUSE_S: Final = 0.001
_AT_ONCE: Final = 1 << 16
_NOT_YET: Final = frozenset(
    {ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR}
)
_AGAIN: Final = frozenset({ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION})
_SIZE: Final = Struct(">i")
_VERSION: Final = Struct(">h")


class Line:
    """One connection on which answers come in the order of what was asked."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit_in_the_kernel(self.socket, PATIENCE_S)
        self._held = b""

    def hear(self) -> list[bytes]:
        """The frames that are there, size first; to be asked when something has come."""
        data = self._held + self.socket.recv(_AT_ONCE)
        if len(data) == len(self._held):
            raise Refused("the broker hung up")
        frames = []
        while len(data) >= _SIZE.size:
            stop = _SIZE.size + _SIZE.unpack_from(data)[0]
            if len(data) < stop:
                break
            frames.append(data[:stop])
            data = data[stop:]
        self._held = data
        return frames


def connect(port: int) -> Line:
    """A connection, not too soon after the last: Apache Kafka lets 50 wait to be accepted, and those that find no room
    try again after a second.
    """
    time.sleep(_PAUSE_S)
    return Line(port)


class Group:
    """What the members of a group know together."""

    def __init__(self, name: str, topic: str, partitions: int, size: int) -> None:
        self.name = GroupId(name)
        self.topic = topic
        self.partitions = partitions
        self.size = size
        self.at_generation: dict[Member, int] = {}
        self.is_stable = False

    def note(self, member: Member) -> None:
        """A member has its assignment of a generation; all have theirs of the same when the group is stable."""
        self.at_generation[member] = member.generation
        self.is_stable = len(self.at_generation) == self.size and len(set(self.at_generation.values())) == 1


class Member:
    """One consumer, on the connection to its coordinator."""

    def __init__(self, group: Group, line: Line) -> None:
        self.group = group
        self.line = line
        self.id = MemberId("")
        self.generation = -1
        self.partitions: Sequence[int] = ()
        self.session: Session | None = None
        self.is_waiting_to_beat = False
        """It has an assignment, and asks whether that still holds."""
        self.under_way: deque[str] = deque()
        self._heartbeat = b""

    def ask(self, api: str, body: Any) -> None:
        """Send a request."""
        self._send(api, write_request(api, VERSIONS[api], 0, CLIENT, body))

    def beat(self) -> None:
        """Send a Heartbeat."""
        self._send("Heartbeat", self._heartbeat)

    def commit(self) -> None:
        """Send an OffsetCommit with the positions of the moment."""
        assert self.session is not None
        parts = [
            OffsetCommitRequest.Partition(partition_index=each, committed_offset=Offset(at), committed_metadata="")
            for each, at in self.session.positions.items()
        ]
        topic = OffsetCommitRequest.Topic(name=self.group.topic, partitions=parts)
        self.ask(
            "OffsetCommit",
            OffsetCommitRequest(
                group_id=self.group.name,
                generation_id_or_member_epoch=self.generation,
                member_id=self.id,
                topics=[topic],
            ),
        )

    def find(self) -> None:
        """Begin to be a member."""
        self.ask("FindCoordinator", FindCoordinatorRequest(key_type=0, coordinator_keys=[self.group.name]))

    def leave(self) -> None:
        """Send a LeaveGroup."""
        gone = LeaveGroupRequest.MemberIdentity(member_id=self.id)
        self.ask("LeaveGroup", LeaveGroupRequest(group_id=self.group.name, members=[gone]))

    def hear(self) -> None:
        """Take what has come. Raises `Refused` for what a consumer would not expect either."""
        for frame in self.line.hear():
            api = self.under_way.popleft()
            _, answer = read_response(api, VERSIONS[api], memoryview(frame)[_SIZE.size :])
            {
                "FindCoordinator": self._found,
                "JoinGroup": self._joined,
                "SyncGroup": self._synced,
                "Heartbeat": self._beaten,
                "OffsetCommit": self._committed,
                "LeaveGroup": self._left,
            }[api](answer)

    def _send(self, api: str, request: bytes) -> None:
        self.under_way.append(api)
        self.line.socket.sendall(request)

    def _join(self) -> None:
        self.is_waiting_to_beat = False
        protocol = JoinGroupRequest.Protocol(name="roundrobin", metadata=subscription(self.group.topic))
        self.ask(
            "JoinGroup",
            JoinGroupRequest(
                group_id=self.group.name,
                session_timeout_ms=45_000,
                rebalance_timeout_ms=300_000,
                member_id=self.id,
                protocol_type="consumer",
                protocols=[protocol],
            ),
        )

    def _found(self, answer: Any) -> None:
        (coordinator,) = answer.coordinators
        if coordinator.error_code in _NOT_YET:
            self.find()
        elif coordinator.error_code:
            raise Refused(f"no coordinator for {self.group.name}: error {coordinator.error_code}")
        else:
            self._join()

    def _joined(self, answer: Any) -> None:
        if answer.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            self.id = answer.member_id
        if answer.error_code:
            self._join_after(answer.error_code)
            return
        self.id, self.generation = answer.member_id, answer.generation_id
        given: Mapping[MemberId, Sequence[int]] = {}
        if answer.leader == self.id:
            given = assign([each.member_id for each in answer.members], self.group.partitions)
        self._heartbeat = write_request(
            "Heartbeat", VERSIONS["Heartbeat"], 0, CLIENT,
            HeartbeatRequest(group_id=self.group.name, generation_id=self.generation, member_id=self.id),
        )  # fmt: skip
        self.ask(
            "SyncGroup",
            SyncGroupRequest(
                group_id=self.group.name,
                generation_id=self.generation,
                member_id=self.id,
                protocol_type="consumer",
                protocol_name="roundrobin",
                assignments=[
                    SyncGroupRequest.Assignment(member_id=each, assignment=assignment(self.group.topic, parts))
                    for each, parts in given.items()
                ],
            ),
        )

    def _synced(self, answer: Any) -> None:
        if answer.error_code:
            self._join_after(answer.error_code)
            return
        self.partitions = assigned(answer.assignment)
        self.is_waiting_to_beat = True
        self.group.note(self)

    def _beaten(self, answer: Any) -> None:
        # What was asked before it joined anew is answered late.
        if answer.error_code and self.is_waiting_to_beat:
            self._join_after(answer.error_code)

    def _committed(self, answer: Any) -> None:
        codes = {part.error_code for topic in answer.topics for part in topic.partitions}
        if codes != {0}:
            raise Refused(f"a commit of {self.group.name} was answered with errors {codes}")

    def _left(self, answer: Any) -> None:
        if answer.error_code:
            raise Refused(f"nobody may leave {self.group.name}: error {answer.error_code}")

    def _join_after(self, code: int) -> None:
        if self.group.is_stable:
            raise Refused(f"{self.group.name} is no longer stable: error {code}")
        if code == ErrorCode.UNKNOWN_MEMBER_ID:
            self.id = MemberId("")
        elif code not in _NOT_YET | _AGAIN | {ErrorCode.MEMBER_ID_REQUIRED}:
            raise Refused(f"nobody may join {self.group.name}: error {code}")
        self._join()


def assign(members: Sequence[MemberId], partitions: int) -> dict[MemberId, Sequence[int]]:
    """The partitions in turn, as Java's `RoundRobinAssignor` deals them out."""
    return {member: range(index, partitions, len(members)) for index, member in enumerate(sorted(members))}


def subscription(topic: str) -> bytes:
    """What a consumer says when it joins."""
    return _versioned(ConsumerProtocolSubscription(topics=[topic]))


def assignment(topic: str, partitions: Sequence[int]) -> bytes:
    """What the leader of a group gives a consumer."""
    part = ConsumerProtocolAssignment.TopicPartition(topic=topic, partitions=list(partitions))
    return _versioned(ConsumerProtocolAssignment(assigned_partitions=[part]))


def assigned(data: bytes) -> Sequence[int]:
    """The partitions in what `assignment` made."""
    (version,) = _VERSION.unpack_from(data)
    reader = Reader(data)
    reader.position = _VERSION.size
    (part,) = read(ConsumerProtocolAssignment, version, reader).assigned_partitions
    return list(part.partitions)


def _versioned(message: Any) -> bytes:
    version = 1
    writer = Writer()
    writer.buffer += _VERSION.pack(version)
    write(message, version, writer)
    return writer.joined()
