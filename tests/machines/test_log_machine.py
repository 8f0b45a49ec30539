"""A partition beside a plain list of batches: appends, rolls, cuts, deletions, crashes of process and power.

What must hold after every step: offsets are dense, every reader sees exactly what the list says, nothing that was
synced is ever lost, and a crash takes at most whole batches from the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.partition import Isolation, Origin, PartitionLog
from pykafka_broker.log.slice import NOTHING
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import (
    BatchHeader,
    EndMarker,
    Record,
    TruncatedBatch,
    build,
    build_end_marker,
    read_end_marker,
    records,
)
from pykafka_broker.wire.formats import headers
from tests.doubles.memory_disk import MemoryDisk
from tests.doubles.sample_log import PLACE, read_back


@dataclass(frozen=True)
class Batch:
    """What the list knows of a batch."""

    base: int
    values: tuple[bytes, ...]
    times: tuple[int, ...]
    epoch: int
    producer: int = -1
    sequence: int = -1
    transactional: bool = False
    marker: bool | None = None
    """Of a control batch: whether it commits."""

    @property
    def end(self) -> int:
        return self.base + len(self.times)


@dataclass
class Checkpoints:
    """What the files at the top of the log directory say."""

    recovery_point: int = 0
    log_start: int = 0
    high_watermark: int = 0


@dataclass
class Transactions:
    """What the list says of transactions."""

    open: dict[int, int] = field(default_factory=dict)
    completed: list[tuple[int, int]] = field(default_factory=list)
    aborted: set[tuple[int, int]] = field(default_factory=set)
    """(producer, base offset) of batches of aborted transactions."""

    def __init__(self, batches: list[Batch]) -> None:
        self.open, self.completed, self.aborted = {}, [], set()
        mine: dict[int, list[int]] = {}
        for batch in batches:
            if batch.marker is not None:
                if batch.producer in self.open:
                    self.completed.append((self.open.pop(batch.producer), batch.base))
                bases = mine.pop(batch.producer, [])
                if not batch.marker:
                    self.aborted.update((batch.producer, base) for base in bases)
            elif batch.transactional:
                self.open.setdefault(batch.producer, batch.base)
                mine.setdefault(batch.producer, []).append(batch.base)

    def last_stable(self, high_watermark: int) -> tuple[int, int]:
        """The least and the greatest it may be: a restart forgets completed ones above the mark, as in Kafka."""
        greatest = min([high_watermark, *self.open.values()])
        return min([greatest, *(first for first, marker in self.completed if marker >= high_watermark)]), greatest


class LogMachine(RuleBasedStateMachine):
    """One replica of a partition, sometimes leader, sometimes told to cut its log."""

    @initialize(
        segment=st.sampled_from([400, 700, 5_000]),
        interval=st.sampled_from([0, 150, 4_096]),
        index_bytes=st.sampled_from([48, 10_000]),
        retention=st.sampled_from([-1, 600, 2_000]),
    )
    def begin(self, segment: int, interval: int, index_bytes: int, retention: int) -> None:
        self.settings = TopicSettings(
            segment_bytes=segment,
            index_interval_bytes=interval,
            segment_index_bytes=index_bytes,
            retention_bytes=retention,
            retention_ms=-1,
            file_delete_delay_ms=1_000,
        )
        self.disk = MemoryDisk()
        self.now = 1_000
        self.batches: list[Batch] = []
        """All that were ever appended and not cut off, the ones that retention took included."""
        self.end = 0
        self.start = 0
        self.high_watermark = 0
        self.synced = 0
        self.epoch = 0
        self.count = 0
        self.next_producer = 1
        self.cut_unsynced = False
        self.never_restarted = True
        self.checkpoints = Checkpoints()
        self.log = self.open(clean=True)

    def open(self, *, clean: bool) -> PartitionLog:
        said = self.checkpoints
        return PartitionLog.open(
            self.disk,
            PLACE,
            self.settings,
            Millis(self.now),
            clean=clean,
            recovery_point=said.recovery_point,
            log_start_offset=said.log_start,
            high_watermark=said.high_watermark,
        )

    # what happens to a leader

    def write(self, values: tuple[bytes, ...], times: tuple[int, ...], **producer: int | bool) -> Batch:
        batch = Batch(self.end, values, times, self.epoch, **producer)  # type: ignore[arg-type]
        data = build(
            [Record(timestamp=time, key=b"k", value=value) for time, value in zip(times, values, strict=True)],
            producer_id=batch.producer,
            producer_epoch=0 if batch.producer >= 0 else -1,
            base_sequence=batch.sequence,
            transactional=batch.transactional,
        )
        appended = self.log.append(Millis(self.now), data, leader_epoch=self.epoch)
        assert (appended.base_offset, appended.last_offset) == (batch.base, batch.end - 1)
        self.batches.append(batch)
        self.end = batch.end
        return batch

    @rule(count=st.integers(1, 4), size=st.integers(0, 40), times=st.lists(st.integers(0, 50), min_size=4, max_size=4))
    def append(self, count: int, size: int, times: list[int]) -> None:
        self.count += 1
        self.now += 1
        values = tuple(b"%d.%d " % (self.count, index) + b"x" * size for index in range(count))
        self.write(values, tuple(self.now + time for time in times[:count]))

    @rule(which=st.integers(0, 2), transactional=st.booleans(), new=st.booleans())
    def produce(self, which: int, transactional: bool, new: bool) -> None:
        """A producer goes on with its sequence, in a transaction if it began in one."""
        self.count += 1
        known = sorted({batch.producer for batch in self.batches if batch.producer >= 0 and batch.base >= self.first})
        if new or not known:
            producer, sequence = self.next_producer, 0
            self.next_producer += 1
        else:
            producer = known[which % len(known)]
            mine = [batch for batch in self.batches if batch.producer == producer]
            data = [batch for batch in mine if batch.marker is None]
            if not data or data[-1].base < self.first:
                return
            sequence = data[-1].sequence + len(data[-1].times)
            if producer in Transactions(self.batches).open:
                transactional = True
        self.write(
            (b"%d" % self.count,), (self.now,), producer=producer, sequence=sequence, transactional=transactional
        )

    @rule(which=st.integers(0, 2), committed=st.booleans())
    def end_transaction(self, which: int, committed: bool) -> None:
        open_ = sorted(Transactions(self.batches).open)
        if not open_:
            return
        producer = open_[which % len(open_)]
        marker = build_end_marker(EndMarker(committed, 0), producer_id=producer, producer_epoch=0, timestamp=self.now)
        self.log.append(Millis(self.now), marker, leader_epoch=self.epoch, origin=Origin.COORDINATOR)
        self.batches.append(Batch(self.end, (), (self.now,), self.epoch, producer, marker=committed))
        self.end += 1

    @rule(which=st.integers(0, 9))
    def send_again(self, which: int) -> None:
        """The last batch of a producer, sent twice, is answered with its old offset."""
        mine = {batch.producer: batch for batch in self.batches if batch.producer >= 0}
        last = [batch for batch in mine.values() if batch.marker is None and batch.base >= self.first]
        if not last:
            return
        batch = last[which % len(last)]
        data = build(
            [Record(timestamp=self.now, value=b"again")],
            producer_id=batch.producer,
            producer_epoch=0,
            base_sequence=batch.sequence,
            transactional=batch.transactional,
        )
        assert self.log.append(Millis(self.now), data, leader_epoch=self.epoch).base_offset == batch.base

    @rule()
    def lead(self) -> None:
        self.epoch += 1
        self.log.assign_epoch(self.epoch)

    @rule(offset=st.integers(0, 60))
    def replicate(self, offset: int) -> None:
        self.log.advance_high_watermark(offset)
        self.high_watermark = max(self.high_watermark, min(offset, self.end))

    @rule()
    def replicate_all(self) -> None:
        self.log.advance_high_watermark(self.end)
        self.high_watermark = self.end

    @rule()
    def roll(self) -> None:
        self.log.roll(Millis(self.now))

    @rule(offset=st.integers(-1, 60))
    def delete_records(self, offset: int) -> None:
        try:
            low = self.log.delete_records(offset)
        except KafkaError as error:
            assert error.code is ErrorCode.OFFSET_OUT_OF_RANGE
            assert offset > self.high_watermark
        else:
            self.start = max(self.start, self.high_watermark if offset == -1 else offset)
            assert low == self.start

    @rule(later=st.integers(0, 2_000))
    def expire(self, later: int) -> None:
        self.sync()
        self.now += later
        before = [segment.size_bytes for segment in self.log.segments]
        self.log.expire(Millis(self.now))
        gone = len(before) - len(self.log.segments)
        if gone > 0 and self.settings.retention_bytes >= 0 and self.start < self.log.segments[0].base_offset:
            assert sum(before[gone:]) >= self.settings.retention_bytes
        self.start = max(self.start, self.log.segments[0].base_offset)
        self.log.reap(Millis(self.now))

    # what happens to a follower

    @precondition(lambda self: self.batches)
    @rule(which=st.integers(0, 5))
    def cut(self, which: int) -> None:
        """The leader does not have the last batches: they go, above the high watermark or not."""
        target = self.batches[-1 - which].base if which < len(self.batches) else 0
        first = self.first
        self.log.truncate_to(target, Millis(self.now))
        self.batches = [batch for batch in self.batches if batch.base < target]
        self.end = target
        self.start = min(self.start, target) if target >= first else target
        self.high_watermark = min(self.high_watermark, target)
        self.synced = min(self.synced, target)
        self.cut_unsynced = True
        # Whoever cuts a log writes the marks down at once (``LogManager.truncateTo``).
        self.checkpoints.recovery_point = min(self.checkpoints.recovery_point, target)
        self.checkpoints.high_watermark = min(self.checkpoints.high_watermark, target)
        if target < first:
            self.batches = []
            self.checkpoints.log_start = target
        self.checkpoints.log_start = min(self.checkpoints.log_start, target)

    # durability

    @rule()
    def sync(self) -> None:
        what = self.log.unsynced()
        self.disk.sync(what.names)
        self.log.synced(what, Millis(self.now))
        self.synced = self.end
        self.cut_unsynced = False

    @rule()
    def sync_sealed(self) -> None:
        what = self.log.unsynced(sealed_only=True)
        self.disk.sync(what.names)
        self.log.synced(what, Millis(self.now))
        self.synced = max(self.synced, self.log.segments[-1].base_offset)

    @rule()
    def checkpoint(self) -> None:
        self.checkpoints = Checkpoints(self.log.recovery_point, self.start, self.high_watermark)

    @rule()
    def restart(self) -> None:
        self.log.close()
        self.sync()
        self.checkpoint()
        self.log = self.open(clean=True)
        assert self.log.log_end_offset == self.end
        self.after_start()

    @rule()
    def kill(self) -> None:
        """The process dies; what it wrote is still there."""
        self.log = self.open(clean=False)
        assert self.log.log_end_offset == self.end
        self.after_start()

    @precondition(lambda self: not self.cut_unsynced)
    @rule(data=st.data())
    def lose_power(self, data: st.DataObject) -> None:
        self.disk.crash(lambda low, high: data.draw(st.integers(low, high)))
        self.log = self.open(clean=False)
        assert self.synced <= self.log.log_end_offset <= self.end
        self.end = self.log.log_end_offset
        self.batches = [batch for batch in self.batches if batch.end <= self.end]
        assert not self.batches or self.batches[-1].end == self.end or self.end == self.start
        if self.first > self.start:
            # Segments that were never synced are gone as a whole, the first ones as well.
            assert self.synced <= self.first
            self.start = self.first
            self.batches = [batch for batch in self.batches if batch.base >= self.first]
        self.synced = self.end
        self.after_start()

    @rule(size=st.integers(0, 100))
    def fail_to_write(self, size: int) -> None:
        """The disk refuses a write: the partition is offline until the next start, which finds all that was there."""
        self.disk.fail_next = True
        try:
            self.write((b"x" * size,), (self.now,))
        except KafkaError as error:
            assert error.code is ErrorCode.KAFKA_STORAGE_ERROR
        else:
            raise AssertionError("the failure went unnoticed")
        assert self.log.is_offline
        self.disk.fail_next = False
        self.kill()

    def after_start(self) -> None:
        """A start may go back to what was written down of the marks, never beyond what they were."""
        log = self.log
        self.never_restarted = False
        assert max(self.checkpoints.log_start, log.segments[0].base_offset) == log.log_start_offset <= self.start
        assert log.high_watermark <= max(self.high_watermark, log.log_start_offset)
        self.start, self.high_watermark = log.log_start_offset, log.high_watermark
        self.epoch = max(self.epoch, log.latest_epoch)
        # The keeper writes the marks down again before anybody appends.
        self.checkpoints.recovery_point = log.recovery_point
        self.checkpoints.high_watermark = log.high_watermark

    # what must hold

    @property
    def first(self) -> int:
        """The first offset whose batch is still on disk."""
        return self.log.segments[0].base_offset

    def here(self) -> list[Batch]:
        return [batch for batch in self.batches if batch.end > self.start and batch.base >= self.first]

    @invariant()
    def marks_are_in_order(self) -> None:
        if not hasattr(self, "log"):
            return
        log = self.log
        assert (log.log_start_offset, log.high_watermark, log.log_end_offset) == (
            self.start,
            self.high_watermark,
            self.end,
        )
        assert 0 <= log.log_start_offset <= log.last_stable_offset <= log.high_watermark <= log.log_end_offset or (
            log.last_stable_offset < log.log_start_offset
        )
        assert log.recovery_point <= log.log_end_offset
        assert list(log.segments.bases) == sorted(set(log.segments.bases))

    @invariant()
    def readers_see_what_was_written(self) -> None:
        if not hasattr(self, "log"):
            return
        expected = {
            batch.base + index: value
            for batch in self.here()
            if batch.marker is None
            for index, value in enumerate(batch.values)
            if batch.base + index >= self.start
        }
        assert dict(self.consume(Isolation.LOG_END)) == expected
        limit = self.high_watermark
        # A batch that the high watermark cuts through is not shown yet.
        whole = {offset for batch in self.here() if batch.end <= limit for offset in range(batch.base, batch.end)}
        assert dict(self.consume(Isolation.READ_UNCOMMITTED)) == {
            offset: value for offset, value in expected.items() if offset in whole
        }

    @invariant()
    def committed_readers_skip_what_was_aborted(self) -> None:
        if not hasattr(self, "log"):
            return
        transactions = Transactions(self.batches)
        stable = self.log.last_stable_offset
        least, greatest = transactions.last_stable(self.high_watermark)
        assert stable == least if self.never_restarted else least <= stable <= greatest
        expected = {
            batch.base + index: value
            for batch in self.here()
            if batch.marker is None and batch.end <= stable and (batch.producer, batch.base) not in transactions.aborted
            for index, value in enumerate(batch.values)
            if batch.base + index >= self.start
        }
        assert dict(self.consume(Isolation.READ_COMMITTED)) == expected

    @invariant()
    def epochs_are_those_of_the_batches(self) -> None:
        if not hasattr(self, "log"):
            return
        for batch in self.here():
            end = self.log.end_of_epoch(batch.epoch)
            assert end.epoch == batch.epoch
            assert end.end_offset >= batch.end

    @invariant()
    def times_lead_to_the_first_record(self) -> None:
        if not hasattr(self, "log"):
            return
        found_times = [
            (batch.base + index, time)
            for batch in self.here()
            for index, time in enumerate(batch.times)
            if batch.base + index >= self.start
        ]
        for target in (0, self.now - 3, self.now + 20):
            expected = next(((offset, time) for offset, time in found_times if time >= target), (-1, -1))
            found = self.log.offset_for_time(target, Isolation.LOG_END)
            assert (found.offset, found.timestamp) == expected

    def consume(self, isolation: Isolation) -> Iterator[tuple[int, bytes]]:
        """Read as a client does: small fetches, cut batches ignored, aborted transactions skipped."""
        offset = self.start
        while True:
            given = self.log.read(offset, 150, isolation=isolation)
            if given.pieces is NOTHING:
                return
            data = read_back(given.pieces)
            aborted = sorted(given.aborted or [], key=lambda entry: entry[1])
            skipping: set[int] = set()
            for position, header in whole(data):
                batch = data[position : position + header.size_bytes]
                while aborted and aborted[0][1] <= header.last_offset:
                    skipping.add(aborted.pop(0)[0])
                if header.is_control:
                    marker = read_end_marker(batch)
                    assert marker is not None
                    if not marker.committed:
                        skipping.discard(header.producer_id)
                elif not (header.is_transactional and header.producer_id in skipping):
                    yield from (
                        (record.offset, record.value or b"") for record in records(batch) if record.offset >= offset
                    )
                end = header.next_offset
            offset = end


def whole(data: bytes) -> Iterator[tuple[int, BatchHeader]]:
    """The whole batches of an answer; there is always at least one."""
    found = 0
    with suppress(TruncatedBatch):
        for position, header in headers(data):
            found += 1
            yield position, header
    assert found


LogMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)
TestLog = pytest.mark.slow(LogMachine.TestCase)
