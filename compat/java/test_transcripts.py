"""The official tools behave towards this broker as they do towards Apache Kafka 3.9.1: equal transcripts.

Each scenario runs once for every Kafka version that it is for. What differs on purpose, or not yet, is left out of
`scenarios.allow`, with its reason in `FINDINGS.md`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compat.java import tools, transcripts
from compat.java.scenario import Scenario, all_scenarios
from compat.servers import Server, apache_kafka, our_broker

HERE = Path(__file__).resolve().parent
ALLOWED = {line for line in (HERE / "scenarios.allow").read_text().splitlines() if line and not line.startswith("#")}
ZOOKEEPER_HOUSE = "3.9.1"
"""The version whose scenarios run against the broker on a real ZooKeeper, too."""


def cases() -> Iterator[object]:
    for scenario in all_scenarios():
        for version in scenario.versions:
            for house in houses(scenario, version):
                name = f"{scenario.name}-{version}" + ("-zookeeper" if house == "zookeeper" else "")
                marks = [] if name in ALLOWED else [pytest.mark.xfail(reason="see FINDINGS.md", strict=False)]
                yield pytest.param(scenario, version, house, id=name, marks=marks)


def houses(scenario: Scenario, version: str) -> list[str]:
    """Which of the broker's two houses of coordination a scenario is about."""
    if scenario.needs_zookeeper:
        return ["zookeeper"]
    return ["embedded", "zookeeper"] if version == ZOOKEEPER_HOUSE else ["embedded"]


class Stage:
    """The processes of this test session, each started when first asked for."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._servers: dict[str, Server] = {}
        self._machines: dict[str, tools.Machine] = {}

    def machine(self, version: str) -> tools.Machine:
        if version not in self._machines:
            self._machines[version] = self._stack.enter_context(tools.Machine(version))
        return self._machines[version]

    def server(self, name: str) -> Server:
        if name not in self._servers:
            starting = apache_kafka() if name == "apache" else our_broker(with_zookeeper=name == "zookeeper")
            server = self._stack.enter_context(starting)
            self._servers[name] = self._stack.enter_context(transcripts.warmed(server))
        return self._servers[name]

    def expected(self, scenario: Scenario, version: str) -> str:
        """What Apache Kafka gives, remembered from an earlier run outside continuous integration."""
        kept = transcripts.remembered(scenario, version)
        if transcripts.may_remember() and kept.exists():
            return kept.read_text()
        transcript = transcripts.perform(scenario, self.machine(version), self.server("apache"))
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(transcript)
        return transcript

    def compare(self, scenario: Scenario, version: str, house: str) -> tuple[str, str]:
        """Ours and theirs, side by side in time."""
        ours = self.server(house)
        with ThreadPoolExecutor(1) as beside:
            theirs = beside.submit(self.expected, scenario, version)
            return transcripts.perform(scenario, self.machine(version), ours), theirs.result()


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        yield Stage(stack)


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "version", "house"), cases())
def test_the_tools_see_what_they_see_of_apache_kafka(
    stage: Stage, scenario: Scenario, version: str, house: str
) -> None:
    ours, theirs = stage.compare(scenario, version, house)
    assert ours.splitlines() == theirs.splitlines()
