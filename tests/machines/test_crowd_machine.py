"""Clients of a crowd do what they like; who stays is answered in his order, and who goes leaves nothing behind."""

from __future__ import annotations

import math
import os
import random
import select
import signal
import socket
import struct
from collections.abc import Iterator
from typing import Any, Final

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from pykafka_broker.model.errors import ErrorCode, WireError
from pykafka_broker.model.names import GroupId
from pykafka_broker.net import connection, crowd
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import read_response, write_request
from tests.rooms.net.test_crowd import Hall

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="other systems have no epoll")

KINDS: Final = ["quick", "quick", "held", "parked", "impatient", "hasty", "ringing", "large"]
"""What a request does: is answered at once; waits in a task; is parked until it is rung, for a second, or for no time;
rings for those who are parked and, now and then, lets go who is held; comes in pieces.
"""
OVER: Final = ErrorCode.REQUEST_TIMED_OUT
ENOUGH_S: Final = 200.0
"""Virtual seconds in which everybody has long been answered."""


class Visitor:
    """A client, what it has asked and heard, and how it is gone, if it is."""

    def __init__(self, hall: Hall, stream: trio.SocketStream, lots: random.Random) -> None:
        self.stream = stream
        self.hall = hall
        self.guest = hall.guests[-1]
        self.asked: list[str] = []
        self.heard: list[tuple[int, int]] = []
        self.gone = ""
        self._unsent = b""
        self._lots = lots
        self._is_slow = lots.random() < 0.3

    def asks(self) -> None:
        """Put some requests together; perhaps the last is not all there yet."""
        for _ in range(self._lots.choice([1, 1, 2, 5, 20])):
            kind = self._lots.choice(KINDS)
            group = GroupId("l" * self._lots.randint(100, 30_000) if kind == "large" else kind)
            body = messages.HeartbeatRequest(group_id=group)
            self._unsent += write_request("Heartbeat", 4, len(self.asked), "tests", body)
            self.asked.append(kind)
        self.sends(len(self._unsent) if self._lots.random() < 0.8 else self._lots.randint(0, len(self._unsent)))

    def sends(self, size_bytes: int | None = None) -> None:
        """Send what goes at once."""
        try:
            sent = os.write(self.stream.socket.fileno(), self._unsent[:size_bytes])
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self.gone = self.gone or "expelled"
            return
        self._unsent = self._unsent[sent:]

    def will_ask_no_more(self) -> None:
        self.gone = "half"
        self.stream.socket.shutdown(socket.SHUT_WR)

    def resets(self) -> None:
        self.gone = "reset"
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    async def hears(self) -> None:
        """Read until the end."""
        held = b""
        try:
            while True:
                if self._is_slow and self._lots.random() < 0.5:
                    await trio.sleep(self._lots.random())
                data = await self.stream.receive_some(self._lots.choice([7, 100, 10_000]))
                if not data:
                    return
                held += data
                while len(held) >= 4 and len(held) >= (end := 4 + struct.unpack_from(">i", held)[0]):
                    number, answer = read_response("Heartbeat", 4, held[4:end])
                    self.heard.append((number, answer.error_code))
                    held = held[end:]
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    @property
    def is_owed(self) -> bool:
        """Whether he is to hear everything: he is there, and has asked as a whole what he has asked."""
        return not self.gone or (self.gone == "half" and not self._unsent)

    @property
    def is_content(self) -> bool:
        """Whether there is no more to come, and the crowd knows whether he is there."""
        if (self.guest in self.hall.guests) != (not self.gone):
            return False
        return not self.is_owed or len(self.heard) == len(self.asked)


