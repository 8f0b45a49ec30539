"""A device that writes down every call, and what a power cut after any of them may leave of its files.

The model is that of POSIX, as in "All File Systems Are Not Created Equal" (ALICE, 2014). What was written to a file
since its last sync may be there as a whole, in part, cut at any byte, or as zeros or rubbish of the right length; each
file on its own. Of the names that were made, moved and removed in a folder since its last sync any selection may have
happened, in their order. A call that fails has done nothing or half of it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

from pykafka_broker.device import Buffer, SystemDevice

ROOT = 0
SMALL_BYTES = 40
"""A write up to this size is cut at each of its bytes."""

TELLING = (1, 8, 12, 17, 21, 60, 61, 62)
"""Where larger ones are cut, beside their middle and their end: around the fields of a batch's header."""


class Made(NamedTuple):
    """A file or folder got its first name."""

    folder: int
    name: str
    node: int
    is_folder: bool


class Moved(NamedTuple):
    """A name became another one in the same folder."""

    folder: int
    old: str
    name: str
    node: int


class Unlinked(NamedTuple):
    """A name went."""

    folder: int
    name: str
    node: int


class Wrote(NamedTuple):
    """Bytes were appended."""

    node: int
    start: int
    data: bytes


class Cut(NamedTuple):
    """A file got another length."""

    node: int
    size_bytes: int


class Synced(NamedTuple):
    """A file's content, or a folder's names, reached the device."""

    node: int
    is_folder: bool


Call = Made | Moved | Unlinked | Wrote | Cut | Synced
Files = Mapping[str, bytes | None]
"""Content by path below the root; None for a folder."""


