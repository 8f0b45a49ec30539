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

Versions 0 and 1 get messages of format 0, versions 2 and 3 of formats 0 and 1, later ones what lies in the log.
Followers replicate with the same request: they read to the end of the log, and by what they ask for the leader knows
how far they are. Consumers since version 11 may read from any replica.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import Struct, field

from pykafka_broker.api.current_leaders import tell_leader
from pykafka_broker.api.fetch_sessions import FetchPlan, FetchSessions, Key, Wanted
from pykafka_broker.api.routes import Route
from pykafka_broker.log.partition import Isolation, PartitionLog
from pykafka_broker.log.throttle import UNTHROTTLED, Throttle
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import (
    NO_OFFSET,
    NO_TOPIC_ID,
    BrokerId,
    LeaderEpoch,
    Offset,
    ProducerId,
    TopicId,
    TopicPartition,
)
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.leaderships import Leadership, Leaderships, LogEnd
from pykafka_broker.runtime.metadata import ELSEWHERE, Metadata
from pykafka_broker.runtime.replica_selection import SelectReplica, no_selection
from pykafka_broker.runtime.waiter import Waiter
from pykafka_broker.store.reading import read_pieces
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call

_UNLIMITED_BYTES = 2**31 - 1
_LAST_VERSION_OF_FORMAT_0 = 1
_FIRST_VERSION_OF_FORMAT_2 = 4
_FIRST_VERSION_WITH_ZSTD = 10
_FIRST_VERSION_WITH_REPLICA_STATE = 15
_FIRST_VERSION_FOR_ANY_REPLICA = 11
_FIRST_VERSION_WITH_LEADERS = 16
_NOBODY = BrokerId(-1)


class _Found(Struct):
    """What one pass over the partitions gave."""

    entries: list[tuple[Key, messages.FetchResponse.PartitionData]]
    waits_on: list[Hashable]
    size_bytes: int = 0
    is_final: bool = False
    """Something is told that no waiting makes better."""
    replicated: list[tuple[TopicPartition, int]] = field(default_factory=list)
    """What a follower is given of which partition, in bytes."""


class _Quiet(Struct, frozen=True):
    """A partition that had nothing new for a reader, and the bell that will tell of something."""

    leadership: Leadership
    leader_epoch: int
    bell: Hashable


class _Reader(NamedTuple):
    """Who reads: a consumer, or the broker of a follower; and how far that one may read."""

    broker: BrokerId
    is_consumer: bool
    isolation: Isolation
    may_read_any_replica: bool
    rack: str
    listener: str

    @classmethod
    def of(cls, call: Call[Any]) -> _Reader:
        body = call.body
        has_state = call.version >= _FIRST_VERSION_WITH_REPLICA_STATE
        broker = body.replica_state.replica_id if has_state else body.replica_id
        if broker >= 0:
            return cls(BrokerId(broker), False, Isolation.LOG_END, False, "", "")
        return cls(
            _NOBODY,
            True,
            Isolation.READ_COMMITTED if body.isolation_level == 1 else Isolation.READ_UNCOMMITTED,
            call.version >= _FIRST_VERSION_FOR_ANY_REPLICA,
            body.rack_id,
            "" if call.session is None else call.session.listener,
        )


