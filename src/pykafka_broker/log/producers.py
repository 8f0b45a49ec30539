"""What one partition knows of its producers: sequences, epochs and open transactions (KIP-98, KIP-360).

``check`` says whether a batch may be appended and changes nothing; ``record`` takes a batch that was appended (or
found in the log, or sent by the leader) into account. Where the snapshot files lie, and when they are written, is
``log/partition.py``'s business.

Source: Kafka's ``ProducerStateManager``, ``ProducerAppendInfo``, ``ProducerStateEntry``, ``UnifiedLog``.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from pykafka_broker.log.aborted import Aborted
from pykafka_broker.log.validation import Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import Offset, TopicPartition
from pykafka_broker.wire.batch import BatchHeader, EndMarker
from pykafka_broker.wire.checksum import crc32c

BATCHES_REMEMBERED = 5
"""As many as a producer may have in flight with idempotence (``ProducerStateEntry.NUM_BATCHES_TO_RETAIN``)."""

EXPIRATION_MS = 86_400_000
"""Default of ``producer.id.expiration.ms``."""

_SNAPSHOT_HEAD = Struct(">hIi")
_SNAPSHOT_ENTRY = Struct(">qhiqiqiq")
EMPTY_SNAPSHOT_BYTES = _SNAPSHOT_HEAD.size
"""Length of a snapshot that names no producer; any other one is longer."""

_SNAPSHOT_VERSION = 1
_CRC_FROM = 6
_LAST_SEQUENCE = 0x7FFFFFFF


class Duplicate(NamedTuple):
    """The batch is in the log already: the answer is that of the first time."""

    first_offset: int
    last_offset: int
    timestamp: int


class Appended(NamedTuple):
    """A batch that was appended, as far as later ones are compared with it; ``timestamp`` is its greatest, in ms."""

    first_sequence: int
    last_sequence: int
    first_offset: int
    last_offset: int
    timestamp: int


class ActiveProducer(NamedTuple):
    """A producer as DescribeProducers shows it; -1 where there is nothing to say."""

    producer_id: int
    producer_epoch: int
    last_sequence: int
    last_timestamp: int
    coordinator_epoch: int
    current_txn_start_offset: int


class LastBatch(NamedTuple):
    """Where a live producer's last data lies (-1 if its last batch is a marker), and its epoch; compaction keeps it."""

    last_offset: int
    epoch: int


class Verification:
    """A transactional append that the transaction's coordinator is being asked about (KIP-890)."""

    __slots__ = ("epoch", "lowest_sequence", "since_ms")

    def __init__(self, sequence: int, epoch: int, since_ms: int) -> None:
        self.lowest_sequence = sequence
        self.epoch = epoch
        self.since_ms = since_ms


class _Producer:
    __slots__ = ("batches", "coordinator_epoch", "epoch", "last_timestamp", "txn_first_offset")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: list[Appended] = []
        self.coordinator_epoch = -1
        self.last_timestamp = -1
        self.txn_first_offset = -1


class CorruptSnapshot(ValueError):
    """A producer snapshot that cannot be believed; the file is to be deleted and an older one used."""


