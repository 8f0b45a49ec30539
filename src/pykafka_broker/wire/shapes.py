"""The shapes that are made of others: structs, arrays, structs that may be null, and runs of numbers.

They are construct ``Construct``s of our own, specialised for one version when they are made (``codec.py``), so
that reading and writing ask no questions about versions and build no context.

What a frame may cost: before an array is read, its count is checked against the bytes that are left and the
fewest bytes an element can take, so nothing is made that was not sent. And because three bytes can be an object
of two hundred, every array is charged for what its elements will hold before the first is made; a message whose
charges exceed 1 MiB and 28 bytes per byte received is refused. With the text itself, at most four bytes per byte,
a message never holds more than 32 bytes per byte of its frame and 1 MiB. Those of real clients hold five to
twenty. ``docs/decisions/0006-what-a-frame-may-cost.md`` says why it is done so.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pykafka_broker.model.errors import WireError
from pykafka_broker.wire.primitives import NUMBER_HELD_BYTES, Number, Reader, Shape, Writer, take_uvarint, uvarint


class Run(Shape):
    """Neighbouring numbers, read and written by one call of the struct module."""

    def __init__(self, codes: str) -> None:
        super().__init__()
        self.codes = codes
        self._form = struct.Struct(">" + codes)
        self.least = self._form.size
        self.held_bytes = sum(NUMBER_HELD_BYTES[code] for code in codes)

    def take(self, reader: Reader) -> tuple[Any, ...]:
        start = reader.position
        values = self._form.unpack_from(reader.data, start)
        reader.position = start + self.least
        return values

    def give(self, value: Sequence[Any], writer: Writer) -> None:
        writer.buffer += self._form.pack(*value)


LIST_HELD_BYTES = 64
PLACE_HELD_BYTES = 16


class ArrayOf(Shape):
    """A count, int32 or a varint of one more where compact, and as many elements.

    ``each`` is the fewest bytes of an element, ``charge`` the memory that one will hold.
    """

    held_bytes = LIST_HELD_BYTES

    def __init__(self, element: Shape, compact: bool, nullable: bool) -> None:
        super().__init__()
        self.element = element
        self.compact = compact
        self.nullable = nullable
        self.least = 1 if compact else 4
        self.each = max(element.least, 1)
        self.charge = element.held_bytes + PLACE_HELD_BYTES

    def take(self, reader: Reader) -> list[Any] | None:
        if self.compact:
            count = take_uvarint(reader) - 1
        else:
            (count,) = _INT32.unpack_from(reader.data, reader.position)
            reader.position += 4
        if count < 0:
            if self.nullable:
                return None
            raise WireError("null where it is not allowed")
        left = reader.end - reader.position
        if count * self.each > left:
            raise WireError(f"{count} elements announced, {left} bytes left")
        reader.room -= count * self.charge
        if reader.room < 0:
            raise WireError("more small things than a frame of this size may hold")
        if type(self.element) is Number:
            start = reader.position
            reader.position = start + count * self.element.least
            return list(struct.unpack_from(f">{count}{self.element.code}", reader.data, start))
        take = self.element.take
        return [take(reader) for _ in range(count)]

    def give(self, value: Sequence[Any] | None, writer: Writer) -> None:
        if value is None:
            if not self.nullable:
                raise ValueError("null where it is not allowed")
            writer.buffer += b"\0" if self.compact else b"\xff\xff\xff\xff"
            return
        count = len(value)
        writer.buffer += uvarint(count + 1) if self.compact else _INT32.pack(count)
        if type(self.element) is Number:
            writer.buffer += struct.pack(f">{count}{self.element.code}", *value)
            return
        give = self.element.give
        for element in value:
            give(element, writer)


_INT32 = struct.Struct(">i")


class Maybe(Shape):
    """A struct that may be null: a byte that is negative for null, one otherwise (KIP-893)."""

    least = 1

    def __init__(self, inner: Shape) -> None:
        super().__init__()
        self.inner = inner
        self.held_bytes = inner.held_bytes

    def take(self, reader: Reader) -> Any:
        mark = reader.data[reader.position]
        reader.position += 1
        return self.inner.take(reader) if mark < 0x80 else None

    def give(self, value: Any, writer: Writer) -> None:
        if value is None:
            writer.buffer += b"\xff"
        else:
            writer.buffer += b"\x01"
            self.inner.give(value, writer)


UNKNOWN_HELD_BYTES = 128


def blank_bytes(made: type[Any]) -> int:
    """The memory that a structure takes as it comes out of its constructor."""
    blank = made()
    held = 32 + 8 * len(blank._names)
    for name in blank._names:
        part = getattr(blank, name)
        if isinstance(part, list):
            held += LIST_HELD_BYTES
        elif hasattr(part, "_names"):
            held += blank_bytes(type(part))
    return held


class TaggedMaybe(Maybe):
    """The same as a tagged field, where Apache Kafka writes the mark as a varint: zero for null, one otherwise."""

    def take(self, reader: Reader) -> Any:
        return self.inner.take(reader) if take_uvarint(reader) else None

    def give(self, value: Any, writer: Writer) -> None:
        if value is None:
            writer.buffer += b"\0"
        else:
            super().give(value, writer)


class Fields(Shape):
    """One struct in one version: its fields in order, then the tagged ones where the version is flexible.

    ``steps`` are a name and a shape, or the names of a ``Run`` and the run. ``absent`` are the fields that this
    version lacks, with their defaults and whether they may be lost.
    """

    def __init__(
        self,
        made: type[Any],
        steps: Sequence[tuple[str | tuple[str, ...], Shape]],
        tagged: Mapping[int, tuple[str, Shape]] | None,
        fresh: Mapping[str, Callable[[], Any]],
        absent: Mapping[str, bool],
    ) -> None:
        super().__init__()
        self.made = made
        self.steps = tuple(steps)
        self.tagged = tagged
        self.least = sum(shape.least for _, shape in steps) + (tagged is not None)
        tag_names = {name for name, _ in tagged.values()} if tagged else set()
        self.held_bytes = sum(shape.held_bytes for _, shape in steps) + blank_bytes(made)
        self.kept = [(name, fresh[name]()) for name, lossy in absent.items() if not lossy]
        self.tagged_defaults = {name: fresh[name]() for name in tag_names}

    def take(self, reader: Reader) -> Any:
        value = self.made()
        for names, shape in self.steps:
            if type(names) is str:
                setattr(value, names, shape.take(reader))
            else:
                for name, part in zip(names, shape.take(reader), strict=True):
                    setattr(value, name, part)
        if self.tagged is not None:
            self.take_tagged(value, reader)
        return value

    def take_tagged(self, value: Any, reader: Reader) -> None:
        """Read the tagged fields, which stand at the end of a struct."""
        assert self.tagged is not None
        count = take_uvarint(reader)
        if not count:
            return
        unknown = bytearray()
        left = reader.end - reader.position
        if count * 2 > left:
            raise WireError(f"{count} tagged fields announced, {left} bytes left")
        for _ in range(count):
            begin = reader.position
            tag = take_uvarint(reader)
            size = take_uvarint(reader)
            if tag in self.tagged:
                # Apache Kafka does not look at the size of a field that it knows.
                name, shape = self.tagged[tag]
                self._charge(reader, shape.held_bytes)
                setattr(value, name, shape.take(reader))
            else:
                stop = reader.position + size
                if stop > reader.end:
                    raise WireError(f"{size} bytes announced for tag {tag}, {reader.end - reader.position} left")
                reader.position = stop
                self._charge(reader, UNKNOWN_HELD_BYTES + 2 * (stop - begin))
                unknown += reader.data[begin:stop]
        value._tags = bytes(unknown)

    def _charge(self, reader: Reader, held_bytes: int) -> None:
        reader.room -= held_bytes
        if reader.room < 0:
            raise WireError("more small things than a frame of this size may hold")

    def give(self, value: Any, writer: Writer) -> None:
        if type(value) is not self.made:
            raise ValueError(f"{type(value).__qualname__} where {self.made.__qualname__} is wanted")
        for name, default in self.kept:
            if getattr(value, name) != default:
                raise ValueError(f"this version of {self.made.__qualname__} cannot say {name}")
        for names, shape in self.steps:
            if type(names) is str:
                try:
                    shape.give(getattr(value, names), writer)
                except ValueError as error:
                    raise ValueError(f"{names}: {error}") from None
            else:
                shape.give([getattr(value, name) for name in names], writer)
        if self.tagged is not None:
            self.give_tagged(value, writer)
        elif value._tags:
            raise ValueError(f"this version of {self.made.__qualname__} has no tagged fields")

    def give_tagged(self, value: Any, writer: Writer) -> None:
        """Write the tagged fields that differ from their defaults, and those that nobody knew."""
        assert self.tagged is not None
        found: dict[int, bytes] = unknown_tags(value._tags) if value._tags else {}
        for tag, (name, shape) in self.tagged.items():
            part = getattr(value, name)
            if part != self.tagged_defaults[name]:
                inner = Writer()
                shape.give(part, inner)
                found[tag] = inner.joined()
        writer.buffer += uvarint(len(found))
        for tag in sorted(found):
            writer.buffer += uvarint(tag) + uvarint(len(found[tag])) + found[tag]


def unknown_tags(kept: bytes) -> dict[int, bytes]:
    """The tagged fields in a structure's ``_tags``, by number; of two with one number the last counts."""
    reader = Reader(kept)
    found = {}
    while reader.position < reader.end:
        tag = take_uvarint(reader)
        found[tag] = reader.read(take_uvarint(reader))
    return found
