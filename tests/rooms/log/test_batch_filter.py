"""What compaction keeps of one batch."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pykafka_broker.log.aborted import Aborted
from pykafka_broker.log.batch_filter import BatchFilter, CleanedTransactions, Kept, key_digest
from pykafka_broker.log.producers import LastBatch
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import (
    BatchHeader,
    EndMarker,
    Record,
    build,
    build_end_marker,
    crc_is_right,
    read_header,
    records,
)
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.formats import header_at
from pykafka_broker.wire.message_set import build_message_set, stored_records

NOW = Millis(50_000)
HOUR = 3_600_000


def filtering(
    newest: dict[bytes, int] | None = None,
    *,
    known_up_to: int = 1_000,
    aborted: tuple[Aborted, ...] = (),
    last: dict[int, LastBatch] | None = None,
    now: int = NOW,
) -> BatchFilter:
    return BatchFilter(newest or {}, known_up_to, CleanedTransactions(aborted), last or {}, Millis(now), HOUR)


def keyed(*pairs: tuple[bytes | None, bytes | None], base: int = 100, **kwargs: Any) -> bytes:
    found = [Record(timestamp=1_000 + index, key=key, value=value) for index, (key, value) in enumerate(pairs)]
    return bytes(build(found, base_offset=base, leader_epoch=3, **kwargs))


def in_the_end(steps: Generator[None, None, Kept]) -> Kept:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            kept: Kept = stop.value
            return kept


def keep(by: BatchFilter, batch: bytes) -> Kept:
    return in_the_end(by.keep(read_header(batch), batch))


def left(kept: Kept) -> tuple[BatchHeader, list[Record]]:
    assert kept.batch is not None
    assert crc_is_right(kept.batch)
    return read_header(kept.batch), list(records(kept.batch))


def test_a_batch_of_newest_values_stays_as_it_is() -> None:
    batch = keyed((b"a", b"1"), (b"b", b"2"))
    assert keep(filtering({b"a": 100, b"b": 101}), batch).batch == batch


def test_superseded_records_and_those_without_key_go_and_offsets_stay() -> None:
    batch = keyed((b"a", b"1"), (b"b", b"2"), (None, b"x"), (b"c", b"3"))
    header, found = left(keep(filtering({b"a": 500, b"b": 101, b"c": 103}), batch))
    assert [(one.offset, one.timestamp, one.value) for one in found] == [(101, 1_001, b"2"), (103, 1_003, b"3")]
    assert (header.base_offset, header.last_offset, header.leader_epoch) == (100, 103, 3)
    assert (header.record_count, header.max_timestamp, header.base_timestamp) == (2, 1_003, 1_000)


@pytest.mark.parametrize("newest", [{}, {b"0": 500}], ids=["all stay", "one goes"])
def test_a_large_batch_is_looked_at_in_small_steps(newest: dict[bytes, int]) -> None:
    batch = keyed(*((b"%d" % number, b"x") for number in range(5_000)))
    steps = filtering(newest, known_up_to=10_000).keep(read_header(batch), batch)
    looked_through, written_anew = 20, 19
    assert sum(1 for _ in steps) == looked_through + (written_anew if newest else 0)


def test_compressed_batches_stay_compressed() -> None:
    batch = keyed((b"a", b"1" * 99), (b"b", b"2" * 99), codec=Codec.GZIP)
    header, found = left(keep(filtering({b"a": 500, b"b": 101}), batch))
    assert header.codec is Codec.GZIP
    assert [one.offset for one in found] == [101]


def test_a_batch_of_which_nothing_is_left_goes() -> None:
    assert keep(filtering({b"a": 500}), keyed((b"a", b"1"))) == Kept(None)


def test_the_last_batch_of_a_round_stays_as_an_empty_one() -> None:
    header, found = left(keep(filtering({b"a": 500}, known_up_to=101), keyed((b"a", b"1"), codec=Codec.GZIP)))
    assert (header.base_offset, header.last_offset, header.record_count, found) == (100, 100, 0, [])
    assert header.codec is Codec.NONE


def test_the_last_batch_of_a_live_producer_stays_as_an_empty_one() -> None:
    batch = keyed((b"a", b"1"), producer_id=7, producer_epoch=2, base_sequence=40)
    header, _ = left(keep(filtering({b"a": 500}, last={7: LastBatch(100, 2)}), batch))
    assert (header.producer_id, header.producer_epoch, header.base_sequence, header.record_count) == (7, 2, 40, 0)
    assert keep(filtering({b"a": 500}, last={7: LastBatch(300, 2)}), batch).batch is None


def test_what_the_round_does_not_know_stays() -> None:
    batch = keyed((b"a", b"1"), (b"a", b"2"))
    _, found = left(keep(filtering({b"a": 500}, known_up_to=101), batch))
    assert [one.offset for one in found] == [101]


def test_a_tombstone_gets_a_horizon_and_goes_when_it_has_passed() -> None:
    batch = keyed((b"a", None), (b"b", b"2"))
    newest = {b"a": 100, b"b": 101}
    header, found = left(keep(filtering(newest), batch))
    assert header.delete_horizon_ms == NOW + HOUR
    assert header.base_timestamp == NOW + HOUR
    assert [(one.timestamp, one.value) for one in found] == [(1_000, None), (1_001, b"2")]
    again = build_again(header, found)
    assert keep(filtering(newest, now=NOW + HOUR - 1), again).batch == again
    header, found = left(keep(filtering(newest, now=NOW + HOUR), again))
    assert [(one.timestamp, one.value) for one in found] == [(1_001, b"2")]
    assert header.delete_horizon_ms == NOW + HOUR


def build_again(header: BatchHeader, found: list[Record]) -> bytes:
    kept = keep(filtering({b"a": 100, b"b": 101}), keyed((b"a", None), (b"b", b"2"))).batch
    assert kept is not None
    assert read_header(kept) == header
    assert list(records(kept)) == found
    return bytes(kept)


def test_the_brokers_time_is_kept() -> None:
    batch = keyed((b"a", None), (b"b", b"2"), (b"b", b"3"), timestamp_type=1)
    header, found = left(keep(filtering({b"a": 100, b"b": 102}), batch))
    assert header.max_timestamp == 1_002
    assert [one.timestamp for one in found] == [1_002, 1_002]


def test_records_of_aborted_transactions_go() -> None:
    by = filtering({b"a": 100}, aborted=(Aborted(7, 100, 101, 102),))
    batch = keyed((b"a", b"1"), producer_id=7, producer_epoch=0, base_sequence=0, transactional=True)
    assert keep(by, batch).batch is None
    assert keep(by, ended(101, committed=False)) == Kept(ended(101, committed=False), Aborted(7, 100, 101, 102))


def ended(offset: int, *, committed: bool) -> bytes:
    marker = EndMarker(committed, 0)
    return bytes(build_end_marker(marker, producer_id=7, producer_epoch=0, timestamp=1_000, base_offset=offset))


def test_a_marker_stays_while_its_transaction_has_data() -> None:
    by = filtering({b"a": 100})
    batch = keyed((b"a", b"1"), producer_id=7, producer_epoch=0, base_sequence=0, transactional=True)
    assert keep(by, batch).batch == batch
    assert keep(by, ended(101, committed=True)).batch == ended(101, committed=True)


def test_a_marker_without_data_gets_a_horizon_and_goes_when_it_has_passed() -> None:
    for committed in (True, False):
        kept = keep(filtering(), ended(101, committed=committed)).batch
        assert kept is not None
        assert read_header(kept).delete_horizon_ms == NOW + HOUR
        assert read_header(kept).is_control
        assert keep(filtering(now=NOW + HOUR - 1), bytes(kept)).batch == kept
        assert keep(filtering(now=NOW + HOUR), bytes(kept)).batch is None
        # A producer whose last batch is a marker is fenced by it.
        header, found = left(keep(filtering(now=NOW + HOUR, last={7: LastBatch(-1, 0)}), bytes(kept)))
        assert (header.is_control, header.producer_id, found) == (True, 7, [])


def test_long_keys_are_told_apart_from_short_ones() -> None:
    assert key_digest(b"k" * 16) == b"k" * 16
    assert len(key_digest(b"k" * 17)) == 17
    assert key_digest(b"k" * 17) != key_digest(b"k" * 18)


def old(magic: int, *pairs: tuple[bytes | None, bytes | None], codec: Codec = Codec.GZIP, **kwargs: Any) -> bytes:
    found = [Record(100 + index, 1_000 + index, key, value) for index, (key, value) in enumerate(pairs)]
    return build_message_set(found, magic, codec=codec, **kwargs)


def keep_old(by: BatchFilter, batch: bytes) -> Kept:
    return in_the_end(by.keep(header_at(batch), batch))


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4])
@pytest.mark.parametrize("magic", [0, 1])
def test_a_wrapper_of_an_old_format_stays_one_with_fewer_messages(magic: int, codec: Codec) -> None:
    wrapper = old(magic, (b"a", b"1"), (b"b", b"2"), (None, b"x"), (b"c", b"3"), (b"d", b"4"), codec=codec)
    by = filtering({b"a": 500, b"b": 101, b"c": 103, b"d": 500})
    kept = keep_old(by, wrapper).batch
    assert kept is not None
    header = header_at(kept)
    assert (header.magic, header.codec, header.last_offset, header.size_bytes) == (magic, codec, 103, len(kept))
    times = [1_001, 1_003] if magic else [-1, -1]
    assert [(one.offset, one.timestamp, one.value) for one in stored_records(kept)] == [
        (101, times[0], b"2"),
        (103, times[1], b"3"),
    ]
    assert header.max_timestamp == times[1]


def test_an_old_wrapper_keeps_the_brokers_time() -> None:
    wrapper = old(1, (b"a", b"1"), (b"b", b"2"), timestamp_type=1)
    kept = keep_old(filtering({b"a": 100, b"b": 500}), wrapper).batch
    assert kept is not None
    assert (header_at(kept).timestamp_type, header_at(kept).max_timestamp) == (1, 1_001)


@pytest.mark.parametrize("magic", [0, 1])
def test_old_messages_stay_as_they_are_or_go(magic: int) -> None:
    for codec in (Codec.NONE, Codec.GZIP):
        message = old(magic, (b"a", b"1"), codec=codec)
        assert keep_old(filtering({b"a": 100}), message).batch == message
        assert keep_old(filtering({b"a": 500}), message).batch is None
        # even the last one of a round: there is no message without a record
        assert keep_old(filtering({b"a": 500}, known_up_to=101), message).batch is None
        assert keep_old(filtering({}, known_up_to=100), message).batch == message


@pytest.mark.parametrize("magic", [0, 1])
def test_old_tombstones_go_when_the_round_says_so(magic: int) -> None:
    message = old(magic, (b"a", None), (b"b", b"2"))
    by = filtering({b"a": 100, b"b": 101})
    assert keep_old(by, message).batch == message
    by.drops_old_tombstones = True
    kept = keep_old(by, message).batch
    assert kept is not None
    assert [one.offset for one in stored_records(kept)] == [101]
