"""This broker, Apache Kafka and ZooKeeper as processes on loopback, for tests and benchmarks that compare them.

Both brokers answer to the same small interface (`Server`), so that whoever compares them need not know which is which.
What is asked of them, and how the answers are compared, is left to the callers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from compat.java.artifacts import class_path_text

CHECKOUT: Final = Path(__file__).resolve().parents[1]
APACHE_KAFKA: Final = "3.9.1"
READY_WITHIN_S: Final = 90.0
STOPS_WITHIN_S: Final = 40.0

QUICK: Final[Mapping[str, str]] = {
    "group.initial.rebalance.delay.ms": "0",
    "log.retention.ms": "-1",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
}
"""What makes either broker quick to test: one broker is enough, a group forms at once, and records may be as old as a
test likes without being deleted half a minute after the start."""


COMPILED_ONCE: Final[Mapping[str, str]] = {
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPYCACHEPREFIX": str(CHECKOUT / ".cache" / "bytecode"),
}
"""An installed package is compiled when it is installed; so that a checkout is, too, its bytecode is kept."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class DidNotStart(RuntimeError):
    """A server ended, or was not ready in time; the message carries the end of its log."""


@dataclass
class Server:
    """One server process and the folder it lives in. `start` after `stop` or `kill` continues with the same data."""

    name: str
    command: list[str]
    port: int
    home: Path
    zookeeper: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> Path:
        """Where the broker keeps its log (`log.dirs`), or ZooKeeper its snapshots."""
        return self.home / "data"

    @property
    def log_file(self) -> Path:
        """Both of the process's output streams."""
        return self.home / "log.txt"

    def last_words(self) -> str:
        """The end of what the process has written."""
        return self.log_file.read_text(errors="replace")[-3000:]

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start the process and, with `wait`, return once it answers. Raises `DidNotStart`."""
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            with self.log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.home,
                    env=os.environ | dict(self.environment),
                )
            if not wait:
                return
            while self._process.poll() is None and time.monotonic() < deadline:
                if self.answers():
                    return
                time.sleep(0.05)
            tail = self.last_words()
            # Apache Kafka, started again after a kill, ends as long as its old registration lives.
            if "NodeExistsException" in tail and time.monotonic() < deadline:
                time.sleep(1)
                continue
            self.kill()
            raise DidNotStart(f"{self.name} did not start:\n{tail}")

    def answers(self) -> bool:
        """Whether clients can use it by now."""
        return broker_answers(self.port)

    def stop(self) -> int:
        """End it with SIGTERM, as an operator would, and return its exit status; SIGKILL if that takes too long."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """End it with SIGKILL."""
        return self._end(signal.SIGKILL)

    def _end(self, signal_number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(signal_number)
        try:
            return process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


class ZooKeeperServer(Server):
    """The ensemble of one."""

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"srvr")
                return b"Mode: standalone" in bytes(connection.recv(4096))
        except OSError:
            return False


class OldServer(Server):
    """An Apache Kafka of before 0.10, which knows no ApiVersions, and of no broker before there is a topic."""

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(5)
                return bool(_ask(connection, 3, 0, struct.pack(">i", 0)))
        except (OSError, EOFError):
            return False


def broker_answers(port: int) -> bool:
    """Whether a broker answers ApiVersions, and Metadata with itself and a controller in it."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.settimeout(5)
            _ask(connection, 18, 0, b"")
            body = _ask(connection, 3, 1, struct.pack(">i", 0))
    except (OSError, EOFError):
        return False
    (brokers,) = struct.unpack_from(">i", body, 4)
    at = 8
    for _ in range(brokers):
        (host,) = struct.unpack_from(">h", body, at + 4)
        (rack,) = struct.unpack_from(">h", body, at + 6 + host + 4)
        at += 6 + host + 6 + max(rack, 0)
    (controller,) = struct.unpack_from(">i", body, at)
    return bool(brokers > 0 and controller >= 0)


def _ask(connection: socket.socket, key: int, version: int, body: bytes) -> bytes:
    request = struct.pack(">hhih", key, version, 7, -1) + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _exactly(connection, 4))
    return _exactly(connection, size)


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = connection.recv(count - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found


def _write_properties(path: Path, properties: Mapping[str, str]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))


