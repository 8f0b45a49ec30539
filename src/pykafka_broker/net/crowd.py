"""Many connections that mostly keep silent, held by one epoll instead of by a task each (Linux).

At any moment one task leads: it waits for the epoll, and answers whoever has said something. When a request has to
wait, for records, for other members of a group, for a client that does not read, the task stays with that connection,
as if it had always been the connection's own, and another task leads on. So a handler need not know whether it waits,
and a request that does not wait costs no switch between tasks.

Who has made a task wait is likely to do so again: the task serves him until he has been silent for a while, and gives
him back to the crowd then.
"""

from __future__ import annotations

import mmap
import os
import select
from collections import deque
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Final

import trio

from pykafka_broker.net.connection import Connection, run
from pykafka_broker.net.frames import SocketChannel

IS_POSSIBLE: Final = hasattr(select, "epoll")
SILENT_S: Final = 2.0
"""Who says nothing for so long needs no task, and no buffer, of his own."""
BUFFER_BYTES: Final = 64 * 1024
_AT_ONCE: Final = 64
_TURN: Final = 100
"""So much is done, some milliseconds, before all other tasks have their turn: a request answered, a piece of one taken
in, or as many bytes moved as ``BUFFER_BYTES``.
"""
_KEPT_S: Final = 0.0005
"""So long, and one request more, the answers of several connections wait for each other. Each of those who sleep has to
be woken, which takes as long as to answer him; on one machine, whoever hears many at once is woken once.
"""
_LOOKING_ON_S: Final = 0.0001
"""So long the task looks on for the next request, after one that has come that soon. A task that sleeps has to be
woken, and a processor that has nothing else to do with it, which takes longer than to answer.
"""
_LOOKS_ON_PER_TURN: Final = 10
_IS_ALONE: Final = not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2
"""Who looks on with the only processor keeps the client from it."""


class Guest:
    """One connection, in the crowd or with a task of its own."""

    __slots__ = ("_seen", "_silence", "channel", "connection", "host", "rests", "task")

    def __init__(self, channel: SocketChannel, connection: Connection, host: str) -> None:
        self.channel = channel
        self.connection = connection
        self.host = host
        self.task: trio.CancelScope | None = None
        """Ends the task that the connection has for its own, if it has one."""
        self.rests = False
        """Whether this task waits for the next request."""
        self._seen = -1
        self._silence = 0

    def has_been_idle(self, rounds: int) -> bool:
        """Whether nothing has moved, in either direction, while this was asked so many times in a row."""
        if self.channel.moved != self._seen:
            self._seen = self.channel.moved
            self._silence = 0
            return False
        self._silence += 1
        return self._silence >= rounds


