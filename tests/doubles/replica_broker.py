"""A broker that replicates, without sockets and tasks: real leaderships and handlers over logs in memory.

Its handlers are asked with ``max_wait_ms`` 0, so that none of them really waits; requests and responses go through
their bytes, as between processes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from uuid import UUID

from pykafka_broker.api.fetch import FetchApi
from pykafka_broker.api.fetch_sessions import FetchSessions
from pykafka_broker.api.offsets import OffsetApi
from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.follower import Follower, Question, Taken
from pykafka_broker.log.validation import Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.identity import Session
from pykafka_broker.model.names import BrokerId, TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.leaderships import Leadership, Leaderships
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record, build
from pykafka_broker.wire.exchange import Served, close_call, open_call, read_response, write_request
from pykafka_broker.wire.pieces import FilePiece
from tests.doubles.memory_logs import MemoryLogs

TOPIC_ID = TopicId(UUID(int=77))
T0 = TopicPartition("t", 0)
_SERVED = Served({1: (0, 17), 2: (0, 9), 23: (0, 4)})


class ReplicaBroker:
    """One broker; ``proposals`` are the leaderships whose ISR changes wait for a controller."""

    def __init__(
        self,
        number: int,
        clock: Callable[[], Millis],
        logs: MemoryLogs | None = None,
        note: Callable[[Fact], None] | None = None,
        **topic_settings: Any,
    ) -> None:
        self.me = BrokerId(number)
        self.clock = clock
        self.facts: list[Fact] = []
        self.note = note or self.facts.append
        self.changes = Changes()
        self.logs = logs or MemoryLogs()
        self.metadata = Metadata(self.me, self.changes)
        self.settings = TopicSettings(**topic_settings)
        self.leaderships = Leaderships(
            self.me, self.logs, self.metadata, lambda topic: self.settings, self.changes, clock=clock
        )
        self.proposals: list[Leadership] = []
        self.leaderships.surroundings.propose_isr = self.proposals.append
        self.leaderships.on_follow = self._follow
        self.leaderships.on_unfollow = self._unfollow
        self.followers: dict[BrokerId, Follower] = {}
        """By leader, what is followed there."""
        numbers = itertools.count(1)
        self._routes = {
            route.api: route
            for family in (
                FetchApi(
                    self.leaderships,
                    self.metadata,
                    FetchSessions(100, lambda: next(numbers)),
                    self.changes,
                    clock,
                    lambda: 1 << 20,
                ),
                OffsetApi(self.leaderships, self.changes, clock),
            )
            for route in family.routes()
        }

    # What the controller says

    def knows(self, *brokers: int, topic_id: TopicId = TOPIC_ID, partitions: int = 1) -> None:
        """These brokers live, and there is a topic."""
        request = messages.UpdateMetadataRequest
        state = [
            request.PartitionState(partition_index=index, leader=-1, leader_epoch=-1) for index in range(partitions)
        ]
        endpoints = [request.Endpoint(port=9092, host="host", listener="PLAINTEXT")]
        self.leaderships.update_metadata(
            request(
                live_brokers=[request.Broker(id=one, endpoints=endpoints, rack=f"rack{one}") for one in brokers],
                topic_states=[request.TopicState(topic_name="t", topic_id=topic_id, partition_states=state)],
            )
        )

    def hears(
        self,
        leader: int,
        epoch: int,
        isr: tuple[int, ...],
        replicas: tuple[int, ...],
        *,
        index: int = 0,
        partition_epoch: int = 0,
        topic_id: TopicId = TOPIC_ID,
    ) -> ErrorCode:
        """A LeaderAndIsr for one partition."""
        request = messages.LeaderAndIsrRequest
        state = request.PartitionState(
            partition_index=index,
            leader=leader,
            leader_epoch=epoch,
            isr=list(isr),
            replicas=list(replicas),
            partition_epoch=partition_epoch,
        )
        topic = request.TopicState(topic_name="t", topic_id=topic_id, partition_states=[state])
        response = self.leaderships.lead_and_follow(request(broker_epoch=-1, topic_states=[topic]))
        return ErrorCode.of(response.topics[0].partition_errors[0].error_code)

    def _follow(self, leadership: Leadership) -> None:
        follower = self.followers.get(leadership.leader)
        if follower is None:
            settings = BrokerSettings(replica_fetch_wait_max_ms=0)
            follower = self.followers[leadership.leader] = Follower(self.me, settings, self.note)
        follower.follow(self.clock(), leadership)

    def _unfollow(self, partition: TopicPartition) -> None:
        for follower in self.followers.values():
            follower.unfollow(partition)

    # What it has

    def part(self, partition: TopicPartition = T0) -> Leadership:
        """Its part in a partition."""
        found = self.leaderships.get(partition)
        assert found is not None
        return found

    def appends(self, *values: bytes, partition: TopicPartition = T0) -> int:
        """Append a batch as the leader; its last offset."""
        data = build([Record(timestamp=self.clock(), key=None, value=value) for value in values])
        return self.part(partition).append(self.clock(), data, origin=Origin.CLIENT, api_version=9).last_offset

    def log_bytes(self, partition: TopicPartition = T0) -> bytes:
        """All segments, one after the other."""
        disk = self.logs.disks[partition]
        names = sorted(name for name in disk.sizes() if name.endswith(".log"))
        return b"".join(disk.read(name, 0, 1 << 30) for name in names)

    # Replication

    def answer(self, api: str, version: int, body: Any) -> Any:
        """The response to a request, as it arrives."""
        frame = write_request(api, version, 1, "broker", body)
        call = open_call(memoryview(frame)[4:], _SERVED)
        call.session = Session("PLAINTEXT", "/127.0.0.1")
        route = self._routes[api]
        work = route.answer(call)
        try:
            work.send(None)  # type: ignore[attr-defined]
        except StopIteration as done:
            response = done.value
        except KafkaError as error:
            response = route.refuse(call, error.code, error.detail)
        else:
            raise AssertionError(f"{api} waits although it was told not to")
        sent = b"".join(self._read(piece) for piece in close_call(call, response))
        return read_response(api, version, memoryview(bytearray(sent))[4:])[1]

    @staticmethod
    def _read(piece: Any) -> bytes:
        assert not isinstance(piece, FilePiece), "a memory disk has no files"
        return bytes(piece)

    def asks(self, leader: ReplicaBroker) -> Taken | None:
        """One question to a leader and its answer; ``None`` when there is nothing to ask."""
        follower = self.followers[leader.me]
        question = follower.next_question(self.clock())
        if question is None:
            return None
        return follower.take(self.clock(), question, leader.reply(question))

    def reply(self, question: Question) -> Any:
        """The answer to a follower's question."""
        return self.answer(question.api, question.version, question.body)

    def catches_up(self, leader: ReplicaBroker, rounds: int = 50) -> None:
        """Ask until the logs end at the same offset and both know what is committed."""
        for _ in range(rounds):
            self.asks(leader)
        assert self.part().log.log_end_offset == leader.part().log.log_end_offset
