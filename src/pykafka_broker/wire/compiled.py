"""Turns the construct of a message into one plain Python function each for reading and writing.

Walks the shapes and writes out what they would do one after the other: neighbouring numbers and the length that
follows them are one call of the struct module, loops have no calls in them, tagged fields cost one comparison
when there are none. ``codec.py`` does this for a message once it has been used a few times.

A compiled function accepts and makes exactly what its shapes do (a test has Hypothesis compare them). It is
terse about errors: whoever gets one asks the shapes again, for they can say what is wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from pykafka_broker.model.errors import WireError
from pykafka_broker.wire.pieces import FilePieces
from pykafka_broker.wire.primitives import (
    LONGEST_STRING_BYTES,
    Number,
    Reader,
    Shape,
    Sized,
    Uuid,
    Writer,
    give_records,
    take_uvarint,
    uuid_of,
    uvarint,
)
from pykafka_broker.wire.shapes import ArrayOf, Fields, Maybe, Run
from pykafka_broker.wire.structures import Structure


def compiled_take(fields: Fields) -> Callable[[Reader], Any]:
    """A function that does what ``fields.take`` does."""
    function: Callable[[Reader], Any] = _Taking().function(fields)
    return function


def compiled_give(fields: Fields) -> Callable[[Any, Writer], None]:
    """A function that does what ``fields.give`` does."""
    function: Callable[[Any, Writer], None] = _Giving().function(fields)
    return function


def _long_uvarint(data: memoryview, position: int) -> tuple[int, int]:
    reader = Reader(data, position)
    return take_uvarint(reader), reader.position


def _unreadable() -> NoReturn:
    raise WireError("unreadable")


def _unwritable() -> NoReturn:
    raise ValueError("unwritable")


_WORLD: dict[str, Any] = {
    "long_uvarint": _long_uvarint,
    "uvarint": uvarint,
    "short_uvarint": [uvarint(value) for value in range(0x80)],
    "uuid_of": uuid_of,
    "unpack_from": struct.unpack_from,
    "pack": struct.pack,
    "unreadable": _unreadable,
    "unwritable": _unwritable,
    "FilePieces": FilePieces,
    "give_records": give_records,
}


class _Source:
    """Lines of a function, and the names that they use from outside."""

    def __init__(self) -> None:
        self.world = dict(_WORLD)
        self._lines: list[str] = []
        self._depth = 1
        self._count = 0

    def say(self, line: str) -> None:
        self._lines.append("    " * self._depth + line)

    @contextmanager
    def inside(self, line: str) -> Iterator[None]:
        """A line that begins a block."""
        self.say(line)
        self._depth += 1
        yield
        self._depth -= 1

    def name(self, stem: str) -> str:
        """A name that is used nowhere else."""
        self._count += 1
        return f"{stem}{self._count}"

    def outside(self, stem: str, value: Any) -> str:
        """A name for something that exists already."""
        name = self.name(stem)
        self.world[name] = value
        return name

    def constant(self, value: Any) -> str:
        """How a default is spelled."""
        if value is None or type(value) in (bool, int, float, str, bytes):
            return repr(value)
        return "[]" if value == [] else self.outside("default", value)

    def finished(self, head: str) -> Any:
        """The function."""
        exec(head + "\n" + "\n".join(self._lines), self.world)
        return self.world["compiled"]


class _Taking(_Source):
    """Writes the function that reads; ``data``, ``p``, ``end`` and ``room`` are what the reader has of these."""

    def __init__(self) -> None:
        super().__init__()
        self._fixed: list[tuple[str, str]] = []
        self._ids: list[str] = []

    def function(self, fields: Fields) -> Any:
        self.say("data, p, end, room = reader.data, reader.position, reader.end, reader.room")
        result = self._fields(fields)
        self.say("reader.position, reader.room = p, room")
        self.say(f"return {result}")
        return self.finished("def compiled(reader):")

    def _flush(self) -> None:
        """Read the numbers that have gathered, in one call."""
        if self._fixed:
            form = struct.Struct(">" + "".join(code for code, _ in self._fixed))
            targets = ", ".join(target for _, target in self._fixed)
            self.say(
                f"{targets}{',' if len(self._fixed) == 1 else ''} = {self.outside('unpack', form.unpack_from)}(data, p)"
            )
            self.say(f"p += {form.size}")
            for target in self._ids:
                self.say(f"{target} = uuid_of({target})")
        self._fixed, self._ids = [], []

    def _fields(self, fields: Fields) -> str:
        values: dict[str, str] = {}
        for names, shape in fields.steps:
            if isinstance(names, str):
                values[names] = self.name("v")
                self._into(values[names], shape)
            else:
                assert isinstance(shape, Run)
                for code, name in zip(shape.codes, names, strict=True):
                    values[name] = self.name("v")
                    self._fixed.append((code, values[name]))
        self._flush()
        value = self.name("o")
        given = ", ".join(f"{name}={read}" for name, read in values.items())
        self.say(f"{value} = {self.outside('made', fields.made)}({given})")
        if fields.tagged is not None:
            with self.inside("if data[p]:"):
                self.say("reader.position, reader.room = p, room")
                self.say(f"{self.outside('tagged', fields.take_tagged)}({value}, reader)")
                self.say("p, room = reader.position, reader.room")
            with self.inside("else:"):
                self.say("p += 1")
        return value

    def _into(self, target: str, shape: Shape) -> None:
        match shape:
            case Number():
                self._fixed.append((shape.code, target))
            case Uuid():
                self._fixed.append(("16s", target))
                self._ids.append(target)
            case Sized():
                size = self._size(shape.compact, "h" if shape.is_text else "i")
                with self._unless_null(target, size, shape.nullable):
                    self._sized(target, size, shape)
            case ArrayOf():
                size = self._size(shape.compact, "i")
                with self._unless_null(target, size, shape.nullable):
                    self._array(target, size, shape)
            case Fields():
                self._flush()
                self.say(f"{target} = {self._fields(shape)}")
            case Maybe():
                assert isinstance(shape.inner, Fields)
                self._flush()
                self.say("p += 1")
                with self.inside("if data[p - 1] > 0x7f:"):
                    self.say(f"{target} = None")
                with self.inside("else:"):
                    self.say(f"{target} = {self._fields(shape.inner)}")
            case _:
                raise TypeError(f"no code for {shape!r}")

    def _size(self, compact: bool, code: str) -> str:
        """Read a length into a variable; -1 stands for null, as does any other negative number."""
        size = self.name("n")
        if compact:
            self._flush()
            self.say(f"{size} = data[p]")
            with self.inside(f"if {size} < 0x80:"):
                self.say("p += 1")
            with self.inside("elif (second := data[p + 1]) < 0x80:"):
                self.say(f"{size} += (second << 7) - 0x80")
                self.say("p += 2")
            with self.inside("else:"):
                self.say(f"{size}, p = long_uvarint(data, p)")
            self.say(f"{size} -= 1")
        else:
            self._fixed.append((code, size))
            self._flush()
        return size

    @contextmanager
    def _unless_null(self, target: str, size: str, nullable: bool) -> Iterator[None]:
        with self.inside(f"if {size} < 0:"):
            self.say(f"{target} = None" if nullable else "unreadable()")
        with self.inside("else:"):
            yield

    def _sized(self, target: str, size: str, shape: Sized) -> None:
        start = self.name("s")
        self.say(f"{start} = p")
        self.say(f"p += {size}")
        too_long = f" or {size} > {LONGEST_STRING_BYTES}" if shape.is_text and shape.compact else ""
        with self.inside(f"if p > end{too_long}:"):
            self.say("unreadable()")
        if shape.is_text:
            self.say(f"{target} = str(data[{start}:p], 'utf-8', 'replace')")
        elif shape.is_view:
            self.say(f"{target} = data[{start}:p]")
        else:
            self.say(f"{target} = bytes(data[{start}:p])")

    def _array(self, target: str, size: str, shape: ArrayOf) -> None:
        self.say(f"room -= {size} * {shape.charge}")
        with self.inside(f"if {size} * {shape.each} > end - p or room < 0:"):
            self.say("unreadable()")
        if isinstance(shape.element, Number):
            self.say(f"{target} = list(unpack_from('>%d{shape.element.code}' % {size}, data, p))")
            self.say(f"p += {size} * {shape.each}")
            return
        elements, element = self.name("a"), self.name("e")
        self.say(f"{elements} = []")
        with self.inside(f"for _ in range({size}):"):
            if isinstance(shape.element, Fields):
                element = self._fields(shape.element)
            else:
                self._into(element, shape.element)
            self._flush()
            self.say(f"{elements}.append({element})")
        self.say(f"{target} = {elements}")


class _Giving(_Source):
    """Writes the function that writes. ``buffer`` is the writer's own, and a new one whenever records passed by."""

    def __init__(self) -> None:
        super().__init__()
        self._fixed: list[tuple[str, str]] = []

    def function(self, fields: Fields) -> Any:
        self.say("buffer = writer.buffer")
        self._fields("o", fields)
        self._flush()
        return self.finished("def compiled(o, writer):")

    def _flush(self) -> None:
        """Write the numbers that have gathered, in one call."""
        if self._fixed:
            form = struct.Struct(">" + "".join(code for code, _ in self._fixed))
            values = ", ".join(value for _, value in self._fixed)
            self.say(f"buffer += {self.outside('pack', form.pack)}({values})")
        self._fixed = []

    def _fields(self, value: str, fields: Fields) -> None:
        wrong = [f"type({value}) is not {self.outside('made', fields.made)}"]
        wrong += [self._differs(f"{value}.{name}", default) for name, default in fields.kept]
        if fields.tagged is None:
            wrong.append(f"{value}._tags")
        with self.inside(f"if {' or '.join(wrong)}:"):
            self.say("unwritable()")
        for names, shape in fields.steps:
            if isinstance(names, str):
                self._from(f"{value}.{names}", shape)
            else:
                assert isinstance(shape, Run)
                self._fixed += [(code, f"{value}.{name}") for code, name in zip(shape.codes, names, strict=True)]
        if fields.tagged is not None:
            self._flush()
            meaningful = [f"{value}._tags"]
            for name, default in fields.tagged_defaults.items():
                meaningful.append(self._differs(f"{value}.{name}", default))
            with self.inside(f"if {' or '.join(meaningful)}:"):
                self.say(f"{self.outside('tagged', fields.give_tagged)}({value}, writer)")
            with self.inside("else:"):
                self.say("buffer += b'\\0'")

    def _differs(self, value: str, default: Any) -> str:
        """Whether a value is not the default; a struct of numbers is looked into without a call."""
        if not isinstance(default, Structure):
            return f"{value} != {self.constant(default)}"
        parts = {name: getattr(default, name) for name in default._names}
        if not all(part is None or type(part) in (bool, int, str, bytes) for part in parts.values()):
            return f"{value} != {self.outside('default', default)}"
        inner = self.name("t")
        tests = [f"type({inner} := {value}) is not {self.outside('made', type(default))}"]
        tests += [f"{inner}.{name} != {self.constant(part)}" for name, part in parts.items()]
        return f"({' or '.join(tests)})"

    def _from(self, value: str, shape: Shape) -> None:
        match shape:
            case Number():
                self._fixed.append((shape.code, value))
            case Uuid():
                self._flush()
                self.say(f"buffer += {value}.bytes")
            case Sized():
                found = self._found(value)
                with self._unless_null(found, shape.compact, "h" if shape.is_text else "i", shape.nullable):
                    self._sized(found, shape)
            case ArrayOf():
                found = self._found(value)
                with self._unless_null(found, shape.compact, "i", shape.nullable):
                    self._array(found, shape)
            case Fields():
                found = self._found(value)
                self._flush()
                self._fields(found, shape)
            case Maybe():
                assert isinstance(shape.inner, Fields)
                found = self._found(value)
                self._flush()
                with self.inside(f"if {found} is None:"):
                    self.say("buffer += b'\\xff'")
                with self.inside("else:"):
                    self.say("buffer += b'\\x01'")
                    self._fields(found, shape.inner)
                    self._flush()
            case _:
                raise TypeError(f"no code for {shape!r}")

    def _found(self, value: str) -> str:
        if value.isidentifier():
            return value
        found = self.name("v")
        self.say(f"{found} = {value}")
        return found

    @contextmanager
    def _unless_null(self, value: str, compact: bool, code: str, nullable: bool) -> Iterator[None]:
        """What is inside begins with the length; so numbers before it can be written in one go with it."""
        before = self._fixed
        with self.inside(f"if {value} is None:"):
            if not nullable:
                self.say("unwritable()")
            elif compact:
                self._flush()
                self.say("buffer += b'\\0'")
            else:
                self._fixed = [*before, (code, "-1")]
                self._flush()
        self._fixed = before
        with self.inside("else:"):
            yield
            self._flush()

    def _length(self, size: str, compact: bool, code: str) -> None:
        if compact:
            self._flush()
            self.say(f"buffer += short_uvarint[{size} + 1] if {size} < 0x7f else uvarint({size} + 1)")
        else:
            self._fixed.append((code, size))
            self._flush()

    def _sized(self, value: str, shape: Sized) -> None:
        size = self.name("n")
        if shape.is_text:
            self.say(f"{value} = {value}.encode('utf-8', 'replace')")
            self.say(f"{size} = len({value})")
            with self.inside(f"if {size} > {LONGEST_STRING_BYTES}:"):
                self.say("unwritable()")
        elif shape.is_view:
            self.say(f"{size} = {value}.size_bytes if isinstance({value}, FilePieces) else len({value})")
        else:
            self.say(f"{size} = len({value})")
        self._length(size, shape.compact, "h" if shape.is_text else "i")
        if shape.is_view:
            self.say(f"give_records({value}, writer)")
            self.say("buffer = writer.buffer")
        else:
            self.say(f"buffer += {value}")

    def _array(self, value: str, shape: ArrayOf) -> None:
        size, element = self.name("n"), self.name("e")
        self.say(f"{size} = len({value})")
        self._length(size, shape.compact, "i")
        if isinstance(shape.element, Number):
            self.say(f"buffer += pack('>%d{shape.element.code}' % {size}, *{value})")
            return
        with self.inside(f"for {element} in {value}:"):
            self._from(element, shape.element)
            self._flush()
