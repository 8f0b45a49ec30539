"""Fetch sessions (KIP-227): what a client keeps fetching is said once, and then only what changes.

A session remembers the partitions asked for, in the order in which they are served, and what was last told of each.
The cache has a fixed number of slots; a full cache evicts what has not been used for two minutes, and followers
(privileged) may push out consumers. Kafka: ``FetchSession.scala``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID

from msgspec import Struct, field

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_TOPIC_ID
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages

EVICTION_MS = 120_000
SESSIONLESS = 0
INITIAL_EPOCH = 0
FINAL_EPOCH = -1
FIRST_VERSION_WITH_IDS = 13

Key = tuple[str | UUID, int]
"""A topic's name, or its id where the client fetches by id; and the partition."""


class Wanted(Struct):
    """One partition of a fetch: what the client asks, and what it was last told."""

    topic: str
    topic_id: UUID
    partition: int
    fetch_offset: int = 0
    max_bytes: int = 0
    current_leader_epoch: int = -1
    last_fetched_epoch: int = -1
    log_start_offset: int = -1
    told_high_watermark: int = -1
    told_log_start_offset: int = -1
    quiet: Any = None
    """What whoever reads keeps of a partition that had nothing new; gone when the client asks something else of it."""

    def asks(self, asked: messages.FetchRequest.Partition) -> None:
        """Take over what the client asks now."""
        self.quiet = None
        self.fetch_offset = asked.fetch_offset
        self.max_bytes = asked.partition_max_bytes
        self.current_leader_epoch = asked.current_leader_epoch
        self.last_fetched_epoch = asked.last_fetched_epoch
        self.log_start_offset = asked.log_start_offset

    def has_news(self, told: messages.FetchResponse.PartitionData) -> bool:
        """Whether an incremental answer must mention this partition; remembers what it tells."""
        news = bool(told.records) or told.preferred_read_replica != -1 or told.error_code != 0
        news = news or told.diverging_epoch.epoch >= 0
        if told.high_watermark != self.told_high_watermark:
            self.told_high_watermark = told.high_watermark
            news = True
        if told.log_start_offset != self.told_log_start_offset:
            self.told_log_start_offset = told.log_start_offset
            news = True
        if told.error_code or told.diverging_epoch.epoch >= 0:
            # The partition is told again as soon as the error is over, or the reader's log has been cut.
            self.told_high_watermark = -1
        return news


class FetchSession(Struct):
    """What one client keeps fetching."""

    session_id: int
    uses_ids: bool
    is_privileged: bool
    created_ms: Millis
    last_used_ms: Millis
    partitions: dict[Key, Wanted]
    next_epoch: int = 1

    def advance(self, now: Millis) -> None:
        """The client's next request carries the next epoch, which wraps to 1."""
        self.next_epoch = 1 if self.next_epoch == 2**31 - 1 else self.next_epoch + 1
        self.last_used_ms = now


class FetchPlan(Struct):
    """The partitions one request wants, and how its answer is worded."""

    partitions: dict[Key, Wanted]
    session: FetchSession | None = None
    is_incremental: bool = False
    wants_session: bool = False
    uses_ids: bool = False
    is_privileged: bool = False

    def __iter__(self) -> Iterator[Wanted]:
        return iter(self.partitions.values())


