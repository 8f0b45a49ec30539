"""What is written to a log directory before somebody else opens it: a bit of everything that there is."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from compat.cluster.asking import ask
from compat.servers import Server
from pykafka_broker.wire.batch import Record, build
from pykafka_broker.wire.messages import InitProducerIdRequest, ProduceRequest, WriteTxnMarkersRequest

CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
PLAIN: Final = tuple(f"codec.{codec}" for codec in CODECS)
GROUPS: Final = ("first", "second")
TOPICS: Final = (*PLAIN, "transactions", "compacted")
PARTITIONS: Final = 2
FIRST_TIME: Final = int(time.time() * 1000) - 3_600_000
"""An hour ago: producers whose records are older than a day are forgotten."""
TRANSACTION_MS: Final = 600_000
"""Longer than any test, so that nobody ends what is left open."""


def make_topics(broker: Server) -> None:
    """All of `TOPICS`, with small segments."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    small = {"segment.bytes": "20000", "index.interval.bytes": "400"}
    compact = {
        "cleanup.policy": "compact",
        "segment.bytes": "3000",
        "min.cleanable.dirty.ratio": "0.01",
        "segment.ms": "100",
    }
    topics = [NewTopic(name, PARTITIONS, 1, config=small) for name in TOPICS[:-1]]
    topics.append(NewTopic("compacted", PARTITIONS, 1, config=compact))
    for made in admin.create_topics(topics).values():
        made.result(30)


def fill(broker: Server) -> None:
    """Records in every topic but that of transactions, and offsets of groups."""
    make_topics(broker)
    produce(broker, 400, *PLAIN)
    for _ in range(3):
        produce(broker, 200, "compacted", keys=7)
    for number, group in enumerate(GROUPS):
        commit(broker, group, 10 + number)


def produce(broker: Server, count: int, *topics: str, keys: int = 1_000) -> None:
    """Records with keys, headers and times that go up and down a little, by an idempotent producer for each topic."""
    producers = {topic: _producer(broker, topic) for topic in topics}
    for number in range(count):
        for topic, producer in producers.items():
            producer.produce(
                topic,
                f"value {number} ".encode() * (number % 9),
                f"key {number % keys}".encode(),
                partition=number % PARTITIONS,
                timestamp=FIRST_TIME + 1000 * number - 7000 * (number % 5),
                headers={"number": str(number).encode()} if number % 3 else None,
            )
        if number % 50 == 49 or number == count - 1:
            assert [producer.flush(30) for producer in producers.values()] == [0] * len(producers)


def _producer(broker: Server, topic: str) -> Producer:
    codec = topic.removeprefix("codec.") if topic in PLAIN else "none"
    small = {"linger.ms": 5, "batch.size": 2000, "compression.type": codec}
    return Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True} | small)


def transact(broker: Server, name: str) -> None:
    """Transactions that were committed, aborted, and one that is still going on; `name` sets their producers apart."""
    for number, ends in enumerate((("commit", "abort", "commit"), ("abort", "never"))):
        settings = {"transactional.id": f"{name}-{number}", "transaction.timeout.ms": TRANSACTION_MS}
        producer = Producer({"bootstrap.servers": broker.bootstrap} | settings)
        producer.init_transactions(30)
        for end in ends:
            producer.begin_transaction()
            for index in range(40):
                producer.produce("transactions", b"%d of %d, " % (index, number) * 20, partition=index % PARTITIONS)
            producer.flush(30)
            if end == "commit":
                producer.commit_transaction(30)
            elif end == "abort":
                producer.abort_transaction(30)


def begin_transaction(broker: Server) -> tuple[int, int]:
    """Batches of an open transaction, without a coordinator that knows of it; its producer's id and epoch."""
    told = ask(broker.port, 4, InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=TRANSACTION_MS))
    assert told.error_code == 0
    request = ProduceRequest
    for sequence in range(0, 40, 2):
        batch = build(
            [Record(timestamp=FIRST_TIME + sequence, key=b"k", value=b"in a transaction " * 20) for _ in range(2)],
            producer_id=told.producer_id,
            producer_epoch=told.producer_epoch,
            base_sequence=sequence,
            transactional=True,
        )
        data = [request.PartitionProduceData(index=index, records=batch) for index in range(PARTITIONS)]
        topic = request.TopicProduceData(name="transactions", partition_data=data)
        body = request(transactional_id="nobody", acks=-1, timeout_ms=5_000, topic_data=[topic])
        answers = ask(broker.port, 9, body).responses[0].partition_responses
        assert [one.error_code for one in answers] == [0] * PARTITIONS
    return told.producer_id, told.producer_epoch


def abort_transaction(broker: Server, producer: tuple[int, int]) -> None:
    """End what `begin_transaction` began, as kafka-transactions does with one that hangs."""
    request = WriteTxnMarkersRequest
    topic = request.WritableTxnMarkerTopic(name="transactions", partition_indexes=list(range(PARTITIONS)))
    marker = request.WritableTxnMarker(
        producer_id=producer[0],
        producer_epoch=producer[1],
        transaction_result=False,
        topics=[topic],
        coordinator_epoch=0,
    )
    answers = ask(broker.port, 1, request(markers=[marker])).markers[0].topics[0].partitions
    assert [one.error_code for one in answers] == [0] * PARTITIONS


def commit(broker: Server, group: str, offset: int) -> None:
    """Offsets of a group in three topics."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})
    try:
        places = [TopicPartition(topic, 1, offset, f"of {group}", 0) for topic in TOPICS[:3]]
        for place in consumer.commit(offsets=places, asynchronous=False):
            assert place.error is None, place.error
    finally:
        consumer.close()


def compacted(broker: Server) -> bool:
    """Whether the cleaner has been at both partitions."""
    names = [(broker.data_dir / f"compacted-{index}").glob("*.log") for index in range(PARTITIONS)]
    try:
        return all(sum(path.stat().st_size for path in found) < 6000 for found in names)
    except FileNotFoundError:  # it is at it
        return False
