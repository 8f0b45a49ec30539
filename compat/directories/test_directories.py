"""Apache Kafka's data directory opened by this broker, and the other way round: nothing is lost or looks otherwise."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from kazoo.client import KazooClient

from compat.cluster import asking
from compat.cluster.asking import ask
from compat.directories.dumps import dumped, without_places, wrongs
from compat.directories.filling import (
    GROUPS,
    PARTITIONS,
    PLAIN,
    TOPICS,
    abort_transaction,
    begin_transaction,
    commit,
    compacted,
    fill,
    produce,
    transact,
)
from compat.directories.observed import observe
from compat.servers import QUICK, Server, apache_kafka, our_broker
from compat.waiting import until
from pykafka_broker.wire.messages import AlterPartitionReassignmentsRequest

pytestmark = pytest.mark.compat

SETTINGS: Final = {
    **QUICK,
    "zookeeper.session.timeout.ms": "1500",
    "log.cleaner.backoff.ms": "200",
    "auto.create.topics.enable": "false",
}
_NO_CLEANER: Final = {"log.cleaner.enable": "false"}
STILL: Final = {**SETTINGS, **_NO_CLEANER}
"""For whoever opens a directory and is compared with what was told before: nothing is compacted meanwhile."""
SMALL: Final = {"log.segment.bytes": "4000", "log.index.interval.bytes": "400"}
"""For a broker that has not been told the settings of topics."""
NOWHERE: Final = (-1, -1, -1)


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


def differences(before: dict[str, Any], now: dict[str, Any], *, but: str = "") -> list[str]:
    """What is told otherwise, a line each (`but` one thing); the same words at the same places are left out."""
    found = []
    for name in sorted({*before, *now}):
        one, other = before.get(name), now.get(name)
        if name.startswith("compacted"):
            one, other = without_gaps(other, one), without_gaps(one, other)  # type: ignore[arg-type]
        if isinstance(one, dict) and isinstance(other, dict):
            found += [f"{name}: {key}: {one[key]} -> {other[key]}" for key in one if one[key] != other[key] != but]
        elif one != other:
            found.append(f"{name}: {one} -> {other}")
    return [line for line in found if not but or f": {but}: " not in line]


def start_again(broker: Server) -> None:
    """Start a broker once the registration of the one that was killed on its directory has expired."""
    client = KazooClient(broker.zookeeper)
    client.start(10)
    try:
        until(lambda: client.exists("/brokers/ids/0") is None, what="the old registration to expire")
    finally:
        client.stop()
        client.close()
    broker.start()


def stop_cleaning(broker: Server) -> None:
    """Stop it, to be started with a cleaner that does nothing."""
    until(lambda: compacted(broker), what="the cleaner")
    broker.stop()
    properties = broker.home / "server.properties"
    properties.write_text(properties.read_text() + "".join(f"{key}={value}\n" for key, value in _NO_CLEANER.items()))


ENDS: Final[dict[str, Callable[[Server], int]]] = {"stopped": Server.stop, "killed": Server.kill}


@pytest.fixture(params=ENDS, scope="module")
def end(request: pytest.FixtureRequest) -> Callable[[Server], int]:
    return ENDS[request.param]


@pytest.fixture(scope="module")
def apache() -> Iterator[Server]:
    """Apache Kafka, stopped, with a directory that it has filled."""
    with apache_kafka(SETTINGS) as server:
        fill(server)
        transact(server, "id")
        stop_cleaning(server)
        yield server


@pytest.fixture(scope="module")
def written(
    apache: Server, end: Callable[[Server], int], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Server, Path, Any]:
    """Apache Kafka after it has written a little more and ended, a copy of its directory, and what it told of it."""
    start_again(apache)
    produce(apache, 60, "codec.lz4")
    commit(apache, "second", 33)
    before = told(apache)
    end(apache)
    copy = tmp_path_factory.mktemp("copy") / "data"
    shutil.copytree(apache.data_dir, copy)
    return apache, copy, before


def test_what_apache_kafka_wrote_is_served_and_what_is_added_goes_back(
    written: tuple[Server, Path, Any], end: Callable[[Server], int]
) -> None:
    apache, _, before = written
    with our_broker(STILL, data=apache.data_dir, connect=apache.zookeeper) as ours:
        assert differences(before, told(ours)) == []
        produce(ours, 150, *PLAIN)
        produce(ours, 50, "compacted", keys=3)
        commit(ours, "first", 77)
        between = told(ours)
        assert differences(before, between) != []
        end(ours)
        start_again(apache)
        assert differences(between, told(apache)) == []
        produce(apache, 100, "codec.gzip")
        commit(apache, "second", 88)
        after = told(apache)
        end(apache)
        ours.start()
        assert differences(after, told(ours)) == []


def test_a_directory_is_taken_over_by_a_broker_that_runs_alone(
    written: tuple[Server, Path, Any], end: Callable[[Server], int]
) -> None:
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
    with our_broker({**STILL, **SMALL}, data=copy) as ours:
        assert differences(before, told(ours)) == []
        produce(ours, 500, *PLAIN)
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
    if end is Server.kill:  # the copy has been killed twice by now
        assert wrongs(copy) == []
    again = subprocess.run([*command, "--yes"], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "has been taken over already" in again.stderr


def test_ids_of_topics_are_kept(written: tuple[Server, Path, Any]) -> None:
    _, _, before = written
    ids = [uuid.UUID(before[f"{name}: id"]) for name in TOPICS]
    assert len({each.int for each in ids} - {0}) == len(TOPICS)


def test_what_this_broker_wrote_from_its_beginning_is_served_by_apache_kafka() -> None:
    with our_broker(SETTINGS, with_zookeeper=True) as ours:
        fill(ours)
        begun = begin_transaction(ours)
        stop_cleaning(ours)
        ours.start()
        before = told(ours)
        assert all(before[f"transactions-{index}"]["start, stable, end"] == (0, 0, 40) for index in range(PARTITIONS))
        ours.stop()
        there = {**STILL, "log.dirs": str(ours.data_dir)}
        with apache_kafka(there, connect=ours.zookeeper) as apache:
            assert differences(before, told(apache)) == []
            abort_transaction(apache, begun)
            transact(apache, "id")
            produce(apache, 100, *PLAIN)
            commit(apache, "second", 88)
            between = told(apache)
            apache.kill()
            start_again(ours)
            assert differences(between, told(ours)) == []
            assert all((begun[0], 0) in between[f"transactions-{index}"]["aborted"] for index in range(PARTITIONS))
            begin_transaction(ours)
            produce(ours, 100, *PLAIN)
            commit(ours, "first", 99)
            after = told(ours)
            ours.kill()
            assert wrongs(ours.data_dir) == []
            start_again(apache)
            assert differences(after, told(apache)) == []


INTERNAL: Final = {"__consumer_offsets": 4, "__transaction_state": 4}


def place(controller: Server, replicas: list[int]) -> None:
    """Have every partition on these brokers, and wait until all of them have all of it."""
    request = AlterPartitionReassignmentsRequest
    counts = {**dict.fromkeys(TOPICS, PARTITIONS), **INTERNAL}
    topics = [
        request.ReassignableTopic(
            name=name,
            partitions=[request.ReassignablePartition(partition_index=n, replicas=replicas) for n in range(count)],  # type: ignore[arg-type]
        )
        for name, count in counts.items()
    ]
    assert ask(controller.port, 0, request(timeout_ms=5_000, topics=topics)).error_code == 0

    def is_done() -> bool:
        found = asking.metadata(controller.port)
        partitions = [one for topic in found.topics for one in topic.partitions]
        return all(sorted(one.isr_nodes) == sorted(one.replica_nodes) == replicas for one in partitions)

    until(is_done, what=f"all partitions to be on {replicas}")


def test_what_this_broker_copied_reads_like_the_original(apache: Server) -> None:
    start_again(apache)
    before = told(apache)
    with our_broker({**STILL, "broker.id": "1"}, connect=apache.zookeeper) as ours:
        until(lambda: len(asking.metadata(apache.port).brokers) == 2, what="the second broker")
        place(apache, [0, 1])
        apache.stop()
        assert differences(before, told(ours), but="epochs") == []
        start_again(apache)
        place(ours, [0, 1])
        ours.stop()
        # Nobody has compacted meanwhile, so that the bytes are the same wherever segments begin.
        for name in TOPICS:
            for index in range(PARTITIONS):
                one, other = (server.data_dir / f"{name}-{index}" for server in (apache, ours))
                assert logs_of(one) == logs_of(other) != b""
        for pattern, options in (("*.log", ["--deep-iteration"]), ("*.txnindex", [])):
            one, other = (
                without_places(dumped(options, sorted(server.data_dir.glob(f"transactions-*/{pattern}"))))
                for server in (apache, ours)
            )
            assert one == other
            assert len(one) > 3
        place(apache, [0])


def logs_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.log")))
