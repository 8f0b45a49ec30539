"""From a properties file and overrides to settings, or to all mistakes at once."""

from __future__ import annotations

import pytest

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.loading import ALONE, NO_FILE, OVERRIDE, ConfigurationError, load

ZOOKEEPER = "zookeeper.connect=localhost:2181\n"


def mistakes(text: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(text, "s.properties", overrides)
    return caught.value.lines


def test_without_a_file_the_broker_stands_alone_on_loopback() -> None:
    loaded = load(None)
    settings = loaded.settings
    assert (settings.broker_id, settings.node_id) == (0, 0)
    assert settings.listeners == "PLAINTEXT://127.0.0.1:9092"
    assert settings.directories == ("./pykafka-data",)
    assert not settings.has_zookeeper
    assert settings.offsets_topic_replication_factor == 1
    assert settings.transaction_state_log_replication_factor == 1
    assert settings.transaction_state_log_min_isr == 1
    assert settings.group_initial_rebalance_delay_ms == 0
    assert loaded.origins["listeners"] == NO_FILE
    assert loaded.warnings == ()


def test_with_a_file_kafkas_defaults_hold() -> None:
    loaded = load(ZOOKEEPER)
    assert loaded.settings == BrokerSettings(zookeeper_connect="localhost:2181")
    assert loaded.warnings == ()


def test_a_broker_without_zookeeper_makes_its_own_topics_with_one_replica() -> None:
    loaded = load("broker.id=1")
    assert loaded.settings.offsets_topic_replication_factor == 1
    assert loaded.settings.transaction_state_log_min_isr == 1
    assert loaded.settings.group_initial_rebalance_delay_ms == 3000
    assert loaded.origins["offsets.topic.replication.factor"] == ALONE


def test_more_replicas_than_brokers_are_taken_as_given_with_a_warning() -> None:
    loaded = load("offsets.topic.replication.factor=3", "s.properties")
    assert loaded.settings.offsets_topic_replication_factor == 3
    assert any(
        line.startswith("s.properties:1: offsets.topic.replication.factor: more than one") for line in loaded.warnings
    )


def test_an_override_beats_the_file() -> None:
    loaded = load("num.partitions=2\n" + ZOOKEEPER, "s.properties", ["num.partitions=3", "broker.rack=a=b"])
    assert loaded.settings.num_partitions == 3
    assert loaded.settings.broker_rack == "a=b"
    assert loaded.origins["num.partitions"] == OVERRIDE


def test_overrides_may_come_as_a_mapping() -> None:
    assert load(None, overrides={"num.partitions": "3"}).settings.num_partitions == 3


def test_every_value_tells_where_it_stands() -> None:
    loaded = load("# first\n\nnum.partitions=2\n" + ZOOKEEPER, "s.properties")
    assert loaded.origins["num.partitions"] == "s.properties:3"
    assert loaded.texts["num.partitions"] == "2"


@pytest.mark.parametrize("key", ["broker.id", "node.id"])
def test_broker_id_and_node_id_stand_for_each_other(key: str) -> None:
    settings = load(f"{key}=7").settings
    assert (settings.broker_id, settings.node_id) == (7, 7)


def test_two_different_ids_are_refused() -> None:
    assert mistakes("broker.id=1\nnode.id=2") == (
        "s.properties:2: node.id: You must set `node.id` to the same value as `broker.id`.",
    )


def test_all_bad_values_are_told_at_once_with_file_line_and_key() -> None:
    assert mistakes("broker.id=a\n\nlog.retention.ms=abc\nlog.cleanup.policy=\\\n  x\nssl.client.auth=maybe", "y") == (
        "--override: y: not of the form KEY=VALUE",
        "s.properties:1: broker.id: Invalid value a for configuration broker.id: Not a number of type INT",
        "s.properties:3: log.retention.ms: Invalid value abc for configuration log.retention.ms: "
        "Not a number of type LONG",
        "s.properties:4: log.cleanup.policy: Invalid value x for configuration log.cleanup.policy: "
        "String must be one of: compact, delete",
        "s.properties:6: ssl.client.auth: Invalid value maybe for configuration ssl.client.auth: "
        "String must be one of: required, requested, none",
    )


def test_all_contradictions_are_told_at_once() -> None:
    lines = mistakes("broker.id=1001\nlog.retention.hours=0\nlisteners=PLAINTEXT://:1,SSL://:1")
    assert lines == (
        "s.properties:1: broker.id: broker.id must be greater than or equal to -1 and not greater than "
        "reserved.broker.max.id",
        "s.properties: log.retention.ms: log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
        "s.properties:3: listeners: Each listener must have a different port, listeners: PLAINTEXT://:1,SSL://:1",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "log.cleaner.threads=0",
            "log.cleaner.threads must be at least 1; log.cleaner.enable=false switches the cleaner off",
        ),
        ("log.roll.ms=0", "log.roll.ms must be greater than or equal to 1"),
        ("log.roll.jitter.ms=-1", "log.roll.jitter.ms must be greater than or equal to 0"),
        ("log.dirs=", "At least one log directory must be defined via log.dirs or log.dir."),
        ("broker.id=-1\nbroker.id.generation.enable=false", "broker.id must be greater than or equal to 0"),
        (
            "log.cleaner.dedupe.buffer.size=1000",
            "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
        ),
        (
            "replica.fetch.wait.max.ms=40000",
            "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary "
            "socket timeouts",
        ),
        (
            "queued.max.request.bytes=5",
            "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
        ),
        (
            "max.connections.per.ip=0",
            "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
        ),
        ("max.connections.per.ip.overrides=a b:1", "max.connections.per.ip.overrides contains invalid addresses : a b"),
        ("max.connections.per.ip.overrides=a:b", "a:b is not of the form address:number"),
        (
            "connection.failed.authentication.delay.ms=600000",
            "connection.failed.authentication.delay.ms=600000 should always be less than "
            "connections.max.idle.ms=600000 to prevent failed authentication responses from timing out",
        ),
        ("group.coordinator.rebalance.protocols=", "Disabling the 'classic' protocol is not supported."),
        (
            "group.coordinator.rebalance.protocols=classic,consumer",
            "The new 'consumer' rebalance protocol is only supported in KRaft cluster.",
        ),
        (
            "inter.broker.listener.name=PLAINTEXT\nsecurity.inter.broker.protocol=PLAINTEXT",
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.",
        ),
        ("process.roles=broker", "KRaft is not supported; leave it out"),
        (
            "offsets.commit.required.acks=4",
            "offsets.commit.required.acks must be greater or equal to -1 and less or equal to "
            "offsets.topic.replication.factor",
        ),
    ],
)
def test_what_kafka_would_not_start_with_neither_does_this_broker(text: str, says: str) -> None:
    lines = mistakes(text)
    assert any(line.endswith(f": {says}") for line in lines), lines


