"""What topics get from the broker, and what a topic's settings say of it."""

from __future__ import annotations

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings


def test_a_broker_with_kafkas_defaults_gives_kafkas_default_topic() -> None:
    assert BrokerSettings().topic_defaults() == TopicSettings()


def test_a_topic_deletes_compacts_both_or_neither() -> None:
    assert (TopicSettings().deletes, TopicSettings().compacts) == (True, False)
    both = TopicSettings(cleanup_policy=("compact", "delete"))
    assert (both.deletes, both.compacts) == (True, True)
    neither = TopicSettings(cleanup_policy=())
    assert (neither.deletes, neither.compacts) == (False, False)


def test_the_old_bound_of_timestamps_holds_for_both_new_ones() -> None:
    topic = BrokerSettings(
        log_message_timestamp_difference_max_ms=5, log_message_timestamp_after_max_ms=9
    ).topic_defaults()
    assert (topic.message_timestamp_before_max_ms, topic.message_timestamp_after_max_ms) == (5, 9)


def test_the_brokers_message_format_is_not_inherited() -> None:
    assert BrokerSettings(log_message_format_version="2.8").topic_defaults().message_format_version == "3.0-IV1"
