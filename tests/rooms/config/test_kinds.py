"""Reading and showing single values, as Kafka's ``ConfigDef`` and Java do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.config.kinds import InvalidValue, Kind, java_double, read_value, show_value


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Kind.BOOLEAN, " TRUE ", True),
        (Kind.BOOLEAN, "false", False),
        (Kind.INT, "+5", 5),
        (Kind.INT, "-2147483648", -(2**31)),
        (Kind.LONG, " 7 ", 7),
        (Kind.LONG, "٣", 3),
        (Kind.SHORT, "32767", 32767),
        (Kind.DOUBLE, ".25d", 0.25),
        (Kind.DOUBLE, "0x1p-1", 0.5),
        (Kind.DOUBLE, "-Infinity", -math.inf),
        (Kind.LIST, "a , b", ("a", "b")),
        (Kind.LIST, "a,,b", ("a", "", "b")),
        (Kind.LIST, " ", ()),
        (Kind.STRING, " x ", "x"),
        (Kind.PASSWORD, " x ", " x "),
    ],
)
def test_a_text_becomes_the_value_that_java_reads(kind: Kind, text: str, value: object) -> None:
    assert read_value("k", kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        (Kind.BOOLEAN, "yes", "Expected value to be either true or false"),
        (Kind.BOOLEAN, "", "Expected value to be either true or false"),
        (Kind.INT, "2147483648", "Not a number of type INT"),
        (Kind.SHORT, "32768", "Not a number of type SHORT"),
        (Kind.LONG, "abc", "Not a number of type LONG"),
        (Kind.LONG, "1_000", "Not a number of type LONG"),
        (Kind.LONG, "0x5", "Not a number of type LONG"),
        (Kind.LONG, "+", "Not a number of type LONG"),
        (Kind.DOUBLE, "1_0.5", "Not a number of type DOUBLE"),
        (Kind.DOUBLE, "inf", "Not a number of type DOUBLE"),
        (Kind.DOUBLE, "0x1", "Not a number of type DOUBLE"),
    ],
)
def test_a_text_that_java_cannot_read_is_refused_in_kafkas_words(kind: Kind, text: str, why: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        read_value("some.key", kind, text)
    assert str(caught.value) == f"Invalid value {text} for configuration some.key: {why}"


@pytest.mark.parametrize(
    "shown",
    [
        *("1.0E-4", "1.2E-4", "1.234567895E8", "1.0E7", "9999999.0", "1.0E22", "1.5E300", "0.001", "-2.5E-7", "0.5"),
        *("100.0", "-1.0E10", "1.7976931348623157E308", "0.0", "-0.0", "NaN", "Infinity", "-Infinity"),
    ],
)
def test_a_double_is_shown_as_java_shows_it(shown: str) -> None:
    value = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(shown)
    assert java_double(float(shown) if value is None else value) == shown


@given(st.floats(allow_nan=False))
def test_what_is_shown_of_a_double_reads_back_as_the_same_double(value: float) -> None:
    assert read_value("k", Kind.DOUBLE, java_double(value)) == value


@given(st.lists(st.text(alphabet="abc.:-", min_size=1)))
def test_a_list_survives_being_shown(members: list[str]) -> None:
    shown = show_value(Kind.LIST, tuple(members))
    assert shown is not None
    assert read_value("k", Kind.LIST, shown) == tuple(members)


def test_no_value_is_shown_as_none() -> None:
    assert show_value(Kind.INT, None) is None
    assert show_value(Kind.BOOLEAN, False) == "false"
