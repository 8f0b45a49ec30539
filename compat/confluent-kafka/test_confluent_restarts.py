"""Clients with confluent-kafka that stay while their broker ends, well or badly, and comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource
from confluent_programs import consumer, create_topic, partitions, produce, read, together

from compat.servers import QUICK, Server, our_broker
from compat.waiting import PATIENCE_S, until

pytestmark = pytest.mark.compat

ENDS = ["stop", "kill"]


@pytest.fixture
def own_broker() -> Iterator[Server]:
    """A broker of the test's own, to stop and start. Apache Kafka is spared this: it takes seconds each time."""
    with our_broker(QUICK) as server:
        yield server


def restart(server: Server, end: str) -> None:
    """End the broker with SIGTERM or SIGKILL and start it again."""
    if end == "stop":
        assert server.stop() == 0
    else:
        server.kill()
    server.start()


@pytest.mark.parametrize("end", ENDS)
def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(own_broker: Server, end: str) -> None:
    topic = create_topic(own_broker.bootstrap, "numbers")
    acknowledged: list[Message] = []
    failed: list[object] = []

    def report(error: object, message: Message) -> None:
        if error is None:
            acknowledged.append(message)
        else:
            failed.append(error)

    producer = Producer({"bootstrap.servers": own_broker.bootstrap, "enable.idempotence": True, "linger.ms": 1})
    for number in range(1_000):
        producer.produce(topic, b"%d" % number, on_delivery=report)
        producer.poll(0)
        if number == 500:
            until(lambda: producer.poll(0.01) or len(acknowledged) > 100)
            restart(own_broker, end)
    assert producer.flush(PATIENCE_S) == 0
    assert not failed
    reader = consumer(own_broker.bootstrap, "readers")
    try:
        reader.assign([TopicPartition(topic, 0, 0)])
        assert [int(message.value()) for message in read(reader, 1_000)] == list(range(1_000))
        assert reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=10) == (0, 1_000)
    finally:
        reader.close()


@pytest.mark.parametrize("end", ENDS)
def test_topics_settings_and_commits_are_remembered(own_broker: Server, end: str) -> None:
    topic = create_topic(own_broker.bootstrap, "kept", 3, retention_ms="7654321")
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    before = admin.describe_cluster().result(10).cluster_id
    reader = consumer(own_broker.bootstrap, "readers")
    reader.commit(offsets=[TopicPartition(topic, 2, 42, "the answer")], asynchronous=False)
    reader.close()
    restart(own_broker, end)
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    assert admin.describe_cluster().result(10).cluster_id == before
    assert sorted(admin.list_topics(topic, timeout=10).topics[topic].partitions) == [0, 1, 2]
    (described,) = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
    assert described.result(10)["retention.ms"].value == "7654321"
    reader = consumer(own_broker.bootstrap, "readers")
    try:
        (found,) = reader.committed([TopicPartition(topic, 2)], timeout=PATIENCE_S)
        assert (found.offset, found.metadata) == (42, "the answer")
    finally:
        reader.close()


@pytest.mark.parametrize("end", ENDS)
def test_a_group_goes_on_after_the_broker_has_come_back(own_broker: Server, end: str) -> None:
    topic = create_topic(own_broker.bootstrap, "shared", 2)
    readers = [consumer(own_broker.bootstrap, "readers") for _ in range(2)]
    try:
        for reader in readers:
            reader.subscribe([topic])
        together(readers, lambda: all(len(partitions(reader)) == 1 for reader in readers))
        produce(own_broker.bootstrap, topic, ({"value": b"before", "partition": n} for n in (0, 1)))
        for reader in readers:
            reader.commit(read(reader, 1)[0], asynchronous=False)
        restart(own_broker, end)
        produce(own_broker.bootstrap, topic, ({"value": b"after", "partition": n} for n in (0, 1)))
        found: list[Message] = []
        until(lambda: found.extend(together(readers, lambda: True)) or len(found) >= 2)
        together(readers, lambda: all(len(partitions(reader)) == 1 for reader in readers))
        assert {(message.partition(), message.offset(), message.value()) for message in found} == {
            (0, 1, b"after"),
            (1, 1, b"after"),
        }
    finally:
        for reader in readers:
            reader.close()
