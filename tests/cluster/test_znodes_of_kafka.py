"""Our znodes are what Apache Kafka 3.9.1's own classes write, byte for byte."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from compat.java.artifacts import class_path_text
from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.zk import nodes
from pykafka_broker.zk.nodes import (
    BrokerRegistration,
    ClusterId,
    ConfigChange,
    ConfigEntity,
    ControllerNode,
    Endpoint,
    Feature,
    IsrChange,
    LogDirEvent,
    PartitionState,
    PreferredReplicaElection,
    ProducerIdBlock,
    ReassignPartitions,
    TopicAssignment,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ONE, TWO, THREE, SEVEN = BrokerId(1), BrokerId(2), BrokerId(3), BrokerId(7)
PLAIN = Endpoint("PLAINTEXT", "127.0.0.1", 9092)
SECURE = Endpoint("INSIDE", "::1", 9093, "SASL_SSL")
PARTITION = TopicPartition("t", 0)
ID = TopicId(nodes.uuid_of("zsIimwXkQiayGNJxGW9uUA"))
TIMESTAMP = re.compile(r'"timestamp":"\d+"}$')


def topic(topic_id: TopicId | None) -> TopicAssignment:
    return TopicAssignment("t", {0: (ONE, TWO), 1: (TWO, THREE)}, topic_id, {1: (THREE,)}, {1: (ONE,)})


OURS: dict[str, bytes] = {
    **{
        f"registration {version}": BrokerRegistration(SEVEN, (PLAIN, SECURE), rack="r1", version=version).encode()
        for version in (2, 3, 4, 5)
    },
    "registration without rack": BrokerRegistration(SEVEN, (PLAIN,)).encode(),
    "registration without plaintext": BrokerRegistration(SEVEN, (SECURE,)).encode(),
    "controller": ControllerNode(SEVEN, 123).encode(),
    "isr change": IsrChange((PARTITION,)).encode(),
    "log dir event": LogDirEvent(SEVEN).encode(),
    "preferred election": PreferredReplicaElection((PARTITION,)).encode(),
    "state RECOVERED": PartitionState(ONE, (ONE, TWO), LeaderEpoch(5), 3).encode(),
    "state RECOVERING": PartitionState(ONE, (ONE, TWO), LeaderEpoch(5), 3, 1).encode(),
    "topic": topic(ID).encode(),
    "topic without id": topic(None).encode(),
    "config": ConfigEntity("topics", "t", {"text": 'é"\\/\n<>&', "retention.ms": "1"}).encode(),
    "no config": ConfigEntity("topics", "t", {}).encode(),
    "config change": ConfigChange("topics/t").encode(),
    "cluster id": ClusterId("abc").encode(),
    "feature": Feature({"x": 2}).encode(),
    "producer ids": ProducerIdBlock(THREE, 1000, 1999).encode(),
    "reassignment": ReassignPartitions({PARTITION: (ONE, TWO)}).encode(),
    "sanitized": nodes.sanitized("a b*~/é<>%+_-.:@").encode(),
    "persistent paths": " ".join(nodes.persistent_paths()).encode(),
}


def test_all_znodes_agree_with_kafka_s_own_classes() -> None:
    source = Path(__file__).with_name("Znodes.java")
    command = ["java", "-Xmx256m", "-Dfile.encoding=UTF-8", "-cp", class_path_text("3.9.1"), str(source)]
    output = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    theirs = dict(line.split("\t") for line in output.splitlines())

    def masked(text: str) -> str:
        return TIMESTAMP.sub('"timestamp":"-1"}', text)

    assert {name: masked(text) for name, text in theirs.items()} == {
        name: masked(text.decode()) for name, text in OURS.items()
    }
