"""Writes ``messages.pyi``, so that editors and the type checker know the classes that are made from the specs.

``python -m pykafka_broker.wire.stubs`` does it; a test fails when the file is stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pykafka_broker.wire import spec

TARGET = Path(__file__).with_name("messages.pyi")

_TYPES = {
    "bool": "bool",
    "int8": "int",
    "int16": "int",
    "uint16": "int",
    "int32": "int",
    "uint32": "int",
    "int64": "int",
    "float64": "float",
    "string": "str",
    "bytes": "bytes",
    "records": "Records",
    "uuid": "UUID",
}

_HEAD = """\
# Written by python -m pykafka_broker.wire.stubs from protocol_specs; change those instead.

from typing import TypeVar
from uuid import UUID

from pykafka_broker.model.names import {domains}
from pykafka_broker.wire.pieces import FilePieces
from pykafka_broker.wire.structures import Message as Message
from pykafka_broker.wire.structures import Structure as Structure

Records = bytes | bytearray | memoryview | FilePieces

_M = TypeVar("_M", bound=Message)

def encode(message: Message, version: int) -> bytes: ...
def decode(cls: type[_M], data: bytes | bytearray | memoryview, version: int, *, whole: bool = ...) -> _M: ...
"""


def text() -> str:
    """What the stub file should say."""
    lines: list[str] = []
    domains: set[str] = set()
    for message in spec.messages():
        lines += ["", *_class(message)]
        for struct in (message.struct, *message.structs):
            domains |= {field.domain for field in struct.fields if field.domain}
    return _HEAD.format(domains=", ".join(sorted(domains))) + "\n".join(lines) + "\n"


def _class(message: spec.Message) -> Iterator[str]:
    yield f"class {message.name}(Message, kw_only=True):"
    for struct in message.structs:
        yield f"    class {struct.name}(Structure, kw_only=True):"
        yield from _fields(struct, message, "        ")
        yield ""
    yield from _fields(message.struct, message, "    ")


def _fields(struct: spec.Struct, message: spec.Message, indent: str) -> Iterator[str]:
    if not struct.fields:
        yield f"{indent}..."
    for field in struct.fields:
        yield f"{indent}{field.name}: {_type(field, message)} = ..."


def _type(field: spec.Field, message: spec.Message) -> str:
    kind = field.kind.element if isinstance(field.kind, spec.Array) else field.kind
    if isinstance(kind, spec.Struct):
        found = f"{message.name}.{kind.name}"
    else:
        found = field.domain or _TYPES[kind.name]
    if isinstance(field.kind, spec.Array):
        found = f"list[{found}]"
    return f"{found} | None" if field.nullable is not None else found


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
