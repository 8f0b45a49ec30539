"""Layers put over each other: which value holds, where it comes from, and what may be set."""

from __future__ import annotations

from typing import Any

import pytest

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.layers import ShownConfig, Source
from pykafka_broker.config.loading import load
from pykafka_broker.config.overrides import Overrides, wanted
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.model.errors import ErrorCode, KafkaError


def overrides(text: str = "") -> Overrides:
    loaded = load(f"zookeeper.connect=x:1\n{text}")
    return Overrides(loaded.settings, loaded.texts)


def one(shown: list[ShownConfig], key: str) -> ShownConfig:
    return next(config for config in shown if config.name == key)


def test_a_topic_beats_the_broker_and_the_broker_beats_all_brokers() -> None:
    layers = overrides("log.retention.ms=4")
    assert layers.effective("t").retention_ms == 4
    layers.set_default({"log.retention.ms": "3"})
    assert layers.effective("t").retention_ms == 3
    layers.set_broker({"log.retention.ms": "2"})
    assert layers.effective("t").retention_ms == 2
    layers.set_topic("t", {"retention.ms": "1"})
    assert layers.effective("t").retention_ms == 1
    assert layers.effective("other").retention_ms == 2
    layers.set_topic("t", {})
    layers.set_broker({})
    layers.set_default({})
    assert layers.effective("t").retention_ms == 4


def test_the_brokers_own_settings_follow_too() -> None:
    layers = overrides()
    layers.set_default({"max.connections": "7"})
    assert layers.broker.max_connections == 7
    layers.set_default({})
    assert layers.broker == BrokerSettings(zookeeper_connect="x:1")


def test_a_coarser_unit_in_the_file_gives_way_to_a_dynamic_one() -> None:
    layers = overrides("log.retention.minutes=5")
    layers.set_default({"log.retention.ms": "9"})
    assert layers.broker.log_retention_minutes is None
    assert layers.effective("t").retention_ms == 9
    layers.set_default({})
    assert layers.effective("t").retention_ms == 300_000


def test_one_bound_for_both_timestamps_is_told_to_the_logs_but_shown_as_it_stands() -> None:
    layers = overrides()
    entries = {"message.timestamp.difference.max.ms": "5", "message.timestamp.after.max.ms": "7"}
    topic = layers.topic_with(entries)
    assert (topic.message_timestamp_before_max_ms, topic.message_timestamp_after_max_ms) == (5, 7)
    assert one(layers.shown_topic(entries), "message.timestamp.before.max.ms").value == str(2**63 - 1)


def test_what_makes_no_sense_in_the_tree_is_left_out_with_a_complaint() -> None:
    layers = overrides()
    assert layers.set_topic("t", {"retention.ms": "abc", "segment.ms": "7", "nope": "1"}) == (
        "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        "Unknown topic config name: nope",
    )
    assert layers.effective("t") == TopicSettings(segment_ms=7)
    assert layers.set_broker({"broker.id": "5", "log.retention.ms": "7"}) == (
        "Cannot update these configs dynamically: Set(broker.id)",
    )
    assert layers.broker.log_retention_ms == 7
    assert layers.set_default({"listeners": "PLAINTEXT://:1"}) == (
        "Cannot update these configs at default cluster level, broker id must be specified: Set(listeners)",
    )


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"nope": "1"}, "Unknown topic config name: nope"),
        ({"retention.ms": "abc"}, "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
        ({"retention.ms": "abc", "nope": "1"}, "Unknown topic config name: nope"),
        (
            {"retention.ms": "x", "segment.ms": "abc"},
            "Invalid value abc for configuration segment.ms: Not a number of type LONG",
        ),
        ({"retention.ms": None, "nope": None}, "Null value not supported for topic configs: retention.ms,nope"),
        (
            {"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"},
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)",
        ),
        (
            {"remote.storage.enable": "true"},
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log "
            "storage.",
        ),
        (
            {"remote.log.copy.disable": "true"},
            "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` under Zookeeper's mode.",
        ),
        ({"segment.bytes": "13"}, "Invalid value 13 for configuration segment.bytes: Value must be at least 14"),
    ],
)
def test_what_a_topic_cannot_have_is_refused_in_kafkas_words(entries: dict[str, str | None], says: str) -> None:
    error = overrides().validate_topic(entries)
    assert error is not None
    assert (error.code, error.detail) == (ErrorCode.INVALID_CONFIG, says)


@pytest.mark.parametrize(
    "entries",
    [{}, {"cleanup.policy": ""}, {"remote.storage.enable": "false"}, {"retention.ms": "5", "local.retention.ms": "50"}],
)
def test_what_a_topic_can_have_passes(entries: dict[str, str | None]) -> None:
    assert overrides().validate_topic(entries) is None


