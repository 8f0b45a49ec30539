"""Hypothesis strategies for whole messages of any spec in any version.

``tame`` values are those that implementations with richer types can hold too: error codes that exist, times that
a calendar knows, records that are a batch. Wild ones use the whole range of every type.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from pykafka_broker.wire import spec
from pykafka_broker.wire.structures import NO_UUID, Message, message_class

BATCH = bytes.fromhex(
    # One record ("k", "v") in a batch of magic 2, as Apache Kafka's producer writes it.
    "0000000000000000 0000003a 00000000 02 5cb6f3f6 0000 00000000 0000018f00000000 0000018f00000000"
    "ffffffffffffffff ffff ffffffff 00000001 10 00 00 00 02 6b 02 76 00"
)

_RANGES = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
}
_TEXT = st.one_of(st.sampled_from(["", "a", "orders", "größe", "主题", "\U0001f600", "x" * 130]), st.text(max_size=12))
_BYTES = st.one_of(st.sampled_from([b"", b"\x00", b"x" * 300]), st.binary(max_size=12))
_UUIDS = st.one_of(st.just(NO_UUID), st.integers(1, 2**128 - 1).map(lambda value: UUID(int=value)))
_ERROR_CODES = st.integers(-1, 119)
_TIMES = st.sampled_from([0, 1, 999, 30_000, 86_400_000, 2**31 - 1])
_INSTANTS = st.sampled_from([0, 1, 1_700_000_000_000])


def messages(name: str, version: int, *, tame: bool = False) -> st.SearchStrategy[Any]:
    """Random messages that can be written in ``version``: what it lacks has its default."""
    made = message_class(name)
    return _structs(made, made, made._spec.struct, version, tame)


def _structs(whole: type[Message], made: Any, what: spec.Struct, version: int, tame: bool) -> st.SearchStrategy[Any]:
    fields = {field.name: _values(whole, field, version, tame) for field in what.fields if field.versions.has(version)}
    return st.builds(made, **fields)


def _values(whole: type[Message], field: spec.Field, version: int, tame: bool) -> st.SearchStrategy[Any]:
    kind = field.kind
    found: st.SearchStrategy[Any]
    if isinstance(kind, spec.Array):
        found = st.lists(_elements(whole, field, kind.element, version, tame), max_size=2)
    else:
        found = _elements(whole, field, kind, version, tame)
    return st.one_of(st.none(), found) if field.may_be_null(version) else found


def _elements(
    whole: type[Message], field: spec.Field, kind: spec.Primitive | spec.Struct, version: int, tame: bool
) -> st.SearchStrategy[Any]:
    if isinstance(kind, spec.Struct):
        return _structs(whole, getattr(whole, kind.name), kind, version, tame)
    if tame:
        if field.name.endswith("error_code"):
            return _ERROR_CODES
        if kind.name == "records":
            return st.just(BATCH)
        if "timestamp" in field.name or (kind.name == "int64" and field.name.endswith("_ms")):
            return _INSTANTS
        if field.name.endswith("_ms") or field.name in ("rebalance_timeout", "session_timeout"):
            return _TIMES
    if kind.name in _RANGES:
        low, high = _RANGES[kind.name]
        return st.one_of(st.sampled_from([low, -1 if low else 1, 0, 1, high]), st.integers(low, high))
    match kind.name:
        case "bool":
            return st.booleans()
        case "string":
            return _TEXT
        case "uuid":
            return _UUIDS
        case "float64":
            return st.floats(allow_nan=False)
        case _:
            return _BYTES
