"""A session with three servers: it goes on when the one that it talks to dies, hangs or is left without the others."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NoReturn

import pytest
import trio
import trio.testing

from pykafka_broker.model.names import BrokerId
from pykafka_broker.runtime.membership import Membership
from pykafka_broker.zk import nodes
from pykafka_broker.zk.port import Coordination, House
from pykafka_broker.zk.registration import Registrar, prepare
from pykafka_broker.zk.session import Ensemble as Zookeepers
from pykafka_broker.zk.session import ZkSession, open_ensemble
from tests.cluster.expiry import expire
from tests.cluster.zookeeper import Ensemble, ZooKeeper, running_ensemble

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

SESSION_MS = 6_000
_chroots = itertools.count()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """Three servers that the tests of this file harm, and make well again."""
    with running_ensemble(tmp_path_factory.mktemp("harmed")) as made:
        yield made


@asynccontextmanager
async def opened(servers: Ensemble, session_timeout_ms: int = SESSION_MS) -> AsyncIterator[Zookeepers]:
    async with open_ensemble(
        f"{servers.connect}/ensemble-{next(_chroots)}",
        session_timeout_ms=session_timeout_ms,
        connection_timeout_ms=20_000,
    ) as house:
        assert isinstance(house, Zookeepers)
        yield house


def server_of(house: Zookeepers, servers: Ensemble) -> ZooKeeper:
    """The server that the house talks to."""
    line = house._threads._line
    assert line is not None
    return servers.at(line.getpeername()[1])


@asynccontextmanager
async def talking_to(servers: Ensemble, *, leader: bool) -> AsyncIterator[Zookeepers]:
    """A house that talks to the leader, or to a follower."""
    while True:
        async with opened(servers) as house:
            if (server_of(house, servers) is servers.leader) == leader:
                yield house
                return


async def registered(house: Zookeepers) -> ZkSession:
    """The house's session, which owns a node."""
    session = await house.session()
    await session.create("/mine", b"mine", ephemeral=True)
    return session


async def is_as_before(house: Zookeepers, session: ZkSession) -> None:
    """The session is the same, and what it owns is still there."""
    assert await house.session() is session
    assert not session.ended.is_set()
    assert (await session.read("/mine")).stat.ephemeral_owner == session.session_id


