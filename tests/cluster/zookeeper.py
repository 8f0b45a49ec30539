"""Real ZooKeeper servers on free loopback ports, from the jars that Apache Kafka 3.9.1 brings with it.

``running_zookeeper`` is one server by itself, ``running_ensemble`` several that agree. Each server can be killed,
paused and started again; what is expected of its clients then is left to the tests.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from compat.java.artifacts import class_path_text

READY_WITHIN_S = 60.0
TICK_MS = 200
"""ZooKeeper grants sessions of 2 to 20 ticks' length."""

CONFIGURATION = """\
tickTime={tick}
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
maxClientCnxns=0
maxSessionTimeout=60000
admin.enableServer=false
4lw.commands.whitelist=*
"""

AMONG_OTHERS = """\
initLimit=50
syncLimit=10
quorumListenOnAllIPs=false
"""
"""A follower has ten seconds to catch up with its leader, and is given up after two without a word."""


class ZooKeeper:
    """One server; it keeps port and data when it is started again."""

    def __init__(self, folder: Path, *, settings: str = "", flags: Sequence[str] = (), number: int = 0) -> None:
        """``settings`` are more lines for its file, ``flags`` more for its Java; ``number`` is its own among others."""
        self._folder = folder
        self._settings = settings
        self._flags = tuple(flags)
        self._number = number
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def connect(self) -> str:
        """What stands in ``zookeeper.connect``, without a chroot."""
        return f"127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether there is a process, paused or not."""
        return self._process is not None

    def start(self, *, wait: bool = True) -> None:
        """Start the server and, with ``wait``, return when it serves; ``RuntimeError`` with its output if not."""
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "zoo.cfg"
        text = CONFIGURATION.format(tick=TICK_MS, data=data, port=self.port)
        configuration.write_text(text + self._settings, encoding="utf-8")
        if self._number:
            (data / "myid").write_text(str(self._number), encoding="utf-8")
        command = [
            "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.admin.enableServer=false",
            "-Dzookeeper.forceSync=no", "-Djava.net.preferIPv4Stack=true", *self._flags,
            "-cp", class_path_text("3.9.1"), "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(configuration),
        ]  # fmt: skip
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        if wait:
            self.await_service()

    def await_service(self) -> None:
        """Return when the server serves clients; ``RuntimeError`` with its output when it does not."""
        assert self._process is not None
        deadline = time.monotonic() + READY_WITHIN_S
        while self.mode is None:
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
            self.kill()
            raise RuntimeError((self._folder / "output").read_text(errors="replace"))

    @property
    def mode(self) -> str | None:
        """``standalone``, ``leader`` or ``follower``; ``None`` while it serves nobody."""
        for line in told(self.port, "srvr").splitlines():
            if line.startswith("Mode: "):
                return line.removeprefix("Mode: ")
        return None

    def kill(self) -> None:
        """End the process as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after ``pause``."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


@contextmanager
def running_zookeeper(folder: Path, *, settings: str = "", flags: Sequence[str] = ()) -> Iterator[ZooKeeper]:
    """A server for as long as the body runs."""
    server = ZooKeeper(folder, settings=settings, flags=flags)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Ensemble:
    """Several servers that agree; each can be killed, paused and started again by itself."""

    def __init__(self, folder: Path, size: int = 3) -> None:
        numbers = range(1, size + 1)
        peers = "".join(f"server.{number}=127.0.0.1:{free_port()}:{free_port()}\n" for number in numbers)
        self.servers = tuple(
            ZooKeeper(folder / str(number), settings=AMONG_OTHERS + peers, number=number) for number in numbers
        )

    @property
    def connect(self) -> str:
        """What stands in ``zookeeper.connect``, without a chroot."""
        return ",".join(server.connect for server in self.servers)

    @property
    def leader(self) -> ZooKeeper:
        """The server that the others follow at this moment; ``LookupError`` when there is none."""
        for server in self.servers:
            if server.is_running and server.mode == "leader":
                return server
        raise LookupError("the servers have no leader")

    def at(self, port: int) -> ZooKeeper:
        """The server with this port."""
        return next(server for server in self.servers if server.port == port)

    def without(self, server: ZooKeeper) -> list[ZooKeeper]:
        """The others."""
        return [other for other in self.servers if other is not server]

    def start(self) -> None:
        """Start the servers that do not run, and return when all serve, under one leader."""
        for server in self.servers:
            if not server.is_running:
                server.start(wait=False)
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.agrees():
            # One that has hung takes itself for the leader still, until it looks around.
            for server in self.servers:
                server.await_service()
            if time.monotonic() > deadline:
                raise RuntimeError("the servers do not agree on a leader")

    def agrees(self) -> bool:
        """Whether one server leads and all others follow."""
        return sorted(server.mode or "" for server in self.servers) == ["follower"] * (len(self.servers) - 1) + [
            "leader"
        ]

    def kill(self) -> None:
        """End all servers as a crash would."""
        for server in self.servers:
            server.kill()


@contextmanager
def running_ensemble(folder: Path, size: int = 3) -> Iterator[Ensemble]:
    """An ensemble for as long as the body runs."""
    ensemble = Ensemble(folder, size)
    try:
        ensemble.start()
        yield ensemble
    finally:
        ensemble.kill()


def free_port() -> int:
    """A loopback port that nobody listens on at the moment.

    Not one of those that systems give to outgoing connections: a server that is started again must find it free.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def told(port: int, word: str) -> str:
    """What a server there answers to a four-letter word; nothing when it does not."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(word.encode())
            while data := connection.recv(4096):
                answer += data
    except OSError:
        return ""
    return answer.decode()
