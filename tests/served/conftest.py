"""A whole broker in this process, and clients that speak raw frames to it over loopback."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from pykafka_broker import Broker
from pykafka_broker.wire.exchange import read_response, write_request


class RawClient:
    """One connection on which requests of any version, or any bytes at all, can be sent."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._received = b""
        self._number = 0

    async def asks(self, version: int, body: Any, *, client_id: str | None = "tests") -> Any:
        """The response to a request message."""
        api = type(body).__name__.removesuffix("Request")
        self._number += 1
        await self.stream.send_all(write_request(api, version, self._number, client_id, body))
        frame = await self.frame()
        assert frame is not None, f"the connection was closed on {api} {version}"
        correlation_id, response = read_response(api, version, frame)
        assert correlation_id == self._number
        return response

    async def frame(self) -> bytes | None:
        """The next frame; ``None`` when the broker has closed the connection."""
        while len(self._received) < 4 or len(self._received) < 4 + struct.unpack_from(">i", self._received)[0]:
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self._received += data
        size = struct.unpack_from(">i", self._received)[0]
        frame, self._received = self._received[4 : 4 + size], self._received[4 + size :]
        return frame


@asynccontextmanager
async def connected(broker: Broker) -> AsyncIterator[RawClient]:
    """A new connection to the broker."""
    host, _, port = broker.bootstrap_servers.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        yield RawClient(stream)


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker({"offsets.topic.num.partitions": "1"}) as broker:
        yield broker


@pytest.fixture
async def client(broker: Broker) -> AsyncIterator[RawClient]:
    async with connected(broker) as client:
        yield client
