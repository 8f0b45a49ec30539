"""Fetch: record batches as they lie in the log, now or as soon as there are enough.

  3    a limit for the whole answer, and the first-batch rule: something always fits
  4    isolation level, last stable offset, aborted transactions
  5    log start offset
  7    fetch sessions (KIP-227)
  9    the client's leader epoch
  10   zstd
  11   rack id, preferred replica
  12   flexible; last fetched epoch and diverging epoch
  13   topic ids instead of names
  15   replica state as a tagged field
  16   a refusal for want of leadership names the leader

Versions 0 to 3 get the old message formats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import trio

from pykafka_broker.api.fetch_sessions import FetchPlan, FetchSessions, Key, Wanted
from pykafka_broker.api.routes import Route
from pykafka_broker.log.partition import Isolation, PartitionLog
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_OFFSET, NO_TOPIC_ID, LeaderEpoch, Offset, ProducerId, TopicId, TopicPartition
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.leaderships import Leaderships
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.store.reading import read_pieces
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call
from pykafka_broker.wire.pieces import FilePieces

_UNLIMITED_BYTES = 2**31 - 1
_FIRST_VERSION_OF_FORMAT_2 = 4
_FIRST_VERSION_WITH_ZSTD = 10
_CONSUMER = -1


@dataclass(slots=True)
class _Found:
    """What one pass over the partitions gave."""

    entries: list[tuple[Key, messages.FetchResponse.PartitionData]]
    waits_on: list[TopicPartition]
    size_bytes: int = 0
    has_error: bool = False


@dataclass(slots=True)
class FetchApi:
    """Reads pieces of log files; a long poll is a loop that reads again after every change."""

    leaderships: Leaderships
    metadata: Metadata
    sessions: FetchSessions
    changes: Changes
    clock: Clock
    max_bytes: Callable[[], int]

    def routes(self) -> tuple[Route, ...]:
        return (Route("Fetch", "0-17", self.fetch, self._refuse),)

    async def fetch(self, call: Call[Any]) -> messages.FetchResponse:
        """The answer, at once if there is enough or something is wrong, else when there is or time is over."""
        body = call.body
        plan = self.sessions.plan(self.clock(), call.version, body)
        found = self._read(call, plan)
        if not self._is_enough(found, body):
            with trio.move_on_after(body.max_wait_ms / 1000):
                while not self._is_enough(found, body):
                    await self.changes.wait(found.waits_on)
                    found = self._read(call, plan)
        session_id, mentioned = self.sessions.settle(self.clock(), plan, found.entries)
        return self._response(session_id, plan, mentioned)

    @staticmethod
    def _is_enough(found: _Found, body: messages.FetchRequest) -> bool:
        return body.max_wait_ms <= 0 or found.size_bytes >= body.min_bytes or found.has_error or not found.waits_on

    def _read(self, call: Call[Any], plan: FetchPlan) -> _Found:
        body = call.body
        if call.version >= 3:
            left = min(body.max_bytes, self.max_bytes())
            may_give_one = True
        else:
            left = _UNLIMITED_BYTES
            may_give_one = False
        isolation = Isolation.READ_COMMITTED if body.isolation_level == 1 else Isolation.READ_UNCOMMITTED
        found = _Found([], [])
        for key, wanted in plan.partitions.items():
            entry = messages.FetchResponse.PartitionData(
                partition_index=wanted.partition, high_watermark=NO_OFFSET, aborted_transactions=None, records=b""
            )
            found.entries.append((key, entry))
            try:
                partition, log = self._log(call, plan, wanted)
                found.waits_on.append(partition)
                size = self._fill(call, wanted, log, entry, left, may_give_one and not found.size_bytes, isolation)
            except KafkaError as error:
                entry.error_code = error.code
                found.has_error = True
                continue
            left = max(0, left - size)
            found.size_bytes += size
        return found

    def _log(self, call: Call[Any], plan: FetchPlan, wanted: Wanted) -> tuple[TopicPartition, PartitionLog]:
        """The log that answers for a wanted partition; its name is looked up when the client gives an id."""
        topic = wanted.topic
        if plan.uses_ids:
            name = self.metadata.topic_name(TopicId(wanted.topic_id))
            if name is None:
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID)
            topic = name
        partition = TopicPartition(topic, wanted.partition)
        leadership = self.leaderships.leader(partition, LeaderEpoch(wanted.current_leader_epoch))
        return partition, leadership.log

    def _fill(
        self,
        call: Call[Any],
        wanted: Wanted,
        log: PartitionLog,
        entry: messages.FetchResponse.PartitionData,
        left_bytes: int,
        must_give_one: bool,
        isolation: Isolation,
    ) -> int:
        """Put what can be read into the entry; how many bytes that is."""
        if call.version < _FIRST_VERSION_WITH_ZSTD and log.settings.compression_type == "zstd":
            raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
        given = log.read(
            Offset(wanted.fetch_offset),
            min(wanted.max_bytes, left_bytes),
            isolation=isolation,
            must_give_one=must_give_one,
        )
        entry.high_watermark = Offset(given.high_watermark)
        entry.last_stable_offset = Offset(given.last_stable_offset)
        entry.log_start_offset = Offset(given.log_start_offset)
        if given.aborted is not None:
            entry.aborted_transactions = [
                messages.FetchResponse.AbortedTransaction(
                    producer_id=ProducerId(producer_id), first_offset=Offset(first_offset)
                )
                for producer_id, first_offset in given.aborted
            ]
        if not given.size_bytes:
            return 0
        if call.version >= _FIRST_VERSION_OF_FORMAT_2:
            entry.records = given.pieces
            return given.size_bytes
        old = self._down_converted(call.version, log, given.pieces)
        entry.records = old
        return len(old)

    @staticmethod
    def _down_converted(version: int, log: PartitionLog, pieces: FilePieces) -> bytes:
        """The batches as a message set of the format that old clients read."""
        if not log.settings.message_downconversion_enable:
            raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
        from pykafka_broker.wire.message_set import down_convert

        return down_convert(read_pieces(pieces), 0 if version <= 1 else 1)

    @staticmethod
    def _response(
        session_id: int, plan: FetchPlan, mentioned: list[tuple[Key, messages.FetchResponse.PartitionData]]
    ) -> messages.FetchResponse:
        response = messages.FetchResponse(session_id=session_id)
        topics: dict[Any, messages.FetchResponse.FetchableTopicResponse] = {}
        for (name, _partition), entry in mentioned:
            topic = topics.get(name)
            if topic is None:
                topic = topics[name] = messages.FetchResponse.FetchableTopicResponse(
                    topic="" if plan.uses_ids else str(name),
                    topic_id=TopicId(name) if isinstance(name, UUID) else NO_TOPIC_ID,
                )
                response.responses.append(topic)
            topic.partitions.append(entry)
        return response

    @staticmethod
    def _refuse(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.FetchResponse:
        """Errors of the session stand at the top; older versions have only the partitions to say it in."""
        response = messages.FetchResponse(error_code=code if call.version >= 7 else 0)
        if call.version >= 7 and code in _SESSION_ERRORS:
            return response
        for topic in call.body.topics:
            response.responses.append(
                messages.FetchResponse.FetchableTopicResponse(
                    topic=topic.topic,
                    topic_id=topic.topic_id,
                    partitions=[
                        messages.FetchResponse.PartitionData(
                            partition_index=asked.partition,
                            error_code=code,
                            high_watermark=NO_OFFSET,
                            aborted_transactions=None,
                            records=b"",
                        )
                        for asked in topic.partitions
                    ],
                )
            )
        return response


_SESSION_ERRORS = {
    ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
    ErrorCode.INVALID_FETCH_SESSION_EPOCH,
    ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR,
}
