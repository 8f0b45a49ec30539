"""What this broker leads: its replicas, obeying the controller's LeaderAndIsr and StopReplica.

Creates and deletes logs through the log keeper, begins leader epochs, moves the high watermark while this broker is
the only replica in sync, and tells coordinators when they gain or lose a partition. Following another leader is
``replication``'s business. The checks are those of ``ReplicaManager.becomeLeaderOrFollower`` and ``stopReplicas``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.partition import PartitionLog
from pykafka_broker.log.slice import Appended, EpochEnd
from pykafka_broker.log.validation import Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_EPOCH, NO_TOPIC_ID, BrokerId, LeaderEpoch, Offset, TopicId, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.wire import messages

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


@dataclass(slots=True, eq=False)
class Leadership:
    """This broker's part in one partition, as leader or as follower, and its log."""

    partition: TopicPartition
    topic_id: TopicId
    log: PartitionLog
    me: BrokerId
    leader: BrokerId
    leader_epoch: LeaderEpoch
    partition_epoch: int
    isr: tuple[BrokerId, ...]
    replicas: tuple[BrokerId, ...]
    settings: Callable[[str], TopicSettings]
    changes: Changes
    is_stopped: bool = False
    """The controller has taken the partition away; who still waits on it must go."""

    @property
    def is_leader(self) -> bool:
        """Whether this broker leads the partition."""
        return self.leader == self.me and not self.is_stopped

    def require_leadership(self) -> None:
        """Raise NOT_LEADER_OR_FOLLOWER when somebody else leads by now."""
        if not self.is_leader:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)

    def require_epoch(self, current: LeaderEpoch) -> None:
        """Raise FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH when the client knows another epoch; -1 passes."""
        if current < 0 or current == self.leader_epoch:
            return
        raise KafkaError(
            ErrorCode.FENCED_LEADER_EPOCH if current < self.leader_epoch else ErrorCode.UNKNOWN_LEADER_EPOCH
        )

    def require_enough_replicas(self, *, after_append: bool = False) -> None:
        """Raise NOT_ENOUGH_REPLICAS(_AFTER_APPEND) when too few replicas are in sync for acks=all.

        A topic cannot ask for more replicas than it has (``Partition.effectiveMinIsr``).
        """
        wanted = min(self.settings(self.partition.topic).min_insync_replicas, len(self.replicas))
        if len(self.isr) < wanted:
            raise KafkaError(
                ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND if after_append else ErrorCode.NOT_ENOUGH_REPLICAS,
                f"The size of the current ISR : {len(self.isr)} is insufficient to satisfy the min.isr requirement "
                f"of {wanted} for partition {self.partition}",
            )

    def append(self, now: Millis, batches: Any, *, origin: Origin, api_version: int) -> Appended:
        """Append batches in this leader's epoch and tell who waits for them."""
        log = self.log
        appended = log.append(now, batches, leader_epoch=self.leader_epoch, origin=origin, api_version=api_version)
        self.appended()
        return appended

    def appended(self) -> None:
        """The log has grown: the high watermark follows if nobody else has to confirm."""
        self.advance_high_watermark()
        self.changes.ring(self.partition)

    def advance_high_watermark(self) -> None:
        """Move the high watermark to what every replica in sync has; alone in sync, that is everything."""
        if self.is_leader and self.isr == (self.me,):
            self.log.advance_high_watermark(self.log.log_end_offset)

    def end_of_epoch(self, epoch: LeaderEpoch) -> EpochEnd:
        """The largest epoch not above ``epoch`` and where it ends; the current one ends at the log's end."""
        return self.log.end_of_epoch(epoch)

    def delete_records(self, offset: Offset) -> Offset:
        """Move the log's start to the offset (-1: the high watermark) and give the offset meant."""
        wanted = Offset(self.log.high_watermark) if offset == -1 else offset
        self.log.delete_records(wanted)
        self.changes.ring(self.partition)
        return wanted

    @property
    def low_watermark(self) -> Offset:
        """The lowest log start of all live replicas: what can no longer be read anywhere."""
        return Offset(self.log.log_start_offset)


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
    ) -> None:
        """``settings`` gives a topic's effective settings, ``learn_settings`` reads them from the tree before."""
        self.me = me
        self.broker_epoch = -1
        """The ``czxid`` of our registration; set by whoever registers, -1 accepts every controller's."""
        self.on_lead: Callable[[TopicPartition, Leadership], None] = lambda partition, leadership: None
        self.on_resign: Callable[[TopicPartition], None] = lambda partition: None
        self.on_gone: Callable[[list[TopicPartition]], None] = lambda partitions: None
        """Partitions of the cluster, led here or elsewhere, have been deleted."""
        self._logs = logs
        self._metadata = metadata
        self._settings = settings
        self._learn_settings = learn_settings
        self._changes = changes
        self._hosted: dict[TopicPartition, Leadership] = {}
        self._offline: set[TopicPartition] = set()
        self._controller_epoch = 0

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

    def lead_and_follow(self, request: messages.LeaderAndIsrRequest) -> messages.LeaderAndIsrResponse:
        """Take up the roles a LeaderAndIsr gives; the answer says which were not taken and why."""
        response = messages.LeaderAndIsrResponse
        error = self._controller_error(request.controller_epoch, request.broker_epoch)
        if error:
            return response(error_code=error)
        answer = response()
        for topic in request.topic_states:
            errors = [
                response.PartitionError(
                    partition_index=state.partition_index,
                    error_code=self._take_up(topic.topic_name, TopicId(topic.topic_id), state),
                )
                for state in topic.partition_states
            ]
            answer.topics.append(response.TopicError(topic_id=topic.topic_id, partition_errors=errors))
        for state in request.ungrouped_partition_states:
            answer.partition_errors.append(
                response.PartitionError(
                    topic_name=state.topic_name,
                    partition_index=state.partition_index,
                    error_code=self._take_up(state.topic_name, NO_TOPIC_ID, state),
                )
            )
        return answer

    def _take_up(self, topic: str, topic_id: TopicId, state: messages.LeaderAndIsrRequest.PartitionState) -> ErrorCode:
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
        if self.me not in state.replicas:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        try:
            self._become(partition, topic_id, self._log(partition, topic_id), state, known)
        except KafkaError as failure:
            if failure.code == ErrorCode.KAFKA_STORAGE_ERROR:
                self._offline.add(partition)
                self._let_go(partition)
            return failure.code
        self._offline.discard(partition)
        return ErrorCode.NONE

    def _log(self, partition: TopicPartition, topic_id: TopicId) -> PartitionLog:
        """The partition's log; INCONSISTENT_TOPIC_ID when it belongs to another topic of the same name."""
        log = self._logs.get(partition)
        if log is None:
            return self._logs.create(partition, topic_id, self._settings(partition.topic))
        log.identify(topic_id)
        return log

    def _become(
        self,
        partition: TopicPartition,
        topic_id: TopicId,
        log: PartitionLog,
        state: messages.LeaderAndIsrRequest.PartitionState,
        known: Leadership | None,
    ) -> None:
        was_leader = known is not None and known.is_leader
        if known is None:
            known = self._hosted[partition] = Leadership(
                partition=partition,
                topic_id=topic_id,
                log=log,
                me=self.me,
                leader=BrokerId(state.leader),
                leader_epoch=LeaderEpoch(state.leader_epoch),
                partition_epoch=state.partition_epoch,
                isr=(),
                replicas=(),
                settings=self._settings,
                changes=self._changes,
            )
            is_new_epoch = True
        else:
            is_new_epoch = state.leader_epoch > known.leader_epoch
        known.topic_id = topic_id if topic_id != NO_TOPIC_ID else known.topic_id
        known.leader = BrokerId(state.leader)
        known.leader_epoch = LeaderEpoch(state.leader_epoch)
        known.partition_epoch = state.partition_epoch
        known.isr = tuple(BrokerId(broker) for broker in state.isr)
        known.replicas = tuple(BrokerId(broker) for broker in state.replicas)
        if known.is_leader:
            if is_new_epoch or not was_leader:
                log.assign_epoch(known.leader_epoch)
            known.advance_high_watermark()
            if is_new_epoch or not was_leader:
                self.on_lead(partition, known)
        elif was_leader:
            self.on_resign(partition)
        self._changes.ring(partition)

    def stop(self, request: messages.StopReplicaRequest) -> messages.StopReplicaResponse:
        """Let go of the partitions a StopReplica names, and of their logs where it says so."""
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
        for topic in request.topics:
            for index in topic.partition_indexes:
                stopped(topic.name, index, UNKNOWN_EPOCH, delete=request.delete_partitions)
        for old in request.ungrouped_partitions:
            stopped(old.topic_name, old.partition_index, UNKNOWN_EPOCH, delete=request.delete_partitions)
        return answer

    def _stop(self, partition: TopicPartition, epoch: int, *, delete: bool) -> ErrorCode:
        known = self._hosted.get(partition)
        if partition in self._offline:
            return ErrorCode.KAFKA_STORAGE_ERROR
        if known is not None and epoch >= 0 and epoch < known.leader_epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        if delete:
            self._let_go(partition)
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
            if known.is_leader:
                self.on_resign(partition)
            known.is_stopped = True
            self._changes.ring(partition)

    def update_metadata(self, request: messages.UpdateMetadataRequest) -> messages.UpdateMetadataResponse:
        """Pass an UpdateMetadata on to the cache, unless it comes from a controller or a life that is over."""
        if request.broker_epoch != -1 and request.broker_epoch < self.broker_epoch:
            return messages.UpdateMetadataResponse(error_code=ErrorCode.STALE_BROKER_EPOCH)
        error, gone = self._metadata.update(request)
        if gone:
            self.on_gone(gone)
        return messages.UpdateMetadataResponse(error_code=error)

    async def obey(self, request: Any) -> Any:
        """Answer whichever of the controller's three requests this is; settings of new topics are read first."""
        if isinstance(request, messages.LeaderAndIsrRequest):
            for topic in request.topic_states:
                if self._learn_settings is not None and any(
                    TopicPartition(topic.topic_name, state.partition_index) not in self._hosted
                    for state in topic.partition_states
                ):
                    await self._learn_settings(topic.topic_name)
            return self.lead_and_follow(request)
        if isinstance(request, messages.UpdateMetadataRequest):
            return self.update_metadata(request)
        return self.stop(request)
