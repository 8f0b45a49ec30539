"""Consumers in groups over bare sockets, many of them in one process: what a broker has to do for a fleet of pollers.

Each does what a polling Java consumer does, on two connections as that has them. To its coordinator: FindCoordinator,
JoinGroup (twice, because the first only tells it its id), SyncGroup, then a Heartbeat every 3 s and an OffsetCommit
every 5 s. To the leader: one Fetch after the other in a session that names what has changed since the last, with up to
500 ms of patience. Meanwhile a producer writes batches at a steady rate.

Every group reads every partition: a batch is delivered once to each group, and every batch takes as many answers to a
Fetch as there are groups. That is what costs, on the broker and here. In the end every group has every batch, and has
committed so.
"""

from __future__ import annotations

import random
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from bench.members import PATIENCE_S, VERSIONS, Group, Line, Member, connect
from bench.processes import cpu_s, memory_mb
from bench.raw import await_leaders
from bench.sessions import CLIENT, Session, Written
from bench.sockets import Refused
from bench.topics import make_topic
from bench.values import SEQUENCE, Lost, filler
from pykafka_broker.model.names import GroupId
from pykafka_broker.net.question import ask, exchange
from pykafka_broker.wire.batch import Record, build
from pykafka_broker.wire.exchange import read_response, write_request
from pykafka_broker.wire.messages import (
    FindCoordinatorRequest,
    OffsetFetchRequest,
    ProduceRequest,
)

_OFFSET_FETCH: Final = 7
_PRODUCE: Final = 9
_HEARTBEAT_S: Final = 3.0
_FORMING_HEARTBEAT_S: Final = 0.1
"""While the groups form, so that the protocol is measured and not how seldom a member looks."""
_COMMIT_S: Final = 5.0
_VALUE_BYTES: Final = 100
_EVENTS: Final = 64
"""Looked at before what is due is looked at again."""
_BUSY: Final = 0.9
"""A client that uses more of a processor measures itself."""

_SIZE: Final = Struct(">i")


class Poller:
    """One consumer, on the connection to its leader."""

    def __init__(self, session: Session, line: Line) -> None:
        self.line = line
        self._session = session

    def poll(self) -> None:
        """Send the next Fetch."""
        self.line.socket.sendall(self._session.request())

    def hear(self) -> None:
        """Take an answer if it has come as a whole, and ask for more."""
        for frame in self.line.hear():
            self._session.take(frame, time.perf_counter())
            self.poll()


class Producer:
    """Writes batches that are ready beforehand, acks=all.

    Every partition gets as many, in an order that is drawn anew whenever all have had one: in step, a consumer's
    patience would end just when its next batch comes.
    """

    def __init__(self, topic: str, written: Written, line: Line, batches: int) -> None:
        self.line = line
        self.under_way: deque[tuple[int, int]] = deque()
        self._topic = topic
        self._written = written
        self._ready = deque(self._batch(*each) for each in enumerate(drawn(len(written.sent), batches)))

    def write(self) -> None:
        """Send the next batch."""
        partition, batch, request = self._ready.popleft()
        self.under_way.append((partition, self._written.end(partition)))
        self._written.note(partition, batch, time.perf_counter())
        self.line.socket.sendall(request)

    def hear(self) -> None:
        """Take answers. Raises `Refused` if a batch is not where it should be."""
        for frame in self.line.hear():
            _, answer = read_response("Produce", _PRODUCE, memoryview(frame)[_SIZE.size :])
            (part,) = answer.responses[0].partition_responses
            expected = self.under_way.popleft()
            if part.error_code or (part.index, part.base_offset) != expected:
                raise Refused(f"a batch for {expected} was answered with {part}")

    def _batch(self, number: int, partition: int) -> tuple[int, bytes, bytes]:
        records = self._written.records
        now_ms = int(time.time() * 1000)
        values = (SEQUENCE.pack(number * records + index) + filler(_VALUE_BYTES) for index in range(records))
        batch = bytes(build([Record(timestamp=now_ms, value=value) for value in values]))
        data = ProduceRequest.PartitionProduceData(index=partition, records=batch)
        topic = ProduceRequest.TopicProduceData(name=self._topic, partition_data=[data])
        body = ProduceRequest(acks=-1, timeout_ms=30_000, topic_data=[topic])
        return partition, batch, write_request("Produce", _PRODUCE, 0, CLIENT, body)


