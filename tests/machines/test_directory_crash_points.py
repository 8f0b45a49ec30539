"""Log directories whose power is cut, or whose device fails, after every single call that the log keeper makes.

Starts, topics made and deleted, checkpoints, retention, moves from one directory to the other beside all that, clean
shutdowns. What may be left is opened by a new keeper, which must find everything that was flushed, and goes on with the
moves that it finds.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.doubles.directory_story import Promise, open_and_check, paths, told
from tests.doubles.explorer import Explorer, scratch
from tests.doubles.power_cuts import Names, TracedDevice

Counting = Callable[[str, object], None]

ANY, IN_ORDER = Names.ANY, Names.IN_ORDER


def explore(name: str, names: Names, *, whole: float, torn: float, nested: float, samples: int = 0) -> int:
    with scratch() as root:
        for path in paths(root):
            path.mkdir()
        story = told(TracedDevice(root), name)
        assert story.promise.is_closed, "the story ended early"
        explorer = Explorer(open_and_check, names)
        explorer.explore(story.device, story.promise_at, samples=samples, whole=whole, torn=torn, nested=nested)
    return explorer.tried


def explore_failures(name: str, names: Names, *, every: int) -> int:
    def tell(device: TracedDevice) -> Promise:
        for path in paths(device.root):
            device.make_folder(path)
        device.sync_names(device.root)
        return told(device, name).promise

    with scratch() as root:
        device = TracedDevice(root)
        tell(device)
    explorer = Explorer(open_and_check, names)
    explorer.explore_failures(tell, len(device.calls), first=3, every=every, whole=0.05, torn=0.0005)
    return explorer.tried


@pytest.mark.parametrize(
    "name, names, whole, torn",
    [
        ("keeps", ANY, 0.004, 1e-4),
        ("keeps", IN_ORDER, 0.006, 1e-5),
        ("moves", ANY, 0.0025, 3e-5),
        ("moves", IN_ORDER, 0.004, 4e-6),
    ],
)
def test_a_power_cut_takes_nothing_that_was_flushed(
    name: str, names: Names, whole: float, torn: float, record_property: Counting
) -> None:
    record_property("crash points", explore(name, names, whole=whole, torn=torn, nested=0.01))


@pytest.mark.parametrize("name", ["keeps", "moves"])
def test_a_device_that_fails_takes_nothing_that_was_flushed(name: str, record_property: Counting) -> None:
    record_property("crash points", explore_failures(name, ANY, every=67))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, names, whole, torn",
    [
        ("keeps", ANY, 0.15, 0.005),
        ("keeps", IN_ORDER, 0.3, 5e-4),
        ("moves", ANY, 0.08, 0.0015),
        ("moves", IN_ORDER, 0.15, 2e-4),
    ],
)
def test_no_power_cut_takes_anything_that_was_flushed(
    name: str, names: Names, whole: float, torn: float, record_property: Counting
) -> None:
    record_property("crash points", explore(name, names, samples=1, whole=whole, torn=torn, nested=0.01))


@pytest.mark.slow
@pytest.mark.parametrize("names", Names)
@pytest.mark.parametrize("name", ["keeps", "moves"])
def test_no_failure_takes_anything_that_was_flushed(name: str, names: Names, record_property: Counting) -> None:
    record_property("crash points", explore_failures(name, names, every=5))
