"""How cost grows: the same loads for 1 to 1,000 partitions and connections, and for logs of 1 MB to 10 GB.

What is loaded stays the same while the number grows: as many records in all for 1,000 partitions as for one, one
request under way on each of the connections. The logs are those of `sparse`: real batches of 256 KB whose values are
holes in the file, so that 10 GB fit on a laptop; a start is over when the partition has its leader. All but one record
has been flushed before the kill: what is seen is what it costs to find that out, not what it costs to check records.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.processes import memory_mb
from bench.rounds import OURS, RECORD_BYTES, Row, broker, load_and_cpu
from bench.sizes import SESSION_S, stopped, time_to_lead
from bench.sparse import Shape, fill
from compat.servers import Server

_MEGABYTES: Final = 250
_SECONDS: Final = 5
_BATCHES_PER_MB: Final = 4
_BATCHES_PER_SEGMENT: Final = 4_000
"""A little less than segment.bytes."""


@dataclass(frozen=True)
class Axis:
    """Something that grows, and what is measured meanwhile."""

    key: str
    name: str
    counts: tuple[int, ...]
    rows: dict[str, Row]
    settings: str

    def at(self, quantity: str, count: int) -> str:
        """The key in a round's findings."""
        return f"{self.key}/{quantity}/{count}"


PARTITIONS: Final = Axis(
    "partitions",
    "partitions",
    (1, 10, 100, 1_000),
    {
        "produce": Row("produce 1 KB, acks=all", "MB/s", True),
        "consume": Row("consume 1 KB", "MB/s", True),
        "produce_cpu": Row("broker CPU per GB produced", "s", False),
        "consume_cpu": Row("broker CPU per GB consumed", "s", False),
        "memory": Row("memory after the load", "MB", False),
    },
    f"confluent-kafka, one producer, one consumer; {_MEGABYTES} MB times the share, whatever the number of partitions",
)
CONNECTIONS: Final = Axis(
    "connections",
    "connections",
    (1, 10, 100, 1_000),
    {
        "versions": Row("ApiVersions", "/s", True),
        "singles": Row("one-record Produce, acks=all", "/s", True),
        "versions_cpu": Row("broker CPU, ApiVersions", "µs", False),
        "singles_cpu": Row("broker CPU, one-record Produce", "µs", False),
        "memory": Row("memory under the load", "MB", False),
    },
    f"bare sockets, one request under way on each; {_SECONDS} s times the share",
)
LOG: Final = Axis(
    "log",
    "MB of log in one partition",
    (1, 10, 100, 1_000, 10_000),
    {
        "opened": Row("start after a clean stop", "s", False),
        "recovered": Row("start after a kill, of what was flushed", "s", False),
        "fetch": Row("Fetch of 1 MB from the middle", "/s", True),
        "dated": Row("ListOffsets by a timestamp in the middle", "/s", True),
        "memory": Row("memory after these", "MB", False),
    },
    f"batches of 256 KB, segments of 1 GB; one request at a time for {_SECONDS} s times the share",
)
AXES: Final = (PARTITIONS, CONNECTIONS, LOG)
ROWS: Final = {
    axis.at(quantity, count): row for axis in AXES for quantity, row in axis.rows.items() for count in axis.counts
}


def measure_growth(name: str, share: float, say: Callable[[str], None]) -> dict[str, float]:
    """All axes of one round for one broker, each load with a `share` of the usual amount. Raises `RuntimeError` when a
    load fails or loses records, `TimeoutError` when a partition is not led.
    """
    seconds = max(1, round(_SECONDS * share))
    found: dict[str, float] = {}
    with broker(name) as server:
        if name != OURS:
            say("warm up")
            load_and_cpu(server, "produce", count=200_000, size=RECORD_BYTES, partitions=12, turn=0)
            for what in ("versions", "singles"):
                load_and_cpu(server, what, seconds=seconds, connections=10, in_flight=10)
        for partitions in PARTITIONS.counts:
            say(f"{partitions} partitions")
            found |= _partitions(server, partitions, int(_MEGABYTES * share * 1e6) // RECORD_BYTES)
        for connections in CONNECTIONS.counts:
            say(f"{connections} connections")
            found |= _connections(server, connections, seconds)
    for megabytes in LOG.counts:
        say(f"a log of {megabytes} MB")
        found |= _log(name, megabytes, seconds)
    return found


def _partitions(server: Server, partitions: int, count: int) -> dict[str, float]:
    found = {}
    for what, more in (("produce", {}), ("consume", {"check": 0})):
        answer, used_s = load_and_cpu(
            server, what, count=count, size=RECORD_BYTES, partitions=partitions, turn=partitions, **more
        )
        found[PARTITIONS.at(what, partitions)] = answer["megabytes"] / answer["seconds"]
        found[PARTITIONS.at(f"{what}_cpu", partitions)] = used_s / (answer["megabytes"] / 1000)
    found[PARTITIONS.at("memory", partitions)] = memory_mb(server.pid)
    return found


def _connections(server: Server, connections: int, seconds: int) -> dict[str, float]:
    found = {}
    for what in ("versions", "singles"):
        answer, used_s = load_and_cpu(server, what, seconds=seconds, connections=connections, in_flight=1)
        found[CONNECTIONS.at(what, connections)] = answer["requests"] / answer["seconds"]
        found[CONNECTIONS.at(f"{what}_cpu", connections)] = used_s / answer["requests"] * 1e6
    found[CONNECTIONS.at("memory", connections)] = memory_mb(server.pid)
    return found


def shape_of(megabytes: int) -> Shape:
    """A log of so many (binary) megabytes."""
    batches = megabytes * _BATCHES_PER_MB
    return Shape(segments=max(1, batches // _BATCHES_PER_SEGMENT), batches=min(batches, _BATCHES_PER_SEGMENT))


def _log(name: str, megabytes: int, seconds: int) -> dict[str, float]:
    shape = shape_of(megabytes)
    found = {}
    with stopped(name) as server:
        server.start()
        load_and_cpu(server, "topic", partitions=1)
        server.stop()
        if fill(server.data_dir, "sized", shape) != 1:
            raise RuntimeError(f"{name} has not made the partition:\n{server.last_words()}")
        found["opened"] = time_to_lead(server, 1)
        middle = {"offset": shape.records // 2, "timestamp_s": shape.timestamp_ms // 1000 + shape.segments // 2}
        for what, key in (("middle", "offset"), ("dated", "timestamp_s")):
            answer, _ = load_and_cpu(server, what, seconds=seconds, **{key: middle[key]})
            found["fetch" if what == "middle" else what] = answer["requests"] / answer["seconds"]
        found["memory"] = memory_mb(server.pid)
        load_and_cpu(server, "touch", partitions=1)
        server.kill()
        if name != OURS:
            time.sleep(SESSION_S + 1)
        found["recovered"] = time_to_lead(server, 1)
    return {LOG.at(key, megabytes): value for key, value in found.items()}
