"""The broker as a part of somebody's program."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

import pykafka_broker
from pykafka_broker.config.loading import ConfigurationError
from pykafka_broker.houses import CannotStart
from pykafka_broker.runtime import log_keeper
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record, build
from pykafka_broker.wire.exchange import read_response, write_request
from tests.rooms.store.test_files import open_below
from tests.served.conftest import connected


async def test_a_broker_serves_inside_a_trio_program() -> None:
    async with pykafka_broker.Broker() as broker, connected(broker) as client:
        metadata = await client.asks(12, messages.MetadataRequest(topics=None))
        assert [one.node_id for one in metadata.brokers] == [broker.broker_id]
        assert f"{metadata.brokers[0].host}:{metadata.brokers[0].port}" == broker.bootstrap_servers
        assert metadata.controller_id == broker.broker_id


def test_a_broker_serves_in_a_thread_of_a_program_without_trio() -> None:
    async def ask() -> messages.MetadataResponse:
        async with connected(broker) as client:
            response: messages.MetadataResponse = await client.asks(1, messages.MetadataRequest(topics=[]))
            return response

    with pykafka_broker.running({"broker.id": "7"}) as broker:
        assert trio.run(ask).brokers[0].node_id == 7
    with pytest.raises(RuntimeError, match="not running"):
        _ = broker.bootstrap_servers


async def test_data_stays_where_it_was_put(tmp_path: Path) -> None:
    for expected in (True, False):
        async with pykafka_broker.Broker(data_dir=tmp_path) as broker, connected(broker) as client:
            created = await client.asks(
                7,
                messages.CreateTopicsRequest(
                    topics=[
                        messages.CreateTopicsRequest.CreatableTopic(name="kept", num_partitions=2, replication_factor=1)
                    ],
                    timeout_ms=5000,
                ),
            )
            assert (created.topics[0].error_code == 0) is expected
    assert (tmp_path / "kept-1" / "00000000000000000000.log").exists()


async def test_a_temporary_directory_is_gone_afterwards() -> None:
    async with pykafka_broker.Broker() as broker:
        directory = Path(broker.data_dir)
        assert directory.is_dir()
    assert not directory.exists()


async def test_settings_may_be_python_values() -> None:
    properties = {"num.partitions": 3, "auto.create.topics.enable": True}
    async with pykafka_broker.Broker(properties) as broker, connected(broker) as client:
        asked = messages.MetadataRequest(topics=[messages.MetadataRequest.Topic(name="t")])
        while (topic := (await client.asks(9, asked)).topics[0]).error_code:
            await trio.lowlevel.checkpoint()
        assert len(topic.partitions) == 3


def buffers_of_whom(client: socket.socket) -> tuple[int, int]:
    """The bytes that the other end of a connection, in this process, may hold to be sent and to be read."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as other:
            if other.getsockname() == client.getpeername() and other.getpeername() == client.getsockname():
                return tuple(
                    other.getsockopt(socket.SOL_SOCKET, which) for which in (socket.SO_SNDBUF, socket.SO_RCVBUF)
                )
    raise LookupError("nobody is at the other end")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the broker's sockets in /proc")
async def test_socket_buffers_are_as_large_as_is_asked_for() -> None:
    found = []
    for sizes in (
        {},
        {"socket.send.buffer.bytes": 20_000, "socket.receive.buffer.bytes": 30_000},
        {"socket.send.buffer.bytes": -1},
    ):
        async with pykafka_broker.Broker(sizes) as broker, connected(broker) as client:
            await client.asks(12, messages.MetadataRequest(topics=None))
            with socket.socket(fileno=os.dup(client.stream.socket.fileno())) as plain:
                found.append(buffers_of_whom(plain))
    (sent, chosen), given, (left_to_the_system, _) = found
    # Linux doubles what it is told, for its own needs.
    assert sent == 400_000
    assert given == (40_000, 60_000)
    assert left_to_the_system not in (40_000, 400_000)
    assert chosen > 60_000


async def test_a_wrong_setting_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"num\.partitions"):
        async with pykafka_broker.Broker({"num.partitions": "many"}):
            pass


async def test_a_port_that_is_taken_is_told() -> None:
    async with pykafka_broker.Broker() as broker:
        with pytest.raises(CannotStart, match="in use"):
            async with pykafka_broker.Broker({"listeners": f"PLAINTEXT://{broker.bootstrap_servers}"}):
                pass


async def test_a_directory_that_is_in_use_is_told(tmp_path: Path) -> None:
    async with pykafka_broker.Broker(data_dir=tmp_path):
        with pytest.raises(CannotStart, match=r"in use|lock"):
            async with pykafka_broker.Broker(data_dir=tmp_path):
                pass


def test_a_broker_that_cannot_start_in_a_thread_says_so_to_the_caller() -> None:
    with pytest.raises(ConfigurationError), pykafka_broker.running({"num.partitions": "many"}):
        pass


async def test_what_goes_wrong_in_the_body_reaches_the_caller_as_it_is() -> None:
    with pytest.raises((ZeroDivisionError, ExceptionGroup)):
        async with pykafka_broker.Broker():
            _ = 1 // 0


async def test_a_fetch_of_more_partitions_than_there_are_descriptors_is_answered_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_keeper, "may_be_open", lambda: 64)
    count = 100
    create, produce, fetch = messages.CreateTopicsRequest, messages.ProduceRequest, messages.FetchRequest
    async with pykafka_broker.Broker({"log.dirs": str(tmp_path)}) as broker, connected(broker) as client:
        topic = create.CreatableTopic(name="t", num_partitions=count, replication_factor=1)
        await client.asks(5, create(topics=[topic], timeout_ms=10_000))
        sent = [
            produce.PartitionProduceData(index=index, records=bytes(build([Record(value=b"x" * 50_000)])))
            for index in range(count)
        ]
        topic_data = [produce.TopicProduceData(name="t", partition_data=sent)]
        answer = await client.asks(9, produce(acks=1, timeout_ms=1_000, topic_data=topic_data))
        assert {one.error_code for one in answer.responses[0].partition_responses} == {0}
        wanted = set(range(count))
        while wanted:
            partitions = [fetch.Partition(partition=index, partition_max_bytes=100_000) for index in wanted]
            asked = fetch(max_bytes=1 << 30, session_epoch=-1, topics=[fetch.Topic(topic="t", partitions=partitions)])
            await client.stream.send_all(write_request("Fetch", 11, len(wanted), "tests", asked))
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert open_below(tmp_path) <= 24, "as long as the client does not read"
            frame = await client.frame()
            assert frame is not None
            answer = read_response("Fetch", 11, frame)[1]
            entries = answer.responses[0].partitions
            assert {entry.error_code for entry in entries} == {0}
            given = {entry.partition_index for entry in entries if entry.records}
            assert given, "each answer has something"
            wanted -= given
