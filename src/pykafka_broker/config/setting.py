"""A configuration key stated once, as a field: its text name, type, default, rule, mode and a line of documentation.

    class GroupSettings(Section):
        group_max_size: int = setting("group.max.size", Kind.INT, default=2_147_483_647, rule=at_least(1),
                                      says="Most members that one group may have.")

From these fields come parsing and validation, the answers of DescribeConfigs, ``pykafka-broker config`` and
``docs/configuration.md``. A section is not a ``dataclass``: making one of 200 fields takes 9 ms of every start, and
copying a topic's settings costs as much as the few keys that differ. A type checker sees the same thing as there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, dataclass_transform

from pykafka_broker.config.kinds import Importance, InvalidValue, Kind, Value, read_value, show_value
from pykafka_broker.config.rules import Rule


class Mode(enum.Enum):
    """Whether a broker's key may be changed while it runs, and for whom."""

    READ_ONLY = "read-only"
    PER_BROKER = "per-broker"
    CLUSTER_WIDE = "cluster-wide"


class Setting:
    """The definition of one key. ``internal`` keys are read but not listed, as in Kafka."""

    __slots__ = ("default", "importance", "internal", "key", "kind", "mode", "name", "rule", "says", "synonyms")

    def __init__(
        self,
        key: str,
        kind: Kind,
        default: Value,
        rule: Rule | None,
        says: str,
        mode: Mode,
        importance: Importance,
        synonyms: tuple[str, ...],
        internal: bool,
    ) -> None:
        self.key = key
        self.kind = kind
        self.default = default
        self.rule = rule
        self.says = says
        self.mode = mode
        self.importance = importance
        self.synonyms = synonyms
        self.internal = internal
        self.name = key.replace(".", "_").replace("-", "_")

    @property
    def sensitive(self) -> bool:
        """Whether its value is never shown."""
        return self.kind is Kind.PASSWORD

    @property
    def dynamic(self) -> bool:
        """Whether it may be changed while the broker runs."""
        return self.mode is not Mode.READ_ONLY

    def read(self, text: str) -> Value:
        """The typed, allowed value of a text, or ``InvalidValue``."""
        value = read_value(self.key, self.kind, text)
        if self.rule is not None:
            self.rule(self.key, value)
        return value

    def show(self, value: Value) -> str | None:
        """The text that Kafka gives for a typed value."""
        return show_value(self.kind, value)

    def __repr__(self) -> str:
        return f"Setting({self.key})"


def setting(
    key: str,
    kind: Kind,
    *,
    default: Value,
    rule: Rule | None = None,
    says: str,
    mode: Mode = Mode.READ_ONLY,
    importance: Importance = Importance.MEDIUM,
    synonyms: tuple[str, ...] = (),
    internal: bool = False,
) -> Any:
    """Define a key as the value of a section's field; the field's name is the key with ``_`` for ``.``."""
    return Setting(key, kind, default, rule, says, mode, importance, synonyms, internal)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(setting,))
class Section:
    """Frozen typed settings; made with keyword arguments, every one of them optional."""

    SETTINGS: ClassVar[Mapping[str, Setting]] = {}
    """All definitions of the section and of those it is made of, by key."""

    _names: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        settings: dict[str, Setting] = {}
        for base in reversed(cls.__mro__[1:]):
            settings.update(vars(base).get("SETTINGS", {}))
        for name, definition in list(vars(cls).items()):
            if isinstance(definition, Setting):
                if definition.name != name:
                    raise TypeError(f"the field of {definition.key} must be called {definition.name}, not {name}")
                settings[definition.key] = definition
                setattr(cls, name, definition.default)  # an instance holds only what differs
        cls.SETTINGS = settings
        cls._names = frozenset(definition.name for definition in settings.values())

    def __init__(self, **values: Any) -> None:
        if not self._names.issuperset(values):
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(set(values) - self._names))}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def replacing(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    def value(self, key: str) -> Value:
        """The value under Kafka's name of it; ``KeyError`` when the section has no such key."""
        found: Value = getattr(self, self.SETTINGS[key].name)
        return found

    def shown(self, key: str) -> str | None:
        """The value as Kafka writes it."""
        return self.SETTINGS[key].show(self.value(key))

    def items(self) -> Iterator[tuple[Setting, Value]]:
        """Every definition with its value."""
        for definition in self.SETTINGS.values():
            yield definition, getattr(self, definition.name)

    @classmethod
    def read(cls, texts: Mapping[str, str]) -> Self:
        """Settings from texts by key; foreign keys are left alone, the first bad value raises ``InvalidValue``."""
        found = {}
        for key, text in texts.items():
            definition = cls.SETTINGS.get(key)
            if definition is not None:
                found[definition.name] = definition.read(text)
        return cls(**found)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._names)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in sorted(self._names)))

    def __repr__(self) -> str:
        changed = ", ".join(
            f"{definition.name}={'[hidden]' if definition.sensitive else repr(value)}"
            for definition, value in self.items()
            if value != definition.default
        )
        return f"{type(self).__name__}({changed})"


__all__ = ["Importance", "InvalidValue", "Kind", "Mode", "Section", "Setting", "setting"]
