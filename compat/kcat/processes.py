"""kcat as a process of its own for every command; the same interface as the virtual machine with Java's tools."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import Final

from compat.java.tools import TIMED_OUT, Outcome

VERSION: Final = "1.7.1"
"""Debian 12's. Another version prints other texts, but the same ones for both brokers."""


class Running:
    """One process. What it prints is read by a thread, so that it never waits for us."""

    def __init__(self, command: list[str], typed: str) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"TZ": "UTC"},
        )
        self._found: tuple[bytes, bytes] = b"", b""
        self._reader = threading.Thread(target=self._talk, args=(typed.encode(),), daemon=True)
        self._reader.start()

    def _talk(self, typed: bytes) -> None:
        self._found = self._process.communicate(typed)

    def wait(self, within_s: float) -> Outcome:
        """Its outcome; ended, with status `TIMED_OUT`, if it is not over by then."""
        self._reader.join(within_s)
        if self._reader.is_alive():
            outcome = self.end()
            return Outcome(TIMED_OUT, outcome.output, outcome.errors)
        output, errors = (text.decode(errors="replace") for text in self._found)
        return Outcome(self._process.returncode, output, errors)

    def end(self) -> Outcome:
        """SIGTERM, and its outcome then."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait(20)


class Processes:
    """Runs `kcat` and nothing else."""

    version: Final = VERSION

    def begin(self, tool: str, bootstrap: str, arguments: list[str], typed: str) -> Running:
        """Start kcat with `arguments`; the broker's address goes first, because -G takes all the rest."""
        assert tool == "kcat", tool
        return Running(["kcat", "-b", bootstrap, *arguments], typed)
