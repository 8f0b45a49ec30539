"""Setting, deleting, appending to and subtracting from single keys (KIP-339), wherever they are kept."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pykafka_broker.config.kinds import Kind
from pykafka_broker.config.setting import Setting
from pykafka_broker.model.errors import ErrorCode, KafkaError


class Operation(enum.IntEnum):
    """What IncrementalAlterConfigs can do to a key."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


class Alteration(NamedTuple):
    """One change; ``operation`` is a number because clients may send ones that do not exist."""

    key: str
    operation: int
    value: str | None


def check_alterations(alterations: Iterable[Alteration]) -> None:
    """Refuse what can be no change of anything: a key twice, or no value where one is needed."""
    alterations = tuple(alterations)
    if len({alteration.key for alteration in alterations}) < len(alterations):
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    without = [one.key for one in alterations if one.value is None and one.operation != Operation.DELETE]
    if without:
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {', '.join(without)}")


def altered(
    entries: Mapping[str, str], alterations: Iterable[Alteration], known: Mapping[str, Setting]
) -> dict[str, str]:
    """The entries after the changes (``ConfigAdminManager.prepareIncrementalConfigs``); INVALID_CONFIG.

    A list that nobody has set yet begins with its default. An operation that does not exist, and appending to a key
    that nobody knows, are UNKNOWN_SERVER_ERROR, as they are in Kafka.
    """
    changed = dict(entries)
    for key, operation, value in alterations:
        if operation == Operation.SET:
            changed[key] = value or ""
        elif operation == Operation.DELETE:
            changed.pop(key, None)
        elif operation in (Operation.APPEND, Operation.SUBTRACT):
            definition = known.get(key)
            if definition is None:
                raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR)
            if definition.kind is not Kind.LIST:
                verb = "append" if operation == Operation.APPEND else "subtract"
                raise KafkaError(ErrorCode.INVALID_CONFIG, f"Config value {verb} is not allowed for config key: {key}")
            before = changed.get(key)
            if before is None:
                before = definition.show(definition.default) or ""
            members, named = [member for member in _split(before) if member], _split(value or "")
            if operation == Operation.APPEND:
                members += [member for member in named if member not in members]
            else:
                for member in named:
                    if member in members:
                        members.remove(member)
            changed[key] = ",".join(members)
        else:
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR)
    return changed


def _split(text: str) -> list[str]:
    """Java's ``split(",")``: empty members at the end are dropped, but an empty text is one empty member."""
    parts = text.split(",")
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts if text.strip(",") or not text else []
