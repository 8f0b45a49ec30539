"""Gathers what brokers must be told and makes the requests of it, in Kafka's order (``ControllerChannelManager``).

LeaderAndIsr to the replicas of changed partitions, then UpdateMetadata, then StopReplica. UpdateMetadata always
carries the complete list of live brokers; partition states are merged by the receiver.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pykafka_broker.control.cluster import Assignment, Cluster, LiveBroker, PartitionState
from pykafka_broker.control.commands import TellBroker
from pykafka_broker.model.names import NO_TOPIC_ID, BrokerId, LeaderEpoch, TopicPartition
from pykafka_broker.wire import messages

LEADER_DURING_DELETE = BrokerId(-2)
"""The leader in UpdateMetadata that makes a broker forget a partition (``LeaderAndIsr.LeaderDuringDelete``)."""

EPOCH_DURING_DELETE = LeaderEpoch(-2)
"""The leader epoch in StopReplica that no replica's own epoch can fence (``LeaderAndIsr.EpochDuringDelete``)."""


class Outbox:
    """One batch of requests to all brokers."""

    def __init__(self, me: BrokerId, inter_broker_listener: str) -> None:
        self._me = me
        self._listener = inter_broker_listener
        self._leading: dict[BrokerId, dict[TopicPartition, tuple[bool, Assignment | None]]] = {}
        self._updating: dict[BrokerId, dict[TopicPartition, None]] = {}
        self._forgotten: dict[TopicPartition, None] = {}
        self._stopping: dict[BrokerId, dict[TopicPartition, tuple[LeaderEpoch, bool]]] = {}

    def lead(
        self,
        brokers: Iterable[BrokerId],
        partition: TopicPartition,
        *,
        is_new: bool = False,
        assignment: Assignment | None = None,
    ) -> None:
        """Tell replicas who leads the partition and in which epoch, and the assignment if it is not the known one."""
        for broker in brokers:
            wanted = self._leading.setdefault(broker, {})
            was_new, told = wanted.get(partition, (False, None))
            wanted[partition] = (is_new or was_new, assignment or told)

    def update(self, brokers: Iterable[BrokerId], partitions: Iterable[TopicPartition] = ()) -> None:
        """Tell brokers who is alive, and the state of these partitions."""
        known = dict.fromkeys(partitions)
        for broker in brokers:
            self._updating.setdefault(broker, {}).update(known)

    def forget(self, brokers: Iterable[BrokerId], partitions: Iterable[TopicPartition]) -> None:
        """Tell brokers to drop these partitions from what they answer to Metadata."""
        dropped = dict.fromkeys(partitions)
        self._forgotten.update(dropped)
        self.update(brokers, dropped)

    def stop(self, brokers: Iterable[BrokerId], partition: TopicPartition, epoch: LeaderEpoch, *, delete: bool) -> None:
        """Tell brokers to stop serving their copy of the partition, and to delete it if so said."""
        for broker in brokers:
            self._stopping.setdefault(broker, {})[partition] = (epoch, delete)

    def take(self, cluster: Cluster, controller_epoch: int) -> list[TellBroker]:
        """The gathered requests to brokers that are live, in sending order; the box is empty afterwards."""
        told: list[TellBroker] = []
        for broker, wanted in self._leading.items():
            if (live := cluster.brokers.get(broker)) is None:
                continue
            lead = self._leader_and_isr(cluster, live, wanted, controller_epoch)
            if lead.topic_states:
                told.append(self._to(live, lead))
        if self._updating:
            brokers = _live_brokers(cluster)
            shared: dict[tuple[TopicPartition, ...], list[messages.UpdateMetadataRequest.TopicState]] = {}
            for broker, asked in self._updating.items():
                if (live := cluster.brokers.get(broker)) is None:
                    continue
                partitions = tuple(asked)
                topics = shared.get(partitions)
                if topics is None:
                    topics = shared[partitions] = self._metadata(cluster, partitions, controller_epoch)
                request = messages.UpdateMetadataRequest(
                    controller_id=self._me,
                    controller_epoch=controller_epoch,
                    broker_epoch=live.epoch,
                    topic_states=topics,
                    live_brokers=brokers,
                )
                told.append(self._to(live, request))
        for broker, stopping in self._stopping.items():
            if (live := cluster.brokers.get(broker)) is not None:
                told.append(self._to(live, self._stop_replica(live, stopping, controller_epoch)))
        self._leading, self._updating, self._forgotten, self._stopping = {}, {}, {}, {}
        return told

    @staticmethod
    def _to(broker: LiveBroker, request: Any) -> TellBroker:
        return TellBroker(broker.broker_id, broker.epoch, request)

    def _leader_and_isr(
        self,
        cluster: Cluster,
        receiver: LiveBroker,
        wanted: dict[TopicPartition, tuple[bool, Assignment | None]],
        controller_epoch: int,
    ) -> messages.LeaderAndIsrRequest:
        request = messages.LeaderAndIsrRequest
        topics: dict[str, messages.LeaderAndIsrRequest.TopicState] = {}
        leaders: dict[BrokerId, None] = {}
        for partition, (is_new, told) in wanted.items():
            state, assignment = cluster.states.get(partition), told or cluster.assignment(partition)
            if state is None or assignment is None:
                continue
            topic = topics.get(partition.topic)
            if topic is None:
                topic_id = cluster.topics[partition.topic].topic_id or NO_TOPIC_ID
                topic = topics[partition.topic] = request.TopicState(topic_name=partition.topic, topic_id=topic_id)
            leaders[state.leader] = None
            topic.partition_states.append(_partition_state(partition, state, assignment, is_new=is_new))
        return request(
            controller_id=self._me,
            controller_epoch=controller_epoch,
            broker_epoch=receiver.epoch,
            topic_states=list(topics.values()),
            live_leaders=self._live_leaders(cluster, leaders),
        )

    def _live_leaders(
        self, cluster: Cluster, leaders: Iterable[BrokerId]
    ) -> list[messages.LeaderAndIsrRequest.LiveLeader]:
        found = []
        for leader in leaders:
            broker = cluster.brokers.get(leader)
            endpoint = None if broker is None else broker.endpoint(self._listener)
            if endpoint is not None:
                found.append(
                    messages.LeaderAndIsrRequest.LiveLeader(
                        broker_id=leader, host_name=endpoint.host, port=endpoint.port
                    )
                )
        return found

    def _metadata(
        self, cluster: Cluster, partitions: Sequence[TopicPartition], controller_epoch: int
    ) -> list[messages.UpdateMetadataRequest.TopicState]:
        request = messages.UpdateMetadataRequest
        topics: dict[str, messages.UpdateMetadataRequest.TopicState] = {}
        for partition in partitions:
            state, assignment = cluster.states.get(partition), cluster.assignment(partition)
            is_forgotten = partition in self._forgotten
            if is_forgotten and state is None:
                state = PartitionState(LEADER_DURING_DELETE, EPOCH_DURING_DELETE, (), controller_epoch)
            if state is None or assignment is None:
                continue
            topic = topics.get(partition.topic)
            if topic is None:
                topic_id = cluster.topics[partition.topic].topic_id or NO_TOPIC_ID
                topic = topics[partition.topic] = request.TopicState(topic_name=partition.topic, topic_id=topic_id)
            offline = [replica for replica in assignment.replicas if not cluster.is_live(partition, replica)]
            topic.partition_states.append(
                request.PartitionState(
                    partition_index=partition.partition,
                    controller_epoch=state.controller_epoch,
                    leader=LEADER_DURING_DELETE if is_forgotten else state.leader,
                    leader_epoch=state.leader_epoch,
                    isr=list(state.isr),
                    zk_version=state.version,
                    replicas=list(assignment.replicas),
                    offline_replicas=offline,
                )
            )
        return list(topics.values())

    def _stop_replica(
        self,
        receiver: LiveBroker,
        stopping: dict[TopicPartition, tuple[LeaderEpoch, bool]],
        controller_epoch: int,
    ) -> messages.StopReplicaRequest:
        request = messages.StopReplicaRequest
        topics: dict[str, messages.StopReplicaRequest.TopicState] = {}
        for partition, (epoch, delete) in stopping.items():
            topic = topics.get(partition.topic)
            if topic is None:
                topic = topics[partition.topic] = request.TopicState(topic_name=partition.topic)
            topic.partition_states.append(
                request.PartitionState(partition_index=partition.partition, leader_epoch=epoch, delete_partition=delete)
            )
        return request(
            controller_id=self._me,
            controller_epoch=controller_epoch,
            broker_epoch=receiver.epoch,
            topic_states=list(topics.values()),
        )


def _partition_state(
    partition: TopicPartition, state: PartitionState, assignment: Assignment, *, is_new: bool
) -> messages.LeaderAndIsrRequest.PartitionState:
    return messages.LeaderAndIsrRequest.PartitionState(
        partition_index=partition.partition,
        controller_epoch=state.controller_epoch,
        leader=state.leader,
        leader_epoch=state.leader_epoch,
        isr=list(state.isr),
        partition_epoch=state.version,
        replicas=list(assignment.replicas),
        adding_replicas=list(assignment.adding),
        removing_replicas=list(assignment.removing),
        is_new=is_new,
        leader_recovery_state=1 if state.is_recovering else 0,
    )


def _live_brokers(cluster: Cluster) -> list[messages.UpdateMetadataRequest.Broker]:
    request = messages.UpdateMetadataRequest
    return [
        request.Broker(
            id=broker.broker_id,
            endpoints=[
                request.Endpoint(
                    port=endpoint.port,
                    host=endpoint.host,
                    listener=endpoint.listener,
                    security_protocol=endpoint.security_protocol,
                )
                for endpoint in broker.endpoints
            ],
            rack=broker.rack,
        )
        for _, broker in sorted(cluster.brokers.items())
    ]
