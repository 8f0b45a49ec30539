"""The client's side of the benchmark: one load per call, in a process of its own, with confluent-kafka (but for `raw`).

`python -m bench.loads NAME BOOTSTRAP KEY=NUMBER...` runs the load and prints its findings as one line of JSON. The
same program runs against every broker; it knows nothing about which one it is.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from bench import consumers, joining, raw, sockets
from bench.topics import make_topic
from bench.values import SEQUENCE, Inspection, Lost, filler

PARTITIONS: Final = 4
_PATIENCE_S: Final = 300.0


def produce(
    bootstrap: str,
    count: int,
    size: int,
    partitions: int = PARTITIONS,
    replicas: int = 1,
    turn: int = 0,
    acks: int = -1,
    lz4: int = 0,
    idempotent: int = 0,
) -> dict[str, float]:
    """`count` records of `size` bytes, as fast as they go, into a topic of each `turn`.

    Records carry their number, and what `values.filler` gives.
    """
    topic = f"bulk-{turn}"
    make_topic(bootstrap, topic, partitions, replicas)
    failures: list[KafkaError] = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": acks,
            "compression.type": "lz4" if lz4 else "none",
            "enable.idempotence": bool(idempotent),
            "linger.ms": 5,
            "queue.buffering.max.messages": 200_000,
            "queue.buffering.max.kbytes": 400_000,
            "delivery.report.only.error": True,
            "on_delivery": lambda problem, _: failures.append(problem),
        }
    )
    producer.list_topics(topic, timeout=10)
    rest = filler(size)
    begun = time.perf_counter()
    for number in range(count):
        value = SEQUENCE.pack(number) + rest
        while True:
            try:
                producer.produce(topic, value, partition=number % partitions)
                break
            except BufferError:
                producer.poll(0.01)
        if number % 1000 == 0:
            producer.poll(0)
    left = producer.flush(_PATIENCE_S)
    took = time.perf_counter() - begun
    if left or failures:
        raise Lost(f"{left} records unanswered, {len(failures)} refused: {failures[:1]}")
    return {"seconds": took, "megabytes": count * size / 1e6}


def consume(
    bootstrap: str, count: int, size: int, check: int, partitions: int = PARTITIONS, turn: int = 0
) -> dict[str, float]:
    """All that `produce` wrote, from the beginning.

    With `check`, every byte is compared with what was written, and there must be no more than that; how long it took
    tells nothing then.
    """
    topic = f"bulk-{turn}"
    consumer = _reader(bootstrap, topic, partitions)
    found = 0
    held = 0
    inspection = None
    if check:
        inspection = Inspection(count, size)
        ends = [
            consumer.get_watermark_offsets(TopicPartition(topic, each), timeout=10)[1] for each in range(partitions)
        ]
        if sum(ends) != count:
            raise Lost(f"{sum(ends)} records are there instead of {count}")
    begun = time.perf_counter()
    while found < count:
        # Never more than are left: for those, the client would wait.
        messages = consumer.consume(min(10_000, count - found), 1.0)
        if not messages and time.perf_counter() - begun > _PATIENCE_S:
            raise Lost(f"{found} of {count} records came back")
        found += len(messages)
        if messages:
            held += len(messages[0]) * len(messages)
        if inspection:
            inspection.look_at(message.value() for message in messages)
    took = time.perf_counter() - begun
    if inspection:
        inspection.close()
    consumer.close()
    if found != count or held != count * size:
        raise Lost(f"{found} records of {held} bytes instead of {count} of {count * size}")
    return {"seconds": took, "megabytes": count * size / 1e6}


def requests(bootstrap: str, count: int, in_flight: int) -> dict[str, float]:
    """One record per request, `in_flight` requests under way at any moment, acks=all."""
    make_topic(bootstrap, "single", 1)
    problems: list[KafkaError] = []
    room = threading.Semaphore(in_flight)

    def answered(problem: KafkaError | None, _: object) -> None:
        if problem is not None:
            problems.append(problem)
        room.release()

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "linger.ms": 0,
            "batch.num.messages": 1,
            "max.in.flight.requests.per.connection": in_flight,
        }
    )
    producer.list_topics("single", timeout=10)
    value = b"x" * 100
    begun = time.perf_counter()
    for _ in range(count):
        while not room.acquire(blocking=False):
            producer.poll(0.1)
        producer.produce("single", value, partition=0, on_delivery=answered)
        producer.poll(0)
    left = producer.flush(_PATIENCE_S)
    took = time.perf_counter() - begun
    if left or problems:
        raise Lost(f"{left} records unanswered, {len(problems)} refused: {problems[:1]}")
    end = Consumer({"bootstrap.servers": bootstrap, "group.id": "none"})
    _, high = end.get_watermark_offsets(TopicPartition("single", 0), timeout=10)
    end.close()
    if high != count:
        raise Lost(f"{high} records are there instead of {count}")
    return {"seconds": took, "requests": count}


def latency(bootstrap: str, rate: int, seconds: int) -> dict[str, float]:
    """From `produce` to the consumer's hands, at `rate` records a second; milliseconds."""
    make_topic(bootstrap, "steady", 1)
    consumer = _reader(bootstrap, "steady", 1)
    consumer.poll(0.5)
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0})
    producer.list_topics("steady", timeout=10)
    warm_up = rate
    count = rate * seconds + warm_up
    waits: list[float] = []

    def read() -> None:
        deadline = time.perf_counter() + seconds + 60
        while len(waits) < count and time.perf_counter() < deadline:
            message = consumer.poll(0.5)
            if message is not None and not message.error():
                sent = SEQUENCE.unpack_from(message.value() or b"")[0]
                waits.append((time.perf_counter_ns() - sent) / 1e6)

    reader = threading.Thread(target=read)
    reader.start()
    filler = b"x" * 92
    begun = time.perf_counter()
    for number in range(count):
        due = begun + number / rate
        while (early := due - time.perf_counter()) > 0:
            producer.poll(0)
            time.sleep(min(early, 0.001))
        producer.produce("steady", SEQUENCE.pack(time.perf_counter_ns()) + filler)
    producer.flush(60)
    reader.join()
    consumer.close()
    if len(waits) != count:
        raise Lost(f"{len(waits)} of {count} records came back")
    settled = sorted(waits[warm_up:])
    return {
        "p50": settled[len(settled) // 2],
        "p99": settled[len(settled) * 99 // 100],
        "p999": settled[len(settled) * 999 // 1000],
    }


def join(bootstrap: str, times: int) -> dict[str, float]:
    """From a consumer's beginning, in a group of its own, to its first record; seconds, the median."""
    make_topic(bootstrap, "joined", 1)
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce("joined", b"x")
    if producer.flush(_PATIENCE_S):
        raise Lost("the record to be read was not acknowledged")
    waits = []
    for number in range(times):
        begun = time.perf_counter()
        settings = {"bootstrap.servers": bootstrap, "group.id": f"joined-{number}", "auto.offset.reset": "earliest"}
        consumer = Consumer(settings)
        consumer.subscribe(["joined"])
        message = consumer.poll(_PATIENCE_S)
        waits.append(time.perf_counter() - begun)
        if message is None or message.error():
            raise Lost("no record came")
        consumer.close()
    return {"join": sorted(waits)[times // 2]}


def topic(bootstrap: str, partitions: int) -> dict[str, float]:
    """Makes the topic `sized`."""
    make_topic(bootstrap, "sized", partitions)
    return {}


def touch(bootstrap: str, partitions: int) -> dict[str, float]:
    """One record to every partition of `sized`, acks=all."""
    failures: list[KafkaError] = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "delivery.report.only.error": True,
            "on_delivery": lambda problem, _: failures.append(problem),
        }
    )
    for partition in range(partitions):
        producer.produce("sized", b"x", partition=partition)
    left = producer.flush(_PATIENCE_S)
    if left or failures:
        raise Lost(f"{left} records unanswered, {len(failures)} refused: {failures[:1]}")
    return {}


_SMALL: Final = {"segment.bytes": "1048576", "file.delete.delay.ms": "500"}
_TIDIED: Final = {
    "nothing": {},
    "deletion": {**_SMALL, "retention.bytes": "1048576"},
    "compaction": {**_SMALL, "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"},
}


def answers(bootstrap: str, seconds: int, **mode: int) -> dict[str, float]:
    """From `produce` to the answer, 1,000 records of 10 KB a second, eight partitions; milliseconds.

    The one `mode` says what the broker has to tidy up meanwhile.
    """
    (what,) = mode
    name, rate, size, partitions = f"answers-{what}", 1_000, 10_240, 8
    make_topic(bootstrap, name, partitions, config=_TIDIED[what])
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0})
    producer.list_topics(name, timeout=10)
    waits: list[tuple[int, float]] = []
    problems: list[KafkaError] = []
    filler = random.Random(7).randbytes(size)
    warm_up = 2 * rate
    begun = time.perf_counter()
    for number in range(rate * seconds + warm_up):
        due = begun + number / rate
        while (early := due - time.perf_counter()) > 0:
            producer.poll(min(early, 0.001))
        sent = time.perf_counter()

        def answered(problem: KafkaError | None, _: object, number: int = number, sent: float = sent) -> None:
            if problem is not None:
                problems.append(problem)
            waits.append((number, (time.perf_counter() - sent) * 1000))

        producer.produce(name, filler, b"%d" % (number % 1_000), partition=number % partitions, on_delivery=answered)
    left = producer.flush(_PATIENCE_S)
    # What was due last is tidied up, too.
    time.sleep(3)
    if left or problems:
        raise Lost(f"{left} records unanswered, {len(problems)} refused: {problems[:1]}")
    settled = sorted(wait for number, wait in waits if number >= warm_up)
    return {
        "p99": settled[len(settled) * 99 // 100],
        "p999": settled[len(settled) * 999 // 1000],
        "longest": settled[-1],
        "bytes": float(len(waits) * size),
    }


def _reader(bootstrap: str, topic: str, partitions: int) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 200_000,
            "queued.min.messages": 1_000_000,
            # With a full queue it would rest for a second.
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    return consumer


LOADS: Final[dict[str, Callable[..., dict[str, float]]]] = {
    "produce": produce,
    "consume": consume,
    "requests": requests,
    "latency": latency,
    "first": raw.first,
    "topic": topic,
    "touch": touch,
    "answers": answers,
    "versions": sockets.versions,
    "singles": sockets.singles,
    "wide": sockets.wide,
    "middle": sockets.middle,
    "dated": sockets.dated,
    "join": join,
    "join_bare": joining.join_bare,
    "crowd": consumers.crowd,
}


def main() -> None:
    """Run the load that the command line names."""
    name, bootstrap, *rest = sys.argv[1:]
    options: dict[str, Any] = {key: int(value) for key, _, value in (each.partition("=") for each in rest)}
    try:
        print(json.dumps(LOADS[name](bootstrap, **options)), flush=True)
    except (Lost, sockets.Refused, joining.NotJoined, KafkaException, TimeoutError) as problem:
        sys.exit(f"{name}: {problem}")


if __name__ == "__main__":
    main()
