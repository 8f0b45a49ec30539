"""Takes out of a transcript what differs from run to run even with the same broker: times, ids, ports, measurements.

A mask that hides more than that would hide a difference between brokers, so each names exactly what it is for.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from typing import Final

_ONE_DAY_MS: Final = 86_400_000

_MASKS: Final[tuple[tuple[str, str], ...]] = (
    # log lines and the dates of ConsumerPerformance
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[,.:]\d{3}Z?", "TIME"),
    # librdkafka's log lines
    (r"%(\d)\|\d+\.\d+\|", r"%\1|TIME|"),
    # member ids, transactional names
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"TopicId: ?[A-Za-z0-9_-]{22}", "TopicId: ID"),
    (r"Cluster ID: [A-Za-z0-9_-]{22}", "Cluster ID: ID"),
    # client and group names that carry a counter of the process, or a random number
    (r"(console-consumer-|perf-consumer-)\d+", r"\1N"),
    (r"\b((?:consumer|producer|adminclient)-(?:[\w.-]+-)?)\d+\b", r"\1N"),
    (r"correlation id \d+", "correlation id N"),
    # how many numbered producers there were before: TransactionsCommand
    (r"(?m)^\d+(\s*\t\d+\s*\t-1\s*\t)", r"N\1"),
    # VerifiableProducer
    (r'"avg_throughput":[\d.]+', '"avg_throughput":N'),
    # java.lang.Object's way to print itself
    (r"(\$\w+|\b[A-Z]\w+)@[0-9a-f]{6,8}\b", r"\1@ADDRESS"),
)
_COMPILED: Final = tuple((re.compile(pattern), replacement) for pattern, replacement in _MASKS)
_STACK: Final = re.compile(r"^\s+(at [\w.$<>/@]+\(.*\)|\.\.\. \d+ more)$")
_MEASURED: Final = re.compile(r"\d+(?:\.\d+)?(?! records sent)\b")


def masked(text: str, known: Iterable[tuple[str, str]], *, sort: bool, figures: bool) -> list[str]:
    """The lines of `text` without what is volatile; `known` are literal texts of this run and what stands for them.

    Frames of stack traces are left out, and of equal lines in a row one is kept: how often a client retried, and
    from which thread, is a matter of timing.
    """
    text = re.sub(r'(?m)^\{"timestamp":\d+,.*\}$', _in_order, text)
    for literal, replacement in known:
        if literal:
            text = text.replace(literal, replacement)
    for pattern, replacement in _COMPILED:
        text = pattern.sub(replacement, text)
    # tables are as wide as what is masked in them
    text = re.sub(" {2,}", "  ", text)
    text = re.sub(r"\b\d{13}\b", _recent, text)
    lines: list[str] = []
    for line in text.rstrip("\n").split("\n") if text else []:
        line = line.rstrip()
        if _STACK.match(line):
            continue
        if figures:
            line = _without_figures(line)
        if not lines or lines[-1] != line or not line.startswith("[TIME]"):
            lines.append(line)
    return sorted(lines) if sort else lines


def _in_order(event: re.Match[str]) -> str:
    """An event of VerifiableProducer or VerifiableConsumer: the order of its fields is the virtual machine's choice."""
    return json.dumps(json.loads(event[0]), sort_keys=True, separators=(",", ":"))


def _recent(number: re.Match[str]) -> str:
    """A time of this run, unlike one that the scenario gave."""
    return "MILLIS" if abs(int(number[0]) - time.time() * 1000) < _ONE_DAY_MS else number[0]


def _without_figures(line: str) -> str:
    columns = line.split(", ")
    if columns[0] == "TIME" and len(columns) > 5:
        # ConsumerPerformance: megabytes and records consumed are facts, the rest is measured
        return ", ".join(column if index in (2, 4) else "N" for index, column in enumerate(columns))
    return _MEASURED.sub("N", line)
