"""Opens what power cuts may leave of the files of a story, and counts how often."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from pykafka_broker.device import DEVICE, Device
from tests.doubles.power_cuts import Files, TracedDevice, all_remains, read_files, write_files


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory, where the system has such."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        yield Path(folder)


class Explorer:
    """Opens what power cuts may leave, counts it, and says which remains break which promise."""

    def __init__(self, open_and_check: Callable[[Path, Device, Any], None]) -> None:
        self.tried = 0
        self._open_and_check = open_and_check
        self._seen: set[tuple[int, int]] = set()

    def explore_failures(self, tell: Callable[[TracedDevice], Any], calls: Sequence[int]) -> None:
        """Let the device fail at each of these calls, half a write included, and look at what is there then.

        ``tell`` tells the story on a device and gives what was promised in the end.
        """
        for fail_at in calls:
            for is_short in (False, True):
                with scratch() as root:
                    device = TracedDevice(root)
                    device.fail_at, device.is_short = fail_at, is_short
                    promise = tell(device)
                    where = f"call {fail_at} failed{' half-way' if is_short else ''}; then, "
                    self._try(read_files(root), promise, Random(0), 0.0, f"{where}without a power cut,")
                    for remains in all_remains(device, since=len(device.calls)):
                        self._try(remains.files, promise, Random(0), 0.0, f"{where}after call {remains.calls}")

    def explore(
        self,
        device: TracedDevice,
        promise_at: Callable[[int], Any],
        *,
        samples: int = 0,
        share: float = 1.0,
        nested: float = 0.0,
        since: int = 0,
        seed: int = 0,
    ) -> None:
        """Cut the power after every call; recovery itself is cut in a share of ``nested``."""
        random = Random(seed)
        for remains in all_remains(device, samples=samples, since=since, seed=seed):
            if random.random() > share:
                continue
            promise = promise_at(remains.calls)
            self._try(remains.files, promise, random, nested, f"after call {remains.calls}")

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
                raise AssertionError(f"{where} of {sizes} remained: {problem!r}") from problem
        if isinstance(device, TracedDevice):
            for remains in all_remains(device, samples=1, since=1, seed=random.randrange(1 << 30)):
                self._try(remains.files, promise, random, 0.0, f"{where}, and in recovery after call {remains.calls}")
