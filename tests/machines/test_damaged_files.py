"""Log directories in which a bit is flipped, a file is cut, or numbers make no sense, anywhere.

What can be made again is, what cannot is told in one line that names the file; whatever the damage, nothing but errors
of the protocol comes out, nothing goes on for ever, and recovery from the beginning leaves no batch that is wrong.
What is promised is written down in ``docs/decisions/0013-what-crashes-and-damage-may-take.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple
from uuid import UUID

import pytest
import trio

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log import lookups
from pykafka_broker.log.compaction import settle
from pykafka_broker.log.partition import Isolation, Origin, PartitionLog
from pykafka_broker.model.errors import KafkaError
from pykafka_broker.model.names import TopicId, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.log_keeper import LogKeeper
from pykafka_broker.store.checkpoints import RECOVERY_POINTS
from pykafka_broker.store.directories import CLEAN, DirectoryError
from pykafka_broker.store.files import FileDisk
from pykafka_broker.store.meta import Meta
from pykafka_broker.store.reading import read_pieces
from pykafka_broker.wire.batch import CorruptBatch, EndMarker, build_end_marker
from pykafka_broker.wire.formats import crc_is_right, headers
from tests.doubles.explorer import scratch
from tests.doubles.inline_worker import InlineWorker
from tests.doubles.power_cuts import Files, read_files, write_files
from tests.doubles.sample_log import batch

Counting = Callable[[str, object], None]

MINE = Meta(1, "cluster-a")
TOPIC = TopicId(UUID("cec8a6c2-7c17-4248-9a18-d25c1b56ee50"))
ORDERS, PRICES = TopicPartition("orders", 0), TopicPartition("prices", 0)
SETTINGS = {
    "orders": TopicSettings(segment_bytes=500, index_interval_bytes=100, retention_ms=-1),
    "prices": TopicSettings(
        segment_bytes=500, index_interval_bytes=100, cleanup_policy=("compact",), min_cleanable_dirty_ratio=0.0
    ),
}
BATCHES = 12
LATER = Millis(2_000)


class Damage(NamedTuple):
    """One file of a directory, as it should not be."""

    name: str
    what: str
    content: bytes


def keeper_of(root: Path) -> LogKeeper:
    return LogKeeper(
        [root], lambda: LATER, BrokerSettings(), SETTINGS.__getitem__, Changes(), lambda _: None, worker=InlineWorker()
    )


async def fill(root: Path) -> None:
    keeper = keeper_of(root)
    await keeper.open(MINE)
    for partition in (ORDERS, PRICES):
        log = keeper.create(partition, TOPIC, SETTINGS[partition.topic])
        for index in range(BATCHES):
            data = batch(b"%d" % index * 9, time=1_000 + index, producer_id=7, producer_epoch=0, base_sequence=index)
            log.append(LATER, data, leader_epoch=index // 5)
            if index == 4:
                data = batch(b"t", producer_id=8, producer_epoch=0, base_sequence=0, transactional=True)
                log.append(LATER, data, leader_epoch=0)
                marker = build_end_marker(EndMarker(False, 0), producer_id=8, producer_epoch=0, timestamp=1_000)
                log.append(LATER, marker, leader_epoch=0, origin=Origin.COORDINATOR)
        log.advance_high_watermark(log.log_end_offset)
    keeper.clean_up_to[PRICES] = 3
    await keeper.checkpoint_clean_up_to()
    await keeper.close()


def damages(files: Files, random: Random) -> Iterator[Damage]:
    """Bits flipped and files cut at every place of small files and at some of others, and numbers out of all range."""
    for name, content in sorted(files.items()):
        if content is None or name.endswith(".lock"):
            continue
        places = list(range(len(content)))
        if len(places) > 150:
            places = [*range(62), *sorted(random.sample(range(62, len(places)), 60))]
        for place in places:
            flipped = bytearray(content)
            flipped[place] ^= 1 << random.randrange(8)
            yield Damage(name, f"a bit flipped at {place}", bytes(flipped))
            yield Damage(name, f"cut at {place}", content[:place])
        for place in places[:: max(1, len(places) // 24)]:
            for number in (b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(8)):
                yield Damage(name, f"{number!r} at {place}", content[:place] + number + content[place + len(number) :])
        yield Damage(name, "with zeros behind", content + bytes(40))
        yield Damage(name, "with rubbish behind", content + random.randbytes(40))


def try_everything(log: PartitionLog, disk: FileDisk) -> bool:
    """Use a log in every way; gives whether all batches that readers were given are right."""
    is_right = read_all(log)
    for target in (0, 1_004, 1_100, lookups.MAX_TIMESTAMP, lookups.EARLIEST, lookups.LATEST):
        with suppress(KafkaError):
            log.offset_for_time(target)
    for epoch in range(4):
        log.end_of_epoch(epoch)
    log.producers_state()
    with suppress(KafkaError):
        log.append(LATER, batch(b"new"), leader_epoch=3)
        log.advance_high_watermark(log.log_end_offset)
        assert log.read(log.log_end_offset - 1, 1_000).size_bytes
    with suppress(KafkaError):
        log.roll(LATER)
    with suppress(KafkaError):
        dirt = log.dirt(LATER, 0)
        if dirt is not None:
            steps = log.compaction(dirt, LATER)
            with suppress(CorruptBatch):
                while True:
                    try:
                        next(steps)
                    except StopIteration as stop:
                        settle(disk, stop.value)
                        log.adopt(stop.value, LATER)
                        break
    read_all(log)
    with suppress(KafkaError):
        log.delete_records(min(3, log.high_watermark))
    with suppress(KafkaError):
        log.expire(LATER)
    with suppress(KafkaError):
        log.truncate_to(max(log.log_start_offset, log.log_end_offset - 4), LATER)
    with suppress(KafkaError):
        disk.sync(log.unsynced().names)
    return is_right


def read_all(log: PartitionLog) -> bool:
    is_right = True
    for isolation in Isolation:
        offset = log.log_start_offset
        while True:
            try:
                given = log.read(offset, 200, isolation=isolation)
            except KafkaError:
                break
            if not given.size_bytes:
                break
            before = offset
            data = read_pieces(given.pieces)
            with suppress(KafkaError):
                for position, header in headers(data):
                    is_right = is_right and crc_is_right(data[position : position + header.size_bytes])
                    offset = max(offset, header.next_offset)
            if offset == before:
                break  # a client would stop here with an error
    return is_right


async def use(root: Path, *, is_checked: bool) -> None:
    keeper = keeper_of(root)
    try:
        await keeper.open(MINE)
        for partition in tuple(keeper.logs):
            kept = keeper.kept(partition)
            assert kept is not None
            is_right = try_everything(kept.log, kept.disk)
            assert is_right or not is_checked, f"{partition} gives a wrong batch"
        await keeper.close()
    except DirectoryError as problem:
        message = str(problem)
        assert str(root) in message
        assert "\n" not in message
    finally:
        for directory in keeper._directories:
            directory.close()


def try_damages(share: float) -> int:
    random = Random(1)
    with scratch() as root:
        trio.run(fill, root)
        whole = read_files(root)
    tried = 0
    for damage in damages(whole, random):
        for left_out in ((), (CLEAN,), (CLEAN, RECOVERY_POINTS)):
            if damage.name in left_out or random.random() > share:
                continue
            files = {name: content for name, content in whole.items() if name not in left_out}
            files[damage.name] = damage.content
            tried += 1
            with scratch() as root:
                write_files(root, files)
                try:
                    trio.run(lambda root=root, left_out=left_out: use(root, is_checked=RECOVERY_POINTS in left_out))
                except Exception as problem:
                    raise AssertionError(f"{damage.name} {damage.what}, without {left_out}: {problem!r}") from problem
    return tried


def test_some_damage_is_found_out_or_does_no_harm(record_property: Counting) -> None:
    record_property("damaged files", try_damages(0.01))


@pytest.mark.slow
def test_no_damage_goes_unnoticed_or_does_harm(record_property: Counting) -> None:
    record_property("damaged files", try_damages(0.15))
