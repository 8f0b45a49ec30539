"""The notation of ``protocol_specs`` is read as its README says, and what breaks it is told with file and line."""

from __future__ import annotations

import re

import pytest

from pykafka_broker.model import names
from pykafka_broker.wire import spec
from pykafka_broker.wire.spec import Array, Primitive, SpecError, Struct, Versions, _Parser

TABLE = {
    0: ("Produce", 0, 11, 9),
    1: ("Fetch", 0, 17, 12),
    3: ("Metadata", 0, 12, 9),
    7: ("ControlledShutdown", 0, 3, 3),
    17: ("SaslHandshake", 0, 1, None),
    18: ("ApiVersions", 0, 4, 3),
    47: ("OffsetDelete", 0, 0, None),
    58: ("Envelope", 0, 0, 0),
    68: ("ConsumerGroupHeartbeat", 0, 0, 0),
    69: ("ConsumerGroupDescribe", 0, 0, 0),
}


def test_all_apis_of_a_zookeeper_mode_broker_are_there() -> None:
    keys = [spec.heading(name).key for name in spec.api_names()]
    assert keys == [*range(52), 56, 57, 58, 60, 61, 65, 66, 67, 68, 69]


@pytest.mark.parametrize("key", TABLE)
def test_headings_say_key_versions_and_flexibility(key: int) -> None:
    name, low, high, flexible = TABLE[key]
    assert spec.heading(name) == spec.Heading(key, name, low, high, flexible)


def test_files_are_named_after_what_they_hold() -> None:
    for path in sorted((spec.source() / "apis").glob("*.spec")):
        key, _, name = path.stem.partition("_")
        heading = next(spec.heading(api) for api in spec.api_names() if spec.snake(api) == name)
        assert heading.key == int(key)


def test_unknown_names_are_key_errors() -> None:
    for ask in (spec.heading, spec.api, spec.message, spec.record):
        with pytest.raises(KeyError):
            ask("Nonsense")


def test_specs_are_aligned_and_their_first_line_says_what_they_are_for() -> None:
    for path in spec.source().rglob("*.spec"):
        lines = path.read_text(encoding="utf-8").splitlines()
        name = next(re.match(r"(api \d+|record) (\w+)", line)[2] for line in lines if line[:1] in "ar")  # type: ignore[index]
        assert lines[0].startswith(f"# {name}: "), path
        assert all(len(line) <= 120 and line == line.rstrip() for line in lines), path


def test_domain_types_exist() -> None:
    for message in spec.messages():
        for struct in (message.struct, *message.structs):
            for field in struct.fields:
                assert field.domain is None or hasattr(names, field.domain), (message.name, field.name)


def _fields(text: str, low: int = 0, high: int = 9) -> tuple[spec.Field, ...]:
    return _Parser("a.spec", text).message("A", "A", low, high, 6).struct.fields


def test_a_field_has_everything_its_line_says() -> None:
    (field,) = _fields("  rack   string?   3+   null 7+   tag 2   = null   lossy   as GroupId   # why")
    assert field == spec.Field(
        name="rack",
        kind=Primitive("string"),
        versions=Versions(3, 9),
        nullable=Versions(3, 9),
        tag=2,
        classic=False,
        default=None,
        null_by_default=True,
        lossy=True,
        domain="GroupId",
    )


@pytest.mark.parametrize(
    ("line", "versions", "nullable"),
    [
        ("a   string", Versions(0, 9), None),
        ("a   string   4+", Versions(4, 9), None),
        ("a   string   2-4", Versions(2, 4), None),
        ("a   string   5", Versions(5, 5), None),
        ("a   []?int8   5-6", Versions(5, 6), Versions(5, 6)),
        ("a   []int8   null 7+", Versions(0, 9), Versions(7, 9)),
    ],
)
def test_ranges(line: str, versions: Versions, nullable: Versions | None) -> None:
    (field,) = _fields(f"  {line}")
    assert (field.versions, field.nullable) == (versions, nullable)


@pytest.mark.parametrize(
    ("line", "default"),
    [("a int32", 0), ("a int32 = -1", -1), ("a bool = true", True), ("a bool", False), ("a float64", 0.0)],
)
def test_defaults(line: str, default: object) -> None:
    (field,) = _fields(f"  {line}")
    assert field.default == default
    assert type(field.default) is type(default)


def test_a_struct_is_given_once_and_named_again() -> None:
    one, other = _fields("  one   []Part\n    size   int32\n  other   Part   3+")
    assert isinstance(one.kind, Array)
    assert isinstance(one.kind.element, Struct)
    assert other.kind is one.kind.element


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("  a   int33", "line 1: int33 is not a type"),
        ("  a   Part", "line 1: Part has no fields"),
        ("  a   int8\n\n  a   int8", "line 3: a is there twice"),
        ("  a   int8\n      b   int8", "line 2: indented too far"),
        ("  a   int8   sometimes", "line 1: sometimes means nothing here"),
        ("  a   int8   = null", "line 1: a cannot be null by default, for it is never null"),
        ("  a   []int8   = 3", "line 1: a cannot have that default"),
        ("  a   int8   = x", "line 1: invalid literal"),
        ("  a   int8   as", "line 1: a word is missing at the end"),
        ("  a   int8   3-12", "line 1: versions 3-12 are not inside those of the message"),
        ("  a   Part\n    b   int8\n  c   Part\n    d   int8", "line 3: Part was given before"),
    ],
)
def test_what_breaks_the_notation_is_told_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(SpecError, match=re.escape(f"a.spec, {complaint}")):
        _fields(text)


def test_lines_that_belong_to_nothing_are_told() -> None:
    parser = _Parser("a.spec", "request\n  a   int8\nrespond\n")
    parser.expect(0, "request")
    parser.message("A", "A", 0, 0, None)
    with pytest.raises(SpecError, match="line 2: response expected after this"):
        parser.expect(0, "response")
    with pytest.raises(SpecError, match="line 3: this line belongs to nothing"):
        parser.finish()
