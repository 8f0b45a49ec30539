"""From the text of a properties file and overrides to a broker's settings, with every mistake told at once.

The caller opens the file (ISO 8859-1, as Java does) and prints what is returned; this only reads text. Without a file
the broker stands alone on loopback; with one, Kafka's own keys and defaults hold, except that a broker without
``zookeeper.connect`` is the only one of its cluster, so the topics it makes for itself get one replica each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.checks import broken_demands
from pykafka_broker.config.kinds import InvalidValue
from pykafka_broker.config.properties import MalformedProperties, parse
from pykafka_broker.config.setting import Setting
from pykafka_broker.config.supported import ACCEPTED, SUPPORTED

OVERRIDE = "--override"
NO_FILE = "no file"
ALONE = "single broker"

WITHOUT_FILE: Mapping[str, str] = MappingProxyType(
    {
        "broker.id": "0",
        "listeners": "PLAINTEXT://127.0.0.1:9092",
        "log.dirs": "./pykafka-data",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
    }
)
"""What holds when no file is given; the last four are what Kafka's own default file says."""

WHEN_ALONE: Mapping[str, str] = MappingProxyType(
    {
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
    }
)
"""What holds, unless it is set, where there is no ``zookeeper.connect``: more replicas could never be."""

PLUGIN_KEYS = frozenset({"allow.everyone.if.no.acl.found", "super.users"})
"""Keys of Kafka's authorizer, which the broker itself does not define."""


class ConfigurationError(ValueError):
    """Settings that no broker can start with: ``lines`` has one clear line for each mistake."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class Loaded(Struct, frozen=True):
    """A broker's settings and where they come from."""

    settings: BrokerSettings
    texts: Mapping[str, str]
    """What was given, by key, as text: Kafka's static broker configs. Foreign keys are among them."""
    origins: Mapping[str, str]
    """Where a text stands: ``server.properties:12``, ``--override``, ``no file`` or ``single broker``."""
    warnings: tuple[str, ...] = ()


def load(
    text: str | None, source_name: str = "server.properties", overrides: Mapping[str, str] | Iterable[str] = ()
) -> Loaded:
    """Settings from a file's text (``None``: there is no file) and ``KEY=VALUE`` overrides; ``ConfigurationError``."""
    reading = _Reading()
    if text is None:
        for key, value in WITHOUT_FILE.items():
            reading.give(key, value, NO_FILE)
    else:
        reading.give_file(text, source_name)
    reading.give_overrides(overrides)
    reading.settle()
    settings = reading.read(source_name if text is not None else OVERRIDE)
    return Loaded(settings, MappingProxyType(reading.texts), MappingProxyType(reading.origins), tuple(reading.warnings))


class _Reading:
    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.origins: dict[str, str] = {}
        self.warnings: list[str] = []
        self.mistakes: list[str] = []
        self.followed: set[str] = set()
        """Keys that were not given but follow from others; nothing is said of them."""

    def give(self, key: str, value: str, origin: str) -> None:
        self.texts[key] = value
        self.origins[key] = origin

    def give_file(self, text: str, source_name: str) -> None:
        try:
            entries = parse(text)
        except MalformedProperties as error:
            raise ConfigurationError([f"{source_name}:{error.line}: {error}"]) from None
        for entry in entries:
            if entry.key in self.origins:
                self.warnings.append(
                    f"{source_name}:{entry.line}: {entry.key}: set before, at {self.origins[entry.key]}; "
                    "this line counts"
                )
            self.give(entry.key, entry.value, f"{source_name}:{entry.line}")

    def give_overrides(self, overrides: Mapping[str, str] | Iterable[str]) -> None:
        if isinstance(overrides, Mapping):
            pairs = [(key, "=", value) for key, value in overrides.items()]
        else:
            pairs = [pair.partition("=") for pair in overrides]
        for key, equals, value in pairs:
            if not equals or not key.strip():
                self.mistakes.append(f"{OVERRIDE}: {key}: not of the form KEY=VALUE")
                continue
            self.give(key.strip(), value, OVERRIDE)

    def settle(self) -> None:
        """Fill in what follows from what was given (``KafkaConfig.populateSynonyms``, and the broker that is alone)."""
        for given, other in (("broker.id", "node.id"), ("node.id", "broker.id")):
            if given in self.texts and other not in self.texts:
                self.give(other, self.texts[given], self.origins[given])
                self.followed.add(other)
        if self.texts.get("zookeeper.connect", "").strip():
            return
        for key, value in WHEN_ALONE.items():
            if key not in self.texts:
                self.give(key, value, ALONE)
                self.followed.add(key)

    def read(self, source_name: str) -> BrokerSettings:
        values: dict[str, Any] = {}
        for key, text in self.texts.items():
            definition = BrokerSettings.SETTINGS.get(key)
            if definition is None:
                self._judge_foreign(key, text)
                continue
            try:
                value = definition.read(text)
            except InvalidValue as error:
                if key not in self.followed:
                    self.mistakes.append(f"{self.origins[key]}: {key}: {error}")
                continue
            values[definition.name] = value
            if value != definition.default:
                self._judge_known(definition)
        if not self.mistakes:
            settings = BrokerSettings(**values)
            self._judge_together(settings, source_name)
        if self.mistakes:
            raise ConfigurationError(self.mistakes)
        return settings

    def _judge_known(self, definition: Setting) -> None:
        key = definition.key
        if key not in SUPPORTED and key not in ACCEPTED and key not in self.followed and self.origins[key] != NO_FILE:
            self._warn(key, "not supported yet; it has no effect")

    def _judge_foreign(self, key: str, text: str) -> None:
        from pykafka_broker.config.catalogue import ALL, WITHOUT_EFFECT

        known = WITHOUT_EFFECT.get(key)
        if known is not None:
            try:
                differs = known.read(text) != known.default
            except InvalidValue as error:
                self.mistakes.append(f"{self.origins[key]}: {key}: {error}")
                return
            if key == "process.roles" and text.strip():
                self.mistakes.append(f"{self.origins[key]}: {key}: KRaft is not supported; leave it out")
            elif differs:
                self._warn(key, f"not supported; it has no effect. {known.says}")
        elif key in PLUGIN_KEYS:
            self._warn(key, "not supported yet; it has no effect")
        elif key.startswith("listener.name.") and any(key.endswith(f".{name}") for name in ALL):
            self._warn(key, "settings of single listeners are not supported yet; it has no effect")
        else:
            self._warn(key, "unknown; it is ignored")

    def _judge_together(self, settings: BrokerSettings, source_name: str) -> None:
        if self.texts.get("broker.id") != self.texts.get("node.id") and settings.broker_id != settings.node_id:
            self._mistake("node.id", "You must set `node.id` to the same value as `broker.id`.", source_name)
        if {"inter.broker.listener.name", "security.inter.broker.protocol"} <= self.texts.keys():
            self._mistake(
                "security.inter.broker.protocol",
                "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.",
                source_name,
            )
        for broken in broken_demands(settings):
            self._mistake(broken.key, broken.says, source_name)
        if not settings.has_zookeeper:
            for key in WHEN_ALONE:
                if settings.value(key) != 1:
                    self._warn(
                        key, "more than one broker is needed for this, and without zookeeper.connect there is one"
                    )

    def _mistake(self, key: str, says: str, source_name: str) -> None:
        self.mistakes.append(f"{self.origins.get(key, source_name)}: {key}: {says}")

    def _warn(self, key: str, says: str) -> None:
        self.warnings.append(f"{self.origins[key]}: {key}: {says}")
