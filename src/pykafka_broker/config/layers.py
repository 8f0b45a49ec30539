"""What is set where: the layers a value comes through, and a setting as DescribeConfigs shows it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct


class Source(enum.IntEnum):
    """Where a value comes from, numbered as in DescribeConfigs; a smaller number beats a larger one."""

    UNKNOWN = 0
    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5
    BROKER_LOGGER = 6


class Synonym(NamedTuple):
    """One more place where the value is, or could be, set."""

    name: str
    value: str | None
    source: Source


class ShownConfig(Struct, frozen=True):
    """One setting as an answer shows it; ``kind`` is 0 for a key nobody knows, whose value is not shown either."""

    name: str
    value: str | None
    is_read_only: bool
    source: int
    is_sensitive: bool
    synonyms: Sequence[Synonym] = ()
    kind: int = 0
    says: str | None = None


Layer = tuple[Source, Mapping[str, str]]


def found_in(layers: Sequence[Layer], names: Sequence[str], first: str, *, is_sensitive: bool) -> tuple[Synonym, ...]:
    """Every place that sets one of ``names``, beginning with the first that sets ``first`` (``configSynonyms``)."""
    found = [
        Synonym(name, None if is_sensitive else texts[name], source)
        for source, texts in layers
        for name in names
        if name in texts
    ]
    begin = next((index for index, synonym in enumerate(found) if synonym.name == first), len(found))
    return tuple(found[begin:])
