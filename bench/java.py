"""What Apache Kafka's own programs measure: `kafka-producer-perf-test` and `kafka-consumer-perf-test` of 3.9.1.

The same program runs against either broker, started as its script starts it, with the defaults of the Java clients: up
to 16 KB to a batch, no waiting for more, acks=all with idempotence. The figures are those that it prints; the start of
its Java machine is not among them, what the client does at its beginning (metadata, compilation) is: a small share of
the usual amount measures mostly that. Latencies are from `send` to the answer, for the most part waiting in its buffer
when it goes as fast as it can; p50 and p99 are whole milliseconds, and less than one is told as one.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.rounds import OURS, Row, broker
from bench.topics import make_topic
from compat.java.artifacts import class_path_text
from compat.java.tools import LAUNCHER, command
from compat.servers import APACHE_KAFKA, Server

_MEGABYTES: Final = {1_024: 400, 100: 60}
"""By the size of the records: as much as the client produces in a few seconds."""
_PARTITIONS: Final = 4
_RATE: Final = 1_000
_LATENCY_BYTES: Final = 1_024
_PATIENCE_S: Final = 300
_FINEST_MS: Final = 1
_MEBI: Final = 1.048576
"""The programs say MB and mean MiB."""
_SHAPES: Final = tuple(itertools.product(_MEGABYTES, ("all", "1")))

ROWS: Final = {
    **{
        f"java_produce_{size}_{acks}": Row(
            f"Java: produce {size:,} B, acks={acks}", "MB/s", True, 1.2, "produce with Java"
        )
        for size, acks in _SHAPES
    },
    **{
        f"java_{which}_{size}_{acks}": Row(f"Java: produce {size:,} B, acks={acks}, latency {which}", "ms", False)
        for size, acks in _SHAPES
        for which in ("average", "p99")
    },
    **{
        f"java_steady_{which}": Row(f"Java: produce at {_RATE:,}/s, acks=all, latency {which}", "ms", False)
        for which in ("average", "p50", "p99")
    },
    **{
        f"java_consume_{size}": Row(f"Java: consume {size:,} B", "MB/s", True, 0.9, "consume with Java")
        for size in _MEGABYTES
    },
    **{
        f"java_fetch_{size}": Row(f"Java: consume {size:,} B, from the group's forming on", "MB/s", True)
        for size in _MEGABYTES
    },
}


class Unreadable(RuntimeError):
    """A program did not say what it says when all went well."""


@dataclass(frozen=True)
class Produced:
    """What the producer's program says at its end."""

    records: int
    records_per_s: float
    average_ms: float
    p50_ms: int
    p99_ms: int


@dataclass(frozen=True)
class Consumed:
    """What the consumer's program says at its end; both speeds in millions of bytes a second."""

    records: int
    megabytes_per_s: float
    fetched_per_s: float
    """Without the time until the group had formed."""


_PRODUCED: Final = re.compile(
    r"^(?P<records>\d+) records sent, (?P<rate>[\d.]+) records/sec \([\d.]+ MB/sec\), (?P<average>[\d.]+)"
    r" ms avg latency, [\d.]+ ms max latency,"
    r" (?P<p50>\d+) ms 50th, \d+ ms 95th, (?P<p99>\d+) ms 99th, \d+ ms 99\.9th\.$",
    re.MULTILINE,
)


def read_produced(output: str) -> Produced:
    """What the last line says; those before it are of a few seconds each. Raises `Unreadable`."""
    found = _PRODUCED.search(output)
    if found is None:
        raise Unreadable(f"no sum of what was produced:\n{output}")
    return Produced(
        int(found["records"]), float(found["rate"]), float(found["average"]), int(found["p50"]), int(found["p99"])
    )


