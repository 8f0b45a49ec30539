"""Whole requests and responses: size, header, body.

``open_call`` and ``close_call`` are the broker's side, ``write_request`` and ``read_response`` the side of peers
and tests. Which bytes make a frame is up to ``net/``, what to answer up to ``api/``.

Request headers are version 2 where the API's version is flexible, else 1; ControlledShutdown 0 alone has header
0, without a client id. Response headers are 1 where flexible, else 0; those of ApiVersions always 0, so that a
client can read the answer to a version that the broker does not know (KIP-511).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Generic, TypeVar

from msgspec import Struct

from pykafka_broker.model.errors import WireError
from pykafka_broker.wire import spec
from pykafka_broker.wire.codec import read, write
from pykafka_broker.wire.pieces import FilePiece, FilePieces, Piece, size_of
from pykafka_broker.wire.primitives import Reader, Writer
from pykafka_broker.wire.structures import Message, message_class

__all__ = [
    "Call",
    "FilePiece",
    "FilePieces",
    "Piece",
    "Served",
    "Unchanging",
    "close_call",
    "open_call",
    "read_response",
    "write_request",
]

Body = TypeVar("Body")

API_VERSIONS_KEY = 18
CONTROLLED_SHUTDOWN_KEY = 7

_PEEK = struct.Struct(">hhi")
_BEGINNING = struct.Struct(">hhih")
"""Key, version, correlation id and the length of the client id: how every header begins but one."""
_SIZE = struct.Struct(">i")
_HEADS = (struct.Struct(">ii"), struct.Struct(">iix"))
"""Size and correlation id; without and with tagged fields, of which there are none."""


class Served(Struct, frozen=True):
    """What is answered: the lowest and highest version by API key."""

    ranges: Mapping[int, tuple[int, int]]


class Call(Struct, Generic[Body]):
    """One request that waits for its response. ``throttle_ms``, ``session`` and ``may_park`` are for others to set."""

    api: str
    key: int
    version: int
    correlation_id: int
    client_id: str | None
    body: Body
    size_bytes: int
    throttle_ms: float = 0
    session: Any = None
    may_park: bool = False
    """Whether whoever drives the handler takes a waiter for an answer (``runtime/waiter.py``)."""
    unsupported: bool = False
    """An ApiVersions of a version we lack: ``version`` is 0 and the answer must say UNSUPPORTED_VERSION."""


class _Form(Struct, frozen=True):
    """What an API looks like in one version."""

    api: str
    request: type[Message]
    response: type[Message]
    request_header: int
    response_header: int


@lru_cache(None)
def _form(key: int, version: int) -> _Form:
    return _form_of(_names()[key], version)


@lru_cache(None)
def _form_of(api: str, version: int) -> _Form:
    found = spec.heading(api)
    if not found.low <= version <= found.high:
        raise ValueError(f"{api} has versions {found.low}-{found.high}, not {version}")
    flexible = found.flexible is not None and version >= found.flexible
    return _Form(
        api,
        message_class(f"{api}Request"),
        message_class(f"{api}Response"),
        request_header_version(found, version),
        1 if flexible and found.key != API_VERSIONS_KEY else 0,
    )


def request_header_version(heading: spec.Heading, version: int) -> int:
    """The version of the header before a request, also for versions of the API that nobody has specified yet."""
    if heading.key == CONTROLLED_SHUTDOWN_KEY and version == 0:
        return 0
    return 2 if heading.flexible is not None and version >= heading.flexible else 1


@lru_cache(None)
def _names() -> dict[int, str]:
    return {spec.heading(name).key: name for name in spec.api_names()}


@lru_cache(None)
def _request_header() -> type[Message]:
    return message_class("RequestHeader")


def open_call(frame: bytes | bytearray | memoryview, served: Served) -> Call[Any]:
    """The call in a frame (without its size); ``WireError`` if it is none, or not one that is served.

    Records in the body are views of the frame, which must not change as long as they are in use. Bytes behind the
    body are ignored, as Apache Kafka does.
    """
    size = len(frame)
    if size >= _BEGINNING.size:
        key, version, correlation_id, length = _BEGINNING.unpack_from(frame)
    elif size >= _PEEK.size:
        key, version, correlation_id = _PEEK.unpack_from(frame)
        length = size  # more than there is
    else:
        raise WireError("a frame too short for a header")
    known = served.ranges.get(key)
    if known is None:
        raise WireError(f"API {key} is not served")
    reader = Reader(frame)
    if not known[0] <= version <= known[1]:
        if key != API_VERSIONS_KEY:
            raise WireError(f"API {key} is not served in version {version}")
        header: Any = read(_request_header(), request_header_version(spec.heading("ApiVersions"), version), reader)
        empty = message_class("ApiVersionsRequest")()
        return Call("ApiVersions", key, 0, header.correlation_id, header.client_id, empty, size, unsupported=True)
    form = _form(key, version)
    # Every request has a header, and nearly all look alike: these are read by hand, the others by their spec.
    stop = _BEGINNING.size + length if length > 0 else _BEGINNING.size
    body = stop + form.request_header - 1
    if form.request_header and body <= size and (body == stop or not frame[stop]):
        client_id = str(frame[_BEGINNING.size : stop], "utf-8", "replace") if length >= 0 else None
        reader.position = body
    else:
        header = read(_request_header(), form.request_header, reader)
        client_id = header.client_id
    return Call(form.api, key, version, correlation_id, client_id, read(form.request, version, reader), size)


class Unchanging:
    """A response that many calls get as it is; written out once for each version."""

    __slots__ = ("_bodies", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self._bodies: dict[int, bytes] = {}

    def body(self, version: int) -> bytes:
        """What stands behind the header; ``ValueError`` if the message does not fit the version."""
        found = self._bodies.get(version)
        if found is None:
            writer = Writer()
            write(self.message, version, writer)
            (piece,) = writer.finish()
            assert not isinstance(piece, FilePiece), "files change"
            found = self._bodies[version] = bytes(piece)
        return found


def close_call(call: Call[Any], response: Message | Unchanging) -> list[Piece]:
    """The frame that answers a call, size first; ``ValueError`` if the response does not fit the call's version."""
    form = _form(call.key, call.version)
    if type(response) is Unchanging:
        if type(response.message) is not form.response:
            raise ValueError(f"{form.api} is not answered by {type(response.message).__name__}")
        body = response.body(call.version)
        head = _HEADS[form.response_header]
        return [head.pack(head.size - 4 + len(body), call.correlation_id) + body]
    if type(response) is not form.response:
        raise ValueError(f"{form.api} is not answered by {type(response).__name__}")
    assert isinstance(response, Message)
    writer = Writer()
    writer.buffer += _HEADS[form.response_header].pack(0, call.correlation_id)
    write(response, call.version, writer)
    return _framed(writer)


