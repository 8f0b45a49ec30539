"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.zookeeper import ZooKeeper, running_zookeeper


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    """A real ZooKeeper that all tests of the run share; use a chroot of your own in it, and leave it running."""
    with running_zookeeper(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server
