"""Many connections that mostly keep silent, held by one epoll instead of by a task each (Linux).

At any moment one task leads: it waits for the epoll, and answers whoever has said something. A request that has to wait
for records, or for other members of a group, is parked (``runtime/waiter.py``): what is left of it is laid aside, and
the leader goes on with it when it has been woken. When it waits in any other way, for a flush or for a client that does
not read, the task stays with that connection, as if it had always been the connection's own, and another task leads
on. So a handler need not know whether it waits, and a request that does not wait costs no switch between tasks.

Who has made a task wait is likely to do so again: the task serves him until he has been silent for a while, or is
parked, and gives him back to the crowd then.
"""

from __future__ import annotations

import mmap
import os
import select
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, Final

import trio

from pykafka_broker.net.connection import Connection, never, resumed
from pykafka_broker.net.frames import SocketChannel
from pykafka_broker.net.patience import Patience
from pykafka_broker.runtime.waiter import Waiter

IS_POSSIBLE: Final = hasattr(select, "epoll") and hasattr(os, "eventfd")
SILENT_S: Final = 2.0
"""Who says nothing for so long needs no task, and no buffer, of his own."""
BUFFER_BYTES: Final = 64 * 1024
_AT_ONCE: Final = 64
_TURN: Final = 100
"""So much is done, some milliseconds, before all other tasks have their turn: a request answered, a piece of one taken
in, or as many bytes moved as ``BUFFER_BYTES``.
"""
_READY_PER_TURN: Final = 10
"""So many who have said something are heard in a turn at least, whoever else could go on with what is parked."""
_KEPT_S: Final = 0.0005
"""So long, and one request more, the answers of several connections wait for each other. Each of those who sleep has to
be woken, which takes as long as to answer him; on one machine, whoever hears many at once is woken once.
"""
_LOOKING_ON_S: Final = 0.0001
"""So long the task looks on for the next request, after some that have come that soon. A task that sleeps has to be
woken, and a processor that has nothing else to do with it, which takes longer than to answer.
"""
_LOOKS_ON_AFTER: Final = 2
"""Short silences in a row: a record that is produced is followed by one, until its consumer asks for the next, and then
by a long one.
"""
_LOOKS_ON_PER_TURN: Final = 10
_IS_ALONE: Final = not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2
"""Who looks on with the only processor keeps the client from it."""


Work = Coroutine[Any, Any, None]
"""``Connection.answer_what_is_here``, begun or not."""


