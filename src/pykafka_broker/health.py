"""Whether a broker serves: what ``pykafka-broker health`` asks, for health checks of containers.

A broker is well when it answers, and tells of itself and of a controller; one that is starting, or that nobody has told
its part yet, is not. The question is an ordinary Metadata request, so that any broker of Kafka's can be asked.
"""

from __future__ import annotations

import socket
from typing import Any

from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import read_response, write_request

_VERSION = 9


def ill(host: str, port: int, *, timeout_s: float = 5.0) -> str | None:
    """Why the broker there is not well, ``None`` when it is."""
    asked = write_request("Metadata", _VERSION, 1, "health", messages.MetadataRequest(topics=[]))
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(asked)
            size = int.from_bytes(_exactly(connection, 4), "big")
            _, told = read_response("Metadata", _VERSION, _exactly(connection, size))
    except OSError as error:
        return str(error)
    return _flaw(told)


def _flaw(told: Any) -> str | None:
    if not told.brokers:
        return "it knows no brokers yet"
    if told.controller_id < 0:
        return "it knows no controller"
    return None


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = connection.recv(min(count - len(found), 1 << 16))
        if not piece:
            raise ConnectionResetError("the connection was closed")
        found += piece
    return found
