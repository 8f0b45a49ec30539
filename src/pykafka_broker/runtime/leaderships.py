"""What this broker leads: its replicas, obeying the controller's LeaderAndIsr and StopReplica.

Creates and deletes logs through the log keeper, begins leader epochs, moves the high watermark while this broker is
the only replica in sync, and tells coordinators when they gain or lose a partition. Following another leader is
``replication``'s business. The checks are those of ``ReplicaManager.becomeLeaderOrFollower`` and ``stopReplicas``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from itertools import count
from typing import Any, NamedTuple, Protocol, TypeVar

import trio
from msgspec import Struct, field

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.control.topics import is_legal_name
from pykafka_broker.log.partition import PartitionLog
from pykafka_broker.log.replicas import Replicas
from pykafka_broker.log.slice import Appended, EpochEnd
from pykafka_broker.log.validation import Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import (
    NO_BROKER,
    NO_EPOCH,
    NO_TOPIC_ID,
    BrokerId,
    LeaderEpoch,
    Offset,
    TopicId,
    TopicPartition,
)
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import Clock, wall_clock
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.wire import messages

_Answer = TypeVar("_Answer")

_PARTITIONS_AT_ONCE = 10
"""A partition's files are made in a third of a millisecond."""

UNKNOWN_EPOCH = -1
"""A leader epoch in StopReplica that no replica's own epoch fences; -2, "during delete", is the other."""


class Logs(Protocol):
    """What is needed of ``LogKeeper``."""

    def get(self, partition: TopicPartition) -> PartitionLog | None:
        """The log of a partition, if this broker has one."""
        ...

    def create(self, partition: TopicPartition, topic_id: TopicId, settings: TopicSettings) -> PartitionLog:
        """Make an empty log; KAFKA_STORAGE_ERROR if the disk will not."""
        ...

    def delete(self, partition: TopicPartition) -> None:
        """Let the log go; its files follow later."""
        ...


class Surroundings(Struct):
    """What every leadership needs of the broker around it."""

    settings: Callable[[str], TopicSettings]
    changes: Changes
    metadata: Metadata
    clock: Clock
    lag_time_max_ms: int
    propose_isr: Callable[[Leadership], None] = lambda leadership: None
    """Told of a leadership whose followers have a ``pending`` change; nobody is told while the broker is alone."""


class LogEnd(NamedTuple):
    """The bell that rings when a partition's log has grown; followers wait for it, the others for what is committed."""

    partition: TopicPartition


