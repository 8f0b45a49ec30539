"""What the comparisons share: the processes of one test session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from compat.java.stage import Stage


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """Apache Kafka, this broker and the machines with Java's tools, each started when first asked for."""
    with contextlib.ExitStack() as stack:
        yield Stage(stack)
