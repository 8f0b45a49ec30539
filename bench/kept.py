"""What has been measured and kept: `docs/performance.json`, one entry for each part, and the page made of it.

Parts are measured at different times, with different amounts; each entry says when, how and on what machine. To keep a
part takes nothing from the others.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench import report
from bench.growth import AXES
from bench.rounds import Row

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
_GROWTH: Final = "growth"

Kept = dict[str, dict[str, Any]]
"""By part: `measured` (when), `command`, `machine`, `note`, and `rounds` as they are measured."""


def machine() -> str:
    """The machine of this process, in a few words."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{os.cpu_count()} processors, {memory_gb:.0f} GB, {platform.system()} {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def entry(command: str, note: str, rounds: report.Rounds) -> dict[str, Any]:
    """What is kept of a part that has just been measured; `rounds` may hold other parts' rows as well."""
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": command,
        "machine": machine(),
        "note": note,
        "rounds": rounds,
    }


def only(keys: Iterable[str], rounds: report.Rounds) -> dict[str, list[dict[str, float]]]:
    """The rounds with these rows alone."""
    wanted = set(keys)
    return {
        name: [{key: value for key, value in found.items() if key in wanted} for found in turns]
        for name, turns in rounds.items()
    }


def read(directory: Path = DOCS) -> Kept:
    """What is kept; nothing if there is no file."""
    path = directory / "performance.json"
    kept: Kept = json.loads(path.read_text()) if path.exists() else {}
    return kept


def write(kept: Kept, rows: Mapping[str, Mapping[str, Row]], directory: Path = DOCS) -> None:
    """Keep it, with the page and the plots that show it; `rows` are those of each part, in the order of the page.

    Raises `ModuleNotFoundError` when there is growth to be drawn and matplotlib is not installed.
    """
    if _GROWTH in kept:
        from bench.plots import draw

        for axis in AXES:
            draw(axis, kept[_GROWTH], directory / "plots" / f"{axis.key}.svg")
    directory.joinpath("performance.json").write_text(json.dumps(kept, indent=1) + "\n")
    directory.joinpath("performance.md").write_text(page(kept, rows))


def page(kept: Kept, rows: Mapping[str, Mapping[str, Row]]) -> str:
    """The page, in Markdown."""
    lines = [
        "# What was measured",
        "",
        "`make bench` measures this broker beside Apache Kafka 3.9.1 on the same machine, with the same clients, one "
        "after the other, in turns. Medians of all rounds; the spread is from the lowest to the highest. Decisions 14 "
        "and 15 say what the figures come from.",
    ]
    for part, of_part in rows.items():
        if part not in kept or part == _GROWTH:
            continue
        found = kept[part]
        groups = report.groups(of_part, found["rounds"])
        lines += [
            "",
            f"## {part.capitalize()}",
            "",
            _about(found),
            "",
            f"{groups}{report.table(of_part, found['rounds'])}",
        ]
    if _GROWTH in kept:
        found = kept[_GROWTH]
        lines += ["", "## How cost grows", "", _about(found)]
        for axis in AXES:
            lines += ["", f"### By {axis.name}", "", f"![{axis.name}](plots/{axis.key}.svg)", ""]
            lines += [
                f"{axis.settings[0].upper()}{axis.settings[1:]}.",
                "",
                _grown(axis.counts, axis.key, axis.rows, found),
            ]
    return "\n".join(lines) + "\n"


def _about(found: Mapping[str, Any]) -> str:
    rounds = max((len(turns) for turns in found["rounds"].values()), default=0)
    note = f" {found['note']}" if found["note"] else ""
    return f"{found['measured']}, {found['machine']}, {rounds} rounds: `{found['command']}`.{note}"


def _grown(counts: Sequence[int], axis: str, rows: Mapping[str, Row], found: Mapping[str, Any]) -> str:
    lines = [f"| | | {' | '.join(f'{count:,}' for count in counts)} |", f"|---|---|{'--:|' * len(counts)}"]
    for quantity, row in rows.items():
        for name in found["rounds"]:
            cells = [
                report.median(report.values(found["rounds"], name, f"{axis}/{quantity}/{count}")) for count in counts
            ]
            lines.append(f"| {row.name}, {row.unit} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