class Leadership(Struct, eq=False):
    """This broker's part in one partition, as leader or as follower, and its log."""

    partition: TopicPartition
    topic_id: TopicId
    log: PartitionLog
    me: BrokerId
    leader: BrokerId
    leader_epoch: LeaderEpoch
    partition_epoch: int
    replicas: tuple[BrokerId, ...]
    surroundings: Surroundings
    term: int = 0
    """Grows whenever this broker ceases to lead: what was appended in an earlier term may have been cut off since."""
    followers: Replicas = field(default_factory=Replicas)
    epoch_start: int = 0
    """Where the log ended when the leader epoch began."""
    is_stopped: bool = False
    """The controller has taken the partition away; who still waits on it must go."""

    @property
    def isr(self) -> tuple[BrokerId, ...]:
        """The replicas in sync, as the controller has written them."""
        return self.followers.isr

    @property
    def changes(self) -> Changes:
        """Rings the partition when more is committed, ``LogEnd`` when more is there."""
        return self.surroundings.changes

    @property
    def is_leader(self) -> bool:
        """Whether this broker leads the partition."""
        return self.leader == self.me and not self.is_stopped

    def require_leadership(self, term: int | None = None) -> None:
        """Raise NOT_LEADER_OR_FOLLOWER when somebody else leads by now, or has done so since that term."""
        if not self.is_leader or (term is not None and term != self.term):
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)

    def require_epoch(self, current: LeaderEpoch) -> None:
        """Raise FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH when the client knows another epoch; -1 passes."""
        if current < 0 or current == self.leader_epoch:
            return
        raise KafkaError(
            ErrorCode.FENCED_LEADER_EPOCH if current < self.leader_epoch else ErrorCode.UNKNOWN_LEADER_EPOCH
        )

    @property
    def min_isr(self) -> int:
        """How many replicas have to be in sync: no more than there are (``Partition.effectiveMinIsr``)."""
        return min(self.surroundings.settings(self.partition.topic).min_insync_replicas, len(self.replicas))

    def require_enough_replicas(self, *, after_append: bool = False) -> None:
        """Raise NOT_ENOUGH_REPLICAS(_AFTER_APPEND) when too few replicas are in sync for acks=all."""
        in_sync = len(self.followers.isr)
        if in_sync >= len(self.replicas):
            return  # no more than all can be asked for
        wanted = self.min_isr
        if in_sync < wanted:
            raise KafkaError(
                ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND if after_append else ErrorCode.NOT_ENOUGH_REPLICAS,
                f"The size of the current ISR : {in_sync} is insufficient to satisfy the min.isr requirement "
                f"of {wanted} for partition {self.partition}",
            )

    def append(self, now: Millis, batches: Any, *, origin: Origin, api_version: int) -> Appended:
        """Append batches in this leader's epoch and tell who waits for them."""
        log = self.log
        appended = log.append(now, batches, leader_epoch=self.leader_epoch, origin=origin, api_version=api_version)
        self.appended()
        return appended

    def appended(self) -> None:
        """The log has grown: followers are told, and readers if nobody else has to confirm."""
        if self.followers:
            self.surroundings.changes.ring(LogEnd(self.partition))
        self.advance_high_watermark()

    def advance_high_watermark(self) -> None:
        """Move the high watermark to what every replica in sync has, and tell who waits for that.

        Not while fewer are in sync than ``min.insync.replicas`` wants, whatever producers asked for.
        """
        if self.leader != self.me or self.is_stopped:
            return
        log, followers, around = self.log, self.followers, self.surroundings
        committed = log.log_end_offset
        if followers:
            if len(followers.isr) < self.min_isr:
                return
            committed = followers.high_watermark(
                around.clock(), committed, around.lag_time_max_ms, around.metadata.is_alive
            )
        if log.advance_high_watermark(committed):
            around.changes.ring(self.partition)

    @property
    def is_settled(self) -> bool:
        """Whether all that this leader began with is committed, so that what is told as committed never goes back."""
        return self.log.high_watermark >= self.epoch_start

    def end_of_epoch(self, epoch: LeaderEpoch) -> EpochEnd:
        """The largest epoch not above ``epoch`` and where it ends; the current one ends at the log's end."""
        return self.log.end_of_epoch(epoch)

    def delete_records(self, offset: Offset) -> Offset:
        """Move the log's start to the offset (-1: the high watermark) and give the offset meant."""
        wanted = Offset(self.log.high_watermark) if offset == -1 else offset
        self.log.delete_records(wanted)
        self.changes.ring(self.partition)
        if self.followers:
            # They learn of it by the next answer.
            self.changes.ring(LogEnd(self.partition))
        return wanted

    @property
    def low_watermark(self) -> Offset:
        """The lowest log start of all live replicas: what can no longer be read anywhere."""
        return Offset(self.followers.low_watermark(self.log.log_start_offset, self.surroundings.metadata.is_alive))

    # Followers

    def fetched(self, broker: BrokerId, offset: int, log_start_offset: int) -> None:
        """A follower asks for what comes after ``offset`` (``Partition.updateFollowerFetchState``)."""
        replica = self.followers.get(broker)
        if replica is None:
            return
        before, low = replica.log_end_offset, replica.log_start_offset
        replica.fetched(self.surroundings.clock(), offset, log_start_offset, self.log.log_end_offset)
        self.consider_joining(broker)
        if replica.log_end_offset != before:
            self.advance_high_watermark()
        if replica.log_start_offset != low:
            # Somebody may wait for records to be deleted everywhere.
            self.changes.ring(self.partition)

    def consider_joining(self, broker: BrokerId) -> None:
        """Propose that a follower joins those in sync, if it may."""
        if not self.surroundings.metadata.is_alive(broker):
            return
        if self.followers.may_join(broker, self.log.high_watermark, self.epoch_start):
            self.followers.propose_join(broker)
            self.surroundings.propose_isr(self)

    def drop_laggards(self) -> None:
        """Propose that followers go that have been behind for ``replica.lag.time.max.ms``."""
        if not self.is_leader:
            return
        around = self.surroundings
        late = self.followers.out_of_sync(around.clock(), self.log.log_end_offset, around.lag_time_max_ms)
        if late:
            self.followers.propose_leave(late)
            around.propose_isr(self)

    def isr_confirmed(self, leader_epoch: int, partition_epoch: int, isr: tuple[BrokerId, ...]) -> None:
        """The controller has answered a proposal with the state that stands now (``handleAlterPartitionUpdate``)."""
        if not self.is_leader or leader_epoch != self.leader_epoch or partition_epoch < self.partition_epoch:
            return
        self.followers.confirm(isr)
        self.partition_epoch = partition_epoch
        self.advance_high_watermark()
        # Producers and coordinators may wait for enough replicas.
        self.changes.ring(self.partition)
        for replica in self.followers:
            self.consider_joining(replica.broker)


