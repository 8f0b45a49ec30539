"""A partition whose files are on a traced device: what is done to it, and what it has promised after each call.

An ``Explorer`` then cuts the power everywhere in the story and looks at what is found when the log is opened again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.device import Device
from pykafka_broker.log.compaction import settle
from pykafka_broker.log.partition import Isolation, Origin, PartitionLog
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.time import Millis
from pykafka_broker.store.files import FileDisk, OpenFiles
from pykafka_broker.store.reading import read_pieces
from pykafka_broker.wire.batch import (
    EndMarker,
    Record,
    build,
    build_end_marker,
    patch,
    read_end_marker,
    read_header,
    records,
)
from tests.doubles.log_inspection import StoredBatch, inspected, replayed
from tests.doubles.power_cuts import TracedDevice
from tests.doubles.promises import Promising
from tests.doubles.sample_log import PLACE

History = tuple[StoredBatch, ...]


@dataclass(frozen=True, slots=True)
class Marks:
    """What the files at the top of the log directory say of the partition."""

    recovery_point: int = 0
    log_start: int = 0
    high_watermark: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Promise:
    """What must be found, and what may be."""

    histories: tuple[History, ...] = ((),)
    """Logs as they were since the last sync; a beginning of one of them is what may be found."""
    floor: int = 0
    """Everything below has been synced."""
    start: int = 0
    """Nothing below has to be there any more."""
    marks: Marks = field(default_factory=Marks)


class Broken(Exception):
    """The device has failed; the story is over."""


class LogStory(Promising[Promise]):
    """One partition and what happens to it."""

    def __init__(self, device: TracedDevice, **settings: Any) -> None:
        super().__init__(device, Promise())
        self.settings = TopicSettings(
            **{
                "segment_bytes": 420,
                "index_interval_bytes": 100,
                "retention_ms": -1,
                "file_delete_delay_ms": 1_000,
                **settings,
            }
        )
        self.now = 1_000
        self.epoch = 0
        self.sequences: dict[int, int] = {}
        self.disk = FileDisk(device.root, OpenFiles(device=self.device))

    def begin(self) -> None:
        """Open the log for the first time."""
        with self._device_may_fail():
            self.log = self._open(clean=True)

    # what is promised

    @property
    def history(self) -> History:
        """The log as it is now."""
        return self.promise.histories[-1]

    @contextmanager
    def _device_may_fail(self) -> Iterator[None]:
        try:
            yield
        except KafkaError as error:
            if error.code is not ErrorCode.KAFKA_STORAGE_ERROR:
                raise
            raise Broken from error
        except OSError as error:
            raise Broken from error

    # what happens

    def append(self, *values: bytes, producer: int = -1, transactional: bool = False, key: bytes = b"k") -> None:
        sequence = self.sequences.get(producer, 0) if producer >= 0 else -1
        data = build(
            [Record(timestamp=self.now, key=key, value=value or None) for value in values],
            producer_id=producer,
            producer_epoch=0 if producer >= 0 else -1,
            base_sequence=sequence,
            transactional=transactional,
        )
        if producer >= 0:
            self.sequences[producer] = sequence + len(values)
        self._append(data, Origin.CLIENT)

    def end_transaction(self, producer: int, *, committed: bool) -> None:
        marker = build_end_marker(EndMarker(committed, 0), producer_id=producer, producer_epoch=0, timestamp=self.now)
        self._append(bytearray(marker), Origin.COORDINATOR)

    def _append(self, data: bytearray, origin: Origin) -> None:
        batch = bytearray(data)
        patch(batch, self.log.log_end_offset, self.epoch)
        grown = (*self.history, StoredBatch(read_header(batch), bytes(batch)))
        self._promise(histories=(*self.promise.histories[:-1], grown))
        with self._device_may_fail():
            self.log.append(Millis(self.now), data, leader_epoch=self.epoch, origin=origin)
        self.log.advance_high_watermark(self.log.log_end_offset)

    def copy(self, *batches: bytes) -> None:
        """Append what a leader has sent."""
        grown = (*self.history, *(StoredBatch(read_header(batch), batch) for batch in batches))
        self._promise(histories=(*self.promise.histories[:-1], grown))
        with self._device_may_fail():
            self.log.append(Millis(self.now), b"".join(batches), leader_epoch=-1, origin=Origin.REPLICATION)
        self.epoch = max(self.epoch, self.log.latest_epoch)
        self.log.advance_high_watermark(self.log.log_end_offset)

    def lead(self) -> None:
        self.epoch += 1
        with self._device_may_fail():
            self.log.assign_epoch(self.epoch)

    def roll(self) -> None:
        with self._device_may_fail():
            self.log.roll(Millis(self.now))

    def sync(self, *, sealed_only: bool = False) -> None:
        with self._device_may_fail():
            what = self.log.unsynced(sealed_only=sealed_only)
            self.disk.sync(what.names)
        self.log.synced(what, Millis(self.now))
        if sealed_only:
            self._promise(floor=max(self.promise.floor, self.log.recovery_point))
        else:
            self._promise(histories=(self.history,), floor=self.log.log_end_offset)

    def checkpoint(self) -> None:
        log = self.log
        marks = Marks(log.recovery_point, log.log_start_offset, log.high_watermark)
        self._promise(marks=marks)

    def cut(self, offset: int, *, marked: bool = True) -> None:
        shorter = tuple(batch for batch in self.history if batch.header.next_offset <= offset)
        self._promise(
            histories=(*self.promise.histories, shorter),
            floor=min(self.promise.floor, offset),
            start=min(self.promise.start, offset),
        )
        with self._device_may_fail():
            self.log.truncate_to(offset, Millis(self.now))
        if marked:
            self.checkpoint()

    def restart(self, offset: int) -> None:
        self._promise(
            histories=(*self.promise.histories, ()),
            floor=0,
            start=max(offset, self.promise.start),
        )
        with self._device_may_fail():
            self.log.restart_at(offset, Millis(self.now))
        self.checkpoint()

    def delete_records(self, offset: int) -> None:
        self._promise(start=max(offset, self.promise.start))
        with self._device_may_fail():
            self.log.delete_records(offset)

    def expire(self) -> None:
        self.checkpoint()  # as the log keeper does
        keep = self.settings.retention_bytes
        sizes = [segment.size_bytes for segment in self.log.segments]
        gone = next((n for n in range(len(sizes)) if sum(sizes[n:]) <= keep), len(sizes) - 1)
        starts = [*self.log.segments.bases, self.log.log_end_offset]
        self._promise(start=max(self.promise.start, starts[min(gone + 1, len(starts) - 1)]))
        with self._device_may_fail():
            while self.log.expire(Millis(self.now), most=1).due:
                self.disk.sync(())

    def reap(self) -> None:
        self.now += 2_000
        with self._device_may_fail():
            self.log.reap(Millis(self.now))

    def compact(self) -> None:
        with self._device_may_fail():
            dirt = self.log.dirt(Millis(self.now), 0)
            assert dirt is not None, "there is something to compact"
            steps = self.log.compaction(dirt, Millis(self.now))
            while True:
                try:
                    next(steps)
                except StopIteration as stop:
                    done = stop.value
                    break
            settle(self.disk, done)
            assert self.log.adopt(done, Millis(self.now))
            self.disk.sync(())

    def reopen(self, *, clean: bool) -> None:
        if clean:
            with self._device_may_fail():
                self.log.close()
            self.sync()
            self.checkpoint()
        self.disk.close()
        with self._device_may_fail():
            self.log = self._open(clean=clean)
        self.checkpoint()

    def _open(self, *, clean: bool) -> PartitionLog:
        return opened(self.disk, self.settings, self.promise.marks, self.now, clean=clean)


def opened(disk: FileDisk, settings: TopicSettings, marks: Marks, now: int, *, clean: bool) -> PartitionLog:
    """The log as a broker finds it."""
    return PartitionLog.open(
        disk,
        PLACE,
        settings,
        Millis(now),
        clean=clean,
        recovery_point=marks.recovery_point,
        log_start_offset=marks.log_start,
        high_watermark=marks.high_watermark,
    )


def check(log: PartitionLog, disk: FileDisk, promise: Promise, settings: TopicSettings) -> None:
    """Whether a log that was opened keeps a promise."""
    compacts = "compact" in settings.cleanup_policy
    found = inspected(log, disk, has_gaps=compacts)
    assert not any(name.endswith(".deleted") for name in disk.sizes())
    assert promise.marks.log_start <= log.log_start_offset or log.log_end_offset <= promise.marks.log_start
    # The oldest segments may be lost if nothing behind them was synced.
    assert log.log_start_offset <= max(promise.start, promise.marks.log_start) or promise.floor <= promise.start
    assert log.log_end_offset >= promise.floor, f"ends at {log.log_end_offset}, {promise.floor} was synced"
    problems = [
        _parts_content(found, history, promise) if compacts else _parts(found, history, log, promise)
        for history in promise.histories
    ]
    assert None in problems, problems


def _parts(found: Sequence[StoredBatch], history: History, log: PartitionLog, promise: Promise) -> str | None:
    """How a log differs from a beginning of the history of which it may lack the oldest part; None if it does not."""
    written = {batch.header.base_offset: index for index, batch in enumerate(history)}
    indexes = []
    for batch in found:
        index = written.get(batch.header.base_offset)
        if index is None or history[index].data != batch.data:
            return f"{batch.header.base_offset} was never written"
        indexes.append(index)
    if indexes and indexes != list(range(indexes[0], indexes[-1] + 1)):
        return f"there are holes between {[batch.header.base_offset for batch in found]}"
    here = {batch.header.base_offset for batch in found}
    for batch in history:
        header = batch.header
        if promise.start < header.next_offset <= promise.floor and header.base_offset not in here:
            return f"{header.base_offset} was synced and is lost"
    beginning = [batch for batch in history if batch.header.next_offset <= log.log_end_offset]
    if found and promise.floor <= found[0].header.base_offset:
        return None
    expected = replayed(beginning)
    known = {one.producer_id: one for one in log.producers_state()}
    for producer in {batch.header.producer_id for batch in found if batch.header.producer_id >= 0}:
        if known.get(producer) != expected[producer]:
            return f"of producer {producer} {known.get(producer)} is known instead of {expected[producer]}"
    if any(known[producer] != expected.get(producer) for producer in known):
        return f"there are producers that have not written: {known} instead of {expected}"
    return None


def _parts_content(found: Sequence[StoredBatch], history: History, promise: Promise) -> str | None:
    """The same for a log that is compacted: the newest value of each key that was synced, or a newer one, is there."""
    written = dict(_committed(history))
    newest: dict[bytes, int] = {}
    for offset, (key, value) in _committed(found):
        if offset not in written:
            return f"{offset} was never committed"
        if written[offset] != (key, value):
            return f"{offset} has changed from {written[offset]} to {(key, value)}"
        newest[key] = offset
    expected = {key: (offset, value) for offset, (key, value) in written.items() if offset < promise.floor}
    for key, (offset, value) in expected.items():
        if newest.get(key, -1) < offset and not (value is None and key not in newest):
            return f"of {key!r} there is {newest.get(key)}, not {offset}"
    return None


def _committed(batches: Sequence[StoredBatch]) -> Iterator[tuple[int, tuple[bytes, bytes | None]]]:
    """Records that are in no transaction, or in one that was committed, with their offsets."""
    ends: dict[int, list[bool]] = {}
    for batch in batches:
        marker = read_end_marker(batch.data) if batch.header.is_control else None
        if marker is not None:
            ends.setdefault(batch.header.producer_id, []).append(marker.committed)
    for batch in batches:
        header = batch.header
        if header.is_control:
            ends.get(header.producer_id, [])[:1] = []
        elif not header.is_transactional or ends.get(header.producer_id, [])[:1] == [True]:
            for record in records(batch.data):
                yield record.offset, (record.key or b"", record.value)


def opener(settings: TopicSettings) -> Callable[[Path, Device, Promise], None]:
    """Opens what is left of a partition after a crash, for an ``Explorer``."""

    def open_and_check(root: Path, device: Device, promise: Promise) -> None:
        disk = FileDisk(root, OpenFiles(device=device))
        try:
            log = opened(disk, settings, promise.marks, 100_000, clean=False)
            check(log, disk, promise, settings)
        finally:
            disk.close()
        see_that_it_goes_on(root, settings, log)

    return open_and_check


def see_that_it_goes_on(root: Path, settings: TopicSettings, log: PartitionLog) -> None:
    """Whether a log is found as it was when it is recovered once more, without any checkpoint, takes a record, is
    closed, and has it when it is opened in good order.
    """
    disk = FileDisk(root, OpenFiles())
    try:
        again = opened(disk, settings, Marks(0, log.log_start_offset, log.high_watermark), 100_000, clean=False)
        assert (again.log_start_offset, again.log_end_offset) == (log.log_start_offset, log.log_end_offset)
        data = build([Record(timestamp=100_000, key=b"k", value=b"after the crash")])
        again.append(Millis(100_000), data, leader_epoch=max(0, again.latest_epoch))
        again.advance_high_watermark(again.log_end_offset)
        again.close()
        marks = Marks(again.log_end_offset, again.log_start_offset, again.high_watermark)
        last = opened(disk, settings, marks, 100_000, clean=True)
        assert last.log_end_offset == log.log_end_offset + 1
        (record,) = records(read_pieces(last.read(log.log_end_offset, 1 << 20, isolation=Isolation.LOG_END).pieces))
        assert (record.offset, record.value) == (log.log_end_offset, b"after the crash")
    finally:
        disk.close()
