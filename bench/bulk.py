"""Records in bulk, of every size, in one partition and in many, with and without compression, produced and consumed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.rounds import OURS, Row, broker, load_and_cpu

_MEGABYTES: Final = {100: 40, 1_024: 250, 10_240: 500}
"""By the size of the records: as much as a client produces in a few seconds."""


@dataclass(frozen=True)
class Shape:
    """One way to write the same."""

    size: int
    partitions: int
    acks: int
    lz4: int
    idempotent: int = 0

    @property
    def key(self) -> str:
        return f"{self.size}_{self.partitions}_{self.acks}_{self.lz4}_{self.idempotent}"

    @property
    def text(self) -> str:
        acks = "all" if self.acks == -1 else self.acks
        more = ", lz4" * self.lz4 + ", idempotent" * self.idempotent
        return f"{self.size:,} B, {self.partitions} partition{'s' * (self.partitions > 1)}, acks={acks}{more}"

    @property
    def count(self) -> int:
        return _MEGABYTES[self.size] * 1_000_000 // self.size


SHAPES: Final = (
    *(Shape(*each) for each in itertools.product(_MEGABYTES, (1, 12), (1, -1), (0, 1))),
    Shape(1_024, 12, -1, 0, idempotent=1),
)

ROWS: Final = {
    **{f"produce_{one.key}": Row(f"produce {one.text}", "MB/s", True, 1.2, "produce") for one in SHAPES},
    **{f"consume_{one.key}": Row(f"consume {one.text}", "MB/s", True, 0.9, "consume") for one in SHAPES},
    **{f"produce_cpu_{one.key}": Row(f"CPU per GB, produce {one.text}", "s", False, None, "CPU") for one in SHAPES},
}


def measure_bulk(name: str, share: float, check: bool, say: Callable[[str], None]) -> dict[str, float]:
    """All rows of one round for one broker, each with a `share` of the usual amount. Raises `RuntimeError` when a load
    fails or loses records; with `check`, every record is compared with what was written.
    """
    found: dict[str, float] = {}
    with broker(name) as server:
        if name != OURS:
            say("warm up")
            load_and_cpu(server, "produce", count=200_000, size=1_024, partitions=12, turn=len(SHAPES))
        for turn, one in enumerate(SHAPES):
            say(one.text)
            bulk = {"count": int(one.count * share), "size": one.size, "partitions": one.partitions, "turn": turn}
            answer, used_s = load_and_cpu(
                server, "produce", **bulk, acks=one.acks, lz4=one.lz4, idempotent=one.idempotent
            )
            found[f"produce_{one.key}"] = answer["megabytes"] / answer["seconds"]
            found[f"produce_cpu_{one.key}"] = used_s / (answer["megabytes"] / 1000)
            answer, _ = load_and_cpu(server, "consume", **bulk, check=0)
            found[f"consume_{one.key}"] = answer["megabytes"] / answer["seconds"]
            if check:
                load_and_cpu(server, "consume", **bulk, check=1)
    return found
