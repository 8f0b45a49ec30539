"""The coordination port without ZooKeeper: a tree in the process, kept on disk, for a broker that starts alone.

An answer is given when the change is on the disk; a read waits until what it saw is. Changes that are waiting together
share one fsync. Ephemeral nodes go when their session is closed, and all of them when the tree is opened again, however
the process ended. What the tree allows is decided in ``zk/tree.py``, how it is written in ``zk/journal.py``.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import NoReturn, Protocol

import trio

from pykafka_broker.device import DEVICE, Device
from pykafka_broker.zk.journal import Journal
from pykafka_broker.zk.paths import checked, lineage, parent_of, under
from pykafka_broker.zk.port import (
    Change,
    Changes,
    Coordination,
    Create,
    Delete,
    Done,
    House,
    Node,
    Replace,
    SessionLost,
    Stat,
)
from pykafka_broker.zk.spans import run_until
from pykafka_broker.zk.tree import Transaction, Tree, Wrote

log = logging.getLogger(__name__)

TRY_AGAIN_AFTER_S = 1.0
"""How often a change is tried again while the disk is full."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

REWRITE_AT_BYTES = 256 * 1024
"""The journal is written anew when it has grown by this much, and by as much again as the tree itself takes."""


class InWorker(Protocol):
    """Runs blocking work away from the event loop and returns when it is done."""

    async def __call__(self, work: Callable[[], None]) -> None: ...


class _Bell:
    """One open watch."""

    def __init__(self, session: EmbeddedSession) -> None:
        self._session = session
        self._rung = trio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self) -> None:
        await self._rung.wait()
        self._session.insist()
        self._rung = trio.Event()


