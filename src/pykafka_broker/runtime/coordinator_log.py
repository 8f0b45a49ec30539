"""The partition of an internal topic as a coordinator's memory: batches of records in, all records out.

Records of transactions count once their commit marker is there, in the order in which they were written
(``GroupMetadataManager.loadGroupsAndOffsets``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import trio

from pykafka_broker.log.slice import Isolation
from pykafka_broker.log.validation import Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.leaderships import Leadership
from pykafka_broker.store.reading import read_pieces
from pykafka_broker.wire.batch import BatchHeader, Record, TruncatedBatch, build, read_end_marker
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.formats import headers, records

_API_VERSION = 11
"""What a coordinator writes is as new as the newest producer's."""
_AT_ONCE_BYTES = 32 * 1024
"""After so much has been applied, whatever else the broker has to do comes first: this takes some milliseconds."""
_RECORD_OVERHEAD_BYTES = 32
_BATCH_OVERHEAD_BYTES = 128

Entry = tuple[bytes, bytes | None]
Apply = Callable[[bytes, bytes | None], None]


class PartitionMemory:
    """A ``CoordinatorLog`` over a partition led here, for one term of that leadership.

    In the next one another coordinator has read the log, and must not find in it what it does not know.
    """

    def __init__(
        self,
        leadership: Leadership,
        clock: Clock,
        *,
        commit_timeout_ms: int = 5_000,
        load_buffer_bytes: int = 5 * 1024 * 1024,
        codec: Codec = Codec.NONE,
    ) -> None:
        """``commit_timeout_ms`` is how long an append waits for the replicas in sync."""
        self._leadership = leadership
        self._term = leadership.term
        self._clock = clock
        self._commit_timeout_ms = commit_timeout_ms
        self._load_buffer_bytes = load_buffer_bytes
        self._codec = codec

    async def append(self, entries: Sequence[Entry]) -> None:
        """Write the records, in one batch if they fit, and wait until every replica in sync has them."""
        leadership = self._leadership
        leadership.require_leadership(self._term)
        leadership.require_enough_replicas()
        last_offset = -1
        for portion in _portions(entries, leadership.log.settings.max_message_bytes):
            now = self._clock()
            batch = build([Record(timestamp=now, key=key, value=value) for key, value in portion], codec=self._codec)
            last_offset = leadership.append(now, batch, origin=Origin.COORDINATOR, api_version=_API_VERSION).last_offset
        await self._committed(last_offset)

    async def _committed(self, last_offset: int) -> None:
        leadership = self._leadership
        with trio.move_on_after(self._commit_timeout_ms / 1000):
            while leadership.log.high_watermark <= last_offset:
                await leadership.changes.wait([leadership.partition])
                leadership.require_leadership(self._term)
            leadership.require_enough_replicas(after_append=True)
            return
        raise KafkaError(ErrorCode.REQUEST_TIMED_OUT)

    async def replay(self, apply: Apply) -> None:
        """Give every record to ``apply``, reading a buffer at a time and letting others run every few batches."""
        log = self._leadership.log
        offset, applied = log.log_start_offset, 0
        transactions = _Transactions(apply)
        while offset < log.log_end_offset:
            log = self._leadership.log  # it may have moved to another log directory
            found = log.read(offset, self._load_buffer_bytes, isolation=Isolation.LOG_END)
            data = memoryview(read_pieces(found.pieces))
            before = offset
            for position, header in _whole_batches(data):
                transactions.take(header, data[position : position + header.size_bytes])
                offset = header.next_offset
                applied += header.size_bytes
                if applied >= _AT_ONCE_BYTES:
                    applied = 0
                    await trio.lowlevel.checkpoint()
            if offset == before:
                break
            await trio.lowlevel.checkpoint()


class _Transactions:
    """Applies records in the right order: plain ones at once, transactional ones when they are committed."""

    def __init__(self, apply: Apply) -> None:
        self._apply = apply
        self._open: dict[int, dict[bytes, tuple[int, bytes | None]]] = {}
        self._newest: dict[bytes, int] = {}
        """While transactions are open: where each key was applied from last."""

    def take(self, header: BatchHeader, batch: memoryview) -> None:
        if header.is_control:
            self._end(header, batch)
        elif header.is_transactional:
            pending = self._open.setdefault(header.producer_id, {})
            for record in records(batch):
                pending[record.key or b""] = (header.base_offset, record.value)
        else:
            for record in records(batch):
                key = record.key or b""
                if self._open:
                    self._newest[key] = header.base_offset
                self._apply(key, record.value)

    def _end(self, header: BatchHeader, batch: memoryview) -> None:
        marker = read_end_marker(batch)
        pending = self._open.pop(header.producer_id, {})
        if marker is not None and marker.committed:
            for key, (offset, value) in pending.items():
                if self._newest.get(key, -1) < offset:
                    self._newest[key] = offset
                    self._apply(key, value)
        if not self._open:
            self._newest.clear()


def _whole_batches(data: memoryview) -> Iterator[tuple[int, BatchHeader]]:
    try:
        yield from headers(data)
    except TruncatedBatch:
        return


def _portions(entries: Sequence[Entry], max_bytes: int) -> Iterator[list[Entry]]:
    """The records in as few batches as the partition takes; a decision is cut only when it must be."""
    portion: list[Entry] = []
    size = _BATCH_OVERHEAD_BYTES
    for key, value in entries:
        needs = len(key) + len(value or b"") + _RECORD_OVERHEAD_BYTES
        if portion and size + needs > max_bytes:
            yield portion
            portion, size = [], _BATCH_OVERHEAD_BYTES
        portion.append((key, value))
        size += needs
    if portion:
        yield portion
