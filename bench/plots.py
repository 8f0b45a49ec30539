"""Draws how cost grows: one figure for what grows, one panel for what is measured meanwhile, a line for each broker."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench import report
from bench.growth import Axis
from bench.rounds import OURS, THEIRS, Row

_STYLES: Final = {OURS: ("#0072B2", "o", "-"), THEIRS: ("#D55E00", "s", "--")}
"""Colours that everybody can tell apart, and shapes for those who print."""


def draw(axis: Axis, found: Mapping[str, Any], path: Path) -> None:
    """Write the SVG of one axis from what is kept of the part (`bench.kept`): medians, and from lowest to highest."""
    with matplotlib.rc_context({"svg.hashsalt": "pykafka-broker", "svg.fonttype": "none", "font.size": 9}):
        columns = 3
        lines = -(-len(axis.rows) // columns)
        figure = Figure(figsize=(11, 3.1 * lines + 0.6), facecolor="white")
        panels = figure.subplots(lines, columns, squeeze=False)
        for panel, (quantity, row) in zip(panels.flat, axis.rows.items(), strict=False):
            _panel(panel, axis, quantity, row, found["rounds"])
        for panel in panels.flat[len(axis.rows) :]:
            panel.set_axis_off()
        panels.flat[0].legend(frameon=False, loc="best")
        rounds = max(len(turns) for turns in found["rounds"].values())
        figure.suptitle(f"{OURS} and {THEIRS} by {axis.name}", fontsize=11)
        figure.text(
            0.01,
            0.008,
            f"{found['machine']}; {found['measured']}; {rounds} rounds, median, lowest to highest\n{axis.settings}; "
            f"{found['command']}",
            fontsize=7,
            color="#444444",
        )
        figure.tight_layout(rect=(0, 0.06, 1, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _panel(panel: Axes, axis: Axis, quantity: str, row: Row, rounds: report.Rounds) -> None:
    for name, (color, marker, line) in _STYLES.items():
        turns = {count: report.values(rounds, name, axis.at(quantity, count)) for count in axis.counts}
        points = {count: values for count, values in turns.items() if values}
        if not points:
            continue
        medians = [statistics.median(each) for each in points.values()]
        panel.plot(list(points), medians, label=name, color=color, marker=marker, linestyle=line)
        panel.fill_between(
            list(points),
            [min(each) for each in points.values()],
            [max(each) for each in points.values()],
            color=color,
            alpha=0.15,
            linewidth=0,
        )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks(axis.counts)
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for each in (panel.xaxis, panel.yaxis):
        each.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        each.set_minor_formatter(NullFormatter())
    panel.set_title(f"{row.name}, {row.unit}", fontsize=9)
    panel.set_xlabel(axis.name)
    panel.grid(True, which="major", color="#dddddd", linewidth=0.6)
