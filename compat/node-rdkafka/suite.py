"""node-rdkafka's own end-to-end tests, unmodified, from its npm package.

The package is built once per checkout (it compiles librdkafka, a few minutes). Each test file runs in a process of its
own, because the binding may end its process when a test leaves a client behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient, NewTopic

VERSION: Final = "3.6.1"
HERE: Final = Path(__file__).resolve().parent
CHECKOUT: Final = HERE.parents[1]
BUILT: Final = CHECKOUT / ".cache" / f"node-rdkafka-{VERSION}"
PACKAGES: Final = (f"node-rdkafka@{VERSION}", "mocha@10", "bluebird@3")
"""The package, and what its tests import."""

PROPERTIES: Final[Mapping[str, str]] = {
    "num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
}
"""What their `docker-compose.yml` sets, and fewer partitions to remember groups in."""

TOPICS: Final = ("test", "test2", "test3", "test4", "test5", "test6")
"""What their `run_docker.sh` creates before the tests."""

FILES: Final = ("admin.spec.js", "both.spec.js", "consumer.spec.js", "groups.spec.js", "producer.spec.js")
"""All of `e2e/` but those of transactions; FINDINGS.md says why."""

ENDS_WITHIN_S: Final = 240


class CannotBuild(RuntimeError):
    """The package does not build here; the message says what to install, or carries the end of the build's log."""


def built() -> Path:
    """The folder with the suite, fetched and built once per checkout. Raises `CannotBuild`."""
    package = BUILT / "node_modules" / "node-rdkafka"
    done = BUILT / "done"
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    with (BUILT.parent / f"{BUILT.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return package
        shutil.rmtree(BUILT, ignore_errors=True)
        BUILT.mkdir()
        log = BUILT / "build.log"
        with log.open("wb") as output:
            ended = subprocess.run(
                ["npm", "install", "--foreground-scripts", "--no-audit", "--no-fund", "--prefix", ".", *PACKAGES],
                cwd=BUILT,
                env=os.environ | {"npm_config_nodedir": str(headers())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        if ended.returncode != 0 or not list(package.glob("build/Release/*.node")):
            raise CannotBuild(f"node-rdkafka did not build:\n{log.read_text(errors='replace')[-3000:]}")
        done.touch()
    return package


def headers() -> Path:
    """The prefix whose `include/node` belongs to the `node` on the path. Raises `CannotBuild`."""
    asked = "[process.execPath, process.config.variables.node_prefix, process.version].join('\\n')"
    said = subprocess.run(["node", "-p", asked], stdout=subprocess.PIPE, text=True, check=True).stdout
    executable, prefix, version = said.splitlines()
    beside = Path(executable).resolve().parents[1]
    for candidate in (beside, Path(prefix), Path("/usr"), Path("/usr/local")):
        # The interface of native modules does not change within a major version.
        if f"v{_major_version(candidate)}" == version.partition(".")[0]:
            return candidate
    raise CannotBuild(f"the headers of node {version} are missing beside {executable} (Debian: libnode-dev)")


def _major_version(prefix: Path) -> str:
    version = prefix / "include" / "node" / "node_version.h"
    found = re.search(r"#define NODE_MAJOR_VERSION (\d+)", version.read_text()) if version.exists() else None
    return found[1] if found else "?"


def run(bootstrap: str, files: tuple[str, ...] = FILES) -> dict[str, str]:
    """Run the suite against a broker; for each test ``passed``, ``skipped`` or what went wrong."""
    package = built()
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(topic, 1, 1) for topic in TOPICS]).values():
        created.result(30)
    outcomes: dict[str, str] = {}
    for file in files:
        outcomes |= _run_file(package, file, bootstrap)
    return outcomes


def _run_file(package: Path, file: str, bootstrap: str) -> dict[str, str]:
    report = BUILT / f"{file}.json"
    report.unlink(missing_ok=True)
    log = BUILT / f"{file}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                "node", "../mocha/bin/mocha.js", "--exit", "--timeout", "120000",
                "--reporter", "json", "--reporter-option", f"output={report}", f"e2e/{file}",
            ],
            cwd=package,
            env=os.environ | {"KAFKA_HOST": bootstrap},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )  # fmt: skip
        try:
            status: int | str = process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = f"nothing after {ENDS_WITHIN_S} s"
    if not report.exists():
        return {f"{file}: ran to its end": f"{status}\n{log.read_text(errors='replace')[-2000:]}"}
    return {f"{file}: ran to its end": "passed"} | _outcomes(file, json.loads(report.read_text()))


def _outcomes(file: str, report: dict[str, Any]) -> dict[str, str]:
    outcomes: dict[str, str] = {}
    for test in report["tests"]:
        error = test.get("err") or {}
        outcomes[f"{file}: {test['fullTitle']}"] = (
            f"{error.get('message')}\n{error.get('stack')}" if error else "passed"
        )
    for test in report["pending"]:
        outcomes[f"{file}: {test['fullTitle']}"] = "skipped"
    return outcomes
