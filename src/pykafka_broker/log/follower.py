"""Following one leader: what to ask it next, and what to do with its answers (Kafka's ``ReplicaFetcherThread``).

Everything that one broker follows of another over one connection. Questions come out and answers go in; who sends them,
and when, is ``runtime/replication.py``'s. A log is filled from its end, cut back to where it parts from the leader's
when that is found out (the answer to a fetch says so, KIP-595), and begun anew when the leader's begins behind its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from msgspec import Struct, field

from pykafka_broker.log.fetch_session import FetchSession, Wish
from pykafka_broker.log.partition import OffsetsOutOfOrder, Origin, PartitionLog
from pykafka_broker.log.throttle import UNTHROTTLED, Throttle
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_EPOCH, BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact, Level
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import CorruptBatch
from pykafka_broker.wire.pieces import FilePieces

_FETCH_WITH_IDS, _FETCH_WITH_NAMES = 17, 12
_LIST_OFFSETS = 9
_LATEST, _EARLIEST = -1, -2
_SOON_MS = 50
_ABOUT_TO_LEAD = {ErrorCode.UNKNOWN_LEADER_EPOCH, ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.UNKNOWN_TOPIC_ID}
"""Who answers so has most likely not heard yet what the controller has told us: ask again soon, then ever later."""
_SESSION_IS_OVER = {
    ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
    ErrorCode.INVALID_FETCH_SESSION_EPOCH,
    ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR,
    ErrorCode.INCONSISTENT_TOPIC_ID,
}


class Source(Protocol):
    """What is followed: a ``Leadership`` of another broker."""

    partition: TopicPartition
    topic_id: TopicId
    log: PartitionLog
    leader_epoch: LeaderEpoch


class FollowerSettings(Protocol):
    """What of the broker's settings matters here; ``BrokerSettings`` has it."""

    @property
    def replica_fetch_max_bytes(self) -> int: ...
    @property
    def replica_fetch_response_max_bytes(self) -> int: ...
    @property
    def replica_fetch_min_bytes(self) -> int: ...
    @property
    def replica_fetch_wait_max_ms(self) -> int: ...
    @property
    def replica_fetch_backoff_ms(self) -> int: ...


class Question(Struct, frozen=True):
    """One request to the leader, in the version to be used among brokers."""

    api: str
    version: int
    body: Any


class Taken(Struct):
    """What an answer has changed."""

    grown: list[TopicPartition] = field(default_factory=list)
    """Logs that have more, or fewer, records than before."""
    committed: list[TopicPartition] = field(default_factory=list)
    """Logs of which more is committed."""


class _Followed(Struct, eq=False):
    source: Source
    leader_epoch: LeaderEpoch
    leader_end: int = -1
    """Where the leader's log ended when that had to be found out."""
    is_in_sync: bool = False
    refusals: int = 0
    """How often in a row the leader has said that it does not know yet that it leads."""


