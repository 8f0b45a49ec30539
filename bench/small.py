"""Small requests over bare sockets: what a request costs, whatever it asks, on one connection and on many."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, NamedTuple

from bench.members import connect
from bench.processes import memory_mb
from bench.rounds import OURS, Row, broker, load_and_cpu, run_load
from compat.servers import Server

_IDLE: Final = 5_000
_WIDE: Final = 2_000
_JOINS: Final = 5
_SETTLED_S: Final = 5


class Load(NamedTuple):
    """So many connections with so many requests under way on each."""

    what: str
    connections: int
    in_flight: int


_LOADS: Final = {
    "versions_1": (Load("versions", 1, 1), Row("ApiVersions, one connection, one at a time", "/s", True, 2)),
    "versions_32": (Load("versions", 1, 32), Row("ApiVersions, one connection, 32 under way", "/s", True, 5)),
    "versions_100": (Load("versions", 100, 1), Row("ApiVersions, 100 connections", "/s", True, 1)),
    "singles_1": (Load("singles", 1, 1), Row("one record at a time, acks=all", "/s", True, 1.3)),
    "singles_1000": (Load("singles", 1, 1_000), Row("one-record requests, 1,000 under way, acks=all", "/s", True, 4)),
    "singles_100": (Load("singles", 100, 1), Row("one-record requests on 100 connections, acks=all", "/s", True)),
}

ROWS: Final = {
    **{key: row for key, (_, row) in _LOADS.items()},
    **{f"{key}_cpu": Row(f"broker CPU, {row.name}", "µs", False) for key, (_, row) in _LOADS.items()},
    "wide": Row(f"Fetch of {_WIDE:,} partitions with a record each, one at a time", "/s", True, 1),
    "wide_cpu": Row(f"broker CPU, Fetch of {_WIDE:,} partitions", "ms", False),
    "join": Row("a consumer's beginning in a new group to its first record, librdkafka", "s", False),
    "join_bare": Row("a consumer's beginning in a new group to its first record", "ms", False, 2),
    "idle_connection": Row(f"memory of one of {_IDLE:,} idle connections", "KB", False),
}


def measure_small(name: str, seconds: int, say: Callable[[str], None]) -> dict[str, float]:
    """All rows of one round for one broker. Raises `RuntimeError` when a load fails or loses records."""
    found: dict[str, float] = {}
    with broker(name) as server:
        if name != OURS:
            for what in ("versions", "singles"):
                say(f"warm up with {what}")
                load_and_cpu(server, what, seconds=seconds, connections=10, in_flight=10)
        found |= measure_sockets(server, seconds, say)
        say("joining")
        found |= run_load(server.bootstrap, "join", server.last_words, times=_JOINS)
        found |= run_load(server.bootstrap, "join_bare", server.last_words, times=_JOINS)
        say("idle connections")
        found["idle_connection"] = _idle_connection_kb(server)
    return found


def measure_sockets(server: Server, seconds: int, say: Callable[[str], None]) -> dict[str, float]:
    """The rows that take bare sockets, which any broker in any language can be asked for."""
    found: dict[str, float] = {}
    for key, (load, row) in _LOADS.items():
        say(row.name)
        answer, used_s = load_and_cpu(
            server, load.what, seconds=seconds, connections=load.connections, in_flight=load.in_flight
        )
        found[key] = answer["requests"] / answer["seconds"]
        found[f"{key}_cpu"] = used_s / answer["requests"] * 1e6
    say("wide fetches")
    answer, used_s = load_and_cpu(server, "wide", seconds=seconds, partitions=_WIDE)
    found["wide"] = answer["requests"] / answer["seconds"]
    found["wide_cpu"] = used_s / answer["requests"] * 1e3
    return found


def _idle_connection_kb(server: Server) -> float:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before_mb = memory_mb(server.pid)
    try:
        with ExitStack() as idle:
            for _ in range(_IDLE):
                idle.enter_context(connect(server.port).socket)
            time.sleep(_SETTLED_S)
            return max(0.0, memory_mb(server.pid) - before_mb) * 1000 / _IDLE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
