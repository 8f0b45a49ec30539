"""Reads ``protocol_specs/``: text in, a frozen tree out, one file at a time and only when asked for.

The notation is described in ``protocol_specs/README.md``. What the tree looks like as bytes is left to
``codec.py``, what it looks like as Python classes to ``structures.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

PRIMITIVES = frozenset(
    "bool int8 int16 uint16 int32 uint32 int64 float64 string bytes records uuid".split()  # noqa: SIM905
)


class SpecError(ValueError):
    """A spec file breaks the notation; the message names the file and the line."""


class Versions(NamedTuple):
    """A range of versions, both ends included."""

    low: int
    high: int

    def has(self, version: int) -> bool:
        """Whether ``version`` lies inside."""
        return self.low <= version <= self.high


class Primitive(msgspec.Struct, frozen=True):
    """A type without parts."""

    name: str


class Struct(msgspec.Struct, frozen=True):
    """Named fields in order. Its name is unique in its message."""

    name: str
    fields: tuple[Field, ...]


class Array(msgspec.Struct, frozen=True):
    """Any number of elements, none of them null."""

    element: Primitive | Struct


Kind = Primitive | Struct | Array


class Field(msgspec.Struct, frozen=True):
    """One line of a spec. ``default`` is meaningful for primitives; others default to empty, or null if said."""

    name: str
    kind: Kind
    versions: Versions
    nullable: Versions | None
    tag: int | None
    classic: bool
    default: bool | int | float | str | bytes | None
    null_by_default: bool
    lossy: bool
    domain: str | None

    def may_be_null(self, version: int) -> bool:
        """Whether null may be written in ``version``."""
        return self.nullable is not None and self.nullable.has(version)


class Message(msgspec.Struct, frozen=True):
    """A request, a response, or a record: a struct with the versions in which it exists."""

    name: str
    api: str
    versions: Versions
    flexible: int | None
    struct: Struct
    structs: tuple[Struct, ...]

    def is_flexible(self, version: int) -> bool:
        """Whether ``version`` has compact lengths and tagged fields (KIP-482)."""
        return self.flexible is not None and version >= self.flexible


class Heading(msgspec.Struct, frozen=True):
    """The first line of an API's spec."""

    key: int
    name: str
    low: int
    high: int
    flexible: int | None


class Api(msgspec.Struct, frozen=True):
    """One API: what is asked and what is answered."""

    heading: Heading
    request: Message
    response: Message


def source() -> Path:
    """The folder of the specs: package data when installed, the checkout's own folder in development."""
    packaged = Path(__file__).parent.parent / "protocol_specs"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "protocol_specs"


