"""The coordination port on a real ZooKeeper ensemble, through kazoo.

``Ensemble`` keeps one session at a time, one after the other: a lost connection is waited out, a session that expired
is followed by a new one. ``ZkSession`` is the port on one of them. kazoo runs threads of its own
(``zk/connection.py``); ``zk/settle.py`` brings their results here, and nothing here blocks.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn, TypeVar

import trio
from kazoo import exceptions
from kazoo.client import KazooClient
from kazoo.interfaces import IAsyncResult
from kazoo.protocol import serialization
from kazoo.protocol.states import KazooState, KeeperState, ZnodeStat

from pykafka_broker.zk.acls import acls_of
from pykafka_broker.zk.connection import Threads
from pykafka_broker.zk.credentials import NOBODY, Credentials
from pykafka_broker.zk.doubt import outcome_of
from pykafka_broker.zk.paths import checked, fitting, lineage, under
from pykafka_broker.zk.port import (
    BadVersion,
    Change,
    Changes,
    Check,
    Coordination,
    CoordinationError,
    Create,
    Delete,
    Done,
    House,
    Node,
    NodeExists,
    NoNode,
    NotAllowed,
    NotEmpty,
    ParentIsEphemeral,
    Replace,
    SessionLost,
    Stat,
)
from pykafka_broker.zk.settle import from_thread, settled
from pykafka_broker.zk.spans import run_until

CLOSING_TIMEOUT_S = 5.0
"""How long to wait for the ensemble to take leave; then the session is left to expire."""
GIVING_UP_TIMEOUT_S = 0.5
"""The same where there is no session to take leave of."""
ANEW_AFTER_S = 1.0
"""How long to wait before connecting anew when kazoo has given up, as it does once credentials are not believed."""
ATTEMPTS_PER_SESSION = 4
"""How often a server may be asked to take a session over before that can have expired.

