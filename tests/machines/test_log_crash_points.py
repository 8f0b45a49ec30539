"""A partition whose power is cut, or whose device fails, after every single call that it makes.

Whatever a file system may leave then is opened, and must keep what had been promised: everything that was synced is
there, what else is there was written, and all files agree with one another. A crash in the middle of recovery is no
worse. What a file system may leave is told by ``tests/doubles/power_cuts.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.doubles.explorer import Explorer, scratch
from tests.doubles.log_plots import PLOTS, SETTINGS, wanders
from tests.doubles.log_story import Broken, LogStory, opener
from tests.doubles.power_cuts import TracedDevice

Counting = Callable[[str, object], None]

WANDERING = {"retention_bytes": 1_500}


def told(device: TracedDevice, name: str | int) -> LogStory:
    """One of the plots by its name, or a random one by its number; as far as the device bears it."""
    story = LogStory(device, **(SETTINGS[name] if isinstance(name, str) else WANDERING))
    with suppress(Broken):
        story.begin()
        (PLOTS[name] if isinstance(name, str) else wanders(name))(story)
    story.disk.close()
    return story


def explore(name: str | int, *, samples: int, share: float, nested: float) -> int:
    with scratch() as root:
        story = told(TracedDevice(root), name)
        explorer = Explorer(opener(story.settings))
        explorer.explore(story.device, story.promise_at, samples=samples, share=share, nested=nested)
    return explorer.tried


def explore_failures(name: str | int, *, every: int) -> int:
    with scratch() as root:
        whole = told(TracedDevice(root), name)
    explorer = Explorer(opener(whole.settings))
    explorer.explore_failures(lambda device: told(device, name).promise, range(0, len(whole.device.calls), every))
    return explorer.tried


@pytest.mark.parametrize("name, share", [("leads", 0.1), ("follows", 0.04), ("compacts", 0.02), (1, 0.02)])
def test_a_power_cut_takes_nothing_that_was_synced(name: str | int, share: float, record_property: Counting) -> None:
    record_property("crash points", explore(name, samples=0, share=share, nested=0.02))


@pytest.mark.parametrize("name", ["leads", "follows", "compacts", 3])
def test_a_device_that_fails_takes_nothing_that_was_synced(name: str | int, record_property: Counting) -> None:
    record_property("crash points", explore_failures(name, every=41))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["leads", "follows", "compacts", *range(1, 7)])
def test_no_power_cut_takes_anything_that_was_synced(name: str | int, record_property: Counting) -> None:
    record_property("crash points", explore(name, samples=1, share=0.35, nested=0.005))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["leads", "follows", "compacts", 10])
def test_no_failure_takes_anything_that_was_synced(name: str | int, record_property: Counting) -> None:
    record_property("crash points", explore_failures(name, every=2))
