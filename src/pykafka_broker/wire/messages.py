"""All messages of the protocol by name: ``messages.JoinGroupRequest``, ``messages.OffsetCommitKey``.

A class is made when it is first mentioned. Types are in ``messages.pyi``, which ``python -m
pykafka_broker.wire.stubs`` writes; how classes are made is in ``structures.py``, how they become bytes in
``codec.py``. Whole requests and responses with their headers are the business of ``exchange.py``.
"""

from __future__ import annotations

from typing import Any

from pykafka_broker.model.errors import WireError
from pykafka_broker.wire.codec import read, write
from pykafka_broker.wire.primitives import Reader, Writer
from pykafka_broker.wire.structures import Message, Structure, message_class

__all__ = ["Message", "Structure", "decode", "encode"]


def encode(message: Message, version: int) -> bytes:
    """The bytes of a message without header; ``ValueError`` if a value does not fit into that version."""
    writer = Writer()
    write(message, version, writer)
    return writer.joined()


def decode(cls: Any, data: bytes | bytearray | memoryview, version: int, *, whole: bool = False) -> Any:
    """A message from its bytes; ``WireError`` if they are not one.

    Bytes behind the message are ignored, as Apache Kafka does and the consumer protocol asks for, unless it
    must be the ``whole``.
    """
    reader = Reader(data)
    value = read(cls, version, reader)
    if whole and reader.position != reader.end:
        raise WireError(f"{reader.end - reader.position} bytes behind {cls.__name__} version {version}")
    return value


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        made = message_class(name)
    except KeyError:
        raise AttributeError(f"the specs know no message {name}") from None
    globals()[name] = made
    return made
