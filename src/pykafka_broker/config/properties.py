"""Java's properties format: text to keys and values, each with the line it stands on.

What the values mean is ``loading``'s. The format is ``java.util.Properties.load``: ``=``, ``:`` or white space between
key and value, ``#`` and ``!`` comments, a backslash at the end of a line joins it to the next, ``\\uXXXX`` and the
usual escapes. Whoever opens the file reads it as ISO 8859-1, as Java does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_BLANK = " \t\f"
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class Entry(NamedTuple):
    """One key and its value, and the line (from 1) where it begins."""

    key: str
    value: str
    line: int


class MalformedProperties(ValueError):
    """A ``\\u`` without four hexadecimal digits behind it; nothing else can be wrong."""

    def __init__(self, line: int) -> None:
        super().__init__("\\u needs four hexadecimal digits behind it")
        self.line = line


def parse(text: str) -> tuple[Entry, ...]:
    """All entries in order, repeated keys included; ``MalformedProperties`` for a broken escape."""
    return tuple(_entry(line, number) for number, line in _logical_lines(text))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    joined: list[str] = []
    begun = 0
    for number, natural in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        line = natural.lstrip(_BLANK)
        if not joined:
            if not line or line[0] in "#!":
                continue
            begun = number
        if (len(line) - len(line.rstrip("\\"))) % 2:
            joined.append(line[:-1])
            continue
        yield begun, "".join((*joined, line))
        joined = []
    if joined:
        yield begun, "".join(joined)


def _entry(line: str, number: int) -> Entry:
    end = 0
    while end < len(line) and line[end] not in "=:" and line[end] not in _BLANK:
        end += 2 if line[end] == "\\" else 1
    rest = line[end:].lstrip(_BLANK)
    if rest[:1] in ("=", ":"):
        rest = rest[1:].lstrip(_BLANK)
    return Entry(_unescaped(line[:end], number), _unescaped(rest, number), number)


def _unescaped(text: str, line: int) -> str:
    if "\\" not in text:
        return text
    found: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character != "\\":
            found.append(character)
        elif text[position : position + 1] == "u":
            digits = text[position + 1 : position + 5]
            if len(digits) < 4 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
                raise MalformedProperties(line)
            found.append(chr(int(digits, 16)))
            position += 5
        else:
            escaped = text[position : position + 1]
            found.append(_ESCAPES.get(escaped, escaped))
            position += 1
    return _with_pairs_joined("".join(found))


def _with_pairs_joined(text: str) -> str:
    """Java's escapes are UTF-16: two halves of a pair make one character here."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "replace")
