"""What compaction keeps of one batch (Kafka's ``Cleaner.cleanInto`` and ``MemoryRecords.filterTo``).

A batch keeps its offsets, however few of its records are left, so holes are normal. Tombstones and the markers of
transactions without data are given a horizon when they are first seen, and may go once it has passed (KIP-534); it is
written into the batch in the place of the base timestamp. Messages of format 0 and 1 stay what they are; how long their
tombstones stay is told from outside.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from heapq import heapify, heappop
from typing import NamedTuple

from pykafka_broker.log.aborted import Aborted
from pykafka_broker.log.producers import LastBatch
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import (
    DELETE_HORIZON,
    LOG_APPEND_TIME,
    MAGIC,
    NO_TIMESTAMP,
    BatchHeader,
    Record,
    assemble,
    read_end_marker,
    write_record,
)
from pykafka_broker.wire.compression import Codec, compress
from pykafka_broker.wire.formats import records

_STEP_RECORDS = 250
"""So many records take about half a millisecond."""


class CleanedTransactions:
    """Follows the transactions of the batches it is shown, in log order (``CleanedTransactionMetadata``)."""

    def __init__(self, aborted: Iterable[Aborted]) -> None:
        self._waiting = [(entry.first_offset, entry) for entry in aborted]
        heapify(self._waiting)
        self._committed: set[int] = set()
        self._aborted: dict[int, tuple[Aborted, bool]] = {}

    def is_aborted(self, header: BatchHeader) -> bool:
        """Whether a data batch belongs to an aborted transaction; its records can go."""
        self._begin_up_to(header.last_offset)
        if not header.is_transactional:
            return False
        found = self._aborted.get(header.producer_id)
        if found is None:
            self._committed.add(header.producer_id)
            return False
        self._aborted[header.producer_id] = (found[0], True)
        return True

    def end(self, header: BatchHeader, batch: bytes) -> tuple[bool, Aborted | None]:
        """For a control batch: whether no data of its transaction was seen, and the index entry still needed."""
        self._begin_up_to(header.last_offset)
        marker = read_end_marker(batch)
        if marker is None:
            return True, None
        if marker.committed:
            had_data = header.producer_id in self._committed
            self._committed.discard(header.producer_id)
            return not had_data, None
        entry, had_data = self._aborted.pop(header.producer_id, (None, False))
        return not had_data, entry if had_data else None

    def _begin_up_to(self, offset: int) -> None:
        while self._waiting and self._waiting[0][0] <= offset:
            entry = heappop(self._waiting)[1]
            self._aborted.setdefault(entry.producer_id, (entry, False))
            self._committed.discard(entry.producer_id)


class Kept(NamedTuple):
    """What is left of a batch: its bytes as they were, changed, or nothing; an entry for the cleaned ``.txnindex``."""

    batch: bytes | bytearray | None
    aborted: Aborted | None = None


class BatchFilter:
    """Applies one round's knowledge to batch after batch, in log order."""

    def __init__(
        self,
        newest: Mapping[bytes, int],
        known_up_to: int,
        transactions: CleanedTransactions,
        last_batches: Mapping[int, LastBatch],
        now: Millis,
        delete_retention_ms: int,
    ) -> None:
        """``newest`` has the last offset of every key (as ``key_digest``) below ``known_up_to``."""
        self._newest = newest
        self._known_up_to = known_up_to
        self._transactions = transactions
        self._last_batches = last_batches
        self._now = now
        self._delete_retention_ms = delete_retention_ms
        self.drops_old_tombstones = False
        """Whether tombstones of format 0 and 1 are old enough to go."""

    def keep(self, header: BatchHeader, batch: bytes) -> Generator[None, None, Kept]:
        """What is left of ``batch``; in small steps, because one batch may hold tens of thousands of records."""
        if header.magic < MAGIC:
            return (yield from self._keep_old(header, batch))
        aborted: Aborted | None = None
        horizon = header.delete_horizon_ms
        is_past_horizon = horizon is not None and horizon <= self._now
        is_empty_transaction = False
        if header.is_control:
            is_empty_transaction, aborted = self._transactions.end(header, batch)
            drops_all = is_empty_transaction and is_past_horizon
        else:
            drops_all = self._transactions.is_aborted(header)
        kept: list[Record] = []
        dropped = 0
        if not drops_all:
            for record in paced(records(batch)):
                if record is None:
                    yield
                elif header.is_control or self._keeps(record, is_past_horizon):
                    kept.append(record)
                else:
                    dropped += 1
        if not kept:
            # An empty batch still tells a live producer's last sequence and epoch, or where the log goes on.
            return Kept(_emptied(header) if self._must_stay(header) else None, aborted)
        has_tombstone = not header.is_control and any(record.value is None for record in kept)
        if horizon is None and (has_tombstone or is_empty_transaction):
            return Kept((yield from _rebuilt(header, kept, self._now + self._delete_retention_ms)), aborted)
        if not dropped:
            return Kept(batch, aborted)
        return Kept((yield from _rebuilt(header, kept, None)), aborted)

    def _keep_old(self, header: BatchHeader, batch: bytes) -> Generator[None, None, Kept]:
        """The same for a message, or a wrapper, of format 0 or 1; an empty one would tell nothing."""
        kept: list[Record] = []
        dropped = 0
        for record in paced(records(batch)):
            if record is None:
                yield
            elif self._keeps(record, self.drops_old_tombstones):
                kept.append(record)
            else:
                dropped += 1
        if not kept:
            return Kept(None)
        if not dropped:
            return Kept(batch)
        from pykafka_broker.wire.message_set import build_message_set  # most brokers never meet one

        return Kept(build_message_set(kept, header.magic, codec=header.codec, timestamp_type=header.timestamp_type))

    def _keeps(self, record: Record, is_past_horizon: bool) -> bool:
        if record.offset >= self._known_up_to:
            return True
        if record.key is None:
            return False
        if record.offset < self._newest.get(key_digest(record.key), -1):
            return False
        return record.value is not None or not is_past_horizon

    def _must_stay(self, header: BatchHeader) -> bool:
        if header.next_offset == self._known_up_to:
            return True
        last = self._last_batches.get(header.producer_id) if header.producer_id >= 0 else None
        if last is None:
            return False
        if last.last_offset >= 0:
            return header.last_offset == last.last_offset
        return header.is_control and header.producer_epoch == last.epoch