def _framed(writer: Writer) -> list[Piece]:
    """All pieces, with the size written over the placeholder in front."""
    if not writer.pieces:
        _SIZE.pack_into(writer.buffer, 0, len(writer.buffer) - 4)
        return [writer.buffer]
    pieces = writer.finish()
    head = pieces[0]
    assert isinstance(head, bytearray)
    _SIZE.pack_into(head, 0, sum(map(size_of, pieces)) - 4)
    return pieces


def write_request(api: str, version: int, correlation_id: int, client_id: str | None, body: Message) -> bytes:
    """The frame of a request, size first; ``ValueError`` if the body does not fit the version."""
    form = _form_of(api, version)
    if type(body) is not form.request:
        raise ValueError(f"{api} is not asked by {type(body).__name__}")
    header = _request_header()()
    header.request_api_key = spec.heading(api).key  # type: ignore[attr-defined]
    header.request_api_version = version  # type: ignore[attr-defined]
    header.correlation_id = correlation_id  # type: ignore[attr-defined]
    header.client_id = client_id  # type: ignore[attr-defined]
    writer = Writer()
    writer.buffer += _SIZE.pack(0)
    write(header, form.request_header, writer)
    write(body, version, writer)
    return b"".join(_framed(writer))  # type: ignore[arg-type]


def read_response(api: str, version: int, frame: bytes | bytearray | memoryview) -> tuple[int, Any]:
    """Correlation id and message of a response frame (without its size); ``WireError`` if it is none."""
    form = _form_of(api, version)
    reader = Reader(frame)
    header: Any = read(message_class("ResponseHeader"), form.response_header, reader)
    return header.correlation_id, read(form.response, version, reader)
