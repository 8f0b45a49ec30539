"""node-rdkafka's end-to-end tests against this broker: every test in ``tests.allow`` passes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from compat.servers import our_broker

_SPEC = importlib.util.spec_from_file_location("node_rdkafka_suite", Path(__file__).with_name("suite.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
suite = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(suite)

pytestmark = [pytest.mark.compat, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    suite.built()
    with our_broker(suite.PROPERTIES) as broker:
        return suite.run(broker.bootstrap)


@pytest.mark.parametrize("name", suite.allowed())
def test_passes(outcomes: dict[str, str], name: str) -> None:
    assert outcomes.get(name, "did not run") == "passed"


def test_nothing_passes_that_is_not_on_the_list(outcomes: dict[str, str]) -> None:
    passed = {name for name, outcome in outcomes.items() if outcome == "passed"}
    assert passed - set(suite.allowed()) == set(), "tests.allow can grow"
