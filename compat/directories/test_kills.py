"""Producers go on while the broker is killed again and again: what was acknowledged is there, once and in order."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from kafka import KafkaProducer

from compat.servers import QUICK, Server, our_broker
from compat.waiting import until

pytestmark = [
    pytest.mark.compat,
    # kafka-python leaves sockets open that a broker has dropped.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROUNDS: Final = 5
TOPIC: Final = "killed"
CONFLUENT, KAFKA_PYTHON = 0, 1
"""The partition of each producer."""


class Writer:
    """One producer that numbers its records from 0 on, and what was acknowledged of them."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.acknowledged: list[int] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        self._ends.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "a producer does not come to an end"


class ConfluentWriter(Writer):
    """librdkafka, with idempotence."""

    def _run(self) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 1})
        number = 0
        while not self._ends.is_set():
            with contextlib.suppress(BufferError):  # while there is no broker it takes so many and no more
                producer.produce(TOPIC, str(number).encode(), partition=CONFLUENT, on_delivery=self._done(number))
                number += 1
            producer.poll(0.001)
        producer.flush(50)

    def _done(self, number: int) -> Any:
        def done(error: Any, _: Any) -> None:
            if error is None:
                self.acknowledged.append(number)

        return done


class KafkaPythonWriter(Writer):
    """kafka-python, with idempotence."""

    def _run(self) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self.bootstrap, enable_idempotence=True, linger_ms=1, max_block_ms=50_000, retries=1000
        )
        number = 0
        while not self._ends.is_set():
            sent = producer.send(TOPIC, str(number).encode(), partition=KAFKA_PYTHON)
            sent.add_callback(lambda _, number=number: self.acknowledged.append(number))
            number += 1
            time.sleep(0.001)
        producer.flush(50)
        producer.close(10)


def stored(broker: Server, partition: int) -> list[int]:
    """Every record of a partition, in order."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "none", "enable.auto.commit": False})
    try:
        place = TopicPartition(TOPIC, partition, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=20)
        consumer.assign([place])
        found: list[int] = []
        while len(found) < end:
            found += [int(message.value()) for message in consumer.consume(10_000, 1) if not message.error()]
        return found
    finally:
        consumer.close()


@pytest.fixture(params=[{"log.flush.interval.messages": "1"}, {}], ids=["flushed at once", "default"])
def broker(request: pytest.FixtureRequest) -> Iterator[Server]:
    with our_broker({**QUICK, **request.param, "num.partitions": "2"}) as broker:
        yield broker


def test_what_was_acknowledged_is_there_once_and_in_order_however_often_the_broker_is_killed(
    broker: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(7)
    made = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "none", "allow.auto.create.topics": True})
    until(lambda: made.list_topics(TOPIC, timeout=10).topics[TOPIC].error is None, what="the topic")
    made.close()
    writers = [ConfluentWriter(broker.bootstrap), KafkaPythonWriter(broker.bootstrap)]
    for _ in range(ROUNDS):
        before = [len(writer.acknowledged) for writer in writers]
        wanted = dice.randint(100, 500)
        until(
            lambda: all(len(w.acknowledged) >= b + wanted for w, b in zip(writers, before, strict=True)),  # noqa: B023
            within_s=60,
            what="both producers to go on",
        )
        broker.kill()
        broker.start()
    for writer in writers:
        writer.end()
    for partition, writer in enumerate(writers):
        found = stored(broker, partition)
        assert found == sorted(set(found)), "doubled or out of order"
        lost = set(writer.acknowledged) - set(found)
        assert not lost, f"{len(lost)} acknowledged records are lost"
    with capsys.disabled():
        counts = " and ".join(f"{len(writer.acknowledged):,}" for writer in writers)
        print(f"\nkilled {ROUNDS} times: {counts} acknowledged records are there, once and in order")
