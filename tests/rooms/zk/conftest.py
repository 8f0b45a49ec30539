"""Both houses of the coordination port, so that one test is asked of each."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from pykafka_broker.zk.embedded import open_grove
from pykafka_broker.zk.port import Coordination, House
from tests.cluster.zookeeper import Ensemble, ZooKeeper

_chroots = itertools.count()

Sessions = Callable[[], AbstractAsyncContextManager[Coordination]]
"""Opens one more session with the same tree."""


async def inline(work: Callable[[], None]) -> None:
    """A worker that blocks: the tests' files are small."""
    work()


def ticking() -> Callable[[], int]:
    """A clock that shows another time whenever it is looked at."""
    return itertools.count(1_000).__next__


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("zookeeper", marks=pytest.mark.cluster),
        pytest.param("ensemble", marks=pytest.mark.cluster),
    ]
)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sessions]:
    """Sessions with one fresh tree: embedded, in one real server, or in three."""
    if request.param == "embedded":
        async with open_grove(tmp_path / "tree", in_worker=inline, clock=ticking()) as grove:
            yield grove.session
    else:
        server: ZooKeeper | Ensemble = request.getfixturevalue(request.param)
        chroot = f"/{request.node.name.partition('[')[0]}-{next(_chroots)}"

        @asynccontextmanager
        async def connected() -> AsyncIterator[House]:
            from pykafka_broker.zk.session import open_ensemble

            connect = server.connect + chroot
            async with open_ensemble(connect, session_timeout_ms=4_000, connection_timeout_ms=20_000) as house:
                yield house

        yield connected


@pytest.fixture
async def tree(sessions: Sessions) -> AsyncIterator[Coordination]:
    """One session with a fresh tree, embedded or real."""
    async with sessions() as coordination:
        yield coordination