A server that is just starting may accept the question and never answer it; kazoo waits for the session's length divided
by the number of hosts, so a single host is listed several times.
"""

log = logging.getLogger(__name__)

_EPHEMERAL, _SEQUENTIAL = 1, 2
_REFUSALS: dict[type[Exception], type[CoordinationError]] = {
    exceptions.NoNodeError: NoNode,
    exceptions.NodeExistsError: NodeExists,
    exceptions.BadVersionError: BadVersion,
    exceptions.NotEmptyError: NotEmpty,
    exceptions.NoChildrenForEphemeralsError: ParentIsEphemeral,
}
_ENDS = (exceptions.SessionExpiredError, exceptions.ConnectionClosedError, exceptions.AuthFailedError)
_Answer = TypeVar("_Answer")


class ConnectionTimeout(Exception):
    """No server of the ensemble has answered in time (Kafka's ``ZooKeeperClientTimeoutException``)."""


class AuthenticationFailed(Exception):
    """The ensemble does not believe our credentials (Kafka's ``ZooKeeperClientAuthFailedException``)."""


class _AnswerLost(Exception):
    """The connection broke while a request was under way: it may have been carried out, or not."""


class _Watched:
    """One node watched in one way, for all who watch it: armed again by whoever asks next after it went off."""

    def __init__(self, arm: Callable[[Callable[[object], None]], Awaitable[None]]) -> None:
        self._arm = arm
        self._armed = False
        self._arming = trio.Lock()
        self._token = trio.lowlevel.current_trio_token()
        self._bells: set[trio.Event] = set()

    async def armed(self) -> None:
        async with self._arming:
            if not self._armed:
                self._armed = True
                try:
                    await self._arm(self._went_off_in_kazoo)
                except BaseException:
                    self._armed = False
                    raise

    def _went_off_in_kazoo(self, event: object) -> None:
        from_thread(self._token, self._went_off)

    def _went_off(self) -> None:
        self._armed = False
        for bell in self._bells:
            bell.set()
        self._bells.clear()

    def bell(self) -> trio.Event:
        bell = trio.Event()
        self._bells.add(bell)
        return bell

    def forget(self, bell: trio.Event) -> None:
        self._bells.discard(bell)


class _Watch:
    """One open watch on something watched."""

    def __init__(self, watched: _Watched) -> None:
        self._watched = watched
        self._bell = watched.bell()

    async def wait(self) -> None:
        await self._bell.wait()
        bell = self._watched.bell()
        try:
            await self._watched.armed()
        except BaseException:
            self._watched.forget(bell)  # the old one stays rung: whoever waits again arms again
            raise
        self._bell = bell

    def close(self) -> None:
        self._watched.forget(self._bell)


class ZkSession:
    """One session with the ensemble (``Coordination``)."""

    def __init__(
        self, client: KazooClient, guard: _Guard, session_id: int, root: str, in_flight: trio.Semaphore, secured: bool
    ) -> None:
        """``secured``: nodes are made so that only who has our credentials may change them."""
        self._client = client
        self._guard = guard
        self._root = root
        self._secured = secured
        self._in_flight = in_flight
        self._watched: dict[tuple[str, bool], _Watched] = {}
        self.session_id = session_id
        self.ended = trio.Event()

    async def read(self, path: str) -> Node:
        full = self._full(path)
        data, stat = await self._asked(path, lambda: self._client.get_async(full))
        return Node(data, _stat(stat))

    async def children(self, path: str) -> tuple[str, ...]:
        full = self._full(path)
        return tuple(sorted(await self._asked(path, lambda: self._client.get_children_async(full))))

    async def create(
        self, path: str, data: bytes | None = None, *, ephemeral: bool = False, sequential: bool = False
    ) -> str:
        full = self._full(path)
        fitting(path, data)
        if path == "/":
            raise NodeExists(path)
        acls = acls_of(path, secured=self._secured)

        async def once() -> tuple[Done, ...]:
            made = await self._once(
                path,
                lambda: self._client.create_async(full, data, acls, ephemeral=ephemeral, sequence=sequential),
            )
            return (self._bare(made),)

        (made,) = await self._insisted((Create(path, data, ephemeral, sequential),), once)
        assert isinstance(made, str)
        return made

    async def ensure(self, path: str) -> None:
        missing = list(lineage(checked(path)))
        depth = len(missing) - 1
        while 0 <= depth < len(missing):
            try:
                await self.create(missing[depth])
            except NoNode:
                depth -= 1
            except NodeExists:
                depth += 1
            else:
                depth += 1

    async def replace(self, path: str, data: bytes | None, expected: int = -1) -> Stat:
        full = self._full(path)
        fitting(path, data)

        async def once() -> tuple[Done, ...]:
            return (_stat(await self._once(path, lambda: self._client.set_async(full, data, expected))),)

        (stat,) = await self._insisted((Replace(path, data, expected),), once)
        assert isinstance(stat, Stat)
        return stat

    async def delete(self, path: str, expected: int = -1) -> None:
        full = self._full(path)
        if path == "/":
            raise ValueError("the root cannot be deleted")

        async def once() -> tuple[Done, ...]:
            await self._once(path, lambda: self._client.delete_async(full, expected))
            return (None,)

        await self._insisted((Delete(path, expected),), once)

    async def delete_tree(self, path: str) -> None:
        while True:
            try:
                for name in await self.children(path):
                    await self.delete_tree(under(path, name))
                return await self.delete(path)
            except NoNode:
                return None
            except NotEmpty:
                continue

    async def together(self, changes: Sequence[Change]) -> tuple[Done, ...]:
        if not changes:
            return ()
        operations = [self._operation(change) for change in changes]

        async def once() -> tuple[Done, ...]:
            transaction = self._client.transaction()
            transaction.operations.extend(operations)
            results = await self._once("", transaction.commit_async)
            for change, result in zip(changes, results, strict=True):
                if isinstance(result, exceptions.RolledBackError | exceptions.RuntimeInconsistency):
                    continue
                if isinstance(result, Exception):
                    raise _refusal(change.path, result)
            return tuple(self._done(change, result) for change, result in zip(changes, results, strict=True))

        return await self._insisted(tuple(changes), once)

    def watching_data(self, path: str) -> AbstractAsyncContextManager[Changes]:
        return self._watching(path, children=False)

    def watching_children(self, path: str) -> AbstractAsyncContextManager[Changes]:
        return self._watching(path, children=True)

    def end(self) -> None:
        """The session is over: whoever waits for its end is told."""
        self.ended.set()

    @asynccontextmanager
    async def _watching(self, path: str, children: bool) -> AsyncIterator[Changes]:
        full = self._full(path)
        key = (path, children)
        if key not in self._watched:

            async def arm(tell: Callable[[object], None]) -> None:
                if not children:
                    await self._asked(path, lambda: self._client.exists_async(full, tell))
                    return
                there = True
                while there:  # it may come between the two questions
                    try:
                        await self._asked(path, lambda: self._client.get_children_async(full, tell))
                        return
                    except NoNode:
                        there = await self._asked(path, lambda: self._client.exists_async(full, tell)) is not None

            self._watched[key] = _Watched(arm)
        watched = self._watched[key]
        watch = _Watch(watched)
        try:
            await watched.armed()
            yield watch
        finally:
            watch.close()

    async def _asked(self, path: str, submit: Callable[[], IAsyncResult]) -> Any:
        """Ask what changes nothing, again and again until there is an answer."""
        while True:
            try:
                return await self._once(path, submit)
            except _AnswerLost:
                continue

    async def _insisted(
        self, changes: tuple[Change, ...], once: Callable[[], Awaitable[tuple[Done, ...]]]
    ) -> tuple[Done, ...]:
        """Ask for changes until there is an answer; see ``zk/doubt.py`` for those that were asked twice."""
        since = self._client.last_zxid
        repeated = False
        while True:
            try:
                return await once()
            except _AnswerLost:
                repeated = True
            except CoordinationError as refusal:
                if not repeated:
                    raise
                done = await outcome_of(changes, since, self.session_id, self.read, refusal.path)
                if done is None:
                    raise
                return done

    async def _once(self, path: str, submit: Callable[[], IAsyncResult]) -> Any:
        async with self._in_flight:
            pending = self._guard.submitted(self.session_id, submit)
            try:
                return await settled(pending)
            except (exceptions.ConnectionLoss, exceptions.OperationTimeoutError) as error:
                raise _AnswerLost from error
            except _ENDS as error:
                raise SessionLost("the session with ZooKeeper has ended") from error
            except exceptions.KazooException as error:
                raise _refusal(path, error) from error

    def _full(self, path: str) -> str:
        checked(path)
        return (self._root or "/") if path == "/" else self._root + path

    def _bare(self, full: str) -> str:
        return full[len(self._root) :]

    def _operation(self, change: Change) -> Any:
        full = self._full(change.path)
        match change:
            case Create(path, data, ephemeral, sequential):
                flags = _EPHEMERAL * ephemeral | _SEQUENTIAL * sequential
                return serialization.Create(full, fitting(path, data), acls_of(path, secured=self._secured), flags)
            case Replace(path, data, expected):
                return serialization.SetData(full, fitting(path, data), expected)
            case Delete(path, expected):
                if path == "/":
                    raise ValueError("the root cannot be deleted")
                return serialization.Delete(full, expected)
            case Check(_, expected):
                return serialization.CheckVersion(full, expected)

    def _done(self, change: Change, result: Any) -> Done:
        match change:
            case Create():
                return self._bare(result)
            case Replace():
                return _stat(result)
            case _:
                return None


class _Guard:
    """Keeps what was asked of one session from being sent in the next, which kazoo opens by itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session_id: int | None = None

    def admit(self, session_id: int | None) -> None:
        """Only requests of this session may be sent from now on; called on kazoo's thread."""
        with self._lock:
            self._session_id = session_id

    def submitted(self, session_id: int, submit: Callable[[], IAsyncResult]) -> IAsyncResult:
        with self._lock:
            if session_id != self._session_id:
                raise SessionLost("the session with ZooKeeper has ended")
            return submit()


class Ensemble:
    """A ZooKeeper ensemble as a house (``House``)."""

    def __init__(
        self,
        connect: str,
        credentials: Credentials,
        *,
        session_timeout_ms: int,
        max_in_flight: int,
        secured: bool,
    ) -> None:
        hosts, self._root = _parted(connect)
        random.shuffle(hosts)
        hosts *= -(-ATTEMPTS_PER_SESSION // len(hosts))
        session_timeout_s = session_timeout_ms / 1000
        self._threads = Threads(
            session_timeout_s=session_timeout_s,
            attempt_s=session_timeout_s / len(hosts),
            tls=credentials.tls,
            on_end=self._ended_in_kazoo,
        )
        self._client = KazooClient(
            hosts=",".join(hosts),
            timeout=session_timeout_s,
            handler=self._threads,
            sasl_options=credentials.sasl_options,
            # Otherwise the server that has just been left might be the next to be tried.
            randomize_hosts=False,
            connection_retry={"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 1.0},
        )
        self._secured = secured
        self._in_flight = trio.Semaphore(max_in_flight)
        self._guard = _Guard()
        self._token = trio.lowlevel.current_trio_token()
        self._session: ZkSession | None = None
        self._news = trio.Event()
        self._closed = threading.Event()
        self._beginning = threading.Lock()
        self._refused = False
        self.is_connected = False
        """Whether there is a connection right now; requests wait where there is none."""
        self._client.add_listener(self._state_in_kazoo)

    @property
    def session_id(self) -> int:
        """The session of the moment; 0 between two."""
        return 0 if self._session is None else self._session.session_id

    async def session(self) -> ZkSession:
        """The session of the moment, or else the next one; ``SessionLost`` when there will be none."""
        while self._session is None:
            if self._closed.is_set():
                raise SessionLost("the connection to ZooKeeper has been closed")
            await self._news.wait()
        return self._session

    async def during_sessions(self, serve: Callable[[Coordination], Awaitable[None]]) -> NoReturn:
        while True:
            await self._during(await self.session(), serve)

    @asynccontextmanager
    async def gathered(self) -> AsyncIterator[None]:
        yield

    async def read(self, path: str) -> Node:
        return await (await self.session()).read(path)

    async def children(self, path: str) -> tuple[str, ...]:
        return await (await self.session()).children(path)

    async def create(
        self, path: str, data: bytes | None = None, *, ephemeral: bool = False, sequential: bool = False
    ) -> str:
        return await (await self.session()).create(path, data, ephemeral=ephemeral, sequential=sequential)

    async def ensure(self, path: str) -> None:
        await (await self.session()).ensure(path)

    async def replace(self, path: str, data: bytes | None, expected: int = -1) -> Stat:
        return await (await self.session()).replace(path, data, expected)

    async def delete(self, path: str, expected: int = -1) -> None:
        await (await self.session()).delete(path, expected)

    async def delete_tree(self, path: str) -> None:
        await (await self.session()).delete_tree(path)

    async def together(self, changes: Sequence[Change]) -> tuple[Done, ...]:
        return await (await self.session()).together(changes)

    @asynccontextmanager
    async def watching_data(self, path: str) -> AsyncIterator[Changes]:
        async with (await self.session()).watching_data(path) as changes:
            yield changes

    @asynccontextmanager
    async def watching_children(self, path: str) -> AsyncIterator[Changes]:
        async with (await self.session()).watching_children(path) as changes:
            yield changes

    async def connect(self, timeout_ms: int) -> None:
        """Begin the first session and make the chroot if it is missing.

        ``ConnectionTimeout`` or ``AuthenticationFailed``. Credentials are judged after the session has begun.
        """
        self._client.start_async()
        with trio.move_on_after(timeout_ms / 1000) as waiting:
            while not self._refused:
                session = await self.session()
                whole = self._session_of(session.session_id, "")
                try:
                    await whole.ensure(self._root or "/")
                    await whole.read("/")
                    return
                except SessionLost:
                    continue
            raise AuthenticationFailed("Auth failed either before or while waiting for connection")
        if waiting.cancelled_caught:
            trouble = f" ({self._threads.trouble})" if self._threads.trouble else ""
            raise ConnectionTimeout(f"Timed out waiting for connection while in state: CONNECTING{trouble}")

    async def close(self) -> None:
        """End the session, so that its ephemeral nodes go at once; not waited for when nobody answers."""
        over = trio.Event()
        self._closed.set()
        self._news.set()
        limit_s = GIVING_UP_TIMEOUT_S
        if self._session is not None:
            self._session.end()
            self._session = None
            limit_s = CLOSING_TIMEOUT_S

        def take_leave() -> None:
            try:
                with self._beginning:
                    self._client.stop()
                    self._client.close()
            finally:
                from_thread(self._token, over.set)

        with trio.move_on_after(limit_s, shield=True):
            self._client.handler.spawn(take_leave)
            await over.wait()

    async def _during(self, session: ZkSession, serve: Callable[[Coordination], Awaitable[None]]) -> None:
        await run_until(session.ended.wait, lambda: serve(session), forgiving=SessionLost)
        await session.ended.wait()

    def _state_in_kazoo(self, state: str) -> None:
        """Called on kazoo's thread, before requests are failed or taken over: must not block."""
        session_id = None
        if state != KazooState.LOST:
            identity = self._client.client_id
            session_id = identity[0] if identity else None
        if state == KazooState.CONNECTED:
            self._guard.admit(session_id)
        elif state == KazooState.LOST:
            self._guard.admit(None)
        refused = self._client.client_state == KeeperState.AUTH_FAILED
        from_thread(self._token, self._state_changed, state, session_id, refused, self._threads.server)

    def _ended_in_kazoo(self) -> None:
        """Called on kazoo's thread, which ends: it does so at our bidding, and when it can make nothing of a server."""
        if not self._closed.is_set():
            self._threads.spawn(self._begin_anew)

    def _begin_anew(self) -> None:
        self._closed.wait(ANEW_AFTER_S)
        with self._beginning:
            if not self._closed.is_set():
                log.warning("connecting to ZooKeeper anew")
                self._client.start_async()

    def _state_changed(self, state: str, session_id: int | None, refused: bool, server: str) -> None:
        self.is_connected = state == KazooState.CONNECTED
        if refused and not self._closed.is_set():
            log.error("ZooKeeper does not accept our credentials")
        self._refused = refused
        session = self._session
        if session is not None and (state == KazooState.LOST or session_id not in (None, session.session_id)):
            session.end()
            session = self._session = None
            if not self._closed.is_set():
                log.warning("the session with ZooKeeper has expired")
        if state == KazooState.CONNECTED and session is None and session_id is not None and not self._closed.is_set():
            self._session = self._session_of(session_id, self._root)
            self._ring()
        elif refused:
            self._ring()
        self._say(state, server)

    def _say(self, state: str, server: str) -> None:
        if self._closed.is_set() or self._session is None:
            return
        if state == KazooState.CONNECTED:
            log.info("connected to ZooKeeper at %s, session 0x%x", server, self._session.session_id % 2**64)
        elif state == KazooState.SUSPENDED:
            log.warning("lost the connection to ZooKeeper at %s; looking for another", server)

    def _ring(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def _session_of(self, session_id: int, root: str) -> ZkSession:
        return ZkSession(self._client, self._guard, session_id, root, self._in_flight, self._secured)


@asynccontextmanager
async def open_ensemble(
    connect: str,
    *,
    session_timeout_ms: int,
    connection_timeout_ms: int,
    max_in_flight: int = 10,
    credentials: Credentials = NOBODY,
    secured: bool = False,
) -> AsyncIterator[House]:
    """Connect to ``zookeeper.connect`` (``h1:2181,h2:2181/chroot``) and keep a session until the body ends.

    With ``secured``, nodes are made so that only who has the ``credentials`` may change them.
    ``ConnectionTimeout`` when nobody answers in time, ``AuthenticationFailed`` when the credentials are not accepted,
    ``ValueError`` when the text names no hosts.
    """
    ensemble = Ensemble(
        connect, credentials, session_timeout_ms=session_timeout_ms, max_in_flight=max_in_flight, secured=secured
    )
    try:
        await ensemble.connect(connection_timeout_ms)
        yield ensemble
    finally:
        await ensemble.close()


def _parted(connect: str) -> tuple[list[str], str]:
    """The hosts, and the chroot or nothing."""
    listed, slash, chroot = connect.partition("/")
    root = checked(slash + chroot.rstrip("/")) if chroot.strip("/") else ""
    return [host.strip() for host in listed.split(",")], root


def _stat(stat: ZnodeStat) -> Stat:
    return Stat(stat.czxid, stat.mzxid, stat.version, stat.ctime, stat.ephemeralOwner)


def _refusal(path: str, error: Exception) -> CoordinationError:
    refusal = _REFUSALS.get(type(error))
    if refusal is not None:
        return refusal(path)
    if isinstance(error, exceptions.NoAuthError):
        return NotAllowed(path, "its ACL is for other credentials than ours")
    if isinstance(error, exceptions.InvalidACLError):
        return NotAllowed(path, "it does not know who we are, so nothing can be made ours alone")
    return CoordinationError(f"{path}: {type(error).__name__} {error}".rstrip())
