"""A whole broker whose partitions move between log directories while somebody writes."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from pykafka_broker.model.names import Offset
from pykafka_broker.wire import messages as m
from pykafka_broker.wire.batch import Record, TruncatedBatch, build, records
from pykafka_broker.wire.formats import headers
from tests.served.conftest import RawClient
from tests.served.test_command_line import Started, started

pytestmark = pytest.mark.slow


async def create(client: RawClient, name: str) -> None:
    topic = m.CreateTopicsRequest.CreatableTopic(name=name, num_partitions=1, replication_factor=1)
    (result,) = (await client.asks(5, m.CreateTopicsRequest(topics=[topic], timeout_ms=9_000))).topics
    assert result.error_code == 0


async def produce(client: RawClient, name: str, values: list[bytes]) -> int:
    batch = build([Record(timestamp=1_700_000_000_000, key=None, value=value) for value in values])
    request = m.ProduceRequest
    partition = request.PartitionProduceData(index=0, records=batch)
    topic = request.TopicProduceData(name=name, partition_data=[partition])
    response = await client.asks(9, request(acks=-1, timeout_ms=9_000, topic_data=[topic]))
    (answer,) = response.responses[0].partition_responses
    assert answer.error_code == 0
    return int(answer.base_offset)


async def move(client: RawClient, name: str, path: Path) -> int:
    request = m.AlterReplicaLogDirsRequest
    topic = request.AlterReplicaLogDirTopic(name=name, partitions=[0])
    body = request(dirs=[request.AlterReplicaLogDir(path=str(path), topics=[topic])])
    return int((await client.asks(2, body)).results[0].partitions[0].error_code)


async def places(client: RawClient, name: str) -> list[tuple[str, bool]]:
    """Where the partition is: directories, and whether it is on its way there."""
    response = await client.asks(4, m.DescribeLogDirsRequest(topics=None))
    return [
        (Path(result.log_dir).name, one.is_future_key)
        for result in response.results
        for topic in result.topics
        if topic.name == name
        for one in topic.partitions
    ]


async def everything(client: RawClient, name: str) -> list[bytes]:
    """The values of all records, read as a consumer would."""
    request = m.FetchRequest
    found: list[bytes] = []
    offset, end = 0, 1
    while offset < end:
        partition = request.Partition(partition=0, fetch_offset=Offset(offset), partition_max_bytes=1 << 20)
        topic = request.Topic(topic=name, partitions=[partition])
        response = await client.asks(11, request(max_wait_ms=0, min_bytes=0, max_bytes=1 << 20, topics=[topic]))
        (answer,) = response.responses[0].partitions
        assert answer.error_code == 0
        end = answer.high_watermark
        data = bytes(answer.records)
        with suppress(TruncatedBatch):
            for at, header in headers(data):
                found += [record.value or b"" for record in records(data[at : at + header.size_bytes])]
                offset = header.next_offset
    return found


def value(number: int) -> bytes:
    return f"{number:08}".encode() * 1_000


@asynccontextmanager
async def client_of(broker: Started) -> AsyncIterator[RawClient]:
    async with await trio.open_tcp_stream("127.0.0.1", broker.port) as stream:
        yield RawClient(stream)


async def settled(client: RawClient, name: str) -> str:
    """Where the partition is once it no longer moves."""
    with trio.fail_after(60):
        while len(found := await places(client, name)) != 1:
            await trio.sleep(0.01)
    return found[0][0]


@pytest.fixture
def directories(tmp_path: Path) -> list[Path]:
    return [tmp_path / "one", tmp_path / "other"]


def log_dirs(directories: list[Path]) -> str:
    return f"log.dirs={','.join(map(str, directories))}"


async def test_nothing_is_lost_when_it_moves_to_and_fro_under_a_writer(tmp_path: Path, directories: list[Path]) -> None:
    with started(tmp_path, log_dirs(directories)) as broker:
        async with client_of(broker) as writer, client_of(broker) as mover, trio.open_nursery() as nursery:
            await create(writer, "t")
            is_over = False
            count = 0

            async def write() -> None:
                nonlocal count
                while not is_over:
                    assert await produce(writer, "t", [value(count), value(count + 1)]) == count
                    count += 2

            nursery.start_soon(write)
            here = await settled(mover, "t")
            for _ in range(4):
                seen = count
                while count < seen + 400:
                    await trio.sleep(0.01)
                (target,) = (path for path in directories if path.name != here)
                assert await move(mover, "t", target) == 0
                here = await settled(mover, "t")
                assert here == target.name
            is_over = True
        async with client_of(broker) as reader:
            assert await everything(reader, "t") == [value(number) for number in range(count)]


async def test_a_broker_that_is_killed_in_the_middle_has_lost_nothing(tmp_path: Path, directories: list[Path]) -> None:
    count = 3_000
    with started(tmp_path, log_dirs(directories)) as broker:
        async with client_of(broker) as client:
            await create(client, "t")
            for number in range(0, count, 20):
                await produce(client, "t", [value(each) for each in range(number, number + 20)])
            here = await settled(client, "t")
        broker.ends(signal.SIGTERM)
    (target,) = (path for path in directories if path.name != here)
    for delay_s in (0.0, 0.01, 0.03, 0.06):
        with started(tmp_path, log_dirs(directories)) as broker:
            async with client_of(broker) as client:
                await move(client, "t", target)
                await trio.sleep(delay_s)
            broker.ends(signal.SIGKILL)
    with started(tmp_path, log_dirs(directories)) as broker:
        async with client_of(broker) as client:
            assert await settled(client, "t") == target.name
            assert await everything(client, "t") == [value(number) for number in range(count)]
            assert await produce(client, "t", [b"after"]) == count
    assert not list(tmp_path.rglob("*.replacing"))
