"""Apache Kafka's record classes as a second opinion: a Java process that is asked line by line."""

from __future__ import annotations

import re
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compat.java.artifacts import class_path_text
from pykafka_broker.wire.batch import Record

SOURCE = Path(__file__).with_name("Judge.java")


@dataclass(frozen=True)
class Accepted:
    """What Kafka made of it; only what the question asks for is there."""

    records: list[Record] | None = None
    data: bytes | None = None
    max_timestamp: int | None = None


@dataclass(frozen=True)
class Refused:
    """Kafka's code and text, and which records it blames."""

    code: int
    text: str
    record_errors: list[tuple[int, str]]


class Judge:
    """One running ``Judge.java``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def validate(
        self,
        data: bytes,
        *,
        version: int,
        compression_type: str,
        compacted: bool,
        timestamp_type: str,
        before_ms: int,
        after_ms: int,
        now: int,
    ) -> Accepted | Refused:
        question = f"{version} {compression_type} {compacted:d} {timestamp_type} {before_ms} {after_ms} {now}"
        words = self._ask(f"validate {question} {_packed(data)}")
        if words[0] == "error":
            return _refused(words)
        return Accepted(_records(words[3]), _unpacked(words[2]), int(words[1]))

    def read(self, data: bytes) -> Accepted | Refused:
        words = self._ask(f"read {_packed(data)}")
        return _refused(words) if words[0] == "error" else Accepted(_records(words[1]))

    def down_convert(self, data: bytes, magic: int, first_offset: int) -> Accepted | Refused:
        words = self._ask(f"down {magic} {first_offset} {_packed(data)}")
        return _refused(words) if words[0] == "error" else Accepted(data=_unpacked(words[1]))

    def build(self, magic: int, codec: str, count: int, value_size: int) -> Accepted:
        words = self._ask(f"build {magic} {codec} {count} {value_size}")
        assert words[0] == "ok", words
        return Accepted(_records(words[2]), _unpacked(words[1]))

    def _ask(self, question: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer.endswith("\n"), "the judge has gone"
        return answer[:-1].split(" ")


@contextmanager
def judge(version: str, classes: Path) -> Iterator[Judge]:
    """A judge of Kafka ``version``, compiled into ``classes``."""
    jars = class_path_text(version)
    subprocess.run(["javac", "-cp", jars, "-d", str(classes), str(SOURCE)], check=True)
    command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}:{classes}", "Judge"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield Judge(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=20)


def _refused(words: list[str]) -> Refused:
    errors = [word.split("=", 1) for word in words[3:]]
    return Refused(
        int(words[1]),
        (_unpacked(words[2]) or b"").decode(),
        [(int(index), b64decode(text).decode()) for index, text in errors],
    )


def _packed(data: bytes) -> str:
    return "=" + b64encode(data).decode()


def _unpacked(word: str) -> bytes | None:
    return None if word == "-" else b64decode(word[1:])


def _records(word: str) -> list[Record]:
    found = []
    for shown in word.split(";")[:-1]:
        offset, timestamp, key, value, *headers = shown.split(",")
        found.append(
            Record(int(offset), int(timestamp), _unpacked(key), _unpacked(value), [_header(text) for text in headers])
        )
    return found


def _header(shown: str) -> tuple[str, bytes | None]:
    parts = re.fullmatch(r"=([A-Za-z0-9+/]*=*?)(-|=[A-Za-z0-9+/]*=*)", shown)
    assert parts is not None, shown
    return b64decode(parts[1]).decode(), _unpacked(parts[2])
