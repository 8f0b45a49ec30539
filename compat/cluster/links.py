"""The network between brokers, and between them and ZooKeeper, as something that can be cut, one way or both.

Every connection goes through a relay on loopback. Who has made it is told by the client id of its first request, which
begins every conversation between brokers (`broker-2-fetcher-0`, or simply `2`); each broker has relays to ZooKeeper of
its own. What is sent into a cut waits and arrives when the link is whole again, as with TCP, whose packets are sent
again until they get through; the end of a connection waits likewise. A connection made into a cut is accepted and then
silent. No right to change the system's network is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Final

from tests.cluster.zookeeper import free_port

ZOOKEEPER: Final = -1
"""What ZooKeeper is called where brokers have numbers."""
UNKNOWN: Final = -2
"""Whoever is no broker, a client that has found the brokers' own listener, say."""

_CHUNK: Final = 1 << 16
_CLIENT_ID: Final = re.compile(r"(?:broker-)?(\d+)(?:-.*)?")
_FIXED: Final = 4 + 2 + 2 + 4 + 2
"""Size, API key, version, correlation id, length of the client id."""


class Links:
    """All links of a cluster. Use as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut: set[tuple[int, int]] = set()
        self._changed: asyncio.Event

    def __enter__(self) -> Links:
        self._thread.start()
        self._run(self._prepare())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def relay(self, port: int, target: int, source: int | None = None) -> int:
        """The port of a relay to `target`, who listens at `port`; without `source` connections say who made them."""
        return self._run(self._listen(port, target, source))

    def cut(self, source: int, target: int) -> None:
        """Let nothing through from `source` to `target`; the other way is left as it is."""
        self._run(self._set(self._cut | {(source, target)}))

    def cut_both(self, one: int, other: int) -> None:
        """Let nothing through between the two."""
        self.cut(one, other)
        self.cut(other, one)

    def heal(self) -> None:
        """Make all links whole."""
        self._run(self._set(set()))

    @property
    def are_whole(self) -> bool:
        """Whether nothing is cut."""
        return not self._cut

    async def _set(self, cut: set[tuple[int, int]]) -> None:
        self._cut = cut
        self._changed.set()
        self._changed = asyncio.Event()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _prepare(self) -> None:
        self._changed = asyncio.Event()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, port: int, target: int, source: int | None) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._relay(reader, writer, port, target, source)
            except (OSError, EOFError, asyncio.CancelledError):
                pass
            finally:
                self._tasks.discard(task)
                writer.close()

        own = free_port()
        self._servers.append(await asyncio.start_server(serve, "127.0.0.1", own, limit=_CHUNK))
        return own

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, target: int, source: int | None
    ) -> None:
        begun = b""
        if source is None:
            begun, source = await _who(reader)
        await self._passable(source, target)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, limit=_CHUNK)
        with contextlib.closing(far_writer):
            far_writer.write(begun)
            ways = [
                asyncio.ensure_future(self._pump(reader, far_writer, source, target)),
                asyncio.ensure_future(self._pump(far_reader, writer, target, source)),
            ]
            try:
                # An end is final for both ways: no broker and no ZooKeeper closes half a connection.
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: int, target: int) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._passable(source, target)
                writer.write(data)
                await writer.drain()
        await self._passable(source, target)

    async def _passable(self, source: int, target: int) -> None:
        while (source, target) in self._cut:
            await self._changed.wait()


async def _who(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """The first bytes of a conversation, and the number of the broker that began it."""
    begun = await reader.readexactly(_FIXED)
    (length,) = struct.unpack_from(">h", begun, _FIXED - 2)
    name = await reader.readexactly(length) if length > 0 else b""
    matched = _CLIENT_ID.fullmatch(name.decode(errors="replace"))
    return begun + name, int(matched[1]) if matched else UNKNOWN
