"""The processes that transcripts need, each started when first asked for: both brokers, a machine per version."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

from compat.java import tools, transcripts
from compat.java.scenario import Scenario
from compat.servers import Server, apache_kafka, our_broker


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

    def expected(self, scenario: Scenario, toolbox: transcripts.Toolbox) -> str:
        """What Apache Kafka gives, remembered from an earlier run outside continuous integration."""
        kept = transcripts.remembered(scenario, toolbox.version)
        if transcripts.may_remember() and kept.exists():
            return kept.read_text()
        transcript = transcripts.perform(scenario, toolbox, self.server("apache"))
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(transcript)
        return transcript

    def compare(self, scenario: Scenario, toolbox: transcripts.Toolbox, house: str) -> tuple[str, str]:
        """Ours and theirs, performed at the same time."""
        ours = self.server(house)
        with ThreadPoolExecutor(1) as beside:
            theirs = beside.submit(self.expected, scenario, toolbox)
            return transcripts.perform(scenario, toolbox, ours), theirs.result()