def test_a_broken_escape_is_told_with_its_line() -> None:
    assert mistakes("a=1\nb=\\u1") == ("s.properties:2: \\u needs four hexadecimal digits behind it",)


def test_unknown_keys_are_warned_of_and_kept() -> None:
    loaded = load("foo.bar=1\n" + ZOOKEEPER, "s.properties")
    assert loaded.warnings == ("s.properties:1: foo.bar: unknown; it is ignored",)
    assert loaded.texts["foo.bar"] == "1"


def test_known_keys_without_effect_are_warned_of_when_they_would_have_one() -> None:
    text = "ssl.client.auth=required\nssl.protocol=TLSv1.3\nsuper.users=User:x\nlistener.name.a.ssl.protocol=b\n"
    assert load(text + ZOOKEEPER, "s.properties").warnings == (
        "s.properties:1: ssl.client.auth: not supported; it has no effect. Belongs to TLS listeners.",
        "s.properties:3: super.users: not supported yet; it has no effect",
        "s.properties:4: listener.name.a.ssl.protocol: settings of single listeners are not supported yet; "
        "it has no effect",
    )


def test_a_key_set_twice_counts_the_last_time_and_is_warned_of() -> None:
    loaded = load("num.partitions=2\nnum.partitions=3\n" + ZOOKEEPER, "s.properties")
    assert loaded.settings.num_partitions == 3
    assert loaded.warnings == ("s.properties:2: num.partitions: set before, at s.properties:1; this line counts",)


def test_the_keys_of_kafkas_own_default_file_give_no_warning() -> None:
    text = """
        broker.id=0
        num.network.threads=3
        num.io.threads=8
        socket.send.buffer.bytes=102400
        socket.receive.buffer.bytes=102400
        socket.request.max.bytes=104857600
        log.dirs=/tmp/kafka-logs
        num.partitions=1
        num.recovery.threads.per.data.dir=1
        offsets.topic.replication.factor=1
        transaction.state.log.replication.factor=1
        transaction.state.log.min.isr=1
        log.retention.hours=168
        log.retention.check.interval.ms=300000
        zookeeper.connect=localhost:2181
        zookeeper.connection.timeout.ms=18000
        group.initial.rebalance.delay.ms=0
    """
    assert load(text).warnings == ()


def test_hours_give_way_to_minutes_and_minutes_to_milliseconds() -> None:
    hours = "log.retention.hours=1\n"
    minutes = hours + "log.retention.minutes=2\n"
    assert load(hours).settings.topic_defaults().retention_ms == 3_600_000
    assert load(minutes).settings.topic_defaults().retention_ms == 120_000
    assert load(minutes + "log.retention.ms=3\n").settings.topic_defaults().retention_ms == 3
    assert load("log.retention.hours=-1").settings.topic_defaults().retention_ms == -1
    assert load("log.roll.hours=2").settings.topic_defaults().segment_ms == 7_200_000
    assert load("log.roll.jitter.hours=1").settings.topic_defaults().segment_jitter_ms == 3_600_000


def test_several_directories_stand_in_order() -> None:
    assert load("log.dirs=/a, /b,\nlog.dir=/c").settings.directories == ("/a", "/b")
    assert load("log.dir=/c").settings.directories == ("/c",)
