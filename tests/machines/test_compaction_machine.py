"""A compacted partition beside a dictionary: appends, transactions, rounds of compaction, retention, crashes.

What must hold after every step: a reader from the beginning ends with the dictionary's content, what is left is a
part of what was written, in its order and with its offsets, and nothing of an aborted transaction is seen.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.compaction import compact, settle
from pykafka_broker.log.partition import Isolation, Origin, PartitionLog
from pykafka_broker.model.errors import KafkaError
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import EndMarker, Record, build, build_end_marker, read_end_marker, records
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.formats import headers
from tests.doubles.memory_disk import MemoryDisk
from tests.doubles.sample_log import PLACE, read_back

KEYS = (b"a", b"b", b"c", b"a key that is longer than the others")
HOUR = 3_600_000


class CompactionMachine(RuleBasedStateMachine):
    """One partition of a compacted topic."""

    @initialize(segment=st.sampled_from([400, 900, 3_000]), retention=st.sampled_from([1, 500, HOUR]))
    def begin(self, segment: int, retention: int) -> None:
        self.settings = TopicSettings(
            cleanup_policy=("compact",),
            segment_bytes=segment,
            index_interval_bytes=100,
            delete_retention_ms=retention,
            min_cleanable_dirty_ratio=0.0,
        )
        self.disk = MemoryDisk()
        self.now = 1_000
        self.written: dict[int, tuple[bytes, bytes | None]] = {}
        """By offset: every record that was committed or is not decided, tombstones included."""
        self.content: dict[bytes, bytes] = {}
        self.pending: dict[int, list[tuple[int, bytes, bytes | None]]] = {}
        self.sequences: dict[int, int] = {}
        self.next_producer = 1
        self.clean_up_to = 0
        self.count = 0
        self.log = self.open(clean=True)

    def open(self, *, clean: bool) -> PartitionLog:
        return PartitionLog.open(self.disk, PLACE, self.settings, Millis(self.now), clean=clean, high_watermark=1 << 40)

    def append(self, pairs: list[tuple[bytes, bytes | None]], producer: int = -1, codec: Codec = Codec.NONE) -> int:
        sequence = self.sequences.get(producer, 0) if producer >= 0 else -1
        data = build(
            [Record(timestamp=self.now + index, key=key, value=value) for index, (key, value) in enumerate(pairs)],
            producer_id=producer,
            producer_epoch=0 if producer >= 0 else -1,
            base_sequence=sequence,
            transactional=producer >= 0,
            codec=codec,
        )
        base = self.log.append(Millis(self.now), data, leader_epoch=0).base_offset
        if producer >= 0:
            self.sequences[producer] = sequence + len(pairs)
        self.log.advance_high_watermark(self.log.log_end_offset)
        return base

    def settle(self, entries: list[tuple[int, bytes, bytes | None]]) -> None:
        for offset, key, value in entries:
            self.written[offset] = (key, value)
        # A transaction's records count where they stand, not when it commits.
        newest: dict[bytes, tuple[int, bytes | None]] = {}
        for offset, (key, value) in sorted(self.written.items()):
            newest[key] = (offset, value)
        self.content = {key: value for key, (_, value) in newest.items() if value is not None}

    pairs = st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), min_size=1, max_size=4)

    @rule(pairs=pairs, codec=st.sampled_from([Codec.NONE, Codec.GZIP]))
    def put(self, pairs: list[tuple[bytes, bool]], codec: Codec) -> None:
        self.now += 1
        self.count += 1
        entries = [(key, None if gone else b"%d" % self.count) for key, gone in pairs]
        base = self.append(entries, codec=codec)
        self.settle([(base + index, *entry) for index, entry in enumerate(entries)])

    @rule(pairs=pairs, new=st.booleans())
    def put_in_transaction(self, pairs: list[tuple[bytes, bool]], new: bool) -> None:
        self.count += 1
        if new or not self.sequences:
            producer = self.next_producer
            self.next_producer += 1
        else:
            producer = max(self.sequences)
        entries = [(key, None if gone else b"%d" % self.count) for key, gone in pairs]
        base = self.append(entries, producer)
        self.pending.setdefault(producer, []).extend((base + index, *entry) for index, entry in enumerate(entries))

    @rule(committed=st.booleans(), first=st.booleans())
    def end_transaction(self, committed: bool, first: bool) -> None:
        if not self.pending:
            return
        producer = min(self.pending) if first else max(self.pending)
        entries = self.pending.pop(producer)
        marker = build_end_marker(EndMarker(committed, 0), producer_id=producer, producer_epoch=0, timestamp=self.now)
        self.log.append(Millis(self.now), marker, leader_epoch=0, origin=Origin.COORDINATOR)
        self.log.advance_high_watermark(self.log.log_end_offset)
        if committed:
            self.settle(entries)

    @rule(later=st.integers(0, 1_000))
    def wait(self, later: int) -> None:
        self.now += later

    @rule()
    def roll(self) -> None:
        self.log.roll(Millis(self.now))

    @rule(keys_limit=st.sampled_from([2, 5, 1_000]), from_start=st.booleans(), steps=st.integers(0, 400))
    def clean(self, keys_limit: int, from_start: bool, steps: int) -> None:
        """A round, perhaps one that is not finished."""
        dirt = self.log.dirt(Millis(self.now), 0 if from_start else self.clean_up_to)
        if dirt is None:
            return
        round_ = compact(
            self.disk,
            tuple(self.log.segments),
            dirt,
            Millis(self.now),
            self.settings,
            self.log.producers,
            keys_limit=keys_limit,
            cuts=0,
        )
        try:
            for _ in range(steps):
                next(round_)
        except StopIteration as stop:
            settle(self.disk, stop.value)
            assert self.log.adopt(stop.value, Millis(self.now))
            assert stop.value.clean_up_to > dirt.first_dirty
            self.clean_up_to = stop.value.clean_up_to
        else:
            self.log.abandon_compaction()

    @rule()
    def reap(self) -> None:
        self.now += 60_000
        self.log.reap(Millis(self.now))

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        if clean:
            self.log.close()
        end = self.log.log_end_offset
        self.log = self.open(clean=clean)
        assert self.log.log_end_offset == end

    @rule(after=st.integers(0, 12))
    def die_while_swapping(self, after: int) -> None:
        dirt = self.log.dirt(Millis(self.now), self.clean_up_to)
        if dirt is None:
            return
        round_ = self.log.compaction(dirt, Millis(self.now))
        try:
            while True:
                next(round_)
        except StopIteration as stop:
            done = stop.value
        self.disk.fail_after(after)
        with suppress(KafkaError, OSError):
            settle(self.disk, done)
            self.log.adopt(done, Millis(self.now))
        self.disk.fail_after(None)
        self.restart(clean=False)

    # what must hold

    @invariant()
    def readers_end_with_the_same_content(self) -> None:
        if not hasattr(self, "log") or self.pending:
            return
        found: dict[bytes, bytes] = {}
        for _, key, value in self.read():
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value
        assert found == self.content

    @invariant()
    def what_is_left_was_written(self) -> None:
        if not hasattr(self, "log"):
            return
        entries = self.read()
        assert [offset for offset, _, _ in entries] == sorted({offset for offset, _, _ in entries})
        for offset, key, value in entries:
            assert self.written[offset] == (key, value)

    @invariant()
    def producers_go_on(self) -> None:
        if not hasattr(self, "log"):
            return
        known = {one.producer_id: one.last_sequence for one in self.log.producers_state()}
        for producer, sequence in self.sequences.items():
            if producer in known and known[producer] >= 0:
                assert known[producer] == sequence - 1

    @invariant()
    def no_file_is_left_over(self) -> None:
        if hasattr(self, "log"):
            assert not any(name.endswith((".cleaned", ".swap", ".tmp")) for name in self.disk.sizes())

    def read(self) -> list[tuple[int, bytes, bytes | None]]:
        """As a READ_COMMITTED consumer reads."""
        log, offset = self.log, self.log.log_start_offset
        found = []
        while True:
            given = log.read(offset, 200, isolation=Isolation.READ_COMMITTED)
            if not given.size_bytes:
                return found
            data = read_back(given.pieces)
            aborted = sorted(given.aborted or [], key=lambda entry: entry[1])
            skipping: set[int] = set()
            with suppress(KafkaError):
                for position, header in headers(data):
                    batch = data[position : position + header.size_bytes]
                    while aborted and aborted[0][1] <= header.last_offset:
                        skipping.add(aborted.pop(0)[0])
                    if header.is_control:
                        marker = read_end_marker(batch)
                        if marker is not None and not marker.committed:
                            skipping.discard(header.producer_id)
                    elif not (header.is_transactional and header.producer_id in skipping):
                        found += [(one.offset, one.key or b"", one.value) for one in records(batch)]
                    offset = header.next_offset


CompactionMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)
TestCompaction = pytest.mark.slow(CompactionMachine.TestCase)
