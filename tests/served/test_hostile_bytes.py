"""Any bytes on a socket end in an answer or a closed connection, and the broker goes on serving."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pykafka_broker
from pykafka_broker import Broker
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record, build
from pykafka_broker.wire.exchange import read_response, write_request
from tests.served.conftest import RawClient, connected

LIMITS = {"socket.request.max.bytes": "100000", "connections.max.idle.ms": "60000"}


@pytest.fixture(scope="module")
def victim() -> Iterator[Broker]:
    with pykafka_broker.running(LIMITS) as broker:
        yield broker


async def outcome(broker: Broker, data: bytes) -> str:
    """What becomes of a connection on which these bytes are sent and then no more."""
    async with connected(broker) as client:
        with trio.fail_after(20):
            try:
                await client.stream.send_all(data)
                await client.stream.send_eof()
                while await client.frame() is not None:
                    pass
            except trio.BrokenResourceError:
                pass
    return "closed"


async def still_serves(broker: Broker) -> bool:
    async with connected(broker) as client:
        response = await client.asks(0, messages.ApiVersionsRequest())
        return bool(response.error_code == 0)


@given(data=st.binary(max_size=300))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_never_hurt(victim: Broker, data: bytes) -> None:
    assert trio.run(outcome, victim, data) == "closed"


@given(
    key=st.integers(-1, 80),
    version=st.integers(-1, 20),
    rest=st.binary(max_size=200),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bodies_behind_a_good_header_never_hurt(victim: Broker, key: int, version: int, rest: bytes) -> None:
    frame = struct.pack(">hhih", key, version, 1, -1) + rest
    assert trio.run(outcome, victim, struct.pack(">i", len(frame)) + frame) == "closed"


@given(
    request=st.sampled_from(
        [
            (12, messages.MetadataRequest(topics=None)),
            (9, messages.ProduceRequest(acks=1, timeout_ms=10)),
            (12, messages.FetchRequest(max_wait_ms=0)),
            (9, messages.JoinGroupRequest(group_id="g", session_timeout_ms=6000, rebalance_timeout_ms=100)),
            (9, messages.OffsetFetchRequest()),
            (7, messages.CreateTopicsRequest(timeout_ms=10)),
        ]
    ),
    where=st.integers(4, 60),
    to=st.integers(0, 255),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_requests_with_one_wrong_byte_never_hurt(victim: Broker, request: tuple[int, Any], where: int, to: int) -> None:
    version, body = request
    data = bytearray(write_request(type(body).__name__.removesuffix("Request"), version, 1, "tests", body))
    data[where % len(data)] = to
    assert trio.run(outcome, victim, bytes(data)) == "closed"


@pytest.mark.parametrize("size", [-1, -(2**31), 100_001, 2**31 - 1])
def test_a_frame_of_a_size_that_is_not_allowed_closes_the_connection(victim: Broker, size: int) -> None:
    assert trio.run(outcome, victim, struct.pack(">i", size)) == "closed"


def test_after_all_of_this_the_broker_still_serves(victim: Broker) -> None:
    for data in (b"", b"\x00", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, bytes(100)):
        assert trio.run(outcome, victim, data) == "closed"
    assert trio.run(still_serves, victim)


async def test_connections_from_one_address_are_limited() -> None:
    async with Broker({"max.connections.per.ip": "2"}) as broker, connected(broker) as one, connected(broker) as two:
        for client in (one, two):
            await client.asks(0, messages.ApiVersionsRequest())
        async with connected(broker) as third:
            assert await third.frame() is None
        await two.stream.aclose()
        while True:
            async with connected(broker) as again:
                try:
                    await again.stream.send_all(write_request("ApiVersions", 0, 1, "x", messages.ApiVersionsRequest()))
                except trio.BrokenResourceError:
                    continue
                if await again.frame() is not None:
                    break


async def test_a_full_broker_lets_the_next_client_wait_until_there_is_room() -> None:
    async with Broker({"max.connections": "1"}) as broker, connected(broker) as waiting:
        await waiting.asks(0, messages.ApiVersionsRequest())
        async with connected(broker) as second, trio.open_nursery() as nursery:
            heard = trio.Event()

            async def ask() -> None:
                await second.asks(0, messages.ApiVersionsRequest())
                heard.set()

            nursery.start_soon(ask)
            with trio.move_on_after(0.1):
                await heard.wait()
            assert not heard.is_set()
            await waiting.stream.aclose()
            with trio.fail_after(10):
                await heard.wait()


async def test_a_client_that_says_nothing_is_let_go() -> None:
    async with Broker({"connections.max.idle.ms": "200"}) as broker, connected(broker) as silent:
        with trio.fail_after(10):
            assert await silent.frame() is None


async def test_a_client_that_waits_too_long_for_an_answer_is_let_go_as_by_kafka() -> None:
    async with Broker({"connections.max.idle.ms": "400"}) as broker, connected(broker) as client:
        await led(client, "t")
        fetch = messages.FetchRequest
        wanted = [fetch.Topic(topic="t", partitions=[fetch.Partition()])]
        for _ in range(3):
            # A wait within the limit is no idleness, and each answer begins a new one.
            response = await client.asks(11, fetch(max_wait_ms=200, min_bytes=1, topics=wanted))
            assert response.responses[0].partitions[0].error_code == 0
        forever = fetch(max_wait_ms=2**31 - 1, min_bytes=1, topics=wanted)
        await client.stream.send_all(write_request("Fetch", 11, 9, "x", forever))
        with trio.fail_after(10):
            assert await client.frame() is None


async def test_a_client_that_does_not_read_its_answers_is_let_go() -> None:
    limits = {"connections.max.idle.ms": "200", "max.connections": "1"}
    async with Broker(limits) as broker, connected(broker) as greedy:
        many = write_request("ApiVersions", 0, 1, "x", messages.ApiVersionsRequest()) * 1000
        with trio.move_on_after(0.5), suppress(trio.BrokenResourceError):
            while True:
                await greedy.stream.send_all(many)
        with trio.fail_after(10):
            async with connected(broker) as following:
                await following.asks(0, messages.ApiVersionsRequest())


async def test_an_answer_from_a_file_does_not_wait_for_the_request_behind_it(broker: Broker) -> None:
    async with connected(broker) as client:
        await led(client, "t", partitions=2)
        produce, fetch = messages.ProduceRequest, messages.FetchRequest
        data = produce.PartitionProduceData(index=0, records=build([Record(timestamp=1, key=None, value=b"v")]))
        await client.asks(
            8,
            produce(acks=1, timeout_ms=1000, topic_data=[produce.TopicProduceData(name="t", partition_data=[data])]),
        )

        def asking(partition: int) -> bytes:
            asked = fetch.Partition(partition=partition, partition_max_bytes=1000)
            topics = [fetch.Topic(topic="t", partitions=[asked])]
            body = fetch(max_wait_ms=600_000, min_bytes=1, max_bytes=1000, topics=topics)
            return write_request("Fetch", 11, partition, "x", body)

        await client.stream.send_all(asking(0) + asking(1))
        with trio.fail_after(10):
            frame = await client.frame()
        assert frame is not None
        assert len(read_response("Fetch", 11, frame)[1].responses[0].partitions[0].records) > 60


async def led(client: RawClient, topic: str, partitions: int = 1) -> None:
    """Make a topic whose partitions have leaders."""
    new = messages.CreateTopicsRequest.CreatableTopic(name=topic, num_partitions=partitions, replication_factor=1)
    response = await client.asks(5, messages.CreateTopicsRequest(topics=[new], timeout_ms=10_000))
    assert response.topics[0].error_code == 0
