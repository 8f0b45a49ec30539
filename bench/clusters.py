"""One round of measurements against three brokers: started fresh, measured, robbed of leaders, stopped.

How brokers of a cluster are started and ended is `compat.cluster`'s; both kinds get the same settings and a ZooKeeper
of their own, with a session timeout of 6 s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from bench.processes import cpu_s, memory_mb
from bench.raw import SteadyWriter
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
    "killed": Row("three brokers: leader killed, longest wait of a writer, acks=all", "s", False),
    "killed_controller": Row("three brokers: the same when it was the controller, too", "s", False),
    "stopped": Row("three brokers: leader stopped (SIGTERM), longest wait of a writer", "ms", False),
}


def measure_cluster(name: str, amounts: Amounts, say: Callable[[str], None]) -> dict[str, float]:
    """All rows of one round for three brokers. Raises `RuntimeError` when a load fails or loses records."""
    with own_zookeeper() as zookeeper, cluster([_KINDS[name]] * 3, zookeeper, heap="1G", start=False) as brokers:
        say("start three brokers")
        brokers.start()
        return _produce(brokers, amounts, say) | _rob(brokers, say)


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


def _rob(brokers: Cluster, say: Callable[[str], None]) -> dict[str, float]:
    """How long a writer waits when its leader goes."""
    brokers.make_topic("robbed", len(brokers.members))
    found = {}
    for row, is_controller, scale in (("killed", False, 1), ("killed_controller", True, 1), ("stopped", False, 1000)):
        say(row)
        controller = brokers.controller()
        leaders = {index: brokers.leader("robbed", index) for index in range(len(brokers.members))}
        partition = next(index for index, leader in leaders.items() if (leader == controller) == is_controller)
        member = brokers.members[leaders[partition]]
        with SteadyWriter([each.port for each in brokers.members.values()], "robbed", partition) as writer:
            writer.await_record(time.monotonic())
            begun = time.monotonic()
            if row == "stopped":
                member.stop()
            else:
                member.kill()
            writer.await_record(time.monotonic())
            found[row] = writer.longest_wait(begun) * scale
        member.start()
        brokers.await_members()
        brokers.await_in_sync()
    return found


def _cpu_s(brokers: Cluster) -> float:
    return sum(cpu_s(member.pid) for member in brokers.members.values())
