"""Frames on a socket: four bytes of size, then so many bytes; and answers that may be pieces of files.

A connection holds at most what it has received, doubled, and ``FIRST_BUFFER_BYTES``: a frame's size is only a claim,
so the buffer grows as bytes arrive. The frame handed out is a view into the buffer, good until the next is asked for.
"""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from pykafka_broker.model.errors import WireError
from pykafka_broker.store.reading import portions
from pykafka_broker.wire.pieces import FilePiece, Piece

FIRST_BUFFER_BYTES = 16 * 1024
KEPT_BUFFER_BYTES = 4 * 1024 * 1024
"""A buffer that a large frame needed is kept for the next one, up to this size."""
KEPT_BUFFER_SECONDS = 2
"""So long: a client that sends less often gets a new one, and many that are silent do not fill the memory."""
_SIZE = struct.Struct(">i")
_SIZE_BYTES = _SIZE.size
_MORE = getattr(stdlib_socket, "MSG_MORE", 0)
_HAS_SENDFILE = hasattr(os, "sendfile")
_NO_SENDFILE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


_NO_BUFFER = memoryview(bytearray(0))


class Channel(Protocol):
    """Bytes in both directions: a plain socket, or any trio stream (TLS, memory)."""

    moved: int
    """Grows whenever bytes have gone either way; a channel on which it stands still is idle."""

    async def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes; how many were put into the buffer, 0 at the end of the stream."""
        ...

    def send_now(self, pieces: list[Piece]) -> list[Piece]:
        """Send what goes without waiting; what is left to send."""
        ...

    async def send(self, pieces: Sequence[Piece]) -> None:
        """Send all of the pieces, in order."""
        ...


class SocketChannel:
    """A plain TCP connection: file pieces leave the page cache by ``sendfile`` and never enter this process."""

    def __init__(self, socket: stdlib_socket.socket) -> None:
        socket.setblocking(False)
        self._socket = socket
        self._patient: trio.socket.SocketType | None = None
        self._is_waited_for = False
        self.moved = 0

    def fileno(self) -> int:
        """The socket's descriptor, -1 when it is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up; whoever waits for the socket is told."""
        if self._is_waited_for:
            self.rouse()
        (self._patient or self._socket).close()

    def rouse(self) -> None:
        """Have whoever waits for the socket raise ``trio.ClosedResourceError``, though it is not closed."""
        trio.lowlevel.notify_closing(self._socket)

    def receive_now(self, buffer: memoryview) -> int | None:
        """Put what has arrived into the buffer; how many bytes, 0 at the end of the stream, ``None`` if nothing has."""
        try:
            received = self._socket.recv_into(buffer)
        except BlockingIOError:
            return None
        self.moved += received
        return received

    async def receive_into(self, buffer: memoryview) -> int:
        """Wait, and then receive: whoever waits does so because nothing was there."""
        while True:
            self._is_waited_for = True
            try:
                await trio.lowlevel.wait_readable(self._socket)
            finally:
                self._is_waited_for = False
            received = self.receive_now(buffer)
            if received is not None:
                return received

    def send_now(self, pieces: list[Piece]) -> list[Piece]:
        last = len(pieces) - 1
        for index, piece in enumerate(pieces):
            if isinstance(piece, FilePiece):
                rest = self._send_file_now(piece)
                if rest is not None:
                    return [rest, *pieces[index + 1 :]]
                continue
            try:
                sent = self._socket.send(piece, 0 if index == last else _MORE)
            except BlockingIOError:
                return pieces[index:]
            self.moved += sent
            if sent < len(piece):
                return [memoryview(piece)[sent:], *pieces[index + 1 :]]
        return []

    def _waiting(self) -> trio.socket.SocketType:
        """The socket as one waits for it; many connections never do so alone."""
        if self._patient is None:
            self._patient = trio.socket.from_stdlib_socket(self._socket)
        return self._patient

    def _send_file_now(self, piece: FilePiece) -> FilePiece | None:
        """What is left of a piece when no more goes, or not in this way."""
        if not _HAS_SENDFILE:
            return piece
        start, left = piece.start, piece.size_bytes
        while left:
            try:
                sent = os.sendfile(self._socket.fileno(), piece.file, start, left)
            except OSError as error:
                if isinstance(error, BlockingIOError) or error.errno in _NO_SENDFILE:
                    return FilePiece(piece.file, start, left)
                raise
            if sent == 0:
                raise EOFError("a log file is shorter than its index says")
            self.moved += sent
            start += sent
            left -= sent
        return None

    async def send(self, pieces: Sequence[Piece]) -> None:
        last = len(pieces) - 1
        for index, piece in enumerate(pieces):
            if isinstance(piece, FilePiece):
                await self._send_file(piece)
            else:
                await self._send_bytes(memoryview(piece), 0 if index == last else _MORE)

    async def _send_bytes(self, rest: memoryview, flags: int) -> None:
        while rest:
            sent = await self._waiting().send(rest, flags)
            self.moved += sent
            rest = rest[sent:]

    async def _send_file(self, piece: FilePiece) -> None:
        if not _HAS_SENDFILE:
            return await self._copy_file(piece)
        descriptor = self._socket.fileno()
        start, left = piece.start, piece.size_bytes
        while left:
            try:
                sent = os.sendfile(descriptor, piece.file, start, left)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(descriptor)
                continue
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise
                return await self._copy_file(FilePiece(piece.file, start, left))
            if sent == 0:
                raise EOFError("a log file is shorter than its index says")
            self.moved += sent
            start += sent
            left -= sent
        return None

    async def _copy_file(self, piece: FilePiece) -> None:
        for data in portions(piece):
            await self._send_bytes(memoryview(data), 0)


