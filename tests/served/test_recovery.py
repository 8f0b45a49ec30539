"""A broker process starts again over large logs that were not flushed; what their records hold is holes in files."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from bench.sparse import Shape, fill
from pykafka_broker.wire import messages
from tests.served.conftest import RawClient
from tests.served.test_command_line import COMMAND, started

pytestmark = pytest.mark.slow

PARTITIONS = 60
SHAPE = Shape(segments=10)


@contextmanager
def starting(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A broker process that has not said anything yet; its log lines can be read as they come."""
    command = [*COMMAND, "start", "--override", "listeners=PLAINTEXT://127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home) as process:
        try:
            yield process
        finally:
            process.kill()


async def _make_topic(port: int) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        request = messages.CreateTopicsRequest
        topic = request.CreatableTopic(name="large", num_partitions=PARTITIONS, replication_factor=1)
        with trio.fail_after(30):
            answer = await RawClient(stream).asks(5, request(topics=[topic], timeout_ms=30_000))
        assert [one.error_code for one in answer.topics] == [0]


async def _ends(port: int) -> list[int]:
    """Where the log of each partition ends."""
    request = messages.ListOffsetsRequest
    wanted = [request.Partition(partition_index=index, timestamp=-1) for index in range(PARTITIONS)]
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        body = request(replica_id=-1, topics=[request.Topic(name="large", partitions=wanted)])
        with trio.fail_after(30):
            (topic,) = (await RawClient(stream).asks(5, body)).topics
    return [one.offset for one in topic.partitions]


def _mark_as_unflushed(data: Path) -> None:
    """As after a power cut of a broker that had not flushed anything."""
    (data / ".kafka_cleanshutdown").unlink()
    (data / "recovery-point-offset-checkpoint").write_bytes(b"0\n0\n")


def test_a_recovery_tells_how_far_it_is_ends_when_it_is_told_to_and_is_done_before_the_broker_is_ready(
    tmp_path: Path,
) -> None:
    with started(tmp_path) as broker:
        trio.run(_make_topic, broker.port)
        assert broker.ends(signal.SIGTERM) == 0
    data = tmp_path / "pykafka-data"
    assert fill(data, "large", SHAPE) == PARTITIONS
    _mark_as_unflushed(data)

    with starting(tmp_path) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            if f"RecoveringPartition number=3 of={PARTITIONS} " in line:
                break
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=5)
        assert said == ""
        assert process.returncode == 0
    assert not (data / ".kafka_cleanshutdown").exists()
    assert (data / "recovery-point-offset-checkpoint").read_bytes() == b"0\n0\n"

    with started(tmp_path, "num.recovery.threads.per.data.dir=2") as broker:
        assert "ready" in broker.ready
        assert f"RecoveringPartition number={PARTITIONS} of={PARTITIONS} " in broker.said
        assert f"LogDirectoryRecovered directory=pykafka-data partitions={PARTITIONS}" in broker.said
        assert trio.run(_ends, broker.port) == [SHAPE.records] * PARTITIONS
        assert broker.ends(signal.SIGTERM) == 0
    assert (data / ".kafka_cleanshutdown").exists()
