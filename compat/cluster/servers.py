"""Several brokers on one ZooKeeper as processes on loopback: ours, Apache Kafka's, or both in one cluster.

Each can be stopped, killed, paused and started again by itself. What is done to them, and what is expected of them
then, is left to the callers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient, NewTopic

from compat.cluster import asking
from compat.cluster.links import ZOOKEEPER, Links
from compat.servers import (
    APACHE_KAFKA,
    COMPILED_ONCE,
    Server,
    _home,
    _write_properties,
    java,
)
from compat.waiting import until
from tests.cluster.zookeeper import Ensemble, ZooKeeper, free_port, running_ensemble

OURS: Final = "ours"
APACHE: Final = "apache"
SESSION_TIMEOUT_MS: Final = 6_000

SETTINGS: Final[Mapping[str, str]] = {
    "zookeeper.session.timeout.ms": str(SESSION_TIMEOUT_MS),
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "num.partitions": "1",
    "offsets.topic.num.partitions": "3",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.num.partitions": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "replica.lag.time.max.ms": "10000",
    "log.retention.ms": "-1",
    "controlled.shutdown.retry.backoff.ms": "1000",
    "inter.broker.protocol.version": "3.9-IV0",
}
"""What every broker of a cluster is started with: three copies, two of them enough, and a session that ends soon."""


class Member(Server):
    """One broker of a cluster."""

    number: int = -1

    @property
    def is_running(self) -> bool:
        """Whether the process is there, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_ours(self) -> bool:
        """Whether it is this broker, and not Apache Kafka's."""
        return self.name.startswith(OURS)

    def pause(self) -> None:
        """Let it hang: its connections stay open and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)


@dataclass
class Cluster:
    """Brokers by their numbers, and the ZooKeeper that they share."""

    zookeeper: str
    members: dict[int, Member] = field(default_factory=dict)

    @property
    def bootstrap(self) -> str:
        """All brokers, as clients take them."""
        return ",".join(member.bootstrap for member in self.members.values())

    def start(self) -> None:
        """Start all brokers at once and return when each of them knows all of them."""
        for member in self.members.values():
            member.start(wait=False)
        try:
            self.await_members()
        except AssertionError as problem:
            raise AssertionError(f"{problem}\n{self.logs()}") from None

    def admin(self, **settings: Any) -> AdminClient:
        """A client for questions about the cluster."""
        quiet = {"bootstrap.servers": self.bootstrap, "log_level": 0, "socket.timeout.ms": 5000}
        return AdminClient(quiet | settings)

    def await_members(self, within_s: float = 90) -> None:
        """Return when every broker tells of all that run."""
        running = {number for number, member in self.members.items() if member.is_running}

        def all_know() -> bool:
            ended = [number for number in running if not self.members[number].is_running]
            assert not ended, f"brokers {ended} have ended"
            return all(_told_by(self.members[number]) == running for number in running)

        until(all_know, within_s=within_s, what=f"brokers {sorted(running)} to know each other")

    def await_in_sync(self, within_s: float = 60) -> None:
        """Return when every partition has a leader and all of its replicas in sync, as every running broker tells."""
        for member in self.members.values():
            if member.is_running:
                until(
                    lambda member=member: _is_whole(member),  # type: ignore[misc]
                    within_s=within_s,
                    what=f"all replicas to be in sync, says broker {member.number}",
                )

    def make_topic(
        self, name: str, partitions: int, replicas: int = 3, config: Mapping[str, str] | None = None
    ) -> None:
        """Have a topic made, and wait until every broker knows its leaders."""
        admin = self.admin()
        wanted = NewTopic(name, partitions, replicas, config=dict(config or {}))
        admin.create_topics([wanted], operation_timeout=30, request_timeout=30)[name].result(40)
        self.await_in_sync()

    def leader(self, topic: str, partition: int = 0) -> int:
        """Who leads a partition, -1 for nobody."""
        return self.leaders(topic).get(partition, -1)

    def leaders(self, topic: str) -> dict[int, int]:
        """Who leads each partition of a topic, as any running broker tells."""
        return {index: leader for index, (leader, _, _) in self.partitions(topic).items()}

    def replicas(self, topic: str) -> dict[int, list[int]]:
        """Who holds each partition of a topic, whom it prefers to be led by first."""
        return {index: replicas for index, (_, replicas, _) in self.partitions(topic).items()}

    def partitions(self, topic: str) -> dict[int, tuple[int, list[int], list[int]]]:
        """Leader, replicas and replicas in sync of each partition of a topic, as any running broker tells."""
        found = self._told()
        wanted = [each for each in (found.topics if found is not None else ()) if each.name == topic]
        return {
            each.partition_index: (each.leader_id, list(each.replica_nodes), list(each.isr_nodes))
            for one in wanted
            for each in one.partitions
        }

    def coordinator(self, group: str) -> int:
        """Who looks after a group, as any running broker tells; -1 for nobody."""
        found = (asking.coordinator(member.port, group) for member in self.members.values() if member.is_running)
        return next((number for number in found if number >= 0), -1)

    def prefer_leaders(self) -> None:
        """Have every partition led by the replica that stands first, and wait until that is so everywhere."""

        def are_preferred() -> bool:
            controller = self.controller()
            if controller >= 0:
                asking.prefer_leaders(self.members[controller].port)
            told = [asking.metadata(member.port) for member in self.members.values() if member.is_running]
            return all(
                found is not None
                and all(each.leader_id == each.replica_nodes[0] for one in found.topics for each in one.partitions)
                for found in told
            )

        until(are_preferred, what="every partition to be led by its first replica")

    def controller(self) -> int:
        """Who is the controller, as any running broker tells; -1 for nobody."""
        found = self._told()
        return -1 if found is None else int(found.controller_id)

    def _told(self) -> Any:
        """What the first broker tells that answers; preferably one that knows a controller."""
        told = None
        for member in self.members.values():
            if member.is_running:
                found = asking.metadata(member.port, 1)
                if found is not None and found.controller_id >= 0:
                    return found
                told = told or found
        return told

    def logs(self, last_bytes: int = 3000) -> str:
        """The end of each broker's log."""
        parts = []
        for member in self.members.values():
            text = member.log_file.read_text(errors="replace") if member.log_file.exists() else ""
            parts.append(f"--- broker {member.number} ({member.name}) ---\n{text[-last_bytes:]}")
        return "\n".join(parts)