def key_digest(key: bytes) -> bytes:
    """A key, or 17 bytes in its place if it is longer than 16, so that a map's size is bounded by its count."""
    if len(key) <= 16:
        return key
    from hashlib import blake2b  # OpenSSL is large; most brokers never compact a long key

    return blake2b(key, digest_size=17).digest()


def paced(found: Iterable[Record]) -> Iterator[Record | None]:
    """The records, and None wherever others should be let run."""
    for number, record in enumerate(found, 1):
        yield record
        if number % _STEP_RECORDS == 0:
            yield None


def _rebuilt(header: BatchHeader, kept: list[Record], new_horizon: int | None) -> Generator[None, None, bytearray]:
    """The batch with fewer records, or with a horizon in the place of its base timestamp."""
    attributes = header.attributes
    base_timestamp = header.base_timestamp
    if new_horizon is not None:
        attributes |= DELETE_HORIZON
        base_timestamp = new_horizon
    max_timestamp = header.max_timestamp
    data = bytearray()
    if attributes & LOG_APPEND_TIME:
        # Records have the batch's time; what their deltas say is not looked at.
        kept = [record._replace(timestamp=base_timestamp) for record in kept]
    else:
        max_timestamp = max(record.timestamp for record in kept)
    for record in paced(kept):
        if record is None:
            yield
            continue
        write_record(
            data,
            record.timestamp - base_timestamp,
            record.offset - header.base_offset,
            record.key,
            record.value,
            record.headers,
        )
    codec = header.codec
    return assemble(
        data if codec is Codec.NONE else compress(codec, data, None),
        base_offset=header.base_offset,
        leader_epoch=header.leader_epoch,
        attributes=attributes,
        last_offset_delta=header.last_offset_delta,
        base_timestamp=base_timestamp,
        max_timestamp=max_timestamp,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        record_count=len(kept),
    )


def _emptied(header: BatchHeader) -> bytearray:
    """The header alone (``DefaultRecordBatch.writeEmptyHeader``): no codec, no horizon."""
    return assemble(
        b"",
        base_offset=header.base_offset,
        leader_epoch=header.leader_epoch,
        attributes=header.attributes & ~(DELETE_HORIZON | 0x07),
        last_offset_delta=header.last_offset_delta,
        base_timestamp=NO_TIMESTAMP,
        max_timestamp=header.max_timestamp,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        record_count=0,
    )
