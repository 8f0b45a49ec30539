"""The official tools behave towards this broker as they do towards Apache Kafka 3.9.1: equal transcripts.

Each scenario runs once for every Kafka version that it is for. What differs on purpose, or not yet, is left out of
`scenarios.allow`, with its reason in `FINDINGS.md`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from compat.java.scenario import Scenario, all_scenarios
from compat.java.stage import Stage
from compat.java.transcripts import difference

HERE = Path(__file__).resolve().parent
ALLOWED = {line for line in (HERE / "scenarios.allow").read_text().splitlines() if line and not line.startswith("#")}
ZOOKEEPER_HOUSE = "3.9.1"
"""The version whose scenarios run against the broker on a real ZooKeeper, too."""


def cases() -> list[ParameterSet]:
    found = []
    for scenario in all_scenarios():
        for version in scenario.versions:
            for house in houses(scenario, version):
                name = f"{scenario.name}-{version}" + ("-zookeeper" if house == "zookeeper" else "")
                marks = [] if name in ALLOWED else [pytest.mark.xfail(reason="see FINDINGS.md", strict=False)]
                found.append(pytest.param(scenario, version, house, id=name, marks=marks))
    return found


def houses(scenario: Scenario, version: str) -> list[str]:
    """Which of the broker's two houses of coordination a scenario is about."""
    if scenario.needs_zookeeper:
        return ["zookeeper"]
    return ["embedded", "zookeeper"] if version == ZOOKEEPER_HOUSE else ["embedded"]


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "version", "house"), cases())
def test_the_tools_see_what_they_see_of_apache_kafka(
    stage: Stage, scenario: Scenario, version: str, house: str
) -> None:
    ours, theirs = stage.compare(scenario, stage.machine(version), house)
    if ours != theirs:
        pytest.fail(difference(ours, theirs), pytrace=False)