def _told_by(member: Member) -> set[int]:
    """Which brokers a broker tells of; nothing when it does not answer."""
    found = asking.metadata(member.port)
    return set() if found is None else {broker.node_id for broker in found.brokers}


def _is_whole(member: Member) -> bool:
    found = asking.metadata(member.port)
    return found is not None and all(
        partition.leader_id >= 0 and set(partition.isr_nodes) == set(partition.replica_nodes)
        for topic in found.topics
        for partition in topic.partitions
    )


def _command(kind: str, properties: Path, heap: str) -> list[str]:
    if kind == OURS:
        return [sys.executable, "-m", "pykafka_broker", "start", str(properties)]
    return java(APACHE_KAFKA, heap, "kafka.Kafka", str(properties))


@contextlib.contextmanager
def cluster(
    kinds: Sequence[str],
    zookeeper: str,
    properties: Mapping[str, str] | None = None,
    *,
    first: int = 0,
    heap: str = "300m",
    start: bool = True,
    links: Links | None = None,
) -> Iterator[Cluster]:
    """Brokers of these kinds, numbered from `first`, on a ZooKeeper (`host:port,.../chroot`), all running.

    With `links`, what they say to each other and to ZooKeeper goes through them; clients reach them directly.
    """
    with contextlib.ExitStack() as stack:
        made = Cluster(zookeeper)
        for number, kind in enumerate(kinds, first):
            home = stack.enter_context(_home(f"broker-{number}"))
            port = free_port()
            settings = {
                "broker.id": str(number),
                "listeners": f"PLAINTEXT://127.0.0.1:{port}",
                "log.dirs": str(home / "data"),
                "zookeeper.connect": zookeeper,
                **({} if links is None else _linked(links, number, port, zookeeper)),
                **SETTINGS,
                **(properties or {}),
            }
            _write_properties(home / "server.properties", settings)
            member = Member(
                f"{kind} {number}",
                _command(kind, home / "server.properties", heap),
                port,
                home,
                zookeeper=zookeeper,
                environment=COMPILED_ONCE if kind == OURS else {},
            )
            member.number = number
            made.members[number] = member
            stack.callback(_end, member)
        if start:
            made.start()
        yield made


def _linked(links: Links, number: int, port: int, zookeeper: str) -> dict[str, str]:
    """Settings of a broker that listens for the others apart, and is found by them, and finds ZooKeeper, by relays."""
    own, servers_and_chroot = free_port(), zookeeper.partition("/")
    servers = [
        links.relay(int(server.rpartition(":")[2]), ZOOKEEPER, number) for server in servers_and_chroot[0].split(",")
    ]
    return {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},PEERS://127.0.0.1:{own}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},PEERS://127.0.0.1:{links.relay(own, number)}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PEERS:PLAINTEXT",
        "inter.broker.listener.name": "PEERS",
        "zookeeper.connect": ",".join(f"127.0.0.1:{server}" for server in servers) + "".join(servers_and_chroot[1:]),
    }


def _end(member: Member) -> None:
    if member.is_running:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            member.resume()
    member.kill()


@contextlib.contextmanager
def own_zookeeper() -> Iterator[str]:
    """A ZooKeeper of one server, with ticks so short that sessions end when they should; where it is."""
    with _home("zookeeper") as home:
        server = ZooKeeper(home)
        server.start()
        try:
            yield server.connect
        finally:
            server.kill()


@contextlib.contextmanager
def own_ensemble(size: int = 3) -> Iterator[Ensemble]:
    """ZooKeeper servers that agree, for one test alone."""
    with _home("ensemble") as home, running_ensemble(home, size) as ensemble:
        yield ensemble
