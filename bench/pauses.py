"""How long a producer waits for its answers while the broker tidies up behind it.

The same load three times: with nothing to tidy up, with small segments that are deleted soon, with small segments that
are compacted all the time. 1,000 records of 10 KB a second to eight partitions, acks=all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.rounds import Row, broker, run_load
from compat.servers import QUICK

_BUSY: Final = {
    "log.retention.check.interval.ms": "500",
    "log.initial.task.delay.ms": "500",
    "log.cleaner.backoff.ms": "500",
}
_MODES: Final = ("nothing", "deletion", "compaction")

ROWS: Final = {
    f"{share}_{mode}": Row(f"acks=all at 10 MB/s with {what}, {share}", "ms", False)
    for mode, what in zip(_MODES, ("nothing to tidy up", "retention and deletion", "compaction"), strict=True)
    for share in ("p99", "p999", "longest")
}


def measure_pauses(name: str, seconds: int, say: Callable[[str], None]) -> dict[str, float]:
    """All rows of one round for one broker. Raises `RuntimeError` when a load fails or nothing was tidied up."""
    found: dict[str, float] = {}
    properties = {**QUICK, **_BUSY}
    with broker(name, properties) as server:
        for number, mode in enumerate(_MODES):
            say(f"answers with {mode}")
            answer = run_load(
                server.bootstrap,
                "answers",
                server.last_words,
                seconds=seconds,
                **{mode: 1},
            )
            kept_bytes = sum(path.stat().st_size for path in server.data_dir.glob(f"answers-{mode}-*/*.log"))
            if number and kept_bytes > answer["bytes"] / 2:
                raise RuntimeError(f"{name} has kept {kept_bytes} of {answer['bytes']} bytes in spite of {mode}")
            found |= {f"{key}_{mode}": value for key, value in answer.items() if key != "bytes"}
    return found
