"""Naming the leader to whoever came to the wrong broker (KIP-951), in the answers of Produce and Fetch alike."""

from __future__ import annotations

from typing import Any

from pykafka_broker.model.names import TopicPartition
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.wire import messages


def tell_leader(
    metadata: Metadata,
    listener: str,
    partition: TopicPartition,
    place: Any,
    response: messages.FetchResponse | messages.ProduceResponse,
) -> None:
    """Say in the partition's ``place`` of the response who leads it, and in the response where that broker listens.

    Nothing is said of a partition that the metadata does not know, and each broker is listed once.
    """
    known = metadata.leader_and_address(partition, listener)
    if known is None:
        return
    leader, epoch, address, rack = known
    kind: Any = type(response)
    place.current_leader = kind.LeaderIdAndEpoch(leader_id=leader, leader_epoch=epoch)
    if address is not None and all(one.node_id != leader for one in response.node_endpoints):
        endpoint = kind.NodeEndpoint(node_id=leader, host=address.host, port=address.port, rack=rack)
        response.node_endpoints.append(endpoint)
