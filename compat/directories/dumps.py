"""What kafka-dump-log says of the files in a log directory."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from compat.servers import APACHE_KAFKA, java

WRONG: Final = re.compile(r"mismatch|Mismatch|out of order|Non-consecutive|isvalid: false|[Ii]nvalid|Exception|orrupt")
"""What it says of files that do not agree with each other or with themselves."""
_OF_THE_TOOL: Final = re.compile(r"\[[-\d :,]+\] INFO ")
"""What it logs about itself."""
_PLACE: Final = re.compile(r"^(?:Dumping |Log starting offset: ).*|\bposition: \d+")
"""What depends on where segments begin."""


def dumped(options: Sequence[str], paths: Iterable[Path]) -> list[str]:
    """Every line that it prints of files, which have to be there, in their order; errors last."""
    names = list(map(str, paths))
    command = java(APACHE_KAFKA, "256m", "kafka.tools.DumpLogSegments", *options, "--files", ",".join(names))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    said = done.stdout.splitlines()
    count = sum(line.startswith("Dumping ") for line in said)
    assert count == len(names) > 0, f"{options} {done.stderr} {said[-9:]}"
    assert done.returncode == 0, f"{options} {done.stderr}"
    return [line for line in (*said, *done.stderr.splitlines()) if not _OF_THE_TOOL.match(line)]


def without_places(lines: Sequence[str]) -> list[str]:
    """The same of logs that are cut into segments elsewhere."""
    found = (_PLACE.sub("", line) for line in lines)
    return [line for line in found if line]


def without_empty_batches(lines: Sequence[str]) -> list[str]:
    """The same without complaints of times that belong to batches of which compaction has left nothing.

    Such a batch keeps its time, and the time index names it, whichever broker has compacted (docs/decisions/0012).
    """
    found: list[str] = []
    mismatches: list[str] = []
    for line in (*lines, ""):
        if mismatches and not line.startswith("  Index timestamp:"):
            if not all(one.endswith("log timestamp: -1") for one in mismatches[1:]):
                found += mismatches
            mismatches = []
        if mismatches or line.startswith("Found timestamp mismatch in"):
            mismatches.append(line)
        else:
            found.append(line)
    return found[:-1]


def wrongs(data: Path) -> list[str]:
    """What it finds wrong in a log directory, with every option that it has for that."""
    consecutive = [path for path in data.rglob("*.log") if not path.parent.name.startswith("compacted-")]
    indexes = [*data.rglob("*.index"), *data.rglob("*.timeindex")]
    asked: dict[str, Iterable[Path]] = {
        "--deep-iteration": consecutive,
        # Offsets that are not consecutive are wrong to it, and no fault in a log that was compacted.
        "--print-data-log": data.rglob("compacted-*/*.log"),
        "--index-sanity-check": indexes,
        "--verify-index-only": [*indexes, *data.rglob("*.snapshot"), *data.rglob("*.txnindex")],
        "--offsets-decoder": data.rglob("__consumer_offsets-*/*.log"),
        "--transaction-log-decoder": data.rglob("__transaction_state-*/*.log"),
    }
    with ThreadPoolExecutor(2) as threads:
        said = dict(zip(asked, threads.map(lambda one: dumped([one[0]], sorted(one[1])), asked.items()), strict=True))
    sound = sum(line.endswith(("passed sanity check.", "is empty.")) for line in said["--index-sanity-check"])
    assert sound == len(indexes)
    return [
        f"{option}: {line}"
        for option, lines in said.items()
        for line in without_empty_batches(lines)
        if WRONG.search(line)
    ]
