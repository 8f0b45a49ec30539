"""What of a leader's answer a follower may append."""

from __future__ import annotations

import pytest

from pykafka_broker.log.copies import OffsetsOutOfOrder, copies
from pykafka_broker.wire.batch import CorruptBatch, patch
from tests.doubles.sample_log import PLACE, batch


def sent(base: int, *values: bytes) -> bytes:
    data = batch(*values)
    patch(memoryview(data), base, 0)
    return bytes(data)


def bases(data: bytes, *, start: int = 0, end: int = 0) -> tuple[list[int], bool]:
    found = copies(data, PLACE, log_start_offset=start, log_end_offset=end)
    assert b"".join(bytes(each) for _, each in found.batches) == data[: sum(len(each) for _, each in found.batches)]
    return [header.base_offset for header, _ in found.batches], found.begins_within


def test_whole_batches_are_taken_and_a_torn_one_is_left_for_the_next_answer() -> None:
    data = sent(5, b"a", b"b") + sent(7, b"c")
    assert bases(data, end=5) == ([5, 7], False)
    for cut in range(1, len(sent(7, b"c"))):
        assert bases(data[:-cut], end=5) == ([5], False)
    assert bases(b"", end=5) == ([], False)


def test_offsets_may_be_left_out_but_never_come_twice() -> None:
    assert bases(sent(5, b"a") + sent(9, b"b"), end=3) == ([5, 9], False)
    with pytest.raises(OffsetsOutOfOrder, match="orders-3 ends at 6, the leader sent 5"):
        bases(sent(5, b"a") + sent(5, b"b"), end=5)
    with pytest.raises(OffsetsOutOfOrder, match="orders-3 ends at 6, the leader sent 5"):
        bases(sent(5, b"a", b"b"), end=6)


def test_an_empty_log_may_begin_in_the_middle_of_the_first_batch() -> None:
    assert bases(sent(5, b"a", b"b") + sent(7, b"c"), start=6, end=6) == ([5, 7], True)


def test_one_changed_byte_is_not_taken() -> None:
    data = bytearray(sent(0, b"value"))
    data[-3] ^= 1
    with pytest.raises(CorruptBatch, match="Record is corrupt"):
        bases(bytes(data))
