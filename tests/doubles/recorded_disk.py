"""A ``Disk`` in memory that remembers every operation, and what a file system may have kept of them after a crash.

The model is a POSIX file system that journals names and cuts in their order and data not at all, as ALICE (Pillai et
al., OSDI 2014) describes such. Content of a file is safe from its last fsync on. What was written since is there up to
some write, the last of them perhaps in part, or with zeros where the data should be; and each file for itself, whatever
the order among files.
Names (made, moved, removed) and cuts are safe from the last fsync of the directory; of later ones one was the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pykafka_broker.log.disk import Buffer
from pykafka_broker.model.time import Millis

Files = Mapping[str, bytes]
"""A directory: content by name."""


@dataclass(frozen=True, slots=True)
class Grew:
    """Bytes were written at the end of a file."""

    file: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Shrank:
    """A file was cut."""

    file: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Named:
    """A new file got a name."""

    file: int
    name: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A file got another name, which another file may have had."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A name went."""

    name: str


@dataclass(frozen=True, slots=True)
class Synced:
    """The content of some files and all names reached the device."""

    files: tuple[int, ...]


_EVERY_BYTE_UP_TO = 12
"""What is no longer than this, an entry of an index, is cut at every byte; longer things at some."""

Content = Grew | Shrank
Naming = Named | Moved | Removed
Operation = Content | Naming | Synced


