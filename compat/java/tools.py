"""The command-line tools of several Kafka versions: which main class they are, how they are told where the broker is,
and one virtual machine per version that runs as many of them as wanted.

What is run, and what is made of the output, is left to the scenarios and to `transcripts`.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from compat.java.artifacts import CACHE, class_path_text

VERSIONS: Final = ("2.1.1", "2.3.1", "3.1.2", "3.9.1", "4.3.1")
LAUNCHER: Final = Path(__file__).resolve().parent / "launcher"
TIMED_OUT: Final = -1


def number(version: str) -> tuple[int, ...]:
    """A version as something that compares."""
    return tuple(int(part) for part in version.split("."))


@dataclass(frozen=True)
class Tool:
    """One tool. `moves` says from which version on it is which main class, and takes which option for the broker.

    The option is empty where the broker is named as the property `bootstrap.servers`, `NO_BROKER` where the tool talks
    to none; `leading` is true where it has to stand before the other arguments.
    """

    moves: tuple[tuple[str, str, str], ...]
    leading: bool = False

    def at(self, version: str) -> tuple[str, str]:
        """Main class and option in `version`. Raises `LookupError` where there is no such tool yet."""
        found = [(main, option) for since, main, option in self.moves if number(since) <= number(version)]
        if not found:
            raise LookupError(f"no such tool in {version}")
        return found[-1]


NO_BROKER: Final = "-"
_BOOTSTRAP: Final = "--bootstrap-server"
_BROKERS: Final = "--broker-list"
_OURS: Final = "org.apache.kafka.tools."

TOOLS: Final[dict[str, Tool]] = {
    "broker-api-versions": Tool(
        (
            ("2.1", "kafka.admin.BrokerApiVersionsCommand", _BOOTSTRAP),
            ("4.0", _OURS + "BrokerApiVersionsCommand", _BOOTSTRAP),
        )
    ),
    "cluster": Tool((("3.1", "kafka.tools.ClusterTool", _BOOTSTRAP), ("3.9", _OURS + "ClusterTool", _BOOTSTRAP))),
    "configs": Tool((("2.1", "kafka.admin.ConfigCommand", _BOOTSTRAP),)),
    "console-consumer": Tool(
        (
            ("2.1", "kafka.tools.ConsoleConsumer", _BOOTSTRAP),
            ("3.9", _OURS + "consumer.ConsoleConsumer", _BOOTSTRAP),
        )
    ),
    "console-producer": Tool(
        (
            ("2.1", "kafka.tools.ConsoleProducer", _BROKERS),
            ("3.1", "kafka.tools.ConsoleProducer", _BOOTSTRAP),
            ("4.0", _OURS + "ConsoleProducer", _BOOTSTRAP),
        )
    ),
    "consumer-groups": Tool(
        (
            ("2.1", "kafka.admin.ConsumerGroupCommand", _BOOTSTRAP),
            ("3.9", _OURS + "consumer.group.ConsumerGroupCommand", _BOOTSTRAP),
        )
    ),
    "consumer-perf-test": Tool(
        (
            ("2.1", "kafka.tools.ConsumerPerformance", _BROKERS),
            ("3.1", "kafka.tools.ConsumerPerformance", _BOOTSTRAP),
            ("3.9", _OURS + "ConsumerPerformance", _BOOTSTRAP),
        )
    ),
    "delete-records": Tool(
        (
            ("2.1", "kafka.admin.DeleteRecordsCommand", _BOOTSTRAP),
            ("3.9", _OURS + "DeleteRecordsCommand", _BOOTSTRAP),
        )
    ),
    "dump-log": Tool((("2.1", "kafka.tools.DumpLogSegments", NO_BROKER),)),
    "get-offsets": Tool(
        (
            ("2.1", "kafka.tools.GetOffsetShell", _BROKERS),
            ("3.1", "kafka.tools.GetOffsetShell", _BOOTSTRAP),
            ("3.9", _OURS + "GetOffsetShell", _BOOTSTRAP),
        )
    ),
    "groups": Tool((("4.0", _OURS + "GroupsCommand", _BOOTSTRAP),)),
    "leader-election": Tool(
        (
            ("3.1", "kafka.admin.LeaderElectionCommand", _BOOTSTRAP),
            ("3.9", _OURS + "LeaderElectionCommand", _BOOTSTRAP),
        )
    ),
    "log-dirs": Tool(
        (("2.1", "kafka.admin.LogDirsCommand", _BOOTSTRAP), ("3.9", _OURS + "LogDirsCommand", _BOOTSTRAP))
    ),
    "preferred-replica-election": Tool((("2.1", "kafka.admin.PreferredReplicaLeaderElectionCommand", NO_BROKER),)),
    "producer-perf-test": Tool((("2.1", _OURS + "ProducerPerformance", ""),)),
    "reassign-partitions": Tool(
        (
            ("2.1", "kafka.admin.ReassignPartitionsCommand", NO_BROKER),
            ("3.1", "kafka.admin.ReassignPartitionsCommand", _BOOTSTRAP),
            ("3.9", _OURS + "reassign.ReassignPartitionsCommand", _BOOTSTRAP),
        )
    ),
    "topics": Tool((("2.1", "kafka.admin.TopicCommand", _BOOTSTRAP), ("3.9", _OURS + "TopicCommand", _BOOTSTRAP))),
    "transactions": Tool((("3.1", _OURS + "TransactionsCommand", _BOOTSTRAP),), leading=True),
    "verifiable-consumer": Tool(
        (("2.1", _OURS + "VerifiableConsumer", _BROKERS), ("3.1", _OURS + "VerifiableConsumer", _BOOTSTRAP))
    ),
    "verifiable-producer": Tool(
        (("2.1", _OURS + "VerifiableProducer", _BROKERS), ("3.1", _OURS + "VerifiableProducer", _BOOTSTRAP))
    ),
}


def command(tool: str, version: str, bootstrap: str, arguments: list[str]) -> list[str]:
    """Main class and arguments that run `tool` against `bootstrap`, or against whatever `--zookeeper` names."""
    main, option = TOOLS[tool].at(version)
    if "--zookeeper" in arguments or "--help" in arguments or "--version" in arguments:
        return [main, *arguments]
    if option == NO_BROKER:
        return [main, *arguments]
    if not option:
        if "--producer-props" not in arguments:
            arguments = [*arguments, "--producer-props"]
        return [main, *arguments, f"bootstrap.servers={bootstrap}"]
    return [main, option, bootstrap, *arguments] if TOOLS[tool].leading else [main, *arguments, option, bootstrap]


@dataclass
class Outcome:
    """What a command left behind; `status` is `TIMED_OUT` if it had to be ended."""

    status: int
    output: str
    errors: str


@dataclass
class Running:
    """A command on its way."""

    machine: Machine
    number: int
    _done: threading.Event = field(default_factory=threading.Event)
    _outcome: Outcome | None = None

    def arrive(self, outcome: Outcome) -> None:
        """Called once by the machine."""
        self._outcome = outcome
        self._done.set()

    def wait(self, within_s: float) -> Outcome:
        """Its outcome; ended, with status `TIMED_OUT`, if it is not over by then."""
        if not self._done.wait(within_s):
            outcome = self.end()
            return Outcome(TIMED_OUT, outcome.output, outcome.errors)
        assert self._outcome is not None
        return self._outcome

    def end(self) -> Outcome:
        """What SIGTERM would do, and its outcome then."""
        self.machine.send(self.number, ["end"])
        if not self._done.wait(60):
            raise TimeoutError("a command did not end")
        assert self._outcome is not None
        return self._outcome


class Machine:
    """The virtual machine of one version. Use as a context manager."""

    def __init__(self, version: str) -> None:
        self.version = version
        self._numbers = itertools.count(1)
        self._running: dict[int, Running] = {}
        self._lock = threading.Lock()
        logging = [f"-Dlog4j.configuration=file:{LAUNCHER / 'log4j.properties'}"]
        if number(version) >= (4,):
            logging = [
                f"-Dlog4j2.configurationFile={LAUNCHER / 'log4j2.xml'}",
                # With them, a line lies in a buffer of all tools until one of them writes it, or throws it away.
                "-Dlog4j2.enable.direct.encoders=false",
            ]
        self._log = (CACHE / f"launcher-{version}.log").open("wb")
        self._process = subprocess.Popen(
            [
                "java", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", *logging,
                "-Duser.timezone=UTC", "-Duser.language=en", "-Djava.awt.headless=true",
                "-Djava.security.manager=allow", "--add-opens", "java.base/java.lang=ALL-UNNAMED",
                "-cp", str(compiled()), "Launcher", class_path_text(version),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )  # fmt: skip
        threading.Thread(target=self._receive, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._log.close()

    def begin(self, tool: str, bootstrap: str, arguments: list[str], typed: str) -> Running:
        """Start `tool` against the broker at `bootstrap`; `typed` is its standard input."""
        main_class, *rest = command(tool, self.version, bootstrap, arguments)
        return self.start(main_class, rest, typed)

    def start(self, main_class: str, arguments: list[str], typed: str = "") -> Running:
        """Start a command by its main class."""
        running = Running(self, next(self._numbers))
        self._running[running.number] = running
        self.send(running.number, ["run", main_class, typed, *arguments])
        return running

    def send(self, number: int, texts: list[str]) -> None:
        """One request to the launcher; see `Launcher.java`."""
        encoded = [text.encode() for text in texts]
        frame = struct.pack(">ii", number, len(encoded))
        frame += b"".join(struct.pack(">i", len(text)) + text for text in encoded)
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(frame)
            self._process.stdin.flush()

    def _receive(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        with stream:
            while heading := stream.read(12):
                number, status, size = struct.unpack(">iii", heading)
                output = stream.read(size)
                (size,) = struct.unpack(">i", stream.read(4))
                errors = stream.read(size)
                outcome = Outcome(status, output.decode(errors="replace"), errors.decode(errors="replace"))
                self._running.pop(number).arrive(outcome)
        for running in list(self._running.values()):
            running.arrive(Outcome(TIMED_OUT, "", f"the machine has ended; see {self._log.name}"))


def compiled() -> Path:
    """The folder with the launcher's classes, compiled when there are none newer than the source."""
    source = LAUNCHER / "Launcher.java"
    classes = CACHE / "launcher"
    made = classes / "Launcher.class"
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        classes.mkdir(parents=True, exist_ok=True)
        subprocess.run(["javac", "-d", str(classes), str(source)], check=True)
    return classes
