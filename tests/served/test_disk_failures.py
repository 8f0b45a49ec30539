"""Disks that are full or gone, and a process that may open no more files: what is taken offline, and what is not."""

from __future__ import annotations

import os
import resource
import shutil
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import trio

from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.wire import messages
from tests.served.conftest import RawClient
from tests.served.test_command_line import Started, produce, started

pytestmark = pytest.mark.slow


async def _fill(port: int) -> tuple[dict[int, int], dict[int, int]]:
    """Produce to the partitions of a topic until one refuses, then a little to all; the acknowledged records of each.

    First those of partitions that take records still, then those of the ones that answer KAFKA_STORAGE_ERROR.
    """
    from tests.rooms.api.conftest import batch

    request = messages.ProduceRequest
    acknowledged = dict.fromkeys(range(4), 0)
    refused: set[int] = set()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        client = RawClient(stream)
        new = messages.CreateTopicsRequest.CreatableTopic(name="t", num_partitions=4, replication_factor=1)
        await client.asks(5, messages.CreateTopicsRequest(topics=[new], timeout_ms=5000))

        async def produce(index: int, value: bytes) -> None:
            part = request.PartitionProduceData(index=index, records=batch(value))
            data = request.TopicProduceData(name="t", partition_data=[part])
            response = await client.asks(9, request(acks=-1, timeout_ms=5000, topic_data=[data]))
            code = response.responses[0].partition_responses[0].error_code
            if code:
                assert code == ErrorCode.KAFKA_STORAGE_ERROR
                refused.add(index)
            else:
                acknowledged[index] += 1

        while not refused:
            await produce(0, b"x" * 50_000)
        await trio.sleep(0)
        for index in range(4):
            await produce(index, b"y")
    return (
        {index: count for index, count in acknowledged.items() if index not in refused},
        {index: count for index, count in acknowledged.items() if index in refused},
    )


async def _offline(port: int) -> set[int]:
    """The partitions without a leader, once there are any."""
    topic = messages.MetadataRequest.Topic(name="t")
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        client = RawClient(stream)
        with trio.fail_after(10):
            while True:
                told = await client.asks(9, messages.MetadataRequest(topics=[topic]))
                parts = told.topics[0].partitions
                if found := {part.partition_index for part in parts if part.leader_id == -1}:
                    assert all((part.offline_replicas == [0]) == (part.partition_index in found) for part in parts)
                    return found
                await trio.lowlevel.checkpoint()


async def _end(port: int, index: int) -> int:
    request = messages.ListOffsetsRequest
    asked = request.Topic(name="t", partitions=[request.Partition(partition_index=index, timestamp=-1)])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        response = await RawClient(stream).asks(5, request(replica_id=-1, topics=[asked]))
    answer = response.topics[0].partitions[0]
    assert answer.error_code == 0
    return int(answer.offset)


def test_a_broker_whose_last_log_directory_fails_says_so_and_ends(tmp_path: Path) -> None:
    checkpoints = "replica.high.watermark.checkpoint.interval.ms=50"
    with started(tmp_path, f"log.dirs={tmp_path / 'gone'}", checkpoints) as broker:
        trio.run(produce, broker.port, b"a")
        shutil.rmtree(tmp_path / "gone")
        with suppress(OSError, AssertionError):
            # The next mark that is to be written down is one too many.
            trio.run(produce, broker.port, b"b")
        assert broker.process.wait(20) == 1
        *_, last = broker.said.splitlines()
        assert last == f"pykafka-broker: Shutdown broker because all log dirs in {tmp_path / 'gone'} have failed"
        assert "Traceback" not in broker.said


