"""Any sequence of requests gives on each house of the coordination port what a plain model says.

The model is a dictionary that is copied for each transaction; sessions come and go, the embedded tree is also closed,
or abandoned as by a crash, and opened again, connections with the real one break. Transaction ids are compared by their
order only.
"""

from __future__ import annotations

import copy
import itertools
import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from pykafka_broker.zk.embedded import Grove, open_grove
from pykafka_broker.zk.paths import name_of, parent_of
from pykafka_broker.zk.port import (
    BadVersion,
    Change,
    Changes,
    Check,
    Coordination,
    CoordinationError,
    Create,
    Delete,
    NodeExists,
    NoNode,
    NotEmpty,
    ParentIsEphemeral,
    Replace,
)
from pykafka_broker.zk.session import Ensemble, open_ensemble
from tests.cluster.zookeeper import ZooKeeper

T = TypeVar("T")
SESSIONS = ("one", "two")


@dataclass
class Thing:
    """A node of the model."""

    data: bytes | None
    owner: str
    made_in: int
    written_in: int
    version: int = 0
    births: int = 0


@dataclass
class Model:
    """The tree as it should be, by path."""

    things: dict[str, Thing] = field(default_factory=lambda: {"/": Thing(None, "", 0, 0)})
    moment: int = 0
    touched: set[tuple[str, bool]] = field(default_factory=set)
    """What must be told of the last transaction: a path, and whether to those who watch its children."""

    def children(self, path: str) -> tuple[str, ...]:
        if path not in self.things:
            raise NoNode(path)
        return tuple(sorted(name_of(each) for each in self.things if each != "/" and parent_of(each) == path))

    def together(self, changes: list[Change], session: str) -> list[object]:
        draft = copy.deepcopy(self)
        draft.moment += 1
        draft.touched = set()
        results = [draft.make(change, session) for change in changes]
        self.things, self.moment, self.touched = draft.things, draft.moment, draft.touched
        return results

    def make(self, change: Change, session: str) -> object:
        path = change.path
        if isinstance(change, Create):
            if path == "/":
                raise NodeExists(path)
            if parent_of(path) not in self.things:
                raise NoNode(path)
            parent = self.things[parent_of(path)]
            made = f"{path}{parent.births:010}" if change.sequential else path
            if made in self.things:
                raise NodeExists(path)
            if parent.owner:
                raise ParentIsEphemeral(path)
            parent.births += 1
            self.things[made] = Thing(change.data, session if change.ephemeral else "", self.moment, self.moment)
            self.touch(made, existence=True)
            return made
        if path not in self.things:
            raise NoNode(path)
        thing = self.things[path]
        if change.expected not in (-1, thing.version):
            raise BadVersion(path)
        if isinstance(change, Replace):
            thing.data, thing.written_in, thing.version = change.data, self.moment, thing.version + 1
            self.touch(path, existence=False)
            return thing.version
        if isinstance(change, Delete):
            if self.children(path):
                raise NotEmpty(path)
            del self.things[path]
            self.touch(path, existence=True)
        return None

    def touch(self, path: str, existence: bool) -> None:
        self.touched.add((path, False))
        if existence:
            self.touched |= {(path, True), (parent_of(path), True)}

    def end(self, session: str) -> None:
        self.moment += 1
        self.touched = set()
        for path in [path for path, thing in self.things.items() if thing.owner == session]:
            del self.things[path]
            self.touch(path, existence=True)


