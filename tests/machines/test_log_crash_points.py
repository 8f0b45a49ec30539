"""A partition whose power is cut, or whose device fails, after every single call that it makes.

Whatever a file system may leave then is opened, and must keep what had been promised: everything that was synced is
there, what else is there was written, and all files agree with one another. A crash in the middle of recovery is no
worse. What a file system may leave is told by ``tests/doubles/power_cuts.py``, what may be done by
``tests/doubles/log_plots.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.doubles.explorer import Explorer, scratch
from tests.doubles.log_plots import PLOTS, settings_of, wanders
from tests.doubles.log_story import Broken, LogStory, opener
from tests.doubles.power_cuts import Names, TracedDevice

Counting = Callable[[str, object], None]

ANY, IN_ORDER = Names.ANY, Names.IN_ORDER


def told(device: TracedDevice, name: str | int) -> LogStory:
    """One of the plots by its name, or a random one by its number; as far as the device bears it."""
    story = LogStory(device, **settings_of(name))
    with suppress(Broken):
        story.begin()
        (PLOTS[name] if isinstance(name, str) else wanders(name))(story)
    story.disk.close()
    return story


def explore(name: str | int, names: Names, *, whole: float, torn: float, nested: float, samples: int = 0) -> int:
    with scratch() as root:
        story = told(TracedDevice(root), name)
        explorer = Explorer(opener(story.settings), names)
        explorer.explore(story.device, story.promise_at, samples=samples, whole=whole, torn=torn, nested=nested)
    return explorer.tried


def explore_failures(name: str | int, names: Names, *, every: int) -> int:
    with scratch() as root:
        whole = told(TracedDevice(root), name)
    explorer = Explorer(opener(whole.settings), names)
    calls = len(whole.device.calls)
    explorer.explore_failures(lambda device: told(device, name).promise, calls, every=every, whole=0.1, torn=0.003)
    return explorer.tried


@pytest.mark.parametrize(
    "name, names, whole, torn",
    [
        ("leads", ANY, 0.06, 0.003),
        ("leads", IN_ORDER, 0.08, 0.001),
        ("follows", ANY, 0.015, 0.001),
        ("follows", IN_ORDER, 0.04, 0.0003),
        ("compacts", ANY, 0.006, 0.001),
        ("compacts", IN_ORDER, 0.03, 0.0003),
        (1, ANY, 0.015, 0.001),
        (2, IN_ORDER, 0.05, 0.0003),
    ],
)
def test_a_power_cut_takes_nothing_that_was_synced(
    name: str | int, names: Names, whole: float, torn: float, record_property: Counting
) -> None:
    record_property("crash points", explore(name, names, whole=whole, torn=torn, nested=0.01))


@pytest.mark.parametrize("name", ["leads", "follows", "compacts", 3])
def test_a_device_that_fails_takes_nothing_that_was_synced(name: str | int, record_property: Counting) -> None:
    record_property("crash points", explore_failures(name, ANY, every=9))


@pytest.mark.slow
@pytest.mark.parametrize("names, whole, torn", [(ANY, 0.2, 0.015), (IN_ORDER, 0.4, 0.002)])
@pytest.mark.parametrize("name", ["leads", "follows", "compacts", *range(1, 17)])
def test_no_power_cut_takes_anything_that_was_synced(
    name: str | int, names: Names, whole: float, torn: float, record_property: Counting
) -> None:
    record_property("crash points", explore(name, names, samples=1, whole=whole, torn=torn, nested=0.01))


@pytest.mark.slow
@pytest.mark.parametrize("names", Names)
@pytest.mark.parametrize("name", ["leads", "follows", "compacts", 10])
def test_no_failure_takes_anything_that_was_synced(name: str | int, names: Names, record_property: Counting) -> None:
    record_property("crash points", explore_failures(name, names, every=1))
