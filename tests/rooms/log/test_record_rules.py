"""Which rules a topic's settings come to."""

from __future__ import annotations

import pytest

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.record_rules import FOREVER_MS, RecordRules, java_name, newest_timestamp
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.wire.batch import Record, build, read_header
from pykafka_broker.wire.compression import Codec

PLACE = TopicPartition("orders", 3)


def rules(**settings: object) -> RecordRules:
    return RecordRules.of(TopicSettings(**settings), PLACE)  # type: ignore[arg-type]


def test_kafkas_default_topic_takes_any_record() -> None:
    assert rules() == RecordRules(PLACE, False, False, FOREVER_MS, FOREVER_MS)
    assert rules().ask_nothing


def test_keys_and_limits_are_reasons_to_look() -> None:
    assert not rules(cleanup_policy=("compact",)).ask_nothing
    assert not rules(message_timestamp_after_max_ms=5).ask_nothing
    assert rules(message_timestamp_after_max_ms=5, message_timestamp_type="LogAppendTime").ask_nothing


def test_each_newer_limit_takes_the_place_of_the_older_one() -> None:
    limits = rules(message_timestamp_difference_max_ms=7, message_timestamp_after_max_ms=5)
    assert (limits.before_max_ms, limits.after_max_ms) == (7, 5)


@pytest.mark.parametrize(
    ("codec", "target", "name"),
    [
        (Codec.NONE, Codec.NONE, "DefaultRecord"),
        (Codec.GZIP, Codec.GZIP, "PartialDefaultRecord"),
        (Codec.GZIP, Codec.LZ4, "DefaultRecord"),
        (Codec.NONE, Codec.LZ4, "DefaultRecord"),
    ],
)
def test_records_have_the_names_that_kafkas_texts_give_them(codec: Codec, target: Codec, name: str) -> None:
    assert java_name(codec, target) == name


def test_there_is_no_time_before_minus_one() -> None:
    header = read_header(build([Record(timestamp=50)]))
    assert [newest_timestamp(header, delta) for delta in (0, 7, -50, -60, 2**63)] == [50, 57, 0, -1, -1]
    assert newest_timestamp(read_header(build([])), 9) == -1