class TracedDevice(SystemDevice):
    """Does what it is told in a folder of the system, and notes it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[Call] = []
        self.start = read_files(root)
        self.fail_at: int | None = None
        """The call that fails, by its number."""
        self.is_short = False
        """Whether a write that fails has written half."""
        self.has_failed = False
        self._prefix = str(root)
        self._folders: dict[int, dict[str, int]] = {ROOT: {}}
        self._sizes: dict[int, int] = {}
        self._open: dict[int, int] = {}
        self._next = 1
        self._broken = False
        for path, content in sorted(self.start.items()):
            folder, name = self._at(str(root / path))
            node = self._folders[folder][name] = self._next
            self._next += 1
            if content is None:
                self._folders[node] = {}
            else:
                self._sizes[node] = len(content)

    def open(self, path: str | Path, flags: int) -> int:  # type: ignore[override]
        folder, name = self._at(str(path))
        names = self._folders[folder]
        is_new = name not in names
        if is_new and flags & os.O_CREAT:
            self._count()
        descriptor = SystemDevice.open(path, flags)
        if is_new:
            node = names[name] = self._next
            self._next += 1
            self._sizes[node] = 0
            self.calls.append(Made(folder, name, node, False))
        self._open[descriptor] = node = names[name]
        if flags & os.O_TRUNC and self._sizes[node]:
            self._sizes[node] = 0
            self.calls.append(Cut(node, 0))
        return descriptor

    def write(self, descriptor: int, data: Buffer, /) -> int:  # type: ignore[override]
        node = self._open[descriptor]
        try:
            self._count()
        except OSError:
            if not self.is_short or self._broken or len(data) < 2:
                raise
            # What is cut short is told to the caller, whose next try fails.
            self._broken = True
            data = memoryview(data)[: len(data) // 2]
        size = os.write(descriptor, data)
        self.calls.append(Wrote(node, self._sizes[node], bytes(memoryview(data)[:size])))
        self._sizes[node] += size
        return size

    def truncate(self, file: str | Path | int, size_bytes: int, /) -> None:  # type: ignore[override]
        self._count()
        os.truncate(file, size_bytes)
        node = self._open[file] if isinstance(file, int) else self._node(str(file))
        if self._sizes[node] != size_bytes:
            self._sizes[node] = size_bytes
            self.calls.append(Cut(node, size_bytes))

    def sync(self, descriptor: int, /) -> None:  # type: ignore[override]
        self._count()
        self.calls.append(Synced(self._open[descriptor], False))

    def sync_data(self, descriptor: int) -> None:  # type: ignore[override]
        self.sync(descriptor)

    def sync_names(self, folder: Path) -> None:  # type: ignore[override]
        if not str(folder).startswith(self._prefix):
            return
        node = self._node(str(folder)) if folder != self.root else ROOT
        self._count()
        self.calls.append(Synced(node, True))

    def replace(self, old: str | Path, new: str | Path) -> None:  # type: ignore[override]
        folder, old_name = self._at(str(old))
        new_folder, new_name = self._at(str(new))
        assert folder == new_folder, "nothing is moved from one folder to another"
        if old_name in self._folders[folder]:
            self._count()
        os.replace(old, new)
        node = self._folders[folder].pop(old_name)
        self._folders[folder][new_name] = node
        self.calls.append(Moved(folder, old_name, new_name, node))

    def unlink(self, path: str | Path) -> None:  # type: ignore[override]
        folder, name = self._at(str(path))
        if name in self._folders[folder]:
            self._count()
        os.unlink(path)
        self.calls.append(Unlinked(folder, name, self._folders[folder].pop(name)))

    def make_folder(self, path: str | Path) -> None:  # type: ignore[override]
        folder, name = self._at(str(path))
        self._count()
        os.mkdir(path)
        node = self._folders[folder][name] = self._next
        self._next += 1
        self._folders[node] = {}
        self.calls.append(Made(folder, name, node, True))

    def remove_tree(self, path: Path) -> None:  # type: ignore[override]
        folder, name = self._at(str(path))
        node = self._folders[folder][name]
        try:
            for each in sorted(self._folders[node]):
                self.unlink(path / each)
            self._count()
            os.rmdir(path)
        except OSError:
            return
        del self._folders[folder][name]
        self.calls.append(Unlinked(folder, name, node))

    def _count(self) -> None:
        """One call more; everything fails from the chosen one on, as on a device that goes away."""
        if self.fail_at is not None and (self._broken or len(self.calls) >= self.fail_at):
            self.has_failed = True
            raise OSError(errno.EIO, "Input/output error")

    def _at(self, path: str) -> tuple[int, str]:
        assert path.startswith(self._prefix), f"{path} is not below {self._prefix}"
        *folders, name = path[len(self._prefix) + 1 :].split("/")
        node = ROOT
        for each in folders:
            node = self._folders[node][each]
        return node, name

    def _node(self, path: str) -> int:
        folder, name = self._at(path)
        if name not in self._folders[folder]:
            raise FileNotFoundError(path)
        return self._folders[folder][name]


def read_files(root: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(root):
        below = os.path.relpath(folder, root)
        for name in folders:
            found[os.path.normpath(os.path.join(below, name))] = None
        for name in files:
            path = os.path.join(folder, name)
            descriptor = os.open(path, os.O_RDONLY)
            try:
                found[os.path.normpath(os.path.join(below, name))] = os.pread(descriptor, 1 << 30, 0)
            finally:
                os.close(descriptor)
    return found


def write_files(root: Path, files: Files) -> None:
    """Lay them out below a folder that is empty."""
    for path, content in sorted(files.items()):
        if content is None:
            os.mkdir(root / path)
            continue
        descriptor = os.open(f"{root}/{path}", os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            if content:
                os.write(descriptor, content)
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Remains:
    """What may be left when the power goes after so many calls."""

    calls: int
    files: Files


class PowerCuts:
    """What is on the device and what may be, call after call."""

    def __init__(self, start: Files, seed: int = 0) -> None:
        self._random = Random(seed)
        self._names: dict[int, dict[str, int]] = {ROOT: {}}
        self._data: dict[int, bytes] = {}
        self._renamed: dict[int, list[Made | Moved | Unlinked]] = {}
        self._written: dict[int, list[Wrote | Cut]] = {}
        self._folders = {ROOT}
        next_node = 1
        nodes: dict[str, int] = {".": ROOT}
        for path, content in sorted(start.items()):
            folder, name = nodes[os.path.dirname(path) or "."], os.path.basename(path)
            nodes[path] = self._names[folder][name] = next_node
            if content is None:
                self._folders.add(next_node)
                self._names[next_node] = {}
            else:
                self._data[next_node] = content
            next_node += 1

    def take(self, call: Call) -> None:
        """One call more has returned."""
        if isinstance(call, Wrote | Cut):
            self._written.setdefault(call.node, []).append(call)
        elif not isinstance(call, Synced):
            if isinstance(call, Made):
                if call.is_folder:
                    self._folders.add(call.node)
                    self._names[call.node] = {}
                else:
                    self._data[call.node] = b""
            self._renamed.setdefault(call.folder, []).append(call)
        elif call.is_folder:
            self._names[call.node] = _named(self._names[call.node], self._renamed.pop(call.node, ()))
        else:
            self._data[call.node] = _applied(self._data[call.node], self._written.pop(call.node, ()))

    def remains(self, newest: Call | None, samples: int) -> Iterator[Files]:
        """What may be left now: everything that concerns the newest call, and ``samples`` of what else may be."""
        for keeps_others in (True, False):
            data = {node: self._content(node, keeps_others) for node in self._data}
            names = {node: self._listing(node, keeps_others) for node in self._folders}
            yield self._laid_out(names, data)
            if isinstance(newest, Wrote | Cut):
                for content in self._torn(newest.node):
                    yield self._laid_out(names, data | {newest.node: content})
                    if not keeps_others:
                        everything = {node: self._listing(node, True) for node in self._folders}
                        yield self._laid_out(everything, data | {newest.node: content})
            elif newest is not None and not isinstance(newest, Synced):
                for listing in self._selections(newest.folder):
                    yield self._laid_out(names | {newest.folder: listing}, data)
        for _ in range(samples):
            yield self._laid_out(
                {node: self._some_listing(node) for node in self._folders},
                {node: self._some_content(node) for node in self._data},
            )

    def _content(self, node: int, is_whole: bool) -> bytes:
        return _applied(self._data[node], self._written.get(node, ())) if is_whole else self._data[node]

    def _listing(self, node: int, is_whole: bool) -> dict[str, int]:
        return _named(self._names[node], self._renamed.get(node, ())) if is_whole else self._names[node]

    def _torn(self, node: int) -> Iterator[bytes]:
        """What may be left of a file, its newest write in pieces."""
        calls = self._written.get(node, ())
        if not calls:
            return
        before, newest = _applied(self._data[node], calls[:-1]), calls[-1]
        yield before
        if isinstance(newest, Cut):
            return
        size = len(newest.data)
        places = set(range(1, size)) if size <= SMALL_BYTES else {*TELLING, size // 2, size - 1}
        for place in sorted(place for place in places if place < size):
            yield before + newest.data[:place]
        whole = before + newest.data
        for place in {0, 61, size // 2, size - 1}:
            if place < size:
                yield before + newest.data[:place] + bytes(size - place)
        yield before + self._random.randbytes(size)
        # An earlier block was not written yet, this one was.
        durable = len(self._data[node])
        if durable < len(before):
            yield whole[:durable] + bytes(len(before) - durable) + newest.data

    def _selections(self, folder: int) -> Iterator[dict[str, int]]:
        """Which of the names that are not synced may have changed: all but one, only one, all up to one."""
        calls = self._renamed.get(folder, ())
        for index, call in enumerate(calls):
            yield _named(self._names[folder], calls[:index])
            yield _named(self._names[folder], [call])
            yield _named(self._names[folder], [*calls[:index], *calls[index + 1 :]])

    def _some_listing(self, folder: int) -> dict[str, int]:
        calls = self._renamed.get(folder, ())
        if self._random.random() < 0.5:
            return _named(self._names[folder], calls[: self._random.randint(0, len(calls))])
        return _named(self._names[folder], [call for call in calls if self._random.random() < 0.5])

    def _some_content(self, node: int) -> bytes:
        calls = self._written.get(node, ())
        if not calls:
            return self._data[node]
        taken = calls[: self._random.randint(0, len(calls))]
        content = _applied(self._data[node], taken)
        if taken and isinstance(taken[-1], Wrote) and self._random.random() < 0.5:
            size = len(taken[-1].data)
            left = self._random.randint(0, size)
            content = content[: len(content) - size + left]
            if self._random.random() < 0.3:
                content += bytes(size - left)
        return content

    @staticmethod
    def _laid_out(names: Mapping[int, Mapping[str, int]], data: Mapping[int, bytes]) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}

        def walk(folder: int, prefix: str) -> None:
            for name, node in names[folder].items():
                if node in names:
                    found[prefix + name] = None
                    walk(node, prefix + name + "/")
                else:
                    found[prefix + name] = data[node]

        walk(ROOT, "")
        return found


def _named(names: Mapping[str, int], calls: Sequence[Made | Moved | Unlinked]) -> dict[str, int]:
    found = dict(names)
    for call in calls:
        if isinstance(call, Moved):
            if found.get(call.old) == call.node:
                del found[call.old]
            found[call.name] = call.node
        elif isinstance(call, Made):
            found[call.name] = call.node
        elif found.get(call.name) == call.node:
            del found[call.name]
    return found


def _applied(content: bytes, calls: Sequence[Wrote | Cut]) -> bytes:
    for call in calls:
        if isinstance(call, Wrote):
            content = content.ljust(call.start, b"\0")[: call.start] + call.data
        else:
            content = content.ljust(call.size_bytes, b"\0")[: call.size_bytes]
    return content


def all_remains(device: TracedDevice, *, samples: int = 0, since: int = 0, seed: int = 0) -> Iterator[Remains]:
    """What may be left after each call from ``since`` on, the beginning included."""
    cuts = PowerCuts(device.start, seed)
    newest: Call | None = None
    for count in range(len(device.calls) + 1):
        if count:
            newest = device.calls[count - 1]
            cuts.take(newest)
        if count >= since:
            for files in cuts.remains(newest, samples):
                yield Remains(count, files)
