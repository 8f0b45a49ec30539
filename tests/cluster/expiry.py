"""The end of a session by the server's will, without waiting for its time to run out."""

from __future__ import annotations

import struct
from contextlib import suppress

import trio
from kazoo.protocol.serialization import Close, Connect

from pykafka_broker.zk.session import Ensemble


async def expire(port: int, house: Ensemble) -> None:
    """Have the server end the session: somebody else takes it over and closes it in one breath.

    The house may take it back before it is closed; then once more.
    """
    session = await house.session()
    session_id, password = house._client.client_id
    take_over = Connect(0, 0, 10_000, session_id, password, False).serialize()
    close = struct.pack(">ii", 1, Close.type)
    both = b"".join(struct.pack(">i", len(part)) + part for part in (take_over, close))
    with trio.fail_after(30):
        while not session.ended.is_set():
            with suppress(trio.BrokenResourceError):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await stream.send_all(both)
                    async for _ in stream:
                        pass
            with trio.move_on_after(0.5):
                await session.ended.wait()