class RecordedDisk:
    """``Disk``; ``history`` is what was done to it. Begins with files that are all on the device."""

    def __init__(self, files: Files | None = None) -> None:
        self.first = dict(files or {})
        self.history: list[Operation] = []
        self._names = {name: number for number, name in enumerate(self.first)}
        self._content = {number: bytearray(self.first[name]) for name, number in self._names.items()}
        self.fail_at: int | None = None
        """The number of the operation that fails, and all after it."""
        self.has_failed = False
        self.writes_before_failing = False
        """Whether half of what fails to be written is written."""

    # the port

    def create(self, name: str) -> None:
        if name not in self._names:
            self._do(Named(len(self._content), name))

    def reserve(self, name: str, size_bytes: int) -> None:
        self.create(name)

    def append(self, name: str, data: Buffer) -> None:
        self.create(name)
        if len(data):
            self._do(Grew(self._names[name], bytes(data)))

    def read(self, name: str, start: int, size_bytes: int) -> bytes:
        return bytes(self._content[self._file(name)][start : start + size_bytes])

    def region(self, name: str, start: int, size_bytes: int) -> bytes:
        return self.read(name, start, size_bytes)

    def truncate(self, name: str, size_bytes: int) -> None:
        self._do(Shrank(self._file(name), size_bytes))

    def replace(self, name: str, data: Buffer) -> None:
        temporary = name + ".tmp"
        self.remove(temporary)
        self.append(temporary, data)
        self.rename(temporary, name)

    def rename(self, old: str, new: str) -> None:
        self._file(old)
        self._do(Moved(old, new))

    def remove(self, name: str) -> None:
        if name in self._names:
            self._do(Removed(name))

    def sizes(self) -> Mapping[str, int]:
        return {name: len(self._content[file]) for name, file in self._names.items()}

    def modified_ms(self, name: str) -> Millis:
        self._file(name)
        return Millis(0)

    def set_modified_ms(self, name: str, modified_ms: Millis) -> None:
        self._file(name)

    def sync(self, names: Iterable[str]) -> None:
        self._do(Synced(tuple(self._names[name] for name in names if name in self._names)))

    def close(self) -> None:
        """Nothing is open."""

    def _file(self, name: str) -> int:
        if name not in self._names:
            raise FileNotFoundError(name)
        return self._names[name]

    def _do(self, operation: Operation) -> None:
        if self.fail_at is not None and len(self.history) >= self.fail_at:
            if self.writes_before_failing and isinstance(operation, Grew):
                self.writes_before_failing = False
                half = Grew(operation.file, operation.data[: len(operation.data) // 2])
                self.history.append(half)
                _apply_content(self._content, half)
                self.fail_at = len(self.history)
            self.has_failed = True
            raise OSError(5, "Input/output error")
        self.history.append(operation)
        if isinstance(operation, Grew | Shrank):
            _apply_content(self._content, operation)
        elif not isinstance(operation, Synced):
            if isinstance(operation, Named):
                self._content[operation.file] = bytearray()
            _apply_naming(self._names, operation)

    # what is found after a crash

    @property
    def files(self) -> Files:
        """What another process finds now, the machine going on."""
        return {name: bytes(self._content[file]) for name, file in self._names.items()}

    def after_crash(self, count: int) -> Iterator[Files]:
        """The states in which the directory may be found if the machine stops after ``count`` operations.

        Of the many combinations of what single files have lost those are given in which all files lost everything,
        or nothing, or in which one file differs from the others, each in every way.
        """
        yield from _Crash(self.first, self.history[:count]).states()


def _apply_content(content: dict[int, bytearray], operation: Content) -> None:
    data = content.setdefault(operation.file, bytearray())
    if isinstance(operation, Grew):
        data += operation.data
    else:
        data.extend(bytes(max(0, operation.size_bytes - len(data))))
        del data[operation.size_bytes :]


def _apply_naming(names: dict[str, int], operation: Naming) -> None:
    if isinstance(operation, Named):
        names[operation.name] = operation.file
    elif isinstance(operation, Moved):
        names[operation.new] = names.pop(operation.old)
    else:
        names.pop(operation.name, None)


class _Crash:
    """What is safe after some operations, and what is not."""

    def __init__(self, first: Files, history: Sequence[Operation]) -> None:
        self._names = {name: number for number, name in enumerate(first)}
        self._content = {number: first[name] for name, number in self._names.items()}
        self._unsafe: dict[int, list[Content]] = {}
        """What was done to each file since its content was safe."""
        self._journal: list[Naming | Shrank] = []
        """What of names and lengths is on the device up to some operation only."""
        for operation in history:
            if isinstance(operation, Synced):
                self._sync(operation)
                continue
            if isinstance(operation, Grew | Shrank):
                self._unsafe.setdefault(operation.file, []).append(operation)
            if not isinstance(operation, Grew):
                self._journal.append(operation)

    def _sync(self, operation: Synced) -> None:
        for file, done in list(self._unsafe.items()):
            safe = len(done) if file in operation.files else _after_cuts(done, sum(map(_is_cut, done)))
            self._content[file] = _grown(self._content.get(file, b""), done[:safe])
            self._unsafe[file] = done[safe:]
        for entry in self._journal:
            if not isinstance(entry, Shrank):
                _apply_naming(self._names, entry)
        self._journal = []

    def states(self) -> Iterator[Files]:
        names = dict(self._names)
        cuts: Counter[int] = Counter()
        yield from self._with(names, cuts)
        for entry in self._journal:
            if isinstance(entry, Shrank):
                cuts[entry.file] += 1
            else:
                _apply_naming(names, entry)
            yield from self._with(names, cuts)

    def _with(self, names: Mapping[str, int], cuts: Mapping[int, int]) -> Iterator[Files]:
        """The states in which the directory has these names, and files have been cut as often as told."""
        ways: dict[int, list[bytes]] = {}
        for file in names.values():
            content, done = self._content.get(file, b""), self._unsafe.get(file, [])
            low = _after_cuts(done, cuts[file])
            high = next((index for index in range(low, len(done)) if _is_cut(done[index])), len(done))
            ways[file] = _ways(_grown(content, done[:low]), done[low:high])
        for which in (0, -1):
            common = {name: ways[file][which] for name, file in names.items()}
            yield common
            for name, file in names.items():
                for way in ways[file]:
                    if way != common[name]:
                        yield common | {name: way}


def _is_cut(operation: Content) -> bool:
    return isinstance(operation, Shrank)


def _after_cuts(done: Sequence[Content], cuts: int) -> int:
    """How many operations there are up to that many cuts."""
    positions = [index + 1 for index, operation in enumerate(done) if _is_cut(operation)]
    return positions[cuts - 1] if cuts else 0


def _grown(content: bytes, operations: Sequence[Content]) -> bytes:
    files = {0: bytearray(content)}
    for operation in operations:
        moved = Grew(0, operation.data) if isinstance(operation, Grew) else Shrank(0, operation.size_bytes)
        _apply_content(files, moved)
    return bytes(files[0])


def _ways(content: bytes, operations: Sequence[Content]) -> list[bytes]:
    """What may be left of one file: nothing new first, everything last."""
    found = [content]
    for count, operation in enumerate(operations, 1):
        before = found[-1]
        whole = _grown(content, operations[:count])
        if isinstance(operation, Grew):
            size = len(operation.data)
            cuts = range(1, size) if size <= _EVERY_BYTE_UP_TO else (1, size // 2, size - 1)
            for cut in cuts:
                found.append(before + operation.data[:cut])
                # The length was written down before the data was.
                found.append(before + operation.data[:cut] + bytes(size - cut))
            found.append(before + bytes(size))
        found.append(whole)
    return found
