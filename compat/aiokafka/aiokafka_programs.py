"""Short words for what the programs with aiokafka do. Each program is a coroutine with an event loop of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from compat.waiting import PATIENCE_S

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], *, within_s: float = PATIENCE_S, what: str = "") -> T:
    """The first true value that `look` gives. Raises `AssertionError` with the last one after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {within_s} s for {what or 'something true'}; last: {found!r}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client, closed afterwards."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def create_topic(bootstrap: str, name: str, partitions: int = 1, **config: str) -> str:
    """Create a topic, keys of its configuration with ``_`` for ``.``; return its name when it can be used."""
    settings = {key.replace("_", "."): value for key, value in config.items()}
    async with admin(bootstrap) as client:
        response = await client.create_topics([NewTopic(name, partitions, 1, topic_configs=settings)])
        assert [error[1] for error in response.topic_errors] == [0], response

        async def is_led() -> bool:
            (topic,) = await client.describe_topics([name])
            return len(topic["partitions"]) == partitions and all(p["leader"] == 0 for p in topic["partitions"])

        await until(is_led, what=f"topic {name}")
    return name


async def produce(
    bootstrap: str, topic: str, records: Iterable[Mapping[str, Any]], **settings: Any
) -> list[tuple[int, int]]:
    """Produce `records` (keyword arguments of `send`); partition and offset of each."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, **settings) as producer:
        sent = [await producer.send(topic, **record) for record in records]
        return [(place.partition, place.offset) for place in await asyncio.gather(*sent)]


@asynccontextmanager
async def consumer(bootstrap: str, *topics: str, **settings: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that starts at the beginning and is stopped afterwards."""
    defaults = {
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "session_timeout_ms": 6000,
        "heartbeat_interval_ms": 200,
        "metadata_max_age_ms": 1000,
    }
    reader = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, **(defaults | settings))
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


async def read(reader: AIOKafkaConsumer, count: int) -> list[Any]:
    """The next `count` records."""
    async with asyncio.timeout(PATIENCE_S):
        return [await reader.getone() for _ in range(count)]


async def read_topic(bootstrap: str, topic: str, count: int, **settings: Any) -> list[Any]:
    """The first `count` records of partition 0, read without a group."""
    async with consumer(bootstrap, **settings) as reader:
        reader.assign([TopicPartition(topic, 0)])
        return await read(reader, count)


def partitions(reader: AIOKafkaConsumer) -> set[int]:
    """What is assigned to a member of a group on one topic."""
    return {place.partition for place in reader.assignment()}
