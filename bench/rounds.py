"""One round of measurements against one broker: started fresh, measured, stopped."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from bench.processes import cpu_s, memory_mb
from compat.servers import CHECKOUT, QUICK, Server, apache_kafka, our_broker

OURS: Final = "pykafka-broker"
THEIRS: Final = "Apache Kafka 3.9.1"
RECORD_BYTES: Final = 1024


@dataclass(frozen=True)
class Row:
    """One line of the table. `more_is_better` says which way is good."""

    name: str
    unit: str
    more_is_better: bool
    reach: float | None = None
    """How many times as good as Apache Kafka it has to be."""
    group: str = ""
    """Rows of one group also have their geometric mean told, and the worst of them."""


ROWS: Final = {
    "produce": Row("produce 1 KB, acks=all", "MB/s", True, 1.2),
    "consume": Row("consume 1 KB", "MB/s", True, 0.9),
    "requests": Row("one-record requests, 1,000 in flight, acks=all", "/s", True, 4),
    "p50": Row("end to end at 1,000/s, p50", "ms", False, 1.25),
    "p99": Row("end to end at 1,000/s, p99", "ms", False, 2),
    "p999": Row("end to end at 1,000/s, p99.9", "ms", False, 2),
    "first": Row("start to first acknowledged record", "s", False, 10),
    "idle": Row("memory, idle", "MB", False, 9),
    "worked": Row("memory, after the load", "MB", False, 12.5),
    "produce_cpu": Row("broker CPU per GB produced", "s", False, 4),
    "consume_cpu": Row("broker CPU per GB consumed", "s", False, 2),
    "request_cpu": Row("broker CPU per one-record request", "µs", False),
}


@dataclass(frozen=True)
class Amounts:
    """How much each load does."""

    megabytes: int = 500
    replicated_megabytes: int = 500
    requests: int = 30_000
    latency_s: int = 10
    check: bool = False


def broker(name: str, properties: Mapping[str, str] = QUICK, *, start: bool = True) -> AbstractContextManager[Server]:
    """The broker of that name, ready to serve if not told otherwise; Apache Kafka as its own scripts start it: 1 GB of
    heap, G1.
    """
    return our_broker(properties, start=start) if name == OURS else apache_kafka(properties, heap="1G", start=start)


def measure(name: str, amounts: Amounts, say: Callable[[str], None]) -> dict[str, float]:
    """All rows of one round for one broker. Raises `RuntimeError` when a load fails or loses records."""
    with broker(name, start=False) as server:
        say("start")
        found = {"first": _start(server)}
        time.sleep(2)
        found["idle"] = memory_mb(server.pid)
        found |= measure_loads(server, amounts, say)
        say("latency")
        answer, _ = load_and_cpu(server, "latency", rate=1000, seconds=amounts.latency_s)
        found |= answer
        found["worked"] = memory_mb(server.pid)
        return found


def measure_loads(server: Server, amounts: Amounts, say: Callable[[str], None]) -> dict[str, float]:
    """The rows of a round that any broker in any language can be asked for: produce, consume, small requests."""
    found: dict[str, float] = {}
    count = amounts.megabytes * 1_000_000 // RECORD_BYTES
    for load in ("produce", "consume"):
        say(load)
        options = {"count": count, "size": RECORD_BYTES}
        if load == "consume":
            options["check"] = 0
        answer, used_s = load_and_cpu(server, load, **options)
        found[load] = answer["megabytes"] / answer["seconds"]
        found[f"{load}_cpu"] = used_s / (answer["megabytes"] / 1000)
    if amounts.check:
        say("check")
        load_and_cpu(server, "consume", count=count, size=RECORD_BYTES, check=1)
    say("requests")
    answer, used_s = load_and_cpu(server, "requests", count=amounts.requests, in_flight=1000)
    found["requests"] = answer["requests"] / answer["seconds"]
    found["request_cpu"] = used_s / answer["requests"] * 1e6
    return found


def _start(server: Server) -> float:
    """Seconds from starting the process until a client that was waiting has its first record acknowledged."""
    with _client("first", server.bootstrap) as client:
        assert client.stdout is not None
        client.stdout.readline()
        begun = time.time()
        server.start(wait=False)
        answer = json.loads(client.stdout.readline() or "{}")
        if client.wait() != 0:
            assert client.stderr is not None
            raise RuntimeError(f"{client.stderr.read()}\n{server.last_words()}")
        return float(answer["at"]) - begun


def load_and_cpu(server: Server, load: str, **options: int) -> tuple[dict[str, float], float]:
    """What a load found, and the processor seconds that the broker used meanwhile. Raises `RuntimeError`."""
    before_s = cpu_s(server.pid)
    found = run_load(server.bootstrap, load, server.last_words, **options)
    return found, cpu_s(server.pid) - before_s


def run_load(bootstrap: str, load: str, logs: Callable[[], str], **options: int) -> dict[str, float]:
    """What a load found. Raises `RuntimeError`, with what `logs` gives, when it failed."""
    with _client(load, bootstrap, *(f"{key}={value}" for key, value in options.items())) as client:
        output, errors = client.communicate()
    if client.returncode != 0:
        raise RuntimeError(f"{errors}\n{logs()}")
    found: dict[str, float] = json.loads(output)
    return found


def _client(load: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.loads", load, *arguments]
    return subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
