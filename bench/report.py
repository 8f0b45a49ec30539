"""Makes one Markdown table of many rounds."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping, Sequence

from bench.rounds import OURS, THEIRS, Row

Rounds = Mapping[str, Sequence[Mapping[str, float]]]


def table(rows: Mapping[str, Row], rounds: Rounds) -> str:
    """Median of each row that was measured, for both, how many times as good ours is, and the spread, least to most."""
    lines = [
        f"| row | unit | {OURS} | {THEIRS} | ours is better by | spread ours | spread Apache Kafka |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for key, row in rows.items():
        ours = [found[key] for found in rounds.get(OURS, []) if key in found]
        theirs = [found[key] for found in rounds.get(THEIRS, []) if key in found]
        if not ours and not theirs:
            continue
        ratio = "-"
        if ours and theirs:
            here, there = statistics.median(ours), statistics.median(theirs)
            ratio = f"{here / there if row.more_is_better else there / max(here, 1e-9):.2f} x"
        cells = [row.name, row.unit, _median(ours), _median(theirs), ratio, _spread(ours), _spread(theirs)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def surroundings(rounds: Rounds, processors: int) -> str:
    """One line about where and how often."""
    count = max((len(found) for found in rounds.values()), default=0)
    return (
        f"{count} rounds, interleaved; {processors} processors, {platform.system()}, Python {platform.python_version()}"
    )


def _median(values: Sequence[float]) -> str:
    return _number(statistics.median(values)) if values else "-"


def _spread(values: Sequence[float]) -> str:
    return f"{_number(min(values))} to {_number(max(values))}" if values else "-"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
