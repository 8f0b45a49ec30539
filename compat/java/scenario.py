"""Scenarios: what somebody types, kept as text files that read like a terminal session.

A file in `scenarios/` is one scenario. Its lines:

    # a remark
    only 3.1.2+                       versions it is for: `3.1.2`, `3.1.2+` (and later), `2.3.1-` (and earlier)
    zookeeper                         it is about a broker that has a ZooKeeper
    topic a partitions=3 k=v          a topic is made, by other means than the tool under test
    produce a partition=1 key=k timestamp=1600000000000 header=h:v some value
                                      one record, likewise
    file name.json                    a file, named in commands as {file:name.json}; its text follows in `< ` lines
    mark t1                           {t1} is now this moment in ISO form, {t1.ms} in milliseconds
    $ topics --list                   a tool and its arguments; the broker's address is added
    $ (sorted, 3.9.1+) topics --list  the same with wishes, see below
    < abcd                            typed into the command above
    end c1                            ends the command that was started in the background as c1

Wishes: `sorted` (the lines of the output have no order), `figures` (it prints measurements), `background NAME`,
`until PATTERN` (run again until that is found in the output), versions.
`{zookeeper}` stands for the ensemble's address, `{data}` for the folder with the broker's log.
What the steps do is left to `transcripts`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from compat.java.tools import VERSIONS, number

FOLDER: Final = Path(__file__).resolve().parent / "scenarios"


@dataclass
class Run:
    """One command of one tool."""

    line: str
    tool: str
    arguments: list[str]
    sort: bool = False
    figures: bool = False
    background: str = ""
    until: str = ""
    versions: list[str] = field(default_factory=list)
    typed: str = ""


@dataclass
class File:
    """A file that commands can name."""

    name: str
    text: str = ""


@dataclass
class Step:
    """A word with arguments: `topic`, `produce`, `mark` or `end`."""

    word: str
    arguments: list[str]


@dataclass
class Scenario:
    """A name, the versions it is for, and what happens."""

    name: str
    text: str
    versions: list[str]
    steps: list[Run | File | Step]

    @property
    def needs_zookeeper(self) -> bool:
        """Whether its commands talk to ZooKeeper themselves, or print settings that only a broker with it has."""
        return "{zookeeper}" in self.text or "\nzookeeper\n" in self.text


def is_for(version: str, wanted: list[str]) -> bool:
    """Whether `version` is among those `wanted` (everything, when nothing is)."""
    for text in wanted:
        bound = number(text.rstrip("+-"))
        if text.endswith("+"):
            fits = number(version) >= bound
        elif text.endswith("-"):
            fits = number(version) <= bound
        else:
            fits = number(version) == bound
        if fits:
            return True
    return not wanted


def all_scenarios(folder: Path = FOLDER) -> list[Scenario]:
    """Everything in the folder, by name."""
    return [parse(path.stem, path.read_text()) for path in sorted(folder.glob("*.txt"))]


def parse(name: str, text: str) -> Scenario:
    """Raises `ValueError` for a line that is none of the above."""
    versions = list(VERSIONS)
    steps: list[Run | File | Step] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "only":
            versions = [version for version in VERSIONS if is_for(version, rest.split())]
        elif line == "zookeeper":
            continue
        elif word == "<":
            last = steps[-1]
            if isinstance(last, Run):
                last.typed += rest + "\n"
            elif isinstance(last, File):
                last.text += rest + "\n"
            else:
                raise ValueError(f"{name}: nothing to type into: {line}")
        elif word == "$":
            steps.append(_command(rest))
        elif word == "file":
            steps.append(File(rest.strip()))
        elif word in ("topic", "produce", "mark", "end"):
            steps.append(Step(word, rest.split(" ")))
        else:
            raise ValueError(f"{name}: {line}")
    return Scenario(name, text, versions, steps)


def _command(rest: str) -> Run:
    wishes = re.match(r"\((.*?)\) (?=[a-z])(.*)", rest)
    line = wishes[2] if wishes else rest
    tool, *arguments = shlex.split(line)
    run = Run(line, tool, arguments)
    for wish in wishes[1].split(", ") if wishes else []:
        word, _, value = wish.partition(" ")
        if word == "sorted":
            run.sort = True
        elif word == "figures":
            run.figures = True
        elif word == "background":
            run.background = value
        elif word == "until":
            run.until = value
        elif word[0].isdigit():
            run.versions.append(word)
        else:
            raise ValueError(f"unknown wish: {wish}")
    return run