def read_consumed(output: str) -> Consumed:
    """What stands below the headings. Raises `Unreadable`."""
    lines = [line.split(", ") for line in output.splitlines()]
    for headings, values in itertools.pairwise(lines):
        if headings[0] == "start.time" and len(values) == len(headings):
            told = dict(zip(headings, values, strict=True))
            return Consumed(
                int(told["data.consumed.in.nMsg"]),
                float(told["MB.sec"]) * _MEBI,
                float(told["fetch.MB.sec"]) * _MEBI,
            )
    raise Unreadable(f"no sum of what was consumed:\n{output}")


def measure_java(name: str, share: float, seconds: int, say: Callable[[str], None]) -> dict[str, float]:
    """All rows of one round for one broker, in bulk with a `share` of the usual amount, at a steady rate for so many
    `seconds`. Raises `RuntimeError` when a program fails, or does not count as many records as it should.
    """
    found: dict[str, float] = {}
    with broker(name) as server:
        if name != OURS:
            say("warm up")
            _produce(server, "warm-up", 200_000, 1_024, "all")
        for size, acks in _SHAPES:
            say(ROWS[f"java_produce_{size}_{acks}"].name)
            count = max(1, int(_MEGABYTES[size] * 1_000_000 * share) // size)
            told = _produce(server, f"java-{size}-{acks}", count, size, acks)
            found[f"java_produce_{size}_{acks}"] = told.records_per_s * size / 1e6
            found[f"java_average_{size}_{acks}"] = told.average_ms
            found[f"java_p99_{size}_{acks}"] = max(_FINEST_MS, told.p99_ms)
            if acks == "all":
                say(ROWS[f"java_consume_{size}"].name)
                read = _consume(server, f"java-{size}-{acks}", count)
                found[f"java_consume_{size}"] = read.megabytes_per_s
                found[f"java_fetch_{size}"] = read.fetched_per_s
        say(ROWS["java_steady_p50"].name)
        told = _produce(server, "java-steady", _RATE * seconds, _LATENCY_BYTES, "all", _RATE)
        found["java_steady_average"] = told.average_ms
        # A time of nothing would be endlessly better than any other.
        found["java_steady_p50"] = max(_FINEST_MS, told.p50_ms)
        found["java_steady_p99"] = max(_FINEST_MS, told.p99_ms)
    return found


def _produce(server: Server, topic: str, count: int, size: int, acks: str, rate: int = -1) -> Produced:
    make_topic(server.bootstrap, topic, _PARTITIONS)
    amount = ["--num-records", str(count), "--record-size", str(size), "--throughput", str(rate)]
    output = _run(
        server, "producer-perf-test", ["--topic", topic, *amount, "--producer-props", f"acks={acks}"]
    )  # fmt: skip
    told = read_produced(output)
    if told.records != count:
        raise RuntimeError(f"{told.records} of {count} records were acknowledged:\n{output}")
    return told


def _consume(server: Server, topic: str, count: int) -> Consumed:
    output = _run(server, "consumer-perf-test", ["--topic", topic, "--messages", str(count)])
    told = read_consumed(output)
    if told.records != count:
        raise RuntimeError(f"{told.records} records were consumed instead of {count}:\n{output}")
    return told


def _run(server: Server, tool: str, arguments: Sequence[str]) -> str:
    main, *rest = command(tool, APACHE_KAFKA, server.bootstrap, list(arguments))
    # What the scripts give to the machine; numbers are to be written with points wherever this is.
    machine = [
        "java", "-Xmx512M", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
        "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
        "-Duser.language=en", "-Duser.country=US", f"-Dlog4j.configuration=file:{LAUNCHER / 'log4j.properties'}",
        "-cp", class_path_text(APACHE_KAFKA),
    ]  # fmt: skip
    outcome = subprocess.run([*machine, main, *rest], capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    if outcome.returncode != 0:
        told = outcome.stdout[-2000:] + outcome.stderr[-2000:]
        raise RuntimeError(f"{tool} ended with {outcome.returncode}:\n{told}\n{server.last_words()}")
    return outcome.stdout
