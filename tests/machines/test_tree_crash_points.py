"""The embedded coordination tree whose power is cut, or whose device fails, after every call that its journal makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pykafka_broker.device import Device
from pykafka_broker.zk.journal import Journal
from pykafka_broker.zk.port import Change, Create, Delete, Node, Replace
from pykafka_broker.zk.tree import Tree
from tests.doubles.explorer import Explorer, scratch
from tests.doubles.power_cuts import Names, TracedDevice
from tests.doubles.promises import Promising

Counting = Callable[[str, object], None]
Picture = dict[str, Node]


@dataclass(frozen=True, slots=True, eq=False)
class Promise:
    """The trees of which one must be found: as it was when it was synced, or later."""

    trees: tuple[Picture, ...]


def changes() -> Iterator[tuple[Change, ...]]:
    yield (Create("/a"),)
    yield Create("/a/b", b""), Create("/a/c", b"\x00\xff" * 40)
    yield Replace("/a", b"one"), Replace("/a/b", b"two")
    yield Create("/a/e", b"me", ephemeral=True), Create("/a/s_", sequential=True)
    yield Delete("/a/b"), Replace("/a/c", None)
    yield (Create("/large", b"x" * 700),)


class TreeStory(Promising[Promise]):
    """A journal that is opened, written, synced, written anew and opened again."""

    def __init__(self, device: TracedDevice) -> None:
        super().__init__(device, Promise((picture(Tree()),)))

    def tell(self) -> None:
        folder = self.device.root / "tree"
        for round_ in range(3):
            journal, tree = Journal.open(folder, self.device)
            try:
                if round_:
                    # What is read back is not told to anybody before it is synced.
                    journal.sync()
                    self._promise(trees=(picture(tree),))
                for index, each in enumerate(changes() if not round_ else [(Replace("/a", b"%d" % round_),)] * 4):
                    transaction = tree.change(each, 5, 1_000 + index)
                    self._promise(trees=(*self.promise.trees, picture(tree)))
                    journal.append(transaction)
                    if index % 3 == 1:
                        journal.sync()
                        self._promise(trees=(picture(tree),))
                    if index == 4 or round_ == 2:
                        journal.rewrite(tree)
                        self._promise(trees=(picture(tree),))
            finally:
                journal.close()


def picture(tree: Tree) -> Picture:
    return {path: tree.read(path) for path, _ in tree.entries()}


def told(device: TracedDevice) -> TreeStory:
    story = TreeStory(device)
    with suppress(OSError):
        story.tell()
    return story


def open_and_check(root: Path, device: Device, promise: Promise) -> None:
    journal, tree = Journal.open(root / "tree", device)
    journal.close()
    assert picture(tree) in promise.trees


def explore(names: Names, *, samples: int, torn: float, nested: float) -> int:
    with scratch() as root:
        story = told(TracedDevice(root))
        explorer = Explorer(open_and_check, names)
        explorer.explore(story.device, story.promise_at, samples=samples, torn=torn, nested=nested)
    return explorer.tried


@pytest.mark.parametrize("names", Names)
def test_a_power_cut_takes_nothing_that_was_synced(names: Names, record_property: Counting) -> None:
    record_property("crash points", explore(names, samples=1, torn=0.2, nested=0.05))


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("names", Names)
def test_a_device_that_fails_takes_nothing_that_was_synced(names: Names, every: int, record_property: Counting) -> None:
    with scratch() as root:
        calls = len(told(TracedDevice(root)).device.calls)
    explorer = Explorer(open_and_check, names)
    explorer.explore_failures(lambda device: told(device).promise, calls, every=every)
    record_property("crash points", explorer.tried)


@pytest.mark.slow
@pytest.mark.parametrize("names", Names)
def test_no_power_cut_takes_anything_that_was_synced(names: Names, record_property: Counting) -> None:
    record_property("crash points", explore(names, samples=20, torn=1.0, nested=0.3))
