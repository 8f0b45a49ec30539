"""The keys of Kafka 3.9.1, compared with what its own definitions say.

``kafka_broker_keys.tsv`` and ``kafka_topic_keys.tsv`` are facts printed by a program that asked ``KafkaConfig``,
``LogConfig`` and ``DynamicBrokerConfig`` of Kafka 3.9.1: name, type, default (``\\N``: none) and, for brokers,
importance, mode and whether DescribeConfigs lists it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.catalogue import ALL, WITHOUT_EFFECT
from pykafka_broker.config.kinds import Kind
from pykafka_broker.config.topic import TopicSettings

HERE = Path(__file__).parent


def facts(name: str) -> list[list[str]]:
    return [line.split("\t") for line in (HERE / name).read_text().splitlines()]


def told(default: str | None) -> str:
    return "\\N" if default is None else default


def test_every_key_of_a_broker_is_kafkas_in_type_default_importance_and_mode() -> None:
    ours = [
        [
            key,
            one.kind.name,
            told(one.show(one.default)),
            one.importance.value,
            one.mode.value,
            "internal" if one.internal else "listed",
        ]
        for key, one in ALL.items()
    ]
    theirs = facts("kafka_broker_keys.tsv")
    protocols = next(row for row in theirs if row[0] == "listener.security.protocol.map")
    ours_protocols = next(row for row in ours if row[0] == "listener.security.protocol.map")
    assert sorted(protocols[2].split(",")) == sorted(ours_protocols[2].split(","))
    assert ours == theirs


def test_every_key_of_a_topic_is_kafkas_in_type_default_and_order() -> None:
    ours = [[key, one.kind.name, told(one.show(one.default))] for key, one in TopicSettings.SETTINGS.items()]
    assert ours == facts("kafka_topic_keys.tsv")


def test_describe_configs_has_314_keys_of_a_broker_and_36_of_a_topic() -> None:
    assert sum(not one.internal for one in ALL.values()) == 314
    assert len(TopicSettings.SETTINGS) == 36


def test_every_default_passes_its_own_rule() -> None:
    for one in (*ALL.values(), *TopicSettings.SETTINGS.values()):
        shown = one.show(one.default)
        if shown is not None:
            assert one.read(shown) == one.default, one.key


def test_every_key_has_a_line_of_documentation_and_nothing_is_stated_twice() -> None:
    assert all(one.says for one in (*ALL.values(), *TopicSettings.SETTINGS.values()))
    assert not WITHOUT_EFFECT.keys() & BrokerSettings.SETTINGS.keys()


def test_only_passwords_are_sensitive() -> None:
    assert all(one.sensitive == (one.kind is Kind.PASSWORD) for one in ALL.values())


def test_a_broker_that_starts_does_not_import_the_catalogue() -> None:
    code = (
        "import sys; from pykafka_broker.config.loading import load; load(None); load('broker.id=1');"
        "sys.exit('pykafka_broker.config.catalogue' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