class FetchSessions(Struct):
    """All sessions of this broker. ``new_id`` gives a random id between 1 and 2**31-1."""

    slots: int
    new_id: Callable[[], int]
    sessions: dict[int, FetchSession] = field(default_factory=dict)

    def plan(self, now: Millis, version: int, body: messages.FetchRequest) -> FetchPlan:
        """What the request wants; ``KafkaError`` where it names a session that is not (or not so) here."""
        uses_ids = version >= FIRST_VERSION_WITH_IDS
        is_privileged = body.replica_id >= 0 or body.replica_state.replica_id >= 0
        if version < 7 or body.session_epoch in (INITIAL_EPOCH, FINAL_EPOCH):
            if body.session_id != SESSIONLESS:
                self.sessions.pop(body.session_id, None)
            partitions = dict(_asked(body.topics, uses_ids))
            wants = version >= 7 and body.session_epoch == INITIAL_EPOCH and bool(partitions)
            return FetchPlan(partitions, None, False, wants, uses_ids, is_privileged)
        session = self.sessions.get(body.session_id)
        if session is None:
            raise KafkaError(ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        if session.next_epoch != body.session_epoch:
            raise KafkaError(ErrorCode.INVALID_FETCH_SESSION_EPOCH)
        if session.uses_ids != uses_ids:
            raise KafkaError(ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR)
        self._update(session, body)
        if not session.partitions:
            del self.sessions[session.session_id]
            return FetchPlan({}, uses_ids=uses_ids)
        session.advance(now)
        return FetchPlan(session.partitions, session, True, uses_ids=uses_ids)

    @staticmethod
    def _update(session: FetchSession, body: messages.FetchRequest) -> None:
        known = session.partitions
        for topic in body.topics:
            name: str | UUID = topic.topic_id if session.uses_ids else topic.topic
            for asked in topic.partitions:
                wanted = known.get((name, asked.partition))
                if wanted is None:
                    wanted = known[name, asked.partition] = Wanted(topic.topic, topic.topic_id, asked.partition)
                wanted.asks(asked)
        for forgotten in body.forgotten_topics_data:
            name = forgotten.topic_id if session.uses_ids else forgotten.topic
            for partition in forgotten.partitions:
                known.pop((name, partition), None)

    def settle(
        self, now: Millis, plan: FetchPlan, told: Iterable[tuple[Key, messages.FetchResponse.PartitionData]]
    ) -> tuple[int, list[tuple[Key, messages.FetchResponse.PartitionData]]]:
        """The session id of the answer, and those of the partitions read that it must mention."""
        if not plan.is_incremental:
            entries = list(told)
            if not plan.wants_session:
                return SESSIONLESS, entries
            for key, entry in entries:
                plan.partitions[key].has_news(entry)
            return self._open(now, plan), entries
        assert plan.session is not None
        mentioned = []
        for key, entry in told:
            wanted = plan.partitions.get(key)
            if wanted is None or not wanted.has_news(entry):
                continue
            mentioned.append((key, entry))
            if entry.records:
                # Fairness: who was given data goes to the end of the line.
                del plan.partitions[key]
                plan.partitions[key] = wanted
        return plan.session.session_id, mentioned

    def _open(self, now: Millis, plan: FetchPlan) -> int:
        if len(self.sessions) >= self.slots and not self._evict(now, plan):
            return SESSIONLESS
        session_id = self.new_id()
        while session_id in self.sessions or session_id == SESSIONLESS:
            session_id = self.new_id()
        self.sessions[session_id] = FetchSession(
            session_id, plan.uses_ids, plan.is_privileged, now, now, plan.partitions
        )
        return session_id

    def _evict(self, now: Millis, plan: FetchPlan) -> bool:
        """Make room by closing the stalest session, or a lesser one than the newcomer (``tryEvict``)."""
        if not self.sessions:
            return False
        stalest = min(self.sessions.values(), key=lambda session: session.last_used_ms)
        if now - stalest.last_used_ms > EVICTION_MS:
            del self.sessions[stalest.session_id]
            return True
        evictable = [
            session
            for session in self.sessions.values()
            if now - session.created_ms > EVICTION_MS or (plan.is_privileged and not session.is_privileged)
        ]
        if not evictable:
            return False
        least = min(evictable, key=lambda session: (session.is_privileged, len(session.partitions)))
        if (plan.is_privileged, len(plan.partitions)) < (least.is_privileged, len(least.partitions)):
            return False
        del self.sessions[least.session_id]
        return True


def _asked(topics: Iterable[Any], uses_ids: bool) -> Iterator[tuple[Key, Wanted]]:
    for topic in topics:
        name: str | UUID = topic.topic_id if uses_ids else topic.topic
        for asked in topic.partitions:
            wanted = Wanted(
                "" if uses_ids else topic.topic, topic.topic_id if uses_ids else NO_TOPIC_ID, asked.partition
            )
            wanted.asks(asked)
            yield (name, asked.partition), wanted
