"""Clients of 0.8.2 to 0.10.2 find the same in this broker and in Apache Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from compat.old.clients import JAVA, java, kafka_python
from compat.servers import QUICK, Server, apache_kafka, our_broker
from compat.waiting import until
from compat.wire.conversation import Conversation
from pykafka_broker.wire import messages

pytestmark = [pytest.mark.compat, pytest.mark.slow]

EVERYTHING = ["produce", "produce-scala", "metadata", "offsets", "fetch", "commit"]
ACTIONS = {
    "0.8.2.2": EVERYTHING,
    "0.9.0.1": [*EVERYTHING, "consume"],
    "0.10.2.2": [*EVERYTHING, "consume", "times"],
}
RECORDS = 27
"""What the Java programs of one version write: 18 by the producer of 0.8.2, 9 by the one before."""
Brokers = tuple[Server, Server]


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    """This broker and Apache Kafka, both ready to coordinate groups."""
    with ExitStack() as stack:
        found = stack.enter_context(our_broker(QUICK)), stack.enter_context(apache_kafka(QUICK))
        for server in found:
            with Conversation(server.port) as conversation:
                ask = messages.FindCoordinatorRequest(key="any")
                until(lambda: conversation.ask("any", 0, ask, quietly=True).error_code == 0)  # noqa: B023
        yield found


def create(server: Server, topic: str) -> None:
    request = messages.CreateTopicsRequest
    wanted = request.CreatableTopic(name=topic, num_partitions=1, replication_factor=1)
    with Conversation(server.port) as conversation:
        answer = conversation.ask("any", 2, request(topics=[wanted], timeout_ms=10_000), quietly=True)
    assert [one.error_code for one in answer.topics] == [0]


@pytest.mark.parametrize("version", JAVA)
def test_the_java_and_scala_clients_of_old(brokers: Brokers, version: str) -> None:
    topic = f"java-{version}"

    def act(server: Server) -> list[str]:
        create(server, topic)
        return java(version, server.port, topic, *ACTIONS[version])

    with ThreadPoolExecutor(2) as both:
        ours, theirs = both.map(act, brokers)
    assert ours == theirs
    assert sum(line.startswith("fetched ") for line in ours) == 2 * RECORDS, (
        "every record, in large pieces and in small"
    )
    assert f'committed version 0 [{topic},0] 7 "" error 0' in ours
    assert f'committed version 1 [{topic},0] 8 "note 1" error 0' in ours
    if "consume" in ACTIONS[version]:
        assert sum(" consumed " in line for line in ours) == RECORDS


@pytest.mark.parametrize("api_version", ["0.8.0", "0.8.1", "0.8.2", "0.9", "0.10.0", "0.10.1"])
def test_an_old_kafka_python_in_every_protocol_that_it_speaks(brokers: Brokers, api_version: str) -> None:
    topic = f"python-{api_version}"

    def act(server: Server) -> list[str]:
        create(server, topic)
        return kafka_python(server.port, topic, api_version)

    with ThreadPoolExecutor(2) as both:
        ours, theirs = both.map(act, brokers)
    assert ours == theirs
    consumed = [line for line in ours if " consumed " in line]
    # without a group the second consumer begins anew
    assert len(consumed) == (18 if api_version == "0.8.0" else 12)
