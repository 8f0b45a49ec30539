"""What this broker leads, by order of the controller."""

from __future__ import annotations

from copy import copy
from typing import Any
from uuid import UUID

import pytest
import trio
import trio.testing

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.validation import Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, LeaderEpoch, Offset, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.leaderships import Leadership, Leaderships
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record, build
from tests.doubles.memory_logs import MemoryLogs

ME = BrokerId(1)
ID = UUID(int=7)
T0 = TopicPartition("t", 0)
NONE = ErrorCode.NONE


class Broker:
    """The leaderships of one broker, and what coordinators heard of them."""

    def __init__(self, **topic_settings: Any) -> None:
        changes = Changes()
        self.logs = MemoryLogs()
        self.metadata = Metadata(ME, changes)
        self.learnt: list[str] = []
        self.leaderships = Leaderships(
            ME, self.logs, self.metadata, lambda topic: TopicSettings(**topic_settings), changes, self._learn
        )
        self.leaderships.broker_epoch = 50
        self.heard: list[tuple[str, int]] = []
        self.leaderships.on_lead = self._led
        self.leaderships.on_resign = lambda partition: self.heard.append(("resign", partition.partition))

    async def _learn(self, topic: str) -> None:
        self.learnt.append(topic)

    def _led(self, partition: TopicPartition, leadership: Leadership) -> None:
        self.heard.append(("lead", leadership.leader_epoch))

    def leads(
        self, leader: int = 1, epoch: int = 0, isr: Any = None, replicas: Any = (1, 2), topic_id: UUID = ID
    ) -> ErrorCode:
        """The controller says who leads t-0."""
        response = self.leaderships.lead_and_follow(order(leader, epoch, isr, replicas, topic_id))
        assert response.error_code == NONE
        (topic,) = response.topics
        assert topic.topic_id == topic_id
        return ErrorCode(topic.partition_errors[0].error_code)

    def stops(self, epoch: int = -2, *, delete: bool = True) -> ErrorCode:
        """The controller takes t-0 away."""
        request = messages.StopReplicaRequest
        state = request.PartitionState(leader_epoch=epoch, delete_partition=delete)
        told = request(controller_epoch=1, topic_states=[request.TopicState(topic_name="t", partition_states=[state])])
        response = self.leaderships.stop(told)
        messages.encode(response, 4)
        return ErrorCode(response.partition_errors[0].error_code)

    def refusal(self, epoch: int = -1) -> ErrorCode:
        """Why a client of t-0 is sent away."""
        with pytest.raises(KafkaError) as refused:
            self.leaderships.leader(T0, LeaderEpoch(epoch))
        return refused.value.code


def order(
    leader: int = 1,
    epoch: int = 0,
    isr: Any = None,
    replicas: Any = (1, 2),
    topic_id: UUID = ID,
    **more: Any,
) -> messages.LeaderAndIsrRequest:
    request = messages.LeaderAndIsrRequest
    state = request.PartitionState(
        leader=leader, leader_epoch=epoch, isr=list(isr or [leader]), replicas=list(replicas), is_new=True
    )
    topic = request.TopicState(topic_name="t", topic_id=topic_id, partition_states=[state])
    return request(topic_states=[topic], **{"controller_epoch": 1, "broker_epoch": -1, **more})


def batch(*values: bytes) -> bytearray:
    return build([Record(offset, 0, None, value, ()) for offset, value in enumerate(values)])


def append(leadership: Leadership, *values: bytes) -> Any:
    return leadership.append(Millis(1), batch(*values), origin=Origin.CLIENT, api_version=9)


def test_a_broker_made_leader_has_a_log_with_the_topics_id_and_the_epoch() -> None:
    broker = Broker()
    assert broker.leads(epoch=3) == NONE
    leadership = broker.leaderships.leader(T0)
    assert leadership.log is broker.logs.get(T0)
    assert leadership.log.topic_id == ID
    assert leadership.log.latest_epoch == 3
    assert broker.heard == [("lead", 3)]