class Guest:
    """One connection, in the crowd or with a task of its own."""

    __slots__ = ("_seen", "_silence", "channel", "connection", "host", "is_heard", "rests", "task", "work")

    def __init__(self, channel: SocketChannel, connection: Connection, host: str) -> None:
        self.channel = channel
        self.connection = connection
        self.host = host
        self.is_heard = False
        """Whether the crowd's epoll tells when he says something."""
        self.task: trio.CancelScope | None = None
        """Ends the task that the connection has for its own, if it has one."""
        self.rests = False
        """Whether this task waits for the next request."""
        self.work: Work | None = None
        """What is left to do of the request that is parked, if one is."""
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
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Wakes the leader when another task has woken somebody who is parked."""
        self._epoll.register(self._bell, select.EPOLLIN)
        self._guests: dict[int, Guest] = {}
        self._buffered: dict[Guest, int] = {}
        """Those in the crowd with a buffer of their own, and how far they had moved when somebody looked."""
        self._alone: dict[Guest, int] = {}
        """Those with a task of their own, the same."""
        self._unsent: dict[Guest, None] = {}
        """Those in the crowd whose answers have been kept."""
        self._kept_until = 0.0
        """When they leave, if there are any."""
        self._ready: deque[tuple[int, int]] = deque()
        """Who has said something and is next. Whoever leads on begins with those who are left: the epoll would put them
        behind everybody else.
        """
        self._woken: deque[Guest] = deque()
        """Whose parked request can go on: they have waited longest, and come before those who are ready."""
        self._ready_first = 0
        """How many of those who are ready come before them, at the beginning of a turn."""
        self._patience = Patience()
        self._is_asleep = False
        """Whether the leader waits for the epoll."""
        self._short_silences = 0
        """How many of the last times that nobody had anything to ask were short ones."""
        self._spare: memoryview | None = None
        """The buffer into which whoever has none receives; ``None`` when the last one was kept."""
        self._goes_on = False
        """Whether a request that was begun earlier is gone on with, or its answer is sent: that is kept no longer."""
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Answer until cancelled; then everybody is sent away."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._lead)
                self._nursery.start_soon(self._patience.run)
                await self._sweep()
        finally:
            for guest in tuple(self._guests.values()):
                self._send_away(guest, None)
            self._epoll.close()
            os.close(self._bell)

    # -- who comes and goes --------------------------------------------------------------------------------------

    def admit(self, guest: Guest) -> None:
        """Answer this connection from now on."""
        guest.task = None
        guest.connection.may_park = True
        guest.connection.may_keep = self._others_are_next
        self._guests[guest.channel.fileno()] = guest
        try:
            self._hear(guest)
        except OSError as problem:
            self._send_away(guest, problem)
        else:
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
        if guest.work is not None:
            try:
                guest.work.close()
            except Exception as problem:
                why = why or problem
            guest.work = None
        self._ended(guest, why)

    def _part_from(self, guest: Guest) -> None:
        if self._guests.pop(guest.channel.fileno(), None) is not None:
            self._do_not_hear(guest)
        self._buffered.pop(guest, None)
        self._unsent.pop(guest, None)

    def _hear(self, guest: Guest) -> None:
        if not guest.is_heard:
            guest.is_heard = True
            self._epoll.register(guest.channel.fileno(), select.EPOLLIN)

    def _do_not_hear(self, guest: Guest) -> None:
        if guest.is_heard:
            guest.is_heard = False
            self._epoll.unregister(guest.channel.fileno())

    # -- leading -------------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        """Answer the crowd, until a connection needs this task for itself."""
        with trio.CancelScope() as scope:
            done = 0
            while True:
                if not (self._woken or self._ready):
                    if self._unsent and await self._was_kept_sending(scope):
                        return
                    self._ready.extend(self._epoll.poll(0, _AT_ONCE))
                    if not self._ready:
                        if self._short_silences >= _LOOKS_ON_AFTER and self._has_heard_by_looking_on():
                            done += _TURN // _LOOKS_ON_PER_TURN
                        else:
                            await self._sleep()
                            done = 0
                        continue
                guest = self._next()
                if guest is None:
                    continue
                answered, moved = guest.connection.answered, guest.channel.moved
                if await self._was_kept_by(guest, scope):
                    return
                done += max(1, guest.connection.answered - answered)
                done += (guest.channel.moved - moved) // BUFFER_BYTES
                if done >= _TURN or (self._unsent and perf_counter() > self._kept_until):
                    if await self._was_kept_sending(scope):
                        return
                    if done >= _TURN:
                        await trio.lowlevel.checkpoint()
                        done = 0
                        # Those who wake each other would never let anybody else be heard.
                        if not self._ready:
                            self._ready.extend(self._epoll.poll(0, _AT_ONCE))
                        self._ready_first = _READY_PER_TURN

    def _next(self) -> Guest | None:
        """Who is to be served next, if there is still somebody."""
        if self._woken and not (self._ready and self._ready_first):
            guest = self._woken.popleft()
            return None if guest.work is None else guest
        if self._ready_first:
            self._ready_first -= 1
        descriptor, _ = self._ready.popleft()
        if descriptor == self._bell:
            os.eventfd_read(self._bell)
            return None
        ready = self._guests.get(descriptor)
        if ready is not None and ready.work is not None:
            # Whatever he says, or if he hangs up: one request after the other, as Apache Kafka does it.
            self._do_not_hear(ready)
            return None
        return ready

    def _others_are_next(self) -> bool:
        """Whether answers are kept, to leave together with those of others, or behind what others have waited for."""
        return not self._goes_on and bool(self._ready or self._woken)

    def _has_heard_by_looking_on(self) -> bool:
        """Look for somebody's next request for a moment, unless another task could use it."""
        if _IS_ALONE or trio.lowlevel.current_statistics().tasks_runnable:
            return False
        until = perf_counter() + _LOOKING_ON_S
        while not self._ready and perf_counter() < until:
            self._ready.extend(self._epoll.poll(0, _AT_ONCE))
        if not self._ready:
            self._short_silences = 0
        return bool(self._ready)

    async def _sleep(self) -> None:
        """Until somebody has said something, or can go on."""
        asleep = perf_counter()
        self._is_asleep = True
        try:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
        finally:
            self._is_asleep = False
        self._short_silences = self._short_silences + 1 if perf_counter() - asleep < _LOOKING_ON_S else 0

    # -- serving -------------------------------------------------------------------------------------------------

    async def _was_kept_by(self, guest: Guest, scope: trio.CancelScope) -> bool:
        """Answer the requests that have come, or go on with the one that was parked; true when that has kept this task,
        and there is no more need of it.
        """
        frames = guest.connection.frames
        is_lent = False
        try:
            work = guest.work
            self._goes_on = work is not None
            if work is None:
                is_lent = not frames.has_buffer
                received = self._receive(guest)
                if not received:
                    if is_lent:
                        frames.give_back()
                    # Who will ask no more is sent what is kept for him before he is heard again.
                    if received == 0 and not guest.connection.has_kept:
                        self._send_away(guest, None)
                    return False
                work = guest.connection.answer_what_is_here()
            else:
                guest.work = None
            try:
                trap = work.send(None)
            except StopIteration:
                trap = None
            if trap is None or type(trap) is Waiter:
                if is_lent:
                    frames.give_back()
                if trap is None:
                    self._has_answered(guest)
                else:
                    self._park(guest, work, trap)
                return False
        except Exception as problem:
            self._send_away(guest, problem)
            return False
        except BaseException:
            self._send_away(guest, None)
            raise
        if is_lent:
            self._spare = None
        self._lead_on(guest, scope)
        await self._stay_with(guest, work, trap, is_lent=is_lent)
        return True

    def _receive(self, guest: Guest) -> int | None:
        """Receive what has come, into the buffer that all share if the connection has none."""
        frames = guest.connection.frames
        if frames.has_buffer:
            return frames.receive_now(guest.channel.receive_now)
        if self._spare is None:
            self._spare = _new_buffer()
        received = guest.channel.receive_now(self._spare)
        frames.lend(self._spare, received or 0)
        return received

    def _has_answered(self, guest: Guest) -> None:
        self._hear(guest)
        self._note_buffer(guest)
        if guest.connection.has_kept:
            if not self._unsent:
                self._kept_until = perf_counter() + _KEPT_S
            self._unsent[guest] = None

    def _park(self, guest: Guest, work: Work, waiter: Waiter) -> None:
        """Lay aside what is left of a request until its waiter wakes."""
        guest.work = work
        waiter.wake = partial(self._wake, guest)
        self._patience.note(waiter)
        self._unsent.pop(guest, None)
        self._note_buffer(guest)
        if not waiter.is_waiting:
            self._wake(guest)

    def _wake(self, guest: Guest) -> None:
        self._woken.append(guest)
        if self._is_asleep:
            self._is_asleep = False
            os.eventfd_write(self._bell, 1)

    async def _was_kept_sending(self, scope: trio.CancelScope) -> bool:
        """Send the answers that have been kept; true when a client who does not read has kept this task."""
        while self._unsent:
            guest = next(iter(self._unsent))
            del self._unsent[guest]
            if guest.connection.sent_now():
                continue
            # He does not read, or is gone: to keep the answer again, for the sake of others, would never end.
            guest.work = guest.connection.answer_what_is_here()
            if await self._was_kept_by(guest, scope):
                return True
        return False

    # -- those who need a task of their own ----------------------------------------------------------------------

    def _lead_on(self, guest: Guest, scope: trio.CancelScope) -> None:
        """Waiting begins: the task is this connection's from now on, and so is the buffer. Nobody else waits for it."""
        self._part_from(guest)
        guest.task = scope
        guest.connection.may_keep = never
        self._alone[guest] = -1
        assert self._nursery is not None
        self._nursery.start_soon(self._lead)
        for other in tuple(self._unsent):
            if other.connection.sent_now():
                del self._unsent[other]

    async def _stay_with(self, guest: Guest, work: Work, trap: Any, *, is_lent: bool) -> None:
        """Wait for what ``trap`` waits for, and serve the connection until it may go back to the crowd."""
        why: Exception | None = None
        try:
            is_there = await self._serve_alone(guest, work, trap, is_lent=is_lent)
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
        if not is_there or (guest.task is not None and guest.task.cancel_called):
            self._send_away(guest, why)
            return
        del self._alone[guest]
        guest.connection.frames.let_go()
        self.admit(guest)

    async def _serve_alone(self, guest: Guest, work: Work, trap: Any, *, is_lent: bool) -> bool:
        """Answer one connection until its client hangs up (false), has been silent for a while (true), or waits for
        something with a request that can be parked (true as well).
        """
        connection = guest.connection
        waiter: Waiter | None = await resumed(work, trap, stop_at=Waiter)
        if is_lent:
            connection.frames.give_back()
        while waiter is None:
            guest.rests = True
            try:
                if not await connection.frames.receive_more():
                    return False
            except trio.ClosedResourceError:
                # Roused, or really closed. To cancel a scope instead would cost each request one.
                return guest.channel.fileno() >= 0
            finally:
                guest.rests = False
            work = connection.answer_what_is_here()
            with suppress(StopIteration):
                waiter = await resumed(work, work.send(None), stop_at=Waiter)
        self._park(guest, work, waiter)
        return True

    def _note_buffer(self, guest: Guest) -> None:
        if guest.connection.frames.has_buffer:
            self._buffered.setdefault(guest, -1)

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
