"""DescribeLogDirs tells what lies where and how large it is; AlterReplicaLogDirs has it moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pykafka_broker.api.log_dirs import LogDirApi
from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.partition import Origin
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.runtime.log_keeper import LogKeeper
from pykafka_broker.store.meta import Meta
from pykafka_broker.wire import messages
from tests.rooms.api.conftest import Partitions, batch, call

Request = messages.DescribeLogDirsRequest


async def described(partitions: Partitions, topics: Any) -> Any:
    response = await LogDirApi(partitions.keeper, partitions.moves).describe_log_dirs(
        call("DescribeLogDirs", 4, Request(topics=topics))
    )
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


async def alter(partitions: Partitions, wanted: Mapping[str, Mapping[str, list[int]]]) -> dict[tuple[str, int], int]:
    request = messages.AlterReplicaLogDirsRequest
    body = request(
        dirs=[
            request.AlterReplicaLogDir(
                path=path,
                topics=[request.AlterReplicaLogDirTopic(name=name, partitions=asked) for name, asked in topics.items()],
            )
            for path, topics in wanted.items()
        ]
    )
    response = await LogDirApi(partitions.keeper, partitions.moves).alter(call("AlterReplicaLogDirs", 2, body))
    assert messages.encode(response, 2)
    return {
        (topic.topic_name, one.partition_index): one.error_code
        for topic in response.results
        for one in topic.partitions
    }


async def test_each_partition_to_be_moved_is_answered_for_itself(partitions: Partitions) -> None:
    partitions.leads("orders", 2)
    partitions.leads("elsewhere", leader=3)
    here = (await described(partitions, None)).log_dir
    assert await alter(partitions, {here: {"orders": [0, 7], "ghost": [0]}, "/nowhere": {"orders": [1]}}) == {
        ("orders", 0): ErrorCode.NONE,
        ("orders", 7): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ("ghost", 0): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ("orders", 1): ErrorCode.LOG_DIR_NOT_FOUND,
    }
    assert await alter(partitions, {here: {"orders": [0]}, "/nowhere": {"orders": [0]}}) == {
        ("orders", 0): ErrorCode.LOG_DIR_NOT_FOUND
    }
    assert await alter(partitions, {}) == {}


async def test_a_partition_that_is_moving_is_told_twice(partitions: Partitions, tmp_path: Path) -> None:
    keeper = LogKeeper(
        [tmp_path / "a", tmp_path / "b"],
        partitions.clock,
        BrokerSettings(),
        partitions.topic_settings,
        partitions.changes,
        lambda fact: None,
    )
    await keeper.open(Meta(BrokerId(0), "cluster"))
    place = TopicPartition("orders", 0)
    log = keeper.create(place, partitions.topic_id("orders"), TopicSettings())
    data = batch(b"x" * 100)
    for _ in range(3):
        log.append(partitions.now, bytearray(data), leader_epoch=0)
    directory = keeper.directory(str(tmp_path / "b"))
    assert directory is not None
    keeper.make_copy(place, directory)
    response = await LogDirApi(keeper, partitions.moves).describe_log_dirs(
        call("DescribeLogDirs", 4, Request(topics=None))
    )
    told = [
        (Path(result.log_dir).name, one.partition_size, one.offset_lag, one.is_future_key)
        for result in response.results
        for topic in result.topics
        for one in topic.partitions
    ]
    assert told == [("a", 3 * len(data), 0, False), ("b", 0, 3, True)]
    await keeper.close()