class Producers:
    """The producers of one partition."""

    __slots__ = ("_completed", "_open", "_partition", "_producers", "_verifications", "expiration_ms", "verification")

    def __init__(
        self, partition: TopicPartition, *, expiration_ms: int = EXPIRATION_MS, verification: bool = False
    ) -> None:
        """``verification``: refuse a producer's first transactional batch unless :meth:`verify` allowed it."""
        self.expiration_ms = expiration_ms
        self.verification = verification
        self._partition = partition
        self._producers: dict[int, _Producer] = {}
        # first offset -> producer id; in the order of the first offsets, because that is how they begin
        self._open: dict[int, int] = {}
        # first offset -> marker's offset, of transactions whose marker is not below the high watermark yet
        self._completed: dict[int, int] = {}
        self._verifications: dict[int, Verification] = {}

    def __len__(self) -> int:
        return len(self._producers)

    # appending

    def check(
        self,
        batch: BatchHeader,
        base_offset: int,
        origin: Origin = Origin.CLIENT,
        *,
        marker: EndMarker | None = None,
        verification: Verification | None = None,
    ) -> Duplicate | None:
        """Whether ``batch`` may be appended at ``base_offset``: None if so, or where it stands already.

        ``marker`` is what a control batch says. Raises :class:`KafkaError` with INVALID_PRODUCER_EPOCH,
        OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_TXN_STATE or TRANSACTION_COORDINATOR_FENCED. A replica does not ask.
        """
        producer_id = batch.producer_id
        if producer_id < 0 or origin is Origin.REPLICATION:
            return None
        producer = self._producers.get(producer_id)
        epoch = batch.producer_epoch
        if origin is Origin.CLIENT:
            if producer is not None and epoch == producer.epoch and producer.batches:
                first, last = batch.base_sequence, batch.last_sequence
                for known in producer.batches:
                    if known.first_sequence == first and known.last_sequence == last:
                        return Duplicate(known.first_offset, known.last_offset, known.timestamp)
            if batch.is_transactional and self.verification:
                self._check_verification(producer_id, producer, epoch, verification)
        if producer is not None and epoch < producer.epoch:
            raise KafkaError(
                ErrorCode.INVALID_PRODUCER_EPOCH,
                f"Epoch of producer {producer_id} at offset {base_offset} in {self._partition} is {epoch}, "
                f"which is smaller than the last seen epoch {producer.epoch}",
            )
        if marker is not None:
            if producer is not None and producer.coordinator_epoch > marker.coordinator_epoch:
                raise KafkaError(
                    ErrorCode.TRANSACTION_COORDINATOR_FENCED,
                    f"Invalid coordinator epoch for producerId {producer_id} at offset {base_offset} in partition "
                    f"{self._partition}: {marker.coordinator_epoch} (zombie), {producer.coordinator_epoch} (current)",
                )
            return None
        if origin is Origin.CLIENT:
            self._check_sequence(producer_id, producer, epoch, batch.base_sequence, base_offset)
        if producer is not None and producer.txn_first_offset >= 0 and not batch.is_transactional:
            raise KafkaError(
                ErrorCode.INVALID_TXN_STATE,
                f"Expected transactional write from producer {producer_id} at offset {base_offset} in partition "
                f"{self._partition}",
            )
        return None

    def _check_sequence(
        self, producer_id: int, producer: _Producer | None, epoch: int, sequence: int, base_offset: int
    ) -> None:
        verification = self._verifications.get(producer_id)
        if verification is not None and sequence > verification.lowest_sequence:
            raise KafkaError(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"Out of order sequence number for producer {producer_id} at offset {base_offset} in partition "
                f"{self._partition}: {sequence} (incoming seq. number), {verification.lowest_sequence} "
                "(earliest seen sequence)",
            )
        if producer is None or producer.epoch < 0:
            # nothing is known, perhaps because retention or DeleteRecords took it: any sequence will do
            return
        if epoch != producer.epoch:
            if sequence != 0:
                raise KafkaError(
                    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                    f"Invalid sequence number for new epoch of producer {producer_id} at offset {base_offset} in "
                    f"partition {self._partition}: {epoch} (request epoch), {sequence} (seq. number), "
                    f"{producer.epoch} (current producer epoch)",
                )
            return
        last = producer.batches[-1].last_sequence if producer.batches else -1
        if sequence != last + 1 and not (sequence == 0 and last == _LAST_SEQUENCE):
            raise KafkaError(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"Out of order sequence number for producer {producer_id} at offset {base_offset} in partition "
                f"{self._partition}: {sequence} (incoming seq. number), {last} (current end sequence number)",
            )

    def record(self, batch: BatchHeader, base_offset: int, marker: EndMarker | None = None) -> Aborted | None:
        """Take an appended batch into account; an aborted transaction's entry for the ``.txnindex`` comes back.

        ``batch`` is the header as written (its greatest timestamp included), ``base_offset`` where it was written.
        A control batch without ``marker`` (emptied by compaction) changes nothing.
        """
        producer_id = batch.producer_id
        if producer_id < 0:
            return None
        if batch.is_control:
            return None if marker is None else self._end(batch, base_offset, marker)
        producer = self._known(producer_id, batch.producer_epoch)
        last_offset = base_offset + batch.last_offset_delta
        timestamp = batch.max_timestamp
        batches = producer.batches
        batches.append(Appended(batch.base_sequence, batch.last_sequence, base_offset, last_offset, timestamp))
        if len(batches) > BATCHES_REMEMBERED:
            del batches[0]
        producer.last_timestamp = timestamp
        if batch.is_transactional:
            self._verifications.pop(producer_id, None)
            if producer.txn_first_offset < 0:
                producer.txn_first_offset = base_offset
                self._open[base_offset] = producer_id
        return None

    def _end(self, batch: BatchHeader, offset: int, marker: EndMarker) -> Aborted | None:
        """End the producer's transaction; a marker without data before it leaves no trace in the index."""
        producer_id = batch.producer_id
        producer = self._known(producer_id, batch.producer_epoch)
        self._verifications.pop(producer_id, None)
        first_offset = producer.txn_first_offset
        producer.coordinator_epoch = marker.coordinator_epoch
        producer.last_timestamp = batch.max_timestamp
        producer.txn_first_offset = -1
        if first_offset < 0:
            return None
        last_stable_offset = next((first for first, owner in self._open.items() if owner != producer_id), offset + 1)
        if self._open.pop(first_offset, None) is not None:
            self._completed[first_offset] = offset
        return None if marker.committed else Aborted(producer_id, first_offset, offset, last_stable_offset)

    def _known(self, producer_id: int, epoch: int) -> _Producer:
        producer = self._producers.get(producer_id)
        if producer is None:
            producer = self._producers[producer_id] = _Producer(epoch)
        elif producer.epoch != epoch:
            producer.epoch = epoch
            producer.batches.clear()
        return producer

    # transactions

    def verify(self, producer_id: int, sequence: int, epoch: int, now: int) -> Verification | None:
        """Begin asking the coordinator about a transactional append; None if a transaction is open already."""
        producer = self._producers.get(producer_id)
        if producer is not None and producer.txn_first_offset >= 0 and producer.epoch == epoch:
            return None
        verification = self._verifications.get(producer_id)
        if verification is None:
            verification = self._verifications[producer_id] = Verification(sequence, epoch, now)
        elif epoch > verification.epoch:
            verification.epoch, verification.lowest_sequence = epoch, sequence
        elif epoch == verification.epoch:
            verification.lowest_sequence = min(sequence, verification.lowest_sequence)
        return verification

    def _check_verification(
        self, producer_id: int, producer: _Producer | None, epoch: int, verification: Verification | None
    ) -> None:
        if producer is not None and producer.txn_first_offset >= 0 and producer.epoch == epoch:
            return
        if verification is None or self._verifications.get(producer_id) is not verification:
            raise KafkaError(ErrorCode.INVALID_TXN_STATE, "Record was not part of an ongoing transaction")

    @property
    def first_unstable_offset(self) -> Offset | None:
        """Where the oldest transaction begins that is open, or ended by a marker not below the high watermark yet."""
        first_open = next(iter(self._open), None)
        if self._completed:
            first_completed = min(self._completed)
            if first_open is None or first_completed < first_open:
                return Offset(first_completed)
        return None if first_open is None else Offset(first_open)

    @property
    def first_undecided_offset(self) -> Offset | None:
        """Where the oldest open transaction begins; compaction stops there."""
        first = next(iter(self._open), None)
        return None if first is None else Offset(first)

    def last_stable_offset(self, high_watermark: int) -> Offset:
        """READ_COMMITTED consumers read below it."""
        if not self._open and not self._completed:
            return Offset(high_watermark)
        first = self.first_unstable_offset
        return Offset(high_watermark if first is None else min(first, high_watermark))

    def advance_high_watermark(self, high_watermark: int) -> None:
        """Forget completed transactions whose markers lie below ``high_watermark`` (or below a new log start)."""
        if self._completed:
            self._completed = {first: last for first, last in self._completed.items() if last >= high_watermark}

    def has_late_transaction(self, now: int, max_transaction_timeout_ms: int) -> bool:
        """Whether the oldest transaction's producer has been silent for 5 minutes more than any timeout allows."""
        producer_id = next(iter(self._open.values()), None)
        if producer_id is None or (producer := self._producers.get(producer_id)) is None:
            return False
        return 0 < producer.last_timestamp < now - max_transaction_timeout_ms - 300_000

    # time, truncation, snapshots

    def expire(self, now: int) -> int:
        """Forget producers that have been idle for ``expiration_ms`` and have no transaction open; how many."""
        idle = [
            producer_id
            for producer_id, producer in self._producers.items()
            if producer.txn_first_offset < 0 and now - producer.last_timestamp >= self.expiration_ms
        ]
        for producer_id in idle:
            del self._producers[producer_id]
        for producer_id, verification in list(self._verifications.items()):
            if now - verification.since_ms >= self.expiration_ms:
                del self._verifications[producer_id]
        return len(idle)

    def truncate(self) -> None:
        """Forget everything: the log was cut; load the newest snapshot not beyond the cut, record what follows it."""
        self._producers.clear()
        self._open.clear()
        self._completed.clear()

    def snapshot(self) -> bytes:
        """The content of a ``.snapshot`` file; only the last batch of each producer is in it."""
        out = bytearray(_SNAPSHOT_HEAD.size)
        for producer_id, producer in self._producers.items():
            last = producer.batches[-1] if producer.batches else None
            out += _SNAPSHOT_ENTRY.pack(
                producer_id,
                producer.epoch,
                -1 if last is None else last.last_sequence,
                -1 if last is None else last.last_offset,
                0 if last is None else last.last_offset - last.first_offset,
                producer.last_timestamp,
                producer.coordinator_epoch,
                producer.txn_first_offset,
            )
        _SNAPSHOT_HEAD.pack_into(out, 0, _SNAPSHOT_VERSION, 0, len(self._producers))
        _SNAPSHOT_HEAD.pack_into(out, 0, _SNAPSHOT_VERSION, crc32c(memoryview(out)[_CRC_FROM:]), len(self._producers))
        return bytes(out)

    def load(self, snapshot: bytes, now: int) -> None:
        """Replace everything by a snapshot's content, leaving out who is expired; :class:`CorruptSnapshot`."""
        entries = sorted(_entries(snapshot), key=lambda entry: entry[7])
        self.truncate()
        for producer_id, epoch, sequence, offset, delta, timestamp, coordinator_epoch, txn_first_offset in entries:
            if txn_first_offset < 0 and now - timestamp >= self.expiration_ms:
                continue
            producer = self._producers[producer_id] = _Producer(epoch)
            producer.last_timestamp = timestamp
            producer.coordinator_epoch = coordinator_epoch
            producer.txn_first_offset = max(txn_first_offset, -1)
            if offset >= 0:
                first_sequence = sequence if sequence < 0 else (sequence - delta) & _LAST_SEQUENCE
                producer.batches.append(Appended(first_sequence, sequence, offset - delta, offset, timestamp))
            if txn_first_offset >= 0:
                self._open[txn_first_offset] = producer_id

    def last_batches(self) -> dict[int, LastBatch]:
        """The last batch of every known producer."""
        return {
            producer_id: LastBatch(producer.batches[-1].last_offset if producer.batches else -1, producer.epoch)
            for producer_id, producer in self._producers.items()
        }

    def active(self) -> list[ActiveProducer]:
        """Every known producer, for DescribeProducers."""
        return [
            ActiveProducer(
                producer_id,
                producer.epoch,
                producer.batches[-1].last_sequence if producer.batches else -1,
                producer.last_timestamp,
                producer.coordinator_epoch,
                producer.txn_first_offset,
            )
            for producer_id, producer in self._producers.items()
        ]


def highest_producer_id(snapshot: bytes) -> int:
    """The highest producer id in a snapshot's content, -1 if there is none; :class:`CorruptSnapshot`."""
    return max((entry[0] for entry in _entries(snapshot)), default=-1)


def _entries(snapshot: bytes) -> Iterator[tuple[int, ...]]:
    try:
        version, crc, count = _SNAPSHOT_HEAD.unpack_from(snapshot)
    except StructError:
        raise CorruptSnapshot("a producer snapshot is cut off") from None
    if version != _SNAPSHOT_VERSION:
        raise CorruptSnapshot(f"Snapshot contained an unknown file version {version}")
    if crc != (computed := crc32c(memoryview(snapshot)[_CRC_FROM:])):
        raise CorruptSnapshot(
            f"Snapshot is corrupt (CRC is no longer valid). Stored crc: {crc}. Computed crc: {computed}"
        )
    if len(snapshot) != _SNAPSHOT_HEAD.size + count * _SNAPSHOT_ENTRY.size:
        raise CorruptSnapshot("a producer snapshot's count does not fit its size")
    return _SNAPSHOT_ENTRY.iter_unpack(memoryview(snapshot)[_SNAPSHOT_HEAD.size :])
