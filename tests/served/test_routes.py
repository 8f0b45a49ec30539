"""What is served: exactly what is told, and every request can be refused in every version."""

from __future__ import annotations

from typing import Any

from pykafka_broker import Broker
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.wire import messages, spec
from pykafka_broker.wire.exchange import Call, close_call
from tests.served.conftest import RawClient

IN_TABLE = {
    "Produce": (0, 11), "Fetch": (0, 17), "ListOffsets": (0, 9), "Metadata": (0, 12), "OffsetCommit": (0, 9),
    "OffsetFetch": (0, 9), "FindCoordinator": (0, 6), "JoinGroup": (0, 9), "Heartbeat": (0, 4), "LeaveGroup": (0, 5),
    "SyncGroup": (0, 5), "DescribeGroups": (0, 5), "ListGroups": (0, 5), "ApiVersions": (0, 4), "CreateTopics": (0, 7),
    "DeleteTopics": (0, 6), "DeleteRecords": (0, 2), "InitProducerId": (0, 5), "OffsetForLeaderEpoch": (0, 4),
    "DescribeConfigs": (0, 4), "AlterConfigs": (0, 2), "DescribeLogDirs": (0, 4), "CreatePartitions": (0, 3),
    "DeleteGroups": (0, 2), "IncrementalAlterConfigs": (0, 1), "OffsetDelete": (0, 0), "DescribeCluster": (0, 1),
    "DescribeProducers": (0, 0), "ElectLeaders": (0, 2), "AlterPartitionReassignments": (0, 0),
    "ListPartitionReassignments": (0, 0), "AlterReplicaLogDirs": (0, 2), "LeaderAndIsr": (0, 7), "StopReplica": (0, 4),
    "UpdateMetadata": (0, 8), "ControlledShutdown": (0, 3), "AlterPartition": (0, 3), "UpdateFeatures": (0, 1),
    "AllocateProducerIds": (0, 0),
}  # fmt: skip
"""The versions that Apache Kafka 3.9 advertises of what this broker serves."""


async def test_the_versions_told_are_those_of_apache_kafka(client: RawClient) -> None:
    response = await client.asks(0, messages.ApiVersionsRequest())
    told = {one.api_key: (one.min_version, one.max_version) for one in response.api_keys}
    assert {spec.heading(name).key: versions for name, versions in IN_TABLE.items()}.items() <= told.items()


async def test_what_is_told_is_what_is_served(broker: Broker, client: RawClient) -> None:
    response = await client.asks(0, messages.ApiVersionsRequest())
    assert {one.api_key for one in response.api_keys} == set(broker.routes.by_key)


async def test_every_request_can_be_refused_in_every_version(broker: Broker) -> None:
    refused = 0
    for key, route in broker.routes.by_key.items():
        low, high = broker.routes.served.ranges[key]
        for version in range(low, high + 1):
            body = getattr(messages, f"{route.api}Request")()
            call: Call[Any] = Call(route.api, key, version, 1, "tests", body, 0)
            for code in (ErrorCode.UNKNOWN_SERVER_ERROR, ErrorCode.NOT_CONTROLLER):
                for detail in (None, "why"):
                    assert close_call(call, route.refuse(call, code, detail))
                    refused += 1
    assert refused > 400
