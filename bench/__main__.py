"""`python -m bench [--rounds N] [--parts PART...]`: prints one Markdown table and keeps it in `bench/results`.

A lone broker is measured with a bit of everything, in bulk, and with small requests; three of them as a cluster; a lone
one with up to 2,000 partitions, one that tidies up meanwhile, one that flushes every record, one that Java's own tools
measure. Ours and Apache Kafka's are started fresh in every round, one after the other, never at once; the
order changes from round to round. With `--peers`, kfake has its turn, too. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench import bulk, clusters, flushes, java, pauses, peers, report, sizes, small
from bench.bulk import measure_bulk
from bench.clusters import measure_cluster
from bench.flushes import measure_flushes
from bench.java import measure_java
from bench.pauses import measure_pauses
from bench.peers import NotBuilt, measure_peer
from bench.rounds import OURS, ROWS, THEIRS, Amounts, measure
from bench.sizes import COUNTS, measure_sizes
from bench.small import measure_small

PARTS = ("lone", "bulk", "small", "cluster", "sizes", "pauses", "flushes", "java")
RESULTS = Path(__file__).resolve().parent / "results"
KEPT = Path(__file__).resolve().parents[1] / "docs" / "performance"


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="This broker beside Apache Kafka 3.9.1.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=500, help="per round, produced and consumed (default: 500)")
    parser.add_argument("--requests", type=int, default=30_000, help="one-record requests per round (default: 30000)")
    parser.add_argument("--latency-s", type=int, default=10, help="seconds of latency measurement (default: 10)")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the usual amount, in bulk, small and java (default: 1)"
    )
    parser.add_argument("--keep", action="store_true", help="keep what was found as the result that is shown (docs)")
    parser.add_argument("--note", default="", help="what whoever reads the result has to know about the machine")
    parser.add_argument("--replicated-megabytes", type=int, default=500, help="the same for three brokers (500)")
    parser.add_argument("--only", choices=("ours", "theirs"), help="measure one of the two")
    parser.add_argument("--peers", action="store_true", help="kfake, too (needs Go), in lone and small")
    parser.add_argument("--partitions", type=int, nargs="+", default=COUNTS, help="how many to start with (sizes)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measure these only")
    chosen = parser.parse_args()
    names = {"ours": [OURS], "theirs": [THEIRS]}.get(chosen.only, [OURS, THEIRS])
    if chosen.peers:
        try:
            peers.build()
        except NotBuilt as problem:
            parser.error(str(problem))
        names += peers.NAMES
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    begun = time.monotonic()
    for turn in range(chosen.rounds):
        amounts = Amounts(
            chosen.megabytes, chosen.replicated_megabytes, chosen.requests, chosen.latency_s, check=turn == 0
        )
        for name in names if turn % 2 == 0 else names[::-1]:

            def say(what: str, name: str = name, turn: int = turn) -> None:
                elapsed_s = time.monotonic() - begun
                print(f"[{elapsed_s:5.0f} s] round {turn + 1}/{chosen.rounds} {name}: {what}", file=sys.stderr)

            if name in peers.NAMES:
                rounds[name].append(measure_peer(chosen.parts, amounts, max(1, int(5 * chosen.share)), say))
                continue
            found: dict[str, float] = {}
            if "lone" in chosen.parts:
                found |= measure(name, amounts, say)
            if "bulk" in chosen.parts:
                found |= measure_bulk(name, chosen.share, turn == 0, say)
            if "small" in chosen.parts:
                found |= measure_small(name, max(1, int(5 * chosen.share)), say)
            if "cluster" in chosen.parts:
                found |= measure_cluster(name, amounts, say)
            if "sizes" in chosen.parts:
                found |= measure_sizes(name, chosen.partitions, say)
            if "pauses" in chosen.parts:
                found |= measure_pauses(name, chosen.latency_s, say)
            if "flushes" in chosen.parts:
                found |= measure_flushes(name, chosen.latency_s, say)
            if "java" in chosen.parts:
                found |= measure_java(name, chosen.share, chosen.latency_s, say)
            rounds[name].append(found)
    rows = ROWS | bulk.ROWS | small.ROWS | clusters.ROWS | sizes.rows(chosen.partitions) | pauses.ROWS | flushes.ROWS
    rows |= java.ROWS
    where = " ".join([report.surroundings(rounds, os.cpu_count() or 0), chosen.note]).rstrip()
    text = f"{report.groups(rows, rounds)}{report.table(rows, rounds)}\n\n{where}\n"
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    (RESULTS / f"{stamp}.json").write_text(json.dumps(rounds, indent=1))
    (RESULTS / f"{stamp}.md").write_text(text)
    if chosen.keep:
        KEPT.with_suffix(".json").write_text(json.dumps(rounds, indent=1) + "\n")
        KEPT.with_suffix(".md").write_text(
            f"# What was measured\n\n`python -m bench {' '.join(sys.argv[1:])}`\n\n{text}"
        )
    print(text)


if __name__ == "__main__":
    main()
