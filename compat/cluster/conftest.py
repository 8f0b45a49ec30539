"""The cluster that the tests of a file share, made anew after one that failed: what is broken would break the next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Final

import pytest

from compat.cluster.proof import Proof

_FAILED: Final = pytest.StashKey[bool]()


class Grounds:
    """At most one cluster at a time."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._standing: Proof | None = None

    def standing(self, make: Callable[[], contextlib.AbstractContextManager[Proof]]) -> Proof:
        """The cluster there is, or one that is made now."""
        if self._standing is None:
            self._standing = self._stack.enter_context(make())
        return self._standing

    def clear(self) -> None:
        """End the cluster."""
        self._standing = None
        self._stack.close()


@pytest.fixture(scope="module")
def grounds() -> Iterator[Grounds]:
    """Where the cluster of a file stands."""
    made = Grounds()
    try:
        yield made
    finally:
        made.clear()


@pytest.fixture
def kept_while_sound(request: pytest.FixtureRequest, grounds: Grounds) -> Iterator[Grounds]:
    """The same, cleared after a test that failed."""
    yield grounds
    if request.node.stash.get(_FAILED, False):
        grounds.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember with each test whether it failed, and tell what happened to the cluster before."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
        proof = getattr(item, "funcargs", {}).get("going")
        if isinstance(proof, Proof):
            report.sections.append(("what happened", proof.story()))
    return report
