"""The coordination port: what the broker needs of ZooKeeper, and no more.

Two houses stand behind it: ``zk/session.py`` (a real ensemble through kazoo) and ``zk/embedded.py`` (a tree in the
process, kept on disk). Paths are absolute and relative to the chroot. Every method that waits may raise
``SessionLost``; a tree error is one of the exceptions below and leaves the tree as it was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, Protocol

from msgspec import Struct


class CoordinationError(Exception):
    """A request that the tree refused; ``path`` is what it was about."""

    def __init__(self, path: str = "") -> None:
        super().__init__(path)
        self.path = path


class NoNode(CoordinationError):
    """The node is not there."""


class NodeExists(CoordinationError):
    """The node is there already."""


class BadVersion(CoordinationError):
    """The node has another version than the one expected: somebody wrote first."""


class NotEmpty(CoordinationError):
    """The node still has children."""


class ParentIsEphemeral(CoordinationError):
    """The parent is an ephemeral node, which cannot have children."""


class NodeTooLarge(CoordinationError):
    """The data is longer than ``MAX_DATA_BYTES``; ZooKeeper would hang up on whoever sends it."""


class NotAllowed(CoordinationError):
    """The node is not ours to read or change: the ensemble goes by the credentials that it was shown."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path)
        self._reason = reason

    def __str__(self) -> str:
        return f"ZooKeeper does not let us at {self.path}: {self._reason}"


class SessionLost(Exception):
    """The session has ended, and its ephemeral nodes with it; nothing more can be asked of it."""


MAX_DATA_BYTES = 0xF0000
"""The most a node may hold: ZooKeeper's ``jute.maxbuffer`` (1 MB) with room for the rest of the request."""


class Stat(Struct, frozen=True):
    """What the tree knows of a node besides its data (ZooKeeper's ``Stat``)."""

    czxid: int
    mzxid: int
    version: int
    created_ms: int
    ephemeral_owner: int
    """The session id that owns an ephemeral node, 0 for a persistent one."""


class Node(Struct, frozen=True):
    """A node's data (``None`` is not the same as ``b""``: Java reads it as "no value") and its stat."""

    data: bytes | None
    stat: Stat


class Create(Struct, frozen=True):
    """Make a node; its parent must be there. A sequential node gets ten digits behind its name."""

    path: str
    data: bytes | None = None
    ephemeral: bool = False
    sequential: bool = False


class Replace(Struct, frozen=True):
    """Write a node's data if its version is ``expected`` (-1: whatever it is)."""

    path: str
    data: bytes | None
    expected: int = -1


class Delete(Struct, frozen=True):
    """Remove a node without children if its version is ``expected`` (-1: whatever it is)."""

    path: str
    expected: int = -1


class Check(Struct, frozen=True):
    """Insist that a node has this version; changes nothing."""

    path: str
    expected: int


Change = Create | Replace | Delete | Check
Done = str | Stat | None
"""What a change gave: ``Create`` the path made, ``Replace`` the new stat, ``Delete`` and ``Check`` nothing."""


class Changes(Protocol):
    """A standing watch. It says "look again", never what changed; changes that come fast are told once."""

    async def wait(self) -> None:
        """Return once something may have changed since the last return (or since the watch was opened)."""
        ...


class Coordination(Protocol):
    """The port itself."""

    @property
    def session_id(self) -> int:
        """The session that owns the ephemeral nodes made here."""
        ...

    async def read(self, path: str) -> Node:
        """The node's data and stat; ``NoNode`` when it is not there."""
        ...

    async def children(self, path: str) -> tuple[str, ...]:
        """The names of the children, sorted; ``NoNode`` when the parent is not there."""
        ...

    async def create(
        self, path: str, data: bytes | None = None, *, ephemeral: bool = False, sequential: bool = False
    ) -> str:
        """Make a node and return its path; ``NodeExists``, or ``NoNode`` when its parent is missing."""
        ...

    async def ensure(self, path: str) -> None:
        """Make a persistent node with null data, and its parents, where they are missing."""
        ...

    async def replace(self, path: str, data: bytes | None, expected: int = -1) -> Stat:
        """Write the data; ``NoNode`` or ``BadVersion``."""
        ...

    async def delete(self, path: str, expected: int = -1) -> None:
        """Remove the node; ``NoNode``, ``BadVersion`` or ``NotEmpty``."""
        ...

    async def delete_tree(self, path: str) -> None:
        """Remove the node and all below it; nothing when it is not there."""
        ...

    async def together(self, changes: Sequence[Change]) -> tuple[Done, ...]:
        """All of the changes in one transaction, or none; raises the first refusal, with its path."""
        ...

    def watching_data(self, path: str) -> AbstractAsyncContextManager[Changes]:
        """Told when the node is created, written or deleted; it need not be there."""
        ...

    def watching_children(self, path: str) -> AbstractAsyncContextManager[Changes]:
        """Told when a child of the node comes or goes, or the node itself does; it need not be there."""
        ...


class House(Coordination, Protocol):
    """Where sessions come from, one after the other.

    Used as a ``Coordination`` it speaks through the session of the moment, and waits for one where there is none: right
    for a request of a client, which has its own time limit. What must end with a session (registration, candidacy,
    watching) belongs into ``during_sessions``.
    """

    async def during_sessions(self, serve: Callable[[Coordination], Awaitable[None]]) -> NoReturn:
        """Run ``serve`` for each session in turn, in a scope that is cancelled when that session is lost.

        When it returns by itself, the next call comes with the next session. ``SessionLost`` raised by it counts as
        the loss of its session; anything else goes on to the caller.
        """
        ...

    def gathered(self) -> AbstractAsyncContextManager[None]:
        """Answer writes at once and make them lasting together on the way out.

        For the start of a broker, when nobody has been told anything yet; a real ensemble goes on as ever.
        """
        ...
