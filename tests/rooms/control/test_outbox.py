"""What leaves for the brokers, batch by batch."""

from __future__ import annotations

from uuid import UUID

from pykafka_broker.control.cluster import Assignment, Cluster, Endpoint, LiveBroker, PartitionState, Topic
from pykafka_broker.control.outbox import EPOCH_DURING_DELETE, Outbox
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.wire import messages

ONE, TWO, GONE = BrokerId(1), BrokerId(2), BrokerId(3)
T0 = TopicPartition("t", 0)


def cluster() -> Cluster:
    known = Cluster()
    for number in (ONE, TWO):
        endpoints = (Endpoint("INSIDE", f"in{number}", 1, 2), Endpoint("OUTSIDE", f"out{number}", 2, 1))
        known.brokers[number] = LiveBroker(number, 10 + number, endpoints, rack=f"rack{number}")
    assignment = Assignment((ONE, GONE), adding=(GONE,), removing=(TWO,))
    known.topics["t"] = Topic(TopicId(UUID(int=7)), {0: assignment})
    known.states[T0] = PartitionState(ONE, LeaderEpoch(4), (ONE,), 3, is_recovering=True, version=9)
    return known


def test_everything_the_controller_knows_of_a_partition_is_told() -> None:
    outbox = Outbox(ONE, "INSIDE")
    outbox.lead([ONE, GONE], T0, is_new=True)
    outbox.lead([ONE], T0)
    (told,) = outbox.take(cluster(), 5)
    request = messages.LeaderAndIsrRequest
    assert (told.broker, told.broker_epoch) == (ONE, 11)
    assert told.request == request(
        controller_id=1,
        controller_epoch=5,
        broker_epoch=11,
        topic_states=[
            request.TopicState(
                topic_name="t",
                topic_id=UUID(int=7),
                partition_states=[
                    request.PartitionState(
                        controller_epoch=3,
                        leader=1,
                        leader_epoch=4,
                        isr=[1],
                        partition_epoch=9,
                        replicas=[1, 3],
                        adding_replicas=[3],
                        removing_replicas=[2],
                        is_new=True,
                        leader_recovery_state=1,
                    )
                ],
            )
        ],
        live_leaders=[request.LiveLeader(broker_id=1, host_name="in1", port=1)],
    )
    messages.encode(told.request, 7)


def test_who_hosts_nothing_that_anybody_leads_is_not_told() -> None:
    known = cluster()
    known.states.clear()
    outbox = Outbox(ONE, "INSIDE")
    outbox.lead([ONE], T0)
    assert outbox.take(known, 5) == []


def test_metadata_names_all_live_brokers_with_all_their_endpoints() -> None:
    outbox = Outbox(ONE, "INSIDE")
    outbox.update([TWO], [T0])
    (told,) = outbox.take(cluster(), 5)
    assert [
        (live.id, live.rack, [(one.listener, one.host, one.port, one.security_protocol) for one in live.endpoints])
        for live in told.request.live_brokers
    ] == [
        (1, "rack1", [("INSIDE", "in1", 1, 2), ("OUTSIDE", "out1", 2, 1)]),
        (2, "rack2", [("INSIDE", "in2", 1, 2), ("OUTSIDE", "out2", 2, 1)]),
    ]
    (part,) = told.request.topic_states[0].partition_states
    assert (part.leader, part.zk_version, part.offline_replicas) == (1, 9, [3])
    messages.encode(told.request, 8)


def test_a_batch_goes_in_the_order_lead_update_stop() -> None:
    outbox = Outbox(ONE, "INSIDE")
    outbox.stop([ONE], T0, EPOCH_DURING_DELETE, delete=True)
    outbox.update([ONE])
    outbox.lead([ONE], T0)
    kinds = [type(told.request).__name__ for told in outbox.take(cluster(), 5)]
    assert kinds == ["LeaderAndIsrRequest", "UpdateMetadataRequest", "StopReplicaRequest"]
    assert outbox.take(cluster(), 5) == []


def test_a_forgotten_partition_has_the_leader_minus_two_with_or_without_state() -> None:
    outbox = Outbox(ONE, "INSIDE")
    known = cluster()
    outbox.forget([ONE], [T0])
    (told,) = outbox.take(known, 5)
    assert told.request.topic_states[0].partition_states[0].leader == -2
    del known.states[T0]
    outbox.forget([ONE], [T0])
    (told,) = outbox.take(known, 5)
    assert told.request.topic_states[0].partition_states[0].leader == -2
