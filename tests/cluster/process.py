"""A broker as a process, quick to start, that is expected to become ready or to say in one line why it does not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

COMMAND = (sys.executable, "-m", "pykafka_broker", "start")


class Process:
    """A broker process with its outputs in files."""

    def __init__(
        self, folder: Path, settings: Mapping[str, object], environment: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        defaults = {
            "listeners": "PLAINTEXT://127.0.0.1:0",
            "log.dirs": folder / "data",
            "zookeeper.session.timeout.ms": 1_000,
            "zookeeper.connection.timeout.ms": 20_000,
            "offsets.topic.replication.factor": 1,
        }
        arguments = [f"--override={key}={value}" for key, value in {**defaults, **settings}.items()]
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self._process = subprocess.Popen([*COMMAND, *arguments], stdout=out, stderr=err, env=environment)

    def ready(self) -> str:
        """Its ready line, once it is."""
        deadline = time.monotonic() + 60
        while "\n" not in self._out.read_text():
            assert self._process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
        return self._out.read_text().strip()

    def refuses(self) -> str:
        """The line that it ends with, at exit status 1."""
        assert self._process.wait(60) == 1
        assert self._out.read_text() == ""
        assert "Traceback" not in self.said
        return self.said.splitlines()[-1]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def said(self) -> str:
        return self._err.read_text()


@contextmanager
def started(folder: Path, settings: Mapping[str, object]) -> Iterator[Process]:
    process = Process(folder, settings)
    try:
        process.ready()
        yield process
    finally:
        process.kill()
