"""Reading and writing positions, numbers with variable length, and the shapes of values without parts.

A ``Reader`` is a buffer with a position, a ``Writer`` a list of pieces that grows at its end; both also do what
construct expects of a stream. Shapes that are made of other shapes are in ``shapes.py``.

Numbers are big-endian. Unsigned varints have seven bits a byte, the lowest first, at most five bytes.
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import Any
from uuid import UUID

from construct import Construct

from pykafka_broker.model.errors import WireError
from pykafka_broker.wire.pieces import FilePiece, FilePieces, Piece, size_of

LONGEST_STRING_BYTES = 32767
"""Apache Kafka reads and writes no longer ones, however long their length could be."""

BORROWED_FROM_BYTES = 512
"""Records shorter than this are copied into the frame; for longer ones a piece of their own is cheaper."""


ROOM_BYTES = 1 << 20
ROOM_PER_BYTE = 28


class Reader:
    """Bytes and how far they have been read. Reading beyond the end is an error, never a short answer.

    ``room`` is how much memory what is read from here may still take, by the shapes' reckoning (``shapes.py``).
    """

    __slots__ = ("data", "end", "position", "room")

    def __init__(self, data: bytes | bytearray | memoryview, position: int = 0) -> None:
        self.data = memoryview(data)
        self.position = position
        self.end = len(data)
        self.room = ROOM_BYTES + ROOM_PER_BYTE * self.end

    def read(self, size: int | None = None) -> bytes:
        """Bytes for construct's own parts, which check the length themselves."""
        start = self.position
        stop = self.end if size is None or size < 0 else min(self.end, start + size)
        self.position = stop
        return bytes(self.data[start:stop])

    def tell(self) -> int:
        """The position."""
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere, as streams do."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.end}[whence]
        self.position = base + offset
        return self.position


class Writer:
    """Grows at the end: a buffer for what is small, and pieces that are passed on without a copy."""

    __slots__ = ("buffer", "pieces")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.pieces: list[Piece] = []

    def write(self, data: bytes) -> int:
        """Append bytes, for construct's own parts."""
        self.buffer += data
        return len(data)

    def pass_on(self, piece: Piece) -> None:
        """Append without copying."""
        if self.buffer:
            self.pieces.append(self.buffer)
            self.buffer = bytearray()
        self.pieces.append(piece)

    def finish(self) -> list[Piece]:
        """All pieces in order."""
        if self.buffer:
            self.pieces.append(self.buffer)
            self.buffer = bytearray()
        return self.pieces

    def joined(self) -> bytes:
        """All bytes in one; ``ValueError`` if some of them are still in a file."""
        if not self.pieces:
            return bytes(self.buffer)
        parts: list[bytes | bytearray | memoryview] = []
        for piece in self.finish():
            if isinstance(piece, FilePiece):
                raise ValueError("bytes that are in a file cannot be joined")
            parts.append(piece)
        return b"".join(parts)


def take_uvarint(reader: Reader) -> int:
    """An unsigned varint."""
    data, position = reader.data, reader.position
    byte = data[position]
    if byte < 0x80:
        reader.position = position + 1
        return byte
    value, shift = byte & 0x7F, 7
    while True:
        position += 1
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 28:
            raise WireError("a varint is longer than five bytes")
    if value > 0xFFFFFFFF:
        raise WireError("a varint does not fit into 32 bits")
    reader.position = position + 1
    return value


def uvarint(value: int) -> bytes:
    """The bytes of an unsigned varint."""
    if 0 <= value < 0x80:
        return _SMALL[value]
    if not 0 <= value <= 0xFFFFFFFF:
        raise ValueError(f"{value} does not fit into 32 bits")
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


_SMALL = [bytes((value,)) for value in range(0x80)]


class Shape(Construct):  # type: ignore[misc]
    """A construct that reads from a ``Reader`` and writes to a ``Writer`` through two methods without ceremony.

    ``least`` is the fewest bytes that a value can take on the wire; it bounds how many can be in what is left of a
    frame. ``held_bytes`` is the memory that a value takes, reckoned high, without text, bytes and elements in it.
    """

    least: int
    held_bytes: int

    def take(self, reader: Reader) -> Any:
        """Read a value."""
        raise NotImplementedError

    def give(self, value: Any, writer: Writer) -> None:
        """Write a value."""
        raise NotImplementedError

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        if type(stream) is Reader:
            return self.take(stream)
        start = stream.tell()
        reader = Reader(stream.read())
        value = self.take(reader)
        stream.seek(start + reader.position)
        return value

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        if type(stream) is Writer:
            self.give(obj, stream)
        else:
            writer = Writer()
            self.give(obj, writer)
            stream.write(writer.joined())
        return obj


