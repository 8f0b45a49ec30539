"""Makes the classes of messages from the specs: one per message, for all its versions, when first asked for.

A class has slots, an attribute per field of any version, and for each struct inside it a class as an attribute
(``JoinGroupRequest.Protocol``). Fields that nobody sets have the default of the spec. Values are not checked
here; ``codec.py`` fails to write what does not fit.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from pykafka_broker.wire import spec

NO_UUID = UUID(int=0)


class Structure:
    """What all classes made here have in common: they can be compared and shown."""

    __slots__ = ()
    _struct: ClassVar[spec.Struct]
    _names: ClassVar[tuple[str, ...]]
    _tags: bytes
    """Tagged fields that the spec does not know, as they came: number, size and bytes one after the other."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._names)

    def __repr__(self) -> str:
        """Only what differs from the defaults, for messages are wide and mostly empty."""
        blank = type(self)()
        shown = (f"{name}={value!r}" for name in self._names if (value := getattr(self, name)) != getattr(blank, name))
        return f"{type(self).__qualname__}({', '.join(shown)})"


class Message(Structure):
    """A request, a response or a record."""

    __slots__ = ()
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
    """A slotted class whose constructor is written out and executed once, as dataclasses does."""
    world: dict[str, Any] = {"no_uuid": NO_UUID}
    heads, body = [], ["self._tags = b''"]
    for field in struct.fields:
        if field.null_by_default:
            heads.append(f"{field.name}=None")
            body.append(f"self.{field.name} = {field.name}")
        elif isinstance(field.kind, spec.Primitive):
            value = "no_uuid" if field.kind.name == "uuid" else repr(field.default)
            heads.append(f"{field.name}={value}")
            body.append(f"self.{field.name} = {field.name}")
        else:
            # Null may be a value of its own, so "not given" needs another word.
            fresh = "[]"
            if isinstance(field.kind, spec.Struct):
                fresh = f"make_{field.kind.name}()"
                world[f"make_{field.kind.name}"] = classes[field.kind.name]
            heads.append(f"{field.name}=...")
            body.append(f"self.{field.name} = {fresh} if {field.name} is ... else {field.name}")
    signature = ", ".join(["self", "*", *heads]) if heads else "self"
    exec(f"def __init__({signature}):\n    " + "\n    ".join(body), world)
    names = (*(field.name for field in struct.fields), "_tags")
    namespace = {
        "__slots__": names,
        "_names": names,
        "__init__": world["__init__"],
        "__qualname__": qualified,
        "__module__": "pykafka_broker.wire.messages",
        "_struct": struct,
        **extra,
    }
    return type(name, (base,), namespace)
