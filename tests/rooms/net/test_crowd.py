"""Many connections on one epoll: whoever has to be waited for holds nobody else up, and answers come in their order."""

from __future__ import annotations

import gc
import itertools
import math
import os
import select
import signal
import socket
import struct
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from pykafka_broker.api.desk import Desk
from pykafka_broker.api.routes import Route, collect
from pykafka_broker.model.errors import ErrorCode, WireError
from pykafka_broker.model.identity import Session
from pykafka_broker.model.names import GroupId
from pykafka_broker.net import crowd
from pykafka_broker.net.connection import TURN_REQUESTS, Connection
from pykafka_broker.net.crowd import SILENT_S, Crowd, Guest
from pykafka_broker.net.frames import SocketChannel
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import monotonic_s
from pykafka_broker.runtime.waiter import Waiter
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call, write_request
from tests.rooms.net.test_connection import Client, Records

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="other systems have no epoll")

_IN_THE_KERNEL_S = 0.02
"""After so long, what was sent has arrived, and whoever was to be woken runs."""


class Beats:
    """Heartbeats of groups; those of a group that is held wait in a task until it is let go, and those of a group that
    has patience are parked until it is rung, or the patience ends.
    """

    def __init__(self) -> None:
        self.held: dict[str, trio.Event] = {}
        self.patience_s: dict[str, float] = {}
        self.changes = Changes()
        self.heard: list[str] = []
        self.in_progress: defaultdict[int, int] = defaultdict(int)
        self.deeds: dict[str, Callable[[], None]] = {}
        """What is done when a group is heard."""

    def routes(self) -> tuple[Route, ...]:
        return (Route("Heartbeat", "0-4", self.heartbeat, self.refuse),)

    async def heartbeat(self, call: Call[Any]) -> messages.HeartbeatResponse:
        group = call.body.group_id
        self.heard.append(group)
        if group in self.deeds:
            self.deeds[group]()
        if group in self.held:
            assert not self.in_progress[id(call.session)], "two requests of one connection are in progress at once"
            self.in_progress[id(call.session)] += 1
            # With a scope of its own, as handlers that wait have it: it must stay in the task that opened it.
            with trio.move_on_after(3600):
                if group == "defect":
                    await self._fail_in_the_end(self.held[group])
                await self.held[group].wait()
            self.in_progress[id(call.session)] -= 1
        if group in self.patience_s:
            assert not self.in_progress[id(call.session)], "two requests of one connection are in progress at once"
            self.in_progress[id(call.session)] += 1
            waiter = Waiter(self.patience_s[group], may_park=call.may_park)
            was_rung = await self.changes.wait_as(waiter, [group])
            self.in_progress[id(call.session)] -= 1
            if not was_rung:
                return messages.HeartbeatResponse(error_code=ErrorCode.REQUEST_TIMED_OUT)
        return messages.HeartbeatResponse()

    @property
    def waits(self) -> bool:
        """Whether anybody who is parked is known to the bells."""
        return bool(self.changes._waiting)

    @staticmethod
    async def _fail_in_the_end(event: trio.Event) -> None:
        async def fail() -> None:
            try:
                await event.wait()
            finally:
                raise RuntimeError("a defect")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(event.wait)

    @staticmethod
    def refuse(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.HeartbeatResponse:
        return messages.HeartbeatResponse(error_code=code)


class Hall:
    """A crowd, and its clients at the other ends of their connections."""

    def __init__(self, *others: Any) -> None:
        self.beats = Beats()
        self.ended: list[Exception | None] = []
        self.crowd = Crowd(self._ended)
        self.guests: list[Guest] = []
        self._routes = collect([self.beats, *others])
        self._answer = Desk(self._routes).answer
        self._door = socket.create_server(("127.0.0.1", 0))

    def _ended(self, guest: Guest, why: Exception | None) -> None:
        self.ended.append(why)
        self.guests.remove(guest)
        guest.channel.close()

    async def admits(self) -> Client:
        stream = await trio.open_tcp_stream(*self._door.getsockname())
        accepted, _ = self._door.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        channel = SocketChannel(accepted)
        session = Session("PLAINTEXT", "/127.0.0.1")
        connection = Connection(channel, session, self._routes.served, self._answer, 100_000_000)
        self.guests.append(Guest(channel, connection, "127.0.0.1"))
        self.crowd.admit(self.guests[-1])
        return Client(stream)

    def close(self) -> None:
        self._door.close()


@pytest.fixture
async def hall(nursery: trio.Nursery) -> AsyncIterator[Hall]:
    hall = Hall()
    nursery.start_soon(hall.crowd.run)
    yield hall
    hall.close()


async def test_everybody_is_answered_in_his_order(hall: Hall) -> None:
    clients = [await hall.admits() for _ in range(20)]
    for client in clients:
        await client.sends(*"abc")
    for client in clients:
        assert [await client.hears() for _ in range(3)] == [(0, 0), (1, 0), (2, 0)]


async def test_a_crowd_that_never_stops_asking_lets_other_tasks_have_their_turn(hall: Hall) -> None:
    clients = [await hall.admits() for _ in range(20)]
    asked = [write_request("Heartbeat", 4, 7, "tests", messages.HeartbeatRequest(group_id="a"))] * 300
    for client in clients:
        assert os.write(client.stream.socket.fileno(), b"".join(asked)) == len(asked) * len(asked[0])
    turns = [0]
    while len(hall.beats.heard) < len(clients) * len(asked):
        await trio.lowlevel.checkpoint()
        turns.append(len(hall.beats.heard))
    # Two turns at most, because trio has tasks run in any order; one turn ends with what a single client has sent.
    assert max(later - earlier for earlier, later in itertools.pairwise(turns)) <= 2 * (100 + len(asked))


async def test_a_crowd_that_sends_byte_after_byte_lets_other_tasks_have_their_turn(hall: Hall) -> None:
    clients = [await hall.admits() for _ in range(400)]
    frame = write_request("Heartbeat", 4, 7, "tests", messages.HeartbeatRequest(group_id="x" * 100))
    for client in clients:
        await client.stream.send_all(frame[:1])
    while not all(guest.channel.moved for guest in hall.guests):
        await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    for client in clients:
        assert os.write(client.stream.socket.fileno(), frame[1:2]) == 1
    turns = [len(clients)]
    while turns[-1] < 2 * len(clients):
        await trio.lowlevel.checkpoint()
        turns.append(sum(guest.channel.moved for guest in hall.guests))
    assert max(later - earlier for earlier, later in itertools.pairwise(turns)) <= 2 * 100


async def test_one_client_with_a_large_buffer_full_of_requests_lets_other_tasks_have_their_turn(hall: Hall) -> None:
    client = await hall.admits()
    (guest,) = hall.guests
    frame = write_request("Heartbeat", 4, 7, "tests", messages.HeartbeatRequest(group_id="a"))
    asked = 5_000
    # As it is after a large frame, with everything that has come since in one buffer.
    guest.connection.frames.lend(memoryview(bytearray(frame * (asked + 1))), asked * len(frame))
    await client.sends("a")
    turns = [0]
    while len(hall.beats.heard) < asked + 1:
        await trio.lowlevel.checkpoint()
        turns.append(len(hall.beats.heard))
    assert max(later - earlier for earlier, later in itertools.pairwise(turns)) <= 2 * TURN_REQUESTS
    assert [await client.hears() for _ in range(asked + 1)] == [(7, 0)] * asked + [(0, 0)]


async def test_who_is_answered_before_he_talks_nonsense_hears_it(hall: Hall) -> None:
    client = await hall.admits()
    frame = write_request("Heartbeat", 4, 7, "tests", messages.HeartbeatRequest(group_id="a"))
    await client.stream.send_all(2 * frame + struct.pack(">i", -1))
    assert [await client.hears() for _ in range(3)] == [(7, 0), (7, 0), None]
    assert [type(why) for why in hall.ended] == [WireError]


def all_at_once(clients: list[Client], *groups: str) -> None:
    """Each client asks for one of the groups, before anybody is answered."""
    for client, group in zip(clients, groups, strict=True):
        asked = write_request("Heartbeat", 4, 0, "tests", messages.HeartbeatRequest(group_id=GroupId(group)))
        assert os.write(client.stream.socket.fileno(), asked) == len(asked)


@pytest.mark.parametrize(("slowness_s", "are_sent"), [(0.0, False), (1.0, True)])
async def test_answers_wait_for_each_other_but_not_for_long(
    hall: Hall, monkeypatch: pytest.MonkeyPatch, slowness_s: float, are_sent: bool
) -> None:
    clients = [await hall.admits() for _ in range(5)]
    time_s = itertools.count(0.0, slowness_s or 1e-9)
    monkeypatch.setattr(crowd, "perf_counter", time_s.__next__)
    seen: list[bool] = []
    poll = select.poll()
    poll.register(clients[0].stream.socket, select.POLLIN)
    hall.beats.deeds = {"look": lambda: seen.append(bool(poll.poll(0)))}
    all_at_once(clients, "a", "b", "look", "look", "c")
    for client in clients:
        assert await client.hears() == (0, 0)
    assert seen == [are_sent, are_sent]


class Watch:
    """Shows the time. Whoever looks on looks at it again and again, and sees the seconds go by."""

    def __init__(self, step_s: float) -> None:
        self.now_s = 0.0
        self.step_s = step_s
        self.looks = 0
        self.deed: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        self.looks += 1
        self.now_s += self.step_s
        self.deed()
        return self.now_s


async def test_who_asks_again_at_once_is_heard_without_sleep_and_others_have_their_turn(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, heard, gaps = 0, 0, [0]
    client = await hall.admits()
    watch = Watch(1e-6)
    monkeypatch.setattr(crowd, "perf_counter", watch)
    monkeypatch.setattr(crowd, "_IS_ALONE", False)
    frame = write_request("Heartbeat", 4, 7, "tests", messages.HeartbeatRequest(group_id=GroupId("a")))

    def ask_again() -> None:
        nonlocal asked
        if asked < 50 and len(hall.beats.heard) == asked:
            asked += 1
            gaps.append(asked - heard)
            assert os.write(client.stream.socket.fileno(), frame) == len(frame)

    watch.deed = ask_again
    asked += 1
    await client.stream.send_all(frame)
    while heard < 50:
        assert await client.hears() == (7, 0)
        heard += 1
    # His answers are there for him after one turn, and he hears them in the next.
    assert 5 < max(gaps) <= 2 * 10 + 2


async def test_who_did_not_ask_again_at_once_is_not_looked_for(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await hall.admits()
    watch = Watch(1e-6)
    monkeypatch.setattr(crowd, "perf_counter", watch)
    monkeypatch.setattr(crowd, "_IS_ALONE", False)
    looks: list[int] = []
    for _ in range(4):
        before = watch.looks
        await client.sends("a")
        await client.hears()
        await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
        looks.append(watch.looks - before)
        if len(looks) >= 2:
            watch.now_s += 1.0
    # One look at waking up, and one at falling asleep, but for the time when two had come one after the other.
    assert looks[1] >= 50
    assert [looks[0], *looks[2:]] == [2, 2, 2]


async def test_answers_do_not_wait_for_whoever_waits(hall: Hall) -> None:
    clients = [await hall.admits() for _ in range(7)]
    hall.beats.held = {"one": trio.Event(), "two": trio.Event()}
    all_at_once(clients, "a", "b", "one", "c", "two", "d", "e")
    for index in (0, 1, 3, 5, 6):
        assert await clients[index].hears() == (0, 0)
    for index, group in ((2, "one"), (4, "two")):
        hall.beats.held[group].set()
        assert await clients[index].hears() == (0, 0)


async def test_who_is_expelled_before_his_answer_is_sent_is_gone_once(hall: Hall) -> None:
    clients = [await hall.admits() for _ in range(3)]
    first = hall.guests[0]
    hall.beats.deeds = {"expel": lambda: hall.crowd.expel(first)}
    all_at_once(clients, "a", "expel", "b")
    assert await clients[0].frame() is None
    for client in clients[1:]:
        assert await client.hears() == (0, 0)
    assert hall.ended == [None]


async def test_several_clients_that_do_not_read_are_each_waited_for_alone(hall: Hall) -> None:
    clients = [await hall.admits() for _ in range(4)]
    guests = hall.guests[:3]
    asked = 50_000
    frame = write_request("Heartbeat", 4, 7, "tests", messages.HeartbeatRequest(group_id=GroupId("a")))
    answer = struct.pack(">iibihb", 12, 7, 0, 0, 0, 0)
    async with trio.open_nursery() as nursery:
        for client in clients[:3]:
            nursery.start_soon(client.stream.send_all, frame * asked)
        while any(guest.task is None for guest in guests):
            await wait_all_tasks_blocked()
        await clients[3].sends("b")
        assert await clients[3].hears() == (0, 0)
        for client in clients[:3]:
            heard = b""
            while len(heard) < asked * len(answer):
                heard += await client.stream.receive_some()
            assert heard == answer * asked


async def test_who_has_to_wait_holds_nobody_else_up(hall: Hall) -> None:
    hall.beats.held = {"one": trio.Event(), "two": trio.Event()}
    first, second, third = [await hall.admits() for _ in range(3)]
    await first.sends("a", "one", "b")
    await second.sends("two")
    assert await first.hears() == (0, 0)
    await third.sends("c")
    assert await third.hears() == (0, 0)
    hall.beats.held["two"].set()
    assert await second.hears() == (0, 0)
    hall.beats.held["one"].set()
    assert [await first.hears() for _ in range(2)] == [(1, 0), (2, 0)]


async def test_among_many_who_have_to_wait_who_came_first_is_served_first(hall: Hall) -> None:
    clients = [await hall.admits() for _ in range(200)]
    groups = [f"group {number}" for number in range(len(clients))]
    hall.beats.held = {group: trio.Event() for group in groups[:-1]}
    for client, group in zip(clients, groups, strict=True):
        frame = write_request("Heartbeat", 4, 7, "tests", messages.HeartbeatRequest(group_id=group))
        assert os.write(client.stream.socket.fileno(), frame) == len(frame)
    assert await clients[-1].hears() == (7, 0)
    assert hall.beats.heard == groups


async def test_who_has_waited_goes_on_as_before_and_may_wait_again(hall: Hall) -> None:
    client = await hall.admits()
    for number in range(5):
        hall.beats.held = {"held": trio.Event()}
        await client.sends("a", "held", "b")
        assert await client.hears() == (0, 0)
        hall.beats.held["held"].set()
        assert [await client.hears() for _ in range(2)] == [(1, 0), (2, 0)]
        assert len(hall.beats.heard) == 3 * (number + 1)


async def test_who_is_silent_for_a_while_after_waiting_needs_no_task_of_his_own(
    hall: Hall, autojump_clock: trio.testing.MockClock
) -> None:
    hall.beats.held = {"held": trio.Event()}
    hall.beats.held["held"].set()
    client = await hall.admits()
    (guest,) = hall.guests
    for _ in range(3):
        hall.beats.held = {"held": trio.Event()}
        await client.sends("held")
        await wait_all_tasks_blocked()
        assert guest.task is not None
        hall.beats.held["held"].set()
        assert await client.hears() == (0, 0)
        await trio.sleep(3 * SILENT_S)
        assert guest.task is None
        assert not guest.connection.frames.has_buffer
        await client.sends("a")
        assert await client.hears() == (0, 0)
        assert guest.task is None


async def test_who_has_asked_and_waits_for_long_keeps_his_task(
    hall: Hall, autojump_clock: trio.testing.MockClock
) -> None:
    hall.beats.held = {"held": trio.Event()}
    client = await hall.admits()
    await client.sends("held", "a")
    await trio.sleep(100 * SILENT_S)
    hall.beats.held["held"].set()
    assert [await client.hears() for _ in range(2)] == [(0, 0), (1, 0)]


@pytest.mark.parametrize("is_closed", [True, False])
async def test_who_is_closed_while_his_task_waits_for_him_is_sent_away_and_who_is_roused_is_not(
    hall: Hall, is_closed: bool
) -> None:
    client, other = await hall.admits(), await hall.admits()
    (guest, _) = hall.guests
    hall.beats.held = {"held": trio.Event()}
    await client.sends("held")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    hall.beats.held.pop("held").set()
    assert await client.hears() == (0, 0)
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    assert guest.rests
    (guest.channel.close if is_closed else guest.channel.rouse)()
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    assert hall.ended == [None] * is_closed
    for each in (other,) if is_closed else (other, client):
        await each.sends("a")
        assert await each.hears() == (0, 0)


async def test_a_request_may_come_in_pieces_and_costs_a_silent_client_no_more_than_what_came(
    hall: Hall, autojump_clock: trio.testing.MockClock
) -> None:
    client, other = await hall.admits(), await hall.admits()
    guest = hall.guests[0]
    frame = write_request("Heartbeat", 4, 7, "tests", messages.HeartbeatRequest(group_id="x" * 30_000))
    for piece in (frame[:3], frame[3:20_000], frame[20_000:]):
        await client.stream.send_all(piece)
        await wait_all_tasks_blocked()
        await other.sends("a")
        assert await other.hears() == (0, 0)
        await trio.sleep(3 * SILENT_S)
    assert await client.hears() == (7, 0)
    await trio.sleep(3 * SILENT_S)
    assert not guest.connection.frames.has_buffer


async def test_a_client_that_does_not_read_is_waited_for_alone(hall: Hall) -> None:
    client, other = await hall.admits(), await hall.admits()
    asked = 100_000
    frame = write_request("Heartbeat", 4, 7, "tests", messages.HeartbeatRequest(group_id="a"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.stream.send_all, frame * asked)
        while hall.guests[0].task is None:
            await wait_all_tasks_blocked()
        await other.sends("b")
        assert await other.hears() == (0, 0)
        answer = struct.pack(">iibihb", 12, 7, 0, 0, 0, 0)
        heard = b""
        while len(heard) < asked * len(answer):
            heard += await client.stream.receive_some()
    assert heard == answer * asked


async def test_who_hangs_up_or_talks_nonsense_is_sent_away_and_the_others_stay(hall: Hall) -> None:
    clients = [await hall.admits() for _ in range(4)]
    hall.beats.held = {"held": trio.Event()}
    await clients[0].stream.aclose()
    await clients[1].stream.send_all(struct.pack(">i", -1))
    await clients[2].sends("held")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    await clients[2].stream.aclose()
    hall.beats.held["held"].set()
    while len(hall.ended) < 3:
        await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    assert sorted(type(why).__name__ for why in hall.ended if not isinstance(why, OSError | type(None))) == [
        "WireError"
    ]
    await clients[3].sends("a")
    assert await clients[3].hears() == (0, 0)
    assert len(hall.guests) == 1


async def test_whoever_is_expelled_is_gone_in_the_crowd_and_in_the_middle_of_waiting(hall: Hall) -> None:
    silent, waiting, other = [await hall.admits() for _ in range(3)]
    hall.beats.held = {"held": trio.Event()}
    await waiting.sends("held")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    for guest in hall.guests[:2]:
        hall.crowd.expel(guest)
    assert await silent.frame() is None
    assert await waiting.frame() is None
    assert hall.ended == [None, None]
    await other.sends("a")
    assert await other.hears() == (0, 0)


async def test_a_request_that_fails_while_it_is_cancelled_ends_its_connection_alone(hall: Hall) -> None:
    hall.beats.held = {"defect": trio.Event()}
    client, other = await hall.admits(), await hall.admits()
    await client.sends("defect")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    hall.crowd.expel(hall.guests[0])
    assert await client.frame() is None
    (why,) = hall.ended
    assert isinstance(why, ExceptionGroup)
    await other.sends("a")
    assert await other.hears() == (0, 0)


@pytest.mark.parametrize("last", ["b", "held"])
async def test_who_is_to_be_sent_a_file_that_has_become_shorter_is_sent_away_alone(
    nursery: trio.Nursery, tmp_path: Path, last: str
) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"x" * 50)
    with file.open("rb") as opened:
        hall = Hall(Records(opened.fileno()))
        nursery.start_soon(hall.crowd.run)
        clients = [await hall.admits() for _ in range(4)]
        hall.beats.held = {"held": trio.Event(), "behind": trio.Event()}
        asked = write_request("Fetch", 11, 0, "tests", messages.FetchRequest(min_bytes=1, max_bytes=100))
        behind = write_request("Heartbeat", 4, 1, "tests", messages.HeartbeatRequest(group_id=GroupId("behind")))
        os.write(clients[0].stream.socket.fileno(), asked)
        os.write(clients[1].stream.socket.fileno(), asked + behind)
        all_at_once(clients[2:], "a", last)
        assert await clients[2].hears() == (0, 0)
        hall.beats.held["held"].set()
        assert await clients[3].hears() == (0, 0)
        hall.beats.held["behind"].set()
        while len(hall.ended) < 2:
            await trio.sleep(0)
        assert all(isinstance(why, EOFError) for why in hall.ended)
        for client in clients[2:]:
            await client.sends("c")
            assert await client.hears() == (0, 0)
        hall.close()


OVER = ErrorCode.REQUEST_TIMED_OUT


async def test_who_is_parked_has_no_task_and_holds_nobody_up(hall: Hall) -> None:
    hall.beats.patience_s = {"parked": math.inf}
    waiting, other = [await hall.admits() for _ in range(2)]
    (guest, _) = hall.guests
    for number in range(3):
        await waiting.sends("a", "parked", "b")
        assert await waiting.hears() == (0, 0)
        await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
        assert guest.task is None
        await other.sends("c")
        assert await other.hears() == (0, 0)
        assert len(hall.beats.heard) == 5 * number + 3, "what comes behind a request waits for its answer"
        hall.beats.changes.ring("parked")
        assert [await waiting.hears() for _ in range(2)] == [(1, 0), (2, 0)]
        await other.sends("d")
        assert await other.hears() == (0, 0)
    assert not hall.beats.waits


async def test_who_is_parked_is_woken_in_the_turn_of_the_request_that_rings(hall: Hall) -> None:
    hall.beats.patience_s = {"parked": math.inf}
    hall.beats.deeds = {"ring": lambda: hall.beats.changes.ring("parked")}
    clients = [await hall.admits() for _ in range(20)]
    for client in clients[1:]:
        await client.sends("parked")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    await clients[0].sends("ring")
    await trio.sleep(0)
    while not any(guest.work is None for guest in hall.guests[1:]):
        await trio.sleep(0)
    assert all(guest.work is None for guest in hall.guests)
    for client in clients:
        assert await client.hears() == (0, 0)


async def test_the_patience_of_who_is_parked_ends_in_time(hall: Hall, autojump_clock: trio.testing.MockClock) -> None:
    hall.beats.patience_s = {"long": 9.0, "short": 4.0, "shorter": 2.0, "none": 0.0, "rung": 3.0}
    began = monotonic_s()
    clients = {group: await hall.admits() for group in hall.beats.patience_s}
    for group, client in clients.items():
        await client.sends(group, "a")
    await trio.sleep(1)
    hall.beats.changes.ring("rung")
    for group, patience_s in sorted(hall.beats.patience_s.items(), key=itemgetter(1)):
        if group == "rung":
            assert await clients[group].hears() == (0, 0)
        else:
            assert await clients[group].hears() == (0, OVER)
            assert max(patience_s, 1.0) <= monotonic_s() - began < max(patience_s, 1.0) + 0.1
        assert await clients[group].hears() == (1, 0)
    assert not hall.beats.waits


async def test_who_has_had_a_task_of_his_own_gives_it_back_when_he_is_parked(hall: Hall) -> None:
    hall.beats.patience_s = {"parked": math.inf}
    hall.beats.held = {"held": trio.Event()}
    client, other = await hall.admits(), await hall.admits()
    (guest, _) = hall.guests
    await client.sends("held", "parked", "a", "held", "b")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    assert guest.task is not None
    hall.beats.held["held"].set()
    assert await client.hears() == (0, 0)
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    assert guest.task is None
    hall.beats.held = {"held": trio.Event()}
    hall.beats.changes.ring("parked")
    assert [await client.hears() for _ in range(2)] == [(1, 0), (2, 0)]
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    assert guest.task is not None
    hall.beats.held["held"].set()
    assert [await client.hears() for _ in range(2)] == [(3, 0), (4, 0)]
    await other.sends("c")
    assert await other.hears() == (0, 0)


async def test_who_has_a_task_of_his_own_is_answered_though_the_crowd_is_busy(hall: Hall) -> None:
    clients = [await hall.admits() for _ in range(200)]
    hall.beats.held = {"held": trio.Event()}
    hall.beats.deeds = {"let go": lambda: hall.beats.held["held"].set()}
    await clients[0].sends("held")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    all_at_once(clients[1:], "let go", *["a"] * (len(clients) - 2))
    for client in clients:
        assert await client.hears() == (0, 0)


async def test_who_talks_or_hangs_up_while_he_is_parked_is_heard_afterwards(hall: Hall) -> None:
    hall.beats.patience_s = {"parked": math.inf}
    talking, leaving = [await hall.admits() for _ in range(2)]
    for client in (talking, leaving):
        await client.sends("parked")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    await talking.sends("a")
    await leaving.stream.aclose()
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    assert hall.beats.heard == ["parked", "parked"]
    hall.beats.changes.ring("parked")
    assert [await talking.hears() for _ in range(2)] == [(0, 0), (0, 0)]
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    assert len(hall.guests) == 1
    await talking.sends("a")
    assert await talking.hears() == (0, 0)


async def test_who_is_expelled_while_he_is_parked_is_gone_and_waits_for_nothing(hall: Hall) -> None:
    hall.beats.patience_s = {"parked": 3600.0}
    waiting, woken, other = [await hall.admits() for _ in range(3)]
    await waiting.sends("parked")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    hall.crowd.expel(hall.guests[0])
    assert await waiting.frame() is None
    assert not hall.beats.waits
    await woken.sends("parked")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    hall.beats.changes.ring("parked")
    hall.crowd.expel(hall.guests[0])
    assert await woken.frame() is None
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    assert hall.ended == [None, None]
    await other.sends("a")
    assert await other.hears() == (0, 0)


async def test_a_client_that_does_not_read_is_parked_with_what_it_is_owed(hall: Hall) -> None:
    hall.beats.patience_s = {"parked": math.inf}
    client = await hall.admits()
    asked = 50_000
    frame = write_request("Heartbeat", 4, 7, "tests", messages.HeartbeatRequest(group_id=GroupId("a")))
    parked = write_request("Heartbeat", 4, 7, "tests", messages.HeartbeatRequest(group_id=GroupId("parked")))
    answer = struct.pack(">iibihb", 12, 7, 0, 0, 0, 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.stream.send_all, (frame * asked + parked) * 2)
        while len(hall.beats.heard) < 1_000:
            await wait_all_tasks_blocked()
        heard = b""
        while len(heard) < 2 * (asked + 1) * len(answer):
            hall.beats.changes.ring("parked")
            with trio.move_on_after(0.01):
                heard += await client.stream.receive_some()
    assert heard == answer * (2 * (asked + 1))


@pytest.fixture
def is_watched() -> Iterator[None]:
    """A loop that never waits is interrupted; no deadline of trio's would end it."""

    def interrupt(*_: Any) -> None:
        raise AssertionError("the crowd holds everybody up")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def resets(client: Client) -> None:
    """The client's machine is switched off, or so."""
    client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.stream.socket.close()


@pytest.mark.usefixtures("is_watched")
@pytest.mark.parametrize("is_gone", [True, False])
async def test_who_is_gone_or_does_not_read_when_kept_answers_are_sent_holds_nobody_up(
    hall: Hall, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    clients = [await hall.admits() for _ in range(5)]
    watch = Watch(1e-6)
    monkeypatch.setattr(crowd, "perf_counter", watch)

    def goes() -> None:
        watch.now_s += 1.0
        if is_gone:
            resets(clients[0])

    hall.beats.deeds = {"go": goes}
    if not is_gone:
        monkeypatch.setattr(hall.guests[0].channel, "send_now", lambda pieces: pieces)
    all_at_once(clients, "a", "go", "b", "c", "d")
    for client in clients[1:]:
        assert await client.hears() == (0, 0)


async def test_who_will_ask_no_more_is_sent_the_answer_that_was_kept_for_him(hall: Hall) -> None:
    hall.beats.patience_s = {"parked": math.inf}
    hall.beats.deeds = {"ring": lambda: hall.beats.changes.ring("parked")}
    ringing, waiting = [await hall.admits() for _ in range(2)]
    await waiting.sends("parked")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    all_at_once([ringing], "ring")
    waiting.stream.socket.shutdown(socket.SHUT_WR)
    assert await ringing.hears() == (0, 0)
    assert await waiting.hears() == (0, 0)
    assert await waiting.frame() is None


@pytest.mark.parametrize("is_rung", [True, False])
async def test_who_is_gone_is_forgotten_however_long_he_would_have_waited(hall: Hall, is_rung: bool) -> None:
    hall.beats.patience_s = {"parked": 2**31 / 1000}
    client, other = await hall.admits(), await hall.admits()
    await client.sends("parked")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    gone = weakref.ref(hall.guests[0].connection)
    if is_rung:
        hall.beats.changes.ring("parked")
        assert await client.hears() == (0, 0)
        await client.stream.aclose()
    else:
        hall.crowd.expel(hall.guests[0])
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    await other.sends("a")
    assert await other.hears() == (0, 0)
    gc.collect()
    assert gone() is None


async def test_those_who_wake_each_other_let_others_be_heard(hall: Hall) -> None:
    bells = {"wait for a": "ring for b", "wait for b": "ring for a"}
    hall.beats.patience_s = dict.fromkeys(bells, math.inf)
    hall.beats.deeds = {
        ring: partial(hall.beats.changes.ring, wait) for wait, ring in zip(bells, reversed(bells.values()), strict=True)
    }
    clients = [await hall.admits() for _ in range(3)]
    for client, (wait, ring) in zip(clients, bells.items(), strict=False):
        pair = [
            write_request("Heartbeat", 4, 0, "tests", messages.HeartbeatRequest(group_id=GroupId(group)))
            for group in (wait, ring)
        ]
        assert os.write(client.stream.socket.fileno(), b"".join(pair) * 700) > 0
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    other, starter = clients[2], await hall.admits()
    hall.beats.deeds["start"] = lambda: hall.beats.changes.ring("wait for a")
    all_at_once([starter], "start")
    asked = False

    def asks() -> None:
        nonlocal asked
        if not asked:
            asked = True
            all_at_once([other], "other")

    ring, deed = "ring for b", hall.beats.deeds["ring for b"]
    hall.beats.deeds[ring] = lambda: (asks(), deed())  # type: ignore[func-returns-value]
    assert await other.hears() == (0, 0)
    heard = hall.beats.heard
    assert heard.index("other") - heard.index(ring) < 300
    assert len(heard) > 50


async def test_who_is_expelled_when_he_goes_on_to_be_parked_is_gone(hall: Hall) -> None:
    hall.beats.patience_s = {"parked": math.inf}
    hall.beats.held = {"held": trio.Event()}
    client = await hall.admits()
    await client.sends("held", "parked")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    hall.beats.held["held"].set()
    hall.crowd.expel(hall.guests[0])
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    assert hall.guests == []
    assert not hall.beats.waits


async def test_want_of_memory_for_a_buffer_ends_one_connection(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> memoryview:
        monkeypatch.undo()
        raise MemoryError

    hall.beats.held = {"held": trio.Event()}
    waiting, unlucky, other = [await hall.admits() for _ in range(3)]
    await waiting.sends("held")
    await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
    monkeypatch.setattr(crowd, "_new_buffer", fail)
    await unlucky.sends("a")
    with pytest.raises(trio.BrokenResourceError):
        await unlucky.frame()
    assert [type(why) for why in hall.ended] == [MemoryError]
    await other.sends("a")
    assert await other.hears() == (0, 0)
    hall.beats.held["held"].set()
    assert await waiting.hears() == (0, 0)


@pytest.mark.parametrize("is_parked", [True, False])
async def test_in_the_end_everybody_is_sent_away(is_parked: bool) -> None:
    hall = Hall()
    if is_parked:
        hall.beats.patience_s = {"held": 3600.0}
    else:
        hall.beats.held = {"held": trio.Event()}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hall.crowd.run)
        clients = [await hall.admits() for _ in range(3)]
        await clients[0].sends("held")
        await wait_all_tasks_blocked(_IN_THE_KERNEL_S)
        nursery.cancel_scope.cancel()
    assert hall.guests == []
    assert hall.ended == [None] * 3
    assert not hall.beats.waits
    hall.close()
    for client in clients:
        assert await client.frame() is None