class Leaderships:
    """All replicas this broker was told to keep."""

    def __init__(
        self,
        me: BrokerId,
        logs: Logs,
        metadata: Metadata,
        settings: Callable[[str], TopicSettings],
        changes: Changes,
        learn_settings: Callable[[str], Awaitable[object]] | None = None,
        *,
        clock: Clock = wall_clock,
        lag_time_max_ms: int = 30_000,
    ) -> None:
        """``settings`` gives a topic's effective settings, ``learn_settings`` reads them from the tree before."""
        self.me = me
        self.surroundings = Surroundings(settings, changes, metadata, clock, lag_time_max_ms)
        self.broker_epoch = -1
        """The ``czxid`` of our registration; set by whoever registers, -1 accepts every controller's."""
        self.on_lead: Callable[[TopicPartition, Leadership], None] = lambda partition, leadership: None
        self.on_resign: Callable[[TopicPartition], None] = lambda partition: None
        self.on_follow: Callable[[Leadership], None] = lambda leadership: None
        """Another broker, which is alive, leads a partition of ours, or does so in a new epoch."""
        self.on_unfollow: Callable[[TopicPartition], None] = lambda partition: None
        """Whoever leads the partition is not to be followed any more."""
        self.on_offline: Callable[[], None] = lambda: None
        """The disk of a partition has failed; the controller has to be told to ask which."""
        self.on_gone: Callable[[list[TopicPartition]], None] = lambda partitions: None
        """Partitions of the cluster, led here or elsewhere, have been deleted."""
        self._logs = logs
        self._metadata = metadata
        self._learn_settings = learn_settings
        self._changes = changes
        self._hosted: dict[TopicPartition, Leadership] = {}
        self._offline: set[TopicPartition] = set()
        self._controller_epoch = 0
        self._obeying = trio.Lock()

    @property
    def hosted(self) -> dict[TopicPartition, Leadership]:
        """Every replica kept here, led or followed."""
        return self._hosted

    def get(self, partition: TopicPartition) -> Leadership | None:
        """Our part in the partition, whatever it is."""
        return self._hosted.get(partition)

    def leader(self, partition: TopicPartition, current_epoch: LeaderEpoch = NO_EPOCH) -> Leadership:
        """The leadership of a partition led here; the client's epoch, if it gives one, must be ours.

        Raises NOT_LEADER_OR_FOLLOWER, UNKNOWN_TOPIC_OR_PARTITION, KAFKA_STORAGE_ERROR, FENCED_LEADER_EPOCH or
        UNKNOWN_LEADER_EPOCH (``ReplicaManager.getPartitionOrError``, ``Partition.localLogWithEpochOrThrow``).
        """
        found = self._hosted.get(partition)
        if found is None:
            raise self._missing(partition)
        if current_epoch >= 0 and current_epoch != found.leader_epoch:
            found.require_epoch(current_epoch)
        if found.leader != self.me:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return found

    def replica(self, partition: TopicPartition, current_epoch: LeaderEpoch = NO_EPOCH) -> Leadership:
        """Our part in a partition, led here or followed; errors as of ``leader``."""
        found = self._hosted.get(partition)
        if found is None:
            raise self._missing(partition)
        found.require_epoch(current_epoch)
        return found

    def _missing(self, partition: TopicPartition) -> KafkaError:
        if partition in self._offline:
            return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR)
        if self._metadata.partition(partition) is not None:
            return KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    # Obeying the controller

    def _controller_error(self, controller_epoch: int, broker_epoch: int) -> ErrorCode:
        if broker_epoch != -1 and broker_epoch < self.broker_epoch:
            return ErrorCode.STALE_BROKER_EPOCH
        if controller_epoch < self._controller_epoch:
            return ErrorCode.STALE_CONTROLLER_EPOCH
        self._controller_epoch = controller_epoch
        return ErrorCode.NONE

    def lead_and_follow(
        self, request: messages.LeaderAndIsrRequest, *, by_topic: bool = True
    ) -> messages.LeaderAndIsrResponse:
        """Take up the roles a LeaderAndIsr gives; the answer, by topic or flat, says which were not taken and why."""
        return _at_once(self._taking_up(request, by_topic))

    def _taking_up(
        self, request: messages.LeaderAndIsrRequest, by_topic: bool
    ) -> Generator[None, None, messages.LeaderAndIsrResponse]:
        """The same, partition by partition."""
        response = messages.LeaderAndIsrResponse
        error = self._controller_error(request.controller_epoch, request.broker_epoch)
        if error:
            return response(error_code=error)
        told = [
            (topic.topic_name, TopicId(topic.topic_id), state)
            for topic in request.topic_states
            for state in topic.partition_states
        ] + [(state.topic_name, NO_TOPIC_ID, state) for state in request.ungrouped_partition_states]
        # Whoever leads from now on must be found leading before somebody is sent there.
        told.sort(key=lambda one: one[2].leader != self.me)
        answer = response()
        topics: dict[str, messages.LeaderAndIsrResponse.TopicError] = {}
        for name, topic_id, state in told:
            found = response.PartitionError(
                partition_index=state.partition_index, error_code=self._take_up(name, topic_id, state)
            )
            if not by_topic:
                found.topic_name = name
                answer.partition_errors.append(found)
                yield
                continue
            topic = topics.get(name)
            if topic is None:
                topic = topics[name] = response.TopicError(topic_id=topic_id)
                answer.topics.append(topic)
            topic.partition_errors.append(found)
            yield
        return answer

    def _take_up(self, topic: str, topic_id: TopicId, state: messages.LeaderAndIsrRequest.PartitionState) -> ErrorCode:
        if state.partition_index < 0 or not is_legal_name(topic):
            # It would become the name of a directory, and of a node.
            return ErrorCode.INVALID_TOPIC_EXCEPTION
        partition = TopicPartition(topic, state.partition_index)
        known = self._hosted.get(partition)
        if known is not None:
            if NO_TOPIC_ID not in (topic_id, known.topic_id) and topic_id != known.topic_id:
                return ErrorCode.INCONSISTENT_TOPIC_ID
            if state.leader_epoch <= known.leader_epoch:
                if known.topic_id == NO_TOPIC_ID != topic_id and state.leader_epoch == known.leader_epoch:
                    known.log.identify(topic_id)
                    known.topic_id = topic_id
                    return ErrorCode.NONE
                # What every controller after a failover hears of the partitions that it did not change.
                return ErrorCode.STALE_CONTROLLER_EPOCH
            if state.partition_epoch < known.partition_epoch:
                return ErrorCode.NONE
        if self.me not in state.replicas:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        try:
            log = self._log(partition, topic_id)
            if known is None:
                known = self._hosted[partition] = self._unled(partition, topic_id, log)
            known.topic_id = topic_id if topic_id != NO_TOPIC_ID else known.topic_id
            if state.leader == self.me:
                self._lead(known, state)
            else:
                self._follow(known, state)
        except KafkaError as failure:
            if failure.code == ErrorCode.KAFKA_STORAGE_ERROR:
                self._offline.add(partition)
                self._let_go(partition)
            return failure.code
        self._offline.discard(partition)
        return ErrorCode.NONE

    def _log(self, partition: TopicPartition, topic_id: TopicId) -> PartitionLog:
        """The partition's log; INCONSISTENT_TOPIC_ID when it belongs to another topic of the same name.

        KAFKA_STORAGE_ERROR when its disk has failed: with that the controller hears which partitions that concerns.
        """
        log = self._logs.get(partition)
        if log is None:
            return self._logs.create(partition, topic_id, self.surroundings.settings(partition.topic))
        if log.is_offline:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR)
        log.identify(topic_id)
        return log

    def _unled(self, partition: TopicPartition, topic_id: TopicId, log: PartitionLog) -> Leadership:
        """A partition of which nothing is known yet but that it is here."""
        return Leadership(
            partition, topic_id, log, self.me, NO_BROKER, LeaderEpoch(NO_EPOCH), -1, (), self.surroundings
        )

    @staticmethod
    def _take_over(known: Leadership, state: messages.LeaderAndIsrRequest.PartitionState) -> None:
        known.leader = BrokerId(state.leader)
        known.leader_epoch = LeaderEpoch(state.leader_epoch)
        known.partition_epoch = state.partition_epoch
        known.replicas = tuple(BrokerId(broker) for broker in state.replicas)

    def _lead(self, known: Leadership, state: messages.LeaderAndIsrRequest.PartitionState) -> None:
        """``Partition.makeLeader``; a new epoch begins with each request that gets here."""
        was_leader = known.is_leader
        if not was_leader:
            self.on_unfollow(known.partition)
        self._take_over(known, state)
        log = known.log
        log.assign_epoch(known.leader_epoch)
        known.epoch_start = log.log_end_offset
        known.followers.lead(
            self.surroundings.clock(),
            self.me,
            known.replicas,
            tuple(BrokerId(broker) for broker in state.isr),
            log.log_end_offset,
            is_new_leader=not was_leader,
        )
        known.advance_high_watermark()
        if not was_leader:
            self.on_lead(known.partition, known)
        self._ring(known.partition)

    def _follow(self, known: Leadership, state: messages.LeaderAndIsrRequest.PartitionState) -> None:
        """``Partition.makeFollower``. A leader that nobody knows to be alive is not followed, nor remembered."""
        was_leader = known.is_leader
        is_alive = self._metadata.is_alive(BrokerId(state.leader))
        if is_alive or was_leader:
            self.on_unfollow(known.partition)
            self._take_over(known, state)
            known.followers.clear()
            known.followers.isr = tuple(BrokerId(broker) for broker in state.isr)
        if was_leader:
            known.term += 1
            self.on_resign(known.partition)
        if is_alive:
            self.on_follow(known)
        self._ring(known.partition)

    def _ring(self, partition: TopicPartition) -> None:
        """Whoever waits on the partition, for whatever, has to look again."""
        self._changes.ring(partition)
        self._changes.ring(LogEnd(partition))

    def went_offline(self, partitions: Sequence[TopicPartition]) -> None:
        """The partitions' disk has failed while it was used: they are served no more."""
        lost = [partition for partition in partitions if partition in self._hosted]
        for partition in lost:
            self._offline.add(partition)
            self._let_go(partition)
        if lost:
            self.on_offline()

    def stop(self, request: messages.StopReplicaRequest) -> messages.StopReplicaResponse:
        """Let go of the partitions a StopReplica names, and of their logs where it says so."""
        return _at_once(self._stopping(request))

    def _stopping(self, request: messages.StopReplicaRequest) -> Generator[None, None, messages.StopReplicaResponse]:
        """The same, partition by partition."""
        response = messages.StopReplicaResponse
        error = self._controller_error(request.controller_epoch, request.broker_epoch)
        if error:
            return response(error_code=error)
        answer = response()

        def stopped(topic: str, index: int, epoch: int, *, delete: bool) -> None:
            code = self._stop(TopicPartition(topic, index), epoch, delete=delete)
            answer.partition_errors.append(
                response.PartitionError(topic_name=topic, partition_index=index, error_code=code)
            )

        for told in request.topic_states:
            for one in told.partition_states:
                stopped(told.topic_name, one.partition_index, one.leader_epoch, delete=one.delete_partition)
                yield
        for topic in request.topics:
            for index in topic.partition_indexes:
                stopped(topic.name, index, UNKNOWN_EPOCH, delete=request.delete_partitions)
                yield
        for old in request.ungrouped_partitions:
            stopped(old.topic_name, old.partition_index, UNKNOWN_EPOCH, delete=request.delete_partitions)
            yield
        return answer

    def _stop(self, partition: TopicPartition, epoch: int, *, delete: bool) -> ErrorCode:
        known = self._hosted.get(partition)
        if partition in self._offline:
            return ErrorCode.KAFKA_STORAGE_ERROR
        if known is not None and epoch >= 0 and epoch < known.leader_epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        if delete:
            self._let_go(partition)
        else:
            self.on_unfollow(partition)
        if delete and self._logs.get(partition) is not None:
            try:
                self._logs.delete(partition)
            except KafkaError as failure:
                return failure.code
        return ErrorCode.NONE

    def _let_go(self, partition: TopicPartition) -> None:
        """Serve the partition no more; those who wait on it are woken to find that out."""
        known = self._hosted.pop(partition, None)
        if known is not None:
            self.on_unfollow(partition)
            if known.is_leader:
                self.on_resign(partition)
            known.is_stopped = True
            self._ring(partition)

    def update_metadata(self, request: messages.UpdateMetadataRequest) -> messages.UpdateMetadataResponse:
        """Pass an UpdateMetadata on to the cache, unless it comes from a controller or a life that is over."""
        error = self._controller_error(request.controller_epoch, request.broker_epoch)
        if error:
            return messages.UpdateMetadataResponse(error_code=error)
        error, gone = self._metadata.update(request)
        if gone:
            self.on_gone(gone)
        return messages.UpdateMetadataResponse(error_code=error)

    async def obey(self, request: Any, *, by_topic: bool = True) -> Any:
        """Answer whichever of the controller's three requests this is; settings of new topics are read first.

        One request after the other, each to its end; clients get their turn between some partitions and the next.
        """
        if isinstance(request, messages.LeaderAndIsrRequest):
            for topic in request.topic_states:
                if (
                    self._learn_settings is not None
                    and is_legal_name(topic.topic_name)
                    and any(
                        TopicPartition(topic.topic_name, state.partition_index) not in self._hosted
                        for state in topic.partition_states
                    )
                ):
                    await self._learn_settings(topic.topic_name)
        async with self._obeying:
            if isinstance(request, messages.LeaderAndIsrRequest):
                return await _in_turns(self._taking_up(request, by_topic))
            if isinstance(request, messages.UpdateMetadataRequest):
                return self.update_metadata(request)
            return await _in_turns(self._stopping(request))


def _at_once(steps: Generator[None, None, _Answer]) -> _Answer:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            answer: _Answer = stop.value
            return answer


async def _in_turns(steps: Generator[None, None, _Answer]) -> _Answer:
    """It takes a while to make the files of many partitions, or to move them away; nothing is left half done."""
    with trio.CancelScope(shield=True):
        for number in count(1):
            try:
                next(steps)
            except StopIteration as stop:
                answer: _Answer = stop.value
                return answer
            if number % _PARTITIONS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
    raise AssertionError("steps end")
