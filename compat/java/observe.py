"""`python -m compat.java.observe [-v VERSION|kcat] [-s SERVER] SCENARIO...`: prints transcripts or their differences.

For writing scenarios, and for looking at a difference. Without `-s` Apache Kafka and this broker are compared, with
`-s twice` Apache Kafka with itself, which shows whether a scenario's transcript is free of chance.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time

from compat.java import scenario, tools
from compat.java.stage import Stage
from compat.java.transcripts import Toolbox, difference, perform
from compat.kcat.processes import Processes
from compat.kcat.scenarios import FOLDER as KCAT_FOLDER

SERVERS = ("apache", "embedded", "zookeeper", "both", "both-zookeeper", "twice")


def main() -> None:
    """Run what the command line names."""
    arguments = argparse.ArgumentParser(prog="compat.java.observe")
    arguments.add_argument("-v", "--version", action="append", choices=(*tools.VERSIONS, "kcat"))
    arguments.add_argument("-s", "--server", default="both", choices=SERVERS)
    arguments.add_argument("scenarios", nargs="*")
    chosen = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        stage = Stage(stack)
        for version in chosen.version or (*tools.VERSIONS, "kcat"):
            toolbox: Toolbox = Processes() if version == "kcat" else stage.machine(version)
            for told in scenario.all_scenarios(KCAT_FOLDER if version == "kcat" else scenario.FOLDER):
                if version != "kcat" and version not in told.versions:
                    continue
                if chosen.scenarios and told.name not in chosen.scenarios:
                    continue
                begun = time.monotonic()
                text = _observed(told, toolbox, stage, chosen.server)
                print(f"=== {told.name} {version} ({time.monotonic() - begun:.1f} s)\n{text}", flush=True)


def _observed(told: scenario.Scenario, toolbox: Toolbox, stage: Stage, server: str) -> str:
    try:
        if server in ("both", "both-zookeeper"):
            house = "zookeeper" if told.needs_zookeeper or server == "both-zookeeper" else "embedded"
            return difference(*stage.compare(told, toolbox, house)) or "equal"
        if server == "twice":
            apache = stage.server("apache")
            return difference(perform(told, toolbox, apache), perform(told, toolbox, apache)) or "equal"
        return perform(told, toolbox, stage.server(server))
    except Exception as problem:
        return f"FAILED: {type(problem).__name__}: {problem}"


if __name__ == "__main__":
    main()
