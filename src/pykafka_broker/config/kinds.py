"""What a configuration value may be: from text to a typed value, and back to the text that Kafka shows.

The rules of reading are those of Kafka's ``ConfigDef.parseType``; the numbers are the types of DescribeConfigs. Which
values are allowed is said in ``rules``, which keys exist in the sections (``topic``, ``group``, ``broker`` …).
"""

from __future__ import annotations

import enum
import math
import sys
from collections.abc import Sequence

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1
DOUBLE_MAX = sys.float_info.max

Value = bool | int | float | str | tuple[str, ...] | None


class Kind(enum.IntEnum):
    """A value's type, numbered as ``ConfigDef.Type`` is in DescribeConfigs v3."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


class Importance(enum.Enum):
    """How much a person should care for a key (``ConfigDef.Importance``)."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


class InvalidValue(ValueError):
    """A value that its key does not take; the text is Kafka's ``ConfigException``, as clients see it."""

    def __init__(self, key: str, value: object, why: str | None = None) -> None:
        shown = "null" if value is None else value
        super().__init__(f"Invalid value {shown} for configuration {key}" + (f": {why}" if why else ""))
        self.key = key
        self.why = why or "not accepted"


_BITS = {Kind.INT: 31, Kind.SHORT: 15, Kind.LONG: 63}
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "+Infinity": math.inf, "-Infinity": -math.inf}


def read_value(key: str, kind: Kind, text: str) -> Value:
    """The typed value that a text stands for; ``InvalidValue`` in Kafka's words when it stands for none."""
    trimmed = text.strip()
    if kind is Kind.BOOLEAN:
        lowered = trimmed.lower()
        if lowered not in ("true", "false"):
            raise InvalidValue(key, text, "Expected value to be either true or false")
        return lowered == "true"
    if kind in _BITS:
        bound = 1 << _BITS[kind]
        digits = trimmed[1:] if trimmed[:1] in ("+", "-") else trimmed
        if not (digits.isdecimal() and -bound <= int(trimmed) < bound):
            raise InvalidValue(key, text, f"Not a number of type {kind.name}")
        return int(trimmed)
    if kind is Kind.DOUBLE:
        return _read_double(key, text, trimmed)
    if kind is Kind.LIST:
        return tuple(part.strip() for part in trimmed.split(",")) if trimmed else ()
    if kind is Kind.PASSWORD:
        return text
    return trimmed


def _read_double(key: str, text: str, trimmed: str) -> float:
    """``Double.parseDouble``: no underscores, an optional type letter, hexadecimal floats, its own special names."""
    if trimmed in _SPECIAL:
        return _SPECIAL[trimmed]
    digits = trimmed[:-1] if trimmed[-1:] in ("f", "F", "d", "D") else trimmed
    try:
        if "_" in digits or not digits.isascii() or digits != digits.strip():
            raise ValueError
        if "x" in digits.lower():
            return float.fromhex(digits if "p" in digits.lower() else "")
        if digits.lower().strip("+-") in ("nan", "inf", "infinity"):
            raise ValueError
        return float(digits)
    except (ValueError, OverflowError):
        raise InvalidValue(key, text, "Not a number of type DOUBLE") from None


def show_value(kind: Kind, value: Value) -> str | None:
    """The text that DescribeConfigs gives for a value (``ConfigDef.convertToString``); ``None`` stays ``None``."""
    if value is None:
        return None
    if kind is Kind.BOOLEAN:
        return "true" if value else "false"
    if kind is Kind.DOUBLE:
        return java_double(float(value)) if isinstance(value, (int, float)) else str(value)
    if kind is Kind.LIST and isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(value)
    return str(value)


def java_double(value: float) -> str:
    """``Double.toString``: always a point, and an exponent from 10^7 up and below 10^-3."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    if 1e-3 <= abs(value) < 1e7:
        return repr(value)
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or 0) + len(whole) - 1 - (len(whole + fraction) - len(digits))
    return f"{sign}{digits[0]}.{digits[1:].rstrip('0') or '0'}E{power}"
