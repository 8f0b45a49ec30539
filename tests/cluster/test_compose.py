"""docker-compose.yml and the Dockerfile say what works: read, compared with each other, and started as processes."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from pykafka_broker.config.loading import load
from tests.cluster.compose import CHECKOUT, DATA, Compose, composed, entrypoint


@pytest.fixture(scope="module")
def compose() -> Compose:
    return Compose()


def test_there_are_three_of_each(compose: Compose) -> None:
    assert len(compose.zookeepers) == len(compose.brokers) == 3
    assert sorted(one["environment"]["ZOO_MY_ID"] for one in compose.zookeepers.values()) == ["1", "2", "3"]
    assert sorted(compose.overrides(name)["broker.id"] for name in compose.brokers) == ["1", "2", "3"]


def test_brokers_wait_for_every_zookeeper_to_be_healthy(compose: Compose) -> None:
    for broker in compose.brokers.values():
        assert broker["depends_on"] == {name: {"condition": "service_healthy"} for name in compose.zookeepers}
    for service in compose.services.values():
        assert service["healthcheck"]["test"][0] == "CMD"


def test_every_service_has_a_volume_of_its_own(compose: Compose) -> None:
    used = [volume for service in compose.services.values() for volume in service["volumes"]]
    assert sorted(one.partition(":")[0] for one in used) == sorted(compose.text["volumes"])
    for broker in compose.brokers.values():
        (volume,) = broker["volumes"]
        assert volume.partition(":")[2] == DATA


def test_brokers_differ_in_nothing_but_who_and_where_they_are(compose: Compose) -> None:
    own = {"broker.id", "listeners", "advertised.listeners"}
    shared = [
        {key: value for key, value in compose.overrides(name).items() if key not in own} for name in compose.brokers
    ]
    assert shared[0] == shared[1] == shared[2]
    hosts = shared[0]["zookeeper.connect"].partition("/")[0].split(",")
    assert hosts == [f"{name}:2181" for name in compose.zookeepers]


def test_clients_are_sent_where_a_port_is_published(compose: Compose) -> None:
    published = compose.published()
    for name in compose.brokers:
        overrides = compose.overrides(name)
        inside = dict(re.findall(r"(\w+)://:(\d+)", overrides["listeners"]))
        told = dict(re.findall(r"(\w+)://([\w-]+:\d+)", overrides["advertised.listeners"]))
        assert told["INTERNAL"] == f"{name}:{inside['INTERNAL']}"
        host, _, outside = told["EXTERNAL"].partition(":")
        assert host == "localhost"
        assert published[int(outside)] == (name, int(inside["EXTERNAL"]))


def test_no_setting_of_the_brokers_gets_a_warning(compose: Compose) -> None:
    for name in compose.brokers:
        loaded = load(None, "", [f"{key}={value}" for key, value in compose.overrides(name).items()])
        assert loaded.warnings == ()


def test_the_image_has_what_the_package_is_built_from_and_does_not_run_as_root() -> None:
    text = (CHECKOUT / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    needed = {
        "pyproject.toml",
        project["project"]["readme"],
        *project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"],
    }
    assert copied == needed
    ignored = (CHECKOUT / ".dockerignore").read_text().split()
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((CHECKOUT / name).exists() for name in copied)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["kafka"]
    assert entrypoint()[:2] == ["pykafka-broker", "start"]


@pytest.mark.cluster
@pytest.mark.slow
def test_what_compose_describes_starts_and_serves(tmp_path: Path) -> None:
    began = time.monotonic()
    with composed(tmp_path) as here:
        assert time.monotonic() - began < 60
        clients: dict[str, Any] = {"bootstrap.servers": here.bootstrap_servers}
        admin = AdminClient(clients)
        told = admin.list_topics(timeout=20)
        assert sorted(told.brokers) == [1, 2, 3]
        assert {f"{one.host}:{one.port}" for one in told.brokers.values()} == set(here.bootstrap_servers.split(","))
        admin.create_topics([NewTopic("orders", 3)])["orders"].result(20)
        partitions = admin.list_topics("orders", timeout=20).topics["orders"].partitions
        assert {tuple(sorted(one.replicas)) for one in partitions.values()} == {(1, 2, 3)}
        produce(clients, 100)
        assert consumed(clients, "first", 100) == 100
        assert here.stop("broker-2") == 0
        produce(clients, 100)
        assert consumed(clients, "second", 200) == 200
        here.start_broker("broker-2")
        here.await_health({"broker-2": None}, 60)


def produce(clients: Mapping[str, Any], count: int) -> None:
    producer = Producer({**clients, "acks": "all", "delivery.timeout.ms": 30_000})
    failures: list[object] = []
    for number in range(count):
        producer.produce("orders", str(number), on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(40) == 0
    assert failures == []


def consumed(clients: Mapping[str, Any], group: str, expected: int) -> int:
    """How many records there are, read through a group: as many as expected, and what comes within a second after.

    To ask librdkafka where the partitions end would not do: right after a broker has left it may have learned that this
    one leads, and goes on asking it.
    """
    consumer = Consumer({**clients, "group.id": group, "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe(["orders"])
        count = 0
        deadline = time.monotonic() + 60
        while count < expected and time.monotonic() < deadline:
            count += sum(one.error() is None for one in consumer.consume(500, 1.0))
        count += sum(one.error() is None for one in consumer.consume(500, 1.0))
        return count
    finally:
        consumer.close()
