"""A device that writes down every call, and what a power cut after any of them may leave of its files.

The model is that of POSIX, as in "All File Systems Are Not Created Equal" (ALICE, 2014). What was written to a file
since its last sync may be there up to some write, the last of them perhaps in part, cut at any byte, or as zeros or
rubbish of the right length; each file on its own. What may be left of names (made, moved, removed) depends on the file
system: ``Names`` has both kinds. A call that fails has done nothing or half of it.
"""

from __future__ import annotations

import errno
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
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


Naming = Made | Moved | Unlinked
Call = Naming | Wrote | Cut | Synced
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


class Names(Enum):
    """What becomes of names (made, moved, removed) that are not synced yet."""

    ANY = "in any selection"
    """Any selection of them has happened, in their order: all that POSIX promises."""
    IN_ORDER = "in their order"
    """All up to one of them have, as on a file system with a journal (ext4, XFS); cuts of files are in it, too."""


class Share:
    """Takes a share of what comes along, by chance but the same whenever it is asked; ``seen`` counts all."""

    def __init__(self, share: float = 1.0, seed: int = 0) -> None:
        self.seen = 0
        self._random = Random(seed)
        self._share = share
        self._next = self._gap()

    def of(self, count: int) -> Iterator[int]:
        """The indices of those to take, of ``count`` that are next."""
        self.seen += count
        while self._next < count:
            yield int(self._next)
            self._next += 1 + self._gap()
        self._next -= count

    def _gap(self) -> float:
        if self._share >= 1:
            return 0
        if self._share <= 0:
            return math.inf
        return math.log(1 - self._random.random()) // math.log(1 - self._share)


class _Naming(NamedTuple):
    """Names as they may be found."""

    names: Mapping[int, Mapping[str, int]]
    cuts: Mapping[int, int]
    """With names in order: how often each file has been cut since it was synced."""
    is_alone: bool = False
    """Whether files are not looked at one by one, because other names are when they are."""


