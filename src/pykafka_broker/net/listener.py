"""Listening sockets: accepting, counting and expiring connections.

A connection may die alone: what it raises is logged once, with its address, and nobody else hears of it.
"""

from __future__ import annotations

import errno
import logging
import socket as stdlib_socket
from collections import Counter
from collections.abc import Callable
from typing import Final

import trio
from msgspec import Struct

from pykafka_broker.descriptors import for_connections, may_be_open
from pykafka_broker.model.errors import WireError
from pykafka_broker.model.identity import Session
from pykafka_broker.net.connection import Answer, Connection
from pykafka_broker.net.crowd import IS_POSSIBLE, Crowd, Guest
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
SYSTEM_CHOOSES: Final = -1
SEND_BUFFER_BYTES: Final = 200_000
"""More than this, and a client on the same machine is sent more than its socket may hold, and the kernel makes room by
copying what it holds together, in this process's time; less, and a large answer takes more turns (decision 15).
"""


class ConnectionLimits(Struct, frozen=True):
    """What connections may take: the keys of the same names in the broker's configuration."""

    max_frame_bytes: int = 104_857_600
    max_idle_ms: int = 600_000
    max_connections: int = 2**31 - 1
    max_connections_per_ip: int = 2**31 - 1
    max_connections_per_ip_overrides: dict[str, int] | None = None
    backlog: int = 50
    send_buffer_bytes: int = SEND_BUFFER_BYTES
    receive_buffer_bytes: int = SYSTEM_CHOOSES

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
        self._is_served = False
        self._open: dict[Guest, None] = {}
        self._room = trio.Event()
        self._possible = for_connections(may_be_open())
        self._crowd = Crowd(self._ended) if IS_POSSIBLE else None

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def accept(self, name: str, sockets: list[trio.socket.SocketType], connections: trio.Nursery) -> None:
        """Accept on all of the sockets of the listener ``name``, and serve the connections, in this nursery."""
        if self._crowd is not None and not self._is_served:
            self._is_served = True
            connections.start_soon(self._crowd.run)
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
        channel = SocketChannel(accepted)
        session = Session(listener=name, host=f"/{host}")
        connection = Connection(channel, session, self._served, self._answer, limits.max_frame_bytes)
        guest = Guest(channel, connection, host)
        try:
            _tune(accepted, limits)
        except OSError as error:
            log.info("a connection failed address=%s error=%s", host, error)
            accepted.close()
            return
        self._by_address[host] += 1
        self._open[guest] = None
        if self._crowd is None:
            connections.start_soon(self._serve, guest)
        else:
            self._crowd.admit(guest)

    async def _wait_for_room(self) -> None:
        """Return when one more connection may be served; a listener without room accepts nobody else meanwhile."""
        while self._by_address.total() >= min(self._limits().max_connections, self._possible):
            # Several listeners may wait: all of them for the same ring.
            if self._room.is_set():
                self._room = trio.Event()
            await self._room.wait()

    async def _serve(self, guest: Guest) -> None:
        """Serve a connection with a task of its own, where there is no epoll."""
        why: Exception | None = None
        try:
            with trio.CancelScope() as guest.task:
                await guest.connection.serve()
        except Exception as problem:
            why = problem
        finally:
            self._ended(guest, why)

    def _ended(self, guest: Guest, why: Exception | None) -> None:
        """A connection is over; what it raised is told once, and harms nobody else."""
        host = guest.host
        match why:
            case None:
                pass
            case WireError():
                log.info("closing a connection that broke the protocol address=%s error=%s", host, why)
            case trio.BrokenResourceError() | trio.ClosedResourceError() | ConnectionError() | TimeoutError():
                log.debug("a client hung up address=%s", host)
            case OSError():
                log.info("a connection failed address=%s error=%s", host, why)
            case _:
                log.error("a connection failed address=%s", host, exc_info=why)
        del self._open[guest]
        self._by_address[host] -= 1
        if not self._by_address[host]:
            del self._by_address[host]
        self._room.set()
        guest.channel.close()

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
            for guest in tuple(self._open):
                if guest.has_been_idle(_ROUNDS):
                    log.debug("closing an idle connection")
                    self._expel(guest)

    def _expel(self, guest: Guest) -> None:
        if self._crowd is not None:
            self._crowd.expel(guest)
        elif guest.task is not None:
            guest.task.cancel()


def _tune(socket: stdlib_socket.socket, limits: ConnectionLimits) -> None:
    socket.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
    socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE, 1)
    if limits.send_buffer_bytes > 0:
        socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, limits.send_buffer_bytes)


async def bind(host: str, port: int, limits: ConnectionLimits) -> list[trio.socket.SocketType]:
    """Sockets that listen on host and port (port 0: a free one, the same on every address); ``OSError``."""
    backlog = max(limits.backlog, SHORTEST_BACKLOG)
    # As bytes an address or name needs no conversion, for which a table of all of Unicode is loaded.
    name = (host.encode() if host.isascii() else host) or None
    listeners = await trio.open_tcp_listeners(port, host=name, backlog=backlog)
    if port == 0 and len(listeners) > 1:
        # One advertised port for all addresses of the host: keep the first address's port for the others.
        chosen = listeners[0].socket.getsockname()[1]
        for listener in listeners:
            await listener.aclose()
        listeners = await trio.open_tcp_listeners(chosen, host=name, backlog=backlog)
    for listener in listeners:
        if limits.receive_buffer_bytes > 0:
            listener.socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, limits.receive_buffer_bytes)
    return [listener.socket for listener in listeners]
