"""Listening sockets: accepting, counting and expiring connections.

A connection may die alone: what it raises is logged once, with its address, and nobody else hears of it.
"""

from __future__ import annotations

import errno
import logging
import socket as stdlib_socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import trio

from pykafka_broker.descriptors import for_connections, may_be_open
from pykafka_broker.model.errors import WireError
from pykafka_broker.model.identity import Session
from pykafka_broker.net.connection import Answer, Connection
from pykafka_broker.net.frames import SocketChannel
from pykafka_broker.wire.exchange import Served

log = logging.getLogger(__name__)

SHORTEST_BACKLOG = 512
"""At least so many clients may wait to be accepted. Apache Kafka has a thread for nothing else and does with 50; where
accepting takes turns with answering, clients that come all at once after a restart would each lose a second.
"""
ACCEPT_RETRY_SECONDS = 0.1
_TAKEN_AT_ONCE = 100
"""After so many new connections the others get their turn."""
_ROUNDS = 4
"""How many rounds of the idle watch make up ``connections.max.idle.ms``."""
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_HUNG_UP = (trio.BrokenResourceError, trio.ClosedResourceError, ConnectionError, TimeoutError)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What connections may take: the keys of the same names in the broker's configuration."""

    max_frame_bytes: int = 104_857_600
    max_idle_ms: int = 600_000
    max_connections: int = 2**31 - 1
    max_connections_per_ip: int = 2**31 - 1
    max_connections_per_ip_overrides: dict[str, int] | None = None
    backlog: int = 50
    send_buffer_bytes: int = -1
    receive_buffer_bytes: int = -1

    def per_ip(self, address: str) -> int:
        """How many connections this address may hold."""
        overrides = self.max_connections_per_ip_overrides
        return overrides.get(address, self.max_connections_per_ip) if overrides else self.max_connections_per_ip


