"""kafka-python's integration tests against this broker: every test in ``tests.allow`` passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat import suites
from compat.servers import our_broker

HERE = Path(__file__).resolve().parent
suite = suites.load(HERE)

pytestmark = [pytest.mark.compat, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    with our_broker(suite.PROPERTIES) as broker:
        return suite.run(broker.bootstrap)


@pytest.mark.parametrize("name", suites.allowed(HERE))
def test_passes(outcomes: dict[str, str], name: str) -> None:
    assert outcomes.get(name, "did not run") == "passed"


def test_nothing_passes_that_is_not_on_the_list(outcomes: dict[str, str]) -> None:
    passed = {name for name, outcome in outcomes.items() if outcome == "passed"}
    assert passed - set(suites.allowed(HERE)) == set(), "tests.allow can grow"