class StreamChannel:
    """Any trio stream: TLS, or a pair in memory; file pieces are read and sent."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.moved = 0

    async def receive_into(self, buffer: memoryview) -> int:
        data = await self._stream.receive_some(len(buffer))
        buffer[: len(data)] = data
        self.moved += len(data)
        return len(data)

    def send_now(self, pieces: list[Piece]) -> list[Piece]:
        return pieces

    async def send(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, FilePiece):
                for data in portions(piece):
                    await self._send_all(data)
            else:
                await self._send_all(piece)

    async def _send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)
        self.moved += len(data)


class Frames:
    """The frames that arrive on one channel, one at a time."""

    def __init__(self, channel: Channel, max_frame_bytes: int) -> None:
        self._channel = channel
        self._max_frame_bytes = max_frame_bytes
        self._buffer = _NO_BUFFER
        self._start = 0
        self._end = 0

    @property
    def has_buffer(self) -> bool:
        """Whether what arrives next has a place of its own; if not, it may come by ``lend``."""
        return len(self._buffer) > 0

    def lend(self, buffer: memoryview, received: int) -> None:
        """Look for frames in somebody else's buffer, where so many bytes have been received from its beginning on."""
        self._buffer, self._start, self._end = buffer, 0, received

    def give_back(self) -> None:
        """Leave a buffer that was lent; the beginning of a frame is taken along."""
        held = self._end - self._start
        rest = self._buffer[self._start : self._end]
        self._buffer = memoryview(bytearray(max(held, FIRST_BUFFER_BYTES))) if held else _NO_BUFFER
        self._buffer[:held] = rest
        self._start, self._end = 0, held

    def let_go(self) -> None:
        """Keep no buffer as long as nothing is in it."""
        if self._start == self._end:
            self._buffer, self._start, self._end = _NO_BUFFER, 0, 0

    def receive_now(self, receive: Callable[[memoryview], int | None]) -> int | None:
        """Take what ``receive`` gives without waiting: how many bytes, 0 at the end, ``None`` if nothing is there."""
        self._make_room()
        received = receive(self._buffer[self._end :])
        self._end += received or 0
        return received

    def at_hand(self) -> memoryview | None:
        """The next frame if all of it is here; ``WireError`` if its size is nonsense."""
        start, end = self._start, self._end
        first = start + _SIZE_BYTES
        if first > end:
            return None
        (size,) = _SIZE.unpack_from(self._buffer, start)
        if not 0 <= size <= self._max_frame_bytes:
            raise WireError(f"a frame of {size} bytes, where at most {self._max_frame_bytes} are allowed")
        stop = first + size
        if stop > end:
            return None
        self._start = stop
        return self._buffer[first:stop]

    async def receive_more(self) -> bool:
        """Wait for more bytes for as long as it takes; false when the peer has hung up."""
        self._make_room()
        return await self._fill()

    async def receive(self) -> bool:
        """The same, and hold no large buffer for long."""
        self._make_room()
        if self._end == 0 and len(self._buffer) > FIRST_BUFFER_BYTES:
            with trio.move_on_after(KEPT_BUFFER_SECONDS):
                return await self._fill()
            self._buffer = memoryview(bytearray(FIRST_BUFFER_BYTES))
        return await self._fill()

    async def _fill(self) -> bool:
        received = await self._channel.receive_into(self._buffer[self._end :])
        self._end += received
        return received > 0

    def _make_room(self) -> None:
        """Leave free space behind the bytes held: in this buffer if the next frame fits, or in a larger one."""
        held = self._end - self._start
        size = len(self._buffer)
        if held == 0:
            self._start = self._end = 0
            if not 0 < size <= KEPT_BUFFER_BYTES:
                self._buffer = memoryview(bytearray(FIRST_BUFFER_BYTES))
            return
        frame = self._next_frame_bytes(held)
        if self._end < size and (self._start == 0 or self._start + frame <= size):
            return
        # Never more than twice what has been received of the frame.
        needed = min(frame, max(2 * held, 4 * FIRST_BUFFER_BYTES))
        if needed <= size and held < size:
            self._buffer[:held] = bytes(self._buffer[self._start : self._end])
        else:
            larger = memoryview(bytearray(needed))
            larger[:held] = self._buffer[self._start : self._end]
            self._buffer = larger
        self._start, self._end = 0, held

    def _next_frame_bytes(self, held: int) -> int:
        """What the next frame takes, its size prefix included, as far as that is known."""
        if held < _SIZE_BYTES:
            return FIRST_BUFFER_BYTES
        size: int = _SIZE.unpack_from(self._buffer, self._start)[0]
        return _SIZE_BYTES + max(size, 0)
