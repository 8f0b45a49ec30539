"""`python -m compat.java.observe [-v VERSION] [-s apache|embedded|zookeeper] SCENARIO...`: prints transcripts.

For writing scenarios, and for looking at a difference. With `-s both` Apache Kafka and this broker are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import time

from compat.java import scenario, tools
from compat.java.stage import Stage
from compat.java.transcripts import perform


def main() -> None:
    """Run what the command line names."""
    arguments = argparse.ArgumentParser(prog="compat.java.observe")
    arguments.add_argument("-v", "--version", action="append", choices=tools.VERSIONS)
    arguments.add_argument(
        "-s", "--server", default="both", choices=("apache", "embedded", "zookeeper", "both", "twice")
    )
    arguments.add_argument("scenarios", nargs="*")
    chosen = arguments.parse_args()
    told = [each for each in scenario.all_scenarios() if not chosen.scenarios or each.name in chosen.scenarios]
    with contextlib.ExitStack() as stack:
        stage = Stage(stack)
        for version in chosen.version or tools.VERSIONS:
            for each in told:
                if version not in each.versions:
                    continue
                begun = time.monotonic()
                if chosen.server == "both":
                    ours, theirs = stage.compare(
                        each, stage.machine(version), "zookeeper" if each.needs_zookeeper else "embedded"
                    )
                    text = _difference(theirs, ours)
                elif chosen.server == "twice":
                    first = perform(each, stage.machine(version), stage.server("apache"))
                    text = _difference(first, perform(each, stage.machine(version), stage.server("apache")))
                else:
                    text = perform(each, stage.machine(version), stage.server(chosen.server))
                print(f"=== {each.name} {version} ({time.monotonic() - begun:.1f} s)\n{text}", flush=True)


def _difference(theirs: str, ours: str) -> str:
    lines = difflib.unified_diff(theirs.splitlines(), ours.splitlines(), "Apache Kafka", "this broker", "", "", 2, "")
    return "\n".join(lines) or "equal"


if __name__ == "__main__":
    main()
