"""Idempotence and transactions of one partition: every rule, and a plain model beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pykafka_broker.log.aborted import Aborted
from pykafka_broker.log.producers import (
    EXPIRATION_MS,
    ActiveProducer,
    CorruptSnapshot,
    Duplicate,
    Producers,
)
from pykafka_broker.log.validation import Origin
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.wire.batch import BatchHeader, EndMarker, Record, build, build_end_marker, read_header

PLACE = TopicPartition("orders", 3)
LAST = 2**31 - 1


def sent(
    sequence: int, count: int = 1, *, producer: int = 9, epoch: int = 0, time: int = 1_000, transactional: bool = False
) -> BatchHeader:
    """The header of a batch with ``count`` records from ``sequence`` on."""
    return read_header(
        build(
            [Record(timestamp=time)] * count,
            producer_id=producer,
            producer_epoch=epoch,
            base_sequence=sequence,
            transactional=transactional,
        )
    )


def ended(producer: int = 9, epoch: int = 0, time: int = 1_000) -> BatchHeader:
    batch = build_end_marker(EndMarker(True, 0), producer_id=producer, producer_epoch=epoch, timestamp=time)
    return read_header(batch)


@dataclass
class Partition:
    """A log that keeps nothing but its end: enough to append to."""

    producers: Producers = field(default_factory=lambda: Producers(PLACE))
    end: int = 0

    def append(self, batch: BatchHeader, marker: EndMarker | None = None, origin: Origin = Origin.CLIENT) -> object:
        """What :meth:`Producers.check` found, or the entry for the index."""
        duplicate = self.producers.check(batch, self.end, origin, marker=marker)
        if duplicate is not None:
            return duplicate
        entry = self.producers.record(batch, self.end, marker)
        self.end += batch.last_offset_delta + 1
        return entry

    def refuses(self, batch: BatchHeader, marker: EndMarker | None = None, origin: Origin = Origin.CLIENT) -> ErrorCode:
        before = self.producers.snapshot()
        with pytest.raises(KafkaError) as refusal:
            self.append(batch, marker, origin)
        assert self.producers.snapshot() == before
        return refusal.value.code

    def ends(
        self, committed: bool, *, producer: int = 9, epoch: int = 0, coordinator: int = 0, time: int = 1_000
    ) -> object:
        return self.append(ended(producer, epoch, time), EndMarker(committed, coordinator), Origin.COORDINATOR)


@pytest.fixture
def partition() -> Partition:
    return Partition()


# idempotence


def test_sequences_go_on_where_they_ended(partition: Partition) -> None:
    for sequence, count in ((0, 3), (3, 1), (4, 10)):
        assert partition.append(sent(sequence, count)) is None
    assert partition.refuses(sent(15)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert partition.refuses(sent(13)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert partition.append(sent(14)) is None


def test_a_batch_sent_twice_is_answered_as_the_first_time(partition: Partition) -> None:
    for sequence in range(0, 14, 2):
        partition.append(sent(sequence, 2, time=1_000 + sequence))
    assert [partition.append(sent(sequence, 2)) for sequence in (4, 6, 8, 10, 12)] == [
        Duplicate(sequence, sequence + 1, 1_000 + sequence) for sequence in (4, 6, 8, 10, 12)
    ]
    assert partition.end == 14
    # older than the last five, or cut differently, is not recognised
    assert partition.refuses(sent(2, 2)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert partition.refuses(sent(12, 1)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_producer_nobody_knows_may_go_on_anywhere(partition: Partition) -> None:
    assert partition.append(sent(500, 2)) is None
    assert partition.append(sent(502)) is None


def test_an_epoch_never_goes_back(partition: Partition) -> None:
    partition.append(sent(0, epoch=3))
    assert partition.refuses(sent(1, epoch=2)) is ErrorCode.INVALID_PRODUCER_EPOCH
    with pytest.raises(KafkaError, match="is 2, which is smaller than the last seen epoch 3"):
        partition.append(sent(1, epoch=2))


def test_a_new_epoch_begins_with_sequence_zero(partition: Partition) -> None:
    partition.append(sent(0, 5))
    assert partition.refuses(sent(5, epoch=1)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert partition.append(sent(0, epoch=1)) is None
    # what was sent in the old epoch is forgotten
    assert partition.refuses(sent(0, 5)) is ErrorCode.INVALID_PRODUCER_EPOCH


def test_sequences_wrap_around(partition: Partition) -> None:
    partition.append(sent(LAST - 2, 3))
    assert partition.refuses(sent(1)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert partition.append(sent(0, 2)) is None
    assert partition.append(sent(2)) is None
    # and within a batch
    other = Partition()
    other.append(sent(LAST, 3))
    assert other.append(sent(LAST, 3)) == Duplicate(0, 2, 1_000)
    assert other.append(sent(2)) is None


def test_producers_do_not_disturb_each_other(partition: Partition) -> None:
    partition.append(sent(0, producer=1))
    partition.append(sent(0, producer=2))
    assert partition.append(sent(1, producer=1)) is None
    assert partition.append(sent(0, producer=2)) == Duplicate(1, 1, 1_000)
    assert len(partition.producers) == 2


def test_batches_without_producer_leave_no_trace(partition: Partition) -> None:
    plain = read_header(build([Record()]))
    assert partition.append(plain) is None
    assert len(partition.producers) == 0


def test_replicas_and_coordinators_do_not_ask_for_sequences(partition: Partition) -> None:
    partition.append(sent(7, epoch=1))
    assert partition.append(sent(-1, epoch=1), origin=Origin.COORDINATOR) is None
    assert partition.refuses(sent(-1, epoch=0), origin=Origin.COORDINATOR) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert partition.append(sent(99, epoch=0), origin=Origin.REPLICATION) is None


# transactions


def test_an_open_transaction_holds_the_last_stable_offset(partition: Partition) -> None:
    producers = partition.producers
    partition.append(sent(0, 4, producer=1))
    partition.append(sent(0, 2, producer=2, transactional=True))
    partition.append(sent(0, 2, producer=3, transactional=True))
    assert producers.first_unstable_offset == producers.first_undecided_offset == 4
    assert producers.last_stable_offset(partition.end) == 4
    assert producers.last_stable_offset(2) == 2
    assert partition.ends(True, producer=2) is None
    # decided, but the marker is not replicated yet
    assert (producers.first_unstable_offset, producers.first_undecided_offset) == (4, 6)
    producers.advance_high_watermark(8)
    assert producers.first_unstable_offset == 4
    producers.advance_high_watermark(9)
    assert producers.last_stable_offset(9) == 6
    assert partition.ends(True, producer=3) is None
    producers.advance_high_watermark(10)
    assert producers.first_unstable_offset is None
    assert producers.last_stable_offset(10) == 10


def test_an_aborted_transaction_gets_an_entry_with_the_last_stable_offset_behind_it(partition: Partition) -> None:
    partition.append(sent(0, 2, producer=1, transactional=True))
    partition.append(sent(0, 3, producer=2, transactional=True))
    partition.append(sent(2, 2, producer=1, transactional=True))
    assert partition.ends(False, producer=1) == Aborted(1, first_offset=0, last_offset=7, last_stable_offset=2)
    assert partition.ends(False, producer=2) == Aborted(2, first_offset=2, last_offset=8, last_stable_offset=9)


def test_a_transaction_without_data_leaves_no_entry(partition: Partition) -> None:
    assert partition.ends(False) is None
    assert partition.producers.first_unstable_offset is None
    assert partition.producers.active() == [ActiveProducer(9, 0, -1, 1_000, 0, -1)]


def test_after_a_marker_of_a_new_epoch_sequences_begin_at_zero(partition: Partition) -> None:
    partition.append(sent(0, 3, transactional=True))
    partition.ends(False, epoch=1)
    assert partition.refuses(sent(3, epoch=0, transactional=True)) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert partition.refuses(sent(3, epoch=1, transactional=True)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert partition.append(sent(0, epoch=1, transactional=True)) is None


def test_after_a_marker_of_the_same_epoch_sequences_go_on(partition: Partition) -> None:
    partition.append(sent(0, 3, transactional=True))
    partition.ends(True)
    assert partition.append(sent(0, 3, transactional=True)) == Duplicate(0, 2, 1_000)
    assert partition.append(sent(3, transactional=True)) is None


def test_within_a_transaction_everything_is_transactional(partition: Partition) -> None:
    partition.append(sent(0, transactional=True))
    assert partition.refuses(sent(1)) is ErrorCode.INVALID_TXN_STATE
    partition.ends(True)
    assert partition.append(sent(1)) is None


def test_markers_of_yesterdays_coordinator_or_producer_are_refused(partition: Partition) -> None:
    partition.append(sent(0, epoch=4, transactional=True))
    partition.ends(True, epoch=4, coordinator=6)
    zombie = EndMarker(True, 5)
    assert partition.refuses(ended(epoch=4), zombie, Origin.COORDINATOR) is ErrorCode.TRANSACTION_COORDINATOR_FENCED
    late = EndMarker(True, 6)
    assert partition.refuses(ended(epoch=3), late, Origin.COORDINATOR) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert partition.ends(True, epoch=4, coordinator=6) is None


def test_a_control_batch_that_compaction_emptied_changes_nothing(partition: Partition) -> None:
    partition.append(sent(0, transactional=True))
    before = partition.producers.snapshot()
    assert partition.producers.record(ended(), 5, None) is None
    assert partition.producers.snapshot() == before


def test_a_transaction_is_late_when_its_producer_has_been_silent_for_too_long(partition: Partition) -> None:
    assert not partition.producers.has_late_transaction(10**9, 0)
    partition.append(sent(0, transactional=True, time=1_000))
    assert not partition.producers.has_late_transaction(1_000 + 60_000 + 300_000, 60_000)
    assert partition.producers.has_late_transaction(1_001 + 60_000 + 300_000, 60_000)


# verification (KIP-890)


def test_the_first_transactional_batch_needs_the_coordinators_word() -> None:
    partition = Partition(Producers(PLACE, verification=True))
    producers = partition.producers
    assert partition.refuses(sent(0, transactional=True)) is ErrorCode.INVALID_TXN_STATE
    asked = producers.verify(9, 0, 0, now=5)
    assert asked is not None
    assert producers.verify(9, 1, 0, now=6) is asked
    batch = sent(0, transactional=True)
    assert producers.check(batch, 0, verification=asked) is None
    producers.record(batch, 0)
    # from then on the open transaction is word enough
    assert producers.verify(9, 1, 0, now=7) is None
    assert producers.check(sent(1, transactional=True), 1) is None
    # and the old word is not good for the next one
    partition.end = 1
    partition.ends(True)
    with pytest.raises(KafkaError, match="not part of an ongoing transaction"):
        producers.check(sent(1, transactional=True), 2, verification=asked)


def test_while_the_coordinator_is_asked_a_later_batch_does_not_overtake() -> None:
    producers = Producers(PLACE, verification=True)
    first = producers.verify(9, 4, 0, now=5)
    assert producers.verify(9, 0, 0, now=5) is first
    with pytest.raises(KafkaError, match="earliest seen sequence"):
        producers.check(sent(4, transactional=True), 0, verification=first)
    assert producers.check(sent(0, transactional=True), 0, verification=first) is None


# time and snapshots


def test_idle_producers_are_forgotten_unless_their_transaction_is_open(partition: Partition) -> None:
    partition.append(sent(0, producer=1, time=1_000))
    partition.append(sent(0, producer=2, time=2_000))
    partition.append(sent(0, producer=3, time=1_000, transactional=True))
    assert partition.producers.expire(999 + EXPIRATION_MS) == 0
    assert partition.producers.expire(1_000 + EXPIRATION_MS) == 1
    assert [producer.producer_id for producer in partition.producers.active()] == [2, 3]
    assert partition.append(sent(77, producer=1)) is None


def test_a_snapshot_brings_back_all_but_the_older_batches(partition: Partition) -> None:
    partition.append(sent(0, 3, producer=1))
    partition.append(sent(3, 2, producer=1, time=1_500))
    partition.append(sent(10, 4, producer=2, epoch=5, transactional=True))
    partition.ends(False, producer=3, coordinator=8)
    again = Partition(Producers(PLACE), partition.end)
    again.producers.load(partition.producers.snapshot(), now=2_000)
    assert again.producers.active() == [
        ActiveProducer(1, 0, 4, 1_500, -1, -1),
        ActiveProducer(3, 0, -1, 1_000, 8, -1),
        ActiveProducer(2, 5, 13, 1_000, -1, 5),
    ]
    assert again.producers.first_unstable_offset == 5
    assert again.append(sent(3, 2, producer=1)) == Duplicate(3, 4, 1_500)
    assert again.refuses(sent(0, 3, producer=1)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert again.append(sent(5, producer=1)) is None
    assert again.ends(False, producer=2, epoch=5) == Aborted(2, 5, 11, 12)


def test_expired_producers_stay_in_the_snapshot(partition: Partition) -> None:
    partition.append(sent(0, producer=1, time=1_000))
    partition.append(sent(0, producer=2, time=1_000, transactional=True))
    again = Producers(PLACE)
    again.load(partition.producers.snapshot(), now=1_000 + EXPIRATION_MS)
    assert [producer.producer_id for producer in again.active()] == [2]


def test_a_snapshot_is_laid_out_as_apache_kafkas(partition: Partition) -> None:
    partition.append(sent(LAST, 3, producer=0x0102, epoch=7, time=0x0A0B, transactional=True))
    data = partition.producers.snapshot()
    assert data[:2] == b"\0\1"
    assert data[6:10] == b"\0\0\0\1"
    assert data[10:].hex() == (
        "0000000000000102" "0007" "00000001" "0000000000000002" "00000002" "0000000000000a0b" "ffffffff"
        "0000000000000000"
    )  # fmt: skip


def test_a_snapshot_of_apache_kafka_is_read() -> None:
    # written by Kafka 3.9.1's ProducerStateManager
    data = bytes.fromhex(
        "000183568e2700000002"
        "000000000000010200070000000100000000000000020000000200000000000007d0000000030000000000000000"
        "000000000000004d0000ffffffffffffffffffffffff000000000000000000000005ffffffffffffffffffffffff"
    )
    producers = Producers(PLACE)
    producers.load(data, now=2_000)
    assert producers.active() == [ActiveProducer(77, 0, -1, 5, -1, -1), ActiveProducer(258, 7, 1, 2_000, 3, 0)]
    # the last batch began before its sequence wrapped around
    again = sent(LAST, 3, producer=258, epoch=7, transactional=True)
    assert producers.check(again, 10) == Duplicate(0, 2, 2_000)


@pytest.mark.parametrize("damage", ["version", "crc", "cut", "count", "empty"])
def test_a_damaged_snapshot_is_not_believed(partition: Partition, damage: str) -> None:
    partition.append(sent(0))
    data = bytearray(partition.producers.snapshot())
    match damage:
        case "version":
            data[1] = 2
        case "crc":
            data[-1] ^= 1
        case "cut":
            del data[-1:]
        case "count":
            data[9] = 2
        case "empty":
            data.clear()
    with pytest.raises(CorruptSnapshot):
        partition.producers.load(bytes(data), 0)
    assert len(partition.producers) == 1


def test_truncation_forgets_everything(partition: Partition) -> None:
    partition.append(sent(0, transactional=True))
    partition.producers.truncate()
    assert partition.producers.active() == []
    assert partition.producers.first_unstable_offset is None


# a model


@dataclass
class Known:
    """All that a producer ever sent to the model's partition in its epoch."""

    epoch: int
    batches: list[tuple[int, int, int]] = field(default_factory=list)
    """First sequence, count, offset."""
    open_since: int | None = None


