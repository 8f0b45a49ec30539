"""The checks on single values and the sentences with which they refuse."""

from __future__ import annotations

import pytest

from pykafka_broker.config.kinds import InvalidValue, Value
from pykafka_broker.config.rules import (
    Rule,
    at_least,
    between,
    between_or,
    not_empty,
    not_null,
    one_of,
    some_of,
)
from pykafka_broker.config.topic import throttled_replicas
from pykafka_broker.config.versions import full_version, metadata_version


@pytest.mark.parametrize(
    ("rule", "value", "says"),
    [
        (at_least(1), 0, "Invalid value 0 for configuration k: Value must be at least 1"),
        (between(0, 1), 1.5, "Invalid value 1.5 for configuration k: Value must be no more than 1"),
        (between(0, 1), -1.0, "Invalid value -1.0 for configuration k: Value must be at least 0"),
        (at_least(0), None, "Invalid value null for configuration k: Value must be non-null"),
        (between_or(1, 9, -1), 0, "Invalid value 0 for configuration k: Value must be between 1 and 9 or equal to -1"),
        (one_of("a", "b"), "c", "Invalid value c for configuration k: String must be one of: a, b"),
        (some_of("a", "b"), ("a", "c"), "Invalid value c for configuration k: String must be one of: a, b"),
        (not_null, None, "Invalid value null for configuration k: entry must be non null"),
        (not_empty, "", "Invalid value  for configuration k: String must be non-empty"),
        (metadata_version, "foo", "Invalid value foo for configuration k: Version foo is not a valid version"),
        (
            throttled_replicas,
            ("1:2", "x"),
            "Invalid value [1:2, x] for configuration k: k must be the literal '*' or a list of replicas in the "
            "following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        ),
    ],
)
def test_a_forbidden_value_is_refused_in_kafkas_words(rule: Rule, value: Value, says: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        rule("k", value)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (at_least(1), 1),
        (between(0, 1), 0.5),
        (between(0, 1), float("nan")),
        (between_or(1, 9, -1), -1),
        (one_of("a"), "a"),
        (some_of("a"), ()),
        (not_null, ""),
        (not_empty, None),
        (metadata_version, "2.8.1"),
        (throttled_replicas, ("*",)),
        (throttled_replicas, ()),
        (throttled_replicas, ("0:1", "1:1")),
    ],
)
def test_an_allowed_value_passes(rule: Rule, value: Value) -> None:
    rule("k", value)


def test_a_release_stands_for_its_last_metadata_version() -> None:
    assert full_version("2.8") == "2.8-IV1"
    assert full_version("0.10.0") == "0.10.0-IV1"
    assert full_version("3.9-IV0") == "3.9-IV0"
    assert full_version("9") is None
