"""A partition's log over a disk of the test's choice, and batches to put into it."""

from __future__ import annotations

from typing import Any

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.disk import Disk
from pykafka_broker.log.partition import Appended, Isolation, Origin, PartitionLog
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.model.outcome import Fact
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import EndMarker, Record, build, build_end_marker
from pykafka_broker.wire.formats import headers, records
from tests.doubles.memory_disk import MemoryDisk

PLACE = TopicPartition("orders", 3)


def batch(*values: bytes, time: int = 1_000, **kwargs: Any) -> bytearray:
    """One batch with these values, all of one time."""
    return build([Record(timestamp=time, key=b"k", value=value) for value in values], **kwargs)


class SampleLog:
    """A log, what it noted, and short ways to use it."""

    def __init__(self, disk: Disk | None = None, *, clean: bool = True, **settings: Any) -> None:
        self.disk = disk or MemoryDisk()
        self.settings = TopicSettings(**settings)
        self.facts: list[Fact] = []
        self.now = Millis(1_000)
        self.log = self.opened(clean=clean)

    def opened(self, *, clean: bool = True, **kwargs: Any) -> PartitionLog:
        """The log as a new process finds it."""
        self.log = PartitionLog.open(
            self.disk, PLACE, self.settings, self.now, clean=clean, note=self.facts.append, **kwargs
        )
        return self.log

    def append(self, *values: bytes, time: int | None = None, leader_epoch: int = 0, **kwargs: Any) -> Appended:
        """Append one batch and let everybody see it."""
        data = batch(*values, time=self.now if time is None else time, **kwargs)
        appended = self.log.append(self.now, data, leader_epoch=leader_epoch)
        self.log.advance_high_watermark(self.log.log_end_offset)
        return appended

    def end_transaction(self, producer_id: int, *, committed: bool, coordinator_epoch: int = 0) -> Appended:
        """Append a transaction marker."""
        data = build_end_marker(
            EndMarker(committed, coordinator_epoch), producer_id=producer_id, producer_epoch=0, timestamp=self.now
        )
        appended = self.log.append(self.now, data, leader_epoch=0, origin=Origin.COORDINATOR)
        self.log.advance_high_watermark(self.log.log_end_offset)
        return appended

    def values(self, start: int | None = None, isolation: Isolation = Isolation.LOG_END) -> list[tuple[int, bytes]]:
        """Every (offset, value) from ``start`` on, read as a consumer would."""
        offset = self.log.log_start_offset if start is None else start
        found: list[tuple[int, bytes]] = []
        while True:
            given = self.log.read(offset, 1 << 20, isolation=isolation)
            if not given.size_bytes:
                return found
            data = read_back(given.pieces)
            for position, header in headers(data):
                if not header.is_control:
                    for record in records(data[position : position + header.size_bytes]):
                        if record.offset >= offset:
                            found.append((record.offset, record.value or b""))
                last = header.next_offset
            offset = last

    def said(self, name: str) -> list[dict[str, object]]:
        """The fields of every fact of that name."""
        return [dict(fact.fields) for fact in self.facts if fact.name == name]


def read_back(pieces: Any) -> bytes:
    """The bytes of what a read gave."""
    from pykafka_broker.store.reading import read_pieces

    return bytes(read_pieces(pieces))
