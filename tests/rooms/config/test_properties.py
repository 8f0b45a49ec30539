"""Java's properties format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.config.properties import Entry, MalformedProperties, parse


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("a=1", [("a", "1", 1)]),
        ("a:1\nb 2\nc\t=\t3", [("a", "1", 1), ("b", "2", 2), ("c", "3", 3)]),
        ("  a = b = c  ", [("a", "b = c  ", 1)]),
        ("# x\n! y\n\n   # z\na=1#2", [("a", "1#2", 5)]),
        ("a=1,\\\n   2,\\\n\t3\nb=4", [("a", "1,2,3", 1), ("b", "4", 4)]),
        ("a=1\\\\\nb=2", [("a", "1\\", 1), ("b", "2", 2)]),
        ("a=\\\n# no comment", [("a", "# no comment", 1)]),
        ("a\\=b\\:c\\ d=e", [("a=b:c d", "e", 1)]),
        ("a=\\t\\n\\r\\f\\q\\u00e4", [("a", "\t\n\r\fqä", 1)]),
        ("a=\\ud83d\\ude00", [("a", "😀", 1)]),
        ("a", [("a", "", 1)]),
        ("=x", [("", "x", 1)]),
        ("a=1\r\nb=2\rc=3", [("a", "1", 1), ("b", "2", 2), ("c", "3", 3)]),
        ("a=1\na=2", [("a", "1", 1), ("a", "2", 2)]),
        ("a=b\\", [("a", "b", 1)]),
        ("", []),
    ],
)
def test_a_file_is_read_as_java_reads_it(text: str, entries: list[tuple[str, str, int]]) -> None:
    assert parse(text) == tuple(Entry(*entry) for entry in entries)


@pytest.mark.parametrize("text", ["\na=\\u12", "\n\\uxyzw=1", "\na=\\u+123"])
def test_an_escape_that_is_none_is_told_with_its_line(text: str) -> None:
    with pytest.raises(MalformedProperties) as caught:
        parse(text)
    assert caught.value.line == 2


def _escaped(text: str) -> str:
    return "".join("".join(f"\\u{unit:04x}" for unit in _utf16(character)) for character in text)


def _utf16(character: str) -> list[int]:
    data = character.encode("utf-16-be")
    return [data[i] << 8 | data[i + 1] for i in range(0, len(data), 2)]


@given(st.text(), st.text(min_size=1))
def test_whatever_is_escaped_comes_back(value: str, key: str) -> None:
    assert parse(f"{_escaped(key)}={_escaped(value)}") == (Entry(key, value, 1),)


@given(st.text())
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        entries = parse(text)
    except MalformedProperties:
        return
    assert all(entry.line >= 1 for entry in entries)