class ProducersAgainstModel(RuleBasedStateMachine):
    """The rules of idempotence said naively: a list of all batches instead of a window, searched from the start."""

    def __init__(self) -> None:
        super().__init__()
        self.partition = Partition()
        self.known: dict[int, Known] = {}
        self.aborted: list[Aborted] = []
        self.completed: list[tuple[int, int]] = []
        self.high_watermark = 0

    producers = st.integers(1, 3)

    @rule(
        producer=producers,
        step=st.sampled_from([0, 0, 0, 0, -1, 1, -7]),
        count=st.integers(1, 3),
        bump=st.sampled_from([0, 0, 0, 0, 1, -1]),
        transactional=st.booleans(),
        wrapping=st.booleans(),
    )
    def send(self, producer: int, step: int, count: int, bump: int, transactional: bool, wrapping: bool) -> None:
        known = self.known.get(producer)
        epoch = max((known.epoch if known else 0) + bump, 0)
        if known is None:
            expected = LAST - 4 if wrapping else 5
        elif epoch != known.epoch or not known.batches:
            expected = 0
        else:
            first, many, _ = known.batches[-1]
            expected = (first + many) % 2**31
        sequence = max(expected + step, 0) & LAST
        batch = sent(sequence, count, producer=producer, epoch=epoch, transactional=transactional)
        self._append(known, producer, batch, sequence, count, epoch, transactional, expected)

    @precondition(lambda self: any(known.batches for known in self.known.values()))
    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        producer = data.draw(st.sampled_from([p for p, known in self.known.items() if known.batches]))
        known = self.known[producer]
        back = data.draw(st.integers(1, min(7, len(known.batches))))
        sequence, count, offset = known.batches[-back]
        batch = sent(sequence, count, producer=producer, epoch=known.epoch)
        if back <= 5:
            assert self.partition.append(batch) == Duplicate(offset, offset + count - 1, 1_000)
        else:
            assert self.partition.refuses(batch) in (
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                ErrorCode.INVALID_TXN_STATE,
            )

    def _append(
        self,
        known: Known | None,
        producer: int,
        batch: BatchHeader,
        sequence: int,
        count: int,
        epoch: int,
        transactional: bool,
        expected: int,
    ) -> None:
        if known is not None:
            recent = {(first, many): offset for first, many, offset in known.batches[-5:]}
            if epoch == known.epoch and (sequence, count) in recent:
                offset = recent[sequence, count]
                assert self.partition.append(batch) == Duplicate(offset, offset + count - 1, 1_000)
                return
            if epoch < known.epoch:
                assert self.partition.refuses(batch) is ErrorCode.INVALID_PRODUCER_EPOCH
                return
            if sequence != expected:
                assert self.partition.refuses(batch) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
                return
            if known.open_since is not None and not transactional:
                assert self.partition.refuses(batch) is ErrorCode.INVALID_TXN_STATE
                return
        offset = self.partition.end
        assert self.partition.append(batch) is None
        if known is None:
            known = self.known[producer] = Known(epoch)
        if known.epoch != epoch:
            known.epoch, known.batches = epoch, []
        known.batches.append((sequence, count, offset))
        if transactional and known.open_since is None:
            known.open_since = offset

    @precondition(lambda self: self.known)
    @rule(data=st.data(), committed=st.booleans(), bump=st.integers(0, 1))
    def end(self, data: st.DataObject, committed: bool, bump: int) -> None:
        producer = data.draw(st.sampled_from(sorted(self.known)))
        known = self.known[producer]
        offset = self.partition.end
        entry = self.partition.ends(committed, producer=producer, epoch=known.epoch + bump)
        if bump:
            known.epoch, known.batches = known.epoch + 1, []
        begun, known.open_since = known.open_since, None
        if begun is None:
            assert entry is None
            return
        self.completed.append((begun, offset))
        others = [other.open_since for other in self.known.values() if other.open_since is not None]
        wanted = Aborted(producer, begun, offset, min(others, default=offset + 1))
        assert entry == (None if committed else wanted)

    @rule(data=st.data())
    def replicate(self, data: st.DataObject) -> None:
        self.high_watermark = data.draw(st.integers(self.high_watermark, self.partition.end))
        self.partition.producers.advance_high_watermark(self.high_watermark)

    @rule()
    def restart(self) -> None:
        """All but the last batch of each producer is forgotten; so are markers, which are below the high watermark."""
        snapshot = self.partition.producers.snapshot()
        fresh = Producers(PLACE)
        fresh.load(snapshot, now=2_000)
        assert sorted(fresh.active()) == sorted(self.partition.producers.active())
        self.partition.producers = fresh
        self.completed = []
        for known in self.known.values():
            known.batches = known.batches[-1:]

    @invariant()
    def stable_up_to_the_oldest_open_or_unreplicated_transaction(self) -> None:
        unstable = [known.open_since for known in self.known.values() if known.open_since is not None]
        assert self.partition.producers.first_undecided_offset == min(unstable, default=None)
        unstable += [begun for begun, ended in self.completed if ended >= self.high_watermark]
        first = min(unstable, default=None)
        assert self.partition.producers.first_unstable_offset == first
        stable = self.high_watermark if first is None else min(first, self.high_watermark)
        assert self.partition.producers.last_stable_offset(self.high_watermark) == stable


TestProducersAgainstModel = pytest.mark.slow(ProducersAgainstModel.TestCase)
TestProducersAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
