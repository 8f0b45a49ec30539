"""Apache Kafka's data directory opened by this broker, and the other way round: nothing is lost or looks otherwise."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from compat.directories.observed import observe
from compat.servers import APACHE_KAFKA, QUICK, Server, apache_kafka, java, our_broker
from compat.waiting import until

pytestmark = pytest.mark.compat

CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
GROUPS: Final = ("first", "second")
TOPICS: Final = (*(f"codec.{codec}" for codec in CODECS), "transactions", "compacted")
SETTINGS: Final = {
    **QUICK,
    "zookeeper.session.timeout.ms": "1500",
    "log.cleaner.backoff.ms": "200",
    "auto.create.topics.enable": "false",
}
STILL: Final = {**SETTINGS, "log.cleaner.enable": "false"}
"""For whoever opens a directory and is compared with what was told before: nothing is compacted meanwhile."""
WRONG: Final = re.compile(r"mismatch|Mismatch|out of order|Non-consecutive|isvalid: false|[Ii]nvalid|Exception|orrupt")
"""What kafka-dump-log says of files that do not agree with each other or with themselves."""
NOWHERE: Final = (-1, -1, -1)
FIRST_TIME: Final = int(time.time() * 1000) - 3_600_000
"""An hour ago: producers whose records are older than a day are forgotten."""


def fill(broker: Server) -> None:
    """Topics of every kind, as Apache Kafka writes them."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    small = {"segment.bytes": "20000", "index.interval.bytes": "400"}
    compact = {
        "cleanup.policy": "compact",
        "segment.bytes": "3000",
        "min.cleanable.dirty.ratio": "0.01",
        "segment.ms": "100",
    }
    topics = [NewTopic(name, 2, 1, config=small) for name in TOPICS[:-1]]
    topics.append(NewTopic("compacted", 2, 1, config=compact))
    for made in admin.create_topics(topics).values():
        made.result(30)
    for codec in CODECS:
        produce(broker, f"codec.{codec}", 400, **{"compression.type": codec})
    for _ in range(3):
        produce(broker, "compacted", 200, keys=7)
    transact(broker)
    for number, group in enumerate(GROUPS):
        commit(broker, group, 10 + number)


def produce(broker: Server, topic: str, count: int, *, keys: int = 1_000, **settings: str) -> None:
    """Records with keys, headers and times that go up and down a little."""
    producer = Producer(
        {"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "linger.ms": 5, "batch.size": 2000}
        | settings
    )
    for number in range(count):
        producer.produce(
            topic,
            f"value {number} ".encode() * (number % 9),
            f"key {number % keys}".encode(),
            partition=number % 2,
            timestamp=FIRST_TIME + 1000 * number - 7000 * (number % 5),
            headers={"number": str(number).encode()} if number % 3 else None,
        )
        if number % 50 == 49:
            producer.flush(30)
    assert producer.flush(30) == 0


def transact(broker: Server) -> None:
    """Transactions that were committed, aborted, and one that is still going on."""
    for number, ended in enumerate(("commit", "abort", "commit", "abort", "never")):
        producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"id-{number}"})
        producer.init_transactions(30)
        producer.begin_transaction()
        for index in range(40):
            producer.produce("transactions", b"%d of %d" % (index, number), partition=index % 2)
        producer.flush(30)
        if ended == "commit":
            producer.commit_transaction(30)
        elif ended == "abort":
            producer.abort_transaction(30)


def commit(broker: Server, group: str, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})
    try:
        places = [TopicPartition(topic, 1, offset, f"of {group}", 0) for topic in TOPICS[:3]]
        for place in consumer.commit(offsets=places, asynchronous=False):
            assert place.error is None, place.error
    finally:
        consumer.close()


def compacted(broker: Server) -> bool:
    """Whether the cleaner has been at both partitions."""
    names = [(broker.data_dir / f"compacted-{index}").glob("*.log") for index in range(2)]
    return all(sum(path.stat().st_size for path in found) < 6000 for found in names)


def told(broker: Server) -> dict[str, Any]:
    return observe(broker.port, TOPICS, GROUPS)


