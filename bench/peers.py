"""Other brokers than Apache Kafka to be beside: kfake, which franz-go brings to test clients with, written in Go.

It keeps records in memory only, writes nothing down and has no followers, so that it is measured where the network and
the protocol are what costs: the rows of `lone` and `small` that any broker can be asked for, not those about starting,
resting or lasting. It answers every version of the APIs that they ask for. Its few lines of Go are in `bench/kfake`;
they are built once for as long as they do not change.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from bench.rounds import Amounts, measure_loads
from bench.small import measure_sockets
from compat.servers import CHECKOUT, Server, free_port

KFAKE: Final = "kfake"
NAMES: Final = (KFAKE,)
_SOURCE: Final = Path(__file__).resolve().parent / "kfake"


class NotBuilt(RuntimeError):
    """The peer's program could not be built; the message says why."""


def measure_peer(
    parts: Collection[str], amounts: Amounts, seconds: int, say: Callable[[str], None]
) -> dict[str, float]:
    """The rows of one round for kfake, of those `parts` of the benchmark that there are for it. Raises `NotBuilt`, and
    `RuntimeError` when a load fails or loses records.
    """
    found: dict[str, float] = {}
    if "lone" in parts:
        with kfake() as server:
            found |= measure_loads(server, amounts, say)
    if "small" in parts:
        with kfake() as server:
            found |= measure_sockets(server, seconds, say)
    return found


@contextlib.contextmanager
def kfake() -> Iterator[Server]:
    """Kfake with one broker, ready to serve. Raises `NotBuilt`."""
    program = build()
    with tempfile.TemporaryDirectory(prefix="pykafka-kfake-") as home:
        port = free_port()
        server = Server(KFAKE, [str(program), str(port)], port, Path(home))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def build(cache: Path = CHECKOUT / ".cache" / "kfake") -> Path:
    """The program, made by Go if the `cache` has none from these sources yet; others who ask meanwhile wait. Raises
    `NotBuilt`.
    """
    fingerprint = hashlib.sha256()
    for name in ("main.go", "go.mod", "go.sum"):
        fingerprint.update((_SOURCE / name).read_bytes())
    program = cache / f"kfake-{fingerprint.hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _compile(program)
    return program


def _compile(program: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise NotBuilt("kfake is built by Go, of the version that bench/kfake/go.mod names: there is none")
    fresh = program.with_name("fresh")
    outcome = subprocess.run(
        [go, "build", "-mod=readonly", "-trimpath", "-o", str(fresh), "."],
        cwd=_SOURCE,
        env=os.environ | {"CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode != 0:
        raise NotBuilt(f"Go could not build kfake:\n{outcome.stderr}")
    fresh.rename(program)
