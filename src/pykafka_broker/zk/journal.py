"""The embedded tree on disk: one file, a snapshot followed by the transactions since.

Layout (all numbers big-endian)::

    file         MAGIC, then entries; the first entry is a snapshot, the others are transactions
    entry        marker (4 bytes), length of payload (u32), CRC-32C of durable and payload (u32), durable (u64), payload
    transaction  zxid (i64), time in ms (i64), number of effects (u32), effects
    effect       kind (u8: 1 made, 2 wrote, 3 gone), owner (i64), lengths, path, data
    snapshot     zxid (i64), number of nodes (u32), nodes
    node         czxid, mzxid, created ms, owner (i64 each), version, births (u32 each), lengths, path, data
    lengths      of path (u16) and of data (i32, -1 null)

``durable`` is how much of the file was known to be on the disk when the entry was written. An entry that cannot be
read ends the file (a crash cut it short; nobody was told of it), unless a later entry claims that it was on the disk:
then the file has been damaged, and guessing would lose what was promised (``DamagedJournal``).

All of it blocks; who calls it from where is decided in ``zk/embedded.py``.
"""

from __future__ import annotations

import gc
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

from pykafka_broker.device import APPENDING, DEVICE, Device, write_all
from pykafka_broker.wire.checksum import crc32c
from pykafka_broker.zk.folder import FolderInUse, hold
from pykafka_broker.zk.tree import Effect, Entry, Gone, Made, Transaction, Tree, Wrote

MAGIC: Final = b"pykafka tree 1\n\0"
MARKER: Final = b"\xf0\x9f\x8c\xb2"
FILE: Final = "coordination.tree"
FRESH: Final = "coordination.tree.new"

_HEAD = struct.Struct(">4sIIQ")
_TRANSACTION = struct.Struct(">qqI")
_EFFECT = struct.Struct(">BqHi")
_SNAPSHOT = struct.Struct(">qI")
_NODE = struct.Struct(">qqqqIIHi")
_DURABLE = struct.Struct(">Q")
_MADE, _WROTE, _GONE = 1, 2, 3


class DamagedJournal(Exception):
    """The file has lost something that was on the disk before; ``position`` is the first byte not understood."""

    def __init__(self, path: Path, position: int) -> None:
        super().__init__(f"{path} is damaged at byte {position}; restore it from a backup or remove it to start anew")
        self.path = path
        self.position = position


JournalInUse = FolderInUse


class Journal:
    """The open file. After a failed ``sync`` or ``rewrite`` nothing is known of it any more: do not go on."""

    def __init__(self, directory: Path, device: Device = DEVICE) -> None:
        self._directory = directory
        self._device = device
        self._folder = -1
        self._file = -1
        self._unlisted: list[Path] = []
        self.size_bytes = 0
        self.durable_bytes = 0
        self.snapshot_bytes = 0

    @classmethod
    def open(cls, directory: Path, device: Device = DEVICE) -> tuple[Journal, Tree]:
        """Open or begin the journal there, and read the tree back.

        Raises ``JournalInUse``, ``DamagedJournal`` or ``OSError``.
        """
        journal = cls(directory, device)
        collecting = gc.isenabled()
        gc.disable()  # a large tree is all growth: looking for garbage meanwhile more than doubles the time
        try:
            return journal, journal._open()
        except BaseException:
            journal.close()
            raise
        finally:
            if collecting:
                gc.enable()

    @property
    def tail_bytes(self) -> int:
        """How much has been written since the snapshot."""
        return self.size_bytes - self.snapshot_bytes

    def append(self, transaction: Transaction) -> None:
        """Write the transaction behind the others, which makes it survive this process, though not yet the machine.

        When that fails the file is as before, and the ``OSError`` is raised.
        """
        entry = _entry(_written(transaction), self.durable_bytes)
        try:
            write_all(self._device, self._file, entry)
        except OSError:
            self._device.truncate(self._file, self.size_bytes)
            raise
        self.size_bytes += len(entry)

    def sync(self) -> None:
        """Make all that has been appended before this call survive the machine as well."""
        size = self.size_bytes
        self._device.sync_data(self._file)
        while self._unlisted:
            self._device.sync_names(self._unlisted[-1])
            self._unlisted.pop()
        self.durable_bytes = max(self.durable_bytes, size)

    def rewrite(self, tree: Tree) -> None:
        """Begin the file anew with a snapshot of the tree; nothing may be appended meanwhile.

        Where there is no room for a second file the first is kept, and synced.
        """
        content = MAGIC + _entry(_pictured(tree), 0)
        fresh = self._directory / FRESH
        try:
            self._write_whole(fresh, content)
        except OSError:
            with suppress(OSError):
                self._device.unlink(fresh)
            self.sync()
            return
        # Windows does not replace a file that is open.
        os.close(self._file)
        self._file = -1
        self._device.replace(fresh, self._directory / FILE)
        self._device.sync_names(self._directory)
        while self._unlisted:
            self._device.sync_names(self._unlisted.pop())
        self._file = self._device.open(self._directory / FILE, APPENDING)
        self.size_bytes = self.durable_bytes = self.snapshot_bytes = len(content)

    def _write_whole(self, path: Path, content: bytes) -> None:
        file = self._device.open(path, APPENDING | os.O_TRUNC)
        try:
            write_all(self._device, file, content)
            self._device.sync(file)
        finally:
            os.close(file)

    def close(self) -> None:
        """Let the file go; what was not synced is left to the machine."""
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._folder = -1

    def _open(self) -> Tree:
        if not self._directory.is_dir():
            self._directory.parent.mkdir(parents=True, exist_ok=True)
            self._device.make_folder(self._directory)
            self._unlisted.append(self._directory.parent)
        self._folder = hold(self._directory)
        path = self._directory / FILE
        content = path.read_bytes() if path.exists() else b""
        beginning = MAGIC + _entry(_pictured(Tree()), 0)
        if len(content) < len(beginning) and beginning.startswith(content):
            return self._begin(beginning)
        self._file = self._device.open(path, APPENDING)
        tree = Tree()
        if not content.startswith(MAGIC):
            raise DamagedJournal(path, 0)
        payload, end = _read(content, len(MAGIC))
        if payload is None:
            raise DamagedJournal(path, len(MAGIC))
        _restore(tree, payload)
        self.snapshot_bytes = end
        while end < len(content):
            payload, after = _read(content, end)
            if payload is None:
                if _claimed(content, end) > end:
                    raise DamagedJournal(path, end)
                self._device.truncate(self._file, end)
                break
            _replay(tree, payload)
            end = after
        self.size_bytes = end
        return tree

    def _begin(self, beginning: bytes) -> Tree:
        self._write_whole(self._directory / FRESH, beginning)
        self._device.replace(self._directory / FRESH, self._directory / FILE)
        self._unlisted.append(self._directory)
        self._file = self._device.open(self._directory / FILE, APPENDING)
        self.size_bytes = self.snapshot_bytes = self.durable_bytes = len(beginning)
        return Tree()


