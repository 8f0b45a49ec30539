"""Producers and members of a group, each a process of its own, and the history that they tell.

Three kinds of each: confluent-kafka, kafka-python, and Apache Kafka's verifiable producer and consumer. All of them
print what happens to them as JSON lines; here those become a `History`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from compat.cluster.history import (
    UNTOLD,
    Acknowledged,
    Assigned,
    Committed,
    Delivered,
    Failed,
    History,
    Partition,
    Record,
    Step,
)
from compat.servers import APACHE_KAFKA, CHECKOUT, COMPILED_ONCE, _write_properties, java
from compat.waiting import until

CONFLUENT: Final = "confluent"
KAFKA_PYTHON: Final = "kafka-python"
JAVA: Final = "java"
KINDS: Final = (CONFLUENT, KAFKA_PYTHON, JAVA)

_ENDS_WITHIN_S: Final = 130.0
_CLOSES_WITHIN_S: Final = 15.0
_HEAP: Final = "96m"
_PRODUCER: Final = {
    "enable.idempotence": "true",
    "retries": "2147483647",
    "linger.ms": "5",
    "request.timeout.ms": "5000",
    "delivery.timeout.ms": "120000",
    "max.block.ms": "120000",
    "reconnect.backoff.max.ms": "500",
    "partitioner.ignore.keys": "false",
}
_CONSUMER: Final = {
    "session.timeout.ms": "8000",
    "heartbeat.interval.ms": "1000",
    "fetch.min.bytes": "100000",
    "fetch.max.wait.ms": "250",
    "request.timeout.ms": "6000",
    "default.api.timeout.ms": "60000",
    "reconnect.backoff.max.ms": "500",
}

_RESET: Final = re.compile("out of range|[Rr]esetting offset|[Tt]runcation")


class Load:
    """One client process, and what it has told so far."""

    def __init__(self, name: str, command: Sequence[str], home: Path, topic: str) -> None:
        self.name = name
        self._command = list(command)
        self._topic = topic
        self.file = home / f"{name}.jsonl"
        self._process: subprocess.Popen[bytes] | None = None
        self.was_told_to_end = False
        self._read_to = 0
        self._rest = b""

    def start(self) -> None:
        """Start the process; it runs until `end`."""
        with self.file.open("ab") as lines, self.file.with_suffix(".err").open("ab") as errors:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=errors,
                cwd=CHECKOUT,
                env=os.environ | COMPILED_ONCE | {"PYTHONUNBUFFERED": ""},
            )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended, by itself or otherwise."""
        return self._process is not None and self._process.poll() is None

    def tell_to_end(self) -> None:
        """Have it finish what it has begun, and end."""
        self.was_told_to_end = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def end(self, within_s: float = _ENDS_WITHIN_S) -> None:
        """Return when it has ended by itself after `tell_to_end`. Raises `AssertionError` if it does not."""
        assert self._process is not None
        self.tell_to_end()
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end: {self.errors()}") from None

    def leave(self) -> None:
        """Have a member of a group end. One that hangs in closing, as librdkafka's may after it has waited for a
        coordinator, is ended: by then it has told all that it was given."""
        try:
            self.end(_CLOSES_WITHIN_S)
        except AssertionError:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def errors(self, last_bytes: int = 1000) -> str:
        """The end of what it had to say besides."""
        return self.file.with_suffix(".err").read_text(errors="replace")[-last_bytes:]

    def resets(self) -> list[str]:
        """What its log tells of positions that it gave up, newest last."""
        lines = self.file.read_text(errors="replace") + self.file.with_suffix(".err").read_text(errors="replace")
        return [line for line in lines.splitlines() if not line.startswith("{") and _RESET.search(line)]

    def add_to(self, history: History) -> None:
        """What it has told since this was called last."""
        if not self.file.exists():
            return
        with self.file.open("rb") as lines:
            lines.seek(self._read_to)
            data = self._rest + lines.read()
            self._read_to = lines.tell()
        *whole, self._rest = data.split(b"\n")
        for line in whole:
            # Java's log goes to the same place.
            if line.startswith(b"{"):
                with contextlib.suppress(json.JSONDecodeError):
                    _hear(self.name, self._topic, json.loads(line), history)


def _hear(name: str, topic: str, told: dict[str, Any], history: History) -> None:
    kind, at = told.get("name"), told.get("timestamp", 0) / 1000
    if kind == "producer_send":
        history.sent.add(_record(told["value"]))
    elif kind == "producer_send_success":
        place, offset = Partition(topic, told["partition"]), told["offset"]
        history.acknowledged.append(
            Acknowledged(_record(told["value"]), place, UNTOLD if offset is None else offset, at)
        )
    elif kind == "producer_send_error":
        history.failed.append(Failed(name, f"{told['value']}: {told.get('message')}", at))
    elif kind == "client_error":
        history.failed.append(Failed(name, told["error"], at))
    elif kind == "offsets_committed" and not told["success"]:
        history.failed.append(Failed(name, f"commit: {told['error']}", at))
    else:
        history.members[name] += _steps(kind, told)


