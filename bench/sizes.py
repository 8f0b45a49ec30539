"""What many partitions cost a broker: how long it takes to start with them, and what it holds for them.

Every partition has five segments with 5 MB of records (10 GB for 2,000), which are holes in sparse files. The broker
makes the topic, is stopped, its files are filled; it starts; a record is written to every partition; it is killed and
starts again. A start is over when every partition has a leader.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from bench.processes import handles, memory_mb
from bench.raw import await_leaders
from bench.rounds import OURS, Row, broker, run_load
from bench.sparse import Shape, fill
from compat.servers import QUICK, Server

COUNTS: Final = (10, 100, 1_000, 2_000)
_SHAPE: Final = Shape()
SESSION_S: Final = 6
"""Apache Kafka, started again after a kill, ends as long as its old session lives."""


def rows(counts: Sequence[int]) -> dict[str, Row]:
    """The lines of the table for so many partitions."""
    found = {}
    for count in counts:
        size = f"{count:,} partitions, {count * _SHAPE.size_bytes / 1e9:.2g} GB"
        found[f"opened_{count}"] = Row(f"{size}: start after a clean stop", "s", False)
        found[f"recovered_{count}"] = Row(f"{size}: start after a kill", "s", False)
        found[f"memory_{count}"] = Row(f"{size}: memory, after a record to each", "MB", False)
        found[f"handles_{count}"] = Row(f"{size}: file handles, after a record to each", "", False)
    return found


def measure_sizes(name: str, counts: Sequence[int], say: Callable[[str], None]) -> dict[str, float]:
    """All rows for one broker. Raises `RuntimeError` when a load fails, `TimeoutError` when a partition is not led."""
    found: dict[str, float] = {}
    for count in counts:
        with stopped(name) as server:
            say(f"{count} partitions")
            server.start()
            run_load(server.bootstrap, "topic", server.last_words, partitions=count)
            server.stop()
            if fill(server.data_dir, "sized", _SHAPE) != count:
                raise RuntimeError(f"{name} has not made {count} partitions:\n{server.last_words()}")
            found[f"opened_{count}"] = time_to_lead(server, count)
            run_load(server.bootstrap, "touch", server.last_words, partitions=count)
            time.sleep(2)
            found[f"memory_{count}"] = memory_mb(server.pid)
            found[f"handles_{count}"] = handles(server.pid)
            server.kill()
            if name != OURS:
                time.sleep(SESSION_S + 1)
            found[f"recovered_{count}"] = time_to_lead(server, count)
    return found


def stopped(name: str) -> AbstractContextManager[Server]:
    """The broker of that name, not started yet; its session with ZooKeeper ends soon after a kill."""
    session = {} if name == OURS else {"zookeeper.session.timeout.ms": str(SESSION_S * 1000)}
    return broker(name, {**QUICK, **session}, start=False)


def time_to_lead(server: Server, count: int) -> float:
    """Seconds from starting the process until every partition has a leader."""
    begun = time.monotonic()
    server.start(wait=False)
    await_leaders(server.port, "sized", count)
    return time.monotonic() - begun
