"""Makes one Markdown table of many rounds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bench.rounds import OURS, THEIRS, Row

Rounds = Mapping[str, Sequence[Mapping[str, float]]]
_SMALLEST = 1e-9


def table(rows: Mapping[str, Row], rounds: Rounds) -> str:
    """Median of each row that was measured, for both, how many times as good ours is and has to be, and the spread; and
    the median of each other broker that was measured.
    """
    peers = [name for name in rounds if name not in (OURS, THEIRS) and any(values(rounds, name, key) for key in rows)]
    headings = ["row", "unit", OURS, THEIRS, "ours is better by", "to reach", "spread ours", "spread Apache Kafka"]
    headings += peers
    lines = [f"| {' | '.join(headings)} |", f"|---|---|{'--:|' * (len(headings) - 2)}"]
    for key, row in rows.items():
        ours, theirs = values(rounds, OURS, key), values(rounds, THEIRS, key)
        others = [values(rounds, name, key) for name in peers]
        if not any((ours, theirs, *others)):
            continue
        found = better_by(row, ours, theirs)
        told = "-" if found is None else f"{found:.2f} x"
        cells = [row.name, row.unit, median(ours), median(theirs), told, _verdict(found, row.reach)]
        lines.append(f"| {' | '.join([*cells, _spread(ours), _spread(theirs), *map(median, others)])} |")
    return "\n".join(lines)


def better_by(row: Row, ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """How many times as good as theirs ours is, by the medians; nothing where one of them was not measured."""
    if not ours or not theirs:
        return None
    here, there = statistics.median(ours), statistics.median(theirs)
    return here / max(there, _SMALLEST) if row.more_is_better else there / max(here, _SMALLEST)


def groups(rows: Mapping[str, Row], rounds: Rounds) -> str:
    """For each group of rows, the geometric mean of how much better they are, and the worst of them."""
    found: dict[str, list[tuple[float, str]]] = {}
    for key, row in rows.items():
        ratio = better_by(row, values(rounds, OURS, key), values(rounds, THEIRS, key))
        if row.group and ratio is not None:
            found.setdefault(row.group, []).append((ratio, row.name))
    if not found:
        return ""
    lines = ["| group | rows | geometric mean | worst | which |", "|---|--:|--:|--:|---|"]
    for group, ratios in found.items():
        worst, which = min(ratios)
        mean = statistics.geometric_mean(ratio for ratio, _ in ratios)
        lines.append(f"| {group} | {len(ratios)} | {mean:.2f} x | {worst:.2f} x | {which} |")
    return "\n".join(lines) + "\n\n"


def values(rounds: Rounds, name: str, key: str) -> list[float]:
    """What all rounds found for one row of one broker."""
    return [found[key] for found in rounds.get(name, []) if key in found]


def _verdict(found: float | None, reach: float | None) -> str:
    if reach is None:
        return ""
    return f"{reach:g} x" if found is None else f"{reach:g} x: {'yes' if found >= reach else 'no'}"


def median(found: Sequence[float]) -> str:
    """The median as it is shown; a dash for nothing."""
    return _number(statistics.median(found)) if found else "-"


def _spread(values: Sequence[float]) -> str:
    return f"{_number(min(values))} to {_number(max(values))}" if values else "-"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
