"""Topics and metadata answer raw requests as Apache Kafka 3.9.1 does: every version, every refusal, every oddity."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from compat.java.stage import Stage
from compat.waiting import until
from compat.wire.conversation import Conversation
from pykafka_broker.wire import messages as m
from pykafka_broker.wire.structures import Structure

UNKNOWN_ID = UUID(int=99)


class TopicTalk(Conversation):
    """A conversation in which ids of topics and clusters are masked."""

    def _masked(self, answer: Any) -> str:
        plain = _plain(answer)
        if plain.get("cluster_id"):
            plain["cluster_id"] = "<cluster>"
        return json.dumps(plain, sort_keys=True).replace(str(self._port), "<port>")

    def topic_id(self, name: str) -> UUID:
        asked = m.MetadataRequest(topics=[m.MetadataRequest.Topic(name=name)], allow_auto_topic_creation=False)
        found: UUID = self.ask("setup", 12, asked, quietly=True).topics[0].topic_id
        return found

    def is_led(self, name: str, partitions: int) -> bool:
        asked = m.MetadataRequest(topics=[m.MetadataRequest.Topic(name=name)], allow_auto_topic_creation=False)
        (topic,) = self.ask("setup", 12, asked, quietly=True).topics
        return len(topic.partitions) == partitions and not any(one.error_code for one in topic.partitions)


def _plain(value: Any) -> Any:
    """As JSON, with lists in an order that does not depend on hash maps, and ids only told from none."""
    if isinstance(value, Structure):
        return {name: _plain(getattr(value, name)) for name in value.__slots__ if not name.startswith("_")}
    if isinstance(value, list):
        return sorted((_plain(item) for item in value), key=json.dumps)
    if isinstance(value, UUID):
        return "<id>" if value.int else "<none>"
    return value


Talk = Callable[[TopicTalk], None]


def wanted(name: str, partitions: int = 1, factor: int = 1, *given: list[int], **configs: str | None) -> Any:
    request = m.CreateTopicsRequest
    return request.CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=factor,
        assignments=[
            request.CreatableReplicaAssignment(partition_index=index, broker_ids=brokers)  # type: ignore[arg-type]
            for index, brokers in enumerate(given)
        ],
        configs=[
            request.CreatableTopicConfig(name=key.replace("_", "."), value=value) for key, value in configs.items()
        ],
    )


def create(talk: TopicTalk, *topics: Any, version: int = 4, timeout_ms: int = 20_000, **how: Any) -> None:
    talk.ask("ann", version, m.CreateTopicsRequest(topics=list(topics), timeout_ms=timeout_ms, **how))


def grow(talk: TopicTalk, *topics: Any, version: int = 3, timeout_ms: int = 20_000, **how: Any) -> None:
    request = m.CreatePartitionsRequest
    asked = [
        request.Topic(
            name=name,
            count=count,
            assignments=None if given is None else [request.Assignment(broker_ids=brokers) for brokers in given],
        )
        for name, count, given in topics
    ]
    talk.ask("ann", version, request(topics=asked, timeout_ms=timeout_ms, **how))


def delete(talk: TopicTalk, *names: str | None, version: int = 6, timeout_ms: int = 20_000) -> None:
    request = m.DeleteTopicsRequest
    if version >= 6:
        body = request(topics=[request.DeleteTopicState(name=name) for name in names], timeout_ms=timeout_ms)
    else:
        body = request(topic_names=[name or "" for name in names], timeout_ms=timeout_ms)
    talk.ask("ann", version, body)


def metadata(talk: TopicTalk, version: int, *names: str | None, **how: Any) -> None:
    request = m.MetadataRequest
    talk.ask("ann", version, request(topics=[request.Topic(name=name) for name in names], **how))


def metadata_by_id(talk: TopicTalk, version: int, *topics: tuple[UUID, str | None], **how: Any) -> None:
    request = m.MetadataRequest
    asked = [request.Topic(topic_id=topic_id, name=name) for topic_id, name in topics]  # type: ignore[arg-type]
    talk.ask("ann", version, request(topics=asked, **how))


def a_life_in_every_version(talk: TopicTalk) -> None:
    for version in range(8):
        create(talk, wanted(f"life{version}", 2, 1, retention_ms="60000"), version=version)
    for version in range(4):
        grow(talk, (f"life{version}", 3, None), version=version)
    for version in range(13):
        metadata(talk, version, "life5")
    for version in range(7):
        delete(talk, f"life{version}", "not-there", version=version)
    delete(talk, "life7")


def topics_that_cannot_be_made(talk: TopicTalk) -> None:
    create(talk, wanted("made"), wanted("made.of"))
    for topic in (
        wanted("made"),
        wanted("made_of"),
        wanted("made", 1, 5),
        wanted("bad", 1, 5),
        wanted("bad", 1, 0),
        wanted("bad", 1, -2),
        wanted("bad", 0),
        wanted("bad", -2),
        wanted(""),
        wanted("."),
        wanted(".."),
        wanted("a" * 250),
        wanted("not legal"),
        wanted("not legal", 1, 5),
        wanted("ä"),
        wanted("__cluster_metadata"),
        wanted("bad", nope="1"),
        wanted("bad", retention_ms="abc"),
        wanted("bad", cleanup_policy="sometimes"),
        wanted("bad", retention_ms=None, flush_ms=None),
        wanted("bad", 1, 1, [0]),
        wanted("bad", -1, 1, [0]),
        wanted("bad", -1, -1, [0, 0]),
        wanted("bad", -1, -1, [0, 0], [0, 0]),
        wanted("bad", -1, -1, [0], [0, 1]),
        wanted("bad", -1, -1, [], [0]),
    ):
        create(talk, topic)
        create(talk, topic, version=7, validate_only=True)
    create(talk, wanted("twice"), wanted("once"), wanted("twice"))
    create(talk)
    delete(talk, "made", "made.of", "once")


def topics_that_are_only_considered(talk: TopicTalk) -> None:
    create(talk, wanted("considered", 3), version=7, validate_only=True)
    metadata(talk, 12, "considered", allow_auto_topic_creation=False)


def topics_without_time_to_wait(talk: TopicTalk) -> None:
    create(talk, wanted("hurried", 2), wanted("not legal"), version=7, timeout_ms=0)
    create(talk, wanted("hurried2", 2), timeout_ms=-1)
    until(lambda: talk.is_led("hurried", 2) and talk.is_led("hurried2", 2))
    grow(talk, ("hurried", 3, None), timeout_ms=0)
    until(lambda: talk.is_led("hurried", 3))
    delete(talk, "hurried", timeout_ms=0)
    delete(talk, "hurried2")


def topics_that_leave_it_to_the_broker(talk: TopicTalk) -> None:
    create(talk, wanted("left", -1, -1), wanted("left2", 3, -1), version=7)
    create(talk, wanted("given", -1, -1, [0], [0]), version=7)
    metadata(talk, 12, "left", "left2", "given")
    delete(talk, "left", "left2", "given")


def growth(talk: TopicTalk) -> None:
    create(talk, wanted("grown", 2), wanted("beside"))
    for count, given in (
        (2, None),
        (1, None),
        (0, None),
        (-1, None),
        (4, [[9], [8]]),
        (4, [[0]]),
        (3, [[0, 0]]),
        (3, [[]]),
        (3, []),
        (3, [[0]]),
    ):
        grow(talk, ("grown", count, given))
    for name in ("not-there", "not legal", "", ".", "..", "a/b"):
        grow(talk, (name, 3, None))
    grow(talk, ("grown", 7, None), ("beside", 2, None), ("grown", 8, None))
    grow(talk, ("grown", 9, None), validate_only=True)
    grow(talk, ("grown", 2, None), ("not-there", 3, None), ("beside", 5, None))
    grow(talk)
    metadata(talk, 12, "grown", "beside")
    delete(talk, "grown", "beside")


def missing_topics(talk: TopicTalk) -> None:
    for version in range(4, 13):
        metadata(talk, version, "missing", "not legal", "", allow_auto_topic_creation=False)
    metadata(talk, 12, "__transaction_state_", allow_auto_topic_creation=False)
    for version in range(13):
        metadata(talk, version, f"made-on-demand-{version}", "not legal")
    until(lambda: all(talk.is_led(f"made-on-demand-{version}", 1) for version in range(13)))
    metadata(talk, 12, "made-on-demand-0", "made-on-demand-0")
    metadata(talk, 12)
    delete(talk, *[f"made-on-demand-{version}" for version in range(13)])


def topics_by_id(talk: TopicTalk) -> None:
    create(talk, wanted("known"), wanted("beside"))
    known = talk.topic_id("known")
    for version in (10, 11):
        metadata_by_id(talk, version, (known, "known"))
        metadata(talk, version, None)
    metadata_by_id(talk, 12, (known, None))
    metadata_by_id(talk, 12, (known, "beside"))
    metadata_by_id(talk, 12, (UNKNOWN_ID, None), (known, None), include_topic_authorized_operations=True)
    metadata_by_id(talk, 12, (UUID(int=0), None))
    request = m.DeleteTopicsRequest
    state = request.DeleteTopicState
    talk.ask("ann", 6, request(topics=[state(topic_id=known, name="known")], timeout_ms=20_000))  # type: ignore[arg-type]
    talk.ask("ann", 6, request(topics=[state()], timeout_ms=20_000))
    both = [state(topic_id=UNKNOWN_ID), state(topic_id=known)]  # type: ignore[arg-type]
    talk.ask("ann", 6, request(topics=both, timeout_ms=20_000))
    delete(talk, "beside", "beside")
    delete(talk, "not-there", "not legal", "")
    delete(talk)
    delete(talk, version=5)


def what_a_caller_may_do(talk: TopicTalk) -> None:
    create(talk, wanted("allowed"))
    everything = {"include_topic_authorized_operations": True, "allow_auto_topic_creation": False}
    for version in range(8, 13):
        cluster = {"include_cluster_authorized_operations": True} if version <= 10 else {}
        metadata(talk, version, "allowed", "missing", "not legal", **everything, **cluster)
    delete(talk, "allowed")


def the_cluster(talk: TopicTalk) -> None:
    request = m.DescribeClusterRequest
    for version in (0, 1):
        for operations in (False, True):
            talk.ask("ann", version, request(include_cluster_authorized_operations=operations))
    for kind in (0, 2, 7, -1):
        talk.ask("ann", 1, request(endpoint_type=kind))


TALKS: tuple[Talk, ...] = (
    a_life_in_every_version,
    topics_that_cannot_be_made,
    topics_that_are_only_considered,
    topics_without_time_to_wait,
    topics_that_leave_it_to_the_broker,
    growth,
    missing_topics,
    topics_by_id,
    what_a_caller_may_do,
    the_cluster,
)


def held(talk: Talk, port: int) -> list[str]:
    """The talk's transcript."""
    with TopicTalk(port) as conversation:
        talk(conversation)
        return conversation.transcript


@pytest.fixture(scope="module")
def said_by_kafka(stage: Stage) -> Callable[[Talk], list[str]]:
    """What Apache Kafka answers; each talk is held with it once."""
    kept: dict[str, list[str]] = {}

    def said(talk: Talk) -> list[str]:
        if talk.__name__ not in kept:
            kept[talk.__name__] = held(talk, stage.server("apache").port)
        return kept[talk.__name__]

    return said


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.parametrize("house", ["embedded", "zookeeper"])
@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk.__name__)
def test_topics_answer_as_apache_kafka_does(
    stage: Stage, said_by_kafka: Callable[[Talk], list[str]], talk: Talk, house: str
) -> None:
    assert held(talk, stage.server(house).port) == said_by_kafka(talk)
