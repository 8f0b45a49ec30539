"""What the comparisons share: the processes of one test session."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from compat.java.stage import Stage
from compat.servers import QUICK, Server, apache_kafka, our_broker

PROGRAMS: Final = QUICK | {"group.min.session.timeout.ms": "1000", "broker.id": "0"}
"""What the programs of our own expect of either broker: members that may be given up quickly."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Apache Kafka, this broker and the machines with Java's tools, each started when first asked for."""
    with contextlib.ExitStack() as stack:
        yield Stage(stack)


@pytest.fixture(scope="session", params=["ours", "apache"])
def broker(request: pytest.FixtureRequest) -> Iterator[Server]:
    """This broker, then Apache Kafka 3.9.1 to prove the test itself: one process of each for all tests that ask."""
    with our_broker(PROGRAMS) if request.param == "ours" else apache_kafka(PROGRAMS) as server:
        yield server


_numbers = itertools.count(1)


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Names for topics and groups that no other test uses."""
    return lambda kind: f"{kind}-{os.getpid()}-{next(_numbers)}"


def pytest_configure() -> None:
    """Being told to end is no reason to leave servers behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
