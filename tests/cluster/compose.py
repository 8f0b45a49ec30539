"""What docker-compose.yml describes, as processes on loopback: the same arguments and listeners, on free ports.

A container is a process with a folder for its volumes; ``service:port`` inside the network, and ``localhost:port``
where a port is published, become ``127.0.0.1`` and a port of that process. What compose itself does (networks,
restarts, the build) is not tried.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.zookeeper import AMONG_OTHERS, ZooKeeper, free_port

CHECKOUT = Path(__file__).resolve().parents[2]
DATA = "/var/lib/kafka"
_ADDRESS = re.compile(r"(?P<before>//|/dev/tcp/|,|=|\s|^)(?P<host>[a-z0-9-]*)(?P<mark>[:/])(?P<port>\d+)\b")
"""A host and a port: with a colon, or as bash writes it."""


class Compose:
    """The file, read."""

    def __init__(self, file: Path = CHECKOUT / "docker-compose.yml") -> None:
        self.text: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        self.services: dict[str, dict[str, Any]] = self.text["services"]
        self.zookeepers = {
            name: one for name, one in self.services.items() if "ZOO_MY_ID" in one.get("environment", {})
        }
        self.brokers = {name: one for name, one in self.services.items() if name not in self.zookeepers}

    def published(self) -> dict[int, tuple[str, int]]:
        """The ports of the machine: whose port inside is reached by each."""
        found = {}
        for name, service in self.services.items():
            for port in service.get("ports", ()):
                address, outside, inside = port.rsplit(":", 2)
                assert address == "127.0.0.1", "an example is not for strangers"
                assert int(outside) not in found, f"port {outside} is published twice"
                found[int(outside)] = (name, int(inside))
        return found

    def overrides(self, broker: str) -> dict[str, str]:
        """A broker's settings as its arguments give them."""
        arguments = [*entrypoint()[1:], *self.brokers[broker]["command"]]
        return dict(one.removeprefix("--override=").split("=", 1) for one in arguments if one.startswith("--override="))


def entrypoint() -> list[str]:
    """The command that the image runs, from the Dockerfile."""
    (line,) = re.findall(r"^ENTRYPOINT \[(.*)\]$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
    return [word.strip().strip('"') for word in line.split(",")]


class Here:
    """The services as processes."""

    def __init__(self, compose: Compose, folder: Path) -> None:
        self._compose = compose
        self._folder = folder
        self._ports: dict[tuple[str, int], int] = {}
        self._published = compose.published()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.zookeepers = {name: self._zookeeper(name) for name in compose.zookeepers}

    def port(self, service: str, inside: int) -> int:
        """The port here that stands for a service's own."""
        return self._ports.setdefault((service, inside), free_port())

    @property
    def bootstrap_servers(self) -> str:
        """Where a client on this machine would begin."""
        return ",".join(f"127.0.0.1:{self.port(*self._published[outside])}" for outside in sorted(self._published))

    def translated(self, service: str, text: str) -> str:
        """A text of the service's with its addresses and folders as they are here."""
        outside = "advertised.listeners" in text

        def here(match: re.Match[str]) -> str:
            host, port = match["host"], int(match["port"])
            if host == "localhost" and outside:
                place = self._published[port]
            elif host in ("", "localhost"):
                place = (service, port)
            else:
                assert host in self._compose.services, f"{text}: there is no service {host}"
                place = (host, port)
            return f"{match['before']}127.0.0.1{match['mark']}{self.port(*place)}"

        return _ADDRESS.sub(here, text.replace(DATA, str(self._folder / service / "data")))

    def _zookeeper(self, name: str) -> ZooKeeper:
        environment: Mapping[str, str] = self._compose.zookeepers[name]["environment"]
        peers = []
        for line in environment["ZOO_SERVERS"].split():
            peer, _, client_port = line.partition(";")
            server, _, address = peer.partition("=")
            host, quorum, election = address.split(":")
            peers.append(f"{server}=127.0.0.1:{self.port(host, int(quorum))}:{self.port(host, int(election))}")
            if server == f"server.{environment['ZOO_MY_ID']}":
                assert host == name
                own_port = self.port(name, int(client_port))
        settings = AMONG_OTHERS + "\n".join(peers) + "\n"
        made = ZooKeeper(self._folder / name, settings=settings, number=int(environment["ZOO_MY_ID"]))
        made.port = own_port
        return made

    def start_broker(self, name: str) -> None:
        """As its container would be started."""
        home = self._folder / name
        home.mkdir(parents=True, exist_ok=True)
        arguments = [self.translated(name, one) for one in self._compose.brokers[name]["command"]]
        first, *rest = entrypoint()
        assert first == "pykafka-broker"
        command = [sys.executable, "-m", "pykafka_broker", *(self.translated(name, one) for one in rest), *arguments]
        with (home / "output").open("ab") as output:
            self._processes[name] = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=home)

    def is_healthy(self, name: str) -> bool:
        """Whether the service's health check says so."""
        kind, *command = self._compose.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        if command[0] == "pykafka-broker":
            command = [sys.executable, "-m", "pykafka_broker", *command[1:]]
        command = [self.translated(name, word) for word in command]
        limit_s = int(self._compose.services[name]["healthcheck"]["timeout"].removesuffix("s"))
        try:
            return subprocess.run(command, capture_output=True, timeout=limit_s, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def await_health(self, names: Iterator[str] | Mapping[str, object], within_s: float) -> None:
        """Return when all of them are healthy; ``AssertionError`` with their output when they are not in time."""
        deadline = time.monotonic() + within_s
        for name in names:
            while not self.is_healthy(name):
                process = self._processes.get(name)
                alive = process is None or process.poll() is None
                if not alive or time.monotonic() > deadline:
                    output = (self._folder / name / "output").read_text(errors="replace")
                    raise AssertionError(f"{name} is not healthy:\n{output}")

    def stop(self, name: str) -> int:
        """End a broker as compose does; its exit status."""
        process = self._processes.pop(name)
        process.terminate()
        return process.wait(60)

    def kill(self) -> None:
        """End everything."""
        for process in self._processes.values():
            process.kill()
            process.wait()
        for server in self.zookeepers.values():
            server.kill()


@contextmanager
def composed(folder: Path) -> Iterator[Here]:
    """The services of docker-compose.yml, started in the order that it demands, all healthy."""
    compose = Compose()
    here = Here(compose, folder)
    try:
        for server in here.zookeepers.values():
            server.start(wait=False)
        here.await_health(here.zookeepers, 30)
        for name in compose.brokers:
            here.start_broker(name)
        here.await_health(compose.brokers, 60)
        yield here
    finally:
        here.kill()
