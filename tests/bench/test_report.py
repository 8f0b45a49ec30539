"""The bench's table says how much better one broker is than another, and whether that is as much as it should be."""

from __future__ import annotations

import pytest

from bench.report import better_by, groups, table
from bench.rounds import OURS, THEIRS, Row

FAST = Row("speed", "MB/s", True, 2.0, "all")
CHEAP = Row("cost", "s", False, 4.0, "all")
ROWS = {"fast": FAST, "cheap": CHEAP}


@pytest.mark.parametrize(
    ("row", "ours", "theirs", "better"),
    [
        (FAST, [30.0, 10.0, 20.0], [10.0], 2.0),
        (FAST, [5.0], [10.0], 0.5),
        (CHEAP, [1.0], [4.0], 4.0),
        (CHEAP, [8.0], [4.0], 0.5),
        (FAST, [], [1.0], None),
        (CHEAP, [1.0], [], None),
    ],
)
def test_better_is_more_or_less_as_the_row_has_it_by_the_median(
    row: Row, ours: list[float], theirs: list[float], better: float | None
) -> None:
    assert better_by(row, ours, theirs) == better


def test_every_row_that_was_measured_says_whether_it_has_reached_what_it_should() -> None:
    rounds = {OURS: [{"fast": 20.0, "cheap": 3.0}], THEIRS: [{"fast": 10.0, "cheap": 9.0}]}
    speed, cost = table(ROWS, rounds).splitlines()[2:]
    assert "| 2.00 x | 2 x: yes |" in speed
    assert "| 3.00 x | 4 x: no |" in cost
    assert len(table(ROWS, {OURS: [{"fast": 1.0}]}).splitlines()) == 3


def test_a_group_is_told_by_its_geometric_mean_and_its_worst_row() -> None:
    rounds = {OURS: [{"fast": 80.0, "cheap": 2.0}], THEIRS: [{"fast": 10.0, "cheap": 1.0}]}
    assert groups(ROWS, rounds).splitlines()[2] == "| all | 2 | 2.00 x | 0.50 x | cost |"
    assert groups({"fast": Row("speed", "MB/s", True)}, rounds) == ""


def test_another_broker_has_a_column_if_it_was_measured_and_changes_nothing_else() -> None:
    both = {OURS: [{"fast": 20.0, "cheap": 3.0}], THEIRS: [{"fast": 10.0, "cheap": 9.0}]}
    alone = table(ROWS, both).splitlines()
    assert table(ROWS, {**both, "another": [{}]}).splitlines() == alone
    beside = table(ROWS, {**both, "another": [{"fast": 7.0}, {"fast": 9.0}]}).splitlines()
    ends = [" another |", "--:|", " 8.00 |", " - |"]
    assert beside == [line + end for line, end in zip(alone, ends, strict=True)]


def test_what_only_another_broker_was_measured_for_is_told() -> None:
    (_, _, speed) = table(ROWS, {"another": [{"fast": 7.0}]}).splitlines()
    assert speed == "| speed | MB/s | - | - | - | 2 x | - | - | 7.00 |"
