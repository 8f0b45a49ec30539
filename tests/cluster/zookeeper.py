"""A real ZooKeeper on a free loopback port, from the jars that Apache Kafka 3.9.1 brings with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
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


class ZooKeeper:
    """One standalone server; it keeps port and data when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def connect(self) -> str:
        """What stands in ``zookeeper.connect``, without a chroot."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and return when it answers; ``RuntimeError`` with its output when it does not."""
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "zoo.cfg"
        configuration.write_text(
            CONFIGURATION.format(tick=TICK_MS, data=self._folder / "data", port=self.port), encoding="utf-8"
        )
        command = [
            "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.admin.enableServer=false",
            "-Dzookeeper.forceSync=no", "-Djava.net.preferIPv4Stack=true", "-cp", class_path_text("3.9.1"),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(configuration),
        ]  # fmt: skip
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + READY_WITHIN_S
        while not answers(self.port):
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
            self.kill()
            raise RuntimeError((self._folder / "output").read_text(errors="replace"))

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
def running_zookeeper(folder: Path) -> Iterator[ZooKeeper]:
    """A server for as long as the body runs."""
    server = ZooKeeper(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether a ZooKeeper there says that it is well."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"ruok")
            return connection.recv(4) == b"imok"
    except OSError:
        return False