class PowerCuts:
    """What is on the device and what may be, call after call."""

    def __init__(self, start: Files, names: Names = Names.ANY, seed: int = 0) -> None:
        self._random = Random(seed)
        self._kind = names
        self._names: dict[int, dict[str, int]] = {ROOT: {}}
        self._data: dict[int, bytes] = {}
        self._folder_of: dict[int, int] = {}
        self._written: dict[int, list[Wrote | Cut]] = {}
        self._renamed: dict[int, list[Naming]] = {}
        """By folder; with names in any selection."""
        self._journal: list[Naming | Cut] = []
        """With names in order."""
        self._ways_known: dict[tuple[int, int, int], list[bytes]] = {}
        next_node = 1
        nodes: dict[str, int] = {".": ROOT}
        for path, content in sorted(start.items()):
            folder, name = nodes[os.path.dirname(path) or "."], os.path.basename(path)
            nodes[path] = self._names[folder][name] = next_node
            self._folder_of[next_node] = folder
            if content is None:
                self._names[next_node] = {}
            else:
                self._data[next_node] = content
            next_node += 1

    def take(self, call: Call) -> None:
        """One call more has returned."""
        if isinstance(call, Synced):
            self._sync(call)
            return
        if isinstance(call, Wrote | Cut):
            self._written.setdefault(call.node, []).append(call)
        elif isinstance(call, Made):
            self._folder_of[call.node] = call.folder
            if call.is_folder:
                self._names[call.node] = {}
            else:
                self._data[call.node] = b""
        if isinstance(call, Wrote):
            return
        if self._kind is Names.IN_ORDER:
            self._journal.append(call)
        elif not isinstance(call, Cut):
            self._renamed.setdefault(call.folder, []).append(call)

    def _sync(self, call: Synced) -> None:
        if self._kind is Names.IN_ORDER:
            # The journal is on the device up to where it tells of what was synced.
            told = [index for index, entry in enumerate(self._journal, 1) if _tells_of(entry, call)]
            last = told[-1] if told else 0
            cuts: Counter[int] = Counter()
            for entry in self._journal[:last]:
                if isinstance(entry, Cut):
                    cuts[entry.node] += 1
                else:
                    _rename(self._names[entry.folder], entry)
            for node, count in cuts.items():
                self._settle(node, _after_cuts(self._written[node], count))
            del self._journal[:last]
        elif call.is_folder:
            for entry in self._renamed.pop(call.node, ()):
                _rename(self._names[call.node], entry)
        if not call.is_folder:
            self._settle(call.node, len(self._written.get(call.node, ())))

    def _settle(self, node: int, count: int) -> None:
        """So much of what was written to a file is on the device."""
        calls = self._written.get(node, [])
        self._data[node] = _applied(self._data[node], calls[:count])
        del calls[:count]
        self._ways_known = {key: ways for key, ways in self._ways_known.items() if key[0] != node}

    def remains(self, newest: Call | None, whole: Share, torn: Share, samples: int = 0) -> Iterator[Files]:
        """What may be left now.

        Of the many combinations those are given in which all files have lost everything or nothing (a share of them as
        ``whole`` says), or one file differs from the others, in each way (``torn``); with these, each way in which
        names may be. And ``samples`` of others.
        """
        for naming in self._namings(newest):
            ways = {node: self._ways(node, *self._bounds(node, naming.cuts)) for node in self._unsettled(naming)}
            several = [] if naming.is_alone else [(node, found) for node, found in ways.items() if len(found) > 1]
            for which in (0, -1):
                for _ in whole.of(1):
                    yield self._laid_out(naming, {node: found[which] for node, found in ways.items()})
                for index in torn.of(sum(len(found) - 1 for _, found in several)):
                    content = {node: found[which] for node, found in ways.items()}
                    left = index
                    for node, found in several:
                        if left < len(found) - 1:
                            content[node] = found[left if which else left + 1]
                            break
                        left -= len(found) - 1
                    yield self._laid_out(naming, content)
        for _ in whole.of(samples):
            naming = self._some_naming()
            yield self._laid_out(
                naming,
                {
                    node: self._random.choice(self._ways(node, *self._bounds(node, naming.cuts)))
                    for node in self._unsettled(naming)
                },
            )

    def _unsettled(self, naming: _Naming) -> list[int]:
        """Files that have names, and of which not everything is on the device."""
        return [
            node
            for node, calls in self._written.items()
            if calls and node in naming.names[self._folder_of[node]].values()
        ]

    def _laid_out(self, naming: _Naming, content: Mapping[int, bytes]) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}

        def walk(folder: int, prefix: str) -> None:
            for name, node in naming.names[folder].items():
                if node in naming.names:
                    found[prefix + name] = None
                    walk(node, prefix + name + "/")
                else:
                    found[prefix + name] = content.get(node, self._data[node])

        walk(ROOT, "")
        return found

    def _namings(self, newest: Call | None) -> Iterator[_Naming]:
        if self._kind is Names.IN_ORDER:
            for count in range(len(self._journal) + 1):
                yield self._naming_up_to(count)
            return
        everything = {folder: self._named(folder) for folder in self._names}
        yield _Naming(self._names, {})
        yield _Naming(everything, {})
        if isinstance(newest, Made | Moved | Unlinked):
            folder, calls = newest.folder, self._renamed[newest.folder]
            for index, call in enumerate(calls):
                # All before it, it alone, all but it.
                for some in (calls[:index], [call], [*calls[:index], *calls[index + 1 :]]):
                    for others in (self._names, everything):
                        yield _Naming({**others, folder: self._named(folder, some)}, {}, is_alone=True)

    def _naming_up_to(self, count: int) -> _Naming:
        names = {folder: dict(found) for folder, found in self._names.items()}
        cuts: Counter[int] = Counter()
        for entry in self._journal[:count]:
            if isinstance(entry, Cut):
                cuts[entry.node] += 1
            else:
                _rename(names[entry.folder], entry)
        return _Naming(names, cuts)

    def _some_naming(self) -> _Naming:
        if self._kind is Names.IN_ORDER:
            return self._naming_up_to(self._random.randint(0, len(self._journal)))
        return _Naming({folder: self._named(folder, self._some_of(folder)) for folder in self._names}, {})

    def _some_of(self, folder: int) -> Sequence[Naming]:
        calls = self._renamed.get(folder, ())
        if self._random.random() < 0.5:
            return calls[: self._random.randint(0, len(calls))]
        return [call for call in calls if self._random.random() < 0.5]

    def _named(self, folder: int, calls: Sequence[Naming] | None = None) -> dict[str, int]:
        names = dict(self._names[folder])
        for call in self._renamed.get(folder, ()) if calls is None else calls:
            _rename(names, call)
        return names

    def _bounds(self, node: int, cuts: Mapping[int, int]) -> tuple[int, int]:
        """The least and the most of what was written to a file since it was synced that may be there."""
        calls = self._written.get(node, ())
        if self._kind is Names.ANY:
            return 0, len(calls)
        low = _after_cuts(calls, cuts.get(node, 0))
        return low, next((index for index in range(low, len(calls)) if isinstance(calls[index], Cut)), len(calls))

    def _ways(self, node: int, low: int, high: int) -> list[bytes]:
        """What may be left of a file: nothing new first, everything last."""
        known = self._ways_known.get((node, low, high))
        if known is not None:
            return known
        calls = self._written.get(node, ())
        found = [_applied(self._data[node], calls[:low])]
        durable = len(found[0])
        for call in calls[low:high]:
            before = found[-1]
            if isinstance(call, Wrote):
                found += self._torn(before, durable, call.data)
            else:
                durable = min(durable, call.size_bytes)
            found.append(_applied(before, [call]))
        self._ways_known[node, low, high] = found
        return found

    def _torn(self, before: bytes, durable: int, data: bytes) -> Iterator[bytes]:
        """What may be left of a file when a write to it was not finished."""
        size = len(data)
        places = range(1, size) if size <= SMALL_BYTES else sorted({*TELLING, size // 2, size - 1})
        for place in places:
            if place < size:
                yield before + data[:place]
                # The length was written down before the data was.
                yield before + data[:place] + bytes(size - place)
        yield before + bytes(size)
        yield before + Random(size).randbytes(size)
        if durable < len(before):
            # An earlier block was not written yet, this one was.
            yield before[:durable] + bytes(len(before) - durable) + data


def _tells_of(entry: Naming | Cut, call: Synced) -> bool:
    if call.is_folder:
        return not isinstance(entry, Cut) and entry.folder == call.node
    return entry.node == call.node


def _after_cuts(calls: Sequence[Wrote | Cut], cuts: int) -> int:
    """How many calls there are up to that many cuts."""
    return [index for index, call in enumerate(calls, 1) if isinstance(call, Cut)][cuts - 1] if cuts else 0


def _rename(names: dict[str, int], call: Naming) -> None:
    if isinstance(call, Moved):
        if names.get(call.old) == call.node:
            del names[call.old]
        names[call.name] = call.node
    elif isinstance(call, Made):
        names[call.name] = call.node
    elif names.get(call.name) == call.node:
        del names[call.name]


def _applied(content: bytes, calls: Sequence[Wrote | Cut]) -> bytes:
    for call in calls:
        if isinstance(call, Wrote):
            content = content.ljust(call.start, b"\0")[: call.start] + call.data
        else:
            content = content.ljust(call.size_bytes, b"\0")[: call.size_bytes]
    return content


def all_remains(
    device: TracedDevice,
    names: Names = Names.ANY,
    whole: Share | None = None,
    torn: Share | None = None,
    *,
    samples: int = 0,
    since: int = 0,
    seed: int = 0,
) -> Iterator[Remains]:
    """What may be left after each call from ``since`` on, the beginning included; all of it, or a share."""
    cuts = PowerCuts(device.start, names, seed)
    whole, torn = whole or Share(), torn or Share()
    newest: Call | None = None
    for count in range(len(device.calls) + 1):
        if count:
            newest = device.calls[count - 1]
            cuts.take(newest)
        if count >= since:
            for files in cuts.remains(newest, whole, torn, samples):
                yield Remains(count, files)