@contextlib.contextmanager
def _home(name: str) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix=f"pykafka-{name}-"))
    try:
        (path / "data").mkdir()
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def java(version: str, heap: str, main: str, *arguments: str) -> list[str]:
    """The command that runs a class of Apache Kafka `version`; `heap` as `-Xmx` takes it."""
    logging = CHECKOUT / "compat" / "java" / "launcher" / "log4j-server.properties"
    flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"] if heap != "1G" else ["-XX:+UseG1GC"]
    return [
        "java", f"-Xmx{heap}", f"-Xms{heap}", *flags,
        "-Djava.awt.headless=true", f"-Dlog4j.configuration=file:{logging}",
        "-cp", class_path_text(version), main, *arguments,
    ]  # fmt: skip


@contextlib.contextmanager
def zookeeper(version: str = APACHE_KAFKA) -> Iterator[ZooKeeperServer]:
    """The ZooKeeper that Apache Kafka `version` brings, standalone on a free port."""
    with _home("zookeeper") as home:
        port = free_port()
        _write_properties(
            home / "zoo.cfg",
            {
                "tickTime": "500",
                "dataDir": str(home / "data"),
                "clientPort": str(port),
                "clientPortAddress": "127.0.0.1",
                "admin.enableServer": "false",
                "maxClientCnxns": "0",
                "4lw.commands.whitelist": "srvr",
            },
        )
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        server = ZooKeeperServer("ZooKeeper", java(version, "128m", main, str(home / "zoo.cfg")), port, home)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def apache_kafka(
    properties: Mapping[str, str] = QUICK,
    *,
    version: str = APACHE_KAFKA,
    heap: str = "512m",
    start: bool = True,
    connect: str = "",
) -> Iterator[Server]:
    """Apache Kafka, ready to serve (unless `start` is false). `heap` as `-Xmx` takes it.

    It has a ZooKeeper of its own unless `connect` tells of one that somebody else has used before.
    """
    with contextlib.ExitStack() as stack:
        coordination = connect or stack.enter_context(zookeeper(version)).bootstrap
        home = stack.enter_context(_home("apache-kafka"))
        port = free_port()
        is_old = version.startswith(("0.8.", "0.9."))
        _write_properties(
            home / "server.properties",
            {
                "broker.id": "0",
                "listeners": f"PLAINTEXT://127.0.0.1:{port}",
                "log.dirs": str(home / "data"),
                "zookeeper.connect": coordination,
                # Before 0.9 there were no listeners.
                **({"host.name": "127.0.0.1", "port": str(port)} if is_old else {}),
                **properties,
            },
        )
        command = java(version, heap, "kafka.Kafka", str(home / "server.properties"))
        kind = OldServer if is_old else Server
        server = kind(f"Apache Kafka {version}", command, port, home, zookeeper=coordination)
        try:
            if start:
                server.start()
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def our_broker(
    properties: Mapping[str, str] = QUICK,
    *,
    with_zookeeper: bool = False,
    start: bool = True,
    data: Path | None = None,
    connect: str = "",
) -> Iterator[Server]:
    """This broker, ready to serve (unless `start` is false): on its own embedded tree, or on a real ZooKeeper.

    `data` and `connect` are a log directory and a ZooKeeper that somebody else has used before.
    """
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(_home("broker"))
        port = free_port()
        settings = {
            "broker.id": "0",
            "listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "log.dirs": str(data or home / "data"),
            **properties,
        }
        coordination = stack.enter_context(zookeeper()).bootstrap if with_zookeeper else connect
        if coordination:
            settings["zookeeper.connect"] = coordination
        _write_properties(home / "server.properties", settings)
        command = [sys.executable, "-m", "pykafka_broker", "start", str(home / "server.properties")]
        server = Server("pykafka-broker", command, port, home, zookeeper=coordination, environment=COMPILED_ONCE)
        try:
            if start:
                server.start()
            yield server
        finally:
            server.stop()
