"""Where a consumer stands, with confluent-kafka: offsets by time, watermarks, seeking, pausing, commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    OFFSET_STORED,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_programs import consumer, create_topic, partitions, poll, produce, read, together

from compat.servers import Server
from compat.waiting import until

pytestmark = pytest.mark.compat

Fresh = Callable[[str], str]
DAY_MS = 24 * 60 * 60 * 1000


@pytest.fixture
def group(fresh: Fresh) -> str:
    return fresh("group")


@pytest.fixture
def reader(broker: Server, group: str) -> Iterator[Consumer]:
    """A consumer of its own group, closed afterwards."""
    member = consumer(broker.bootstrap, group)
    yield member
    member.close()


@pytest.fixture
def topic(broker: Server, fresh: Fresh) -> str:
    """Two partitions with the numbers 0 to 9 in the first, a second apart, and nothing in the other."""
    name = create_topic(broker.bootstrap, fresh("numbers"), 2)
    now = 1_700_000_000_000
    records = ({"value": b"%d" % n, "partition": 0, "timestamp": now + 1_000 * n} for n in range(10))
    produce(broker.bootstrap, name, records)
    return name


def test_offsets_are_found_by_time(reader: Consumer, topic: str) -> None:
    start = 1_700_000_000_000

    def first_at(timestamp: int, partition: int = 0) -> int:
        (found,) = reader.offsets_for_times([TopicPartition(topic, partition, timestamp)], timeout=10)
        return int(found.offset)

    assert first_at(start - DAY_MS) == 0
    assert first_at(start) == 0
    assert first_at(start + 1) == 1
    assert first_at(start + 4_500) == 5
    assert first_at(start + 9_000) == 9
    assert first_at(start + 9_001) == OFFSET_END
    assert first_at(start, partition=1) == OFFSET_END


def test_watermarks_are_the_first_offset_and_the_next(reader: Consumer, topic: str) -> None:
    assert reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=10) == (0, 10)
    assert reader.get_watermark_offsets(TopicPartition(topic, 1), timeout=10) == (0, 0)
    with pytest.raises(KafkaException) as refused:
        reader.get_watermark_offsets(TopicPartition(topic, 7), timeout=10)
    assert refused.value.args[0].code() == KafkaError._UNKNOWN_PARTITION


def test_reading_starts_where_it_is_told_to(reader: Consumer, topic: str) -> None:
    for start, first in ((3, b"3"), (OFFSET_BEGINNING, b"0"), (9, b"9")):
        reader.assign([TopicPartition(topic, 0, start)])
        assert read(reader, 1)[0].value() == first


def test_reading_from_the_end_gives_only_what_comes_later(broker: Server, reader: Consumer, topic: str) -> None:
    _, end = reader.get_watermark_offsets(TopicPartition(topic, 0))
    reader.assign([TopicPartition(topic, 0, OFFSET_END)])

    def late() -> Message | None:
        produce(broker.bootstrap, topic, [{"value": b"late", "partition": 0}])
        return poll(reader, 0.5)

    # Where the end is, the client finds out by itself in the meantime: sooner or later one record lies behind it.
    first = until(late)
    assert first.value() == b"late"
    assert first.offset() >= end


def test_seeking_goes_back_and_forth(reader: Consumer, topic: str) -> None:
    reader.assign([TopicPartition(topic, 0, 0)])
    assert [message.offset() for message in read(reader, 3)] == [0, 1, 2]
    assert reader.position([TopicPartition(topic, 0)])[0].offset == 3
    for offset in (7, 1, 9, 0):
        reader.seek(TopicPartition(topic, 0, offset))
        assert read(reader, 1)[0].offset() == offset


def test_a_paused_partition_is_silent_until_it_is_resumed(broker: Server, reader: Consumer, topic: str) -> None:
    produce(broker.bootstrap, topic, ({"value": b"%d" % n, "partition": 1} for n in range(10)))
    reader.assign([TopicPartition(topic, 0, 0), TopicPartition(topic, 1, 0)])
    reader.pause([TopicPartition(topic, 0)])
    assert {message.partition() for message in read(reader, 10)} == {1}
    assert poll(reader, 0.5) is None
    reader.resume([TopicPartition(topic, 0)])
    assert [(message.partition(), message.offset()) for message in read(reader, 10)] == [(0, n) for n in range(10)]


def test_a_position_out_of_range_is_reset_as_the_consumer_says(broker: Server, fresh: Fresh, topic: str) -> None:
    early = consumer(broker.bootstrap, fresh("group"), auto_offset_reset="earliest")
    strict = consumer(broker.bootstrap, fresh("group"), auto_offset_reset="error")
    try:
        early.assign([TopicPartition(topic, 0, 1_000)])
        assert read(early, 1)[0].offset() == 0
        strict.assign([TopicPartition(topic, 0, 1_000)])
        with pytest.raises(KafkaException) as refused:
            read(strict, 1)
        assert refused.value.args[0].code() == KafkaError._AUTO_OFFSET_RESET
    finally:
        early.close()
        strict.close()


def test_commits_are_remembered_with_their_metadata(reader: Consumer, topic: str) -> None:
    place = TopicPartition(topic, 0)
    assert reader.committed([place], timeout=10)[0].offset == OFFSET_INVALID
    reader.commit(offsets=[TopicPartition(topic, 0, 4, "what I had read: ä")], asynchronous=False)
    (found,) = reader.committed([place], timeout=10)
    assert (found.offset, found.metadata) == (4, "what I had read: ä")
    reader.assign([TopicPartition(topic, 0, OFFSET_STORED)])
    assert read(reader, 1)[0].offset() == 4


def test_metadata_beyond_the_limit_is_refused(reader: Consumer, topic: str) -> None:
    reader.commit(offsets=[TopicPartition(topic, 0, 4, "x" * 4_000)], asynchronous=False)
    with pytest.raises(KafkaException) as refused:
        reader.commit(offsets=[TopicPartition(topic, 0, 5, "x" * 5_000)], asynchronous=False)
    assert refused.value.args[0].code() == KafkaError.OFFSET_METADATA_TOO_LARGE
    assert reader.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == 4


def test_commits_without_waiting_arrive_too(broker: Server, fresh: Fresh, topic: str) -> None:
    told: list[tuple[object, list[int]]] = []
    member = consumer(
        broker.bootstrap,
        fresh("group"),
        on_commit=lambda error, places: told.append((error, [place.offset for place in places])),
    )
    try:
        member.subscribe([topic])
        message = read(member, 6)[-1]
        member.commit(message, asynchronous=True)
        together([member], lambda: bool(told))
        assert told[0][0] is None
        assert 6 in told[0][1]
        assert member.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == 6
    finally:
        member.close()


def test_automatic_commits_let_the_next_one_continue(broker: Server, group: str, topic: str) -> None:
    settings = {"enable_auto_commit": True, "auto_commit_interval_ms": 100}
    first = consumer(broker.bootstrap, group, **settings)
    first.subscribe([topic])
    read(first, 10)
    until(lambda: poll(first) or first.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == 10)
    first.close()
    produce(broker.bootstrap, topic, [{"value": b"10", "partition": 0}])
    second = consumer(broker.bootstrap, group, **settings)
    try:
        second.subscribe([topic])
        assert read(second, 1)[0].value() == b"10"
    finally:
        second.close()


def test_a_member_may_not_commit_for_a_generation_that_is_over(broker: Server, fresh: Fresh, topic: str) -> None:
    group = fresh("group")
    slow = consumer(broker.bootstrap, group, session_timeout_ms=1_500, max_poll_interval_ms=1_500)
    other = consumer(broker.bootstrap, group)
    try:
        slow.subscribe([topic])
        together([slow], lambda: partitions(slow) == {0, 1})
        other.subscribe([topic])
        together([other], lambda: partitions(other) == {0, 1})  # slow does not poll, and is given up
        with pytest.raises(KafkaException) as refused:
            slow.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
        assert refused.value.args[0].code() in (
            KafkaError.UNKNOWN_MEMBER_ID,
            KafkaError.ILLEGAL_GENERATION,
            KafkaError.REBALANCE_IN_PROGRESS,
        )
    finally:
        slow.close()
        other.close()
