"""Leader epochs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.log.epochs import Epochs


def test_epochs_are_noted_where_they_begin() -> None:
    epochs = Epochs()
    assert epochs.assign(0, 0)
    assert not epochs.assign(0, 10)
    assert epochs.assign(3, 10)
    assert epochs.entries == ((0, 0), (3, 10))
    assert epochs.latest == 3


def test_an_epoch_without_data_gives_way_to_the_next() -> None:
    epochs = Epochs([(0, 0), (1, 10)])
    epochs.assign(2, 10)
    assert epochs.entries == ((0, 0), (2, 10))


def test_an_older_epoch_replaces_newer_ones() -> None:
    epochs = Epochs([(0, 0), (4, 10), (5, 20)])
    assert epochs.assign(3, 30)
    assert epochs.entries == ((0, 0), (3, 30))


def test_nonsense_is_not_noted() -> None:
    epochs = Epochs()
    assert not epochs.assign(-1, 0)
    assert not epochs.assign(0, -1)
    assert epochs.latest == -1


def test_the_end_of_an_epoch_is_where_the_next_begins() -> None:
    epochs = Epochs([(2, 5), (4, 10), (7, 20)])
    assert epochs.end_of(7, 33) == (7, 33)
    assert epochs.end_of(4, 33) == (4, 20)
    assert epochs.end_of(6, 33) == (4, 20)
    assert epochs.end_of(2, 33) == (2, 10)
    assert epochs.end_of(1, 33) == (1, 5)
    assert epochs.end_of(8, 33) == (-1, -1)
    assert epochs.end_of(-1, 33) == (-1, -1)
    assert Epochs().end_of(0, 33) == (-1, -1)


def test_the_epoch_of_an_offset() -> None:
    epochs = Epochs([(2, 5), (4, 10)])
    assert [epochs.epoch_of(offset) for offset in (4, 5, 9, 10, 99)] == [-1, 2, 2, 4, 4]


def test_cutting_the_end_forgets_epochs_that_began_there() -> None:
    epochs = Epochs([(2, 5), (4, 10), (7, 20)])
    assert not epochs.truncate_from_end(21)
    assert epochs.truncate_from_end(10)
    assert epochs.entries == ((2, 5),)


def test_cutting_the_start_moves_the_epoch_in_force() -> None:
    epochs = Epochs([(2, 5), (4, 10), (7, 20)])
    assert not epochs.truncate_from_start(5)
    assert epochs.truncate_from_start(12)
    assert epochs.entries == ((4, 12), (7, 20))
    assert not epochs.truncate_from_start(3)


def test_the_text_is_kafkas() -> None:
    epochs = Epochs([(0, 0), (3, 17)])
    assert epochs.encode() == b"0\n2\n0 0\n3 17\n"
    assert Epochs.decode(epochs.encode()).entries == epochs.entries
    assert Epochs().encode() == b"0\n0\n"


@pytest.mark.parametrize(
    "text", [b"", b"1\n0\n", b"0\n2\n0 0\n", b"0\n1\n0\n", b"0\n1\nx 0\n", b"\x00\x00", b"0\n1\n4 2"]
)
def test_other_texts_are_errors(text: bytes) -> None:
    with pytest.raises(ValueError):
        Epochs.decode(text)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=20))
def test_entries_always_grow(assigned: list[tuple[int, int]]) -> None:
    epochs = Epochs()
    for epoch, start in assigned:
        epochs.assign(epoch, start)
        found = epochs.entries
        assert all(one[0] < two[0] and one[1] < two[1] for one, two in pairwise(found))
