"""Programs with aiokafka: records of every shape, groups, positions, administration."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError, KafkaError, MessageSizeTooLargeError, OffsetOutOfRangeError
from aiokafka_programs import admin, consumer, create_topic, partitions, produce, read, read_topic, until

from compat.servers import Server

pytestmark = pytest.mark.compat

Fresh = Callable[[str], str]
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]
ASSIGNORS = [RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor]
START_MS = 1_700_000_000_000


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_carries_records_there_and_back(broker: Server, fresh: Fresh, codec: str | None) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("codec"))
        sent = [b"%d " % number * 50 for number in range(300)]
        places = await produce(broker.bootstrap, topic, ({"value": v} for v in sent), compression_type=codec)
        assert places == [(0, offset) for offset in range(300)]
        assert [record.value for record in await read_topic(broker.bootstrap, topic, 300)] == sent

    asyncio.run(program())


def test_keys_headers_and_nulls_arrive_as_they_were(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("shapes"))
        records: list[dict[str, Any]] = [
            {"key": b"k", "value": b"v", "headers": [("a", b"1"), ("a", b"2"), ("empty", b"")]},
            {"key": b"", "value": b""},
            {"value": b"no key"},
            {"key": b"deleted", "value": None},
        ]
        await produce(broker.bootstrap, topic, records)
        found = await read_topic(broker.bootstrap, topic, 4)
        assert [(r.key, r.value) for r in found] == [(b"k", b"v"), (b"", b""), (None, b"no key"), (b"deleted", None)]
        assert found[0].headers == (("a", b"1"), ("a", b"2"), ("empty", b""))
        assert found[1].headers == ()

    asyncio.run(program())


def test_records_of_one_key_keep_to_one_partition(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("keyed"), 4)
        keys = [b"key-%d" % (number % 10) for number in range(200)]
        places = await produce(broker.bootstrap, topic, ({"key": key, "value": b"v"} for key in keys))
        of_key = {(key, partition) for key, (partition, _) in zip(keys, places, strict=True)}
        assert len(of_key) == 10
        assert len({partition for _, partition in of_key}) > 1

    asyncio.run(program())


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_every_kind_of_acknowledgement_is_given(broker: Server, fresh: Fresh, acks: int | str) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("acks"))
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks=acks) as producer:
            for number in range(10):
                await producer.send_and_wait(topic, b"%d" % number)
        assert [int(record.value) for record in await read_topic(broker.bootstrap, topic, 10)] == list(range(10))

    asyncio.run(program())


def test_an_idempotent_producer_writes_everything_once_and_in_order(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("idempotent"), 2)
        sent = [{"value": b"%d" % number, "partition": number % 2} for number in range(600)]
        places = await produce(broker.bootstrap, topic, sent, enable_idempotence=True, max_batch_size=400)
        assert places == [(number % 2, number // 2) for number in range(600)]
        assert [int(r.value) for r in await read_topic(broker.bootstrap, topic, 300)] == list(range(0, 600, 2))

    asyncio.run(program())


def test_timestamps_are_the_producers_unless_the_topic_says_otherwise(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        created = await create_topic(broker.bootstrap, fresh("created"))
        appended = await create_topic(broker.bootstrap, fresh("appended"), message_timestamp_type="LogAppendTime")
        now = int(time.time() * 1000)
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
            theirs = await producer.send_and_wait(created, b"v", timestamp_ms=now - 60_000)
            ours = await producer.send_and_wait(appended, b"v", timestamp_ms=now - 60_000)
        assert (theirs.timestamp, theirs.timestamp_type) == (now - 60_000, 0)
        assert ours.timestamp_type == 1
        assert now - 5_000 <= ours.timestamp <= now + 30_000
        (record,) = await read_topic(broker.bootstrap, appended, 1)
        assert (record.timestamp, record.timestamp_type) == (ours.timestamp, 1)

    asyncio.run(program())


def test_a_message_beyond_the_topics_limit_is_refused(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("large"), max_message_bytes="100000")
        settings = {"max_request_size": 2_000_000, "max_batch_size": 2_000_000}
        await produce(broker.bootstrap, topic, [{"value": b"x" * 99_900}], **settings)
        with pytest.raises(MessageSizeTooLargeError):
            await produce(broker.bootstrap, topic, [{"value": b"x" * 100_100}], **settings)
        (record,) = await read_topic(broker.bootstrap, topic, 1, max_partition_fetch_bytes=1_000, fetch_max_bytes=1_000)
        assert len(record.value) == 99_900

    asyncio.run(program())


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_two_members_share_the_partitions_and_one_takes_over(broker: Server, fresh: Fresh, assignor: Any) -> None:
    async def program() -> None:
        topic, group = await create_topic(broker.bootstrap, fresh("shared"), 4), fresh("group")
        settings = {"group_id": group, "partition_assignment_strategy": [assignor]}
        async with consumer(broker.bootstrap, topic, **settings) as first:
            async with consumer(broker.bootstrap, topic, **settings) as second:

                async def is_shared() -> bool:
                    return len(partitions(first)) == len(partitions(second)) == 2

                await until(is_shared)
                assert partitions(first) | partitions(second) == {0, 1, 2, 3}
                await produce(broker.bootstrap, topic, ({"value": b"v", "partition": n} for n in range(4)))
                for member in (first, second):
                    assert {record.partition for record in await read(member, 2)} == partitions(member)
                    await member.commit()

            async def has_all() -> bool:
                return partitions(first) == {0, 1, 2, 3}

            await until(has_all)
            await produce(broker.bootstrap, topic, ({"value": b"later", "partition": n} for n in range(4)))
            assert sorted((r.partition, r.offset) for r in await read(first, 4)) == [(n, 1) for n in range(4)]

    asyncio.run(program())


MEMBER = """
import asyncio, sys
from aiokafka import AIOKafkaConsumer
async def program(bootstrap, topic, group):
    reader = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
        session_timeout_ms=1500, heartbeat_interval_ms=200, enable_auto_commit=False)
    await reader.start()
    async for record in reader:
        await reader.commit()
        print(record.partition, record.offset, flush=True)
