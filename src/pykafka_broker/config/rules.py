"""Which values a key takes: small checks that say, in Kafka's words, why a value is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pykafka_broker.config.kinds import InvalidValue, Value, java_double

Rule = Callable[[str, Value], None]
"""Given the key and its typed value; raises ``InvalidValue``."""


def _number(key: str, value: Value) -> float:
    if value is None:
        raise InvalidValue(key, None, "Value must be non-null")
    assert isinstance(value, (int, float))
    return value


def _shown(value: Value) -> object:
    return java_double(value) if isinstance(value, float) else value


def between(low: float, high: float) -> Rule:
    """``ConfigDef.Range``: both bounds belong to it."""

    def check(key: str, value: Value) -> None:
        number = _number(key, value)
        if number < low:
            raise InvalidValue(key, _shown(value), f"Value must be at least {low}")
        if number > high:
            raise InvalidValue(key, _shown(value), f"Value must be no more than {high}")

    return check


def at_least(low: float) -> Rule:
    """``ConfigDef.Range.atLeast``."""
    return between(low, float("inf"))


def between_or(low: int, high: int, special: int) -> Rule:
    """A range, and one number outside of it that means "the codec's own default"."""

    def check(key: str, value: Value) -> None:
        number = _number(key, value)
        if number != special and not low <= number <= high:
            raise InvalidValue(key, value, f"Value must be between {low} and {high} or equal to {special}")

    return check


def one_of(*allowed: str) -> Rule:
    """``ConfigDef.ValidString``."""

    def check(key: str, value: Value) -> None:
        if value not in allowed:
            raise InvalidValue(key, value, f"String must be one of: {', '.join(allowed)}")

    return check


def some_of(*allowed: str) -> Rule:
    """``ConfigDef.ValidList``: every member of the list must be one of these."""

    def check(key: str, value: Value) -> None:
        assert isinstance(value, Sequence)
        for member in value:
            if member not in allowed:
                raise InvalidValue(key, member, f"String must be one of: {', '.join(allowed)}")

    return check


def not_null(key: str, value: Value) -> None:
    """``ConfigDef.NonNullValidator``."""
    if value is None:
        raise InvalidValue(key, None, "entry must be non null")


def not_empty(key: str, value: Value) -> None:
    """``ConfigDef.NonEmptyString``."""
    if isinstance(value, str) and not value:
        raise InvalidValue(key, value, "String must be non-empty")
