"""Which keys stand for which: hours for milliseconds, a listener's own key for the general one.

Kafka looks through a key's synonyms from left to right, layer by layer (``DynamicBrokerConfig.brokerConfigSynonyms``).
"""

from __future__ import annotations

from collections.abc import Mapping

from pykafka_broker.config.setting import Setting
from pykafka_broker.config.topic import TopicSettings

_RETENTION = ("log.retention.ms", "log.retention.minutes", "log.retention.hours")
_ROLL = ("log.roll.ms", "log.roll.hours")
_JITTER = ("log.roll.jitter.ms", "log.roll.jitter.hours")
_FLUSH = ("log.flush.interval.ms", "log.flush.scheduler.interval.ms")

_GROUPS = {
    **dict.fromkeys(_RETENTION, _RETENTION),
    **dict.fromkeys(_ROLL, _ROLL),
    **dict.fromkeys(_JITTER, _JITTER),
    _FLUSH[0]: _FLUSH,
}

_OF_A_MECHANISM = (
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
    "connections.max.reauth.ms",
)


def without_listener(key: str) -> str | None:
    """What follows ``listener.name.<name>.`` in a key; ``None`` when it has no such beginning."""
    parts = key.split(".", 3)
    return parts[3] if len(parts) == 4 and parts[:2] == ["listener", "name"] and parts[3] else None


def broker_synonyms(key: str) -> tuple[str, ...]:
    """The keys a broker looks at for a key, the first one set in a layer counting."""
    group = _GROUPS.get(key)
    if group is not None:
        return group
    base = without_listener(key)
    if base is None:
        return (key,)
    return (key, next((name for name in _OF_A_MECHANISM if base.endswith(name)), base))


def overridden(texts: Mapping[str, str], by: Mapping[str, str]) -> dict[str, str]:
    """A layer put over another: a key also takes away those that stand for the same (``overrideProps``)."""
    found = dict(texts)
    for key, text in by.items():
        for name in _GROUPS.get(key, ()):
            found.pop(name, None)
        found[key] = text
    return found


def topic_synonyms(key: str) -> tuple[str, ...]:
    """The broker's keys that hold where a topic does not say ``key``; none for a key without a default of brokers."""
    definition: Setting | None = TopicSettings.SETTINGS.get(key)
    if definition is None or not definition.synonyms:
        return ()
    return broker_synonyms(definition.synonyms[0])