def drawn(partitions: int, batches: int) -> list[int]:
    """Where each batch goes; the same in every run."""
    lots = random.Random(partitions)
    order = [each for _ in range(-(-batches // partitions)) for each in lots.sample(range(partitions), partitions)]
    return order[:batches]


class Crowd:
    """All consumers and their producer, and what is due of them."""

    def __init__(self, port: int, groups: Sequence[Group], written: Written) -> None:
        self.members = [Member(group, connect(port)) for group in groups for _ in range(group.size)]
        self.sessions: list[Session] = []
        self._groups = groups
        self._port = port
        self._written = written
        self._lines: list[Line] = []
        self._poll = select.epoll()
        self._hear: dict[int, Callable[[], None]] = {}
        for member in self.members:
            self._register(member.line, member.hear)
        self._beats = self._commits = 0

    def form(self) -> float:
        """All members join; seconds until every group is stable. Raises `TimeoutError`."""
        begun = time.perf_counter()
        for member in self.members:
            member.find()
        due = begun + _FORMING_HEARTBEAT_S
        while not all(group.is_stable for group in self._groups):
            self._look(due - time.perf_counter())
            if (now := time.perf_counter()) >= due:
                due = now + _FORMING_HEARTBEAT_S
                for member in self.members:
                    if member.is_waiting_to_beat and not member.group.is_stable and not member.under_way:
                        member.beat()
            if now > begun + PATIENCE_S:
                left = sum(not group.is_stable for group in self._groups)
                raise TimeoutError(f"{left} of {len(self._groups)} groups are not stable after {PATIENCE_S} s")
        return time.perf_counter() - begun

    def poll(self) -> None:
        """All members begin to fetch."""
        for member in self.members:
            member.session = Session(member.group.topic, member.partitions, self._written)
            poller = Poller(member.session, connect(self._port))
            self.sessions.append(member.session)
            self._register(poller.line, poller.hear)
            poller.poll()

    def produce(self, batches: int) -> Producer:
        """A producer with so many batches to write."""
        producer = Producer(self._groups[0].topic, self._written, Line(self._port), batches)
        self._register(producer.line, producer.hear)
        return producer

    def run(self, producer: Producer, batches: int, every_s: float) -> None:
        """Write so many batches at a steady rate, while the consumers do what they do."""
        beat_s, commit_s = _HEARTBEAT_S / len(self.members), _COMMIT_S / len(self.members)
        write_due = beat_due = commit_due = time.perf_counter()
        until = write_due + batches * every_s
        while (now := time.perf_counter()) < until or batches:
            while batches and write_due <= now:
                producer.write()
                batches -= 1
                write_due += every_s
            while beat_due <= now:
                self.members[self._beats % len(self.members)].beat()
                self._beats += 1
                beat_due += beat_s
            while commit_due <= now:
                self.members[self._commits % len(self.members)].commit()
                self._commits += 1
                commit_due += commit_s
            self._look(min(write_due, beat_due, commit_due) - time.perf_counter())

    def await_records(self) -> None:
        """Return when every group has all that was written. Raises `Lost` if that takes too long."""
        ends = [self._written.end(partition) for partition in range(len(self._written.sent))]
        deadline = time.perf_counter() + PATIENCE_S
        while True:
            behind = sum(ends[part] - at for each in self.sessions for part, at in each.positions.items())
            if not behind:
                return
            if time.perf_counter() > deadline:
                raise Lost(f"{behind} records were not delivered within {PATIENCE_S} s")
            self._look(_FORMING_HEARTBEAT_S)

    def await_answers(self) -> None:
        """Return when coordinators have answered all they were asked. Raises `TimeoutError`."""
        deadline = time.perf_counter() + PATIENCE_S
        while any(member.under_way for member in self.members):
            if time.perf_counter() > deadline:
                raise TimeoutError(f"coordinators have not answered within {PATIENCE_S} s")
            self._look(_FORMING_HEARTBEAT_S)

    def close(self) -> None:
        """Hang up everywhere."""
        self._poll.close()
        for line in self._lines:
            line.socket.close()

    def _register(self, line: Line, hear: Callable[[], None]) -> None:
        self._lines.append(line)
        self._hear[line.socket.fileno()] = hear
        self._poll.register(line.socket, select.EPOLLIN)

    def _look(self, within_s: float) -> None:
        hear = self._hear
        for descriptor, _ in self._poll.poll(max(0.0, within_s), _EVENTS):
            hear[descriptor]()


def crowd(
    bootstrap: str,
    pid: int,
    groups: int,
    members: int,
    partitions: int,
    rate: int,
    batch: int,
    warm_up_s: int,
    seconds: int,
    turn: int = 0,
) -> dict[str, float]:
    """So many groups of so many members each read a topic that gets `rate` records a second, `batch` at a time.

    `pid` is the broker's. Everybody connects before anything is measured. Gives the seconds from the first request
    until all groups were stable; of the batches sent in the `seconds` after the warm-up, p50 and p99 of the
    milliseconds until a group had them; and of these seconds, how many records came to consumers in each, and the
    processor seconds of broker and client; the broker's memory (MB) after them. Raises `Lost` if any group lacks a
    record, and `Refused` for what a consumer would not expect, or when it was the client that was busy.
    """
    port = int(bootstrap.rpartition(":")[2])
    topic = f"crowd-{turn}"
    make_topic(bootstrap, topic, partitions)
    await_leaders(port, topic, partitions)
    _await_coordinator(port)
    written = Written(partitions, batch)
    names = [f"crowd-{turn}-{number}" for number in range(groups)]
    crowd = Crowd(port, [Group(name, topic, partitions, members) for name in names], written)
    stable_s = crowd.form()
    crowd.poll()
    warm_up, measured = (part * rate // batch for part in (warm_up_s, seconds))
    producer = crowd.produce(warm_up + measured)
    crowd.run(producer, warm_up, batch / rate)
    used_s, own_s, begun = cpu_s(pid), time.process_time(), time.perf_counter()
    crowd.run(producer, measured, batch / rate)
    ended = time.perf_counter()
    used_s, own_s, memory = cpu_s(pid) - used_s, time.process_time() - own_s, memory_mb(pid)
    took = ended - begun
    crowd.await_records()
    for member in crowd.members:
        member.commit()
    crowd.await_answers()
    _check_commits(port, topic, names, written)
    for member in crowd.members:
        member.leave()
    crowd.await_answers()
    crowd.close()
    if own_s > _BUSY * took:
        raise Refused(f"the client was busy for {own_s:.1f} of {took:.1f} s: this would measure the client")
    came = [(sent, wait) for session in crowd.sessions for sent, wait in session.waits]
    waits = sorted(wait for sent, wait in came if begun <= sent < ended)
    return {
        "stable": stable_s,
        "p50": waits[len(waits) // 2] * 1000,
        "p99": waits[len(waits) * 99 // 100] * 1000,
        "delivered": sum(batch for sent, wait in came if begun <= sent + wait < ended) / took,
        "cpu": used_s / took,
        "client_cpu": own_s / took,
        "memory": memory,
    }


def _await_coordinator(port: int) -> None:
    """Have the topic made that keeps the groups, which takes a while at the first question."""
    body = FindCoordinatorRequest(key_type=0, coordinator_keys=["none"])
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        answer = ask(
            "127.0.0.1", port, "FindCoordinator", VERSIONS["FindCoordinator"], body,
            client_id=CLIENT, timeout_s=PATIENCE_S,
        )  # fmt: skip
        if not answer.coordinators[0].error_code:
            return
        time.sleep(0.05)
    raise TimeoutError(f"there is no coordinator after {PATIENCE_S} s")


def _check_commits(port: int, topic: str, groups: Sequence[str], written: Written) -> None:
    version = _OFFSET_FETCH
    partitions = list(range(len(written.sent)))
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        for group in groups:
            asked = OffsetFetchRequest.Topic(name=topic, partition_indexes=partitions)
            body = OffsetFetchRequest(group_id=GroupId(group), topics=[asked])
            answer = exchange(
                connection, "OffsetFetch", version, write_request("OffsetFetch", version, 0, CLIENT, body)
            )
            for part in answer.topics[0].partitions:
                end = written.end(part.partition_index)
                if part.error_code or part.committed_offset != end:
                    raise Lost(f"{group} has committed {end} in {part.partition_index}, not {part.committed_offset}")
