"""Connections leave descriptors for the log's files."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from pykafka_broker.descriptors import FEW_FOR_FILES, MANY_FOR_FILES, UNBOUNDED, for_connections, for_logs, may_be_open


@pytest.mark.parametrize(
    ("may_be", "left"),
    [
        (256, 128),
        (1024, 512),
        (2100, 2100 - FEW_FOR_FILES),
        (10_000, 6_000),
        (65_536, 65_536 - MANY_FOR_FILES),
        (UNBOUNDED, UNBOUNDED - MANY_FOR_FILES),
    ],
)
def test_connections_take_half_or_all_but_enough(may_be: int, left: int) -> None:
    assert for_connections(may_be) == left


@pytest.mark.parametrize(
    ("may_be", "kept"), [(64, (4, 4)), (128, (20, 20)), (256, (48, 48)), (1024, (192, 192)), (UNBOUNDED, (3072, 3072))]
)
def test_logs_keep_three_quarters_of_the_rest_open_and_leave_enough(may_be: int, kept: tuple[int, int]) -> None:
    assert for_logs(may_be) == kept


def test_the_bound_is_the_systems() -> None:
    assert may_be_open() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_there_is_no_bound_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert may_be_open() == UNBOUNDED


def test_all_that_may_be_had_is_taken() -> None:
    program = (
        "import resource; from pykafka_broker.descriptors import may_be_open, take_all;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200)); take_all(); print(may_be_open())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "200\n"
