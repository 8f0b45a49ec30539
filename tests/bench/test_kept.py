"""What the bench has found is kept part by part, and shown on one page with plots."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import growth, kept
from bench.rounds import OURS, THEIRS, Row

ROWS = {"lone": {"speed": Row("speed", "MB/s", True, 2.0)}, "small": {"wait": Row("wait", "ms", False)}}
ROUNDS = {OURS: [{"speed": 30.0, "wait": 1.0}], THEIRS: [{"speed": 10.0, "wait": 4.0}]}
GROWN = {
    name: [{key: factor * (number + 1) for number, key in enumerate(growth.ROWS)} for factor in factors]
    for name, factors in ((OURS, (1.0, 3.0)), (THEIRS, (2.0, 4.0)))
}


def test_each_part_is_kept_with_its_own_rows_only() -> None:
    assert kept.only(ROWS["small"], ROUNDS) == {OURS: [{"wait": 1.0}], THEIRS: [{"wait": 4.0}]}


def test_to_keep_one_part_takes_nothing_from_the_others(tmp_path: Path) -> None:
    first = {"lone": kept.entry("python -m bench --parts lone", "", kept.only(ROWS["lone"], ROUNDS))}
    kept.write(kept.read(tmp_path) | first, ROWS, tmp_path)
    second = {"small": kept.entry("python -m bench --parts small", "Busy.", kept.only(ROWS["small"], ROUNDS))}
    kept.write(kept.read(tmp_path) | second, ROWS, tmp_path)
    assert kept.read(tmp_path) == first | second
    page = (tmp_path / "performance.md").read_text()
    assert "| speed | MB/s | 30.0 | 10.0 | 3.00 x | 2 x: yes |" in page
    assert "| wait | ms | 1.00 | 4.00 | 4.00 x |" in page
    assert page.index("## Lone") < page.index("`python -m bench --parts lone`") < page.index("## Small")
    assert "1 rounds: `python -m bench --parts small`. Busy." in page


def test_the_page_can_be_made_again_from_what_is_kept(tmp_path: Path) -> None:
    kept.write({"growth": kept.entry("python -m bench", "", GROWN)}, ROWS, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept.write(kept.read(tmp_path), ROWS, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert len(before) == 2 + len(growth.AXES)


def test_growth_is_shown_as_a_table_and_a_picture_for_each_axis(tmp_path: Path) -> None:
    kept.write({"growth": kept.entry("python -m bench --share 0.3", "", GROWN)}, ROWS, tmp_path)
    page = (tmp_path / "performance.md").read_text()
    for axis in growth.AXES:
        assert f"](plots/{axis.key}.svg)" in page
        text = "".join(ET.parse(tmp_path / "plots" / f"{axis.key}.svg").getroot().itertext())
        for shown in (OURS, THEIRS, kept.machine(), axis.settings, "python -m bench --share 0.3"):
            assert shown in text
        assert all(row.name in text for row in axis.rows.values())
    assert "| produce 1 KB, acks=all, MB/s | pykafka-broker | 2.00 | 4.00 | 6.00 | 8.00 |" in page
    assert "| produce 1 KB, acks=all, MB/s | Apache Kafka 3.9.1 | 3.00 | 6.00 | 9.00 | 12.0 |" in page


@pytest.mark.parametrize(("megabytes", "segments"), [(1, 1), (1_000, 1), (10_000, 10)])
def test_a_log_is_as_large_as_it_is_said_to_be(megabytes: int, segments: int) -> None:
    shape = growth.shape_of(megabytes)
    assert (shape.size_bytes, shape.segments) == (megabytes << 20, segments)
    assert shape.size_bytes // segments < 1 << 30


def test_what_is_kept_in_the_documentation_is_what_it_shows(tmp_path: Path) -> None:
    from bench.__main__ import rows_of_parts

    kept.write(kept.read(), rows_of_parts(), tmp_path)
    assert (tmp_path / "performance.md").read_text() == (kept.DOCS / "performance.md").read_text()
    assert kept.read(tmp_path) == kept.read()