def _entry(payload: bytes, durable: int) -> bytes:
    checked = _DURABLE.pack(durable) + payload
    return _HEAD.pack(MARKER, len(payload), crc32c(checked), durable) + payload


def _read(content: bytes, position: int) -> tuple[memoryview | None, int]:
    """The payload of the entry there and where it ends; no payload when there is no whole entry."""
    start = position + _HEAD.size
    if start > len(content):
        return None, position
    marker, length, crc, _ = _HEAD.unpack_from(content, position)
    end = start + length
    if marker != MARKER or end > len(content):
        return None, position
    view = memoryview(content)
    if crc32c(view[start - _DURABLE.size : end]) != crc:
        return None, position
    return view[start:end], end


def _claimed(content: bytes, position: int) -> int:
    """The most of the file that an entry behind ``position`` says was on the disk."""
    claimed = 0
    while (position := content.find(MARKER, position + 1)) >= 0:
        payload, _ = _read(content, position)
        if payload is not None:
            claimed = max(claimed, _HEAD.unpack_from(content, position)[3])
    return claimed


def _written(transaction: Transaction) -> bytes:
    parts = [_TRANSACTION.pack(transaction.zxid, transaction.now_ms, len(transaction.effects))]
    for effect in transaction.effects:
        path = effect.path.encode()
        data: bytes | None = None
        kind, owner = _GONE, 0
        if isinstance(effect, Made):
            kind, owner, data = _MADE, effect.owner, effect.data
        elif isinstance(effect, Wrote):
            kind, data = _WROTE, effect.data
        parts.append(_EFFECT.pack(kind, owner, len(path), -1 if data is None else len(data)))
        parts.append(path)
        parts.append(data or b"")
    return b"".join(parts)


def _replay(tree: Tree, payload: memoryview) -> None:
    zxid, now_ms, count = _TRANSACTION.unpack_from(payload)
    position = _TRANSACTION.size
    effects: list[Effect] = []
    for _ in range(count):
        kind, owner, path_bytes, data_bytes = _EFFECT.unpack_from(payload, position)
        position += _EFFECT.size
        path, data, position = _named(payload, position, path_bytes, data_bytes)
        if kind == _MADE:
            effects.append(Made(path, data, owner))
        elif kind == _WROTE:
            effects.append(Wrote(path, data))
        else:
            effects.append(Gone(path))
    tree.replay(zxid, now_ms, effects)


def _pictured(tree: Tree) -> bytes:
    parts = [_SNAPSHOT.pack(tree.zxid, len(tree))]
    for path, entry in tree.entries():
        name = path.encode()
        data = entry.data
        parts.append(
            _NODE.pack(
                entry.czxid,
                entry.mzxid,
                entry.created_ms,
                entry.owner,
                entry.version,
                entry.births,
                len(name),
                -1 if data is None else len(data),
            )
        )
        parts.append(name)
        parts.append(data or b"")
    return b"".join(parts)


def _restore(tree: Tree, payload: memoryview) -> None:
    tree.zxid, count = _SNAPSHOT.unpack_from(payload)
    position = _SNAPSHOT.size
    for _ in range(count):
        czxid, mzxid, created_ms, owner, version, births, path_bytes, data_bytes = _NODE.unpack_from(payload, position)
        position += _NODE.size
        path, data, position = _named(payload, position, path_bytes, data_bytes)
        tree.put(path, Entry(data, czxid, mzxid, version, created_ms, owner, births, set()))


def _named(payload: memoryview, position: int, path_bytes: int, data_bytes: int) -> tuple[str, bytes | None, int]:
    middle = position + path_bytes
    path = str(payload[position:middle], "utf-8")
    if data_bytes < 0:
        return path, None, middle
    end = middle + data_bytes
    return path, bytes(payload[middle:end]), end
