"""Performs a scenario against a broker and writes down what was seen: exit status, output and error text.

Two brokers that behave alike give equal transcripts. Who is compared with whom is left to the tests.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from kazoo.client import KazooClient

from compat.java import masks, scenario, tools
from compat.java.artifacts import CACHE
from compat.servers import Server

WITHIN_S: Final = 25.0
UNTIL_WITHIN_S: Final = 30.0


class Running(Protocol):
    """A command on its way."""

    def wait(self, within_s: float) -> tools.Outcome: ...

    def end(self) -> tools.Outcome: ...


class Toolbox(Protocol):
    """What runs commands: a virtual machine with Kafka's tools in it, or plain processes."""

    @property
    def version(self) -> str: ...

    def begin(self, tool: str, bootstrap: str, arguments: list[str], typed: str) -> Running: ...


def perform(told: scenario.Scenario, toolbox: Toolbox, server: Server) -> str:
    """The transcript of one scenario. Afterwards the broker has no topics and groups of it left."""
    with tempfile.TemporaryDirectory(prefix="pykafka-scenario-") as folder:
        performance = _Performance(toolbox, server, Path(folder))
        try:
            for step in told.steps:
                performance.take(step)
        finally:
            performance.close()
    return "\n".join(performance.lines) + "\n"


def remembered(told: scenario.Scenario, version: str) -> Path:
    """Where the transcript of Apache Kafka may be kept: named after all that it depends on."""
    sources = [Path(module.__file__ or "").read_bytes() for module in (masks, scenario, tools)]
    sources.append(Path(__file__).read_bytes())
    fingerprint = hashlib.sha256(b"\0".join([told.text.encode(), version.encode(), *sources])).hexdigest()
    return CACHE / "transcripts" / f"{told.name}-{version}-{fingerprint[:16]}.txt"


def may_remember() -> bool:
    """Not in continuous integration: there Apache Kafka runs beside us every time."""
    return not os.environ.get("CI")


class _Performance:
    def __init__(self, toolbox: Toolbox, server: Server, folder: Path) -> None:
        self.lines: list[str] = []
        self._tools = toolbox
        self._server = server
        self._folder = folder
        self._places: dict[str, str] = {
            "zookeeper": server.zookeeper,
            "bootstrap": server.bootstrap,
            "data": str(server.data_dir),
        }
        self._background: dict[str, tuple[scenario.Run, Running]] = {}
        self._admin = AdminClient({"bootstrap.servers": server.bootstrap, "log_level": 0})

    def take(self, step: scenario.Run | scenario.File | scenario.Step) -> None:
        if isinstance(step, scenario.Run):
            self._run(step)
        elif isinstance(step, scenario.File):
            path = self._folder / step.name
            path.write_text(self._filled(step.text))
            self._places[f"file:{step.name}"] = str(path)
        elif step.word == "topic":
            self._topic(step.arguments)
        elif step.word == "produce":
            self._produce(step.arguments)
        elif step.word == "mark":
            self._mark(step.arguments[0])
        elif step.word == "end" and step.arguments[0] in self._background:
            run, running = self._background.pop(step.arguments[0])
            self.lines.append(f"end {step.arguments[0]}")
            self._write(run, running.end())

    def _run(self, run: scenario.Run) -> None:
        if not scenario.is_for(self._tools.version, run.versions):
            return
        self.lines.append(f"$ {run.line}")
        arguments = [self._filled(argument) for argument in run.arguments]
        typed = self._filled(run.typed)
        running = self._tools.begin(run.tool, self._server.bootstrap, arguments, typed)
        if run.background:
            self._background[run.background] = run, running
            return
        outcome = running.wait(WITHIN_S)
        deadline = time.monotonic() + UNTIL_WITHIN_S
        while run.until and not re.search(run.until, outcome.output) and time.monotonic() < deadline:
            time.sleep(0.1)
            outcome = self._tools.begin(run.tool, self._server.bootstrap, arguments, typed).wait(WITHIN_S)
        self._write(run, outcome)

    def _write(self, run: scenario.Run, outcome: tools.Outcome) -> None:
        status = "timed out" if outcome.status == tools.TIMED_OUT else str(outcome.status)
        known = [
            (self._server.bootstrap, "BROKER"),
            (str(self._server.port), "PORT"),
            (self._server.zookeeper, "ZOOKEEPER"),
            (str(self._server.data_dir), "DATA"),
            (str(self._folder), "FOLDER"),
        ]
        self.lines.append(f"  status {status}")
        for label, text in (("out", outcome.output), ("err", outcome.errors)):
            found = masks.masked(text, known, sort=run.sort, figures=run.figures)
            self.lines += [f"  {label}| {line}" for line in found]

    def _filled(self, text: str) -> str:
        return re.sub(r"\{([\w.:-]+)\}", lambda place: self._places.get(place[1], place[0]), text)

    def _topic(self, words: list[str]) -> None:
        name, *pairs = words
        settings = dict(pair.split("=", 1) for pair in pairs)
        partitions = int(settings.pop("partitions", "1"))
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=settings)
        deadline = time.monotonic() + UNTIL_WITHIN_S
        while not _succeeds(self._admin.create_topics([topic])[name], "marked for deletion"):
            assert time.monotonic() < deadline, f"{name} stays marked for deletion"
            time.sleep(0.05)
        while time.monotonic() < deadline:
            known = self._admin.list_topics(name, timeout=10).topics[name].partitions
            if len(known) == partitions and all(partition.leader >= 0 for partition in known.values()):
                return
            time.sleep(0.02)
        raise TimeoutError(f"no leaders for {name}")

    def _produce(self, words: list[str]) -> None:
        topic, *words = words
        options: dict[str, str] = {}
        headers: list[tuple[str, str | bytes | None]] = []
        while words and (option := re.fullmatch(r"(partition|key|timestamp|header)=(.*)", words[0])):
            words.pop(0)
            if option[1] == "header":
                name, _, value = option[2].partition(":")
                headers.append((name, value))
            else:
                options[option[1]] = option[2]
        producer = Producer({"bootstrap.servers": self._server.bootstrap, "linger.ms": 0, "log_level": 0})
        problems: list[object] = []
        producer.produce(
            topic,
            value=" ".join(words) or None,
            key=options.get("key"),
            partition=int(options.get("partition", "0")),
            timestamp=int(options.get("timestamp", "0")),
            headers=headers,
            on_delivery=lambda problem, _: problems.append(problem),
        )
        producer.flush(30)
        if problems != [None]:
            raise RuntimeError(f"not produced: {problems}")

    def _mark(self, name: str) -> None:
        time.sleep(0.02)
        now = datetime.now(UTC)
        self._places[name] = now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}"
        self._places[f"{name}.ms"] = str(int(now.timestamp() * 1000))
        time.sleep(0.02)

    def close(self) -> None:
        for _, running in self._background.values():
            running.end()
        sweep(self._admin, self._server)


