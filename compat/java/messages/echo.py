"""Apache Kafka's message classes as a second opinion: a Java process that reads and rewrites what it is given."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compat.java.artifacts import class_path_text

SOURCE = Path(__file__).with_name("Echo.java")
PACKAGES = {
    "OffsetCommit": "org.apache.kafka.coordinator.group.generated.",
    "GroupMetadata": "org.apache.kafka.coordinator.group.generated.",
    "ConsumerGroup": "org.apache.kafka.coordinator.group.generated.",
    "TransactionLog": "org.apache.kafka.coordinator.transaction.generated.",
}


@dataclass(frozen=True)
class Read:
    """A message as Kafka understood it; ``written`` is missing where Kafka reads what it would not write."""

    size: int
    written: bytes | None
    shown: Any


class Echo:
    """One running ``Echo.java``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def echo(self, name: str, version: int, data: bytes) -> Read | None:
        """What Kafka makes of these bytes, or nothing if it refuses them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{class_of(name)} {version} ={b64encode(data).decode()}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer.endswith("\n"), "the echo has gone"
        words = answer[:-1].split(" ")
        if words[0] == "error":
            return None
        if words[0] == "unwritable":
            return Read(int(words[1]), None, None)
        return Read(int(words[1]), b64decode(words[2][1:]), json.loads(b64decode(words[3][1:])))


def class_of(name: str) -> str:
    """The Java class of a message."""
    if name.endswith(("Request", "Response", "Header")):
        return f"org.apache.kafka.common.message.{name}Data"
    for beginning, package in PACKAGES.items():
        if name.startswith(beginning):
            return package + name
    return f"org.apache.kafka.common.message.{name}"


@contextmanager
def echo(version: str, classes: Path) -> Iterator[Echo]:
    """An echo of Kafka ``version``, compiled into ``classes``."""
    jars = class_path_text(version)
    subprocess.run(["javac", "-cp", jars, "-d", str(classes), str(SOURCE)], check=True)
    command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}:{classes}", "Echo"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield Echo(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=20)
