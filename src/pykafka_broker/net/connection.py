"""One client's connection: its requests answered strictly one at a time, in order, until it hangs up.

Requests that are already in the buffer are answered in one go and their answers leave in one send; before anything
really waits (a long poll, a join) the answers gathered so far are sent. An answer with large pieces of files is sent at
once: only ``await`` can send those, and a request that already waits must not be kept waiting for that. Apache Kafka
mutes a channel while a request is in progress; here the connection's task is simply busy.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeVar

import trio

from pykafka_broker.model.errors import WireError
from pykafka_broker.model.identity import Session
from pykafka_broker.net.frames import Channel, Frames
from pykafka_broker.store.reading import read_piece
from pykafka_broker.wire.exchange import Call, Served, close_call, open_call
from pykafka_broker.wire.pieces import FilePiece, Piece, size_of

Answer = Callable[[Call[Any], Session], Coroutine[Any, Any, Any]]
"""Answers one call (``api/desk.py``): the response message, or ``None`` where none is expected."""

GATHERED_BYTES = 256 * 1024
"""Answers are gathered up to this many bytes before they are sent, whole frames at hand or not."""

TURN_REQUESTS = 500
"""After so many requests from one buffer, which may hold 100,000, all other tasks have their turn."""

READ_BYTES = 16 * 1024
"""So small a piece of a file is read when its turn has come: to have the kernel send it takes longer."""

T = TypeVar("T")


def never() -> bool:
    """``Connection.may_keep`` where nobody calls ``sent_now``."""
    return False


class Connection:
    """The conversation with one client. ``serve`` returns when the client hangs up; ``WireError`` closes."""

    def __init__(
        self, channel: Channel, session: Session, served: Served, answer: Answer, max_frame_bytes: int
    ) -> None:
        self._channel = channel
        self._session = session
        self._served = served
        self._answer = answer
        self.frames = Frames(channel, max_frame_bytes)
        self._gathered: list[Piece] = []
        self._gathered_bytes = 0
        self.may_keep = never
        """Whether the last answers to what is here may be left for ``sent_now``, which is to be called soon then."""
        self.may_park = False
        """Whether whoever runs ``answer_what_is_here`` takes it that a ``Waiter`` comes out of it."""
        self.answered = 0
        """How many requests have been answered, and be it by silence."""

    async def serve(self) -> None:
        """Answer requests until the client hangs up."""
        while True:
            await self.answer_what_is_here()
            if not await self.frames.receive():
                return

    async def answer_what_is_here(self) -> None:
        """Answer the requests that have arrived whole; suspends only when one of them, or the client, has to be waited
        for, or when there are more than ``TURN_REQUESTS``.
        """
        try:
            await self._answer_frames()
        except WireError:
            # The requests before the nonsense have been carried out, and Apache Kafka would have said so.
            self._send_before_waiting()
            raise
        if self._gathered and not self.may_keep():
            await self._send_gathered()

    async def _answer_frames(self) -> None:
        frames = self.frames
        turn = self.answered + TURN_REQUESTS
        while (frame := frames.at_hand()) is not None:
            if self.answered >= turn:
                turn = self.answered + TURN_REQUESTS
                self._send_before_waiting()
                await trio.lowlevel.checkpoint()
            call = open_call(frame, self._served)
            call.session = self._session
            call.may_park = self.may_park
            work = self._answer(call, self._session)
            try:
                trap = work.send(None)
            except StopIteration as done:
                response = done.value
            else:
                self._send_before_waiting()
                response = await resumed(work, trap)
                del trap
            self.answered += 1
            must_go = response is not None and self._gather(close_call(call, response))
            if call.throttle_ms > 0:
                await self._send_gathered()
                await trio.sleep(call.throttle_ms / 1000)
            elif must_go:
                await self._send_gathered()
            # The call may hold views into the buffer, which is about to be filled again.
            del call, work, response, frame

    @property
    def has_kept(self) -> bool:
        """Whether there are answers that have not been sent."""
        return bool(self._gathered)

    def sent_now(self) -> bool:
        """Send what has been kept as far as that goes at once; false if it is not all, or the client is not there."""
        self._send_before_waiting()
        return not self._gathered

    def _gather(self, pieces: list[Piece]) -> bool:
        """Keep an answer until it is sent; true when that must be before the next request."""
        self._gathered.extend(pieces)
        must_go = False
        for piece in pieces:
            if type(piece) is FilePiece:
                self._gathered_bytes += piece.size_bytes
                must_go = must_go or piece.size_bytes > READ_BYTES
            else:
                self._gathered_bytes += len(piece)
        return must_go or self._gathered_bytes >= GATHERED_BYTES

    async def _send_gathered(self) -> None:
        pieces, self._gathered, self._gathered_bytes = self._gathered, [], 0
        while pieces:
            joined, pieces = _joined(pieces)
            left = self._channel.send_now(joined)
            if left:
                await self._channel.send(left)

    def _send_before_waiting(self) -> None:
        """Send what goes at once; what does not go follows with the next answer."""
        if not self._gathered:
            return
        left: list[Piece] = []
        # Whoever waits for the socket next learns of it, or reads the file again. To raise would break off a request.
        with suppress(OSError, EOFError):
            while self._gathered and not left:
                joined, rest = _joined(self._gathered)
                left = self._channel.send_now(joined)
                self._gathered = left + rest if left else rest
        self._gathered_bytes = sum(map(size_of, self._gathered))


def _joined(pieces: list[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Neighbouring small pieces as one, files' read, so that they leave in one send; and what is left for later, so
    that little more than ``GATHERED_BYTES`` are held in memory for a client that may not read. ``OSError`` or
    ``EOFError`` if the first is a file's and cannot be read.
    """
    if len(pieces) == 1 and type(pieces[0]) is not FilePiece:
        return pieces, []
    joined: list[Piece] = []
    run: list[bytes | bytearray | memoryview] = []
    held = count = 0
    for piece in pieces:
        count += 1
        if not isinstance(piece, FilePiece):
            run.append(piece)
        elif piece.size_bytes <= READ_BYTES:
            try:
                run.append(read_piece(piece))
            except (OSError, EOFError):
                if not run and not joined:
                    raise
                count -= 1  # what is before it can be sent
                break
        else:
            if run:
                joined.append(b"".join(run))
                run = []
            joined.append(piece)
            continue
        held += size_of(run[-1])
        if held >= GATHERED_BYTES:
            break
    if run:
        joined.append(run[0] if len(run) == 1 else b"".join(run))
    return joined, pieces[count:]


@types.coroutine
def resumed(work: Coroutine[Any, Any, T], trap: Any, *, stop_at: type | None = None) -> Generator[Any, Any, Any]:
    """Run a coroutine that has been suspended by ``trap`` to its end, and give its result; or until it is suspended by
    a trap of the kind ``stop_at``, and give that.
    """
    while type(trap) is not stop_at:
        try:
            woken = yield trap
        except BaseException as error:
            step: Callable[[Any], Any] = work.throw
            value: Any = error
        else:
            step, value = work.send, woken
        try:
            trap = step(value)
        except StopIteration as done:
            return done.value
    return trap
