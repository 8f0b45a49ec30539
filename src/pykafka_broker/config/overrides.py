"""The layers of settings put over each other: topic, then broker, then all brokers, then the file, then the default.

``Overrides`` keeps what is set in each layer as text, and works out from them what holds for the broker and for a
topic, how DescribeConfigs shows it, and whether a change may be made. Where the texts are kept and how changes get
around is ``runtime/dynamic_configs``'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.kinds import LONG_MAX, InvalidValue
from pykafka_broker.config.layers import Layer, ShownConfig, Source, Synonym, found_in
from pykafka_broker.config.setting import Mode, Setting
from pykafka_broker.config.synonyms import broker_synonyms, overridden, topic_synonyms
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import java_string_hash

NOTHING: Mapping[str, str] = MappingProxyType({})


class _NoTieredStorage(InvalidValue):
    def __init__(self) -> None:
        ValueError.__init__(
            self,
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log "
            "storage.",
        )


class Overrides:
    """All layers as this broker knows them. Texts that make no sense are left out and told as complaints."""

    def __init__(self, settings: BrokerSettings, texts: Mapping[str, str]) -> None:
        """``settings`` and ``texts``: what the file says, as ``loading`` gives it."""
        self._static = settings
        self._static_texts = texts
        self._broker_texts = NOTHING
        self._default_texts = NOTHING
        self._topics: dict[str, Mapping[str, str]] = {}
        self._effective: dict[str, TopicSettings] = {}
        self._broker = settings
        self._topic_defaults: TopicSettings | None = None

    # What holds

    @property
    def broker(self) -> BrokerSettings:
        """What holds for the broker now."""
        return self._broker

    @property
    def broker_texts(self) -> Mapping[str, str]:
        """What is set for this broker."""
        return self._broker_texts

    @property
    def default_texts(self) -> Mapping[str, str]:
        """What is set for all brokers."""
        return self._default_texts

    @property
    def topics(self) -> Mapping[str, Mapping[str, str]]:
        """What each topic says for itself, of the topics that say anything."""
        return self._topics

    def effective(self, topic: str) -> TopicSettings:
        """What holds for a topic now; one never heard of gets the broker's defaults."""
        found = self._effective.get(topic)
        if found is None:
            found = self._effective[topic] = self.topic_with(self._topics.get(topic, NOTHING))
        return found

    def topic_with(self, entries: Mapping[str, str]) -> TopicSettings:
        """What would hold for a topic that says this."""
        own, _ = _read_topic(entries)
        return _with_both_bounds(self.topic_defaults.replacing(**own))

    @property
    def topic_defaults(self) -> TopicSettings:
        """What holds for a topic that says nothing."""
        if self._topic_defaults is None:
            self._topic_defaults = self._broker.topic_defaults()
        return self._topic_defaults

    # What is set

    def set_topic(self, topic: str, entries: Mapping[str, str]) -> tuple[str, ...]:
        """Take over what a topic says for itself; gives complaints about what cannot be."""
        if entries:
            self._topics[topic] = dict(entries)
        else:
            self._topics.pop(topic, None)
        self._effective.pop(topic, None)
        return _read_topic(entries)[1]

    def set_broker(self, entries: Mapping[str, str]) -> tuple[str, ...]:
        """Take over what is set for this broker; gives complaints about what is left out."""
        self._broker_texts, complaints = _sensible(entries, per_broker=True)
        self._settle()
        return complaints

    def set_default(self, entries: Mapping[str, str]) -> tuple[str, ...]:
        """Take over what is set for all brokers; gives complaints about what is left out."""
        self._default_texts, complaints = _sensible(entries, per_broker=False)
        self._settle()
        return complaints

    def _settle(self) -> None:
        self._broker = self._broker_with(self._broker_texts, self._default_texts)
        self._topic_defaults = None
        self._effective.clear()

    def _broker_with(self, broker: Mapping[str, str], default: Mapping[str, str]) -> BrokerSettings:
        if not broker and not default:
            return self._static
        texts = self._texts_with(broker, default)
        changes = {}
        for key in texts.keys() | self._static_texts.keys():
            definition = BrokerSettings.SETTINGS.get(key)
            if definition is not None:
                text = texts.get(key)
                changes[definition.name] = definition.default if text is None else definition.read(text)
        return self._static.replacing(**changes)

    def _texts_with(self, broker: Mapping[str, str], default: Mapping[str, str]) -> dict[str, str]:
        return overridden(overridden(self._static_texts, default), broker)

    # What may be set

    def validate_topic(self, entries: Mapping[str, str | None]) -> KafkaError | None:
        """Whether a topic may say this; gives the INVALID_CONFIG to answer otherwise (``LogConfig.validate``).

        The rules hold for the settings as a whole, what the topic leaves to the broker included.
        """
        given = {key: value for key, value in entries.items() if value is not None}
        if len(given) < len(entries):
            without = ",".join(key for key, value in entries.items() if value is None)
            return KafkaError(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {without}")
        try:
            self.check_topic(given)
        except InvalidValue as error:
            return KafkaError(ErrorCode.INVALID_CONFIG, str(error))
        except KafkaError as error:
            return error
        return None

    def check_topic(self, entries: Mapping[str, str]) -> None:
        """``InvalidValue`` for a bad value, ``KafkaError`` (INVALID_CONFIG) for anything else that is wrong."""
        for key in entries:
            if key not in TopicSettings.SETTINGS:
                raise KafkaError(ErrorCode.INVALID_CONFIG, f"Unknown topic config name: {key}")
        own = {}
        for key, definition in TopicSettings.SETTINGS.items():
            if key in entries:
                own[definition.name] = definition.read(entries[key])
        topic = self.topic_defaults.replacing(**own)
        if topic.min_compaction_lag_ms > topic.max_compaction_lag_ms:
            raise KafkaError(
                ErrorCode.INVALID_CONFIG,
                f"conflict topic config setting min.compaction.lag.ms ({topic.min_compaction_lag_ms}) > "
                f"max.compaction.lag.ms ({topic.max_compaction_lag_ms})",
            )
        if topic.remote_log_copy_disable or topic.remote_log_delete_on_disable:
            raise KafkaError(
                ErrorCode.INVALID_CONFIG,
                "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` under Zookeeper's "
                "mode.",
            )
        if topic.remote_storage_enable:
            raise _NoTieredStorage

    def check_broker(self, entries: Mapping[str, str], *, per_broker: bool) -> None:
        """Whether this may be set for this broker, or for all of them; ``KafkaError`` says why not."""
        from pykafka_broker.config.dynamic import check_change, check_entries

        check_entries(entries, per_broker=per_broker)
        if per_broker:
            after = self._broker_with(entries, self._default_texts)
        else:
            after = self._broker_with(self._broker_texts, entries)
        check_change(self._broker, after)

    # What is shown

    def shown_topic(self, entries: Mapping[str, str]) -> list[ShownConfig]:
        """Every setting of a topic that says this for itself."""
        own, _ = _read_topic(entries)
        topic = self.topic_defaults.replacing(**own)
        layers = self._layers()
        return [
            *(
                self._shown_of_topic(definition, definition.show(value), entries, layers)
                for definition, value in topic.items()
            ),
            *(
                ShownConfig(key, None, False, Source.TOPIC, True, (Synonym(key, None, Source.TOPIC),))
                for key in entries
                if key not in TopicSettings.SETTINGS
            ),
        ]

    @staticmethod
    def _shown_of_topic(
        definition: Setting, value: str | None, entries: Mapping[str, str], layers: Sequence[Layer]
    ) -> ShownConfig:
        key = definition.key
        names = topic_synonyms(key)
        synonyms = found_in(layers, names, names[0], is_sensitive=definition.sensitive) if names else ()
        if key in entries:
            synonyms = (Synonym(key, value, Source.TOPIC), *synonyms)
        source = synonyms[0].source if synonyms else Source.DEFAULT
        return ShownConfig(key, value, False, source, definition.sensitive, synonyms, definition.kind, definition.says)

    def shown_broker(self) -> list[ShownConfig]:
        """Every setting of this broker, with those that somebody has set and nobody knows."""
        from pykafka_broker.config.catalogue import ALL

        given = self._texts_with(self._broker_texts, self._default_texts)
        listed = [key for key, definition in ALL.items() if not definition.internal]
        layers = self._layers()
        return [self._shown_of_broker(key, given, layers) for key in dict.fromkeys((*listed, *given))]

    def shown_default(self) -> list[ShownConfig]:
        """What is set for all brokers; nothing else is told of them."""
        layers = ((Source.DYNAMIC_DEFAULT_BROKER, self._default_texts),)
        return [self._shown_of_broker(key, self._default_texts, layers) for key in self._default_texts]

    @staticmethod
    def _shown_of_broker(key: str, given: Mapping[str, str], layers: Sequence[Layer]) -> ShownConfig:
        from pykafka_broker.config.catalogue import ALL
        from pykafka_broker.config.dynamic import definition_of

        definition = definition_of(key)
        is_sensitive = definition is None or definition.sensitive
        is_read_only = key not in ALL or ALL[key].mode is Mode.READ_ONLY
        synonyms = found_in(layers, broker_synonyms(key), key, is_sensitive=is_sensitive)
        source = synonyms[0].source if synonyms else Source.DEFAULT
        if definition is None:
            return ShownConfig(key, None, is_read_only, source, True, synonyms)
        text = given.get(key)
        value = definition.show(definition.default if text is None else definition.read(text))
        if source is Source.DYNAMIC_DEFAULT_BROKER and len(layers) == 1:
            value = text
        return ShownConfig(
            key,
            None if is_sensitive else value,
            is_read_only,
            source,
            is_sensitive,
            synonyms,
            definition.kind,
            definition.says,
        )

    def _layers(self) -> tuple[Layer, ...]:
        return (
            (Source.DYNAMIC_BROKER, self._broker_texts),
            (Source.DYNAMIC_DEFAULT_BROKER, self._default_texts),
            (Source.STATIC_BROKER, self._static_texts),
            (Source.DEFAULT, _default_texts()),
        )


def _default_texts() -> Mapping[str, str]:
    global _defaults
    if not _defaults:
        from pykafka_broker.config.catalogue import ALL

        shown = {key: definition.show(definition.default) for key, definition in ALL.items()}
        _defaults = {key: text for key, text in shown.items() if text is not None}
    return _defaults


_defaults: Mapping[str, str] = NOTHING


def _read_topic(entries: Mapping[str, str]) -> tuple[dict[str, object], tuple[str, ...]]:
    own: dict[str, object] = {}
    complaints = []
    for key, text in entries.items():
        definition = TopicSettings.SETTINGS.get(key)
        if definition is None:
            complaints.append(f"Unknown topic config name: {key}")
            continue
        try:
            own[definition.name] = definition.read(text)
        except InvalidValue as error:
            complaints.append(str(error))
    return own, tuple(complaints)


def _with_both_bounds(topic: TopicSettings) -> TopicSettings:
    """The old key for both timestamp bounds holds for the one that is not set (KIP-937)."""
    both = topic.message_timestamp_difference_max_ms
    if both == LONG_MAX:
        return topic
    changes = {
        name: both
        for name in ("message_timestamp_before_max_ms", "message_timestamp_after_max_ms")
        if getattr(topic, name) == LONG_MAX
    }
    return topic.replacing(**changes)


def _sensible(entries: Mapping[str, str], *, per_broker: bool) -> tuple[Mapping[str, str], tuple[str, ...]]:
    if not entries:
        return NOTHING, ()
    from pykafka_broker.config.dynamic import check_entries

    kept: dict[str, str] = {}
    complaints: list[str] = []
    for key, text in entries.items():
        try:
            check_entries({key: text}, per_broker=per_broker)
        except KafkaError as error:
            complaints.append(error.message)
        else:
            kept[key] = text
    return kept, tuple(complaints)


def wanted(shown: Iterable[ShownConfig], keys: Iterable[str] | None) -> list[ShownConfig]:
    """Those whose names were asked for; all of them when no name was. In the order of Kafka's answer."""
    names = set(keys or ())
    found = {config.name: config for config in shown if not names or config.name in names}
    return [found[name] for name in _in_scala_order(found)]


def _in_scala_order(names: Collection[str]) -> list[str]:
    """As a mutable ``HashMap`` of Scala 2.13 gives them, which is where Kafka keeps them until it answers.

    The Java client up to 3.1 shows settings in an order that depends on this one.
    """
    buckets = 16
    while len(names) > buckets * 0.75:
        buckets *= 2

    def place(name: str) -> tuple[int, int]:
        value = java_string_hash(name) & 0xFFFFFFFF
        mixed = value ^ value >> 16
        return mixed & (buckets - 1), mixed - (1 << 32) if mixed >> 31 else mixed

    return sorted(names, key=place)
