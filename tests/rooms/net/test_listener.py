"""Listeners share one set of limits, and one connection that fails harms nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pykafka_broker.model.identity import Session
from pykafka_broker.net import listener
from pykafka_broker.net.listener import ConnectionLimits, Listeners, bind
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call, Served, write_request

ASKED = write_request("ApiVersions", 0, 1, "tests", messages.ApiVersionsRequest())


async def answer(call: Call[Any], session: Session) -> Any:
    return messages.ApiVersionsResponse()


class Doors:
    """Two listeners under the same limits."""

    def __init__(self, nursery: trio.Nursery, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.listeners = Listeners(Served({18: (0, 4)}), answer, lambda: self.limits)
        self._nursery = nursery
        self._sockets: dict[str, list[trio.socket.SocketType]] = {}
        self._clients: list[trio.SocketStream] = []

    async def open(self, host: str) -> None:
        for name in ("A", "B"):
            self._sockets[name] = await bind(host, 0, self.limits)
            self.listeners.accept(name, self._sockets[name], self._nursery)

    async def opens(self, name: str) -> trio.SocketStream:
        """A client of that listener that has asked nothing yet."""
        client = await trio.open_tcp_stream(*self._sockets[name][0].getsockname())
        self._clients.append(client)
        return client

    async def knock(self, name: str) -> trio.SocketStream:
        """A client of that listener that has asked something."""
        client = await self.opens(name)
        await client.send_all(ASKED)
        await wait_all_tasks_blocked(0.01)
        return client

    async def close(self) -> None:
        self._nursery.cancel_scope.cancel()
        for client in self._clients:
            client.socket.close()
        for sockets in self._sockets.values():
            for socket in sockets:
                socket.close()


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    async with trio.open_nursery() as nursery:
        doors = Doors(nursery, ConnectionLimits(max_connections=1))
        await doors.open("127.0.0.1")
        yield doors
        await doors.close()


async def test_no_listener_serves_more_than_the_broker_may_have(doors: Doors) -> None:
    await doors.knock("A")
    await doors.knock("B")
    assert doors.listeners.connection_count == 1


async def test_every_listener_that_waits_for_room_is_told_of_it(doors: Doors) -> None:
    first = await doors.knock("A")
    clients = [await doors.knock("A"), await doors.knock("B")]
    with trio.fail_after(10):
        await first.receive_some()
        await first.aclose()
        while clients:
            await wait_all_tasks_blocked(0.01)
            for client in list(clients):
                with trio.move_on_after(0.05):
                    assert await client.receive_some()
                    await client.aclose()
                    clients.remove(client)


async def test_a_socket_that_cannot_be_tuned_costs_only_its_own_connection(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(socket: trio.socket.SocketType, limits: ConnectionLimits) -> None:
        # As on macOS, when the peer has hung up already.
        raise OSError(22, "Invalid argument")

    with monkeypatch.context() as patched:
        patched.setattr(listener, "_tune", refuse)
        broken = await doors.knock("A")
        with trio.fail_after(10), pytest.raises((trio.BrokenResourceError, AssertionError)):
            assert await broken.receive_some()
    client = await doors.knock("A")
    with trio.fail_after(10):
        assert await client.receive_some()


async def test_everybody_who_waits_at_the_door_is_let_in_at_once(doors: Doors) -> None:
    doors.limits = ConnectionLimits()
    clients = [await doors.opens("A") for _ in range(200)]
    await wait_all_tasks_blocked(0.01)
    assert doors.listeners.connection_count == len(clients)
