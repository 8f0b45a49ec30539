"""Records there and back with confluent-kafka: codecs, keys, headers, nulls, sizes, timestamps, idempotence."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_programs import create_topic, produce, read, read_topic

from compat.servers import Server

pytestmark = pytest.mark.compat

Fresh = Callable[[str], str]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_carries_records_there_and_back(broker: Server, fresh: Fresh, codec: str) -> None:
    topic = create_topic(broker.bootstrap, fresh(codec))
    sent = [b"%d " % number * 50 for number in range(500)]
    produce(broker.bootstrap, topic, ({"value": value} for value in sent), {"compression.type": codec})
    found = read_topic(broker.bootstrap, topic, 500)
    assert [message.value() for message in found] == sent
    assert [message.offset() for message in found] == list(range(500))


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
def test_a_topic_may_ask_for_another_codec_than_the_producer_uses(broker: Server, fresh: Fresh, codec: str) -> None:
    topic = create_topic(broker.bootstrap, fresh(codec), compression_type=codec)
    sent = [b"%d " % number * 50 for number in range(200)]
    produce(broker.bootstrap, topic, ({"value": value} for value in sent), {"compression.type": "none"})
    produce(broker.bootstrap, topic, ({"value": value} for value in sent), {"compression.type": "gzip"})
    assert [message.value() for message in read_topic(broker.bootstrap, topic, 400)] == sent + sent


def test_keys_headers_and_nulls_arrive_as_they_were(broker: Server, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("shapes"))
    records = [
        {"key": b"k", "value": b"v", "headers": [("a", b"1"), ("a", b"2"), ("empty", b""), ("null", None)]},
        {"key": b"", "value": b""},
        {"key": None, "value": b"no key"},
        {"key": b"deleted", "value": None},
        {"key": bytes(range(256)), "value": "ä€𝄞".encode()},
    ]
    produce(broker.bootstrap, topic, records)
    found = read_topic(broker.bootstrap, topic, len(records))
    assert [(message.key(), message.value()) for message in found] == [
        (b"k", b"v"),
        (b"", b""),
        (None, b"no key"),
        (b"deleted", None),
        (bytes(range(256)), "ä€𝄞".encode()),
    ]
    assert found[0].headers() == [("a", b"1"), ("a", b"2"), ("empty", b""), ("null", None)]
    assert found[1].headers() is None


def test_records_of_one_key_keep_to_one_partition_and_in_order(broker: Server, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("keyed"), 4)
    sent = [{"key": b"key-%d" % (number % 10), "value": b"%d" % number} for number in range(400)]
    acknowledged = produce(broker.bootstrap, topic, sent)
    places = {message.key(): set() for message in acknowledged}
    for message in acknowledged:
        places[message.key()].add(message.partition())
    assert all(len(found) == 1 for found in places.values())
    assert len({partition for found in places.values() for partition in found}) > 1
    for key, (partition,) in places.items():
        mine = [message for message in acknowledged if message.key() == key]
        numbers = [int(message.value()) for message in sorted(mine, key=lambda message: message.offset())]
        assert numbers == sorted(numbers), (key, partition)


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_every_kind_of_acknowledgement_is_given(broker: Server, fresh: Fresh, acks: str) -> None:
    topic = create_topic(broker.bootstrap, fresh("acks"))
    acknowledged = produce(broker.bootstrap, topic, ({"value": b"%d" % n} for n in range(20)), {"acks": acks})
    if acks != "0":
        assert [message.offset() for message in acknowledged] == list(range(20))
    assert len(read_topic(broker.bootstrap, topic, 20)) == 20


def test_an_idempotent_producer_writes_everything_once_and_in_order(broker: Server, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("idempotent"), 2)
    settings = {"enable.idempotence": True, "max.in.flight": 5, "batch.num.messages": 20, "linger.ms": 1}
    sent = [{"value": b"%d" % number, "partition": number % 2} for number in range(2_000)]
    acknowledged = produce(broker.bootstrap, topic, sent, settings)
    for partition in (0, 1):
        mine = sorted((m for m in acknowledged if m.partition() == partition), key=lambda message: message.offset())
        assert [message.offset() for message in mine] == list(range(1_000))
        assert [int(message.value()) for message in mine] == list(range(partition, 2_000, 2))


def test_a_message_up_to_the_limit_passes_and_one_beyond_it_is_refused(broker: Server, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("large"), max_message_bytes="1000000")
    settings = {"message.max.bytes": 2_000_000}
    produce(broker.bootstrap, topic, [{"value": b"x" * 999_900}], settings)
    with pytest.raises(KafkaException) as refused:
        produce(broker.bootstrap, topic, [{"value": b"x" * 1_000_100}], settings)
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    produce(
        broker.bootstrap,
        topic,
        [{"value": b"x" * 3_000_000}],
        {"message.max.bytes": 4_000_000} | {"compression.type": "gzip"},
    )
    found = read_topic(broker.bootstrap, topic, 2)
    assert [len(message.value()) for message in found] == [999_900, 3_000_000]


def test_a_message_larger_than_the_consumer_asks_for_is_read_all_the_same(broker: Server, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("narrow"))
    produce(broker.bootstrap, topic, [{"value": b"x" * size} for size in (500_000, 10, 700_000)])
    found = read_topic(broker.bootstrap, topic, 3, fetch_message_max_bytes=1_000, message_max_bytes=1_000_000)
    assert [len(message.value()) for message in found] == [500_000, 10, 700_000]


def test_timestamps_are_the_producers_unless_the_topic_says_otherwise(broker: Server, fresh: Fresh) -> None:
    created = create_topic(broker.bootstrap, fresh("created"))
    appended = create_topic(broker.bootstrap, fresh("appended"), message_timestamp_type="LogAppendTime")
    now = int(time.time() * 1000)
    for topic in (created, appended):
        produce(broker.bootstrap, topic, [{"value": b"v", "timestamp": now - 60_000}])
    (theirs,) = read_topic(broker.bootstrap, created, 1)
    assert theirs.timestamp() == (TIMESTAMP_CREATE_TIME, now - 60_000)
    (ours,) = read_topic(broker.bootstrap, appended, 1)
    kind, when = ours.timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert now - 5_000 <= when <= now + 30_000


def test_a_timestamp_too_far_from_the_clock_is_refused(broker: Server, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("strict"), message_timestamp_before_max_ms="1000")
    with pytest.raises(KafkaException) as refused:
        produce(broker.bootstrap, topic, [{"value": b"v", "timestamp": int(time.time() * 1000) - 60_000}])
    assert refused.value.args[0].code() in (KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD)


def test_a_compacted_topic_refuses_a_record_without_key(broker: Server, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("compacted"), cleanup_policy="compact")
    produce(broker.bootstrap, topic, [{"key": b"k", "value": b"v"}])
    with pytest.raises(KafkaException) as refused:
        produce(broker.bootstrap, topic, [{"value": b"v"}])
    assert refused.value.args[0].code() == KafkaError.INVALID_RECORD


def test_a_topic_nobody_created_comes_to_be_when_it_is_written_to(broker: Server, fresh: Fresh) -> None:
    topic = fresh("unseen")
    produce(broker.bootstrap, topic, [{"value": b"v"}])
    assert [message.value() for message in read_topic(broker.bootstrap, topic, 1)] == [b"v"]


def test_a_waiting_consumer_hears_of_a_record_at_once(broker: Server, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("prompt"))
    reader = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "x",
            "fetch.wait.max.ms": 20_000,
            "auto.offset.reset": "earliest",
        }
    )
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
    try:
        reader.assign([TopicPartition(topic, 0, 0)])
        producer.produce(topic, b"first")
        assert producer.flush(30) == 0
        read(reader, 1)
        reader.poll(0.3)  # the next fetch is under way by now, and would wait for 20 s
        sent_at = time.monotonic()
        producer.produce(topic, b"second")
        assert producer.flush(30) == 0
        assert [message.value() for message in read(reader, 1)] == [b"second"]
        assert time.monotonic() - sent_at < 5
    finally:
        reader.close()


def test_one_fetch_may_carry_many_partitions(broker: Server, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("wide"), 50)
    produce(broker.bootstrap, topic, ({"value": b"%d" % n, "partition": n % 50} for n in range(500)))
    reader = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "x", "auto.offset.reset": "earliest"})
    try:
        reader.assign([TopicPartition(topic, partition, 0) for partition in range(50)])
        assert sorted(int(message.value()) for message in read(reader, 500)) == list(range(500))
    finally:
        reader.close()