class Story:
    """A hall, and what happens in it."""

    def __init__(self, lots: random.Random) -> None:
        self.hall = Hall()
        self.lots = lots
        self.visitors: list[Visitor] = []
        self._now_s = 0.0
        beats = self.hall.beats
        beats.held = {"held": trio.Event()}
        beats.patience_s = {"parked": math.inf, "impatient": 1.0, "hasty": 0.0}
        beats.deeds = {"ringing": self.rings}

    def perf_counter(self) -> float:
        """What time it is for the crowd: now and then a request has taken long."""
        self._now_s += self.lots.choice([0.0, 0.0, 0.0, 0.001])
        return self._now_s

    def rings(self) -> None:
        for group in ("parked", "impatient"):
            self.hall.beats.changes.ring(group)
        if self.lots.random() < 0.3:
            self.lets_go()

    def lets_go(self) -> None:
        self.hall.beats.held["held"].set()
        self.hall.beats.held = {"held": trio.Event()}

    async def comes(self, nursery: trio.Nursery) -> None:
        client = await self.hall.admits()
        assert isinstance(client.stream, trio.SocketStream)
        self.visitors.append(Visitor(self.hall, client.stream, self.lots))
        nursery.start_soon(self.visitors[-1].hears)

    async def happens(self, nursery: trio.Nursery) -> None:
        """One thing."""
        visitor, lot = self.lots.choice(self.visitors), self.lots.random()
        if lot < 0.45 and not visitor.gone:
            visitor.asks()
        elif lot < 0.48 and not visitor.gone:
            visitor.will_ask_no_more()
        elif lot < 0.51 and visitor.gone in ("", "half"):
            visitor.resets()
        elif lot < 0.54 and visitor.guest in self.hall.guests:
            visitor.gone = "expelled"
            self.hall.crowd.expel(visitor.guest)
        elif lot < 0.58:
            await self.comes(nursery)
        elif lot < 0.68:
            self.rings()
        elif lot < 0.74:
            self.lets_go()
        elif lot < 0.9:
            await trio.sleep(self.lots.choice([0, 0.1, 1, 3]))
        if self.lots.random() < 0.5:
            await trio.sleep(0)

    async def comes_to_rest(self) -> None:
        """Nobody has to wait for anything any more."""
        with trio.move_on_after(ENOUGH_S):
            while not all(visitor.is_content for visitor in self.visitors):
                self.rings()
                self.lets_go()
                for visitor in self.visitors:
                    if not visitor.gone:
                        visitor.sends()
                await trio.sleep(0.5)
        await trio.sleep(5)

    def is_sound(self) -> None:
        here = self.hall.crowd
        assert not self.hall.beats.waits
        assert not [*here._woken, *here._unsent, *here._alone]
        assert here._is_asleep
        assert len(here._guests) == len(self.hall.guests)
        assert all(why is None or isinstance(why, OSError | WireError) for why in self.hall.ended)
        for visitor in self.visitors:
            for number, (kind, answer) in enumerate(zip(visitor.asked, visitor.heard, strict=False)):
                assert answer in ([(number, 0), (number, OVER)] if kind in ("impatient", "hasty") else [(number, 0)])
            assert visitor.is_content
            guest = visitor.guest
            if not visitor.gone:
                assert guest.is_heard
                assert (guest.work, guest.task) == (None, None)


@pytest.fixture
def is_watched() -> Iterator[None]:
    """A loop that never waits is interrupted; no deadline of trio's would end it."""

    def interrupt(*_: Any) -> None:
        raise AssertionError("the crowd holds everybody up")

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("is_watched")
@given(st.integers(0, 2**32))
@example(35)
@example(241)
def test_whatever_clients_do_whoever_stays_is_answered_and_whoever_goes_is_forgotten(seed: int) -> None:
    signal.alarm(20)

    async def tell() -> None:
        story = Story(random.Random(seed))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connection, "TURN_REQUESTS", 5)
            patch.setattr(crowd, "perf_counter", story.perf_counter)
            await play(story)
        story.hall.close()

    async def play(story: Story) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(story.hall.crowd.run)
            for _ in range(story.lots.randint(1, 5)):
                await story.comes(nursery)
            for _ in range(story.lots.randint(5, 80)):
                await story.happens(nursery)
            await story.comes_to_rest()
            story.is_sound()
            nursery.cancel_scope.cancel()

    trio.run(tell, clock=MockClock(autojump_threshold=0.002))
    signal.alarm(0)
