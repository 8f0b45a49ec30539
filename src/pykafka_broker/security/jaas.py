"""JAAS login configuration, as Java reads it: entries by name, each with login modules and their options.

``Client { org.apache.zookeeper.server.auth.DigestLoginModule required username="x" password="y"; };`` Which entry is
looked for, and what its options mean, is whoever's it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from msgspec import Struct

_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | //[^\n]* | /\*.*?\*/ )
    | (?P<quoted> "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' )
    | (?P<mark> [{};=] )
    | (?P<word> [^\s{};="']+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_PROPERTY = re.compile(r"\$\{([^}]*)\}")
_FLAGS = frozenset(("required", "requisite", "sufficient", "optional"))


class JaasError(ValueError):
    """A text that is no JAAS configuration; says in which line and why."""


class LoginModule(Struct, frozen=True):
    """One module of an entry: a Java class, how much hangs on it, and what it is told."""

    name: str
    flag: str
    options: Mapping[str, str]


class _Token(Struct, frozen=True):
    kind: str
    text: str
    line: int


def read_jaas(text: str, properties: Mapping[str, str] = MappingProxyType({})) -> dict[str, tuple[LoginModule, ...]]:
    """The entries by name; ``JaasError``. ``${name}`` in an option is looked up in the (Java system) properties."""
    return _Reader(text, properties).entries()


class _Reader:
    def __init__(self, text: str, properties: Mapping[str, str]) -> None:
        self._tokens = list(_tokens(text))
        self._properties = properties
        self._place = 0

    def entries(self) -> dict[str, tuple[LoginModule, ...]]:
        found: dict[str, tuple[LoginModule, ...]] = {}
        while self._place < len(self._tokens):
            name = self._name("the name of an entry")
            if name in found:
                raise self._error(f"there are two entries called {name}")
            self._mark("{")
            modules = []
            while not self._at("}"):
                modules.append(self._module())
            self._mark("}")
            self._mark(";")
            found[name] = tuple(modules)
        return found

    def _module(self) -> LoginModule:
        name = self._name("a login module")
        flag = self._name("required, requisite, sufficient or optional").lower()
        if flag not in _FLAGS:
            raise self._error(f"{flag} is none of required, requisite, sufficient and optional")
        options = {}
        while not self._at(";"):
            key = self._name("an option")
            self._mark("=")
            options[key] = self._expanded(self._name(f"the value of {key}"))
        self._mark(";")
        return LoginModule(name, flag, MappingProxyType(options))

    def _at(self, mark: str) -> bool:
        return self._place < len(self._tokens) and self._tokens[self._place] == _Token(
            "mark", mark, self._tokens[self._place].line
        )

    def _mark(self, mark: str) -> None:
        if not self._at(mark):
            raise self._error(f"expected {mark}")
        self._place += 1

    def _name(self, what: str) -> str:
        if self._place == len(self._tokens) or self._tokens[self._place].kind == "mark":
            raise self._error(f"expected {what}")
        self._place += 1
        return self._tokens[self._place - 1].text

    def _expanded(self, value: str) -> str:
        def looked_up(match: re.Match[str]) -> str:
            name = match[1]
            if name == "/":
                return "/"
            if name not in self._properties:
                raise self._error(f"the property {name} is not set")
            return self._properties[name]

        return _PROPERTY.sub(looked_up, value)

    def _error(self, says: str) -> JaasError:
        if not self._tokens:
            return JaasError(says)
        here = self._tokens[min(self._place, len(self._tokens) - 1)]
        return JaasError(
            f"line {here.line}: {says}, found {here.text if self._place < len(self._tokens) else 'the end'}"
        )


def _tokens(text: str) -> Iterator[_Token]:
    place, line = 0, 1
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise JaasError(f"line {line}: a quotation does not end")
        kind, found = str(match.lastgroup), match[0]
        if kind == "quoted":
            yield _Token(kind, _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), found[1:-1]), line)
        elif kind != "space":
            yield _Token(kind, found, line)
        line += found.count("\n")
        place = match.end()
