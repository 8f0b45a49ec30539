"""The pipeline of the tutorials in kafka-python, the README's programs word for word, and those in `examples/`."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from compat.servers import CHECKOUT, QUICK, Server, our_broker
from compat.waiting import PATIENCE_S, until

# The client itself uses what Python 3.11 calls deprecated, calls functions as serializers deprecated, and forgets
# sockets that could not be connected.
pytestmark = [
    pytest.mark.compat,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _forgotten_sockets() -> Iterator[None]:
    """What the client forgot is cleared away while its warnings are ignored, and not in the middle of another test."""
    yield
    gc.collect()


Fresh = Callable[[str], str]


@pytest.fixture
def own_broker() -> Iterator[Server]:
    """A broker of the test's own, to stop and start."""
    with our_broker(QUICK | {"group.min.session.timeout.ms": "1000"}) as server:
        yield server


def create_topic(bootstrap: str, name: str, partitions: int) -> str:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(name, partitions, 1)])
    admin.close()
    return name


def produce(bootstrap: str, topic: str, documents: list[Any], key: str | None = None) -> list[tuple[int, int]]:
    """The tutorials' JSON producer; partition and offset of each document."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        key_serializer=lambda key: key and key.encode(),
        value_serializer=lambda document: json.dumps(document).encode(),
    )
    sent = [producer.send(topic, key=key, value=document) for document in documents]
    producer.flush()
    places = [future.get(timeout=PATIENCE_S) for future in sent]
    producer.close()
    return [(place.partition, place.offset) for place in places]


@contextlib.contextmanager
def grouped(bootstrap: str, topic: str, group: str, **settings: Any) -> Iterator[KafkaConsumer]:
    """The tutorials' consumer, and what makes a test quick."""
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=True,
        auto_commit_interval_ms=100,
        value_deserializer=json.loads,
        heartbeat_interval_ms=200,
        metadata_max_age_ms=1_000,
        **{"session_timeout_ms": 6_000, "consumer_timeout_ms": int(PATIENCE_S * 1000), **settings},
    )
    try:
        yield consumer
    finally:
        consumer.close()


def read(consumer: KafkaConsumer, count: int) -> list[Any]:
    """The values of the next `count` records."""
    found = [next(consumer).value for _ in range(count)]
    assert len(found) == count
    return found


def test_a_second_run_of_the_grouped_consumer_continues_where_the_first_stopped(broker: Server, fresh: Fresh) -> None:
    topic, group = fresh("numbers"), fresh("group")
    produce(broker.bootstrap, topic, [{"number": number} for number in range(10)])
    with grouped(broker.bootstrap, topic, group) as consumer:
        assert read(consumer, 10) == [{"number": number} for number in range(10)]
    produce(broker.bootstrap, topic, [{"number": number} for number in range(10, 15)])
    with grouped(broker.bootstrap, topic, group) as consumer:
        assert read(consumer, 5) == [{"number": number} for number in range(10, 15)]
    with grouped(broker.bootstrap, topic, fresh("group")) as consumer:
        assert read(consumer, 15) == [{"number": number} for number in range(15)]


def test_documents_of_one_key_keep_to_one_partition(broker: Server, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("keyed"), 4)
    partitions = set()
    for key in ("sensor-1", "sensor-2", "sensor-3", "sensor-4"):
        places = produce(broker.bootstrap, topic, [{"number": number} for number in range(20)], key)
        (partition,) = {partition for partition, _ in places}
        assert [offset for _, offset in places] == sorted(offset for _, offset in places)
        partitions.add(partition)
    assert len(partitions) > 1


MEMBER = """
import sys
from kafka import KafkaConsumer
bootstrap, topic, group = sys.argv[1:]
for record in KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
                            session_timeout_ms=1500, heartbeat_interval_ms=200, enable_auto_commit=True,
                            auto_commit_interval_ms=100, metadata_max_age_ms=1000):
    print(record.partition, record.offset, flush=True)
"""


def test_two_consumers_share_the_partitions_and_one_takes_over_when_the_other_dies(
    broker: Server, fresh: Fresh
) -> None:
    topic, group = create_topic(broker.bootstrap, fresh("shared"), 2), fresh("group")
    with contextlib.ExitStack() as closing:
        dying = closing.enter_context(program("-c", MEMBER, broker.bootstrap, topic, group))
        survivor = closing.enter_context(grouped(broker.bootstrap, topic, group))
        values: list[Any] = []

        def poll() -> set[int]:
            for records in survivor.poll(timeout_ms=200).values():
                values.extend(record.value for record in records)
            return {place.partition for place in survivor.assignment()}

        until(lambda: len(poll()) == 1)
        theirs = 1 - poll().pop()
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
        closing.callback(producer.close)
        producer.send(topic, b'"before"', partition=theirs).get(PATIENCE_S)
        assert dying.stdout is not None
        assert until(lambda: poll() and dying.stdout.readline()).split() == [str(theirs), "0"]
        dying.send_signal(signal.SIGKILL)
        dying.wait()
        until(lambda: poll() == {0, 1})
        producer.send(topic, b'"after"', partition=theirs).get(PATIENCE_S)
        until(lambda: poll() and "after" in values)