@asynccontextmanager
async def noting_silence(others: list[ZooKeeper]) -> AsyncIterator[list[float]]:
    """The moments at which none of the others served, this one first.

    Servers without their leader elect one before they serve, and what that takes them is not a session's doing.
    """
    silent_at = [time.monotonic()]

    async def note() -> NoReturn:
        while True:
            if not any(server.mode for server in others):
                silent_at.append(time.monotonic())
            await trio.testing.wait_all_tasks_blocked(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(note)
        yield silent_at
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("leader", [False, True], ids=["follower", "leader"])
async def test_a_session_moves_when_its_server_is_killed(servers: Ensemble, leader: bool) -> None:
    with trio.fail_after(60):
        async with talking_to(servers, leader=leader) as house:
            session = await registered(house)
            left = server_of(house, servers)
            async with session.watching_data("/told") as changes, session.watching_children("/") as children:
                left.kill()
                async with noting_silence(servers.without(left)) as silent_at:
                    await session.create("/told")
                    took_s = time.monotonic() - silent_at[-1]
                await changes.wait()
                await children.wait()
                await is_as_before(house, session)
                servers.start()
                await session.replace("/told", b"again")
                await changes.wait()
                await session.delete("/told")
                await children.wait()
    assert took_s < SESSION_MS / 1000 / 2


async def test_it_is_said_where_a_session_goes_on_and_once_only(
    servers: Ensemble, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "pykafka_broker.zk.session"]

    with trio.fail_after(60), caplog.at_level("INFO"):
        async with talking_to(servers, leader=False) as house:
            session = await house.session()
            caplog.clear()
            left = server_of(house, servers)
            left.kill()
            try:
                await house.create("/a")
            finally:
                servers.start()
            there = server_of(house, servers)
            assert said() == [
                f"lost the connection to ZooKeeper at {left.connect}; looking for another",
                f"connected to ZooKeeper at {there.connect}, session 0x{session.session_id % 2**64:x}",
            ]
            caplog.clear()
            await expire(servers.leader.port, house)
            await house.read("/a")
            assert "the session with ZooKeeper has expired" in said()


@pytest.mark.parametrize("leader", [False, True], ids=["follower", "leader"])
async def test_a_session_moves_in_time_when_its_server_hangs(servers: Ensemble, leader: bool) -> None:
    with trio.fail_after(60):
        async with talking_to(servers, leader=leader) as house:
            session = await registered(house)
            async with session.watching_data("/told") as changes:
                hung = server_of(house, servers)
                hung.pause()
                try:
                    async with noting_silence(servers.without(hung)) as silent_at:
                        await session.create("/told")
                        took_s = time.monotonic() - silent_at[-1]
                    await changes.wait()
                    await is_as_before(house, session)
                finally:
                    hung.resume()
                    servers.start()
    assert took_s < SESSION_MS / 1000


async def test_a_server_that_hangs_is_left_though_more_and_more_is_asked_of_it(servers: Ensemble) -> None:
    """kazoo alone would wait until nobody asks any more, and lose the session meanwhile."""
    with trio.fail_after(60):
        async with talking_to(servers, leader=False) as house:
            session = await registered(house)
            hung = server_of(house, servers)
            hung.pause()
            try:
                async with trio.open_nursery() as nursery:
                    for number in range(9):
                        nursery.start_soon(session.create, f"/n{number}")
                        with trio.move_on_after(1):
                            while len(nursery.child_tasks):
                                await trio.testing.wait_all_tasks_blocked(0.01)
                await is_as_before(house, session)
            finally:
                hung.resume()
                servers.start()


async def test_a_session_outlives_every_server_of_its_beginning(servers: Ensemble) -> None:
    with trio.fail_after(120):
        async with opened(servers) as house:
            session = await registered(house)
            for server in servers.servers:
                server.kill()
                await house.replace("/mine", None)
                server.start()
                await house.replace("/mine", None)
            await is_as_before(house, session)


async def test_requests_wait_while_there_is_no_majority(servers: Ensemble) -> None:
    with trio.fail_after(120):
        async with opened(servers, session_timeout_ms=30_000) as house:
            session = await house.session()
            one, two, _ = servers.servers
            one.kill()
            two.kill()
            while house.is_connected:
                await trio.testing.wait_all_tasks_blocked(0.01)
            made: list[str] = []

            async def make() -> None:
                made.append(await house.create("/later"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(make)
                await trio.testing.wait_all_tasks_blocked(0.2)
                assert made == []
                servers.start()
            assert made == ["/later"]
            assert await house.session() is session


async def test_one_server_that_is_down_delays_no_start(servers: Ensemble) -> None:
    servers.without(servers.leader)[0].kill()
    try:
        began = time.monotonic()
        with trio.fail_after(60):
            for _ in range(5):
                async with opened(servers) as house:
                    await house.create("/a")
        assert time.monotonic() - began < 10
    finally:
        servers.start()


async def test_one_server_that_hangs_delays_a_start_by_its_share_of_a_session(servers: Ensemble) -> None:
    hung = servers.without(servers.leader)[0]
    hung.pause()
    try:
        with trio.fail_after(60):
            for _ in range(5):
                began = time.monotonic()
                async with opened(servers) as house:
                    await house.create("/a")
                assert time.monotonic() - began < SESSION_MS / 1000 / 2
    finally:
        hung.resume()
        servers.start()


class Standing:
    """Stands for controller in name only."""

    def __init__(self) -> None:
        self.stood = trio.Event()

    async def stand(self, session: Coordination) -> None:
        await session.create("/controller", ephemeral=True)
        self.stood.set()
        await trio.sleep_forever()


async def test_a_member_whose_session_expires_registers_anew_and_stands_again(servers: Ensemble) -> None:
    epochs: list[int] = []
    standing = Standing()
    registration = nodes.BrokerRegistration(BrokerId(7), (nodes.Endpoint("PLAINTEXT", "localhost", 9092),))
    membership = Membership(
        Registrar(registration),
        standing,  # type: ignore[arg-type]
        epochs.append,
        lambda topics: None,
        session_timeout_ms=SESSION_MS,
    )
    with trio.fail_after(60):
        async with opened(servers) as house, trio.open_nursery() as nursery:
            nursery.start_soon(house.during_sessions, membership.serve)
            await standing.stood.wait()
            standing.stood = trio.Event()
            before = await house.session()
            await expire(servers.leader.port, house)
            await standing.stood.wait()
            session = await house.session()
            assert session is not before
            node = await house.read("/brokers/ids/7")
            assert node.data == registration.encode()
            assert node.stat.ephemeral_owner == session.session_id
            assert epochs[1:] == [node.stat.czxid]
            assert epochs[1] > epochs[0]
            assert (await house.read("/controller")).stat.ephemeral_owner == session.session_id
            nursery.cancel_scope.cancel()


def unreachable(*_: object, **__: object) -> NoReturn:
    raise ConnectionRefusedError


async def test_a_broker_that_crashed_takes_its_place_again_when_its_session_has_ended(
    servers: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    chroot = f"/ensemble-{next(_chroots)}"
    registration = nodes.BrokerRegistration(BrokerId(7), (nodes.Endpoint("PLAINTEXT", "localhost", 9092),))

    def opened_there() -> AbstractAsyncContextManager[House]:
        return open_ensemble(servers.connect + chroot, session_timeout_ms=1_000, connection_timeout_ms=20_000)

    with trio.fail_after(60):
        async with opened_there() as crashed:
            assert isinstance(crashed, Zookeepers)
            await prepare(crashed)
            first = await Registrar(registration).register(await crashed.session())
            # As a crash: kazoo's line is cut and never made anew, and nobody takes leave of the ensemble.
            monkeypatch.setattr(crashed._threads, "create_connection", unreachable)
            line = crashed._threads._line
            assert line is not None
            line.shutdown(socket.SHUT_RDWR)
            async with opened_there() as again:
                epochs: list[int] = []
                standing = Standing()
                membership = Membership(
                    Registrar(registration),
                    standing,  # type: ignore[arg-type]
                    epochs.append,
                    lambda topics: None,
                    session_timeout_ms=1_000,
                )
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(again.during_sessions, membership.serve)
                    await standing.stood.wait()
                    nursery.cancel_scope.cancel()
                assert epochs[0] > first
