"""A connection to another broker: requests out, answers in, one after the other.

It is made when somebody first asks, and made anew after anything went wrong, at the address that the broker has then.
No ApiVersions goes before the first request: among brokers the versions are known (``config/versions.py``), as with
Apache Kafka's own. Whoever asks decides what to do when there is no answer.
"""

from __future__ import annotations

import select
import socket as stdlib_socket
from collections.abc import Callable
from typing import Any

import trio

from pykafka_broker.model.errors import Unreachable, WireError
from pykafka_broker.wire.exchange import read_response, write_request

CONNECTING_S = 10.0
"""How long a connection may take to come about (``socket.connection.setup.timeout.ms``)."""

LARGEST_ANSWER_BYTES = 1 << 30
KEPT_BYTES = 2 << 20
"""Up to this size an answer is written over the one before it: fresh memory would have to be zeroed each time."""
SMALL_ANSWERS = 20
"""After so many answers in a row that need little of the memory kept, it is given back."""
BELIEVED_BYTES = 64 << 20
"""Memory for an answer of up to this size is taken at once, for a larger one as its bytes arrive."""
_SIZE_BYTES = 4

Locate = Callable[[], tuple[str, int] | None]
"""Host and port of the broker at this moment, ``None`` while it has none."""


class Peer:
    """A line to one broker (``runtime.peers.Line``)."""

    def __init__(self, name: str, locate: Locate, client_id: str, *, timeout_s: float) -> None:
        """``timeout_s`` is how long an answer may take."""
        self._name = name
        self._locate = locate
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._socket: trio.socket.SocketType | None = None
        self._busy = trio.Lock()
        self._asked = 0
        self._kept = bytearray()
        self._small = 0

    async def ask(self, api: str, version: int, body: Any) -> Any:
        """The response to a request; ``Unreachable``. Records in it are views that the next answer may write over."""
        async with self._busy:
            whole = False
            try:
                with trio.fail_after(self._timeout_s):
                    response = await self._exchange(api, version, body)
                whole = True
                return response
            except trio.TooSlowError:
                raise Unreachable(f"{self._name} has not answered within {self._timeout_s:g} s") from None
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, WireError) as error:
                raise Unreachable(f"{self._name}: {error or type(error).__name__}") from error
            finally:
                if not whole:
                    # Half an exchange leaves bytes behind that belong to nobody.
                    self.close()

    def close(self) -> None:
        """Hang up; a later question connects again."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    async def _exchange(self, api: str, version: int, body: Any) -> Any:
        if self._socket is not None and _has_ended(self._socket):
            # Closed over there while nothing was asked: for being idle, or by a broker that has been started anew.
            self.close()
        connection = self._socket
        if connection is None:
            connection = self._socket = await self._connected()
        self._asked = (self._asked + 1) & 0x7FFFFFFF
        rest = memoryview(write_request(api, version, self._asked, self._client_id, body))
        while rest:
            rest = rest[await connection.send(rest) :]
        correlation_id, response = read_response(api, version, await self._frame(connection))
        if correlation_id != self._asked:
            raise WireError(f"an answer to request {correlation_id} instead of {self._asked}")
        return response

    async def _connected(self) -> trio.socket.SocketType:
        address = self._locate()
        if address is None:
            raise Unreachable(f"{self._name} has no address that is known here")
        host, port = address
        with trio.move_on_after(CONNECTING_S):
            try:
                stream = await trio.open_tcp_stream(host, port)
            except UnicodeError as error:
                # What Python says of a name with an empty label, or one that is too long.
                raise Unreachable(f"{self._name}: {host!r} is no host name") from error
            connection = stream.socket
            connection.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE, 1)
            return connection
        raise Unreachable(f"{self._name} cannot be connected to at {host}:{port} within {CONNECTING_S:g} s")

    async def _frame(self, connection: trio.socket.SocketType) -> memoryview:
        """The next answer, without its size."""
        head = bytearray(_SIZE_BYTES)
        await self._fill(connection, memoryview(head), 0, _SIZE_BYTES)
        size = int.from_bytes(head, "big", signed=True)
        if not 0 <= size <= LARGEST_ANSWER_BYTES:
            raise WireError(f"an answer of {size} bytes")
        if size <= KEPT_BYTES:
            room = self._room(size)
            await self._fill(connection, room, 0, size)
            return room
        buffer = bytearray(min(size, BELIEVED_BYTES))
        held = await self._fill(connection, memoryview(buffer), 0, len(buffer))
        while held < size:
            buffer = buffer + bytes(min(size, 2 * held) - held)
            held = await self._fill(connection, memoryview(buffer), held, len(buffer))
        return memoryview(buffer)

    def _room(self, size: int) -> memoryview:
        self._small = 0 if 4 * size >= len(self._kept) else self._small + 1
        if size > len(self._kept) or self._small > SMALL_ANSWERS:
            self._kept = bytearray(size)
        return memoryview(self._kept)[:size]

    async def _fill(self, connection: trio.socket.SocketType, buffer: memoryview, held: int, wanted: int) -> int:
        while held < wanted:
            received = await connection.recv_into(buffer[held:wanted])
            if not received:
                raise WireError("the connection was closed")
            held += received
        return held


def _has_ended(connection: trio.socket.SocketType) -> bool:
    """Whether a connection on which no answer is due has something to read: its end, or bytes that nobody asked for."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
