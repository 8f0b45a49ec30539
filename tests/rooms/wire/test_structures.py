"""Message classes: slots, defaults of the spec, equality and what they show of themselves."""

from __future__ import annotations

import pytest

from pykafka_broker.model.names import GroupId
from pykafka_broker.wire import messages, spec
from pykafka_broker.wire.structures import NO_UUID, Message, message_class


def test_fields_that_nobody_sets_have_the_default_of_the_spec() -> None:
    request = messages.FetchRequest()
    assert (request.replica_id, request.max_bytes, request.rack_id) == (-1, 0x7FFFFFFF, "")
    assert request.cluster_id is None
    assert request.topics == []
    assert request.replica_state == messages.FetchRequest.ReplicaState(replica_id=-1, replica_epoch=-1)  # type: ignore[arg-type]
    assert messages.FetchRequest.Topic().topic_id is NO_UUID


def test_lists_and_structs_are_not_shared() -> None:
    one, other = messages.FetchRequest(), messages.FetchRequest()
    assert one.topics is not other.topics
    assert one.replica_state is not other.replica_state


def test_null_is_not_the_same_as_not_given() -> None:
    assert messages.MetadataRequest().topics == []
    assert messages.MetadataRequest(topics=None).topics is None


def test_equal_if_all_fields_are() -> None:
    one, other = messages.HeartbeatRequest(generation_id=3), messages.HeartbeatRequest(generation_id=3)
    assert one == other
    other._tags = b"\x05\x00"
    assert one != other
    assert one != messages.LeaveGroupRequest()
    assert messages.JoinGroupRequest.Protocol() != messages.SyncGroupRequest.Assignment()


def test_only_what_differs_from_the_defaults_is_shown() -> None:
    request = messages.JoinGroupRequest(
        group_id=GroupId("g"), protocols=[messages.JoinGroupRequest.Protocol(name="range")]
    )
    assert repr(request) == "JoinGroupRequest(group_id='g', protocols=[JoinGroupRequest.Protocol(name='range')])"


def test_misspelled_fields_are_refused() -> None:
    with pytest.raises(TypeError):
        messages.HeartbeatRequest(genration_id=3)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        messages.HeartbeatRequest().genration_id = 3  # type: ignore[attr-defined]


def test_mutable_values_cannot_be_put_into_sets() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(messages.HeartbeatRequest())


@pytest.mark.parametrize(
    ("message", "structs"),
    [
        ("JoinGroupRequest", {"Protocol"}),
        ("MetadataResponse", {"Broker", "Topic", "Partition"}),
        ("FetchRequest", {"Topic", "Partition", "ForgottenTopic", "ReplicaState"}),
        ("CreateTopicsRequest", {"CreatableTopic", "CreatableReplicaAssignment", "CreatableTopicConfig"}),
    ],
)
def test_structs_bear_kafkas_names_without_the_messages(message: str, structs: set[str]) -> None:
    assert {struct.name for struct in spec.message(message).structs} == structs
    assert all(hasattr(message_class(message), name) for name in structs)


def test_every_message_has_a_class() -> None:
    for found in spec.messages():
        made = message_class(found.name)
        assert issubclass(made, Message)
        assert made() == made()
        assert repr(made()) == f"{found.name}()"


def test_unknown_messages_are_key_errors() -> None:
    with pytest.raises(KeyError):
        message_class("NonsenseRequest")