def test_a_broker_that_is_stopped_and_started_has_lost_nothing(own_broker: Server) -> None:
    topic = create_topic(own_broker.bootstrap, "kept", 3)
    produce(own_broker.bootstrap, topic, [{"number": number} for number in range(30)])
    with grouped(own_broker.bootstrap, topic, "readers") as consumer:
        first = read(consumer, 10)
        places = {TopicPartition(topic, p): consumer.position(TopicPartition(topic, p)) for p in range(3)}
    assert own_broker.stop() == 0
    own_broker.start()
    produce(own_broker.bootstrap, topic, [{"number": number} for number in range(30, 40)])
    with grouped(own_broker.bootstrap, topic, "readers") as consumer:
        rest = read(consumer, 30)
    assert sorted(document["number"] for document in first + rest) == list(range(40))
    assert sum(places.values()) == 10
    admin = KafkaAdminClient(bootstrap_servers=own_broker.bootstrap)
    assert len(admin.describe_topics([topic])[0]["partitions"]) == 3
    admin.close()


def test_clients_that_stay_go_on_when_the_broker_comes_back(own_broker: Server) -> None:
    topic = create_topic(own_broker.bootstrap, "stay", 1)
    producer = KafkaProducer(bootstrap_servers=own_broker.bootstrap, retries=1000)
    try:
        with grouped(own_broker.bootstrap, topic, "readers") as consumer:
            producer.send(topic, b"1").get(PATIENCE_S)
            assert read(consumer, 1) == [1]
            own_broker.stop()
            late = producer.send(topic, b"2")
            own_broker.start()
            assert late.get(PATIENCE_S).offset == 1
            assert read(consumer, 1) == [2]
    finally:
        producer.close()


def test_what_was_acknowledged_is_there_after_a_kill(own_broker: Server) -> None:
    topic = create_topic(own_broker.bootstrap, "killed", 1)
    produce(own_broker.bootstrap, topic, list(range(500)))
    own_broker.kill()
    own_broker.start()
    produce(own_broker.bootstrap, topic, [500])
    with grouped(own_broker.bootstrap, topic, "readers") as consumer:
        assert read(consumer, 501) == list(range(501))


@contextlib.contextmanager
def program(*arguments: str, folder: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A Python program that is ended afterwards."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finish(*arguments: str, folder: Path) -> str:
    """Run a Python program to its end, which is a good one, and give what it printed."""
    ended = subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, cwd=folder, timeout=120, check=True
    )
    return ended.stdout


def test_the_examples_carry_documents_into_a_store(broker: Server, fresh: Fresh, tmp_path: Path) -> None:
    topic, group = create_topic(broker.bootstrap, fresh("documents"), 3), fresh("group")
    to = ["--bootstrap", broker.bootstrap, "--topic", topic]
    produce_json = [str(CHECKOUT / "examples" / "produce_json.py"), *to]
    store_documents = [str(CHECKOUT / "examples" / "store_documents.py"), *to, "--group", group, "--idle-ms", "2000"]
    said = finish(*produce_json, "--count", "60", folder=tmp_path)
    assert said.startswith(f"produced 60 documents to {topic}, partitions [")
    assert finish(*store_documents, folder=tmp_path) == "wrote 60 documents, the store holds 60\n"
    finish(*produce_json, "--count", "20", folder=tmp_path)
    assert finish(*store_documents, folder=tmp_path) == "wrote 20 documents, the store holds 80\n"
    with contextlib.closing(sqlite3.connect(tmp_path / "documents.sqlite")) as store:
        bodies = [json.loads(body) for (body,) in store.execute("select body from documents")]
    assert sorted(document["number"] for document in bodies) == sorted([*range(60), *range(20)])
    assert {document["sensor"] for document in bodies} == {f"sensor-{number}" for number in range(5)}


def readme(containing: str) -> str:
    """The README's program in Python that contains these words."""
    programs = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    (found,) = (text for text in programs if containing in text)
    return str(found)


def test_the_readmes_producer_and_consumer_work_word_for_word(broker: Server, tmp_path: Path) -> None:
    text = readme("KafkaProducer").replace("localhost:9092", broker.bootstrap)
    (tmp_path / "program.py").write_text(text)
    with program("program.py", folder=tmp_path) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "{'number': 1}\n"


USE = """
from kafka import KafkaConsumer, KafkaProducer
def use(servers):
    producer = KafkaProducer(bootstrap_servers=servers)
    producer.send("t", b"v").get(30)
    producer.close()
    consumer = KafkaConsumer("t", bootstrap_servers=servers, auto_offset_reset="earliest")
    print(next(consumer).value.decode(), flush=True)
    consumer.close()
"""


def test_the_readmes_broker_in_a_program_works_with_and_without_trio(tmp_path: Path) -> None:
    in_thread, in_trio = re.split(r"\n\n(?=async)", readme("running()"))
    in_trio = in_trio.replace("use(", "await trio.to_thread.run_sync(use, ")
    in_main = f"import trio\nasync def main():\n{textwrap.indent(in_trio, '    ')}\ntrio.run(main)\n"
    (tmp_path / "program.py").write_text(f"{USE}{in_thread}\n{in_main}")
    assert finish("program.py", folder=tmp_path) == "v\nv\n"
