"""A ``Disk`` in memory that can fail and crash; ``tests/rooms/store/test_files`` runs over it and over the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pykafka_broker.log.disk import Buffer
from pykafka_broker.model.time import Millis


class MemoryDisk:
    """Files as byte arrays, beside what of them would survive a power cut.

    ``fail_next`` makes the next writing call raise ``OSError``, as a full or broken disk does.
    """

    def __init__(self, clock: Callable[[], int] = lambda: 0) -> None:
        self.files: dict[str, bytearray] = {}
        self.durable: dict[str, bytes] = {}
        self.reserved: dict[str, int] = {}
        self.fail_next = False
        self.lends = True
        self._calls_left: int | None = None
        self.syncs = 0
        self._clock = clock
        self._modified: dict[str, int] = {}
        self._replaced: set[str] = set()

    def create(self, name: str) -> None:
        self.append(name, b"")

    def reserve(self, name: str, size_bytes: int) -> None:
        self._writing(name)
        self.files.setdefault(name, bytearray())
        self.reserved[name] = size_bytes

    def append(self, name: str, data: Buffer) -> None:
        self._writing(name)
        self.files.setdefault(name, bytearray()).extend(data)

    def read(self, name: str, start: int, size_bytes: int) -> bytes:
        return bytes(self._file(name)[start : start + size_bytes])

    def region(self, name: str, start: int, size_bytes: int) -> bytes:
        return bytes(self._file(name)[start : start + size_bytes])

    def truncate(self, name: str, size_bytes: int) -> None:
        self._writing(name)
        self.reserved.pop(name, None)
        file = self._file(name)
        file.extend(bytes(max(0, size_bytes - len(file))))
        del file[size_bytes:]

    def replace(self, name: str, data: Buffer) -> None:
        self._writing(name)
        self.files[name] = bytearray(data)
        self._replaced.add(name)

    def rename(self, old: str, new: str) -> None:
        written = self._modified.get(old, 0)
        self._writing(old)
        file = self._file(old)
        del self.files[old]
        self.files[new] = file
        if old in self._replaced:
            self._replaced.discard(old)
            self._replaced.add(new)
        self._modified.pop(old, None)
        self._modified[new] = written
        # A journalling file system keeps the order of renames; losing one would only bring the old name back.
        self.durable.pop(new, None)
        if old in self.durable:
            self.durable[new] = self.durable.pop(old)

    def remove(self, name: str) -> None:
        self._writing(name)
        self.files.pop(name, None)
        self.durable.pop(name, None)

    def sizes(self) -> Mapping[str, int]:
        return {name: len(data) for name, data in self.files.items()}

    def modified_ms(self, name: str) -> Millis:
        self._file(name)
        return Millis(self._modified.get(name, 0))

    def set_modified_ms(self, name: str, modified_ms: Millis) -> None:
        self._writing(name)
        self._file(name)
        self._modified[name] = modified_ms

    def sync(self, names: Iterable[str]) -> None:
        self.syncs += 1
        for name in names:
            if name in self.files:
                self.durable[name] = bytes(self.files[name])
                self._replaced.discard(name)

    def close(self) -> None:
        """Nothing is open."""

    def crash(self, choose: Callable[[int, int], int]) -> None:
        """Cut the power: of what was not synced, ``choose(low, high)`` says how much of each file is left.

        A file that grew since its sync keeps the synced part and any length of the rest, whose last bytes may be
        zeros; one that was given new content has the old, the new, or none; one that was cut, the old or the new;
        one that was never synced may not be there at all.
        """
        survivors: dict[str, bytearray] = {}
        for name in sorted(set(self.files) | set(self.durable)):
            kept, current = self.durable.get(name), bytes(self.files.get(name, b""))
            if name in self._replaced:
                content = (kept, current, b"")[choose(0, 2)]
            elif kept is None and choose(0, 4) == 0:
                content = None
            elif current.startswith(kept or b""):
                least = len(kept or b"")
                size = choose(least, len(current))
                zeros = choose(0, size - least)
                content = current[: size - zeros] + bytes(zeros)
            else:
                content = (kept, current)[choose(0, 1)]
            if content is not None:
                survivors[name] = bytearray(content)
        self.files = survivors
        self.durable = {name: bytes(data) for name, data in survivors.items()}
        self._replaced.clear()

    def _file(self, name: str) -> bytearray:
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def fail_after(self, calls: int | None) -> None:
        """Let every writing call fail after this many, as on a disk that goes away; None mends it."""
        self._calls_left = calls

    def _writing(self, name: str) -> None:
        if self._calls_left is not None:
            if self._calls_left <= 0:
                raise OSError(5, "Input/output error", name)
            self._calls_left -= 1
        if self.fail_next:
            self.fail_next = False
            raise OSError(28, "No space left on device", name)
        self._modified[name] = self._clock()
