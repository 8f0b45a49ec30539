"""Naming leaders: once for each broker, and only of partitions that are known."""

from __future__ import annotations

import pytest

from pykafka_broker.api.current_leaders import tell_leader
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.wire import messages


@pytest.fixture
def metadata() -> Metadata:
    """Broker 7 leads two partitions, broker 8, of which nothing is known, a third."""
    request = messages.UpdateMetadataRequest
    states = [
        request.PartitionState(partition_index=index, leader=leader, leader_epoch=5, isr=[leader], replicas=[leader])  # type: ignore[list-item]
        for index, leader in ((0, 7), (1, 7), (2, 8))
    ]
    endpoint = request.Endpoint(port=9094, host="seven", listener="PLAINTEXT")
    known = Metadata(BrokerId(0), Changes())
    known.update(
        request(
            live_brokers=[request.Broker(id=BrokerId(7), endpoints=[endpoint], rack="r7")],
            topic_states=[request.TopicState(topic_name="t", partition_states=states)],
        )
    )
    return known


@pytest.mark.parametrize(
    ("response", "place"),
    [
        (messages.FetchResponse, messages.FetchResponse.PartitionData),
        (messages.ProduceResponse, messages.ProduceResponse.PartitionProduceResponse),
    ],
)
def test_leaders_are_named_and_each_broker_listed_once(metadata: Metadata, response: type, place: type) -> None:
    answer, places = response(), [place() for _ in range(4)]
    for index, one in enumerate(places):
        tell_leader(metadata, "PLAINTEXT", TopicPartition("t", index), one, answer)
    told = [(one.current_leader.leader_id, one.current_leader.leader_epoch) for one in places]
    assert told == [(7, 5), (7, 5), (8, 5), (-1, -1)]
    assert [(one.node_id, one.host, one.port, one.rack) for one in answer.node_endpoints] == [(7, "seven", 9094, "r7")]
