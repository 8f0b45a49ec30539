"""ZooKeeper's tree in memory: versions, transaction ids, ephemeral and sequential nodes, all-or-nothing changes.

It decides, and neither waits nor keeps anything: ``zk/journal.py`` writes the effects down, ``zk/embedded.py`` tells
those who watch. Refusals come in the order in which ZooKeeper checks (``PrepRequestProcessor``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from pykafka_broker.zk.paths import checked, fitting, name_of, parent_of
from pykafka_broker.zk.port import (
    BadVersion,
    Change,
    Check,
    Create,
    Delete,
    Done,
    Node,
    NodeExists,
    NoNode,
    NotEmpty,
    ParentIsEphemeral,
    Replace,
    Stat,
)


class Made(NamedTuple):
    """A node came; ``owner`` is the session of an ephemeral one, else 0."""

    path: str
    data: bytes | None
    owner: int


class Wrote(NamedTuple):
    """A node got other data."""

    path: str
    data: bytes | None


class Gone(NamedTuple):
    """A node went."""

    path: str


Effect = Made | Wrote | Gone


class Entry(Struct):
    """A node as the tree keeps it."""

    data: bytes | None
    czxid: int
    mzxid: int
    version: int
    created_ms: int
    owner: int
    births: int
    """Children made so far, the gone ones included: the next sequential child's number."""
    children: set[str]

    @property
    def stat(self) -> Stat:
        """What callers are told."""
        return Stat(self.czxid, self.mzxid, self.version, self.created_ms, self.owner)


class Transaction(Struct, frozen=True):
    """What one change did to the tree: enough to write it down, to tell watchers, and to take it back."""

    zxid: int
    now_ms: int
    effects: tuple[Effect, ...]
    done: tuple[Done, ...] = ()
    before: tuple[Entry | None, ...] = ()
    """For each effect the node's entry before it, ``None`` where there was none."""


class Tree:
    """The nodes, and the number of the last transaction."""

    __slots__ = ("_nodes", "zxid")

    def __init__(self) -> None:
        self._nodes: dict[str, Entry] = {"/": Entry(None, 0, 0, 0, 0, 0, 0, set())}
        self.zxid = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def read(self, path: str) -> Node:
        """The node; ``NoNode``."""
        entry = self._at(path)
        return Node(entry.data, entry.stat)

    def children(self, path: str) -> tuple[str, ...]:
        """The names of the children, sorted; ``NoNode``."""
        return tuple(sorted(self._at(path).children))

    def has(self, path: str) -> bool:
        """Whether the node is there."""
        return path in self._nodes

    def ephemerals(self, owner: int | None = None) -> tuple[str, ...]:
        """The ephemeral nodes of one session, or of all."""
        return tuple(
            path for path, entry in self._nodes.items() if entry.owner and (owner is None or entry.owner == owner)
        )

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Every node, parents before their children."""
        return iter(self._nodes.items())

    def put(self, path: str, entry: Entry) -> None:
        """Take a node from a snapshot, in the order in which ``entries`` gave it."""
        self._nodes[path] = entry
        if path != "/":
            self._nodes[parent_of(path)].children.add(name_of(path))

    def change(self, changes: Sequence[Change], session_id: int, now_ms: int) -> Transaction:
        """Make all of the changes, under one transaction id, or none; raises the first refusal.

        What changes nothing (no changes, or only checks) takes no transaction id.
        """
        effects: list[Effect] = []
        before: list[Entry | None] = []
        done: list[Done] = []
        zxid = self.zxid + 1
        try:
            for change in changes:
                effect = self._decided(change, session_id)
                if effect is not None:
                    before.append(self._apply(effect, zxid, now_ms))
                    effects.append(effect)
                match effect:
                    case Made(path):
                        done.append(path)
                    case Wrote(path):
                        done.append(self._nodes[path].stat)
                    case _:
                        done.append(None)
        except BaseException:
            self._revert(effects, before)
            raise
        if effects:
            self.zxid = zxid
        return Transaction(self.zxid, now_ms, tuple(effects), tuple(done), tuple(before))

    def drop(self, paths: Iterable[str], now_ms: int) -> Transaction:
        """Remove nodes without children, whatever their versions: what the end of a session leaves behind."""
        zxid = self.zxid + 1
        effects = tuple(Gone(path) for path in paths)
        before = tuple(self._apply(effect, zxid, now_ms) for effect in effects)
        self.zxid = zxid
        return Transaction(zxid, now_ms, effects, before=before)

    def replay(self, zxid: int, now_ms: int, effects: Iterable[Effect]) -> None:
        """Do again what was written down."""
        for effect in effects:
            self._apply(effect, zxid, now_ms)
        self.zxid = zxid

    def undo(self, transaction: Transaction) -> None:
        """Take back the last transaction, which could not be written down."""
        self._revert(transaction.effects, transaction.before)
        self.zxid = transaction.zxid - 1

    def _at(self, path: str) -> Entry:
        try:
            return self._nodes[path]
        except KeyError:
            raise NoNode(path) from None

    def _decided(self, change: Change, session_id: int) -> Effect | None:
        path = checked(change.path)
        match change:
            case Create():
                if path == "/":
                    raise NodeExists(path)
                parent = self._at_parent(path)
                made = f"{path}{parent.births:010d}" if change.sequential else path
                if made in self._nodes:
                    raise NodeExists(path)
                if parent.owner:
                    raise ParentIsEphemeral(path)
                return Made(made, fitting(path, change.data), session_id if change.ephemeral else 0)
            case Replace():
                self._expect(path, change.expected)
                return Wrote(path, fitting(path, change.data))
            case Delete():
                if path == "/":
                    raise ValueError("the root cannot be deleted")
                if self._expect(path, change.expected).children:
                    raise NotEmpty(path)
                return Gone(path)
            case Check():
                self._expect(path, change.expected)
                return None

    def _at_parent(self, path: str) -> Entry:
        try:
            return self._nodes[parent_of(path)]
        except KeyError:
            raise NoNode(path) from None

    def _expect(self, path: str, expected: int) -> Entry:
        entry = self._at(path)
        if expected not in (-1, entry.version):
            raise BadVersion(path)
        return entry

    def _apply(self, effect: Effect, zxid: int, now_ms: int) -> Entry | None:
        match effect:
            case Made(path, data, owner):
                self._nodes[path] = Entry(data, zxid, zxid, 0, now_ms, owner, 0, set())
                parent = self._nodes[parent_of(path)]
                parent.children.add(name_of(path))
                parent.births += 1
                return None
            case Wrote(path, data):
                entry = self._nodes[path]
                self._nodes[path] = Entry(
                    data,
                    entry.czxid,
                    zxid,
                    entry.version + 1,
                    entry.created_ms,
                    entry.owner,
                    entry.births,
                    entry.children,
                )
                return entry
            case Gone(path):
                self._nodes[parent_of(path)].children.discard(name_of(path))
                return self._nodes.pop(path)

    def _revert(self, effects: Sequence[Effect], before: Sequence[Entry | None]) -> None:
        for effect, entry in zip(reversed(effects), reversed(before), strict=True):
            path = effect.path
            if entry is not None:
                self._nodes[path] = entry
            if isinstance(effect, Made):
                del self._nodes[path]
                parent = self._nodes[parent_of(path)]
                parent.children.discard(name_of(path))
                parent.births -= 1
            elif isinstance(effect, Gone):
                self._nodes[parent_of(path)].children.add(name_of(path))