class Listeners:
    """All connections of the broker, through all of its listeners, under one set of limits."""

    def __init__(self, served: Served, answer: Answer, limits: Callable[[], ConnectionLimits]) -> None:
        self._served = served
        self._answer = answer
        self._limits = limits
        self._by_address: Counter[str] = Counter()
        self._open: dict[_Watched, None] = {}
        self._room = trio.Event()
        self._possible = for_connections(may_be_open())

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def accept(self, name: str, sockets: list[trio.socket.SocketType], connections: trio.Nursery) -> None:
        """Accept on all of the sockets of the listener ``name``, and serve the connections, in this nursery."""
        for socket in sockets:
            connections.start_soon(self._accept_on, name, socket, connections)

    async def _accept_on(self, name: str, socket: trio.socket.SocketType, connections: trio.Nursery) -> None:
        """Take whoever has come, all at once: the queue is short, and who finds it full waits for a second."""
        # The same socket once more, because trio's own lets every other task run before it accepts the next.
        with stdlib_socket.fromfd(socket.fileno(), socket.family, socket.type) as listening:
            listening.setblocking(False)
            taken = 0
            while True:
                try:
                    accepted, address = listening.accept()
                except BlockingIOError:
                    taken = 0
                    await trio.lowlevel.wait_readable(listening)
                    continue
                except OSError as error:
                    if error.errno in _OUT_OF_RESOURCES:
                        log.warning("cannot accept a connection listener=%s error=%s", name, error)
                        await trio.sleep(ACCEPT_RETRY_SECONDS)
                    else:
                        await trio.lowlevel.checkpoint()
                    continue
                try:
                    await self._wait_for_room()
                except trio.Cancelled:
                    accepted.close()
                    raise
                self._take(name, accepted, str(address[0]), connections)
                taken += 1
                if taken % _TAKEN_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()

    def _take(self, name: str, accepted: stdlib_socket.socket, host: str, connections: trio.Nursery) -> None:
        limits = self._limits()
        if self._by_address[host] >= limits.per_ip(host):
            log.info("too many connections from one address, closing listener=%s address=%s", name, host)
            accepted.close()
            return
        self._by_address[host] += 1
        connections.start_soon(self._serve, name, trio.socket.from_stdlib_socket(accepted), host, limits)

    async def _wait_for_room(self) -> None:
        """Return when one more connection may be served; a listener without room accepts nobody else meanwhile."""
        while self._by_address.total() >= min(self._limits().max_connections, self._possible):
            # Several listeners may wait: all of them for the same ring.
            if self._room.is_set():
                self._room = trio.Event()
            await self._room.wait()

    async def _serve(self, name: str, socket: trio.socket.SocketType, host: str, limits: ConnectionLimits) -> None:
        channel = SocketChannel(socket)
        session = Session(listener=name, host=f"/{host}")
        connection = Connection(channel, session, self._served, self._answer, limits.max_frame_bytes)
        watched = _Watched(channel)
        self._open[watched] = None
        try:
            _tune(socket, limits)
            with watched.scope:
                await connection.serve()
        except WireError as error:
            log.info("closing a connection that broke the protocol address=%s error=%s", host, error)
        except _HUNG_UP:
            log.debug("a client hung up address=%s", host)
        except OSError as error:
            log.info("a connection failed address=%s error=%s", host, error)
        except Exception:
            log.exception("a connection failed address=%s", host)
        finally:
            del self._open[watched]
            self._by_address[host] -= 1
            if not self._by_address[host]:
                del self._by_address[host]
            self._room.set()
            socket.close()

    async def expire_idle(self) -> None:
        """Close connections on which nothing has moved for ``connections.max.idle.ms``; never ends.

        In either direction, and whoever waits for whom: a client that does not read its answer is closed, and so is
        one whose long poll is longer, as in Kafka (``Selector.maybeCloseOldestConnection``). Looking round a few times
        per limit is enough: a connection lives at most a quarter longer than it may.
        """
        while True:
            max_idle_ms = self._limits().max_idle_ms
            if max_idle_ms < 0:
                await trio.sleep(60)
                continue
            await trio.sleep(max(max_idle_ms / 1000 / _ROUNDS, 0.05))
            for watched in list(self._open):
                if watched.has_been_idle(_ROUNDS):
                    log.debug("closing an idle connection")
                    watched.scope.cancel()


class _Watched:
    """A connection, and how many rounds of the idle watch in a row have seen nothing move on it."""

    __slots__ = ("_channel", "_rounds", "_seen", "scope")

    def __init__(self, channel: SocketChannel) -> None:
        self._channel = channel
        self._rounds = 0
        self._seen = -1
        self.scope = trio.CancelScope()

    def has_been_idle(self, rounds: int) -> bool:
        if self._channel.moved != self._seen:
            self._seen = self._channel.moved
            self._rounds = 0
            return False
        self._rounds += 1
        return self._rounds >= rounds


def _tune(socket: trio.socket.SocketType, limits: ConnectionLimits) -> None:
    socket.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
    socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE, 1)
    if limits.send_buffer_bytes > 0:
        socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, limits.send_buffer_bytes)


async def bind(host: str, port: int, limits: ConnectionLimits) -> list[trio.socket.SocketType]:
    """Sockets that listen on host and port (port 0: a free one, the same on every address); ``OSError``."""
    backlog = max(limits.backlog, SHORTEST_BACKLOG)
    listeners = await trio.open_tcp_listeners(port, host=host or None, backlog=backlog)
    if port == 0 and len(listeners) > 1:
        # One advertised port for all addresses of the host: keep the first address's port for the others.
        chosen = listeners[0].socket.getsockname()[1]
        for listener in listeners:
            await listener.aclose()
        listeners = await trio.open_tcp_listeners(chosen, host=host or None, backlog=backlog)
    for listener in listeners:
        if limits.receive_buffer_bytes > 0:
            listener.socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, limits.receive_buffer_bytes)
    return [listener.socket for listener in listeners]
