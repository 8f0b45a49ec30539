"""`python -m bench [--rounds N] [--parts PART...]`: prints a page of Markdown tables and keeps it in `bench/results`.

A lone broker is measured with a bit of everything, in bulk, and with small requests; three of them as a cluster; a lone
one with up to 2,000 partitions, one that tidies up meanwhile, one that flushes every record, one that Java's own tools
measure, one with a thousand consumers, and ever more partitions, connections and bytes of log. Ours and Apache Kafka's
are started fresh in every round, one after the other, never at once; the order changes from round to round. With
`--peers`, kfake has its turn, too. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench import bulk, clusters, flushes, groups, growth, java, kept, pauses, peers, sizes, small
from bench.bulk import measure_bulk
from bench.clusters import measure_cluster
from bench.flushes import measure_flushes
from bench.groups import measure_groups
from bench.growth import measure_growth
from bench.java import measure_java
from bench.pauses import measure_pauses
from bench.peers import NotBuilt, measure_peer
from bench.rounds import OURS, ROWS, THEIRS, Amounts, Row, measure
from bench.sizes import COUNTS, measure_sizes
from bench.small import measure_small

PARTS = ("lone", "bulk", "small", "cluster", "sizes", "pauses", "flushes", "java", "groups", "growth")
RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Measure what the command line asks for."""
    chosen, parser = _chosen()
    rows = rows_of_parts(chosen.partitions)
    if (chosen.keep and "growth" in chosen.parts) or chosen.redraw:
        try:
            import bench.plots  # noqa: F401  found missing after half an hour, it would be too late
        except ModuleNotFoundError as problem:
            parser.error(f"to draw takes what `make` installs into .venv: {problem}")
    if chosen.redraw:
        kept.write(kept.read(), rows)
        return
    names = {"ours": [OURS], "theirs": [THEIRS]}.get(chosen.only, [OURS, THEIRS])
    if chosen.peers:
        try:
            peers.build()
        except NotBuilt as problem:
            parser.error(str(problem))
        names += peers.NAMES
    rounds = _rounds(chosen, names)
    command = f"python -m bench {' '.join(sys.argv[1:])}"
    measured = {
        part: kept.entry(command, chosen.note, kept.only(of_part, rounds))
        for part, of_part in rows.items()
        if part in chosen.parts
    }
    text = kept.page(measured, rows)
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    (RESULTS / f"{stamp}.json").write_text(json.dumps(measured, indent=1))
    (RESULTS / f"{stamp}.md").write_text(text)
    if chosen.keep:
        kept.write(kept.read() | measured, rows)
    print(text)


def _chosen() -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(prog="python -m bench", description="This broker beside Apache Kafka 3.9.1.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=500, help="per round, produced and consumed (default: 500)")
    parser.add_argument("--requests", type=int, default=30_000, help="one-record requests per round (default: 30000)")
    parser.add_argument("--latency-s", type=int, default=10, help="seconds of latency measurement (default: 10)")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the usual amount, in bulk, small, java and growth (default: 1)"
    )
    parser.add_argument("--keep", action="store_true", help="keep what was found as the result that is shown (docs)")
    parser.add_argument("--redraw", action="store_true", help="make the page and its plots anew, and measure nothing")
    parser.add_argument("--note", default="", help="what whoever reads the result has to know about the machine")
    parser.add_argument("--replicated-megabytes", type=int, default=500, help="the same for three brokers (500)")
    parser.add_argument("--only", choices=("ours", "theirs"), help="measure one of the two")
    parser.add_argument("--peers", action="store_true", help="kfake, too (needs Go), in lone and small")
    parser.add_argument("--partitions", type=int, nargs="+", default=COUNTS, help="how many to start with (sizes)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measure these only")
    return parser.parse_args(), parser


def rows_of_parts(partitions: Sequence[int] = COUNTS) -> dict[str, Mapping[str, Row]]:
    """The rows of every part, in the order in which they are shown."""
    return {
        "lone": ROWS,
        "small": small.ROWS,
        "bulk": bulk.ROWS,
        "java": java.ROWS,
        "cluster": clusters.ROWS,
        "sizes": sizes.rows(partitions),
        "pauses": pauses.ROWS,
        "flushes": flushes.ROWS,
        "groups": groups.ROWS,
        "growth": growth.ROWS,
    }


def _rounds(chosen: argparse.Namespace, names: Sequence[str]) -> dict[str, list[dict[str, float]]]:
    """What every round found for each broker, in turns."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    begun = time.monotonic()
    seconds = max(1, int(5 * chosen.share))
    for turn in range(chosen.rounds):
        amounts = Amounts(
            chosen.megabytes, chosen.replicated_megabytes, chosen.requests, chosen.latency_s, check=turn == 0
        )
        for name in names if turn % 2 == 0 else names[::-1]:

            def say(what: str, name: str = name, turn: int = turn) -> None:
                elapsed_s = time.monotonic() - begun
                print(f"[{elapsed_s:5.0f} s] round {turn + 1}/{chosen.rounds} {name}: {what}", file=sys.stderr)

            if name in peers.NAMES:
                rounds[name].append(measure_peer(chosen.parts, amounts, seconds, say))
                continue
            measures: dict[str, Callable[[], dict[str, float]]] = {
                "lone": partial(measure, name, amounts, say),
                "bulk": partial(measure_bulk, name, chosen.share, turn == 0, say),
                "small": partial(measure_small, name, seconds, say),
                "cluster": partial(measure_cluster, name, amounts, say),
                "sizes": partial(measure_sizes, name, chosen.partitions, say),
                "pauses": partial(measure_pauses, name, chosen.latency_s, say),
                "flushes": partial(measure_flushes, name, chosen.latency_s, say),
                "java": partial(measure_java, name, chosen.share, chosen.latency_s, say),
                "groups": partial(measure_groups, name, chosen.latency_s, say),
                "growth": partial(measure_growth, name, chosen.share, say),
            }
            found: dict[str, float] = {}
            for part in PARTS:
                if part in chosen.parts:
                    found |= measures[part]()
            rounds[name].append(found)
    return rounds


if __name__ == "__main__":
    main()
