"""Apache Kafka's own jars (and the ZooKeeper that comes with them), resolved from Maven Central once per checkout.

Each folder ``kafka-<version>`` beside this file holds a ``pom.xml`` that names what is wanted; Maven finds what that
depends on. The jars are kept in ``.cache/java/kafka-<version>`` of the checkout (not committed), so only the first
use needs the network. Who runs the jars, and how, is no business of this file.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "java"


def class_path(version: str) -> list[Path]:
    """The jars of ``kafka-<version>``, sorted; resolved by Maven when they are not there yet or the pom has changed.

    Safe to call from several processes at once: one resolves, the others wait for it. Raises ``RuntimeError`` with
    Maven's output when that fails.
    """
    pom = HERE / f"kafka-{version}" / "pom.xml"
    jars = CACHE / f"kafka-{version}"
    done = jars / ".resolved"
    fingerprint = hashlib.sha256(pom.read_bytes()).hexdigest()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"kafka-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != fingerprint:
            _resolve(pom, jars)
            done.write_text(fingerprint)
    return sorted(jars.glob("*.jar"))


def class_path_text(version: str) -> str:
    """The same as the argument of ``java -cp``."""
    return ":".join(str(jar) for jar in class_path(version))


def _resolve(pom: Path, jars: Path) -> None:
    fresh = jars.with_name(jars.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = [
        "mvn", "--batch-mode", "--quiet", "--file", str(pom),
        "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}",
    ]  # fmt: skip
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != 0 or not fresh.is_dir():
        raise RuntimeError(f"Maven could not resolve {pom}:\n{outcome.stdout}{outcome.stderr}")
    shutil.rmtree(jars, ignore_errors=True)
    fresh.rename(jars)


if __name__ == "__main__":
    print(class_path_text(sys.argv[1]))
