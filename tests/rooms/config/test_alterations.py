"""Changes of single keys."""

from __future__ import annotations

import pytest

from pykafka_broker.config.alterations import Alteration, Operation, altered, check_alterations
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.model.errors import ErrorCode, KafkaError

SET, DELETE, APPEND, SUBTRACT = Operation


def after(before: dict[str, str], *changes: tuple[str, int, str | None]) -> dict[str, str]:
    return altered(before, [Alteration(*change) for change in changes], TopicSettings.SETTINGS)


def test_keys_are_set_and_deleted_and_the_others_stay() -> None:
    before = {"retention.ms": "1", "segment.ms": "2"}
    assert after(before, ("segment.ms", SET, "3"), ("retention.ms", DELETE, None), ("x", DELETE, None)) == {
        "segment.ms": "3"
    }
    assert before == {"retention.ms": "1", "segment.ms": "2"}


def test_appending_begins_with_the_default_and_leaves_out_what_is_there() -> None:
    assert after({}, ("cleanup.policy", APPEND, "compact,delete")) == {"cleanup.policy": "delete,compact"}
    assert after({"cleanup.policy": ""}, ("cleanup.policy", APPEND, "compact")) == {"cleanup.policy": "compact"}
    assert after({"cleanup.policy": "compact"}, ("cleanup.policy", APPEND, "delete,delete")) == {
        "cleanup.policy": "compact,delete,delete"
    }


def test_subtracting_may_leave_nothing() -> None:
    assert after({}, ("cleanup.policy", SUBTRACT, "delete")) == {"cleanup.policy": ""}
    assert after({"cleanup.policy": "compact,compact"}, ("cleanup.policy", SUBTRACT, "compact,delete")) == {
        "cleanup.policy": "compact"
    }


@pytest.mark.parametrize(("operation", "verb"), [(APPEND, "append"), (SUBTRACT, "subtract")])
def test_only_lists_can_be_appended_to_and_subtracted_from(operation: Operation, verb: str) -> None:
    with pytest.raises(KafkaError) as caught:
        after({}, ("retention.ms", operation, "1"))
    assert caught.value.code is ErrorCode.INVALID_CONFIG
    assert caught.value.detail == f"Config value {verb} is not allowed for config key: retention.ms"


@pytest.mark.parametrize("change", [("nope", APPEND, "1"), ("retention.ms", 9, "1")])
def test_what_kafka_stumbles_over_is_an_unknown_server_error(change: tuple[str, int, str]) -> None:
    with pytest.raises(KafkaError) as caught:
        after({}, change)
    assert (caught.value.code, caught.value.detail) == (ErrorCode.UNKNOWN_SERVER_ERROR, None)


def test_a_key_must_not_come_twice_and_must_have_a_value_unless_it_is_deleted() -> None:
    check_alterations([Alteration("a", DELETE, None), Alteration("b", SET, "")])
    with pytest.raises(KafkaError, match="Error due to duplicate config keys"):
        check_alterations([Alteration("a", SET, None), Alteration("a", DELETE, None)])
    with pytest.raises(KafkaError, match="Null value not supported for : a, b"):
        check_alterations([Alteration("a", SET, None), Alteration("b", APPEND, None)])