class Grove:
    """The tree with its journal and those who watch it; sessions come and go in it."""

    def __init__(self, journal: Journal, tree: Tree, in_worker: InWorker, clock: Callable[[], int]) -> None:
        self._journal = journal
        self._tree = tree
        self._in_worker = in_worker
        self._clock = clock
        self._durable_zxid = 0
        self._busy: trio.Event | None = None
        self._rewriting = False
        self._gatherings = 0
        self._is_full = False
        self._data_bells: dict[str, set[_Bell]] = {}
        self._child_bells: dict[str, set[_Bell]] = {}
        self.failure: BaseException | None = None
        self.failed = trio.Event()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[EmbeddedSession]:
        """A session of its own; its ephemeral nodes go with it."""
        session = self.open_session()
        try:
            yield session
        finally:
            with trio.CancelScope(shield=True):
                await self.close_session(session)

    def open_session(self) -> EmbeddedSession:
        """Begin a session; its id is the transaction that began it."""
        return EmbeddedSession(self, self._record(self._tree.drop((), self._clock())))

    async def close_session(self, session: EmbeddedSession) -> None:
        """End a session: nothing more can be asked of it, and its ephemeral nodes are gone."""
        if session.ended:
            return
        session.ended = True
        await self.writable()
        if self.failure is None:
            try:
                zxid = self._record(self._tree.drop(self._tree.ephemerals(session.session_id), self._clock()))
            except OSError as error:
                # On a full disk the ephemeral nodes stay until the tree is opened again.
                if error.errno not in _FULL:
                    raise
            else:
                await self.lasting(zxid)
        for bells in (*self._data_bells.values(), *self._child_bells.values()):
            for bell in bells:
                bell.ring()

    def clear(self) -> None:
        """Remove the ephemeral nodes of sessions that ended with their process."""
        if left := self._tree.ephemerals():
            self._record(self._tree.drop(left, self._clock()))

    async def writable(self) -> Tree:
        """The tree, at a moment when it may be changed: decide and change before the next ``await``."""
        while self._rewriting and self._busy is not None:
            await self._busy.wait()
        return self._tree

    async def change(self, changes: Sequence[Change], session: EmbeddedSession) -> tuple[Done, ...]:
        """Make all of the changes or none, and wait until they are on the disk: as long as that is full, too."""
        while True:
            await self.writable()
            session.insist()
            transaction = self._tree.change(changes, session.session_id, self._clock())
            try:
                if transaction.effects:
                    self._record(transaction)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                if not self._is_full:
                    log.error("topics and settings cannot be changed until the disk has room: %s", error.strerror)
                self._is_full = True
                await trio.sleep(TRY_AGAIN_AFTER_S)
            else:
                break
        if transaction.effects:
            self._is_full = False
        await self.lasting(transaction.zxid)
        return transaction.done

    async def look(self, session: EmbeddedSession) -> Tree:
        """The tree as it is on the disk."""
        session.insist()
        await self.lasting(self._tree.zxid)
        return self._tree

    @asynccontextmanager
    async def gathered(self) -> AsyncIterator[None]:
        """Answer at once, and make all of it lasting on the way out."""
        self._gatherings += 1
        try:
            yield
        finally:
            self._gatherings -= 1
            with trio.CancelScope(shield=True):
                await self.lasting(self._tree.zxid)

    @contextmanager
    def watching(self, path: str, children: bool, session: EmbeddedSession) -> Iterator[Changes]:
        """Ring for the changes of one node."""
        bells = self._child_bells if children else self._data_bells
        bell = _Bell(session)
        bells.setdefault(path, set()).add(bell)
        try:
            yield bell
        finally:
            here = bells[path]
            here.discard(bell)
            if not here:
                del bells[path]

    async def lasting(self, zxid: int) -> None:
        """Return when everything up to that transaction is on the disk; whoever comes first syncs for all."""
        await trio.lowlevel.checkpoint()
        while self._durable_zxid < zxid and not self._gatherings:
            if self.failure is not None:
                raise SessionLost("the embedded tree cannot be kept on disk any more") from self.failure
            if self._busy is not None:
                await self._busy.wait()
            else:
                await self._sync()

    async def settle(self) -> None:
        """Leave everything on the disk, and little to replay at the next start."""
        while self._busy is not None:
            await self._busy.wait()
        long = self._journal.tail_bytes > REWRITE_AT_BYTES // 8 + self._journal.snapshot_bytes
        if self.failure is None and (long or self._durable_zxid < self._tree.zxid):
            await self._sync(rewrite_at=REWRITE_AT_BYTES // 8)

    async def _sync(self, rewrite_at: int = REWRITE_AT_BYTES) -> None:
        self._busy = trio.Event()
        target = self._tree.zxid
        journal = self._journal
        self._rewriting = journal.tail_bytes > rewrite_at + journal.snapshot_bytes
        try:
            with trio.CancelScope(shield=True):
                if self._rewriting:
                    await self._in_worker(lambda: journal.rewrite(self._tree))
                else:
                    await self._in_worker(journal.sync)
            self._durable_zxid = target
        except BaseException as error:
            self.failure = error
            self.failed.set()
            raise
        finally:
            self._rewriting = False
            self._busy.set()
            self._busy = None

    def _record(self, transaction: Transaction) -> int:
        try:
            self._journal.append(transaction)
        except OSError:
            self._tree.undo(transaction)
            raise
        for effect in transaction.effects:
            path = effect.path
            self._ring(self._data_bells, path)
            if not isinstance(effect, Wrote):
                self._ring(self._child_bells, path)
                self._ring(self._child_bells, parent_of(path))
        return transaction.zxid

    def _ring(self, bells: dict[str, set[_Bell]], path: str) -> None:
        for bell in bells.get(path, ()):
            bell.ring()


class EmbeddedSession:
    """One session of the embedded tree (``Coordination``).

    While the disk is full a change waits, as it waits for an ensemble that is away. Besides the port's errors it may
    raise ``OSError`` when the disk fails otherwise.
    """

    def __init__(self, grove: Grove, session_id: int) -> None:
        self._grove = grove
        self.session_id = session_id
        self.ended = False

    def insist(self) -> None:
        """``SessionLost`` when the session has ended."""
        if self.ended or self._grove.failure is not None:
            raise SessionLost("the session has ended") from self._grove.failure

    async def read(self, path: str) -> Node:
        return (await self._grove.look(self)).read(checked(path))

    async def children(self, path: str) -> tuple[str, ...]:
        return (await self._grove.look(self)).children(checked(path))

    async def create(
        self, path: str, data: bytes | None = None, *, ephemeral: bool = False, sequential: bool = False
    ) -> str:
        (made,) = await self._grove.change((Create(path, data, ephemeral, sequential),), self)
        assert isinstance(made, str)
        return made

    async def ensure(self, path: str) -> None:
        tree = await self._grove.writable()
        await self._grove.change([Create(each) for each in lineage(checked(path)) if not tree.has(each)], self)

    async def replace(self, path: str, data: bytes | None, expected: int = -1) -> Stat:
        (stat,) = await self._grove.change((Replace(path, data, expected),), self)
        assert isinstance(stat, Stat)
        return stat

    async def delete(self, path: str, expected: int = -1) -> None:
        await self._grove.change((Delete(path, expected),), self)

    async def delete_tree(self, path: str) -> None:
        tree = await self._grove.writable()
        if tree.has(checked(path)):
            await self._grove.change([Delete(each) for each in reversed(_below(tree, path))], self)

    async def together(self, changes: Sequence[Change]) -> tuple[Done, ...]:
        return await self._grove.change(changes, self)

    def watching_data(self, path: str) -> AbstractAsyncContextManager[Changes]:
        return self._watching(path, children=False)

    def watching_children(self, path: str) -> AbstractAsyncContextManager[Changes]:
        return self._watching(path, children=True)

    @asynccontextmanager
    async def _watching(self, path: str, children: bool) -> AsyncIterator[Changes]:
        self.insist()
        with self._grove.watching(checked(path), children, self) as changes:
            yield changes


class EmbeddedHouse(EmbeddedSession):
    """The embedded tree as a house (``House``): one session, from the start of the process to its end."""

    async def during_sessions(self, serve: Callable[[Coordination], Awaitable[None]]) -> NoReturn:
        await run_until(self._grove.failed.wait, lambda: serve(self), forgiving=SessionLost)
        await self._grove.failed.wait()
        assert self._grove.failure is not None
        raise self._grove.failure

    def gathered(self) -> AbstractAsyncContextManager[None]:
        return self._grove.gathered()


@asynccontextmanager
async def open_grove(
    directory: Path, *, in_worker: InWorker, clock: Callable[[], int], device: Device = DEVICE
) -> AsyncIterator[Grove]:
    """Open the tree kept in ``directory``; raises ``JournalInUse``, ``DamagedJournal`` or ``OSError``."""
    journal, tree = Journal.open(directory, device)
    try:
        grove = Grove(journal, tree, in_worker, clock)
        grove.clear()
        try:
            yield grove
        finally:
            with trio.CancelScope(shield=True):
                await grove.settle()
    finally:
        journal.close()


@asynccontextmanager
async def open_embedded(directory: Path, *, in_worker: InWorker, clock: Callable[[], int]) -> AsyncIterator[House]:
    """Open the tree kept in ``directory`` with the one session that it has; ``clock`` gives milliseconds since 1970.

    Raises ``JournalInUse``, ``DamagedJournal`` or ``OSError``.
    """
    async with open_grove(directory, in_worker=in_worker, clock=clock) as grove:
        house = EmbeddedHouse(grove, grove.open_session().session_id)
        try:
            yield house
        finally:
            with trio.CancelScope(shield=True):
                await grove.close_session(house)


def _below(tree: Tree, path: str) -> list[str]:
    """The node and all below it, parents first."""
    found = [path]
    for each in found:
        found.extend(under(each, name) for name in tree.children(each))
    return found
