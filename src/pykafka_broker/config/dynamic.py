"""What of a broker's settings may change while it runs, and to what (``DynamicBrokerConfig``).

Refusals bear Kafka's sentences, its Java ways of wrapping them included, because tools show them to people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.catalogue import ALL
from pykafka_broker.config.checks import broken_demands
from pykafka_broker.config.kinds import LONG_MAX, InvalidValue, Kind
from pykafka_broker.config.rules import at_least
from pykafka_broker.config.setting import Mode, Setting
from pykafka_broker.config.synonyms import without_listener
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import java_string_hash


def _throttle(key: str, says: str) -> Setting:
    return Setting(
        key,
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(0),
        says=says,
        mode=Mode.READ_ONLY,
        importance=ALL["quota.window.num"].importance,
        synonyms=(),
        internal=True,
    )


ONLY_DYNAMIC: Mapping[str, Setting] = {
    definition.key: definition
    for definition in (
        _throttle("leader.replication.throttled.rate", "Bytes a second that throttled leaders may send."),
        _throttle("follower.replication.throttled.rate", "Bytes a second that throttled followers may read."),
        _throttle(
            "replica.alter.log.dirs.io.max.bytes.per.second", "Bytes a second that moves between directories may take."
        ),
    )
}
"""Keys that no file may set (``DynamicConfig.Broker``)."""

_STORE_PARTS = ("type", "location", "password")
NEEDS_LISTENER = frozenset(
    (
        *(f"ssl.{store}.{part}" for store in ("keystore", "truststore") for part in _STORE_PARTS),
        "ssl.key.password",
        "ssl.keystore.key",
        "ssl.keystore.certificate.chain",
        "ssl.truststore.certificates",
    )
)
"""Security keys that change for one listener at a time only."""

_FOR_ALL_LISTENERS = frozenset({"max.connections", "max.connection.creation.rate", "num.network.threads"})

_POOLS = (
    "num.io.threads",
    "num.replica.fetchers",
    "num.recovery.threads.per.data.dir",
    "background.threads",
    "num.network.threads",
)

_FIXED_HERE = ("listeners", "advertised.listeners", "listener.security.protocol.map")


def definition_of(key: str) -> Setting | None:
    """What a broker's key means, a listener's own key meaning the general one; ``None`` for an unknown key."""
    found = ALL.get(key) or ONLY_DYNAMIC.get(key)
    if found is None:
        base = without_listener(key)
        found = None if base is None else ALL.get(base)
    return found


def is_per_broker(key: str) -> bool:
    """Whether a key cannot be set for all brokers at once."""
    base = without_listener(key)
    if base is not None:
        return base not in _FOR_ALL_LISTENERS
    definition = ALL.get(key)
    return definition is not None and definition.mode is Mode.PER_BROKER


def is_fixed(key: str) -> bool:
    """Whether a key is known and can be set in the file only."""
    definition = ALL.get(key)
    return definition is not None and definition.mode is Mode.READ_ONLY


def check_entries(entries: Mapping[str, str], *, per_broker: bool) -> None:
    """Refuse entries that a broker (or all of them) cannot have, looking at each for itself; INVALID_REQUEST."""
    _refuse(filter(is_fixed, entries), "Cannot update these configs dynamically", "Set", entries)
    _refuse(
        (key for key in entries if key in NEEDS_LISTENER),
        "These security configs can be dynamically updated only per-listener using the listener prefix",
        "HashSet",
        entries,
    )
    for key, text in entries.items():
        definition = definition_of(key)
        if definition is not None:
            try:
                value = definition.read(text)
                if definition.kind is Kind.CLASS and value != definition.default:
                    raise InvalidValue(key, value, f"Class {value} could not be found.")
            except InvalidValue as error:
                raise KafkaError(ErrorCode.INVALID_REQUEST, str(error)) from error
    if not per_broker:
        _refuse(
            filter(is_per_broker, entries),
            "Cannot update these configs at default cluster level, broker id must be specified",
            "Set",
            entries,
        )


def check_change(before: BrokerSettings, after: BrokerSettings) -> None:
    """Refuse to become ``after``: settings that do not go together, or too large a step; INVALID_REQUEST."""
    for broken in broken_demands(after):
        prefix = "requirement failed: " if broken.is_requirement else ""
        raise KafkaError(ErrorCode.INVALID_REQUEST, prefix + broken.says)
    for key in _FIXED_HERE:
        if before.value(key) != after.value(key):
            raise KafkaError(ErrorCode.INVALID_REQUEST, f"{key} cannot be changed while this broker runs")
    for key in _POOLS:
        _check_pool(key, _number(before, key), _number(after, key))
    threads, wanted = before.log_cleaner_threads, after.log_cleaner_threads
    if wanted < threads // 2:
        raise _wrapped(f"Log cleaner threads cannot be reduced to less than half the current value {threads}")
    if wanted > threads * 2:
        raise _wrapped(f"Log cleaner threads cannot be increased to more than double the current value {threads}")
    for unit, whole, part in (
        ("ms", after.retention_time_ms, after.log_local_retention_ms),
        ("bytes", after.log_retention_bytes, after.log_local_retention_bytes),
    ):
        key = f"log.local.retention.{unit}"
        if whole != -1 and part == -1:
            says = f"Value must not be -1 as log.retention.{unit} value is set as {whole}."
            raise _wrapped(f"Invalid value {part} for configuration {key}: {says}")
        if part != -2 and whole != -1 and part > whole:
            says = f"Value must not be more than log.retention.{unit} property value: {whole}"
            raise _wrapped(f"Invalid value {part} for configuration {key}: {says}")


def _check_pool(key: str, before: int, after: int) -> None:
    if after == before:
        return
    says = f"Dynamic thread count update validation failed for {key}={after}"
    if after <= 0:
        raise _wrapped(f"{says}, value should be at least 1")
    if after < before // 2:
        raise _wrapped(f"{says}, value should be at least half the current value {before}")
    if after > before * 2:
        raise _wrapped(f"{says}, value should not be greater than double the current value {before}")


def _number(settings: BrokerSettings, key: str) -> int:
    value = settings.value(key)
    assert isinstance(value, int)
    return value


def _wrapped(says: str) -> KafkaError:
    return KafkaError(
        ErrorCode.INVALID_REQUEST,
        f"Invalid value org.apache.kafka.common.config.ConfigException: {says} for configuration "
        "Invalid dynamic configuration",
    )


def _refuse(keys: Iterable[str], says: str, collection: str, entries: Mapping[str, str]) -> None:
    bad = _in_java_order(keys)
    if bad:
        shown = "HashSet" if len(bad) > 4 else collection
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"{says}: {shown}({', '.join(bad)})")


def _in_java_order(keys: Iterable[str]) -> list[str]:
    """In the order of a Java hash table of sixteen buckets, in which Kafka comes upon the keys of a small request."""

    def bucket(key: str) -> int:
        value = java_string_hash(key) & 0xFFFFFFFF
        return (value ^ value >> 16) & 15

    return sorted(keys, key=bucket)