class Crowd:
    """``run`` it, and ``admit`` connections. Each ends with one call of ``ended``, with what it raised, if anything."""

    def __init__(self, ended: Callable[[Guest, Exception | None], None]) -> None:
        self._ended = ended
        self._epoll = select.epoll()
        self._guests: dict[int, Guest] = {}
        self._buffered: dict[Guest, int] = {}
        """Those in the crowd with a buffer of their own, and how far they had moved when somebody looked."""
        self._alone: dict[Guest, int] = {}
        """Those with a task of their own, the same."""
        self._unsent: dict[Guest, None] = {}
        """Those in the crowd whose answers have been kept."""
        self._ready: deque[tuple[int, int]] = deque()
        """Who has said something and is next. Whoever leads on begins with those who are left: the epoll would put them
        behind everybody else.
        """
        self._comes_soon = False
        """Whether the last time that nobody had anything to ask was a short one."""
        self._spare = _new_buffer()
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Answer until cancelled; then everybody is sent away."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._lead)
                await self._sweep()
        finally:
            for guest in tuple(self._guests.values()):
                self._send_away(guest, None)
            self._epoll.close()

    def admit(self, guest: Guest) -> None:
        """Answer this connection from now on."""
        guest.task = None
        descriptor = guest.channel.fileno()
        self._guests[descriptor] = guest
        self._epoll.register(descriptor, select.EPOLLIN)
        self._note_buffer(guest)

    def expel(self, guest: Guest) -> None:
        """Hang up on a connection that was admitted."""
        if guest.task is not None:
            guest.task.cancel()
        else:
            self._send_away(guest, None)

    def _send_away(self, guest: Guest, why: Exception | None) -> None:
        self._part_from(guest)
        self._alone.pop(guest, None)
        self._ended(guest, why)

    def _part_from(self, guest: Guest) -> None:
        descriptor = guest.channel.fileno()
        if self._guests.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)
        self._buffered.pop(guest, None)
        self._unsent.pop(guest, None)

    async def _lead(self) -> None:
        """Answer the crowd, until a connection needs this task for itself."""
        with trio.CancelScope() as scope:
            done, until = 0, 0.0
            while True:
                if not self._ready:
                    if self._unsent and await self._was_kept_sending(scope):
                        return
                    self._ready.extend(self._epoll.poll(0, _AT_ONCE))
                    if not self._ready:
                        if self._comes_soon and self._has_heard_by_looking_on():
                            done += _TURN // _LOOKS_ON_PER_TURN
                        else:
                            await self._sleep()
                            done = 0
                            continue
                    until = perf_counter() + _KEPT_S if len(self._ready) > 1 else 0.0
                descriptor, _ = self._ready.popleft()
                guest = self._guests.get(descriptor)
                if guest is None:
                    continue
                answered, moved = guest.connection.answered, guest.channel.moved
                if await self._was_kept_by(guest, scope, self._answer(guest, scope, may_keep=until > 0)):
                    return
                done += max(1, guest.connection.answered - answered)
                done += (guest.channel.moved - moved) // BUFFER_BYTES
                if done >= _TURN or (self._unsent and perf_counter() > until):
                    if await self._was_kept_sending(scope):
                        return
                    if done >= _TURN:
                        await trio.lowlevel.checkpoint()
                        done = 0
                    until = perf_counter() + _KEPT_S

    def _has_heard_by_looking_on(self) -> bool:
        """Look for somebody's next request for a moment, unless another task could use it."""
        if _IS_ALONE or trio.lowlevel.current_statistics().tasks_runnable:
            return False
        until = perf_counter() + _LOOKING_ON_S
        while not self._ready and perf_counter() < until:
            self._ready.extend(self._epoll.poll(0, _AT_ONCE))
        self._comes_soon = bool(self._ready)
        return self._comes_soon

    async def _sleep(self) -> None:
        """Until somebody has said something."""
        asleep = perf_counter()
        await trio.lowlevel.wait_readable(self._epoll.fileno())
        self._comes_soon = perf_counter() - asleep < _LOOKING_ON_S

    async def _was_kept_sending(self, scope: trio.CancelScope) -> bool:
        """Send the answers that have been kept; true when a client who does not read has kept this task."""
        while self._unsent:
            guest = next(iter(self._unsent))
            del self._unsent[guest]
            if guest.connection.sent_now():
                continue
            if await self._was_kept_by(guest, scope, self._send(guest, scope)):
                return True
        return False

    async def _was_kept_by(self, guest: Guest, scope: trio.CancelScope, work: Coroutine[Any, Any, bool]) -> bool:
        """Do what a connection needs; true when it has kept this task, and has no more need of it.

        ``work`` says whether the client is there.
        """
        why: Exception | None = None
        try:
            is_there = await work
            if is_there and guest.task is not None:
                is_there = await self._serve_alone(guest)
        except Exception as problem:
            is_there, why = False, problem
        except BaseExceptionGroup as problems:
            # A request that is cancelled may fail as well: that is its connection's end, and not the broker's.
            cancelled, failed = problems.split(trio.Cancelled)
            self._send_away(guest, failed if isinstance(failed, Exception) else None)
            if isinstance(failed, Exception) and cancelled is not None:
                raise cancelled from None
            raise
        except BaseException:
            self._send_away(guest, None)
            raise
        was_kept = guest.task is not None
        if not is_there:
            self._send_away(guest, why)
        elif was_kept:
            del self._alone[guest]
            guest.connection.frames.let_go()
            self.admit(guest)
        return was_kept

    async def _answer(self, guest: Guest, scope: trio.CancelScope, *, may_keep: bool) -> bool:
        """Answer the requests that have come; false when the client has hung up."""
        connection = guest.connection
        frames = connection.frames
        is_lent = not frames.has_buffer
        if is_lent:
            received = guest.channel.receive_now(self._spare)
            frames.lend(self._spare, received or 0)
        else:
            received = frames.receive_now(guest.channel.receive_now)

        def lead_on() -> None:
            if is_lent:
                self._spare = _new_buffer()
            self._lead_on(guest, scope)

        if received:
            await run(connection.answer_what_is_here(may_keep=may_keep), lead_on)
        if is_lent:
            frames.give_back()
        if guest.task is None:
            self._note_buffer(guest)
            if connection.has_kept:
                self._unsent[guest] = None
        return received != 0

    async def _send(self, guest: Guest, scope: trio.CancelScope) -> bool:
        """Send what has been kept to a client for whom one may have to wait."""
        await run(guest.connection.answer_what_is_here(), lambda: self._lead_on(guest, scope))
        return True

    def _lead_on(self, guest: Guest, scope: trio.CancelScope) -> None:
        """Waiting begins: the task is this connection's from now on, and so is the buffer. Nobody else waits for it."""
        self._part_from(guest)
        guest.task = scope
        self._alone[guest] = -1
        assert self._nursery is not None
        self._nursery.start_soon(self._lead)
        for other in tuple(self._unsent):
            if other.connection.sent_now():
                del self._unsent[other]

    def _note_buffer(self, guest: Guest) -> None:
        if guest.connection.frames.has_buffer:
            self._buffered.setdefault(guest, -1)

    @staticmethod
    async def _serve_alone(guest: Guest) -> bool:
        """Answer one connection until its client hangs up (false) or has been silent for a while (true)."""
        connection = guest.connection
        await connection.answer_what_is_here()
        while True:
            guest.rests = True
            try:
                if not await connection.frames.receive_more():
                    return False
            except trio.ClosedResourceError:
                # Roused, or really closed. To cancel a scope instead would cost each request one.
                return guest.channel.fileno() >= 0
            finally:
                guest.rests = False
            await connection.answer_what_is_here()

    async def _sweep(self) -> None:
        """Take what the silent have no need of: a buffer, a task."""
        while True:
            await trio.sleep(SILENT_S)
            for guest, seen in tuple(self._buffered.items()):
                self._buffered[guest] = guest.channel.moved
                if seen == guest.channel.moved:
                    guest.connection.frames.let_go()
                    if not guest.connection.frames.has_buffer:
                        del self._buffered[guest]
            for guest, seen in tuple(self._alone.items()):
                self._alone[guest] = guest.channel.moved
                if seen == guest.channel.moved and guest.rests:
                    guest.channel.rouse()


def _new_buffer() -> memoryview:
    """``BUFFER_BYTES``, of which those take memory into which something has been put: who waits keeps a whole one."""
    return memoryview(mmap.mmap(-1, BUFFER_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