def sweep(admin: AdminClient, server: Server) -> None:
    """Delete every topic and group but the broker's own, and wait until they are gone."""
    deadline = time.monotonic() + UNTIL_WITHIN_S
    with contextlib.suppress(KafkaException):
        groups = [group.group_id for group in admin.list_consumer_groups().result(10).valid]
        while groups and time.monotonic() < deadline:
            deletions = admin.delete_consumer_groups(groups)
            groups = [group for group, deletion in deletions.items() if not _succeeds(deletion, "NON_EMPTY_GROUP")]
    while time.monotonic() < deadline:
        left = [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")]
        for deletion in admin.delete_topics(left).values() if left else ():
            with contextlib.suppress(KafkaException):
                deletion.result(30)
        if not left and not _still_there(server):
            return
        time.sleep(0.02)
    raise TimeoutError("topics that do not go away")


def _still_there(server: Server) -> bool:
    """Whether ZooKeeper still knows topics: an old tool would list them, and nobody could make them again."""
    if not server.zookeeper:
        return False
    client = KazooClient(server.zookeeper)
    client.start(10)
    try:
        known = client.get_children("/brokers/topics")
        return any(not name.startswith("__") for name in known) or bool(client.get_children("/admin/delete_topics"))
    finally:
        client.stop()
        client.close()


def _succeeds(change: Future[None], may_say: str = "") -> bool:
    """Whether `change` is made; false if it is refused in words with `may_say` in them, which trying again may help."""
    try:
        change.result(30)
    except KafkaException as problem:
        if may_say in str(problem):
            return False
        raise
    return True


@contextlib.contextmanager
def warmed(server: Server) -> Iterator[Server]:
    """`server`, after its first numbered producer and its first group, so that no scenario is the one that waits."""
    admin = AdminClient({"bootstrap.servers": server.bootstrap, "log_level": 0})
    admin.create_topics([NewTopic("warm", 1, 1)])["warm"].result(30)
    _use(server)
    sweep(admin, server)
    yield server


def _use(server: Server) -> None:
    """Its clients are gone afterwards: one that still knew the topic would make it again."""
    numbered = Producer({"bootstrap.servers": server.bootstrap, "enable.idempotence": True, "log_level": 0})
    numbered.produce("warm", "up")
    numbered.flush(30)
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": "warm", "log_level": 0})
    consumer.subscribe(["warm"])
    deadline = time.monotonic() + UNTIL_WITHIN_S
    while not consumer.assignment() and time.monotonic() < deadline:
        consumer.poll(0.1)
    consumer.close()


def difference(ours: str, theirs: str) -> str:
    """What to read when two transcripts are not equal; empty if they are."""
    lines = difflib.unified_diff(theirs.splitlines(), ours.splitlines(), "Apache Kafka", "this broker", "", "", 2, "")
    return "\n".join(lines)
