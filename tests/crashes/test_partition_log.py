"""A machine that stops anywhere while a partition is written, rolled, synced, cut, compacted or recovered.

The workloads are run on a recorded disk; then every operation is taken for the last one before the crash, every state
that a file system may be found in afterwards is opened, and nothing that was promised may be missing.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any
from uuid import UUID

import pytest

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.compaction import settle
from pykafka_broker.log.partition import Origin, PartitionLog
from pykafka_broker.model.errors import KafkaError
from pykafka_broker.model.names import TopicId
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import EndMarker, Record, build, build_end_marker, records
from tests.crashes.found_log import Known, Marks, Written, batches, check
from tests.doubles.recorded_disk import Files, RecordedDisk
from tests.doubles.sample_log import PLACE

TOPIC_ID = TopicId(UUID("cec8a6c2-7c17-4248-9a18-d25c1b56ee50"))
EVERY = float(os.environ.get("CRASH_POINTS", "1"))
"""A multiple of how many points are skipped: 1 takes half a minute, 0 leaves none out and takes some minutes."""
SMALL = {"segment_bytes": 420, "index_interval_bytes": 100, "retention_ms": -1, "file_delete_delay_ms": 0}


class Workload:
    """A partition, what is done to it, and what is known of it after every step."""

    def __init__(self, disk: RecordedDisk | None = None, **settings: Any) -> None:
        self.settings = TopicSettings(**{**SMALL, **settings})
        self.disk = disk or RecordedDisk()
        self.written = Written()
        self.marks = Marks()
        self.now = 1_000
        self.count = 0
        self.epoch = 0
        self.synced = 0
        self.may_begin = 0
        self.keys: dict[bytes, int] = {}
        self.known = [(0, Known())]
        """Beside the number of operations up to then."""
        self.log = PartitionLog.create(self.disk, PLACE, TOPIC_ID, self.settings, Millis(self.now))
        self.step()

    def step(self) -> None:
        """Note what is known now."""
        start = self.log.segments[0].base_offset
        start = max(start, self.log.log_start_offset, self.may_begin)
        known = Known(self.marks, self.synced, start, dict(self.keys))
        self.known.append((len(self.disk.history), known))

    def append(self, count: int = 1, *, producer: int = -1, transactional: bool = False, key: bytes = b"k") -> None:
        self.now += 7
        self.count += 1
        values = [b"%d.%d" % (self.count, index) for index in range(count)]
        data = build(
            [Record(timestamp=self.now + index, key=key, value=value) for index, value in enumerate(values)],
            producer_id=producer,
            producer_epoch=0 if producer >= 0 else -1,
            base_sequence=self.next_sequence(producer),
            transactional=transactional,
        )
        begin = self.log.log_end_offset
        for index, value in enumerate(values):
            record = Record(begin + index, self.now + index, key, value)
            self.written.values.setdefault(begin + index, set()).add(record)
        self.log.append(Millis(self.now), data, leader_epoch=self.epoch)
        self.log.advance_high_watermark(self.log.log_end_offset)
        self.step()

    def next_sequence(self, producer: int) -> int:
        known = [one.last_sequence for one in self.log.producers_state() if one.producer_id == producer]
        return known[0] + 1 if known else 0 if producer >= 0 else -1

    def end_transaction(self, producer: int, *, committed: bool) -> None:
        self.now += 1
        marker = build_end_marker(EndMarker(committed, 0), producer_id=producer, producer_epoch=0, timestamp=self.now)
        (record,) = records(bytes(marker))
        begin = self.log.log_end_offset
        self.written.values.setdefault(begin, set()).add(record._replace(offset=begin, headers=()))
        self.log.append(Millis(self.now), marker, leader_epoch=self.epoch, origin=Origin.COORDINATOR)
        self.log.advance_high_watermark(self.log.log_end_offset)
        self.step()

    def lead(self) -> None:
        self.epoch += 1
        self.log.assign_epoch(self.epoch)
        self.step()

    def roll(self) -> None:
        self.log.roll(Millis(self.now))
        self.step()

    def sync(self, *, sealed_only: bool = False) -> None:
        what = self.log.unsynced(sealed_only=sealed_only)
        self.disk.sync(what.names)
        self.log.synced(what, Millis(self.now))
        self.synced = max(self.synced, min(what.offset, self.log.log_end_offset))
        self.keys = {
            record.key: record.offset
            for header, batch in batches(self.log, self.log.log_start_offset)
            if header.next_offset <= self.synced
            for record in records(batch)
            if record.key is not None
        }
        self.step()

    def checkpoint(self) -> None:
        self.marks = Marks(self.log.recovery_point, self.log.log_start_offset, self.log.high_watermark)
        self.step()

    def delete_records(self, offset: int) -> None:
        self.log.delete_records(offset)
        self.step()

    def expire(self, retention_bytes: int) -> None:
        self.log.configure(self.settings.replacing(retention_bytes=retention_bytes))
        self.log.expire(Millis(self.now))
        self.step()
        self.log.reap(Millis(self.now))
        self.step()

    def cut(self, offset: int) -> None:
        """As a follower, which lets the log be settled before it appends again (``LogKeeper.settle``)."""
        self.synced = min(self.synced, offset)
        self.step()
        if self.log.truncate_to(offset, Millis(self.now)):
            self.settle()
        self.step()

    def settle(self) -> None:
        self.sync()
        self.checkpoint()

    def begins(self) -> list[int]:
        """Where a leader may tell a follower to cut: beginnings of batches."""
        return [header.base_offset for header, _ in batches(self.log, self.log.log_start_offset)] or [
            self.log.log_end_offset
        ]

    def restart_at(self, offset: int) -> None:
        self.synced, self.may_begin = 0, offset
        self.step()
        self.log.restart_at(offset, Millis(self.now))
        self.settle()

    def compact(self) -> None:
        dirt = self.log.dirt(Millis(self.now), 0)
        assert dirt is not None
        steps = self.log.compaction(dirt, Millis(self.now))
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                done = stop.value
                break
        self.step()
        settle(self.disk, done)
        self.step()
        assert self.log.adopt(done, Millis(self.now))
        self.step()
        self.log.reap(Millis(self.now))
        self.step()

    def close(self) -> None:
        self.log.close()
        self.step()
        self.sync()
        self.checkpoint()

    def at(self, count: int) -> tuple[Known, Known]:
        """What was known before and after the step during which an operation was done."""
        before = max((entry for entry in self.known if entry[0] <= count), key=lambda entry: entry[0])
        # Of steps without any operation the last one counts.
        before = [entry for entry in self.known if entry[0] == before[0]][-1]
        after = next((entry for entry in self.known if entry[0] > count), before)
        return before[1], after[1]


def plain(work: Workload) -> None:
    """Appends of all kinds, rolls, syncs, retention, and an end in good order."""
    work.append(3)
    work.append(producer=1)
    work.sync()
    work.checkpoint()
    work.append(2, producer=1)
    work.append(producer=2, transactional=True)
    work.lead()
    work.append(4)
    work.end_transaction(2, committed=False)
    work.append(2)
    work.roll()
    work.sync(sealed_only=True)
    work.append(5)
    work.append(producer=1)
    work.checkpoint()
    work.sync()
    work.delete_records(4)
    work.checkpoint()
    work.append(2)
    work.expire(500)
    work.append(3)
    work.lead()
    work.append()
    work.close()


def follower(work: Workload) -> None:
    """Cuts within a segment and across segments, another history behind them, and beginning anew far ahead."""
    for _ in range(6):
        work.append(2, producer=1)
    work.sync()
    work.checkpoint()
    work.cut(8)
    work.lead()
    work.append(3)
    work.cut(4)
    work.lead()
    for _ in range(4):
        work.append(3)
    work.sync()
    work.checkpoint()
    work.append(2)
    work.cut(10)
    work.sync()
    work.append()
    work.restart_at(100)
    work.append(2)
    work.sync()
    work.checkpoint()
    work.append()


def compacted(work: Workload) -> None:
    """Two rounds of compaction, with records in between."""
    for index in range(8):
        work.append(2, key=b"key %d" % (index % 3))
    work.roll()
    work.sync()
    work.checkpoint()
    work.compact()
    for index in range(6):
        work.append(2, key=b"key %d" % (index % 2))
    work.sync()
    work.checkpoint()
    work.compact()
    work.append(key=b"key 9")
    work.close()


WORKLOADS = {
    "plain": (plain, {}),
    "follower": (follower, {}),
    "compacted": (compacted, {"cleanup_policy": ("compact",), "min_cleanable_dirty_ratio": 0.0}),
}


def done(name: str, disk: RecordedDisk | None = None) -> Workload:
    """A workload, all of it, or what there is of it when the disk begins to fail."""
    steps, settings = WORKLOADS[name]
    work = Workload(disk, **settings)
    with suppress(KafkaError, OSError):
        steps(work)
    return work


def at_random(seed: int) -> Workload:
    """Forty steps of any kind."""
    dice = random.Random(seed)
    work = Workload(segment_bytes=dice.choice([300, 420, 2_000]), index_interval_bytes=dice.choice([0, 100, 4_096]))
    steps: list[Callable[[], None]] = [
        *[lambda: work.append(dice.randint(1, 4))] * 6,
        *[lambda: work.append(producer=dice.randint(1, 2))] * 3,
        *[work.sync] * 3,
        lambda: work.sync(sealed_only=True),
        work.checkpoint,
        work.roll,
        work.lead,
        lambda: work.cut(dice.choice(work.begins())),
        lambda: work.delete_records(dice.randint(work.log.log_start_offset, work.log.high_watermark)),
        lambda: work.expire(dice.choice([200, 600])),
        work.close,
    ]
    for _ in range(40):
        dice.choice(steps)()
    return work


def crash_points(work: Workload) -> Iterator[tuple[int, Files]]:
    """Every state in which the directory may be found, each once for all that is known at that moment."""
    seen: set[int] = set()
    for count in range(1, len(work.disk.history) + 1):
        known, after = work.at(count)
        promised = repr((known, after))
        for files in work.disk.after_crash(count):
            key = hash((promised, *sorted(files.items())))
            if key not in seen:
                seen.add(key)
                yield count, files


def try_all(work: Workload, *, every: float = 1, nested_every: int = 40) -> int:
    """Open the log after crashes at every point, or some; their number. Of some recoveries crashes are tried, too."""
    tried = 0
    for count, files in islice(crash_points(work), 0, None, max(1, round(every))):
        known, after = work.at(count)
        try:
            disk = check(files, work.settings, known, after, work.written)
            tried += 1
            if tried % nested_every == 0:
                again = [found for step in range(1, len(disk.history)) for found in disk.after_crash(step)]
                for found in again[:: 1 + len(again) // 20]:
                    check(found, work.settings, known, after, work.written)
                    tried += 1
        except Exception as problem:
            problem.add_note(f"after {count} of {len(work.disk.history)}: {work.disk.history[count - 4 : count]}")
            problem.add_note(f"known: {known}, then {after}")
            problem.add_note(f"found: { {name: len(content) for name, content in files.items()} }")
            raise
    return tried


def tell(capsys: pytest.CaptureFixture[str], what: str, tried: int) -> None:
    with capsys.disabled():
        print(f"\n{what}: {tried} crash points")
    assert tried


@pytest.mark.parametrize("workload", WORKLOADS)
def test_nothing_that_was_synced_is_lost_where_the_machine_stops(
    workload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(capsys, workload, try_all(done(workload), every=EVERY * 61))


@pytest.mark.slow
@pytest.mark.parametrize("workload", WORKLOADS)
def test_nothing_that_was_synced_is_lost_wherever_else_the_machine_stops(
    workload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(capsys, f"{workload}, more", try_all(done(workload), every=EVERY * 7))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(16))
def test_nothing_that_was_synced_is_lost_whatever_was_done_before(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(capsys, f"random, seed {seed}", try_all(at_random(seed), every=EVERY * 31))


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("in_part", [False, True])
def test_a_disk_that_fails_anywhere_takes_nothing_with_it(
    workload: str, in_part: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    operations = len(done(workload).disk.history)
    first = len(Workload().disk.history)
    for number in range(first, operations):
        disk = RecordedDisk()
        disk.fail_at, disk.writes_before_failing = number, in_part
        work = done(workload, disk)
        assert disk.has_failed
        known, after = work.at(len(disk.history))
        check(disk.files, work.settings, known, after, work.written)
    tell(capsys, f"{workload}, failing{' in part' * in_part}", operations - first)
