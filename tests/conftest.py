"""What every test may ask for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.cluster.zookeeper import Ensemble, ZooKeeper, running_ensemble, running_zookeeper

# A slow machine is no defect of the code, so examples have no deadline. Continuous integration tries the same examples
# every time, so that it judges the change and not the dice; people's runs explore. `thorough` explores longer.
settings.register_profile("exploring", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("repeating", settings.get_profile("exploring"), derandomize=True)
settings.register_profile("thorough", settings.get_profile("exploring"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeating" if os.environ.get("CI") else "exploring"))


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    """A real ZooKeeper that all tests of the run share; use a chroot of your own in it, and leave it running."""
    with running_zookeeper(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """Three ZooKeeper servers that agree, shared by all tests of the run; leave all three running."""
    with running_ensemble(tmp_path_factory.mktemp("ensemble")) as servers:
        yield servers


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many states of files, after a crash or with damage, the tests of this run have opened."""
    tried = Counter[str]()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, count in getattr(report, "user_properties", ()):
                if name in ("crash points", "damaged files") and report.when == "call":
                    tried[name] += count
    for name, count in sorted(tried.items()):
        terminalreporter.write_line(f"{count:,} {name} tried")
