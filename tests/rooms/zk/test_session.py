"""Sessions with a real ensemble: connecting, hanging, outages, expiry, and what a house makes of them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from pykafka_broker.zk.port import BadVersion, Coordination, Create, House, NodeExists, NoNode, Replace, SessionLost
from pykafka_broker.zk.session import ConnectionTimeout, Ensemble, open_ensemble
from tests.cluster.expiry import expire
from tests.cluster.zookeeper import ZooKeeper, free_port, running_zookeeper

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_chroots = itertools.count()


@pytest.fixture
def own_zookeeper(tmp_path: Path) -> Iterator[ZooKeeper]:
    """A server that the test may stop and start."""
    with running_zookeeper(tmp_path / "own") as server:
        yield server


@asynccontextmanager
async def opened(server: ZooKeeper, chroot: str = "", session_timeout_ms: int = 4_000) -> AsyncIterator[Ensemble]:
    """A house on the server, with a chroot of its own unless one is given."""
    chroot = chroot or f"/session-{next(_chroots)}"
    async with open_ensemble(
        server.connect + chroot, session_timeout_ms=session_timeout_ms, connection_timeout_ms=20_000
    ) as house:
        assert isinstance(house, Ensemble)
        yield house


async def connected(house: Ensemble, state: bool) -> None:
    """Wait until the house knows that it is connected, or that it is not."""
    with trio.fail_after(30):
        while house.is_connected != state:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_missing_chroot_is_made_and_paths_are_relative_to_it(zookeeper: ZooKeeper) -> None:
    async with opened(zookeeper, "/deep/below") as house:
        await house.create("/a", b"x")
        assert await house.children("/") == ("a",)
        async with open_ensemble(zookeeper.connect, session_timeout_ms=4_000, connection_timeout_ms=20_000) as whole:
            assert (await whole.read("/deep/below/a")).data == b"x"
            assert (await whole.read("/deep/below")).data is None
            assert "zookeeper" in await whole.children("/")


async def test_hosts_may_be_listed_with_spaces_and_a_trailing_slash(zookeeper: ZooKeeper) -> None:
    connect = f"{zookeeper.connect} , {zookeeper.connect}/"
    async with open_ensemble(connect, session_timeout_ms=4_000, connection_timeout_ms=20_000) as house:
        assert house.session_id != 0


async def test_an_ensemble_that_is_not_there_is_given_up_in_time() -> None:
    port = free_port()
    with trio.fail_after(10):
        with pytest.raises(ConnectionTimeout) as refusal:
            async with open_ensemble(f"127.0.0.1:{port}/x", session_timeout_ms=4_000, connection_timeout_ms=300):
                raise AssertionError("connected to nobody")
    assert str(refusal.value) == (
        f"Timed out waiting for connection while in state: CONNECTING (127.0.0.1:{port}: Connection refused)"
    )


async def test_an_ensemble_that_hangs_is_given_up_in_time(own_zookeeper: ZooKeeper) -> None:
    own_zookeeper.pause()
    with trio.fail_after(20):
        with pytest.raises(ConnectionTimeout):
            async with open_ensemble(own_zookeeper.connect, session_timeout_ms=4_000, connection_timeout_ms=300):
                raise AssertionError("connected to a server that hangs")
    own_zookeeper.resume()


async def test_requests_wait_for_a_server_that_comes_back(own_zookeeper: ZooKeeper) -> None:
    async with opened(own_zookeeper, session_timeout_ms=20_000) as house:
        session = await house.session()
        await house.create("/e", ephemeral=True)
        own_zookeeper.kill()
        await connected(house, False)
        made: list[str] = []

        async def make() -> None:
            made.append(await house.create("/later"))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(make)
                await trio.testing.wait_all_tasks_blocked()
                assert made == []
                own_zookeeper.start()
        assert made == ["/later"]
        assert await house.session() is session
        assert (await house.read("/e")).stat.ephemeral_owner == session.session_id


async def test_a_watch_survives_an_outage(own_zookeeper: ZooKeeper) -> None:
    async with opened(own_zookeeper, session_timeout_ms=20_000) as house:
        await house.create("/a")
        async with house.watching_data("/a") as changes, house.watching_children("/") as children:
            own_zookeeper.kill()
            await connected(house, False)
            own_zookeeper.start()
            with trio.fail_after(60):
                await changes.wait()
                await house.replace("/a", b"x")
                await changes.wait()
                await children.wait()
                await house.create("/b")
                await children.wait()


async def test_a_request_under_way_when_the_server_dies_is_answered_by_the_next(own_zookeeper: ZooKeeper) -> None:
    async with opened(own_zookeeper, session_timeout_ms=20_000) as house:
        await house.create("/a", b"0")
        stats: list[int] = []

        async def write() -> None:
            stats.append((await house.replace("/a", b"1", 0)).version)

        own_zookeeper.pause()
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                await trio.testing.wait_all_tasks_blocked(0.05)
                own_zookeeper.kill()
                own_zookeeper.start()
        assert stats == [1]
        assert (await house.read("/a")).data == b"1"


class DeafProxy:
    """Stands between a house and its server, and can lose the answers of a moment together with the connection."""

    def __init__(self, server: ZooKeeper) -> None:
        self._server = server
        self.loses_answers = False

    async def run(self, task_status: trio.TaskStatus[int]) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            task_status.started(listeners[0].socket.getsockname()[1])
            await trio.serve_listeners(self._connected, listeners, handler_nursery=nursery)

    async def _connected(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self._server.port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._carry, client, server, nursery.cancel_scope, False)
            nursery.start_soon(self._carry, server, client, nursery.cancel_scope, True)

    async def _carry(
        self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope, answers: bool
    ) -> None:
        try:
            async for data in source:
                if answers and self.loses_answers:
                    self.loses_answers = False
                    break
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


async def test_a_change_whose_answer_was_lost_is_not_made_twice(zookeeper: ZooKeeper) -> None:
    proxy = DeafProxy(zookeeper)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(proxy.run)
            async with open_ensemble(
                f"127.0.0.1:{port}/doubt-{next(_chroots)}", session_timeout_ms=4_000, connection_timeout_ms=20_000
            ) as house:
                proxy.loses_answers = True
                assert await house.create("/a", b"x") == "/a"
                proxy.loses_answers = True
                assert (await house.replace("/a", b"y", 0)).version == 1
                proxy.loses_answers = True
                made, stat = await house.together([Create("/b", None, ephemeral=True), Replace("/b", b"z", 0)])
                assert made == "/b"
                assert stat == (await house.read("/b")).stat
                proxy.loses_answers = True
                await house.delete("/b", 1)
                proxy.loses_answers = True
                with pytest.raises(NodeExists):
                    await house.create("/a", b"y")
                assert not proxy.loses_answers
                assert (await house.read("/a")).stat.version == 1
            nursery.cancel_scope.cancel()


async def test_an_expired_session_answers_nothing_and_another_follows(zookeeper: ZooKeeper) -> None:
    async with opened(zookeeper) as house:
        session = await house.session()
        await house.create("/e", ephemeral=True)
        async with session.watching_data("/e") as changes:
            await expire(zookeeper.port, house)
            with trio.fail_after(30):
                await session.ended.wait()
                with pytest.raises(SessionLost):
                    await changes.wait()
        for ask in (lambda: session.read("/"), lambda: session.create("/late")):
            with pytest.raises(SessionLost):
                await ask()
        with trio.fail_after(30):
            following = await house.session()
            assert following.session_id != session.session_id
            with pytest.raises(NoNode):
                await house.read("/e")
            with pytest.raises(NoNode):
                await house.read("/late")


async def test_each_session_is_served_anew_and_the_one_before_is_cancelled(zookeeper: ZooKeeper) -> None:
    events: list[str] = []
    began = trio.Event()

    async def serve(session: Coordination) -> None:
        nonlocal began
        await session.create("/e", b"mine", ephemeral=True)
        events.append("begins")
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            events.append("ends")

    with trio.fail_after(60):
        async with opened(zookeeper) as house, trio.open_nursery() as nursery:
            nursery.start_soon(house.during_sessions, serve)
            await began.wait()
            began = trio.Event()
            await expire(zookeeper.port, house)
            await began.wait()
            while "e" not in await house.children("/"):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert events == ["begins", "ends", "begins", "ends"]


async def test_what_serving_a_session_raises_goes_on_unless_the_session_is_lost(zookeeper: ZooKeeper) -> None:
    async def serve(session: Coordination) -> None:
        await session.replace("/", b"", 99)

    async with opened(zookeeper) as house:
        with trio.fail_after(30), pytest.raises(BadVersion):
            await house.during_sessions(serve)


async def test_a_closed_house_answers_nothing(zookeeper: ZooKeeper) -> None:
    async with opened(zookeeper) as house:
        pass
    with trio.fail_after(5), pytest.raises(SessionLost):
        await house.read("/")


async def test_a_house_is_left_in_time_though_nobody_answers(own_zookeeper: ZooKeeper) -> None:
    with trio.fail_after(30):
        async with opened(own_zookeeper):
            own_zookeeper.pause()
    own_zookeeper.resume()


async def test_many_requests_at_once_are_all_answered(zookeeper: ZooKeeper) -> None:
    async with opened(zookeeper) as house:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(house.create, f"/n{number}")
        assert len(await house.children("/")) == 100


async def test_a_request_given_up_does_no_harm_to_the_next(zookeeper: ZooKeeper) -> None:
    async with opened(zookeeper) as house:
        for _ in range(30):
            with trio.CancelScope() as scope:
                scope.cancel()
                await house.read("/")
        with trio.fail_after(10):
            assert await house.children("/") == ()


def test_a_house_is_one(zookeeper: ZooKeeper) -> None:
    """The protocol is met, for the type checker's sake."""

    async def run() -> None:
        async with opened(zookeeper) as house:
            as_house: House = house
            async with as_house.gathered():
                await as_house.ensure("/a")

    trio.run(run)