asyncio.run(program(*sys.argv[1:]))
"""


def test_a_member_that_dies_is_given_up_and_the_other_reads_on_from_its_commits(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic, group = await create_topic(broker.bootstrap, fresh("dying"), 2), fresh("group")
        dying = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MEMBER, broker.bootstrap, topic, group, stdout=asyncio.subprocess.PIPE
        )
        assert dying.stdout is not None
        async with (
            consumer(broker.bootstrap, topic, group_id=group, session_timeout_ms=1_500) as survivor,
            admin(broker.bootstrap) as client,
        ):

            async def is_shared() -> bool:
                (response,) = await client.describe_consumer_groups([group])
                return len(response.groups[0][5]) == 2 and len(partitions(survivor)) == 1

            async def has_all() -> bool:
                return partitions(survivor) == {0, 1}

            await until(is_shared)
            theirs = 1 - partitions(survivor).pop()
            await produce(broker.bootstrap, topic, ({"value": b"before", "partition": theirs} for _ in range(2)))
            async with asyncio.timeout(30):
                assert [await dying.stdout.readline() for _ in range(2)] == [b"%d %d\n" % (theirs, n) for n in (0, 1)]
            dying.kill()
            await dying.communicate()
            await until(has_all)
            await produce(broker.bootstrap, topic, [{"value": b"after", "partition": theirs}])
            (record,) = await read(survivor, 1)
            assert (record.partition, record.offset, record.value) == (theirs, 2, b"after")

    asyncio.run(program())


def test_a_static_member_that_restarts_within_its_session_causes_no_rebalance(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic, group = await create_topic(broker.bootstrap, fresh("static"), 2), fresh("group")
        settings = {"group_id": group, "session_timeout_ms": 20_000}

        def member(instance: str) -> Any:
            return consumer(broker.bootstrap, topic, group_instance_id=instance, **settings)

        async with member("one") as one:
            async with member("two") as two:

                async def is_shared() -> bool:
                    return len(partitions(one)) == len(partitions(two)) == 1

                await until(is_shared)
                before, generation = partitions(two), one._coordinator.generation
            async with member("two") as two:

                async def is_back() -> bool:
                    return partitions(two) == before

                await until(is_back)
                await produce(broker.bootstrap, topic, ({"value": b"v", "partition": n} for n in range(2)))
                assert {r.partition for r in await read(one, 1) + await read(two, 1)} == {0, 1}
                assert one._coordinator.generation == generation

    asyncio.run(program())


def test_the_group_goes_on_where_it_committed_with_metadata(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic, group = await create_topic(broker.bootstrap, fresh("resumed")), fresh("group")
        await produce(broker.bootstrap, topic, ({"value": b"%d" % number} for number in range(10)))
        place = TopicPartition(topic, 0)
        async with consumer(broker.bootstrap, topic, group_id=group) as reader:
            assert await reader.committed(place) is None
            await read(reader, 6)
            await reader.commit({place: OffsetAndMetadata(6, "six: ä")})
            assert await reader.committed(place) == 6
        async with admin(broker.bootstrap) as client:
            assert await client.list_consumer_group_offsets(group) == {place: OffsetAndMetadata(6, "six: ä")}
        async with consumer(broker.bootstrap, topic, group_id=group) as reader:
            assert (await read(reader, 1))[0].value == b"6"

    asyncio.run(program())


def test_automatic_commits_let_the_next_one_continue(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("automatic"))
        settings = {"group_id": fresh("group"), "enable_auto_commit": True, "auto_commit_interval_ms": 100}
        await produce(broker.bootstrap, topic, ({"value": b"%d" % number} for number in range(10)))
        for first in (0, 5):
            async with consumer(broker.bootstrap, topic, **settings) as reader:
                assert [int(record.value) for record in await read(reader, 5)] == list(range(first, first + 5))

    asyncio.run(program())


def test_positions_are_found_sought_and_paused(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("numbers"), 2)
        records = ({"value": b"%d" % n, "partition": 0, "timestamp_ms": START_MS + 1_000 * n} for n in range(10))
        await produce(broker.bootstrap, topic, records)
        first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
        async with consumer(broker.bootstrap) as reader:
            reader.assign([first, second])
            assert await reader.beginning_offsets([first, second]) == {first: 0, second: 0}
            assert await reader.end_offsets([first, second]) == {first: 10, second: 0}
            found = await reader.offsets_for_times({first: START_MS + 4_500})
            assert (found[first].offset, found[first].timestamp) == (5, START_MS + 5_000)
            assert await reader.offsets_for_times({first: START_MS + 9_001, second: 0}) == {first: None, second: None}
            for offset in (7, 0, 9):
                reader.seek(first, offset)
                assert (await read(reader, 1))[0].offset == offset
            await reader.seek_to_beginning(first)
            assert await reader.position(first) == 0
            await reader.seek_to_end(first)
            assert await reader.position(first) == 10
            reader.seek(first, 0)
            reader.pause(first)
            await produce(broker.bootstrap, topic, [{"value": b"other", "partition": 1}])
            assert [record.value for record in await read(reader, 1)] == [b"other"]
            assert await reader.getmany(timeout_ms=300) == {}
            reader.resume(first)
            assert [record.offset for record in await read(reader, 10)] == list(range(10))
            assert reader.highwater(first) == 10

    asyncio.run(program())


def test_a_position_out_of_range_is_told(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("short"))
        async with consumer(broker.bootstrap, auto_offset_reset="none") as reader:
            reader.assign([TopicPartition(topic, 0)])
            reader.seek(TopicPartition(topic, 0), 1_000)
            with pytest.raises(OffsetOutOfRangeError):
                await read(reader, 1)

    asyncio.run(program())


def test_a_commit_of_a_member_nobody_knows_is_refused(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic, group = await create_topic(broker.bootstrap, fresh("stranger")), fresh("group")
        async with (
            consumer(broker.bootstrap, topic, group_id=group) as member,
            consumer(broker.bootstrap, group_id=group) as stranger,
        ):

            async def is_in() -> bool:
                return partitions(member) == {0}

            await until(is_in)
            stranger.assign([TopicPartition(topic, 0)])
            with pytest.raises(KafkaError) as refused:
                await stranger.commit({TopicPartition(topic, 0): 1})
            assert isinstance(refused.value, CommitFailedError) or refused.value.errno == 25
            assert await member.committed(TopicPartition(topic, 0)) is None

    asyncio.run(program())


def test_topics_and_partitions_are_administered(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("topic"), 2)
        async with admin(broker.bootstrap) as client:
            assert topic in await client.list_topics()
            grown = await client.create_partitions({topic: NewPartitions(3)})
            assert [error[1] for error in grown.topic_errors] == [0]

            async def has_grown() -> bool:
                (described,) = await client.describe_topics([topic])
                return len(described["partitions"]) == 3

            await until(has_grown)
            deleted = await client.delete_topics([topic])
            assert [code for _, code in deleted.topic_error_codes] == [0]

            async def is_gone() -> bool:
                return topic not in await client.list_topics()

            await until(is_gone)
            cluster = await client.describe_cluster()
            assert [(node["node_id"], node["port"]) for node in cluster["brokers"]] == [(0, broker.port)]

    asyncio.run(program())


def test_configurations_are_described_and_altered(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("topic"), retention_ms="60000")

        async with admin(broker.bootstrap) as client:

            async def retention() -> str:
                (response,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
                (resource,) = response.resources
                assert resource[0] == 0
                return str({entry[0]: entry[1] for entry in resource[4]}["retention.ms"])

            assert await retention() == "60000"
            new = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "70000"})
            (response,) = await client.alter_configs([new])
            assert [resource[0] for resource in response.resources] == [0]

            async def is_new() -> bool:
                return await retention() == "70000"

            await until(is_new)

    asyncio.run(program())


def test_groups_are_listed_and_described(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic, group = await create_topic(broker.bootstrap, fresh("watched")), fresh("group")
        async with consumer(broker.bootstrap, topic, group_id=group) as member, admin(broker.bootstrap) as client:

            async def is_in() -> bool:
                return partitions(member) == {0}

            await until(is_in)
            assert (group, "consumer") in await client.list_consumer_groups()
            assert await client.find_coordinator(group) == 0
            (response,) = await client.describe_consumer_groups([group])
            (described,) = response.groups
            assert described[:5] == (0, group, "Stable", "consumer", "roundrobin")
            assert len(described[5]) == 1

    asyncio.run(program())


def test_records_are_deleted_up_to_an_offset(broker: Server, fresh: Fresh) -> None:
    async def program() -> None:
        topic = await create_topic(broker.bootstrap, fresh("numbers"))
        await produce(broker.bootstrap, topic, ({"value": b"%d" % number} for number in range(10)))
        async with admin(broker.bootstrap) as client:
            place = TopicPartition(topic, 0)
            assert await client.delete_records({place: RecordsToDelete(before_offset=4)}) == {place: 4}
        assert [record.offset for record in await read_topic(broker.bootstrap, topic, 6)] == [4, 5, 6, 7, 8, 9]

    asyncio.run(program())