class Loop:
    """A trio loop in a thread, for a test that is not asynchronous itself."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,))
        self._thread.start()
        self._ready.wait()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._over = trio.Event()
        self._ready.set()
        await self._over.wait()

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        async def limited() -> T:
            with trio.fail_after(10):
                return await work()

        return trio.from_thread.run(limited, trio_token=self._token)

    def close(self) -> None:
        trio.from_thread.run_sync(self._over.set, trio_token=self._token)
        self._thread.join()


async def inline(work: Callable[[], None]) -> None:
    work()


PATHS = st.sampled_from(["/", "/a", "/b", "/a/a", "/a/b", "/a/a/a", "/a/s_0000000001"])
DATA = st.sampled_from([None, b"", b"x", b"\x00\xff"])
VERSIONS = st.sampled_from([-1, -1, 0, 1, 2])
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(Create, PATHS, DATA, st.booleans(), st.just(False)),
    st.builds(Create, PATHS, DATA, st.booleans(), st.just(False)),
    st.builds(Create, st.sampled_from(["/s_", "/a/s_"]), DATA, st.booleans(), st.just(True)),
    st.builds(Replace, PATHS, DATA, VERSIONS),
    st.builds(Delete, PATHS.filter(lambda path: path != "/"), VERSIONS),
    st.builds(Check, PATHS, st.sampled_from([0, 1])),
)


class CoordinationMachine(RuleBasedStateMachine):
    """Two sessions with one tree, and the model of it."""

    at_once: ClassVar[bool] = True
    """Whether ensuring and deleting a tree take a single transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.loop = Loop()
        self.sessions: dict[str, Coordination] = {}
        self.closers: dict[str, AsyncExitStack] = {}
        self.watches: dict[tuple[str, str, bool], tuple[Changes, AsyncExitStack]] = {}

    def open_tree(self) -> None:
        """Get hold of a fresh tree."""

    def close_tree(self) -> None:
        """Let it go."""

    def session(self) -> AbstractAsyncContextManager[Coordination]:
        """One more session with it."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.open_tree()
        for name in SESSIONS:
            self.open_session(name)

    def open_session(self, name: str) -> None:
        async def enter() -> None:
            self.closers[name] = stack = AsyncExitStack()
            self.sessions[name] = await stack.enter_async_context(self.session())

        self.loop.do(enter)

    def close_session(self, name: str) -> None:
        for key in [key for key in self.watches if key[0] == name]:
            self.loop.do(self.watches.pop(key)[1].aclose)
        self.loop.do(self.closers.pop(name).aclose)
        del self.sessions[name]

    @rule(name=st.sampled_from(SESSIONS))
    def renew_session(self, name: str) -> None:
        self.close_session(name)
        self.model.end(name)
        self.told()
        self.open_session(name)

    @rule(name=st.sampled_from(SESSIONS), changes=st.lists(CHANGES, min_size=1, max_size=4))
    def change_together(self, name: str, changes: list[Change]) -> None:
        self.both(name, changes, lambda session: session.together(changes))

    @rule(name=st.sampled_from(SESSIONS), change=CHANGES)
    def change_one(self, name: str, change: Change) -> None:
        async def ask(session: Coordination) -> tuple[object, ...]:
            match change:
                case Create(path, data, ephemeral, sequential):
                    return (await session.create(path, data, ephemeral=ephemeral, sequential=sequential),)
                case Replace(path, data, expected):
                    return (await session.replace(path, data, expected),)
                case Delete(path, expected):
                    await session.delete(path, expected)
                    return (None,)
                case _:
                    return await session.together([change])

        self.both(name, [change], ask)

    @rule(name=st.sampled_from(SESSIONS), path=PATHS)
    def ensure(self, name: str, path: str) -> None:
        lineage = [path]
        while lineage[-1] != "/":
            lineage.append(parent_of(lineage[-1]))
        missing: list[Change] = [Create(each) for each in reversed(lineage) if each not in self.model.things]
        if len(missing) <= 1 or not self.model.things[parent_of(missing[0].path)].owner:
            self.both(name, missing, lambda session: session.ensure(path), stepwise=not self.at_once)

    @rule(name=st.sampled_from(SESSIONS), path=PATHS.filter(lambda path: path != "/"))
    def delete_tree(self, name: str, path: str) -> None:
        below = sorted((each for each in self.model.things if f"{each}/".startswith(f"{path}/")), reverse=True)
        deletes: list[Change] = [Delete(each) for each in below]
        self.both(name, deletes, lambda session: session.delete_tree(path), stepwise=not self.at_once)

    @rule(name=st.sampled_from(SESSIONS), path=PATHS, children=st.booleans())
    def watch(self, name: str, path: str, children: bool) -> None:
        if (name, path, children) in self.watches:
            return

        async def enter() -> None:
            stack = AsyncExitStack()
            session = self.sessions[name]
            opened = session.watching_children(path) if children else session.watching_data(path)
            self.watches[name, path, children] = (await stack.enter_async_context(opened), stack)

        self.loop.do(enter)

    def both(
        self,
        name: str,
        changes: list[Change],
        ask: Callable[[Coordination], Awaitable[tuple[object, ...] | None]],
        *,
        stepwise: bool = False,
    ) -> None:
        """Have model and tree do the same and compare what comes of it."""
        expected: list[object] | tuple[type, str]
        actual: list[object] | tuple[type, str]
        self.model.touched = set()
        try:
            steps = [[change] for change in changes] if stepwise else [changes]
            expected = [result for step in steps for result in self.model.together(step, name)]
        except CoordinationError as error:
            expected = (type(error), error.path)
        try:
            done = self.loop.do(lambda: ask(self.sessions[name]))
            actual = expected if done is None else [getattr(each, "version", each) for each in done]
        except CoordinationError as error:
            actual = (type(error), error.path)
        assert actual == expected
        if isinstance(expected, list):
            self.told()
        self.compare()

    def told(self) -> None:
        """Every watch that the last transaction concerns must be told of it."""
        for (_, path, children), (changes, _) in self.watches.items():
            if (path, children) in self.model.touched:
                self.loop.do(changes.wait)

    def compare(self) -> None:
        """The whole tree is what the model says, seen from either session."""

        async def look() -> dict[str, tuple[object, ...]]:
            session = self.sessions[SESSIONS[0]]
            found: dict[str, tuple[object, ...]] = {}
            waiting = ["/"]
            while waiting:
                path = waiting.pop()
                node = await session.read(path)
                names = await session.children(path)
                waiting += [f"{path.rstrip('/')}/{name}" for name in names]
                owner = next((n for n in SESSIONS if self.sessions[n].session_id == node.stat.ephemeral_owner), "")
                found[path] = (node.data, node.stat.version, owner, names)
                zxids[path] = (node.stat.czxid, node.stat.mzxid)
            return found

        zxids: dict[str, tuple[int, int]] = {}
        assert self.loop.do(look) == {
            path: (thing.data, thing.version, thing.owner, self.model.children(path))
            for path, thing in self.model.things.items()
        }
        moments = {path: (thing.made_in, thing.written_in) for path, thing in self.model.things.items()}
        zxids.pop("/")
        moments.pop("/")
        assert ranked(zxids) == ranked(moments)

    def teardown(self) -> None:
        for name in list(self.sessions):
            self.close_session(name)
        self.close_tree()
        self.loop.close()


def ranked(moments: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """The order of the moments, whatever their numbers."""
    order = {moment: rank for rank, moment in enumerate(sorted(set(itertools.chain(*moments.values()))))}
    return {path: (order[made], order[written]) for path, (made, written) in moments.items()}


class EmbeddedMachine(CoordinationMachine):
    """The same over the embedded tree, which is also closed or abandoned, and opened again."""

    def open_tree(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.generation = 0
        self.enter()

    def enter(self) -> None:
        async def enter() -> None:
            self.stack = AsyncExitStack()
            clock = itertools.count(1).__next__
            opened = open_grove(self.folder / str(self.generation), in_worker=inline, clock=clock)
            self.grove: Grove = await self.stack.enter_async_context(opened)

        self.loop.do(enter)

    def session(self) -> AbstractAsyncContextManager[Coordination]:
        return self.grove.session()

    def close_tree(self) -> None:
        self.loop.do(self.stack.aclose)
        shutil.rmtree(self.folder)

    @rule(crashes=st.booleans())
    def reopen(self, crashes: bool) -> None:
        here = self.folder / str(self.generation)
        if crashes:
            shutil.copytree(here, self.folder / "crashed")
        for name in SESSIONS:
            self.close_session(name)
            self.model.end(name)
        self.loop.do(self.stack.aclose)
        self.generation += 1
        (self.folder / "crashed" if crashes else here).rename(self.folder / str(self.generation))
        self.enter()
        for name in SESSIONS:
            self.open_session(name)
        self.compare()


def may_be_asked_twice(changes: list[Change]) -> bool:
    """Whether asking for the changes once more, when they were made and the answer was lost, does nothing more.

    A broker asks for all others once, or knows by other means what became of them.
    """
    if len(changes) > 1 and any(isinstance(change, Delete) for change in changes):
        return False
    return not any(
        (isinstance(change, Create) and change.sequential) or (isinstance(change, Replace) and change.expected == -1)
        for change in changes
    )


class EnsembleMachine(CoordinationMachine):
    """The same over a real ZooKeeper, each run in a chroot of its own; connections break, sessions go on."""

    at_once = False
    server: ClassVar[ZooKeeper]
    chroots: ClassVar[itertools.count[int]] = itertools.count()

    def open_tree(self) -> None:
        self.chroot = f"/machine-{next(self.chroots)}"

    def session(self) -> AbstractAsyncContextManager[Coordination]:
        return self.connected()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Coordination]:
        connect = self.server.connect + self.chroot
        async with open_ensemble(connect, session_timeout_ms=10_000, connection_timeout_ms=20_000) as house:
            yield house

    def cut(self, name: str) -> None:
        """Break the connection of the moment."""
        house = self.sessions[name]
        assert isinstance(house, Ensemble)
        line = house._threads._line
        if line is not None:
            with suppress(OSError):  # it is just being made anew
                line.shutdown(socket.SHUT_RDWR)

    @rule(name=st.sampled_from(SESSIONS))
    def break_connection(self, name: str) -> None:
        session_id = self.sessions[name].session_id
        self.cut(name)
        self.loop.do(lambda: self.sessions[name].read("/"))
        assert self.sessions[name].session_id == session_id
        for (owner, _, _), (changes, _) in self.watches.items():
            if owner == name:
                self.loop.do(changes.wait)  # whatever has happened meanwhile, and nothing was lost
        self.compare()

    @rule(
        name=st.sampled_from(SESSIONS),
        changes=st.lists(CHANGES, min_size=1, max_size=3).filter(may_be_asked_twice),
        moments=st.integers(0, 4),
    )
    def change_while_the_connection_breaks(self, name: str, changes: list[Change], moments: int) -> None:
        if any(isinstance(change, Delete) and change.path not in self.model.things for change in changes):
            return  # that it was gone before cannot be told from having deleted it

        async def ask(session: Coordination) -> tuple[object, ...]:
            await session.read("/")  # so that it knows of all that the other session did before
            done: list[tuple[object, ...]] = []
            refused: list[CoordinationError] = []

            async def change() -> None:
                try:
                    done.append(await session.together(changes))
                except CoordinationError as error:
                    refused.append(error)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(change)
                for _ in range(moments):
                    await trio.lowlevel.checkpoint()
                self.cut(name)
            if refused:
                raise refused[0]
            return done[0]

        self.both(name, changes, ask)


EmbeddedMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestEmbedded = pytest.mark.slow(EmbeddedMachine.TestCase)

EnsembleMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.usefixtures("the_server")
class TestEnsemble(EnsembleMachine.TestCase):  # type: ignore[misc,valid-type]
    """The machine as a test, with the server at hand."""

    @pytest.fixture
    def the_server(self, zookeeper: ZooKeeper) -> None:
        EnsembleMachine.server = zookeeper
