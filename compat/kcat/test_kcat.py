"""kcat sees of this broker what it sees of Apache Kafka 3.9.1: equal transcripts.

What differs on purpose, or not yet, is left out of `scenarios.allow`, with its reason in `FINDINGS.md`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from compat.java.scenario import Scenario, all_scenarios
from compat.java.stage import Stage
from compat.java.transcripts import difference
from compat.kcat.processes import Processes

HERE = Path(__file__).resolve().parent
ALLOWED = {line for line in (HERE / "scenarios.allow").read_text().splitlines() if line and not line.startswith("#")}


def cases() -> list[ParameterSet]:
    found = []
    for scenario in all_scenarios(HERE / "scenarios"):
        marks = [] if scenario.name in ALLOWED else [pytest.mark.xfail(reason="see FINDINGS.md", strict=False)]
        found.append(pytest.param(scenario, id=scenario.name, marks=marks))
    return found


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.parametrize("scenario", cases())
def test_kcat_sees_what_it_sees_of_apache_kafka(stage: Stage, scenario: Scenario) -> None:
    ours, theirs = stage.compare(scenario, Processes(), "embedded")
    if ours != theirs:
        pytest.fail(difference(ours, theirs), pytrace=False)
