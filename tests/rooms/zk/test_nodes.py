"""Znodes are written byte for byte as Apache Kafka 3.9.1 writes them, and read as leniently as it reads them."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.zk import nodes
from pykafka_broker.zk.nodes import (
    BrokerRegistration,
    ClusterId,
    ConfigChange,
    ConfigEntity,
    ConsumerOffset,
    ControllerEpoch,
    ControllerNode,
    Endpoint,
    Feature,
    IsrChange,
    LogDirEvent,
    MalformedNode,
    PartitionState,
    PreferredReplicaElection,
    ProducerIdBlock,
    ReassignPartitions,
    TopicAssignment,
)

ONE, TWO, THREE = BrokerId(1), BrokerId(2), BrokerId(3)
PLAIN = Endpoint("PLAINTEXT", "127.0.0.1", 9092)
SECURE = Endpoint("SSL", "::1", 9093, "SSL")
SOME_ID = TopicId(nodes.uuid_of("zsIimwXkQiayGNJxGW9uUA"))


def test_a_registration_is_written_as_kafka_3_9_writes_it() -> None:
    written = BrokerRegistration(ONE, (PLAIN, SECURE), timestamp_ms=1795248176522).encode()
    assert written == (
        b'{"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT","SSL":"SSL"},'
        b'"endpoints":["PLAINTEXT://127.0.0.1:9092","SSL://[::1]:9093"],"jmx_port":-1,"port":9092,'
        b'"host":"127.0.0.1","version":5,"timestamp":"1795248176522"}'
    )


def test_a_registration_without_a_plaintext_endpoint_has_neither_host_nor_port() -> None:
    written = BrokerRegistration(ONE, (SECURE,), timestamp_ms=1, rack="r1").encode()
    assert written == (
        b'{"features":{},"listener_security_protocol_map":{"SSL":"SSL"},"endpoints":["SSL://[::1]:9093"],'
        b'"rack":"r1","jmx_port":-1,"port":-1,"host":null,"version":5,"timestamp":"1"}'
    )


def test_a_registration_reads_back_as_it_was_written() -> None:
    registration = BrokerRegistration(ONE, (PLAIN, SECURE), 5, "r1", 9999, {"x": {"min_version": 1, "max_version": 2}})
    assert BrokerRegistration.decode(ONE, registration.encode()) == registration
    assert registration.path == "/brokers/ids/1"
    assert registration.endpoint("SSL") == SECURE
    assert registration.endpoint("NONE") is None


@pytest.mark.parametrize("version", [2, 3, 4])
def test_registrations_of_older_brokers_are_written_and_read(version: int) -> None:
    rack = "r1" if version >= 3 else None
    registration = BrokerRegistration(ONE, (PLAIN, SECURE), 5, rack, version=version)
    assert BrokerRegistration.decode(ONE, registration.encode()) == registration


def test_a_registration_of_version_1_has_one_plaintext_endpoint() -> None:
    data = b'{"version":1,"host":"localhost","port":9092,"jmx_port":9999,"timestamp":"2233345666"}'
    assert BrokerRegistration.decode(ONE, data).endpoints == (Endpoint("PLAINTEXT", "localhost", 9092),)


def test_a_listener_may_be_named_otherwise_than_its_protocol() -> None:
    data = (
        b'{"version":4,"host":null,"port":-1,"listener_security_protocol_map":{"INSIDE":"SASL_SSL"},'
        b'"endpoints":["INSIDE://h:1"],"future":[1]}'
    )
    assert BrokerRegistration.decode(ONE, data).endpoints == (Endpoint("INSIDE", "h", 1, "SASL_SSL"),)


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"[]",
        b"nonsense",
        b'{"version":0}',
        b'{"version":5,"endpoints":["nope"]}',
        b'{"version":5,"endpoints":["A://h:x"]}',
        b'{"version":5,"endpoints":["A://h:1"],"listener_security_protocol_map":{"B":"SSL"}}',
        b'{"version":5}',
        b'{"version":5,"endpoints":["PLAINTEXT://h:99999999999"]}',
        b"[" * 5000,
        b'{"version":5,"endpoints":["PLAINTEXT://h:1"],"rack":"\\ud800"}',
        b'{"version":5,"endpoints":["PLAINTEXT://h:1"],"rack":"%s"}' % (b"x" * 32_768),
        b'{"version":5,"endpoints":["PLAINTEXT://%s:1"]}' % (b"x" * 32_768),
        b'{"version":5,"endpoints":["%s://h:1"]}' % (b"X" * 32_768),
    ],
)
def test_a_registration_that_makes_no_sense_is_malformed(data: bytes | None) -> None:
    with pytest.raises(MalformedNode):
        BrokerRegistration.decode(ONE, data)


def test_the_controller_is_written_as_kafka_3_9_writes_it() -> None:
    node = ControllerNode(ONE, 123)
    assert node.encode() == b'{"version":2,"brokerid":1,"timestamp":"123","kraftControllerEpoch":-1}'
    assert ControllerNode.decode(node.encode()) == node
    assert ControllerNode.decode(b'{"version":1,"brokerid":7,"timestamp":"5"}') == ControllerNode(BrokerId(7), 5)
    assert ControllerEpoch(7).encode() == b"7"
    assert ControllerEpoch.decode(b"7") == ControllerEpoch(7)
    with pytest.raises(MalformedNode):
        ControllerEpoch.decode(b"")


def test_a_topic_is_written_as_kafka_3_9_writes_it() -> None:
    topic = TopicAssignment("t", {0: (ONE, TWO), 1: (TWO,)}, SOME_ID, {1: (THREE,)}, {1: (TWO,), 0: ()})
    assert topic.encode() == (
        b'{"partitions":{"0":[1,2],"1":[2]},"topic_id":"zsIimwXkQiayGNJxGW9uUA",'
        b'"adding_replicas":{"1":[3]},"removing_replicas":{"1":[2]},"version":3}'
    )
    assert TopicAssignment.decode("t", topic.encode()).partitions == topic.partitions
    assert TopicAssignment.decode("t", topic.encode()).topic_id == SOME_ID
    assert topic.path == "/brokers/topics/t"


def test_topics_of_older_tools_are_read() -> None:
    assert TopicAssignment.decode("t", b'{"version":1,"partitions":{"0":[1]}}') == TopicAssignment("t", {0: (ONE,)})
    second = b'{"version":2,"partitions":{"0":[1]},"adding_replicas":{"0":[1]},"removing_replicas":{}}'
    assert TopicAssignment.decode("t", second) == TopicAssignment("t", {0: (ONE,)}, None, {0: (ONE,)})


@pytest.mark.parametrize(
    "partitions",
    ['{"0":[]}', '{"0":[1,2,1]}', '{"-1":[1]}', '{"0":[99999999999]}', '{"99999999999":[1]}', '{"0":[1e999]}', "null"],
)
def test_a_topic_whose_partitions_cannot_lie_anywhere_is_malformed(partitions: str) -> None:
    with pytest.raises(MalformedNode):
        TopicAssignment.decode("t", f'{{"version":3,"partitions":{partitions}}}'.encode())


def test_numbers_that_no_message_could_carry_are_malformed() -> None:
    state = b'{"controller_epoch":3,"leader":1,"version":1,"leader_epoch":99999999999,"isr":[1]}'
    for decode, data in ((PartitionState.decode, state), (ControllerEpoch.decode, b"99999999999")):
        with pytest.raises(MalformedNode):
            decode(data)


def test_brokers_are_found_among_names_that_are_none() -> None:
    assert nodes.brokers_among(["10", "2", "abc", "-3", "1.5", "01", "\N{SUPERSCRIPT TWO}", "9999999999", ""]) == [
        2,
        10,
    ]


def test_a_partition_state_is_written_as_kafka_3_9_writes_it() -> None:
    state = PartitionState(ONE, (ONE, TWO), LeaderEpoch(5), 3)
    assert state.encode() == b'{"controller_epoch":3,"leader":1,"version":1,"leader_epoch":5,"isr":[1,2]}'
    assert PartitionState.decode(state.encode()) == state
    recovering = PartitionState(ONE, (ONE, TWO), LeaderEpoch(5), 3, leader_recovery_state=1)
    assert recovering.encode() == (
        b'{"controller_epoch":3,"leader":1,"version":1,"leader_recovery_state":1,"leader_epoch":5,"isr":[1,2]}'
    )
    assert PartitionState.decode(recovering.encode()) == recovering


def test_settings_are_written_as_kafka_3_9_writes_them() -> None:
    entity = ConfigEntity("topics", "t", {"retention.ms": "1", 'aé"x': "/"})
    assert entity.encode() == '{"version":1,"config":{"aé\\"x":"/","retention.ms":"1"}}'.encode()
    assert ConfigEntity.decode("topics", "t", entity.encode()) == entity
    assert ConfigEntity("topics", "t", {}).encode() == b'{"version":1,"config":{}}'
    assert ConfigEntity.decode("users", "<default>", None).config == {}
    assert entity.path == "/config/topics/t"


def test_a_change_of_settings_is_written_in_version_2_and_read_in_both() -> None:
    assert ConfigChange("topics/t").encode() == b'{"version":2,"entity_path":"topics/t"}'
    assert ConfigChange.decode(b'{"version":1,"entity_type":"topics","entity_name":"t"}') == ConfigChange("topics/t")
    assert ConfigChange.decode(ConfigChange("users/<default>").encode()) == ConfigChange("users/<default>")
    with pytest.raises(MalformedNode):
        ConfigChange.decode(b'{"version":3,"entity_path":"topics/t"}')


@pytest.mark.parametrize("path", ["topics/", "topics", "", "../x", "topics//t", "topics/t\\u0000", "brokers/.."])
def test_a_change_of_what_cannot_be_a_node_is_malformed(path: str) -> None:
    with pytest.raises(MalformedNode):
        ConfigChange.decode(f'{{"version":2,"entity_path":"{path}"}}'.encode())


def test_the_cluster_s_own_nodes_are_written_as_kafka_3_9_writes_them() -> None:
    assert ClusterId("abc").encode() == b'{"version":"1","id":"abc"}'
    assert ClusterId.decode(b'{"version":"1","id":"abc"}') == ClusterId("abc")
    assert Feature().encode() == b'{"features":{},"version":2,"status":1}'
    assert Feature.decode(Feature({"x": 2}).encode()) == Feature({"x": 2})
    older = b'{"features":{"x":{"max_version_level":2,"min_version_level":1}},"version":1,"status":0}'
    assert Feature.decode(older) == Feature({"x": 2}, status=0)
    with pytest.raises(MalformedNode):
        Feature.decode(b'{"features":{},"version":9,"status":1}')


def test_producer_ids_are_written_as_strings_and_null_means_none_was_given_out() -> None:
    block = ProducerIdBlock(THREE, 1000, 1999)
    assert block.encode() == b'{"version":1,"broker":3,"block_start":"1000","block_end":"1999"}'
    assert ProducerIdBlock.decode(block.encode()) == block
    assert ProducerIdBlock.decode(None) is None


def test_what_older_tools_and_brokers_ask_is_read_and_written() -> None:
    tp = TopicPartition("t", 0)
    reassignment = ReassignPartitions({tp: (ONE, TWO)})
    assert reassignment.encode() == b'{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2]}]}'
    assert ReassignPartitions.decode(reassignment.encode()) == reassignment
    named = b'{"version":1,"partitions":[{"topic":"t","partition":0}]}'
    assert PreferredReplicaElection((tp,)).encode() == IsrChange((tp,)).encode() == named
    assert PreferredReplicaElection.decode(named) == PreferredReplicaElection((tp,))
    assert IsrChange.decode(named) == IsrChange((tp,))
    assert IsrChange.decode(None) == IsrChange(())
    assert LogDirEvent(ONE).encode() == b'{"version":1,"broker":1,"event":1}'
    assert LogDirEvent.decode(LogDirEvent(ONE).encode()) == LogDirEvent(ONE)


def test_an_offset_of_a_group_is_plain_text() -> None:
    node = ConsumerOffset("g", "t", 0, 42)
    assert (node.path, node.encode()) == ("/consumers/g/offsets/t/0", b"42")
    assert ConsumerOffset.decode("g", "t", 0, b"42") == node


def test_names_are_sanitized_as_java_does_it() -> None:
    assert nodes.sanitized("a b*~/é<>%+_-.:@") == "a%20b%2A%7E%2F%C3%A9%3C%3E%25%2B_-.%3A%40"
    assert nodes.desanitized("a+b") == "a b"
    for text in ("%", "%zz", "%ff"):
        with pytest.raises(MalformedNode):
            nodes.desanitized(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_sanitized_name_is_fit_for_a_path_and_reads_back(name: str) -> None:
    text = nodes.sanitized(name)
    assert "/" not in text
    assert nodes.desanitized(text) == name


@given(st.uuids())
def test_ids_are_22_characters_and_read_back(value: UUID) -> None:
    assert len(nodes.uuid_text(value)) == 22
    assert nodes.uuid_of(nodes.uuid_text(value)) == value


def test_a_sequence_number_is_the_last_ten_digits() -> None:
    assert nodes.sequence_of("/config/changes/config_change_0000000012") == 12
    for name in ("config_change_12", "config_change_00000x0012"):
        with pytest.raises(MalformedNode):
            nodes.sequence_of(name)


def test_the_persistent_paths_are_those_of_kafka_3_9() -> None:
    assert nodes.persistent_paths() == (
        "/consumers",
        "/brokers/ids",
        "/brokers/topics",
        "/config/changes",
        "/admin/delete_topics",
        "/brokers/seqid",
        "/isr_change_notification",
        "/latest_producer_id_block",
        "/log_dir_event_notification",
        "/config/topics",
        "/config/clients",
        "/config/users",
        "/config/brokers",
        "/config/ips",
    )