def test_alone_in_sync_the_high_watermark_follows_every_append() -> None:
    broker = Broker()
    broker.leads()
    leadership = broker.leaderships.leader(T0)
    append(leadership, b"one", b"two")
    assert leadership.log.high_watermark == leadership.log.log_end_offset == 2


def test_with_others_in_sync_the_high_watermark_waits_for_them_until_they_leave() -> None:
    broker = Broker()
    broker.leads(isr=[1, 2])
    leadership = broker.leaderships.leader(T0)
    append(leadership, b"one")
    assert leadership.log.high_watermark == 0
    broker.leads(epoch=1, isr=[1])
    assert leadership.log.high_watermark == 1


def test_a_follower_has_a_log_and_serves_nobody() -> None:
    broker = Broker()
    assert broker.leads(leader=2) == NONE
    assert broker.logs.get(T0) is not None
    assert broker.refusal() == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert broker.heard == []


def test_leadership_lost_and_won_again() -> None:
    broker = Broker()
    broker.leads()
    leadership = broker.leaderships.leader(T0)
    broker.leads(leader=2, epoch=1)
    with pytest.raises(KafkaError):
        leadership.require_leadership()
    broker.leads(epoch=2)
    leadership.require_leadership()
    assert broker.heard == [("lead", 0), ("resign", 0), ("lead", 2)]


def test_only_a_greater_epoch_changes_anything() -> None:
    broker = Broker()
    broker.leads(epoch=5)
    assert broker.leads(leader=2, epoch=5) == ErrorCode.STALE_CONTROLLER_EPOCH
    assert broker.leads(leader=2, epoch=4) == ErrorCode.STALE_CONTROLLER_EPOCH
    assert broker.leaderships.leader(T0).leader_epoch == 5


def test_a_missing_topic_id_may_come_later_but_another_one_may_not() -> None:
    broker = Broker()
    zero = UUID(int=0)
    broker.leads(topic_id=zero)
    assert broker.leads(topic_id=ID) == NONE
    assert broker.leaderships.leader(T0).log.topic_id == ID
    assert broker.leads(epoch=9, topic_id=UUID(int=8)) == ErrorCode.INCONSISTENT_TOPIC_ID
    assert broker.leads(epoch=9, topic_id=zero) == NONE


def test_a_log_of_another_topic_of_the_same_name_is_not_taken_over() -> None:
    broker = Broker()
    broker.leads()
    again = Broker()
    again.logs.logs = broker.logs.logs
    assert again.leads(topic_id=UUID(int=8)) == ErrorCode.INCONSISTENT_TOPIC_ID
    assert again.refusal() == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_a_partition_without_us_among_its_replicas_is_not_taken() -> None:
    assert Broker().leads(leader=2, replicas=[2, 3]) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_a_broken_disk_is_told_to_controller_and_clients_until_it_works_again() -> None:
    broker = Broker()
    broker.logs.broken.add(T0)
    assert broker.leads() == ErrorCode.KAFKA_STORAGE_ERROR
    assert broker.refusal() == ErrorCode.KAFKA_STORAGE_ERROR
    broker.logs.broken.clear()
    assert broker.leads() == NONE
    assert broker.leaderships.leader(T0).is_leader


def test_a_disk_that_breaks_when_leadership_begins_takes_the_partition_away() -> None:
    broker = Broker()
    broker.leads()
    leadership = broker.leaderships.leader(T0)
    broker.logs.disks[T0].fail_next = True
    assert broker.leads(epoch=1) == ErrorCode.KAFKA_STORAGE_ERROR
    assert broker.refusal() == ErrorCode.KAFKA_STORAGE_ERROR
    assert not leadership.is_leader
    assert broker.heard[-1] == ("resign", 0)


