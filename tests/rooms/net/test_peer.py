"""A line to another broker: one question after the other, a new connection after every trouble."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from pykafka_broker.model.errors import Unreachable
from pykafka_broker.model.names import BrokerId
from pykafka_broker.net.peer import KEPT_BYTES, SMALL_ANSWERS, Peer
from pykafka_broker.runtime.peers import Line
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Served, close_call, open_call

STOP_REPLICA = Served({5: (0, 4)})
QUESTION = messages.StopReplicaRequest(controller_id=1, controller_epoch=2, broker_epoch=3)

Serve = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def served_by(*conversations: Serve) -> AsyncIterator[tuple[str, int]]:
    """A broker whose first connection is served by the first conversation, and so on; its address."""
    left = list(conversations)

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await left.pop(0)(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[:2]
        nursery.cancel_scope.cancel()


async def frame(stream: trio.SocketStream) -> bytes:
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack(">i", data[:4])[0]:
        some = await stream.receive_some()
        assert some
        data += bytes(some)
    return data[4:]


async def answers(stream: trio.SocketStream, *codes: int) -> None:
    for code in codes:
        call = open_call(await frame(stream), STOP_REPLICA)
        assert (call.version, call.client_id, call.body) == (4, "1", QUESTION)
        for piece in close_call(call, messages.StopReplicaResponse(error_code=code)):
            await stream.send_all(piece)  # type: ignore[arg-type]


async def hangs_up(stream: trio.SocketStream) -> None:
    await frame(stream)


async def says_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def speaks_nonsense(stream: trio.SocketStream) -> None:
    await frame(stream)
    await stream.send_all(b"HTTP/1.1 400 Bad Request")


@contextmanager
def peer(address: tuple[str, int] | None, timeout_s: float = 5) -> Iterator[Line]:
    line = Peer("broker 2", lambda: address, "1", timeout_s=timeout_s)
    try:
        yield line
    finally:
        line.close()


async def ask(line: Line) -> int:
    response: Any = await line.ask("StopReplica", 4, QUESTION)
    return int(response.error_code)


async def test_one_connection_carries_one_question_after_the_other() -> None:
    async with served_by(lambda stream: answers(stream, 1, 2, 3)) as address:
        with peer(address) as line:
            assert [await ask(line) for _ in range(3)] == [1, 2, 3]


async def test_questions_asked_at_the_same_time_take_turns() -> None:
    heard = []

    async def asks(line: Line) -> None:
        heard.append(await ask(line))

    async with served_by(lambda stream: answers(stream, 1, 2)) as address:
        with peer(address) as line:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(asks, line)
                nursery.start_soon(asks, line)
    assert sorted(heard) == [1, 2]


FETCH = Served({1: (0, 12)})


async def sends_records(stream: trio.SocketStream, *sizes: int) -> None:
    for number, size in enumerate(sizes):
        call = open_call(await frame(stream), FETCH)
        partition = messages.FetchResponse.PartitionData(records=bytes([number]) * size)
        topic = messages.FetchResponse.FetchableTopicResponse(topic="orders", partitions=[partition])
        for piece in close_call(call, messages.FetchResponse(responses=[topic])):
            await stream.send_all(piece)  # type: ignore[arg-type]


async def fetched(line: Line) -> memoryview:
    response: Any = await line.ask("Fetch", 12, messages.FetchRequest(replica_id=BrokerId(2)))
    records = response.responses[0].partitions[0].records
    assert isinstance(records, memoryview)
    return records


async def test_records_are_whole_however_large_the_answers_are() -> None:
    sizes = (10, 100_000, 5_000, KEPT_BYTES, 3, KEPT_BYTES + 1, 200)
    async with served_by(lambda stream: sends_records(stream, *sizes)) as address:
        with peer(address) as line:
            for number, size in enumerate(sizes):
                assert bytes(await fetched(line)) == bytes([number]) * size


async def test_an_answer_takes_the_memory_of_the_one_before_until_it_is_far_too_much() -> None:
    sizes = (100_000, 90_000, *[10] * (SMALL_ANSWERS + 1))
    async with served_by(lambda stream: sends_records(stream, *sizes)) as address:
        with peer(address) as line:
            buffers = [(await fetched(line)).obj for _ in sizes]
    assert all(buffer is buffers[0] for buffer in buffers[:-1])
    assert len(buffers[-1]) < 200  # type: ignore[arg-type]


@pytest.mark.parametrize("trouble", [hangs_up, speaks_nonsense])
async def test_after_trouble_the_next_question_connects_anew(trouble: Serve) -> None:
    async with served_by(trouble, lambda stream: answers(stream, 7)) as address:
        with peer(address) as line:
            with pytest.raises(Unreachable, match="broker 2"):
                await ask(line)
            assert await ask(line) == 7


async def test_a_connection_that_was_closed_between_two_questions_is_made_anew() -> None:
    closed = trio.Event()

    async def answers_and_leaves(stream: trio.SocketStream) -> None:
        await answers(stream, 1)
        await stream.aclose()
        closed.set()

    async with served_by(answers_and_leaves, lambda stream: answers(stream, 2)) as address:
        with peer(address) as line:
            assert await ask(line) == 1
            await closed.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert await ask(line) == 2


async def test_a_broker_that_does_not_answer_in_time_is_unreachable() -> None:
    async with served_by(says_nothing) as address:
        with peer(address, timeout_s=0.05) as line, pytest.raises(Unreachable, match="has not answered within"):
            await ask(line)


async def test_an_answer_to_a_question_that_was_given_up_is_not_taken_for_the_next() -> None:
    async with served_by(says_nothing, lambda stream: answers(stream, 9)) as address:
        with peer(address) as line:
            with trio.move_on_after(0.05):
                await ask(line)
            assert await ask(line) == 9


async def test_a_broker_without_an_address_is_unreachable() -> None:
    with peer(None) as line, pytest.raises(Unreachable, match="no address"):
        await ask(line)


async def test_a_broker_that_nobody_listens_for_is_unreachable() -> None:
    async with served_by() as address:
        pass
    with peer(address) as line, pytest.raises(Unreachable):
        await ask(line)


@pytest.mark.parametrize(
    "host", ["broker..example", "b" * 64 + ".example", "\N{LATIN SMALL LETTER U WITH DIAERESIS}..x"]
)
async def test_a_broker_that_advertises_what_is_no_host_name_is_unreachable(host: str) -> None:
    with peer((host, 9092)) as line, pytest.raises(Unreachable):
        await line.ask("StopReplica", 4, QUESTION)
