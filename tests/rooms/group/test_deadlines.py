"""Deadlines that are put off far more often than met."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.group.deadlines import Deadlines
from pykafka_broker.model.time import Millis


def test_the_earliest_comes_first() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("late", Millis(9))
    deadlines.set("soon", Millis(3))
    assert (deadlines.earliest(), deadlines.take(Millis(2))) == (3, None)
    assert [deadlines.take(Millis(9)) for _ in range(3)] == ["soon", "late", None]


def test_a_deadline_that_is_put_off_is_not_met_early() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", Millis(3))
    deadlines.set("a", Millis(8))
    assert (deadlines.earliest(), deadlines.take(Millis(7)), deadlines.take(Millis(8))) == (8, None, "a")


def test_a_cleared_deadline_is_gone() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", Millis(3))
    deadlines.clear("a")
    assert (deadlines.earliest(), deadlines.get("a"), deadlines.take(Millis(9))) == (None, None, None)


def test_putting_off_does_not_let_the_queue_grow() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for moment in range(1_000):
        deadlines.set("a", Millis(moment + 10))
        deadlines.earliest()
    assert len(deadlines._queue) <= 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 20)))), st.integers(0, 20))
def test_it_agrees_with_a_plain_dictionary(steps: list[tuple[str, int | None]], now: int) -> None:
    deadlines: Deadlines[str] = Deadlines()
    model: dict[str, int] = {}
    for key, at in steps:
        if at is None:
            deadlines.clear(key)
            model.pop(key, None)
        else:
            deadlines.set(key, Millis(at))
            model[key] = at
        assert deadlines.earliest() == min(model.values(), default=None)
    taken = []
    while (due := deadlines.take(Millis(now))) is not None:
        taken.append(due)
    assert sorted(taken) == sorted(key for key, at in model.items() if at <= now)
    assert [model[key] for key in taken] == sorted(model[key] for key in taken)