def snake(name: str) -> str:
    """``LeaderAndIsr`` as it is spelled in file names: ``leader_and_isr``."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


@lru_cache(None)
def _files() -> dict[str, Path]:
    return {path.stem.split("_", 1)[1]: path for path in sorted((source() / "apis").glob("*.spec"))}


@lru_cache(None)
def api_names() -> tuple[str, ...]:
    """All APIs that are specified, in the order of their keys."""
    return tuple(_heading_of(path).name for path in _files().values())


@lru_cache(None)
def record_names() -> tuple[str, ...]:
    """All records that are specified (what is stored or travels opaquely), in alphabetical order."""
    found = []
    for path in sorted((source() / "records").glob("*.spec")):
        with path.open(encoding="utf-8") as lines:
            found.append(next(line.split()[1] for line in lines if line.startswith("record ")))
    return tuple(found)


@lru_cache(None)
def heading(api_name: str) -> Heading:
    """Key, versions and first flexible version of an API, without reading its fields; ``KeyError`` if unknown."""
    return _heading_of(_files()[snake(api_name)])


@lru_cache(None)
def _heading_of(path: Path) -> Heading:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("api "):
                words = line.split("#", 1)[0].split()
                versions = _versions(words[4], Versions(0, 32767))
                return Heading(int(words[1]), words[2], versions.low, versions.high, _flexible(words))
    raise SpecError(f"{path.name}: no line begins with api")


def _flexible(words: list[str]) -> int | None:
    return int(words[words.index("flexible") + 1].rstrip("+")) if "flexible" in words else None


@lru_cache(None)
def api(name: str) -> Api:
    """The whole spec of an API; ``KeyError`` if there is none."""
    path = _files()[snake(name)]
    top = _heading_of(path)
    parser = _Parser(path.name, path.read_text(encoding="utf-8"))
    blocks: dict[str, Message] = {}
    for word in ("api", "request", "response"):
        words = parser.expect(0, word)
        if word != "api":
            blocks[word] = parser.message(f"{top.name}{word.capitalize()}", top.name, top.low, top.high, top.flexible)
        elif words[2] != top.name or snake(top.name) != path.stem.split("_", 1)[1]:
            raise SpecError(f"{path.name} holds {words[2]}")
    parser.finish()
    return Api(top, blocks["request"], blocks["response"])


@lru_cache(None)
def record(name: str) -> Message:
    """The spec of a stored record or of a header; ``KeyError`` if there is none."""
    folder = "headers" if name in ("RequestHeader", "ResponseHeader") else "records"
    path = source() / folder / f"{snake(name)}.spec"
    if not path.is_file():
        raise KeyError(name)
    parser = _Parser(path.name, path.read_text(encoding="utf-8"))
    words = parser.expect(0, "record")
    if words[1] != name:
        raise SpecError(f"{path.name} holds {words[1]}")
    versions = _versions(words[3], Versions(0, 32767))
    message = parser.message(name, name, versions.low, versions.high, _flexible(words))
    parser.finish()
    return message


@lru_cache(None)
def message(name: str) -> Message:
    """The spec of ``JoinGroupRequest``, ``JoinGroupResponse`` or ``OffsetCommitKey``; ``KeyError`` if unknown."""
    for ending in ("Request", "Response"):
        stem = name.removesuffix(ending)
        if stem != name and snake(stem) in _files():
            found = api(stem)
            return found.request if ending == "Request" else found.response
    return record(name)


def messages() -> Iterator[Message]:
    """Every message that is specified: requests and responses by key, headers, records."""
    for name in api_names():
        found = api(name)
        yield found.request
        yield found.response
    for name in ("RequestHeader", "ResponseHeader", *record_names()):
        yield record(name)


def _versions(word: str, whole: Versions) -> Versions:
    if word.endswith("+"):
        return Versions(int(word[:-1]), whole.high)
    low, dash, high = word.partition("-")
    return Versions(int(low), int(high if dash else low))


class _Parser:
    """Goes through the lines of one file once, from top to bottom."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._lines: list[tuple[int, int, list[str]]] = []
        for number, line in enumerate(text.splitlines(), 1):
            body = line.split("#", 1)[0]
            words = body.split()
            if words:
                self._lines.append((number, (len(body) - len(body.lstrip())) // 2, words))
        self._next = 0
        self._structs: dict[str, Struct] = {}
        self._whole = Versions(0, 0)

    def _wrong(self, what: str) -> SpecError:
        index = min(self._next, len(self._lines)) - 1
        return SpecError(f"{self._file}, line {self._lines[index][0]}: {what}")

    def expect(self, depth: int, word: str) -> list[str]:
        """The words of the next line, which must begin with ``word``."""
        if self._next < len(self._lines) and self._lines[self._next][1] == depth:
            words = self._lines[self._next][2]
            if words[0] == word:
                self._next += 1
                return words
        raise self._wrong(f"{word} expected after this")

    def finish(self) -> None:
        """Complain about lines that belong to nothing."""
        if self._next < len(self._lines):
            self._next += 1
            raise self._wrong("this line belongs to nothing")

    def message(self, name: str, api_name: str, low: int, high: int, flexible: int | None) -> Message:
        """The fields from here on, as a message."""
        self._structs = {}
        self._whole = Versions(low, high)
        fields = self._fields(1)
        return Message(name, api_name, self._whole, flexible, Struct(name, fields), tuple(self._structs.values()))

    def _fields(self, depth: int) -> tuple[Field, ...]:
        found: list[Field] = []
        while self._next < len(self._lines):
            _, at, words = self._lines[self._next]
            if at < depth:
                break
            self._next += 1
            if at > depth:
                raise self._wrong("indented too far")
            field = self._field(words, depth)
            if any(other.name == field.name for other in found):
                raise self._wrong(f"{field.name} is there twice")
            found.append(field)
        return tuple(found)

    def _field(self, words: list[str], depth: int) -> Field:
        name, type_name = words[0], words[1]
        versions, nullable = self._whole, None
        tag: int | None = None
        classic = lossy = False
        literal: str | None = None
        domain: str | None = None
        rest = iter(words[2:])
        try:
            for word in rest:
                if word[0].isdigit():
                    versions = _versions(word, self._whole)
                elif word == "null":
                    nullable = _versions(next(rest), self._whole)
                elif word == "tag":
                    tag = int(next(rest))
                elif word == "classic":
                    classic = True
                elif word == "=":
                    literal = next(rest)
                elif word == "lossy":
                    lossy = True
                elif word == "as":
                    domain = next(rest)
                else:
                    raise self._wrong(f"{word} means nothing here")
        except StopIteration:
            raise self._wrong("a word is missing at the end") from None
        except ValueError as error:
            raise self._wrong(str(error)) from None
        if versions.low < self._whole.low or versions.high > self._whole.high or versions.low > versions.high:
            raise self._wrong(f"versions {versions.low}-{versions.high} are not inside those of the message")
        bare = type_name.removeprefix("[]")
        is_array = bare != type_name
        if is_array and bare.startswith("?"):
            bare, nullable = bare[1:], versions
        elif not is_array and bare.endswith("?"):
            bare, nullable = bare[:-1], versions
        element: Primitive | Struct = Primitive(bare) if bare in PRIMITIVES else self._struct(bare, depth)
        kind: Kind = Array(element) if is_array else element
        null_by_default = literal == "null"
        if null_by_default and nullable is None:
            raise self._wrong(f"{name} cannot be null by default, for it is never null")
        if literal is not None and not null_by_default and not isinstance(kind, Primitive):
            raise self._wrong(f"{name} cannot have that default")
        try:
            default = None if null_by_default else _default(kind, literal)
        except ValueError as error:
            raise self._wrong(str(error)) from None
        return Field(name, kind, versions, nullable, tag, classic, default, null_by_default, lossy, domain)

    def _struct(self, name: str, depth: int) -> Struct:
        if not re.fullmatch(r"[A-Z]\w*", name):
            raise self._wrong(f"{name} is not a type")
        has_block = self._next < len(self._lines) and self._lines[self._next][1] > depth
        if name in self._structs:
            if has_block:
                raise self._wrong(f"{name} was given before")
            return self._structs[name]
        if not has_block:
            raise self._wrong(f"{name} has no fields")
        self._structs[name] = Struct(name, ())  # holds the place, so that outer structs come before inner ones
        self._structs[name] = Struct(name, self._fields(depth + 1))
        return self._structs[name]


def _default(kind: Kind, literal: str | None) -> bool | int | float | str | bytes | None:
    if not isinstance(kind, Primitive):
        return None
    match kind.name:
        case "bool":
            return literal == "true"
        case "string":
            return ""
        case "bytes" | "records":
            return b""
        case "uuid":
            return None
        case "float64":
            return float(literal or 0)
        case _:
            return int(literal or 0)
