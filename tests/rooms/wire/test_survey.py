"""Looking over records: the same answers as reading them one by one, and damage is noticed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.wire.batch import HEADER_BYTES, Record, build, write_record
from pykafka_broker.wire.survey import Survey, follow, survey
from tests.rooms.wire.sample_records import records as any_records

deltas = st.integers(-3, 3) | st.integers(-(2**40), 2**40) | st.sampled_from([63, 64, 8_191, 8_192, 2**62])
sizes = st.sampled_from([0, 1, 50, 56, 57, 58, 59, 60, 100, 8_180, 8_190])


def laid_out(given: list[tuple[int, int]]) -> bytes:
    """Records with these timestamp deltas and value sizes."""
    out = bytearray()
    for place, (delta, size) in enumerate(given):
        write_record(out, delta, place, None, bytes(size))
    return bytes(out)


@given(st.lists(st.tuples(deltas, sizes), min_size=1, max_size=20))
@example([(place // 3, 100) for place in range(400)])
@example([(0, 100)] * 70 + [(-1, 100)] * 70)
@example([(-1, 10)] * 40)
@example([(200, 10)] * 40)
@example([(1, 10)] * 40 + [(300, 10)] * 3 + [(2, 10)] * 40)
@example([(0, 9_000)] * 40)
@example([(5, 10), (70, 10), (20, 10)])
def test_following_finds_every_record_and_the_greatest_time(given: list[tuple[int, int]]) -> None:
    data = laid_out(given)
    for view in (data, memoryview(data)):
        assert follow(view, len(given)) == max(delta for delta, _ in given)


@given(st.tuples(deltas, sizes), st.integers(0, 8), st.integers(0, 255))
@example((0, 0), 0, 8)
@example((0, 56), 1, 0x80)
@example((63, 57), 0, 0xFF)
def test_a_record_alone_is_followed_as_among_others(given: tuple[int, int], place: int, other: int) -> None:
    """One with a changed byte, alone and behind another one that is as early as can be told."""
    changed = bytearray(laid_out([given]))
    changed[min(place, len(changed) - 1)] = other
    outcomes: list[object] = []
    for data, count in ((bytes(changed), 1), (laid_out([(-(2**69), 0)]) + changed, 2)):
        try:
            outcomes.append(follow(data, count))
        except KafkaError as refusal:
            outcomes.append((refusal.code, refusal.message))
    assert outcomes[0] == outcomes[1]


@given(st.lists(st.tuples(deltas, sizes), min_size=1, max_size=20), st.integers(-5, 5))
@example([(0, 100)] * 60, 1)
@example([(0, 100)] * 60, -1)
def test_another_number_of_records_is_noticed(given: list[tuple[int, int]], more: int) -> None:
    count = len(given) + more
    if more and count >= 0:
        for look in (follow, survey):
            with pytest.raises(KafkaError, match="Incorrect declared batch size") as refusal:
                look(laid_out(given), count)
            assert refusal.value.code is ErrorCode.INVALID_RECORD


@given(st.lists(st.tuples(deltas, sizes), min_size=1, max_size=20), st.data())
def test_a_cut_is_noticed(given: list[tuple[int, int]], data: st.DataObject) -> None:
    whole = laid_out(given)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for look in (follow, survey):
        with pytest.raises(KafkaError, match=r"Incorrect declared batch size|Found invalid record structure"):
            look(cut, len(given))


@given(st.binary(max_size=400), st.integers(0, 60))
def test_garbage_is_refused_or_followed_to_its_end(garbage: bytes, count: int) -> None:
    for look in (follow, survey):
        try:
            look(garbage, count)
        except KafkaError as refusal:
            assert refusal.code is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("count", [1, 40])
def test_a_length_below_zero_is_malformed(count: int) -> None:
    data = b"\x0d" + bytes(6)  # a length of -7: as far as the next record, were its sign not looked at
    with pytest.raises(KafkaError, match="Found invalid record structure"):
        follow(data * count, count)


def test_lengths_of_more_than_five_bytes_are_malformed() -> None:
    with pytest.raises(KafkaError, match="Found invalid record structure"):
        follow(b"\xff" * 5 + b"\x01", 1)


def test_a_time_that_does_not_end_is_malformed() -> None:
    data = b"\x28\x00" + b"\xff" * 19
    for look in (follow, survey):
        with pytest.raises(KafkaError, match="Found invalid record structure"):
            look(data, 1)


@given(any_records)
def test_a_survey_sees_what_reading_sees(given: list[Record]) -> None:
    batch = build(given)
    found = survey(memoryview(batch)[HEADER_BYTES:], len(given))
    if given:
        times = [record.timestamp - given[0].timestamp for record in given]
        keyless = tuple(place for place, record in enumerate(given) if record.key is None)
        assert found == Survey(min(times), max(times), keyless, True)


def test_offsets_that_do_not_count_from_zero_are_seen() -> None:
    batch = build([Record(offset=0), Record(offset=2)])
    assert not survey(batch[HEADER_BYTES:], 2).in_order


@pytest.mark.parametrize(
    ("damaged", "what"),
    [
        (b"\x0e\0\0\0\x01\x01\x00\x00", "a byte is left over"),
        (b"\x0c\0\0\0\x14\x01\x00", "a key longer than the record"),
        (b"\x0c\0\0\0\x01\x14\x00", "a value longer than the record"),
        (b"\x0c\0\0\0\x01\x01\x02", "a header without bytes"),
        (b"\x0c\0\0\0\x01\x01\x01", "minus one headers"),
        (b"\x10\0\0\0\x01\x01\x02\x01\x01", "a header without name"),
    ],
)
def test_fields_that_do_not_fit_their_record_are_malformed(damaged: bytes, what: str) -> None:
    follow(damaged, 1)  # only lengths are followed: see the decision record
    with pytest.raises(KafkaError) as refusal:
        survey(damaged, 1)
    assert refusal.value.code is ErrorCode.INVALID_RECORD, what
