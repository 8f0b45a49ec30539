"""Frames come out of a stream whole, in order, and never cost more memory than bytes were sent."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterable

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.model.errors import WireError
from pykafka_broker.net.frames import FIRST_BUFFER_BYTES, Frames, StreamChannel


class Portions:
    """A channel on which bytes arrive in given portions."""

    moved = 0

    def __init__(self, portions: Iterable[bytes]) -> None:
        self._portions = [portion for portion in portions if portion]

    async def receive_into(self, buffer: memoryview) -> int:
        if not self._portions:
            return 0
        portion = self._portions[0][: len(buffer)]
        rest = self._portions[0][len(portion) :]
        self._portions[:1] = [rest] if rest else []
        buffer[: len(portion)] = portion
        return len(portion)

    def send_nowait(self, data: object) -> int:
        raise AssertionError("frames do not send")

    async def send(self, pieces: object) -> None:
        raise AssertionError("frames do not send")


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


async def all_frames(portions: Iterable[bytes], max_frame_bytes: int = 1 << 20) -> list[bytes]:
    frames = Frames(Portions(portions), max_frame_bytes)
    found = []
    while True:
        while (frame := frames.at_hand()) is not None:
            found.append(bytes(frame))
            del frame
        if not await frames.receive():
            return found


@given(
    bodies=st.lists(
        st.binary(max_size=50) | st.integers(1, 70_000).map(lambda size: bytes([size % 251]) * size), max_size=8
    ),
    cut_at=st.lists(st.integers(1, 40_000), max_size=10),
)
async def test_frames_are_the_same_however_the_bytes_arrive(bodies: list[bytes], cut_at: list[int]) -> None:
    stream = b"".join(framed(body) for body in bodies)
    portions = []
    for cut in cut_at:
        portions.append(stream[:cut])
        stream = stream[cut:]
    portions.append(stream)
    assert await all_frames(portions) == bodies


@pytest.mark.parametrize("size", [-1, -(2**31), 1001, 2**31 - 1])
async def test_a_size_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(WireError):
        await all_frames([struct.pack(">i", size) + b"rest"], max_frame_bytes=1000)


async def test_the_largest_frame_allowed_is_taken() -> None:
    assert await all_frames([framed(b"x" * 1000)], max_frame_bytes=1000) == [b"x" * 1000]


async def test_a_claimed_size_costs_nothing_until_the_bytes_arrive() -> None:
    frames = Frames(Portions([struct.pack(">i", 100_000_000) + b"a few"]), 104_857_600)
    tracemalloc.start()
    try:
        while await frames.receive():
            assert frames.at_hand() is None
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * FIRST_BUFFER_BYTES


async def test_a_large_frame_holds_at_most_three_times_what_was_received() -> None:
    sent = 5_000_000
    body = bytes(100_000)
    portions = [struct.pack(">i", 50_000_000)] + [body] * (sent // len(body))
    frames = Frames(Portions(portions), 104_857_600)
    tracemalloc.start()
    try:
        while await frames.receive():
            assert frames.at_hand() is None
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * sent


class Silence(Portions):
    """A channel on which, when all portions have arrived, nothing ever does."""

    async def receive_into(self, buffer: memoryview) -> int:
        received = await super().receive_into(buffer)
        return received or await trio.sleep_forever()


async def test_a_client_that_falls_silent_gives_its_large_buffer_back(autojump_clock: trio.testing.MockClock) -> None:
    large = framed(bytes(1 << 20))
    frames = Frames(Silence([large, large]), 1 << 20)
    tracemalloc.start()
    try:
        for _ in range(2):
            while (frame := frames.at_hand()) is None:
                await frames.receive()
            assert len(frame) == 1 << 20
            del frame
        with trio.move_on_after(1):
            await frames.receive()
        kept, _ = tracemalloc.get_traced_memory()
        with trio.move_on_after(10):
            await frames.receive()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept > 1 << 20
    assert left < 4 * FIRST_BUFFER_BYTES


async def test_a_frame_that_comes_after_a_silence_is_whole(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    frames = Frames(StreamChannel(ours), 1 << 20)
    body = bytes(range(256)) * 300
    for pause_s in (0, 1, 30, 1):
        await trio.sleep(pause_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(theirs.send_all, framed(body))
            while (frame := frames.at_hand()) is None:
                await frames.receive()
        assert bytes(frame) == body
        del frame
        with trio.move_on_after(pause_s):
            await frames.receive()
