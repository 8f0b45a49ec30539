"""AlterPartition, ControlledShutdown, AllocateProducerIds and UpdateFeatures: what brokers ask of the controller.

AlterPartition       2  topics by id;  3  the broker epochs of the in-sync replicas, which ZooKeeper mode does not know
ControlledShutdown   2  broker epoch
A broker that is not the controller answers NOT_CONTROLLER, to ControlledShutdown STALE_CONTROLLER_EPOCH.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from msgspec import Struct

from pykafka_broker.api.routes import Route
from pykafka_broker.control.cluster import PartitionState
from pykafka_broker.control.isr_changes import IsrWish
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, LeaderEpoch, ProducerId, TopicId, TopicPartition
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call

_FIRST_WITH_IDS = 2
_FIRST_WITH_EPOCHS = 3
_DOWNGRADES = (2, 3)


class Controlling(Protocol):
    """What is needed of ``ControlLoop``; everything may raise NOT_CONTROLLER."""

    @property
    def is_active(self) -> bool: ...
    def topic_names(self) -> Mapping[TopicId, str]: ...
    async def change_isr(
        self, leader: BrokerId, broker_epoch: int, wishes: Mapping[TopicPartition, IsrWish]
    ) -> Mapping[TopicPartition, PartitionState | KafkaError]: ...
    async def shut_down(self, broker: BrokerId, broker_epoch: int) -> Collection[TopicPartition]: ...
    async def producer_id_block(self, broker: BrokerId, broker_epoch: int) -> range: ...


class ClusterApi(Struct):
    """Puts brokers' requests to the controller, as long as that is this broker."""

    controller: Controlling

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("ControlledShutdown", "0-3", self.controlled_shutdown, self._refuse_shutdown),
            Route("AlterPartition", "0-3", self._alter_partition, self._refuse_alter),
            Route("UpdateFeatures", "0-1", self.update_features, self._refuse_features),
            Route("AllocateProducerIds", "0-0", self._allocate_producer_ids, self._refuse_allocate),
        )

    # AlterPartition

    async def _alter_partition(self, call: Call[Any]) -> messages.AlterPartitionResponse:
        return await self.alter_partition(call.body, call.version)

    async def alter_partition(
        self, body: messages.AlterPartitionRequest, version: int = _FIRST_WITH_EPOCHS
    ) -> messages.AlterPartitionResponse:
        """Write other in-sync replicas for partitions whose leader asks for them."""
        response = messages.AlterPartitionResponse
        answer = response()
        wishes: dict[TopicPartition, IsrWish] = {}
        places: dict[TopicPartition, messages.AlterPartitionResponse.PartitionData] = {}
        names = self.controller.topic_names()
        for topic in body.topics:
            told = response.TopicData(topic_name=topic.topic_name, topic_id=topic.topic_id)
            answer.topics.append(told)
            name = names.get(TopicId(topic.topic_id)) if version >= _FIRST_WITH_IDS else topic.topic_name
            for asked in topic.partitions:
                place = response.PartitionData(partition_index=asked.partition_index)
                told.partitions.append(place)
                if name is None:
                    place.error_code = ErrorCode.UNKNOWN_TOPIC_ID
                    continue
                partition = TopicPartition(name, asked.partition_index)
                wishes[partition], places[partition] = _wish(asked, version), place
        found = await self.controller.change_isr(BrokerId(body.broker_id), body.broker_epoch, wishes)
        for partition, verdict in found.items():
            _tell(places[partition], verdict, version)
        return answer

    @staticmethod
    def _refuse_alter(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.AlterPartitionResponse:
        return messages.AlterPartitionResponse(error_code=code)

    # ControlledShutdown

    async def controlled_shutdown(self, call: Call[Any]) -> messages.ControlledShutdownResponse:
        """Let a broker go."""
        return await self.shut_down(call.body)

    async def shut_down(self, body: messages.ControlledShutdownRequest) -> messages.ControlledShutdownResponse:
        """Have a broker's leaderships moved, and tell it which it keeps."""
        response = messages.ControlledShutdownResponse
        left = await self.controller.shut_down(BrokerId(body.broker_id), body.broker_epoch)
        return response(
            remaining_partitions=[
                response.RemainingPartition(topic_name=one.topic, partition_index=one.partition) for one in left
            ]
        )

    @staticmethod
    def _refuse_shutdown(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.ControlledShutdownResponse:
        stale = code is ErrorCode.NOT_CONTROLLER
        return messages.ControlledShutdownResponse(error_code=ErrorCode.STALE_CONTROLLER_EPOCH if stale else code)

    # AllocateProducerIds

    async def _allocate_producer_ids(self, call: Call[Any]) -> messages.AllocateProducerIdsResponse:
        return await self.allocate_producer_ids(call.body)

    async def allocate_producer_ids(
        self, body: messages.AllocateProducerIdsRequest
    ) -> messages.AllocateProducerIdsResponse:
        """Give a broker the next block of producer ids."""
        block = await self.controller.producer_id_block(BrokerId(body.broker_id), body.broker_epoch)
        return messages.AllocateProducerIdsResponse(
            producer_id_start=ProducerId(block.start), producer_id_len=len(block)
        )

    @staticmethod
    def _refuse_allocate(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.AllocateProducerIdsResponse:
        return messages.AllocateProducerIdsResponse(error_code=code)

    # UpdateFeatures

    async def update_features(self, call: Call[Any]) -> messages.UpdateFeaturesResponse:
        """Refuse every change: a cluster with ZooKeeper has no features (``KafkaController.processFeatureUpdates``)."""
        if not self.controller.is_active:
            raise KafkaError(ErrorCode.NOT_CONTROLLER)
        response = messages.UpdateFeaturesResponse
        return response(
            error_message=None,
            results=[
                response.UpdatableFeatureResult(
                    feature=asked.feature,
                    error_code=ErrorCode.INVALID_REQUEST,
                    error_message=_why_not(asked, call.version),
                )
                for asked in call.body.feature_updates
            ],
        )

    @staticmethod
    def _refuse_features(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.UpdateFeaturesResponse:
        return messages.UpdateFeaturesResponse(error_code=code, error_message=detail or code.sentence)


def _wish(asked: messages.AlterPartitionRequest.PartitionData, version: int) -> IsrWish:
    isr = [one.broker_id for one in asked.new_isr_with_epochs] if version >= _FIRST_WITH_EPOCHS else list(asked.new_isr)
    return IsrWish(
        LeaderEpoch(asked.leader_epoch),
        asked.partition_epoch,
        tuple(map(BrokerId, isr)),
        is_recovering=asked.leader_recovery_state == 1,
    )


def _tell(
    place: messages.AlterPartitionResponse.PartitionData, verdict: PartitionState | KafkaError, version: int
) -> None:
    if isinstance(verdict, KafkaError):
        code = verdict.code
        if code is ErrorCode.INELIGIBLE_REPLICA and version < _FIRST_WITH_IDS:
            code = ErrorCode.OPERATION_NOT_ATTEMPTED
        place.error_code = code
        return
    place.leader_id, place.leader_epoch = verdict.leader, verdict.leader_epoch
    place.isr = list(verdict.isr)
    place.leader_recovery_state = int(verdict.is_recovering)
    place.partition_epoch = verdict.version


def _why_not(asked: messages.UpdateFeaturesRequest.FeatureUpdateKey, version: int) -> str:
    if not asked.feature:
        return "Feature name can not be empty."
    if version >= 1 and asked.upgrade_type not in (1, *_DOWNGRADES):
        return "Received unknown upgrade type."
    is_downgrade = asked.allow_downgrade if version == 0 else asked.upgrade_type in _DOWNGRADES
    if asked.max_version_level < 1:
        if is_downgrade:
            return "Can not delete non-existing finalized feature."
        return (
            f"Can not provide versionLevel: {asked.max_version_level} less than 1 without setting the SAFE "
            "downgradeType in the request."
        )
    return "Could not apply finalized feature update because the provided feature is not supported."