class Follower:
    """Partitions followed over one connection. Call ``take`` or ``failed`` for each question before the next."""

    def __init__(
        self,
        me: BrokerId,
        settings: FollowerSettings,
        note: Callable[[Fact], None],
        throttle: Throttle = UNTHROTTLED,
    ) -> None:
        self.broker_epoch = -1
        """Of our own registration."""
        self._me = me
        self._settings = settings
        self._note = note
        self._throttle = throttle
        self._followed: dict[TopicPartition, _Followed] = {}
        self._session = FetchSession()
        self._changed: dict[TopicPartition, None] = {}
        """Partitions of which the leader may have to be told something new."""
        self._resting: dict[TopicPartition, Millis] = {}
        """Until when nothing is asked of a partition."""
        self._lost: dict[TopicPartition, None] = {}
        """Partitions of which the leader does not have what we asked for: first find out what it has."""

    def __len__(self) -> int:
        return len(self._followed)

    def follow(self, now: Millis, source: Source) -> None:
        """Follow a partition from now on, in its present leader epoch."""
        log = source.log
        if log.latest_epoch < 0 and log.log_end_offset > log.high_watermark:
            # Nobody can tell where such a log parts from the leader's; what is committed is the same.
            log.truncate_to(log.high_watermark, now)
        self._drop(source.partition)
        self._followed[source.partition] = _Followed(source, source.leader_epoch)

    def unfollow(self, partition: TopicPartition) -> None:
        """Forget about a partition."""
        self._drop(partition)

    def _drop(self, partition: TopicPartition) -> None:
        self._followed.pop(partition, None)
        self._resting.pop(partition, None)
        self._lost.pop(partition, None)
        self._changed[partition] = None

    # Asking

    def next_question(self, now: Millis) -> Question | None:
        """What to ask now; ``None``: nothing before ``next_deadline``, or before something is followed."""
        for partition in [partition for partition, until in self._resting.items() if until <= now]:
            del self._resting[partition]
            self._changed[partition] = None
        lost = [self._followed[partition] for partition in self._lost if partition not in self._resting]
        if lost:
            return self._where_logs_lie(lost)
        return self._fetch(now)

    def next_deadline(self) -> Millis | None:
        """When a partition that rests has rested enough."""
        return min(self._resting.values(), default=None)

    def _where_logs_lie(self, lost: list[_Followed]) -> Question:
        """Where the leader's logs end, or, for those that do not end before ours, where they begin."""
        request = messages.ListOffsetsRequest
        topics: dict[str, messages.ListOffsetsRequest.Topic] = {}
        for one in lost:
            name, index = one.source.partition
            topic = topics.get(name)
            if topic is None:
                topic = topics[name] = request.Topic(name=name)
            topic.partitions.append(
                request.Partition(
                    partition_index=index,
                    current_leader_epoch=one.leader_epoch,
                    timestamp=_LATEST if one.leader_end < 0 else _EARLIEST,
                )
            )
        body = request(replica_id=self._me, topics=list(topics.values()))
        return Question("ListOffsets", _LIST_OFFSETS, body)

    def _fetch(self, now: Millis) -> Question | None:
        session, settings = self._session, self._settings
        considered: Iterable[TopicPartition] = self._followed if session.is_full else tuple(self._changed)
        wishes, forgotten = {}, []
        for partition in considered:
            one = self._followed.get(partition)
            if one is not None and self._may_fetch(now, partition, one):
                wishes[partition] = self._wish(one)
            elif not session.is_full:
                forgotten.append(partition)
        self._changed.clear()
        topics, gone = session.request(wishes, forgotten, settings.replica_fetch_max_bytes)
        if not session.told:
            session.restart()
            return None
        request = messages.FetchRequest
        version = _FETCH_WITH_IDS if session.has_ids else _FETCH_WITH_NAMES
        body = request(
            max_wait_ms=settings.replica_fetch_wait_max_ms,
            min_bytes=settings.replica_fetch_min_bytes,
            max_bytes=settings.replica_fetch_response_max_bytes,
            session_id=session.session_id,
            session_epoch=session.epoch,
            topics=topics,
            forgotten_topics_data=gone,
        )
        if version == _FETCH_WITH_IDS:
            body.replica_state = request.ReplicaState(replica_id=self._me, replica_epoch=self.broker_epoch)
        else:
            body.replica_id = self._me
        return Question("Fetch", version, body)

    def _may_fetch(self, now: Millis, partition: TopicPartition, one: _Followed) -> bool:
        if partition in self._resting or partition in self._lost:
            return False
        if not one.is_in_sync and self._throttle.holds_back(partition):
            self._resting[partition] = Millis(now + self._settings.replica_fetch_backoff_ms)
            return False
        return True

    @staticmethod
    def _wish(one: _Followed) -> Wish:
        log = one.source.log
        return Wish(one.source.topic_id, log.log_end_offset, log.log_start_offset, one.leader_epoch, log.latest_epoch)

    # Answers

    def take(self, now: Millis, question: Question, response: Any) -> Taken:
        """Do what the answer asks for; one that came too late for a partition is no answer to it."""
        taken = Taken()
        if question.api == "ListOffsets":
            self._find_back(now, question.body, response, taken)
            return taken
        code = ErrorCode.of(response.error_code)
        if code in _SESSION_IS_OVER:
            self._session.restart()
            return taken
        if code is not ErrorCode.NONE:
            self.failed(now)
            return taken
        self._session.answered(response.session_id)
        for partition, entry in self._entries(response):
            one, wish = self._followed.get(partition), self._session.told.get(partition)
            if one is None or wish is None or partition in self._changed:
                # Followed no more, or otherwise than when the leader was asked.
                continue
            if wish.fetch_offset == one.source.log.log_end_offset:
                self._take_one(now, partition, one, entry, taken)
        return taken

    def _entries(
        self, response: messages.FetchResponse
    ) -> Iterator[tuple[TopicPartition, messages.FetchResponse.PartitionData]]:
        for topic in response.responses:
            name = topic.topic or self._session.name(topic.topic_id)
            if name is not None:
                for entry in topic.partitions:
                    yield TopicPartition(name, entry.partition_index), entry

    def _take_one(
        self,
        now: Millis,
        partition: TopicPartition,
        one: _Followed,
        entry: messages.FetchResponse.PartitionData,
        taken: Taken,
    ) -> None:
        code = ErrorCode.of(entry.error_code)
        try:
            if code is ErrorCode.NONE:
                if entry.diverging_epoch.epoch >= 0 or entry.diverging_epoch.end_offset >= 0:
                    self._part(now, one, entry, taken)
                else:
                    self._append(now, one, entry, taken)
            elif code is ErrorCode.OFFSET_OUT_OF_RANGE:
                self._lost[partition], one.leader_end = None, -1
            elif code is ErrorCode.FENCED_LEADER_EPOCH:
                # There is a newer leader; the controller will tell us, too.
                self._say("FollowingFenced", partition, leader_epoch=one.leader_epoch)
                self.unfollow(partition)
            elif code in _ABOUT_TO_LEAD:
                one.refusals += 1
                self._rest(now, partition, code.name, _SOON_MS << min(one.refusals - 1, 10))
            else:
                self._rest(now, partition, code.name)
        except CorruptBatch as problem:
            self._rest(now, partition, str(problem))
        except OffsetsOutOfOrder as problem:
            self._say("FollowingFailed", partition, Level.ERROR, problem=str(problem))
            self.unfollow(partition)
        except KafkaError:
            # The disk has failed, and whoever keeps the log has been told.
            self.unfollow(partition)
        self._changed[partition] = None

    def _append(self, now: Millis, one: _Followed, entry: messages.FetchResponse.PartitionData, taken: Taken) -> None:
        log, partition = one.source.log, one.source.partition
        one.refusals = 0
        records = entry.records
        assert not isinstance(records, FilePieces), "what was received is in memory"
        if entry.log_start_offset == log.log_end_offset:
            # All that is here has been deleted there. The batch in which the leader's log begins may reach back into
            # it, and even into records that the leader never had: its epochs are told from the log's start on only.
            self._commit(one, entry, taken)
        if records:
            before = log.log_end_offset
            log.append(now, records, leader_epoch=NO_EPOCH, origin=Origin.REPLICATION)
            if log.log_end_offset != before:
                taken.grown.append(partition)
            self._throttle.moved(partition, len(records))
        self._commit(one, entry, taken)
        one.is_in_sync = log.log_end_offset >= entry.high_watermark

    @staticmethod
    def _commit(one: _Followed, entry: messages.FetchResponse.PartitionData, taken: Taken) -> None:
        """Take over how much is committed at the leader, and where its log begins."""
        log = one.source.log
        if log.advance_high_watermark(entry.high_watermark):
            taken.committed.append(one.source.partition)
        if entry.log_start_offset > log.log_start_offset:
            log.advance_log_start(min(entry.log_start_offset, log.high_watermark))

    def _part(self, now: Millis, one: _Followed, entry: messages.FetchResponse.PartitionData, taken: Taken) -> None:
        """Cut the log back to where it parts from the leader's (``AbstractFetcherThread.getOffsetTruncationState``).

        Where the leader knows an epoch that we do not, the end of ours before it is only a step: the next fetch tells.
        """
        log, leaders = one.source.log, entry.diverging_epoch
        is_all = False
        if leaders.end_offset < 0:
            cut = log.high_watermark
        elif leaders.epoch < 0:
            cut = leaders.end_offset
        else:
            ours = log.end_of_epoch(leaders.epoch)
            is_all = ours.epoch == leaders.epoch
            if ours.end_offset < 0:
                cut = leaders.end_offset
            elif not is_all:
                cut = ours.end_offset
            else:
                cut = min(ours.end_offset, leaders.end_offset)
        cut = min(cut, log.log_end_offset)
        if cut < log.high_watermark:
            self._say("CommittedRecordsCut", one.source.partition, Level.WARNING, cut_to=cut, was=log.high_watermark)
        log.truncate_to(cut, now)
        taken.grown.append(one.source.partition)
        if is_all:
            # What is left is the leader's, too, or deleted there: the leader may not tell again how much of it is
            # committed, and nobody must read here meanwhile what is not.
            self._commit(one, entry, taken)

    def _find_back(
        self, now: Millis, asked: messages.ListOffsetsRequest, response: messages.ListOffsetsResponse, taken: Taken
    ) -> None:
        """After OFFSET_OUT_OF_RANGE (``AbstractFetcherThread.fetchOffsetAndTruncate``)."""
        timestamps = {
            TopicPartition(topic.name, one.partition_index): (one.timestamp, one.current_leader_epoch)
            for topic in asked.topics
            for one in topic.partitions
        }
        for topic in response.topics:
            for told in topic.partitions:
                partition = TopicPartition(topic.name, told.partition_index)
                one = self._followed.get(partition)
                timestamp, epoch = timestamps.get(partition, (0, NO_EPOCH))
                if one is None or partition not in self._lost or epoch != one.leader_epoch:
                    continue
                code = ErrorCode.of(told.error_code)
                if code is ErrorCode.FENCED_LEADER_EPOCH:
                    self.unfollow(partition)
                elif code is not ErrorCode.NONE or told.offset < 0:
                    self._rest(now, partition, code.name)
                else:
                    try:
                        self._found(now, one, timestamp, told.offset, taken)
                    except KafkaError:
                        self.unfollow(partition)

    def _found(self, now: Millis, one: _Followed, timestamp: int, offset: int, taken: Taken) -> None:
        log, partition = one.source.log, one.source.partition
        if timestamp == _LATEST:
            if offset >= log.log_end_offset:
                one.leader_end = offset
                return
            # The leader was elected uncleanly and never had the rest.
            self._say("LogAheadOfLeader", partition, Level.WARNING, end=log.log_end_offset, leaders_end=offset)
            log.truncate_to(offset, now)
        elif offset > log.log_end_offset:
            self._say("LogTooFarBehind", partition, Level.WARNING, end=log.log_end_offset, leaders_start=offset)
            log.restart_at(offset, now)
        taken.grown.append(partition)
        one.leader_end = -1
        self._lost.pop(partition, None)
        self._changed[partition] = None

    def failed(self, now: Millis) -> None:
        """There was no answer: the session is over, and everything rests a while."""
        self._session.restart()
        self._resting = dict.fromkeys(self._followed, Millis(now + self._settings.replica_fetch_backoff_ms))

    def _rest(self, now: Millis, partition: TopicPartition, why: str, limit_ms: int | None = None) -> None:
        """Ask nothing of a partition for ``replica.fetch.backoff.ms``, or less."""
        rest_ms = self._settings.replica_fetch_backoff_ms
        rest_ms = rest_ms if limit_ms is None else min(rest_ms, limit_ms)
        self._resting[partition] = Millis(now + rest_ms)
        self._changed[partition] = None
        self._say("FollowingRests", partition, why=why)

    def _say(self, name: str, partition: TopicPartition, level: Level = Level.INFO, **fields: object) -> None:
        self._note(Fact(name, level, {"partition": str(partition), **fields}))
