"""A thousand consumers in a hundred groups of ten, polling: what a broker does for many readers of little.

A topic of 100 partitions gets 1,000 records of 100 bytes a second, in batches of 50 as a producer with a linger makes
them, and each group reads all of it: 100,000 records are delivered a second, in 2,000 answers to a Fetch; about as many
requests come on top of that, from consumers whose patience has ended and for heartbeats and commits (`consumers` says
who asks what). With smaller batches a broker and its client on two processors would be measured where they can do no
more: at 20 to a batch Apache Kafka fell behind, and this broker was close to it. The client takes a tenth of a
processor.

The groups form without `group.initial.rebalance.delay.ms`, as everywhere in the benchmark; everybody has connected
before. Apache Kafka has done all of it once before it is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.rounds import OURS, Row, broker, run_load
from compat.servers import Server

_SHAPE: Final = {"groups": 100, "members": 10, "partitions": 100, "rate": 1_000, "batch": 50}
_WARM_UP_S: Final = 2
_COMPILED_S: Final = 8
"""How long Apache Kafka does the same before it is measured."""
_WHO: Final = "1,000 consumers in 100 groups"

ROWS: Final = {
    "groups_stable": Row(f"{_WHO}: until all groups are stable", "s", False, 1),
    "groups_p50": Row(f"{_WHO} polling: delivery, p50", "ms", False, 1),
    "groups_p99": Row(f"{_WHO} polling: delivery, p99", "ms", False, 1),
    "groups_cpu": Row(f"{_WHO} polling: broker CPU", "s/s", False, 1),
    "groups_memory": Row(f"{_WHO} polling: memory", "MB", False, 1),
    "groups_delivered": Row(f"{_WHO} polling: records delivered, of 100,000", "/s", True),
}


def measure_groups(name: str, seconds: int, say: Callable[[str], None]) -> dict[str, float]:
    """All rows of one round for one broker, over so many `seconds` of polling. Raises `RuntimeError` when a group has
    not had every record, or a load fails otherwise.
    """
    with broker(name) as server:
        if name != OURS:
            say("warm up with consumers")
            _crowd(server, _COMPILED_S, turn=0)
        say(f"{_WHO} polling")
        answer = _crowd(server, seconds, turn=1)
    return {key: answer[key.removeprefix("groups_")] for key in ROWS}


def _crowd(server: Server, seconds: int, turn: int) -> dict[str, float]:
    return run_load(
        server.bootstrap,
        "crowd",
        server.last_words,
        **_SHAPE,
        pid=server.pid,
        warm_up_s=_WARM_UP_S,
        seconds=seconds,
        turn=turn,
    )
