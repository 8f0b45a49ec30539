"""A conversation in raw requests, held with any broker, and its transcript in which chance has been masked."""

from __future__ import annotations

import json
import re
import socket
import struct
from types import TracebackType
from typing import Any
from uuid import UUID

from pykafka_broker.wire.exchange import read_response, write_request
from pykafka_broker.wire.structures import Structure

PATIENCE_S = 30.0

_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Conversation:
    """Some connections to one broker. Everything said is kept; random ids are numbered in order of appearance."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: dict[str, socket.socket] = {}
        self._pending: dict[str, tuple[str, int]] = {}
        self._ids: dict[str, str] = {}
        self.transcript: list[str] = []

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections.values():
            connection.close()

    def send(self, who: str, version: int, body: Any) -> None:
        """Ask, and listen later."""
        if who not in self._connections:
            self._connections[who] = socket.create_connection(("127.0.0.1", self._port), PATIENCE_S)
        api = type(body).__name__.removesuffix("Request")
        self._connections[who].sendall(write_request(api, version, 1, who, body))
        self._pending[who] = api, version

    def hear(self, who: str, *, quietly: bool = False) -> Any:
        """The answer to what was asked last; into the transcript unless it is asked ``quietly``."""
        api, version = self._pending.pop(who)
        (size,) = struct.unpack(">i", self._exactly(who, 4))
        _, answer = read_response(api, version, self._exactly(who, size))
        if not quietly:
            self.transcript.append(f"{who} {api} v{version}: {self._masked(answer)}")
        return answer

    def ask(self, who: str, version: int, body: Any, *, quietly: bool = False) -> Any:
        """Ask, and listen."""
        self.send(who, version, body)
        return self.hear(who, quietly=quietly)

    def is_waiting(self, who: str, seconds: float) -> bool:
        """Whether nothing is heard for that long; noted in the transcript."""
        connection = self._connections[who]
        connection.settimeout(seconds)
        try:
            waits = not connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            waits = True
        finally:
            connection.settimeout(PATIENCE_S)
        self.transcript.append(f"{who} {'waits' if waits else 'has an answer'}")
        return waits

    def _exactly(self, who: str, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._connections[who].recv(count - len(data))
            if not more:
                raise EOFError(f"{who} was hung up on")
            data += more
        return data

    def _masked(self, answer: Any) -> str:
        text = json.dumps(_plain(answer), sort_keys=True)
        text = _RANDOM.sub(lambda found: self._ids.setdefault(found[0], f"<{len(self._ids) + 1}>"), text)
        return text.replace(str(self._port), "<port>")


def _plain(value: Any) -> Any:
    """As JSON, with lists of structures in an order that does not depend on hash maps."""
    if isinstance(value, Structure):
        return {name: _plain(getattr(value, name)) for name in value.__slots__ if not name.startswith("_")}
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return sorted(items, key=_order) if items and isinstance(items[0], dict) else items
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return str(value) if isinstance(value, UUID) else value


def _order(item: dict[str, Any]) -> str:
    """By everything but random ids."""
    return _RANDOM.sub("", json.dumps(item, sort_keys=True))
