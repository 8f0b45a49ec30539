"""Turns a spec into the construct that reads and writes it in one version, once, when it is first needed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar

from pykafka_broker.model.errors import WireError
from pykafka_broker.wire import spec
from pykafka_broker.wire.primitives import NUMBER_CODES, Number, Reader, Shape, Sized, Uuid, Writer
from pykafka_broker.wire.shapes import ArrayOf, Fields, Maybe, Run, TaggedMaybe
from pykafka_broker.wire.structures import Message, Structure, default_of

M = TypeVar("M", bound=Message)


COMPILED_AFTER = 16
"""How often a message is read or written by its shapes before that is worth compiling (a millisecond or two)."""


class Codec:
    """One message in one version: its construct, and the quickest way there is by now to read and to write it."""

    __slots__ = ("_gives", "_takes", "fields", "give", "take")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.take: Callable[[Reader], Any] = self._take_at_first
        self.give: Callable[[Any, Writer], None] = self._give_at_first
        self._takes = self._gives = 0

    def _take_at_first(self, reader: Reader) -> Any:
        self._takes += 1
        if self._takes > COMPILED_AFTER:
            from pykafka_broker.wire.compiled import compiled_take

            self.take = compiled_take(self.fields)
        return self.fields.take(reader)

    def _give_at_first(self, value: Any, writer: Writer) -> None:
        self._gives += 1
        if self._gives > COMPILED_AFTER:
            from pykafka_broker.wire.compiled import compiled_give

            self.give = compiled_give(self.fields)
        self.fields.give(value, writer)


def codec(made: type[Message], version: int) -> Fields:
    """The construct of a message in one version; ``ValueError`` if it has no such version."""
    return _codec(made, version).fields


def _codec(made: type[Message], version: int) -> Codec:
    found: Codec | None = made._codecs.get(version)
    if found is None:
        found = made._codecs[version] = Codec(_whole(made, version))
    return found


def _whole(made: type[Message], version: int) -> Fields:
    whole = made._spec
    if not whole.versions.has(version):
        raise ValueError(f"{whole.name} has versions {whole.versions.low}-{whole.versions.high}, not {version}")
    classes: dict[str, type[Structure]] = {inner.name: getattr(made, inner.name) for inner in whole.structs}
    return _fields(made, whole.struct, version, whole.is_flexible(version), classes, {})


def read(made: type[M], version: int, reader: Reader) -> M:
    """A message from where the reader is; anything that is not one is a ``WireError``."""
    ways = made._codecs.get(version) or _codec(made, version)
    start, room = reader.position, reader.room
    try:
        value: M = ways.take(reader)
        return value
    except (WireError, struct.error, IndexError):
        pass  # what has been read so far dies here with the traceback, before it is read again
    raise WireError(f"{made.__name__} version {version}: {_what_is_wrong(ways.fields, reader, start, room)}")


def write(message: Message, version: int, writer: Writer) -> None:
    """Append a message; ``ValueError`` if a value does not fit or the version has no place for it."""
    made = type(message)
    ways = made._codecs.get(version) or _codec(made, version)
    try:
        ways.give(message, writer)
    except (struct.error, ValueError, TypeError, AttributeError):
        try:
            ways.fields.give(message, Writer())
        except (struct.error, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{made.__name__} version {version}: {error}") from error
        raise


def _what_is_wrong(fields: Fields, reader: Reader, start: int, room: int) -> str:
    """Reads once more, in the way that knows where it is."""
    reader.position, reader.room = start, room
    try:
        fields.take(reader)
    except WireError as error:
        return f"{error} (before byte {reader.position})"
    except (struct.error, IndexError):
        pass
    return "cut short"


def _fields(
    made: type[Structure],
    what: spec.Struct,
    version: int,
    flexible: bool,
    classes: dict[str, type[Structure]],
    done: dict[str, Fields],
) -> Fields:
    steps: list[tuple[str | tuple[str, ...], Shape]] = []
    tagged: dict[int, tuple[str, Shape]] = {}
    fresh: dict[str, Callable[[], Any]] = {}
    absent: dict[str, bool] = {}
    numbers: list[tuple[str, str]] = []

    def close_run() -> None:
        if len(numbers) == 1:
            steps.append((numbers[0][0], Number(numbers[0][1])))
        elif numbers:
            steps.append((tuple(name for name, _ in numbers), Run("".join(code for _, code in numbers))))
        numbers.clear()

    for field in what.fields:
        fresh[field.name] = _maker(field, classes)
        if not field.versions.has(version):
            absent[field.name] = field.lossy
            continue
        kind = field.kind
        if isinstance(kind, spec.Primitive) and kind.name in NUMBER_CODES and field.tag is None:
            numbers.append((field.name, NUMBER_CODES[kind.name]))
            continue
        shape = _shape(field, kind, version, flexible and not field.classic, classes, done)
        if field.tag is not None:
            tagged[field.tag] = (field.name, shape)
        else:
            close_run()
            steps.append((field.name, shape))
    close_run()
    made_fields = Fields(made, steps, dict(sorted(tagged.items())) if flexible else None, fresh, absent)
    done[what.name] = made_fields
    return made_fields


def _maker(field: spec.Field, classes: dict[str, type[Structure]]) -> Callable[[], Any]:
    if field.null_by_default or isinstance(field.kind, spec.Primitive):
        value = default_of(field, classes)
        return lambda: value
    return list if isinstance(field.kind, spec.Array) else classes[field.kind.name]


def _shape(
    field: spec.Field,
    kind: spec.Kind,
    version: int,
    compact: bool,
    classes: dict[str, type[Structure]],
    done: dict[str, Fields],
) -> Shape:
    nullable = field.may_be_null(version)
    if isinstance(kind, spec.Array):
        element = _element(kind.element, version, compact, classes, done)
        return ArrayOf(element, compact, nullable)
    if isinstance(kind, spec.Struct):
        inner = _element(kind, version, compact, classes, done)
        if nullable:
            return Maybe(inner) if field.tag is None else TaggedMaybe(inner)
        return inner
    if kind.name in ("string", "bytes", "records"):
        return Sized(kind.name, compact, nullable)
    return _element(kind, version, compact, classes, done)


def _element(
    kind: spec.Primitive | spec.Struct,
    version: int,
    compact: bool,
    classes: dict[str, type[Structure]],
    done: dict[str, Fields],
) -> Shape:
    if isinstance(kind, spec.Struct):
        return done.get(kind.name) or _fields(classes[kind.name], kind, version, compact, classes, done)
    if kind.name in NUMBER_CODES:
        return Number(NUMBER_CODES[kind.name])
    return Uuid() if kind.name == "uuid" else Sized(kind.name, compact, False)
