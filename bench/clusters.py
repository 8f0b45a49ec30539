"""One round of measurements against three brokers: started fresh, measured, robbed of leaders, stopped.

How brokers of a cluster are started and ended is `compat.cluster`'s; both kinds get the same settings and a ZooKeeper
of their own, with a session timeout of 6 s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.processes import cpu_s, memory_mb
from bench.rounds import OURS, RECORD_BYTES, THEIRS, Amounts, Row, run_load
from compat.cluster import servers
from compat.cluster.servers import Cluster, cluster, own_zookeeper

_KINDS: Final = {OURS: servers.OURS, THEIRS: servers.APACHE}
_PARTITIONS: Final = 6
"""Two to lead for each broker."""
_WARM_UP: Final = 2
"""Half as much goes before what is measured: three Java machines compile for a while."""

ROWS: Final = {
    "replicated": Row("three brokers: produce 1 KB, acks=all, 3 replicas", "MB/s", True),
    "replicated_cpu": Row("three brokers: CPU of all per GB produced, 3 replicas", "s", False),
    "replicated_memory": Row("three brokers: memory of all, after the load", "MB", False),
}


def measure_cluster(name: str, amounts: Amounts, say: Callable[[str], None]) -> dict[str, float]:
    """All rows of one round for three brokers. Raises `RuntimeError` when a load fails or loses records."""
    with own_zookeeper() as zookeeper, cluster([_KINDS[name]] * 3, zookeeper, heap="1G", start=False) as brokers:
        say("start three brokers")
        brokers.start()
        return _produce(brokers, amounts, say)


def _produce(brokers: Cluster, amounts: Amounts, say: Callable[[str], None]) -> dict[str, float]:
    count = amounts.replicated_megabytes * 1_000_000 // RECORD_BYTES
    shape = {"size": RECORD_BYTES, "partitions": _PARTITIONS}
    say("warm up")
    run_load(brokers.bootstrap, "produce", brokers.logs, **shape, count=count // _WARM_UP, replicas=3, turn=0)
    say("produce to three replicas")
    before_s = _cpu_s(brokers)
    answer = run_load(brokers.bootstrap, "produce", brokers.logs, **shape, count=count, replicas=3, turn=1)
    used_s = _cpu_s(brokers) - before_s
    memory = sum(memory_mb(member.pid) for member in brokers.members.values())
    if amounts.check:
        say("check")
        run_load(brokers.bootstrap, "consume", brokers.logs, **shape, count=count, check=1, turn=1)
    return {
        "replicated": answer["megabytes"] / answer["seconds"],
        "replicated_cpu": used_s / (answer["megabytes"] / 1000),
        "replicated_memory": memory,
    }


def _cpu_s(brokers: Cluster) -> float:
    return sum(cpu_s(member.pid) for member in brokers.members.values())