def test_controllers_and_lives_that_are_over_are_not_obeyed() -> None:
    broker = Broker()
    assert broker.leaderships.lead_and_follow(order(controller_epoch=4)).error_code == NONE
    stale = broker.leaderships.lead_and_follow(order(controller_epoch=3, epoch=1))
    assert (stale.error_code, stale.topics) == (ErrorCode.STALE_CONTROLLER_EPOCH, [])
    earlier = broker.leaderships.lead_and_follow(order(controller_epoch=9, broker_epoch=49))
    assert earlier.error_code == ErrorCode.STALE_BROKER_EPOCH
    stop = messages.StopReplicaRequest(controller_epoch=9, broker_epoch=49)
    assert broker.leaderships.stop(stop).error_code == ErrorCode.STALE_BROKER_EPOCH
    update = messages.UpdateMetadataRequest(controller_epoch=9, broker_epoch=49)
    assert broker.leaderships.update_metadata(update).error_code == ErrorCode.STALE_BROKER_EPOCH
    newest = messages.UpdateMetadataRequest(controller_epoch=6, broker_epoch=-1)
    assert broker.leaderships.update_metadata(newest).error_code == NONE
    deposed = messages.StopReplicaRequest(controller_epoch=5, broker_epoch=-1)
    assert broker.leaderships.stop(deposed).error_code == ErrorCode.STALE_CONTROLLER_EPOCH, "whatever it was told by"
    assert broker.leaderships.lead_and_follow(order(controller_epoch=7)).error_code == NONE
    assert broker.leaderships.update_metadata(newest).error_code == ErrorCode.STALE_CONTROLLER_EPOCH
    # What a controller knows before we do is no lie.
    assert broker.leaderships.lead_and_follow(order(controller_epoch=9, broker_epoch=51)).error_code == NONE


def test_a_deleted_partition_is_gone_and_those_who_wait_on_it_go() -> None:
    broker = Broker()
    broker.leads()
    leadership = broker.leaderships.leader(T0)
    assert broker.stops() == NONE
    assert broker.logs.get(T0) is None
    assert broker.refusal() == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert not leadership.is_leader
    assert broker.heard == [("lead", 0), ("resign", 0)]


def test_stopping_without_deleting_keeps_leader_and_log() -> None:
    broker = Broker()
    broker.leads()
    assert broker.stops(delete=False) == NONE
    assert broker.leaderships.leader(T0).is_leader


def test_an_order_to_delete_that_came_too_late_is_fenced() -> None:
    broker = Broker()
    broker.leads(epoch=5)
    assert broker.stops(epoch=4) == ErrorCode.FENCED_LEADER_EPOCH
    assert broker.stops(epoch=-1) == NONE


def test_a_log_that_nobody_told_us_to_serve_is_deleted_all_the_same() -> None:
    broker = Broker()
    broker.leads()
    again = Broker()
    again.logs = broker.logs
    again.leaderships._logs = broker.logs
    assert again.stops() == NONE
    assert broker.logs.get(T0) is None


def test_deleting_what_is_not_there_succeeds() -> None:
    assert Broker().stops() == NONE


def test_a_log_that_cannot_be_deleted_is_told() -> None:
    broker = Broker()
    broker.leads()
    broker.logs.broken.add(T0)
    assert broker.stops() == ErrorCode.KAFKA_STORAGE_ERROR


@pytest.mark.parametrize("version", [0, 1, 2])
def test_old_controllers_stop_replicas_in_their_own_words(version: int) -> None:
    broker = Broker()
    broker.leads()
    request = messages.StopReplicaRequest
    told = (
        request(controller_epoch=1, delete_partitions=True, ungrouped_partitions=[request.PartitionV0(topic_name="t")])
        if version == 0
        else request(
            controller_epoch=1, delete_partitions=True, topics=[request.TopicV1(name="t", partition_indexes=[0])]
        )
    )
    messages.encode(told, version)
    broker.leaderships.stop(told)
    assert broker.logs.get(T0) is None


