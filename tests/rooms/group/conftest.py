"""Stories for tests of groups."""

from __future__ import annotations

import pytest

from tests.rooms.group.story import Story


@pytest.fixture
def group() -> Story:
    """A group with Kafka's default settings."""
    return Story()


@pytest.fixture
def prompt() -> Story:
    """A group that forms without an initial delay."""
    return Story(group_initial_rebalance_delay_ms=0)
