"""Our batches before Apache Kafka's classes, and theirs before ours: the same records, bytes, codes and texts."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random

import pytest
from crc32c import crc32c

from compat.java.records.judge import Accepted, Judge, Refused, judge
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.record_rules import FOREVER_MS
from pykafka_broker.log.validation import validate
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.wire.batch import EndMarker, Record, build, build_end_marker, crc_is_right, patch, records
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.message_set import build_message_set, down_convert, read_message_set

pytestmark = [pytest.mark.compat, pytest.mark.slow]

PLACE = TopicPartition("t", 0)
DAMAGES = ("base offset", "count", "last offset", "record", "record", "checksum", "tail", "twice", "cut")
OLD_CODECS = (Codec.NONE, Codec.GZIP, Codec.SNAPPY, Codec.LZ4)
LEVELS: dict[Codec, tuple[int | None, ...]] = {
    Codec.GZIP: (None, 1, 9),
    Codec.LZ4: (None, 1, 9, 12, 17),
    Codec.ZSTD: (None, -5, 1, 19),
}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with judge("3.9.1", tmp_path_factory.mktemp("classes")) as judging:
        yield judging


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 70_000), (50, 5_000)])
def test_kafka_reads_our_batches(kafka: Judge, codec: Codec, count: int, size: int) -> None:
    chance = Random(count)
    given = [
        Record(timestamp=place, value=bytes(chance.choices(b"abcdef", k=size)) if place % 2 else chance.randbytes(size))
        for place in range(count)
    ]
    for level in LEVELS.get(codec, (None,)):
        batch = bytes(build(given, codec=codec, level=level))
        assert kafka.read(batch) == Accepted(list(records(batch)))


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize(("count", "size"), [(1, 1), (5, 70_000), (200, 1_000)])
def test_we_read_kafkas_batches(kafka: Judge, codec: Codec, count: int, size: int) -> None:
    built = kafka.build(2, codec.name.lower(), count, size)
    assert built.data is not None
    assert list(records(built.data)) == built.records


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", OLD_CODECS)
@pytest.mark.parametrize(("count", "size"), [(1, 1), (5, 70_000), (200, 1_000)])
def test_message_sets_go_both_ways(kafka: Judge, codec: Codec, magic: int, count: int, size: int) -> None:
    built = kafka.build(magic, codec.name.lower(), count, size)
    assert built.data is not None
    assert built.records is not None
    found = read_message_set(built.data).records
    assert [record._replace(headers=[]) for record in found] == built.records
    ours = build_message_set(built.records, magic, codec=codec)
    assert kafka.read(ours) == Accepted(built.records)


def test_old_consumers_get_what_kafka_would_give_them(kafka: Judge) -> None:
    chance = Random(7)
    for _ in range(200):
        log = bytes(_some_log(chance))
        magic, first = chance.choice([0, 1]), chance.randint(0, 1_100)
        theirs = kafka.down_convert(log, magic, first)
        assert isinstance(theirs, Accepted)
        assert theirs.data is not None
        converted = down_convert(log, magic, first)
        ours, all_of_it = kafka.read(converted), kafka.read(theirs.data)
        assert isinstance(ours, Accepted)
        assert isinstance(all_of_it, Accepted)
        # An answer is as long as what was read from the log (``LazyDownConversionRecords``), so it may end before all.
        assert ours.records == all_of_it.records[: len(ours.records)]
        assert bool(ours.records) == bool(all_of_it.records)
        assert len(converted) >= len(log) or not all_of_it.records


def _some_log(chance: Random) -> bytearray:
    log, offset = bytearray(), chance.randint(0, 1_000)
    for _ in range(chance.randint(1, 4)):
        if chance.random() < 0.15:
            marker = EndMarker(True, 3)
            log += build_end_marker(marker, producer_id=1, producer_epoch=0, timestamp=5, base_offset=offset)
            offset += 1
            continue
        given = [_some_record(chance, place) for place in range(chance.choice([1, 3, 20]))]
        codec, timestamp_type = chance.choice(OLD_CODECS), chance.choice([0, 0, 0, 1])
        log += build(given, base_offset=offset, codec=codec, timestamp_type=timestamp_type)
        offset += len(given)
    return log


def _some_record(chance: Random, place: int) -> Record:
    odd = chance.random() < 0.3
    timestamp = chance.choice([-1, 0, 1_000, 5_000, 10**12 + chance.randint(-100, 100)]) if odd else 1_000 + place
    key = None if chance.random() < 0.2 else chance.randbytes(chance.randint(0, 5))
    size = chance.choice([0, 1, 10, 70, 300])
    value = None if chance.random() < 0.1 else bytes(chance.choices(b"abc", k=size))
    headers = [("h", None if chance.random() < 0.3 else b"v")] * chance.choice([0, 0, 0, 1, 3])
    return Record(timestamp=timestamp, key=key, value=value, headers=headers)


@pytest.mark.parametrize("seed", range(20))
def test_we_accept_and_refuse_what_kafka_does(kafka: Judge, seed: int) -> None:
    chance = Random(seed)
    for _ in range(100):
        data, version, damaged = _some_produced(chance)
        topic = {
            "compression_type": chance.choice(["producer"] * 3 + ["uncompressed", "gzip", "snappy", "lz4", "zstd"]),
            "timestamp_type": chance.choice(["CreateTime"] * 3 + ["LogAppendTime"]),
        }
        compacted = chance.random() < 0.2
        before_ms = chance.choice([FOREVER_MS] * 3 + [100, 4_000])
        after_ms = chance.choice([FOREVER_MS] * 3 + [0, 50])
        now = chance.choice([1_000, 5_000, 10**12])
        theirs = kafka.validate(
            data, version=version, compacted=compacted, before_ms=before_ms, after_ms=after_ms, now=now, **topic
        )
        settings = TopicSettings(
            compression_type=topic["compression_type"],
            message_timestamp_type=topic["timestamp_type"],
            cleanup_policy=("compact",) if compacted else ("delete",),
            message_timestamp_before_max_ms=before_ms,
            message_timestamp_after_max_ms=after_ms,
        )
        _compare(theirs, data, settings, version, now, damaged)


def _compare(
    theirs: Accepted | Refused, data: bytes, settings: TopicSettings, version: int, now: int, damaged: bool
) -> None:
    try:
        validated = validate(data, settings, now, api_version=version, partition=PLACE)
    except KafkaError as refusal:
        if damaged:
            # a batch may be wrong in several ways, and which is named first is nobody's promise
            assert isinstance(theirs, Refused)
            return
        assert isinstance(theirs, Refused), refusal
        assert theirs.code == refusal.code
        if version >= 3:
            errors = [tuple(error) for error in getattr(refusal, "record_errors", ())]
            assert (theirs.text, theirs.record_errors) == (refusal.message, errors)
        return
    assert crc_is_right(validated.batch)
    if isinstance(theirs, Refused):
        # docs/decisions: what lies inside a record is not looked at where nothing asks for it
        assert damaged
        assert theirs.code in (ErrorCode.INVALID_RECORD, ErrorCode.UNKNOWN_SERVER_ERROR)
        return
    patch(validated.batch, 0, 0)
    assert theirs.max_timestamp == validated.header.max_timestamp
    assert theirs.records == list(records(validated.batch))
    if settings.compression_type == "producer" and data[16] == 2:
        assert validated.batch == theirs.data


def _some_produced(chance: Random) -> tuple[bytes, int, bool]:
    """What a client might send: for which Produce version, and whether something is wrong with it."""
    given = [_some_record(chance, place) for place in range(chance.choice([1, 2, 3, 10, 70]))]
    if chance.random() < 0.2:
        magic = chance.choice([0, 1])
        old = [
            record._replace(offset=place, headers=(), timestamp=record.timestamp if magic else -1)
            for place, record in enumerate(given)
        ]
        timestamp_type = int(chance.random() < 0.1)
        data = build_message_set(old, magic, codec=chance.choice(OLD_CODECS), timestamp_type=timestamp_type)
        return data, chance.choice([0, 1, 2, 2, 3]), False
    batch = build(
        given,
        codec=chance.choice(list(Codec)),
        timestamp_type=int(chance.random() < 0.1),
        control=chance.random() < 0.03,
        transactional=(idempotent := chance.random() < 0.3) and chance.random() < 0.3,
        producer_id=5 if idempotent else -1,
        producer_epoch=0,
        base_sequence=chance.choice([0, 7, -1]),
    )
    version = chance.choice([11, 11, 11, 3, 6, 7, 2])
    if chance.random() > 0.25:
        return bytes(batch), version, False
    return _damaged(chance, batch, len(given)), version, True


def _damaged(chance: Random, batch: bytearray, count: int) -> bytes:
    match chance.choice(
        ["base offset", "count", "last offset", "record", "record", "checksum", "tail", "twice", "cut"]
    ):
        case "base offset":
            struct.pack_into(">q", batch, 0, 3)
        case "count":
            struct.pack_into(">i", batch, 57, chance.choice([count + 1, count - 1, 0, -1]))
        case "last offset":
            struct.pack_into(">i", batch, 23, chance.choice([count, count - 2, -1, -2]))
        case "record":
            batch[chance.randrange(61, len(batch))] ^= 1 << chance.randrange(8)
        case "checksum":
            batch[chance.randrange(21, len(batch))] ^= 1
            return bytes(batch)
        case "tail":
            return bytes(batch) + chance.randbytes(chance.choice([1, 5, 11]))
        case "twice":
            return bytes(batch) * 2
        case "cut":
            return bytes(batch)[: -chance.randint(1, len(batch))]
    struct.pack_into(">I", batch, 17, crc32c(bytes(batch[21:])))
    return bytes(batch)
