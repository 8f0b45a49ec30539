"""Running many tools in one virtual machine shows the same as a process for each, and the lists are kept honestly."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from compat.java import masks, tools
from compat.java.artifacts import class_path_text
from compat.java.scenario import all_scenarios
from compat.java.stage import Stage
from compat.java.test_transcripts import cases
from compat.kcat.scenarios import FOLDER as KCAT_FOLDER

HERE = Path(__file__).resolve().parent

SAMPLE: tuple[tuple[str, list[str], str], ...] = (
    (
        "topics",
        ["--create", "--topic", "sample", "--partitions", "1", "--replication-factor", "1", "--if-not-exists"],
        "",
    ),
    ("topics", ["--create", "--topic", "sample", "--partitions", "1", "--replication-factor", "1"], ""),
    ("topics", ["--describe", "--topic", "sample"], ""),
    ("topics", ["--nonsense"], ""),
    ("console-producer", ["--topic", "sample"], "one\ntwo\n"),
    ("console-consumer", ["--topic", "sample", "--from-beginning", "--max-messages", "2"], ""),
    ("console-consumer", ["--topic", "sample", "--partition", "0", "--offset", "latest", "--timeout-ms", "500"], ""),
    ("consumer-groups", ["--describe", "--group", "nobody"], ""),
    ("cluster", ["nonsense"], ""),
)


def seen(outcome: tools.Outcome, bootstrap: str) -> list[object]:
    known = [(bootstrap, "BROKER")]
    return [
        outcome.status,
        masks.masked(outcome.output, known, sort=False, figures=False),
        masks.masked(outcome.errors, known, sort=False, figures=False),
    ]


def in_a_process_of_its_own(version: str, main: str, arguments: list[str], typed: str) -> tools.Outcome:
    logging = tools.LAUNCHER / "log4j.properties"
    found = subprocess.run(
        [
            "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-Dlog4j.configuration=file:{logging}",
            "-Duser.timezone=UTC", "-cp", class_path_text(version), main, *arguments,
        ],
        input=typed, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return tools.Outcome(found.returncode, found.stdout, found.stderr)


@pytest.mark.compat
@pytest.mark.slow
def test_one_machine_for_all_tools_shows_what_a_process_for_each_shows(stage: Stage) -> None:
    server = stage.server("embedded")
    machine = stage.machine("3.9.1")
    differences = []
    for tool, arguments, typed in SAMPLE:
        main, *rest = tools.command(tool, "3.9.1", server.bootstrap, arguments)
        if tool == "topics" and "--if-not-exists" in arguments:
            machine.start(main, rest).wait(30)
        together = seen(machine.start(main, rest, typed).wait(30), server.bootstrap)
        alone = seen(in_a_process_of_its_own("3.9.1", main, rest, typed), server.bootstrap)
        if together != alone:
            differences.append((arguments, together, alone))
    assert differences == []


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.9.1", "4.3.1"])
def test_what_tools_say_at_the_same_time_is_told_apart(stage: Stage, version: str) -> None:
    bootstrap = stage.server("embedded").bootstrap
    machine = stage.machine(version)
    for _ in range(5):
        started = {}
        for number in range(10):
            main, *rest = tools.command("topics", version, bootstrap, ["--delete", "--topic", f"missing-{number}"])
            started[f"missing-{number}"] = machine.start(main, rest)
        for name, running in started.items():
            errors = running.wait(60).errors
            assert re.findall(r"ERROR .*(missing-\d+).* does not exist", errors) == [name], errors


def entries(folder: Path) -> Iterator[str]:
    for line in (folder / "scenarios.allow").read_text().splitlines():
        if line and not line.startswith("#"):
            yield line


@pytest.mark.compat
def test_each_scenario_is_allowed_or_has_a_reason_why_not() -> None:
    java = {str(case.id) for case in cases()}
    kcat = {scenario.name for scenario in all_scenarios(KCAT_FOLDER)}
    for folder, names in ((HERE, java), (HERE.parent / "kcat", kcat)):
        allowed = set(entries(folder))
        assert allowed <= names, "an allowed scenario is gone"
        findings = (folder / "FINDINGS.md").read_text()
        reasons = set(re.findall(r"`([^`]+)`", findings))
        assert names - allowed <= reasons, "a scenario is neither allowed nor explained"
