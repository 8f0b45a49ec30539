"""Opens what power cuts may leave of the files of a story, and counts how often."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from pykafka_broker.device import DEVICE, Device
from tests.doubles.power_cuts import Files, Names, Share, TracedDevice, all_remains, read_files, write_files

SKIPPED = float(os.environ.get("CRASH_POINTS", "1"))
"""A multiple of how much is left out: with 0 every crash point of every story is tried, which takes hours."""

NESTED = 15
"""How many crashes of one recovery are tried with files whole or as they were, and how many with one torn."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory, where the system has such."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        yield Path(folder)


class Explorer:
    """Opens what power cuts may leave, counts it, and says which remains break which promise."""

    def __init__(self, open_and_check: Callable[[Path, Device, Any], None], names: Names = Names.ANY) -> None:
        self.tried = 0
        self._open_and_check = open_and_check
        self._names = names
        self._seen: set[tuple[int, int]] = set()

    def explore_failures(
        self,
        tell: Callable[[TracedDevice], Any],
        calls: int,
        *,
        first: int = 0,
        every: int = 1,
        whole: float = 1.0,
        torn: float = 1.0,
    ) -> None:
        """Let the device fail at every so many of that many calls, half a write included, and look at what is there
        then.

        ``tell`` tells the story on a device and gives what was promised in the end. A power cut that follows is tried
        in a share of ways.
        """
        shares = self._share(whole), self._share(torn)
        for fail_at in range(first, calls, max(1, round(every * SKIPPED))):
            for is_short in (False, True):
                with scratch() as root:
                    device = TracedDevice(root)
                    device.fail_at, device.is_short = fail_at, is_short
                    promise = tell(device)
                    where = f"call {fail_at} failed{' half-way' if is_short else ''}; then, "
                    self._try(read_files(root), promise, Random(0), 0.0, f"{where}without a power cut,")
                    for remains in all_remains(device, self._names, *shares, since=len(device.calls)):
                        self._try(remains.files, promise, Random(0), 0.0, f"{where}after call {remains.calls}")

    def explore(
        self,
        device: TracedDevice,
        promise_at: Callable[[int], Any],
        *,
        samples: int = 0,
        whole: float = 1.0,
        torn: float = 1.0,
        nested: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Cut the power after every call, in a share of ways (see ``PowerCuts.remains``); recovery itself is cut in a
        share of ``nested``.
        """
        random = Random(seed)
        shares = self._share(whole, seed), self._share(torn, seed)
        for remains in all_remains(device, self._names, *shares, samples=samples, seed=seed):
            promise = promise_at(remains.calls)
            self._try(remains.files, promise, random, nested, f"after call {remains.calls}")

    @staticmethod
    def _share(share: float, seed: int = 0) -> Share:
        return Share(share / SKIPPED if share < SKIPPED else 1.0, seed)

    def _try(self, files: Files, promise: Any, random: Random, nested: float, where: str) -> None:
        known = (hash(frozenset(files.items())), id(promise))
        if known in self._seen:
            return
        self._seen.add(known)
        self.tried += 1
        is_nested = random.random() < nested
        with scratch() as root:
            write_files(root, files)
            device = TracedDevice(root) if is_nested else DEVICE
            try:
                self._open_and_check(root, device, promise)
            except Exception as problem:
                sizes = {name: None if content is None else len(content) for name, content in files.items()}
                raise AssertionError(
                    f"{where}, names changing {self._names.value}, of {sizes} remained: {problem!r}"
                ) from problem
        if isinstance(device, TracedDevice):
            whole, torn = Share(0.0), Share(0.0)
            for _ in all_remains(device, self._names, whole, torn, since=1):
                pass
            some = [Share(NESTED / max(1, each.seen), random.randrange(1 << 30)) for each in (whole, torn)]
            for remains in all_remains(device, self._names, *some, since=1):
                self._try(remains.files, promise, random, 0.0, f"{where}, and in recovery after call {remains.calls}")