def test_a_full_disk_takes_only_what_is_on_it(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: it makes every write beyond it fail."""
    with started(tmp_path, f"log.dirs={tmp_path / 'a'},{tmp_path / 'b'}", limits=f"-f {200_000 // 512}") as broker:
        there, refused = trio.run(_fill, broker.port)
        assert refused, "every partition took everything"
        assert there, "no partition is left"
        assert trio.run(_offline, broker.port) == set(refused)
        assert "LogDirectoryOffline" in broker.said
        assert "Traceback" not in broker.said
        assert broker.process.poll() is None
    with started(tmp_path, f"log.dirs={tmp_path / 'a'},{tmp_path / 'b'}") as broker:
        for index, acknowledged in (there | refused).items():
            assert trio.run(_end, broker.port, index) >= acknowledged


class Writer:
    """A client that keeps its connection and counts what was acknowledged."""

    def __init__(self, stream: trio.SocketStream, partitions: int) -> None:
        self._client = RawClient(stream)
        self._partitions = partitions
        self.acknowledged = dict.fromkeys(range(partitions), 0)

    async def make_topic(self, **configs: str) -> None:
        request = messages.CreateTopicsRequest
        pairs = [request.CreatableTopicConfig(name=name, value=text) for name, text in configs.items()]
        new = request.CreatableTopic(name="t", num_partitions=self._partitions, replication_factor=1, configs=pairs)
        await self._client.asks(5, request(topics=[new], timeout_ms=5000))

    async def writes(self, index: int, size_bytes: int = 1000) -> int:
        """The error of one record written to a partition."""
        from tests.rooms.api.conftest import batch

        request = messages.ProduceRequest
        part = request.PartitionProduceData(index=index, records=batch(b"x" * size_bytes))
        data = request.TopicProduceData(name="t", partition_data=[part])
        response = await self._client.asks(9, request(acks=-1, timeout_ms=5000, topic_data=[data]))
        code = int(response.responses[0].partition_responses[0].error_code)
        self.acknowledged[index] += not code
        return code


def may_open(broker: Started, count: int) -> None:
    """Bound how many files the process may have open from now on."""
    _, hard = resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (count, hard))


def open_files(broker: Started) -> int:
    return len(os.listdir(f"/proc/{broker.process.pid}/fd"))


def test_connections_take_no_file_from_the_log_and_those_that_wait_get_their_turn(tmp_path: Path) -> None:
    async def story(broker: Started) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", broker.port) as stream:
            writer = Writer(stream, 40)
            await writer.make_topic(**{"segment.bytes": "5000"})
            with ExitStack() as idle:
                for _ in range(400):
                    idle.enter_context(socket.create_connection(("127.0.0.1", broker.port), 5))
                for _ in range(12):
                    for index in range(40):
                        assert await writer.writes(index) == ErrorCode.NONE
                assert open_files(broker) <= 300
        with trio.fail_after(20):
            assert await produce(broker.port, b"a") == 12

    with started(tmp_path, limits="-n 300") as broker:
        trio.run(story, broker)
        assert "Offline" not in broker.said
        assert "cannot accept" not in broker.said


def test_a_process_that_may_open_no_more_files_takes_its_directory_offline_and_loses_nothing(tmp_path: Path) -> None:
    directories = f"log.dirs={tmp_path / 'a'},{tmp_path / 'b'}"

    async def story(broker: Started) -> dict[int, int]:
        async with await trio.open_tcp_stream("127.0.0.1", broker.port) as stream:
            writer = Writer(stream, 2)
            await writer.make_topic(**{"segment.bytes": "5000"})
            for index in (0, 1):
                assert await writer.writes(index) == ErrorCode.NONE
            may_open(broker, open_files(broker))
            with socket.create_connection(("127.0.0.1", broker.port), 5):
                # The first partition needs another file for its next segment; the second has what it needs.
                while (code := await writer.writes(0)) == ErrorCode.NONE:
                    assert writer.acknowledged[0] < 10, "it never rolled"
                assert code == ErrorCode.KAFKA_STORAGE_ERROR
                assert await writer.writes(1) == ErrorCode.NONE
                assert "cannot accept" in broker.said
            may_open(broker, 1000)
            with trio.fail_after(20):
                async with await trio.open_tcp_stream("127.0.0.1", broker.port) as another:
                    assert await Writer(another, 2).writes(1) == ErrorCode.NONE
        writer.acknowledged[1] += 1
        return writer.acknowledged

    with started(tmp_path, directories) as broker:
        acknowledged = trio.run(story, broker)
        assert broker.said.count("LogDirectoryOffline") == 1
        assert "Traceback" not in broker.said
    with started(tmp_path, directories) as broker:
        for index, count in acknowledged.items():
            assert trio.run(_end, broker.port, index) == count
