"""The names of Kafka's metadata versions, which ``inter.broker.protocol.version`` and the message formats take."""

from __future__ import annotations

from pykafka_broker.config.kinds import InvalidValue, Value

_NAMES = (
    "0.8.0 0.8.1 0.8.2 0.9.0 0.10.0-IV0 0.10.0-IV1 0.10.1-IV0 0.10.1-IV1 0.10.1-IV2 0.10.2-IV0 0.11.0-IV0 0.11.0-IV1 "
    "0.11.0-IV2 1.0-IV0 1.1-IV0 2.0-IV0 2.0-IV1 2.1-IV0 2.1-IV1 2.1-IV2 2.2-IV0 2.2-IV1 2.3-IV0 2.3-IV1 2.4-IV0 "
    "2.4-IV1 2.5-IV0 2.6-IV0 2.7-IV0 2.7-IV1 2.7-IV2 2.8-IV0 2.8-IV1 3.0-IV0 3.0-IV1 3.1-IV0 3.2-IV0 3.3-IV0 3.3-IV1 "
    "3.3-IV2 3.3-IV3 3.4-IV0 3.5-IV0 3.5-IV1 3.5-IV2 3.6-IV0 3.6-IV1 3.6-IV2 3.7-IV0 3.7-IV1 3.7-IV2 3.7-IV3 3.7-IV4 "
    "3.8-IV0 3.9-IV0 4.0-IV0 4.0-IV1"
)

METADATA_VERSIONS = tuple(_NAMES.split())
"""Oldest first (``MetadataVersion``)."""


def full_version(name: str) -> str | None:
    """The metadata version a name stands for: itself, or the last of a release (``2.8``, ``2.8.1``); else ``None``."""
    if name in METADATA_VERSIONS:
        return name
    parts = name.split(".")
    kept = ".".join(parts[: 3 if parts[0] == "0" else 2])
    found = [version for version in METADATA_VERSIONS if version == kept or version.startswith(f"{kept}-")]
    return found[-1] if found else None


def metadata_version(key: str, value: Value) -> None:
    """``MetadataVersionValidator``."""
    if not isinstance(value, str) or full_version(value) is None:
        raise InvalidValue(key, value, f"Version {value} is not a valid version")