def without_gaps(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """`now` without times that lead somewhere here and nowhere in Apache Kafka.

    After compaction it may look for a time only in a segment of which nothing but empty batches are left, which keep
    the time that they had, and say that there is no such record (docs/decisions/0012).
    """
    if isinstance(now, dict) and isinstance(before, dict) and "times" in now:
        times = {time: NOWHERE if before["times"].get(time) == NOWHERE else at for time, at in now["times"].items()}
        return now | {"times": times}
    return now


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is told otherwise, a line each; the same words at the same places are left out."""
    found = []
    for name in sorted({*before, *now}):
        one, other = before.get(name), now.get(name)
        if name.startswith("compacted"):
            one, other = without_gaps(other, one), without_gaps(one, other)  # type: ignore[arg-type]
        if isinstance(one, dict) and isinstance(other, dict):
            found += [f"{name}: {key}: {one[key]} -> {other[key]}" for key in one if one[key] != other[key]]
        elif one != other:
            found.append(f"{name}: {one} -> {other}")
    return found


def wrongs(data: Path) -> list[str]:
    """What kafka-dump-log finds wrong in a log directory, with every option that it has for that."""
    found: list[str] = []
    for options, paths in (
        (["--deep-iteration"], [path for path in data.rglob("*.log") if not path.parent.name.startswith("compacted-")]),
        (["--print-data-log"], list(data.rglob("compacted-*/*.log"))),
        (["--index-sanity-check"], [*data.rglob("*.index"), *data.rglob("*.timeindex"), *data.rglob("*.txnindex")]),
        (["--verify-index-only"], [*data.rglob("*.index"), *data.rglob("*.timeindex"), *data.rglob("*.snapshot")]),
        (["--offsets-decoder"], list(data.rglob("__consumer_offsets-*/*.log"))),
        (["--transaction-log-decoder"], list(data.rglob("__transaction_state-*/*.log"))),
    ):
        names = ",".join(sorted(map(str, paths)))
        command = java(APACHE_KAFKA, "256m", "kafka.tools.DumpLogSegments", *options, "--files", names)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        said = done.stdout.splitlines()
        assert sum(line.startswith("Dumping ") for line in said) == len(paths) > 0, (
            f"{options} {done.stderr} {said[-9:]}"
        )
        sound = sum(line.endswith(("passed sanity check.", "is empty.")) for line in said)
        if "--index-sanity-check" in options:
            assert sound == sum(path.suffix != ".txnindex" for path in paths)
        found += [f"{options[0]}: {line}" for line in (*said, *done.stderr.splitlines()) if WRONG.search(line)]
        found += [f"{options[0]}: exit status {done.returncode}"] * bool(done.returncode)
    return found


ENDS: Final[dict[str, Callable[[Server], int]]] = {"stopped": Server.stop, "killed": Server.kill}


@pytest.fixture(params=ENDS, scope="module")
def end(request: pytest.FixtureRequest) -> Callable[[Server], int]:
    return ENDS[request.param]


@pytest.fixture(scope="module")
def written(
    end: Callable[[Server], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Path, Any]]:
    """Apache Kafka after it has written a directory and ended, a copy of that, and what it told of it."""
    with apache_kafka(SETTINGS) as apache:
        fill(apache)
        until(lambda: compacted(apache), what="the cleaner")
        apache.stop()
        properties = apache.home / "server.properties"
        properties.write_text(properties.read_text() + "log.cleaner.enable=false\n")
        apache.start()
        produce(apache, "codec.lz4", 60)
        commit(apache, "second", 33)
        before = told(apache)
        end(apache)
        copy = tmp_path_factory.mktemp("copy") / "data"
        shutil.copytree(apache.data_dir, copy)
        yield apache, copy, before


def test_what_apache_kafka_wrote_is_served_and_what_is_added_goes_back(
    written: tuple[Server, Path, Any], end: Callable[[Server], int]
) -> None:
    apache, _, before = written
    with our_broker(STILL, data=apache.data_dir, connect=apache.zookeeper) as ours:
        assert differences(before, told(ours)) == []
        for codec in CODECS:
            produce(ours, f"codec.{codec}", 150, **{"compression.type": codec})
        produce(ours, "compacted", 50, keys=3)
        commit(ours, "first", 77)
        between = told(ours)
        assert differences(before, between) != []
        end(ours)
        apache.start()
        assert differences(between, told(apache)) == []
        produce(apache, "codec.gzip", 100, **{"compression.type": "gzip"})
        commit(apache, "second", 88)
        after = told(apache)
        end(apache)
        ours.start()
        assert differences(after, told(ours)) == []


def test_a_directory_is_taken_over_by_a_broker_that_runs_alone(written: tuple[Server, Path, Any]) -> None:
    _, copy, before = written
    files = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    command = [sys.executable, "-m", "pykafka_broker", "import", str(copy)]
    looked = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Nothing has been changed" in looked.stdout
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == files
    for name in TOPICS:
        assert name in looked.stdout
    taken = subprocess.run([*command, "--yes"], capture_output=True, text=True, check=True)
    assert "Written" in taken.stdout
    small = {"log.segment.bytes": "4000", "log.index.interval.bytes": "400"}
    with our_broker({**STILL, **small}, data=copy) as ours:
        assert differences(before, told(ours)) == []
        for codec in CODECS:
            produce(ours, f"codec.{codec}", 500, **{"compression.type": codec})
        commit(ours, "first", 99)
        after = told(ours)
        ours.kill()
        ours.start()
        assert differences(after, told(ours)) == []
        new = {one[0] for one in after["codec.none-0"]["producers"]} - {
            one[0] for one in before["codec.none-0"]["producers"]
        }
        assert min(new) > max(one[0] for name in before if "-" in name for one in before[name]["producers"])
    found = set(copy.rglob("*.log")) - {path for path in files if path.suffix == ".log"}
    assert len(found) > 5, "this broker has begun few segments"
    # The time indexes that Apache Kafka's cleaner has written displease its own tool.
    assert [line for line in wrongs(copy) if not re.search(r"/compacted-\d/\d+.timeindex", line)] == []
    again = subprocess.run([*command, "--yes"], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "has been taken over already" in again.stderr


def test_ids_of_topics_are_kept(written: tuple[Server, Path, Any]) -> None:
    _, _, before = written
    ids = [uuid.UUID(before[f"{name}: id"]) for name in TOPICS]
    assert len({each.int for each in ids} - {0}) == len(TOPICS)
