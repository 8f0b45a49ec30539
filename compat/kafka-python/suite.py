"""kafka-python's own integration tests, unmodified, from its source distribution on PyPI.

The distribution leaves out ``test/__init__.py`` and ``test/service.py``; ``stand_in/`` has a dozen lines instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from compat import suites

VERSION = "3.0.12"
HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
SOURCE = CHECKOUT / ".cache" / f"kafka-python-{VERSION}"

PROPERTIES = {
    "num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "3000",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
}
"""What the suite expects of the broker: the settings its own fixture would have written."""

LEFT_OUT = (
    "test/integration/test_producer_integration.py::test_transactional_producer_messages",
    "test/integration/test_producer_integration.py::test_transactional_producer_offsets",
)
"""Not even tried, because each would wait a minute for a transaction coordinator; FINDINGS.md has the rest."""


def source() -> Path:
    """The folder with the suite, fetched once per checkout."""
    if (SOURCE / "test" / "service.py").exists():
        return SOURCE
    fetched = SOURCE.with_suffix(".fetched")
    shutil.rmtree(fetched, ignore_errors=True)
    fetched.mkdir(parents=True)
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--no-binary", "kafka-python", "--dest", str(fetched), f"kafka-python=={VERSION}",
        ],
        check=True,
    )  # fmt: skip
    (archive,) = fetched.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(fetched, filter="data")
    (unpacked,) = (path for path in fetched.iterdir() if path.is_dir())
    (unpacked / "test" / "__init__.py").touch()
    shutil.copy(HERE / "stand_in" / "service.py", unpacked / "test" / "service.py")
    shutil.rmtree(SOURCE, ignore_errors=True)
    unpacked.rename(SOURCE)
    shutil.rmtree(fetched)
    return SOURCE


def run(bootstrap: str) -> dict[str, str]:
    """Run the suite against a broker; for each test ``passed``, ``skipped`` or what went wrong.

    What stands in ``tests.allow`` and fails is tried a second time: the client may lose a race with itself on a busy
    machine. FINDINGS.md has the details.
    """
    outcomes = _run(bootstrap, "test/integration")
    for name in suites.allowed(HERE):
        if outcomes.get(name) != "passed":
            # Of a test that is run alone the report does not say in which file it stands.
            for outcome in _run(bootstrap, f"test/integration/{name.replace('::', '.py::')}").values():
                outcomes[name] = outcome
    return outcomes


def _run(bootstrap: str, *arguments: str) -> dict[str, str]:
    folder = source()
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    environment = os.environ | {
        "KAFKA_VERSION": "3.9.0",
        "KAFKA_URI": f"kafka://{bootstrap}",
        "KAFKA_ROOT": str(folder),
        "PYTHONPATH": str(folder),
    }
    environment.pop("ZOOKEEPER_URI", None)
    subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:trio",
            "-c", str(HERE / "stand_in" / "pytest.ini"), f"--rootdir={folder}", f"--junitxml={report}", "--timeout=120",
            *(f"--deselect={test}" for test in LEFT_OUT), *arguments,
        ],
        cwd=folder,
        env=environment,
        check=False,
    )  # fmt: skip
    return _outcomes(report)


def _outcomes(report: Path) -> dict[str, str]:
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        outcome = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = f"{child.get('message')}\n{child.text}"
            elif child.tag == "skipped":
                outcome = "skipped"
        outcomes[name] = outcome
    return outcomes
