"""Makes the classes of messages from the specs: one per message, for all its versions, when first asked for.

A class is a ``msgspec.Struct`` with what any version has as its fields, and for each struct inside it a class as an
attribute (``JoinGroupRequest.Protocol``). Fields that nobody sets have the default of the spec. Values are not
checked here; ``codec.py`` fails to write what does not fit.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

import msgspec

from pykafka_broker.wire import spec

NO_UUID = UUID(int=0)


class Structure(msgspec.Struct, kw_only=True):
    """What all classes made here have in common: they can be compared and shown."""

    _struct: ClassVar[spec.Struct]
    _names: ClassVar[tuple[str, ...]]
    _tags: bytes = b""
    """Tagged fields that the spec does not know, as they came: number, size and bytes one after the other."""

    def __repr__(self) -> str:
        """Only what differs from the defaults, for messages are wide and mostly empty."""
        blank = type(self)()
        shown = (f"{name}={value!r}" for name in self._names if (value := getattr(self, name)) != getattr(blank, name))
        return f"{type(self).__qualname__}({', '.join(shown)})"


class Message(Structure, kw_only=True):
    """A request, a response or a record."""

    _spec: ClassVar[spec.Message]
    _codecs: ClassVar[dict[int, Any]]
    """By version, what ``codec.py`` made to read and write this message."""


_made: dict[str, type[Message]] = {}


def message_class(name: str) -> type[Message]:
    """The class of a message; ``KeyError`` if the specs have none of that name."""
    made = _made.get(name)
    # Two threads may make a class at the same time, each for its own broker: both must go on with the same one.
    return made if made is not None else _made.setdefault(name, _make(name))


def _make(name: str) -> type[Message]:
    found = spec.message(name)
    nested: dict[str, type[Structure]] = {}
    for struct in reversed(found.structs):
        nested[struct.name] = _build(struct.name, f"{name}.{struct.name}", Structure, struct, nested, {})
    message: Any = _build(name, name, Message, found.struct, nested, {"_spec": found, "_codecs": {}})
    for struct_name, inner in nested.items():
        setattr(message, struct_name, inner)
    made: type[Message] = message
    return made


def default_of(field: spec.Field, classes: dict[str, type[Structure]]) -> Any:
    """A value that a field has when nobody sets it; a new one if it is a list or a structure."""
    if field.null_by_default:
        return None
    if isinstance(field.kind, spec.Array):
        return []
    if isinstance(field.kind, spec.Struct):
        return classes[field.kind.name]()
    return NO_UUID if field.kind.name == "uuid" else field.default


def _build(
    name: str,
    qualified: str,
    base: type[Structure],
    struct: spec.Struct,
    classes: dict[str, type[Structure]],
    extra: dict[str, Any],
) -> Any:
    fields = [(field.name, Any, _default(field, classes)) for field in struct.fields]
    namespace = {
        "__qualname__": qualified,
        "_struct": struct,
        "_names": (*(field.name for field in struct.fields), "_tags"),
        **extra,
    }
    return msgspec.defstruct(
        name, fields, bases=(base,), module="pykafka_broker.wire.messages", namespace=namespace, kw_only=True
    )


def _default(field: spec.Field, classes: dict[str, type[Structure]]) -> Any:
    """The same, as ``msgspec`` is told: of an empty list, it gives each instance a new one."""
    if isinstance(field.kind, spec.Struct) and not field.null_by_default:
        return msgspec.field(default_factory=classes[field.kind.name])
    return default_of(field, classes)