class FetchApi(Struct):
    """Reads pieces of log files; a long poll is a loop that reads again after every change."""

    leaderships: Leaderships
    metadata: Metadata
    sessions: FetchSessions
    changes: Changes
    clock: Clock
    max_bytes: Callable[[], int]
    select: SelectReplica = no_selection
    """Which other replica a consumer should read from (KIP-392)."""
    throttle: Throttle = UNTHROTTLED
    """Holds followers back that have to be brought up slowly (KIP-73)."""

    def routes(self) -> tuple[Route, ...]:
        return (Route("Fetch", "0-17", self.fetch, self._refuse),)

    async def fetch(self, call: Call[Any]) -> messages.FetchResponse:
        """The answer, at once if there is enough or something is wrong, else when there is or time is over."""
        body = call.body
        plan = self.sessions.plan(self.clock(), call.version, body)
        reader = _Reader.of(call)
        found = self._read(call, plan, reader, is_fresh=True)
        if not self._is_enough(found, body):
            waiter = Waiter(body.max_wait_ms / 1000, may_park=call.may_park)
            while not self._is_enough(found, body) and await self.changes.wait_as(waiter, found.waits_on):
                found = self._read(call, plan, reader, is_fresh=False)
        for partition, size_bytes in found.replicated:
            self.throttle.moved(partition, size_bytes)
        session_id, mentioned = self.sessions.settle(self.clock(), plan, found.entries)
        return self._response(call, session_id, plan, mentioned)

    @staticmethod
    def _is_enough(found: _Found, body: messages.FetchRequest) -> bool:
        return body.max_wait_ms <= 0 or found.size_bytes >= body.min_bytes or found.is_final or not found.waits_on

    def _read(self, call: Call[Any], plan: FetchPlan, reader: _Reader, *, is_fresh: bool) -> _Found:
        """One pass over the partitions; only in the first is it news to the leader how far a follower is."""
        body = call.body
        if call.version >= 3:
            left = min(body.max_bytes, self.max_bytes())
            may_give_one = True
        else:
            left = _UNLIMITED_BYTES
            may_give_one = False
        found = _Found([], [])
        now = self.clock() if is_fresh else None
        same_epoch, no_leader, no_snapshot = _usual()
        for key, wanted in plan.partitions.items():
            quiet = wanted.quiet
            if quiet is not None and self._is_quiet(quiet, wanted, reader, now):
                found.waits_on.append(quiet.bell)
                continue
            entry = messages.FetchResponse.PartitionData(
                partition_index=wanted.partition,
                high_watermark=NO_OFFSET,
                diverging_epoch=same_epoch,
                current_leader=no_leader,
                snapshot_id=no_snapshot,
                aborted_transactions=None,
                records=b"",
            )
            found.entries.append((key, entry))
            try:
                leadership = self._replica(plan, wanted, reader)
                bell = leadership.partition if reader.is_consumer else LogEnd(leadership.partition)
                found.waits_on.append(bell)
                if self._is_answered_without_records(leadership, wanted, reader, entry):
                    found.is_final = True
                    continue
                size = self._fill(
                    call, wanted, leadership, entry, left, may_give_one and not found.size_bytes, reader, is_fresh
                )
            except KafkaError as error:
                entry.error_code = error.code
                if error.code in _CANNOT_CONVERT:
                    _tell_nothing(entry)
                found.is_final = True
                continue
            left = max(0, left - size)
            found.size_bytes += size
            if size and not reader.is_consumer:
                found.replicated.append((leadership.partition, size))
            if plan.is_incremental:
                wanted.quiet = _Quiet(leadership, leadership.leader_epoch, bell)
        return found

    def _is_quiet(self, quiet: _Quiet, wanted: Wanted, reader: _Reader, now: Millis | None) -> bool:
        """Whether nothing has changed since a partition was told to have nothing new; ``now`` if the reader asks anew.

        A reader may have a thousand such partitions in its session for each that has news.
        """
        leadership = quiet.leadership
        log = leadership.log
        offset = wanted.fetch_offset
        if (
            wanted.told_high_watermark != log.high_watermark
            or wanted.told_log_start_offset != log.log_start_offset
            or offset != (log.high_watermark if reader.is_consumer else log.log_end_offset)
            or leadership.leader_epoch != quiet.leader_epoch
            or log.is_offline
            or self.leaderships.get(leadership.partition) is not leadership
        ):
            return False
        if reader.is_consumer:
            return not reader.rack
        replica = leadership.followers.get(reader.broker)
        if replica is None or replica.log_end_offset != offset or reader.broker not in leadership.isr:
            return False
        if now is not None:
            replica.fetched(now, offset, replica.log_start_offset, offset)
        return True

    def _replica(self, plan: FetchPlan, wanted: Wanted, reader: _Reader) -> Leadership:
        """Our part in a wanted partition; its name is looked up when the client gives an id."""
        topic = wanted.topic
        if plan.uses_ids:
            name = self.metadata.topic_name(TopicId(wanted.topic_id))
            if name is None:
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID)
            topic = name
        partition, epoch = TopicPartition(topic, wanted.partition), LeaderEpoch(wanted.current_leader_epoch)
        any_replica = reader.may_read_any_replica
        leadership = (self.leaderships.replica if any_replica else self.leaderships.leader)(partition, epoch)
        if plan.uses_ids and leadership.topic_id not in (wanted.topic_id, NO_TOPIC_ID):
            # The topic was made anew, and what is here still belongs to the earlier one (``readFromLog``).
            raise KafkaError(ErrorCode.INCONSISTENT_TOPIC_ID)
        if not reader.is_consumer and leadership.followers.get(reader.broker) is None:
            # It may know of an assignment that we do not know yet (``Partition.followerReplicaOrThrow``).
            raise KafkaError(ErrorCode.UNKNOWN_LEADER_EPOCH if epoch >= 0 else ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return leadership

    def _is_answered_without_records(
        self, leadership: Leadership, wanted: Wanted, reader: _Reader, entry: messages.FetchResponse.PartitionData
    ) -> bool:
        """Whether the reader's log has parted from this one, or it had better read elsewhere; the entry says so."""
        log = leadership.log
        if reader.is_consumer and leadership.is_leader and reader.rack:
            preferred = self.select(leadership, reader.rack, reader.listener, wanted.fetch_offset)
            if preferred is not None:
                entry.preferred_read_replica = preferred
                _tell_marks(entry, log)
                return True
        if wanted.last_fetched_epoch < 0:
            return False
        end = log.end_of_epoch(wanted.last_fetched_epoch)
        if end.epoch < 0 or end.end_offset < 0:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)
        if wanted.fetch_offset < log.log_start_offset:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)
        if end.epoch >= wanted.last_fetched_epoch and end.end_offset >= wanted.fetch_offset:
            return False
        entry.diverging_epoch = messages.FetchResponse.EpochEndOffset(
            epoch=LeaderEpoch(end.epoch), end_offset=Offset(end.end_offset)
        )
        _tell_marks(entry, log)
        return True

    def _fill(
        self,
        call: Call[Any],
        wanted: Wanted,
        leadership: Leadership,
        entry: messages.FetchResponse.PartitionData,
        left_bytes: int,
        must_give_one: bool,
        reader: _Reader,
        is_fresh: bool,
    ) -> int:
        """Put what can be read into the entry; how many bytes that is."""
        log = leadership.log
        if call.version < _FIRST_VERSION_WITH_ZSTD:
            _refuse_conversion(call.version, log, reader)
        given = log.read(
            Offset(wanted.fetch_offset),
            min(wanted.max_bytes, left_bytes),
            isolation=reader.isolation,
            must_give_one=must_give_one,
        )
        if not reader.is_consumer and is_fresh:
            leadership.fetched(reader.broker, wanted.fetch_offset, wanted.log_start_offset)
        entry.high_watermark = Offset(log.high_watermark if not reader.is_consumer else given.high_watermark)
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
        if (
            not reader.is_consumer
            and reader.broker not in leadership.isr
            and self.throttle.holds_back(leadership.partition)
        ):
            return 0
        if call.version >= _FIRST_VERSION_OF_FORMAT_2:
            entry.records = given.pieces
            return given.size_bytes
        from pykafka_broker.wire.message_set import down_convert  # few brokers have such clients

        magic = 0 if call.version <= _LAST_VERSION_OF_FORMAT_0 else 1
        old = down_convert(read_pieces(given.pieces), magic, wanted.fetch_offset)
        entry.records = old
        return max(len(old), given.size_bytes)

    def _response(
        self,
        call: Call[Any],
        session_id: int,
        plan: FetchPlan,
        mentioned: list[tuple[Key, messages.FetchResponse.PartitionData]],
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
            if entry.error_code in ELSEWHERE and call.version >= _FIRST_VERSION_WITH_LEADERS:
                named = name if isinstance(name, str) else self.metadata.topic_name(TopicId(name))
                partition = TopicPartition(named or "", entry.partition_index)
                tell_leader(self.metadata, call.session.listener, partition, entry, response)
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


@cache
def _usual() -> tuple[
    messages.FetchResponse.EpochEndOffset,
    messages.FetchResponse.LeaderIdAndEpoch,
    messages.FetchResponse.SnapshotId,
]:
    """What is nearly always said of a partition in three places where something else may be put, and never changed."""
    response = messages.FetchResponse
    return response.EpochEndOffset(), response.LeaderIdAndEpoch(), response.SnapshotId()


def _refuse_conversion(version: int, log: PartitionLog, reader: _Reader) -> None:
    """Raise if such an old client cannot be answered, whatever there is to read (``maybeConvertFetchedData``)."""
    if log.settings.compression_type == "zstd":
        raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
    if version < _FIRST_VERSION_OF_FORMAT_2 and reader.is_consumer and not log.settings.message_downconversion_enable:
        raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)


def _tell_nothing(entry: messages.FetchResponse.PartitionData) -> None:
    entry.high_watermark = entry.last_stable_offset = entry.log_start_offset = NO_OFFSET
    entry.aborted_transactions = None
    entry.records = None


def _tell_marks(entry: messages.FetchResponse.PartitionData, log: PartitionLog) -> None:
    entry.high_watermark = Offset(log.high_watermark)
    entry.last_stable_offset = Offset(log.last_stable_offset)
    entry.log_start_offset = Offset(log.log_start_offset)


_CANNOT_CONVERT = {ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, ErrorCode.UNSUPPORTED_VERSION}
"""Answered as if the partition had not been looked at."""

_SESSION_ERRORS = {
    ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
    ErrorCode.INVALID_FETCH_SESSION_EPOCH,
    ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR,
}
