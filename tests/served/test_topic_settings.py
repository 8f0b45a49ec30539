"""Settings of topics that change while the broker runs: the next record obeys, and the files on disk show it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from pykafka_broker import Broker
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import BatchHeader, Record, build
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.formats import headers
from tests.served.conftest import RawClient, connected

TOPIC, TOPIC_RESOURCE, SET = "t", 2, 0
EAGER = {"log.retention.check.interval.ms": "1", "log.initial.task.delay.ms": "1", "log.cleaner.backoff.ms": "1"}
TEXT = b"all work and no play " * 100


class Story:
    """A broker with one topic, and short ways to use it."""

    def __init__(self, client: RawClient, directory: Path) -> None:
        self.client = client
        self.directory = directory
        self.appended_ms = -1

    async def produce(self, *values: bytes, time: int = 1, key: bytes = b"k", codec: Codec = Codec.NONE) -> ErrorCode:
        """Append one batch; its times are in ms."""
        records = build([Record(timestamp=time, key=key, value=value) for value in values], codec=codec)
        request = messages.ProduceRequest
        data = request.TopicProduceData(
            name=TOPIC, partition_data=[request.PartitionProduceData(index=0, records=records)]
        )
        response = await self.client.asks(9, request(acks=-1, timeout_ms=5_000, topic_data=[data]))
        answer = response.responses[0].partition_responses[0]
        self.appended_ms = answer.log_append_time_ms
        return ErrorCode(answer.error_code)

    async def alter(self, **settings: str) -> None:
        request = messages.IncrementalAlterConfigsRequest
        configs = [
            request.AlterableConfig(name=key.replace("_", "."), config_operation=SET, value=value)
            for key, value in settings.items()
        ]
        resource = request.AlterConfigsResource(resource_type=TOPIC_RESOURCE, resource_name=TOPIC, configs=configs)
        response = await self.client.asks(1, request(resources=[resource]))
        assert response.responses[0].error_code == ErrorCode.NONE, response.responses[0].error_message

    async def log_start(self) -> int:
        request = messages.ListOffsetsRequest
        asked = request.Topic(name=TOPIC, partitions=[request.Partition(partition_index=0, timestamp=-2)])
        response = await self.client.asks(5, request(replica_id=-1, topics=[asked]))
        return cast(int, response.topics[0].partitions[0].offset)

    def files(self, ending: str) -> list[str]:
        return sorted(path.name for path in self.directory.glob(f"*{ending}"))

    def stored(self) -> list[BatchHeader]:
        """Every batch in the files."""
        return [header for name in self.files(".log") for _, header in headers((self.directory / name).read_bytes())]

    async def until(self, look: Callable[[], bool]) -> None:
        """Return when it is so; what brings it about happens in this process."""
        with trio.fail_after(10):
            while not look():
                await trio.lowlevel.checkpoint()


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker(EAGER, data_dir=tmp_path))
        client = await stack.enter_async_context(connected(broker))
        request = messages.CreateTopicsRequest
        topic = request.CreatableTopic(
            name=TOPIC,
            num_partitions=1,
            replication_factor=1,
            configs=[request.CreatableTopicConfig(name="retention.ms", value="-1")],
        )
        await client.asks(5, request(topics=[topic], timeout_ms=5_000))
        yield Story(client, tmp_path / f"{TOPIC}-0")


async def test_records_stay_for_ever_until_a_limit_of_time_is_set(story: Story) -> None:
    await story.alter(segment_bytes="100")
    for value in (b"a", b"b", b"c"):
        await story.produce(value)
    assert await story.log_start() == 0
    await story.alter(retention_ms="1000", file_delete_delay_ms="0")
    await story.until(lambda: story.files(".log") == [f"{3:020d}.log"])
    assert await story.log_start() == 3


async def test_a_limit_of_size_takes_the_oldest_and_deleted_files_stay_for_the_delay(story: Story) -> None:
    await story.alter(segment_bytes="100")
    for value in (b"a", b"b", b"c"):
        await story.produce(value)
    await story.alter(retention_bytes="50", file_delete_delay_ms="3600000")
    await story.until(lambda: bool(story.files(".deleted")))
    await story.until(lambda: len(story.files(".log.deleted")) == len(story.files(".log")) + 1)
    assert story.files(".log.deleted") == [f"{0:020d}.log.deleted", f"{1:020d}.log.deleted"]
    assert await story.log_start() == 2


async def test_segments_are_as_large_and_as_old_as_the_topic_says_by_now(story: Story) -> None:
    await story.produce(b"a", time=1)
    await story.produce(b"b", time=2_000)
    assert len(story.files(".log")) == 1
    await story.alter(segment_ms="500")
    await story.produce(b"c", time=2_001)
    assert len(story.files(".log")) == 2
    await story.alter(segment_bytes="100")
    await story.produce(b"d", time=2_002)
    assert len(story.files(".log")) == 3


async def test_superseded_records_go_when_the_topic_becomes_a_compacted_one(story: Story) -> None:
    await story.alter(segment_bytes="100")
    for value in (b"a", b"b", b"c"):
        await story.produce(value)
    assert [header.record_count for header in story.stored()] == [1, 1, 1]
    await story.alter(cleanup_policy="compact", min_cleanable_dirty_ratio="0.0")
    await story.until(lambda: story.stored()[0].base_offset > 0)
    assert [header.base_offset for header in story.stored()] == [1, 2]


@pytest.mark.parametrize("codec", [codec for codec in Codec if codec])
async def test_batches_are_compressed_as_the_topic_says(story: Story, codec: Codec) -> None:
    await story.produce(TEXT)
    await story.alter(compression_type=codec.name.lower())
    await story.produce(TEXT)
    await story.alter(compression_type="uncompressed")
    await story.produce(TEXT, codec=codec)
    assert [header.codec for header in story.stored()] == [Codec.NONE, codec, Codec.NONE]


@pytest.mark.parametrize(("codec", "fast", "thorough"), [("gzip", "1", "9"), ("lz4", "1", "17"), ("zstd", "-50", "19")])
async def test_a_higher_level_makes_batches_smaller(story: Story, codec: str, fast: str, thorough: str) -> None:
    text = b"".join(b"%d bottles of beer, %x;" % (n * n % 97, n * 2654435761) for n in range(500))
    for level in (fast, thorough):
        await story.alter(**{"compression_type": codec, f"compression_{codec}_level": level})
        await story.produce(text)
    large, small = (header.size_bytes for header in story.stored())
    assert small < large


async def test_the_time_of_a_record_is_the_producers_or_the_brokers(story: Story) -> None:
    await story.produce(b"a", time=5)
    assert story.appended_ms == -1
    await story.alter(message_timestamp_type="LogAppendTime")
    await story.produce(b"b", time=5)
    first, second = story.stored()
    assert (first.max_timestamp, first.timestamp_type) == (5, 0)
    assert (second.max_timestamp, second.timestamp_type) == (story.appended_ms, 1)
    assert story.appended_ms > 1_700_000_000_000


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"message_timestamp_before_max_ms": "1000"}, ErrorCode.INVALID_TIMESTAMP),
        ({"max_message_bytes": "100"}, ErrorCode.MESSAGE_TOO_LARGE),
        ({"segment_bytes": "100"}, ErrorCode.RECORD_LIST_TOO_LARGE),
    ],
)
async def test_what_is_too_old_or_too_large_by_now_is_refused(
    story: Story, settings: Mapping[str, str], refusal: ErrorCode
) -> None:
    assert await story.produce(TEXT) is ErrorCode.NONE
    await story.alter(**settings)
    assert await story.produce(TEXT) is refusal
    assert len(story.stored()) == 1


async def test_a_record_of_the_far_future_is_refused_once_there_is_a_limit(story: Story) -> None:
    future: Any = 1 << 50
    await story.alter(message_timestamp_after_max_ms=str((1 << 63) - 1))
    assert await story.produce(b"a", time=future) is ErrorCode.NONE
    await story.alter(message_timestamp_after_max_ms="3600000")
    assert await story.produce(b"b", time=future) is ErrorCode.INVALID_TIMESTAMP


async def test_indexes_get_denser_when_the_topic_says_so(story: Story) -> None:
    def entries() -> int:
        return (story.directory / f"{0:020d}.index").stat().st_size // 8

    for _ in range(3):
        await story.produce(b"v" * 200)
    await story.alter(index_interval_bytes="0")
    for _ in range(3):
        await story.produce(b"v" * 200)
    await story.alter(segment_bytes="1000")
    await story.produce(b"v" * 200)
    assert entries() == 3


async def test_room_is_kept_for_segments_when_the_topic_says_so(story: Story) -> None:
    await story.produce(b"a")
    await story.alter(preallocate="true", segment_bytes="1000000", segment_ms="1")
    await story.produce(b"b", time=1_000)
    assert (story.directory / f"{1:020d}.log").stat().st_blocks * 512 >= 1_000_000
    await story.produce(b"c", time=1_000_000)
    assert (story.directory / f"{1:020d}.log").stat().st_blocks * 512 < 100_000
