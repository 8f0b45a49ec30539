"""A producer as a process of its own: `python -m compat.cluster.writers KIND '{"bootstrap": ..., ...}'`.

It writes `<producer>.<number>` at a steady pace, acks=all and idempotent, until it is told to end (SIGTERM), then waits
for what is under way. What it does and hears it prints, one JSON object to a line, in the words of Apache Kafka's
verifiable producer, `producer_send` before each record, and `client_error` when the client does not take it. Its
retries go on for minutes: what it reports as an error, no retry has hidden.
"""

from __future__ import annotations

import functools
import itertools
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer
from kafka import KafkaProducer

_REQUEST_S: Final = 5
_DELIVERY_S: Final = 120
_END_S: Final = 120.0
_PAUSE_S: Final = 0.02

_over: list[int] = []


def say(name: str, **details: Any) -> None:
    """One line."""
    print(json.dumps({"timestamp": int(time.time() * 1000), "name": name, **details}), flush=True)


def numbers(rate: float) -> Iterator[int]:
    """0, 1, 2, ... as their time comes, until the process is told to end."""
    begun = time.monotonic()
    for number in itertools.count():
        while not _over and time.monotonic() < begun + number / rate:
            time.sleep(_PAUSE_S)
        if _over:
            return
        yield number


def confluent(bootstrap: str, topic: str, partitions: int, producer: str, rate: float) -> None:
    """With confluent-kafka."""
    client = Producer(
        {
            "bootstrap.servers": bootstrap,
            "client.id": f"writer-{producer}",
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 5,
            "request.timeout.ms": _REQUEST_S * 1000,
            "socket.timeout.ms": _REQUEST_S * 1000 + 1000,
            "message.timeout.ms": _DELIVERY_S * 1000,
            "reconnect.backoff.max.ms": 500,
            "log_level": 3,
        }
    )

    def heard(value: str, error: Any, message: Any) -> None:
        if error is None:
            say("producer_send_success", value=value, partition=message.partition(), offset=message.offset())
        else:
            say("producer_send_error", value=value, message=str(error))

    for number in numbers(rate):
        value = f"{producer}.{number}"
        say("producer_send", value=value)
        while not _is_taken(client, topic, number % partitions, value, functools.partial(heard, value)):
            client.poll(_PAUSE_S)
        client.poll(0)
    client.flush(_END_S)


def _is_taken(client: Producer, topic: str, partition: int, value: str, heard: Callable[..., None]) -> bool:
    """Whether the client takes the record: it does not while brokers that have just begun do not know the topic yet."""
    try:
        client.produce(topic, value.encode(), partition=partition, on_delivery=heard)
    except KafkaException as problem:
        if problem.args[0].code() != KafkaError._UNKNOWN_TOPIC:
            raise
        say("client_error", error=str(problem))
        return False
    return True


def kafka_python(bootstrap: str, topic: str, partitions: int, producer: str, rate: float) -> None:
    """With kafka-python."""
    client = KafkaProducer(
        bootstrap_servers=bootstrap.split(","),
        client_id=f"writer-{producer}",
        enable_idempotence=True,
        # Else a broker that knows no others yet answers that it cannot make the topic, and the record is given up.
        allow_auto_create_topics=False,
        acks="all",
        linger_ms=5,
        request_timeout_ms=_REQUEST_S * 1000,
        delivery_timeout_ms=_DELIVERY_S * 1000,
        max_block_ms=_DELIVERY_S * 1000,
        reconnect_backoff_max_ms=500,
    )

    def acknowledged(value: str, told: Any) -> None:
        say("producer_send_success", value=value, partition=told.partition, offset=told.offset)

    def failed(value: str, error: BaseException) -> None:
        say("producer_send_error", value=value, message=repr(error))

    for number in numbers(rate):
        value = f"{producer}.{number}"
        say("producer_send", value=value)
        future = client.send(topic, value.encode(), partition=number % partitions)
        future.add_callback(functools.partial(acknowledged, value))
        future.add_errback(functools.partial(failed, value))
    client.flush(_END_S)


KINDS: Final[dict[str, Callable[..., None]]] = {"confluent": confluent, "kafka-python": kafka_python}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: _over.append(number))
    KINDS[sys.argv[1]](**json.loads(sys.argv[2]))
    say("shutdown_complete")
