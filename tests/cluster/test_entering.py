"""Brokers as processes enter a cluster, or say in one line why they do not: ids, addresses, clusters, ensembles."""

from __future__ import annotations

import itertools
import json
import socket
import time
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.cluster.process import Process, started
from tests.cluster.zookeeper import ZooKeeper, free_port

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_chroots = itertools.count()


@pytest.fixture
def chroot(zookeeper: ZooKeeper) -> str:
    """A cluster's place in the ensemble, which is not there yet."""
    return f"{zookeeper.connect}/entering/{next(_chroots)}"


def read(chroot: str, path: str) -> bytes:
    client = KazooClient(chroot)
    client.start()
    try:
        data: bytes = client.get(path)[0]
        return data
    finally:
        client.stop()
        client.close()


def test_a_broker_registers_what_it_is_told_to_advertise(chroot: str, tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "broker.id": 3,
        "zookeeper.connect": chroot,
        "broker.rack": "a",
        "listeners": f"INSIDE://127.0.0.1:{port},OUTSIDE://127.0.0.1:0",
        "advertised.listeners": f"INSIDE://127.0.0.1:{port},OUTSIDE://kafka.example:9094",
        "listener.security.protocol.map": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT",
        "inter.broker.listener.name": "INSIDE",
    }
    with started(tmp_path, settings) as broker:
        told = json.loads(read(chroot, "/brokers/ids/3"))
        assert told["endpoints"] == [f"INSIDE://127.0.0.1:{port}", "OUTSIDE://kafka.example:9094"]
        assert told["rack"] == "a"
        assert told["listener_security_protocol_map"] == {"INSIDE": "PLAINTEXT", "OUTSIDE": "PLAINTEXT"}
        assert broker.ready().startswith("pykafka-broker ready broker.id=3 ")


def test_ids_are_generated_above_the_reserved_ones_and_kept(chroot: str, tmp_path: Path) -> None:
    settings = {"zookeeper.connect": chroot, "broker.id": -1}
    for folder, number in ((tmp_path / "a", 1001), (tmp_path / "b", 1002), (tmp_path / "a", 1001)):
        with started(folder, settings) as broker:
            assert f" broker.id={number} " in broker.ready()


def test_without_an_id_and_without_generating_one_there_is_no_start(chroot: str, tmp_path: Path) -> None:
    settings = {"zookeeper.connect": chroot, "broker.id": -1, "broker.id.generation.enable": "false"}
    assert Process(tmp_path, settings).refuses().startswith("pykafka-broker: ")


def test_an_address_that_another_broker_advertises_is_refused(chroot: str, tmp_path: Path) -> None:
    shared = {"zookeeper.connect": chroot, "advertised.listeners": "PLAINTEXT://kafka.example:9092"}
    with started(tmp_path / "1", {**shared, "broker.id": 1}):
        assert Process(tmp_path / "2", {**shared, "broker.id": 2}).refuses() == (
            "pykafka-broker: Configured end points kafka.example:9092 in advertised listeners are already registered "
            "by broker 1"
        )


def test_an_id_that_a_live_broker_has_is_refused_after_a_while(chroot: str, tmp_path: Path) -> None:
    settings = {"zookeeper.connect": chroot, "broker.id": 1}
    with started(tmp_path / "1", settings):
        second = Process(tmp_path / "2", settings)
        assert second.refuses().startswith("pykafka-broker: A broker with id 1 is already registered: /brokers/ids/1")
        assert second.said.count("waiting for an old registration to expire") == 1


def test_a_broker_that_was_killed_waits_for_its_own_registration_to_expire(chroot: str, tmp_path: Path) -> None:
    settings = {"zookeeper.connect": chroot, "broker.id": 1, "zookeeper.session.timeout.ms": 15_000}
    with started(tmp_path, settings):
        pass
    with started(tmp_path, settings) as again:
        assert "waiting for an old registration to expire" in again.said


def test_a_directory_of_another_cluster_is_refused(chroot: str, tmp_path: Path) -> None:
    with started(tmp_path, {"zookeeper.connect": f"{chroot}/one", "broker.id": 1}):
        mine = json.loads(read(chroot, "/one/cluster/id"))["id"]
    line = Process(tmp_path, {"zookeeper.connect": f"{chroot}/two", "broker.id": 1}).refuses()
    other = json.loads(read(chroot, "/two/cluster/id"))["id"]
    path = tmp_path / "data" / "meta.properties"
    assert line == f"pykafka-broker: Invalid cluster.id in: {path}. Expected {other}, but read {mine}"


def test_an_ensemble_that_is_not_there_is_given_up_in_time(tmp_path: Path) -> None:
    port = free_port()
    began = time.monotonic()
    line = Process(
        tmp_path, {"zookeeper.connect": f"127.0.0.1:{port}/x", "zookeeper.connection.timeout.ms": 500}
    ).refuses()
    assert time.monotonic() - began < 20
    assert line == (
        f"pykafka-broker: zookeeper.connect: 127.0.0.1:{port}/x: Timed out waiting for connection while in state: "
        f"CONNECTING (127.0.0.1:{port}: Connection refused)"
    )


def test_an_ensemble_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        settings = {"zookeeper.connect": f"127.0.0.1:{port}", "zookeeper.connection.timeout.ms": 500}
        assert Process(tmp_path, settings).refuses() == (
            f"pykafka-broker: zookeeper.connect: 127.0.0.1:{port}: Timed out waiting for connection while in state: "
            "CONNECTING"
        )


def test_acls_without_credentials_are_refused_before_anything_is_asked(chroot: str, tmp_path: Path) -> None:
    line = Process(tmp_path, {"zookeeper.connect": chroot, "zookeeper.set.acl": "true"}, {}).refuses()
    assert line.startswith("pykafka-broker: zookeeper.set.acl is true, but ZooKeeper client TLS configuration")
