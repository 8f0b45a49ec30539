"""A question to a broker from a program that waits for nothing else meanwhile: a blocking socket, no event loop."""

from __future__ import annotations

import socket
from typing import Any

from pykafka_broker.wire.exchange import read_response, write_request

_PIECE_BYTES = 1 << 16


def ask(host: str, port: int, api: str, version: int, body: Any, *, client_id: str, timeout_s: float) -> Any:
    """The response to one request over a connection of its own.

    ``timeout_s`` bounds each wait. ``OSError`` when nobody answers, ``WireError`` when the answer makes no sense.
    """
    with socket.create_connection((host, port), timeout_s) as connection:
        return exchange(connection, api, version, write_request(api, version, 1, client_id, body))


def exchange(connection: socket.socket, api: str, version: int, request: bytes) -> Any:
    """The response to a request that is written out already; errors as of ``ask``."""
    connection.sendall(request)
    size = int.from_bytes(_exactly(connection, 4), "big")
    return read_response(api, version, _exactly(connection, size))[1]


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        piece = connection.recv(min(count - len(found), _PIECE_BYTES))
        if not piece:
            raise ConnectionResetError("the connection was closed")
        found += piece
    return bytes(found)