def test_old_controllers_give_roles_in_their_own_words() -> None:
    broker = Broker()
    request = messages.LeaderAndIsrRequest
    state = request.PartitionState(topic_name="t", leader=1, isr=[1], replicas=[1])
    old = request(controller_epoch=1, ungrouped_partition_states=[state])
    response = broker.leaderships.lead_and_follow(old, by_topic=False)
    assert [(one.topic_name, one.error_code) for one in response.partition_errors] == [("t", NONE)]
    assert broker.leaderships.leader(T0).is_leader


def test_a_client_must_know_our_epoch_if_it_names_one() -> None:
    broker = Broker()
    broker.leads(epoch=5)
    assert broker.leaderships.leader(T0, LeaderEpoch(5)).is_leader
    assert broker.refusal(epoch=4) == ErrorCode.FENCED_LEADER_EPOCH
    assert broker.refusal(epoch=6) == ErrorCode.UNKNOWN_LEADER_EPOCH


def test_a_partition_led_elsewhere_and_one_that_does_not_exist_are_told_apart() -> None:
    broker = Broker()
    assert broker.refusal() == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    update = messages.UpdateMetadataRequest
    state = update.PartitionState(leader=2, isr=[2], replicas=[2])
    broker.metadata.update(update(topic_states=[update.TopicState(topic_name="t", partition_states=[state])]))
    assert broker.refusal() == ErrorCode.NOT_LEADER_OR_FOLLOWER


def test_it_is_told_which_partitions_are_gone_from_the_cluster_led_here_or_elsewhere() -> None:
    broker = Broker()
    gone: list[TopicPartition] = []
    broker.leaderships.on_gone = gone.extend
    update = messages.UpdateMetadataRequest
    for leader in (2, -2, -2):
        state = update.PartitionState(leader=leader, isr=[2], replicas=[2])
        told = update(broker_epoch=50, topic_states=[update.TopicState(topic_name="t", partition_states=[state])])
        assert broker.leaderships.update_metadata(told).error_code == NONE
    assert gone == [T0]


def test_acks_all_needs_enough_replicas_in_sync_but_never_more_than_there_are() -> None:
    broker = Broker(min_insync_replicas=2)
    broker.leads(isr=[1])
    leadership = broker.leaderships.leader(T0)
    for after, code in ((False, ErrorCode.NOT_ENOUGH_REPLICAS), (True, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)):
        with pytest.raises(KafkaError) as refused:
            leadership.require_enough_replicas(after_append=after)
        assert refused.value.code == code
    broker.leads(epoch=1, isr=[1, 2])
    leadership.require_enough_replicas()
    alone = Broker(min_insync_replicas=2)
    alone.leads(replicas=[1])
    alone.leaderships.leader(T0).require_enough_replicas()


def test_records_are_deleted_up_to_an_offset_or_the_high_watermark() -> None:
    broker = Broker()
    broker.leads()
    leadership = broker.leaderships.leader(T0)
    append(leadership, b"one")
    append(leadership, b"two")
    assert leadership.delete_records(Offset(1)) == 1
    assert leadership.low_watermark == 1
    assert leadership.delete_records(Offset(-1)) == 2
    assert leadership.low_watermark == 2
    with pytest.raises(KafkaError) as refused:
        leadership.delete_records(Offset(3))
    assert refused.value.code == ErrorCode.OFFSET_OUT_OF_RANGE


def test_the_end_of_an_epoch_is_the_beginning_of_the_next() -> None:
    broker = Broker()
    broker.leads()
    leadership = broker.leaderships.leader(T0)
    append(leadership, b"one")
    broker.leads(epoch=4)
    append(leadership, b"two")
    assert leadership.end_of_epoch(LeaderEpoch(3)) == (0, 1)
    assert leadership.end_of_epoch(LeaderEpoch(4)) == (4, 2)


async def test_settings_of_new_topics_are_learnt_before_their_logs_are_made() -> None:
    broker = Broker()
    response = await broker.leaderships.obey(order())
    assert response.topics[0].partition_errors[0].error_code == NONE
    await broker.leaderships.obey(order(epoch=1))
    assert broker.learnt == ["t"]
    assert (await broker.leaderships.obey(messages.UpdateMetadataRequest(controller_epoch=1))).error_code == NONE
    assert (await broker.leaderships.obey(messages.StopReplicaRequest(controller_epoch=1))).error_code == NONE