def _steps(kind: str | None, told: dict[str, Any]) -> Iterator[Step]:
    if kind == "partitions_assigned":
        yield Assigned(tuple(Partition(one["topic"], one["partition"]) for one in told["partitions"]))
    elif kind == "record_data":
        yield Delivered(Partition(told["topic"], told["partition"]), told["offset"], _record(told["value"]))
    elif kind == "offsets_committed":
        for one in told["offsets"]:
            yield Committed(Partition(one["topic"], one["partition"]), one["offset"])


def _record(value: str) -> Record:
    producer, _, number = value.partition(".")
    return Record(producer, int(number))


class Loads:
    """The clients of one topic and one group."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, group: str, home: Path) -> None:
        self.topic = topic
        self.group = group
        self.history = History()
        self._bootstrap = bootstrap
        self._partitions = partitions
        self._home = home
        self.writers: list[Load] = []
        self.readers: list[Load] = []

    def start_writer(self, kind: str, rate: float = 50) -> Load:
        """One more producer; `rate` is records per second."""
        number = len(self.writers) + 1
        if kind == JAVA:
            settings = self._home / f"writer-{number}.properties"
            _write_properties(settings, _PRODUCER)
            main = "org.apache.kafka.tools.VerifiableProducer"
            options = ["--topic", self.topic, "--bootstrap-server", self._bootstrap, "--throughput", str(int(rate))]
            options += ["--value-prefix", str(number), "--repeating-keys", "1000", "--producer.config", str(settings)]
            command = java(APACHE_KAFKA, _HEAP, main, *options)
        else:
            command = _python("writers", kind, self._told(partitions=self._partitions, producer=str(number), rate=rate))
        return self._started(self.writers, Load(f"writer-{number}-{kind}", command, self._home, self.topic))

    def start_reader(self, kind: str) -> Load:
        """One more member of the group."""
        number = len(self.readers) + 1
        name = f"reader-{number}-{kind}"
        if kind == JAVA:
            settings = self._home / f"reader-{number}.properties"
            _write_properties(settings, _CONSUMER | {"client.id": name})
            main = "org.apache.kafka.tools.VerifiableConsumer"
            options = ["--topic", self.topic, "--bootstrap-server", self._bootstrap, "--group-id", self.group]
            options += ["--verbose", "--reset-policy", "earliest", "--session-timeout", "8000"]
            options += ["--assignment-strategy", "org.apache.kafka.clients.consumer.RangeAssignor"]
            command = java(APACHE_KAFKA, _HEAP, main, *options, "--consumer.config", str(settings))
        else:
            command = _python("readers", kind, self._told(group=self.group, name=name))
        return self._started(self.readers, Load(name, command, self._home, self.topic))

    def read(self) -> History:
        """The history up to now."""
        for load in (*self.writers, *self.readers):
            load.add_to(self.history)
        return self.history

    def await_progress(self, since: float, within_s: float = 60) -> None:
        """Return when something written to each partition was acknowledged after this moment, and every member of the
        group committed something that it was given since this was called."""
        reached = {load.name: len(self.read().members[load.name]) for load in self.readers if load.is_running}

        def all_go_on() -> bool:
            for load in (*self.writers, *self.readers):
                assert load.is_running or load.was_told_to_end, f"{load.name} has ended: {load.errors()}"
            history = self.read()
            fresh = {each.partition.index for each in history.acknowledged[-20 * self._partitions :] if each.at > since}
            return len(fresh) == self._partitions and all(
                any(isinstance(step, Committed) for step in history.members[name][count:])
                for name, count in reached.items()
            )

        until(all_go_on, within_s=within_s, what="every partition and every member to go on")

    def end_writers(self) -> None:
        """Have the producers finish what they have begun."""
        for load in self.writers:
            load.tell_to_end()
        for load in self.writers:
            load.end()

    def end_readers(self) -> None:
        """Have the members leave."""
        for load in self.readers:
            load.tell_to_end()
        for load in self.readers:
            load.leave()

    def kill(self) -> None:
        """End all of them at once."""
        for load in (*self.writers, *self.readers):
            load.kill()

    def _told(self, **more: Any) -> str:
        return json.dumps({"bootstrap": self._bootstrap, "topic": self.topic, **more})

    def _started(self, among: list[Load], load: Load) -> Load:
        load.start()
        among.append(load)
        return load


def _python(module: str, kind: str, options: str) -> list[str]:
    return [sys.executable, "-m", f"compat.cluster.{module}", kind, options]
