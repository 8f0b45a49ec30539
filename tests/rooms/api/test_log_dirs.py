"""DescribeLogDirs tells what lies where and how large it is."""

from __future__ import annotations

from typing import Any

from pykafka_broker.api.log_dirs import LogDirApi
from pykafka_broker.log.partition import Origin
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.wire import messages
from tests.rooms.api.conftest import Partitions, batch, call

Request = messages.DescribeLogDirsRequest


async def described(partitions: Partitions, topics: Any) -> Any:
    response = await LogDirApi(partitions.keeper).describe_log_dirs(call("DescribeLogDirs", 4, Request(topics=topics)))
    (result,) = response.results
    return result


def sizes(result: Any) -> dict[tuple[str, int], int]:
    return {
        (topic.name, partition.partition_index): partition.partition_size
        for topic in result.topics
        for partition in topic.partitions
    }


async def test_all_partitions_are_told_with_their_sizes(partitions: Partitions) -> None:
    partitions.leads("orders", 2)
    data = batch(b"x" * 100)
    partitions.leaderships.leader(TopicPartition("orders", 1)).append(
        partitions.now, bytearray(data), origin=Origin.CLIENT, api_version=9
    )
    result = await described(partitions, None)
    assert sizes(result) == {("orders", 0): 0, ("orders", 1): len(data)}
    assert result.total_bytes >= result.usable_bytes > 0
    assert result.log_dir.endswith("data")


async def test_only_what_is_asked_for_is_told(partitions: Partitions) -> None:
    partitions.leads("orders", 2)
    partitions.leads("payments")
    asked = [Request.DescribableLogDirTopic(topic="orders", partitions=[1])]
    assert list(sizes(await described(partitions, asked))) == [("orders", 1)]