NUMBER_CODES = {
    "bool": "?",
    "int8": "b",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "float64": "d",
}
"""Types with a fixed size, as the struct module names them."""

NUMBER_HELD_BYTES = {code: 0 if code in "?b" else 32 for code in NUMBER_CODES.values()}
"""Truth values and bytes are objects that exist already."""


class Number(Shape):
    """A number, or a truth value (any byte but zero is true)."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.code = code
        self._form = struct.Struct(">" + code)
        self.least = self._form.size
        self.held_bytes = NUMBER_HELD_BYTES[code]

    def take(self, reader: Reader) -> Any:
        start = reader.position
        (value,) = self._form.unpack_from(reader.data, start)
        reader.position = start + self.least
        return value

    def give(self, value: Any, writer: Writer) -> None:
        writer.buffer += self._form.pack(value)


class Uuid(Shape):
    """Sixteen bytes. All zero is no id at all."""

    least = 16
    held_bytes = 128

    def take(self, reader: Reader) -> UUID:
        start = reader.position
        stop = start + 16
        if stop > reader.end:
            raise WireError("cut short")
        reader.position = stop
        return uuid_of(bytes(reader.data[start:stop]))

    def give(self, value: UUID, writer: Writer) -> None:
        writer.buffer += value.bytes


@lru_cache(4096)
def uuid_of(data: bytes) -> UUID:
    """The id in sixteen bytes. Kept for a while: making one takes longer than all else in a small request."""
    return UUID(bytes=data)


class Sized(Shape):
    """Bytes behind their length: int16 for strings and int32 for bytes, or a varint of one more where compact."""

    def __init__(self, kind: str, compact: bool, nullable: bool) -> None:
        super().__init__()
        self.is_text = kind == "string"
        self.is_view = kind == "records"
        self.compact = compact
        self.nullable = nullable
        self._form = struct.Struct(">h" if self.is_text else ">i")
        self.least = 1 if compact else self._form.size
        self.held_bytes = 208 if self.is_view else 80

    def take(self, reader: Reader) -> str | bytes | memoryview | None:
        if self.compact:
            size = take_uvarint(reader) - 1
        else:
            (size,) = self._form.unpack_from(reader.data, reader.position)
            reader.position += self._form.size
        if size < 0:
            if self.nullable:
                return None
            raise WireError("null where it is not allowed")
        start = reader.position
        stop = start + size
        if stop > reader.end:
            raise WireError(f"{size} bytes announced, {reader.end - start} left")
        reader.position = stop
        found = reader.data[start:stop]
        if self.is_text:
            if size > LONGEST_STRING_BYTES:
                raise WireError("a string is too long")
            # Java reads a wrong sequence as a replacement character and goes on.
            return str(found, "utf-8", "replace")
        return found if self.is_view else bytes(found)

    def give(self, value: str | bytes | memoryview | FilePieces | None, writer: Writer) -> None:
        if value is None:
            if not self.nullable:
                raise ValueError("null where it is not allowed")
            writer.buffer += b"\0" if self.compact else self._form.pack(-1)
            return
        data: bytes | bytearray | memoryview | FilePieces
        if self.is_text:
            data = value.encode("utf-8", "replace")  # type: ignore[union-attr]
            if len(data) > LONGEST_STRING_BYTES:
                raise ValueError(f"a string of {len(data)} bytes is too long")
        else:
            data = value  # type: ignore[assignment]
        size = data.size_bytes if isinstance(data, FilePieces) else len(data)
        writer.buffer += uvarint(size + 1) if self.compact else self._form.pack(size)
        if self.is_view:
            give_records(data, writer)
        else:
            writer.buffer += data  # type: ignore[arg-type]


def give_records(data: Any, writer: Writer) -> None:
    """Append records: short bytes are copied, the rest is passed on as it is."""
    for piece in data if isinstance(data, FilePieces) else (data,):
        if not isinstance(piece, FilePiece) and size_of(piece) < BORROWED_FROM_BYTES:
            writer.buffer += piece
        else:
            writer.pass_on(piece)
