"""Short words for what the programs with confluent-kafka do: produce and know where, read until there is enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from compat.waiting import PATIENCE_S, until

Setting = str | int | float | bool | Callable[..., object]


def create_topic(bootstrap: str, name: str, partitions: int = 1, **config: str) -> str:
    """Create a topic, keys of its configuration with ``_`` for ``.``; return its name when it can be used."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    settings = {key.replace("_", "."): value for key, value in config.items()}
    for created in admin.create_topics([NewTopic(name, partitions, 1, config=settings)]).values():
        created.result(PATIENCE_S)
    until(lambda: len(admin.list_topics(name, timeout=10).topics[name].partitions) == partitions, what=f"topic {name}")
    return name


def produce(
    bootstrap: str, topic: str, records: Iterable[Mapping[str, Any]], settings: Mapping[str, Setting] | None = None
) -> list[Message]:
    """Produce `records` (keyword arguments of `Producer.produce`); their acknowledgements, in order of arrival.

    Raises `KafkaException` for the first one that is refused.
    """
    acknowledged: list[Message] = []
    refused: list[KafkaError] = []

    def report(error: KafkaError | None, message: Message) -> None:
        if error is None:
            acknowledged.append(message)
        else:
            refused.append(error)

    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, **(settings or {})})
    for record in records:
        producer.produce(topic, **{"on_delivery": report, **record})
    assert producer.flush(PATIENCE_S) == 0, "not everything was answered"
    if refused:
        raise KafkaException(refused[0])
    return acknowledged


def consumer(bootstrap: str, group: str, **settings: Setting) -> Consumer:
    """A consumer that starts at the beginning; further settings with ``_`` for ``.``"""
    given = {key if key.startswith("on_") else key.replace("_", "."): value for key, value in settings.items()}
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 200,
            **given,
        }
    )


def poll(reader: Consumer, seconds: float = 0.1) -> Message | None:
    """One record, or None; events that are no error are passed over."""
    message = reader.poll(seconds)
    if message is None:
        return None
    error = message.error()
    if error is None:
        return message
    if error.code() == KafkaError._PARTITION_EOF or error.retriable():
        return None
    raise KafkaException(error)


def read(reader: Consumer, count: int, *, within_s: float = PATIENCE_S) -> list[Message]:
    """The next `count` records."""
    found: list[Message] = []
    deadline = time.monotonic() + within_s
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} records after {within_s} s"
        message = poll(reader)
        if message is not None:
            found.append(message)
    return found


def read_topic(bootstrap: str, topic: str, count: int, **settings: Setting) -> list[Message]:
    """The first `count` records of partition 0, read without a group."""
    reader = consumer(bootstrap, "nobody", **settings)
    try:
        reader.assign([TopicPartition(topic, 0, 0)])
        return read(reader, count)
    finally:
        reader.close()


def together(readers: Iterable[Consumer], so: Callable[[], bool], *, within_s: float = PATIENCE_S) -> list[Message]:
    """Poll all `readers` in turn until it is `so`; what they read meanwhile."""
    members = list(readers)
    found: list[Message] = []

    def look() -> bool:
        found.extend(message for member in members if (message := poll(member, 0.02)) is not None)
        return so()

    until(look, within_s=within_s, what="the group")
    return found


def partitions(reader: Consumer) -> set[int]:
    """What is assigned to a member of a group on one topic."""
    return {place.partition for place in reader.assignment()}