def test_a_partition_whose_disk_has_failed_is_not_taken_up_again() -> None:
    """The controller asks with what it has said before: so it learns what is gone."""
    broker = Broker()
    broker.leads()
    broker.logs.break_under(T0)
    broker.leaderships.went_offline([T0])
    for epoch in (0, 1):
        (topic,) = broker.leaderships.lead_and_follow(order(epoch=epoch)).topics
        assert topic.partition_errors[0].error_code == ErrorCode.KAFKA_STORAGE_ERROR
        with pytest.raises(KafkaError) as refused:
            broker.leaderships.leader(T0)
        assert refused.value.code == ErrorCode.KAFKA_STORAGE_ERROR


def many(epoch: int = 0, partitions: int = 100) -> messages.LeaderAndIsrRequest:
    told = order(epoch=epoch)
    (first,) = told.topic_states[0].partition_states
    states = [copy(first) for _ in range(partitions)]
    for index, state in enumerate(states):
        state.partition_index = index
    told.topic_states[0].partition_states = states
    return told


async def test_clients_get_their_turn_while_many_partitions_are_made_and_deleted() -> None:
    broker = Broker()
    hosted: list[int] = []

    async def watch(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            hosted.append(len(broker.leaderships.hosted))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        await nursery.start(watch)
        await broker.leaderships.obey(many())
        deletion = messages.StopReplicaRequest.TopicV1(name="t", partition_indexes=list(range(100)))
        await broker.leaderships.obey(
            messages.StopReplicaRequest(controller_epoch=1, delete_partitions=True, topics=[deletion])
        )
        nursery.cancel_scope.cancel()
    assert len(set(hosted)) >= 6, "seen on the way up and down"
    assert len(hosted) >= 18
    assert broker.logs.logs == {}


async def test_what_the_controller_says_next_waits_for_what_it_said_before_which_is_done_to_its_end() -> None:
    broker = Broker()
    epochs: list[int] = []
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.leaderships.obey, many())
            while not broker.leaderships.hosted:
                await trio.lowlevel.checkpoint()

            async def next_order() -> None:
                await broker.leaderships.obey(many(epoch=1, partitions=1))
                epochs.append(len(broker.leaderships.hosted))

            nursery.start_soon(next_order)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(broker.leaderships.obey, many(epoch=2, partitions=200))
            while len(broker.leaderships.hosted) <= 100:
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert epochs == [100]
    assert len(broker.leaderships.hosted) == 200, "a connection that breaks leaves nothing half done"


@pytest.mark.parametrize("name", ["", ".", "..", "../elsewhere", "/elsewhere", "a/b", "a b", "x" * 250])
async def test_what_cannot_be_a_topic_becomes_neither_directory_nor_node(name: str) -> None:
    broker = Broker()
    state = messages.LeaderAndIsrRequest.PartitionState(topic_name=name, leader=1, isr=[1], replicas=[1])
    topic = messages.LeaderAndIsrRequest.TopicState(topic_name=name, topic_id=ID, partition_states=[state])
    grouped = messages.LeaderAndIsrRequest(topic_states=[topic])
    ungrouped = messages.LeaderAndIsrRequest(ungrouped_partition_states=[state])
    by_topic = await broker.leaderships.obey(grouped)
    assert by_topic.topics[0].partition_errors[0].error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    flat = await broker.leaderships.obey(ungrouped, by_topic=False)
    assert flat.partition_errors[0].error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert (broker.learnt, broker.logs.logs) == ([], {})


def test_a_partition_is_not_counted_below_zero() -> None:
    broker = Broker()
    told = order()
    told.topic_states[0].partition_states[0].partition_index = -1
    (topic,) = broker.leaderships.lead_and_follow(told).topics
    assert topic.partition_errors[0].error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert broker.logs.logs == {}
