"""Programs of our own over clients of before 0.11: the Java and Scala ones of three versions, and an old kafka-python.

The Java sources are compiled against each version anew; kafka-python lives in an environment of its own in ``.cache``,
made when it is first asked for, because none of its versions gets along with another.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from compat.java.artifacts import CACHE, class_path_text
from compat.servers import CHECKOUT

HERE: Final = Path(__file__).resolve().parent
JAVA: Final = ("0.8.2.2", "0.9.0.1", "0.10.2.2")
KAFKA_PYTHON: Final = "1.4.7"
"""The oldest that Python 3.11 can run: before 1.4.3 it uses a word that Python has taken for itself since."""
PATIENCE_S: Final = 90
_NOW = re.compile(r"\b\d{13}\b")


class ProgramFailed(RuntimeError):
    """An old client ended with an error; the message carries what it wrote."""


def _compiled(version: str) -> Path:
    """The Java programs, compiled against Kafka ``version`` when they are not there yet or have changed."""
    sources = [HERE / "OldClients.java"]
    if not version.startswith("0.8."):
        sources.append(HERE / "NewConsumer.java")
    jars = class_path_text(version)
    classes = CACHE / f"old-clients-{version}"
    fingerprint = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    done = classes / ".compiled"
    with classes.with_name(f"{classes.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != fingerprint:
            command = ["javac", "-nowarn", "-cp", jars, "-d", str(classes), *map(str, sources)]
            subprocess.run(command, check=True, capture_output=True)
            done.write_text(fingerprint)
    return classes


def java(version: str, port: int, topic: str, *actions: str) -> list[str]:
    """What the Java clients of ``version`` find when they act on a topic of the broker on ``port``."""
    classes = _compiled(version)
    logging = CHECKOUT / "compat" / "java" / "launcher" / "log4j.properties"
    return _lines(
        [
            "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j.configuration=file:{logging}",
            "-cp", f"{class_path_text(version)}:{classes}", "OldClients", "127.0.0.1", str(port), topic, *actions,
        ]
    )  # fmt: skip


def kafka_python(port: int, topic: str, api_version: str) -> list[str]:
    """What the old kafka-python finds when it speaks the protocol of ``api_version`` (``0.9``, say)."""
    return _lines([str(_environment()), str(HERE / "old_kafka_python.py"), str(port), topic, api_version])


def _environment() -> Path:
    home = CACHE.parent / f"kafka-python-{KAFKA_PYTHON}-environment"
    home.parent.mkdir(parents=True, exist_ok=True)
    done = home / ".installed"
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
            pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, f"kafka-python=={KAFKA_PYTHON}"], check=True)
            done.touch()
    return home / "bin" / "python"


def _lines(command: list[str]) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment, cwd=HERE
    )
    if done.returncode:
        raise ProgramFailed(f"{command[-4:]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return [_NOW.sub("<now>", line) for line in done.stdout.splitlines()]