def test_a_topic_must_go_together_with_what_it_leaves_to_the_broker() -> None:
    error = overrides("log.cleaner.max.compaction.lag.ms=5").validate_topic({"min.compaction.lag.ms": "10"})
    assert error is not None
    assert "(10) > max.compaction.lag.ms (5)" in error.message


def test_a_topics_setting_shows_every_place_that_sets_it() -> None:
    layers = overrides("log.segment.bytes=4000")
    layers.set_default({"log.segment.bytes": "3000"})
    shown = one(layers.shown_topic({"segment.bytes": " 1000 "}), "segment.bytes")
    assert (shown.value, shown.source, shown.is_read_only) == ("1000", Source.TOPIC, False)
    assert [(name, value, int(source)) for name, value, source in shown.synonyms] == [
        ("segment.bytes", "1000", 1),
        ("log.segment.bytes", "3000", 3),
        ("log.segment.bytes", "4000", 4),
        ("log.segment.bytes", "1073741824", 5),
    ]


def test_hours_are_no_synonym_until_milliseconds_are_set() -> None:
    layers = overrides("log.retention.hours=1")
    shown = one(layers.shown_topic({}), "retention.ms")
    assert (shown.value, shown.source, list(shown.synonyms)) == ("3600000", Source.DEFAULT, [])
    layers.set_default({"log.retention.ms": "9"})
    assert [synonym.name for synonym in one(layers.shown_topic({}), "retention.ms").synonyms] == [
        "log.retention.ms",
        "log.retention.hours",
        "log.retention.hours",
    ]


def test_a_broker_shows_every_key_and_those_that_only_the_file_knows() -> None:
    shown = overrides("foo=1\nssl.key.password=tiger\nbroker.id=3").shown_broker()
    assert len(shown) == 315
    foo = one(shown, "foo")
    assert (foo.value, foo.kind, foo.is_sensitive, foo.source) == (None, 0, True, Source.STATIC_BROKER)
    password = one(shown, "ssl.key.password")
    assert (password.value, password.is_sensitive) == (None, True)
    assert [synonym.value for synonym in password.synonyms] == [None]
    node_id = one(shown, "node.id")
    assert (node_id.value, node_id.source, node_id.is_read_only) == ("3", Source.STATIC_BROKER, True)
    assert not one(shown, "log.retention.ms").is_read_only


def test_of_all_brokers_only_what_is_set_is_shown() -> None:
    layers = overrides("log.retention.ms=5")
    assert layers.shown_default() == []
    layers.set_default({"log.retention.ms": " 70 "})
    (shown,) = layers.shown_default()
    assert (shown.value, shown.source, len(shown.synonyms)) == (" 70 ", Source.DYNAMIC_DEFAULT_BROKER, 1)


def test_only_what_was_asked_for_is_shown() -> None:
    shown = overrides().shown_topic({})
    assert [config.name for config in wanted(shown, ["retention.ms", "nope"])] == ["retention.ms"]
    assert len(wanted(shown, [])) == len(wanted(shown, None)) == 36


def test_settings_come_in_the_order_in_which_kafka_sends_them() -> None:
    shown = [config.name for config in wanted(overrides().shown_topic({}), None)]
    assert shown[:6] == [
        "compression.type",
        "remote.log.delete.on.disable",
        "leader.replication.throttled.replicas",
        "remote.storage.enable",
        "message.downconversion.enable",
        "min.insync.replicas",
    ]
    assert shown[-2:] == ["message.timestamp.difference.max.ms", "segment.index.bytes"]
    some = ["log.dirs", "listeners", "log.retention.ms", "num.partitions", "broker.id"]
    asked = [config.name for config in wanted(overrides().shown_broker(), some)]
    assert asked == ["log.retention.ms", "num.partitions", "listeners", "broker.id", "log.dirs"]


def refused(layers: Overrides, entries: dict[str, str], **where: Any) -> str:
    with pytest.raises(KafkaError) as caught:
        layers.check_broker(entries, **where)
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    return caught.value.message


def test_a_broker_setting_is_checked_with_all_the_others() -> None:
    layers = overrides()
    layers.check_broker({"log.retention.ms": "5", "unknown": "x"}, per_broker=False)
    assert refused(layers, {"log.retention.ms": "0"}, per_broker=True) == (
        "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1"
    )
    assert "value should not be greater than double the current value 8" in refused(
        layers, {"num.io.threads": "100"}, per_broker=False
    )
    assert "double the current value 1" in refused(layers, {"log.cleaner.threads": "3"}, per_broker=False)
    assert "must be at least 1" in refused(layers, {"log.cleaner.threads": "0"}, per_broker=False)
    assert "Class foo could not be found." in refused(layers, {"principal.builder.class": "foo"}, per_broker=True)


def test_listeners_stay_what_they_are_while_the_broker_runs() -> None:
    assert "cannot be changed" in refused(overrides(), {"listeners": "PLAINTEXT://:9999"}, per_broker=True)
