"""Sections: typed fields that are the definitions of their keys."""

from __future__ import annotations

import pytest

from pykafka_broker.config.kinds import InvalidValue, Kind
from pykafka_broker.config.rules import at_least
from pykafka_broker.config.setting import Section, setting


class Lamps(Section):
    """Two settings."""

    lamp_count: int = setting("lamp.count", Kind.INT, default=1, rule=at_least(0), says="How many.")
    lamp_secret: str | None = setting("lamp.secret", Kind.PASSWORD, default=None, says="Hush.")


class Chairs(Section):
    """One setting."""

    chair_color: str = setting("chair.color", Kind.STRING, default="red", says="Which.")


class House(Lamps, Chairs):
    """A section made of sections."""


def test_fields_have_their_defaults_until_they_are_given() -> None:
    assert Lamps().lamp_count == 1
    assert Lamps(lamp_count=3).lamp_count == 3


def test_a_section_of_sections_has_all_their_keys_and_can_stand_for_each() -> None:
    house = House(lamp_count=2, chair_color="blue")
    assert set(House.SETTINGS) == {"lamp.count", "lamp.secret", "chair.color"}
    assert (house.lamp_count, house.chair_color) == (2, "blue")
    assert isinstance(house, Chairs)


def test_settings_cannot_be_changed_only_replaced() -> None:
    lamps = Lamps()
    with pytest.raises(AttributeError):
        lamps.lamp_count = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del lamps.lamp_count
    assert lamps.replacing(lamp_count=2).lamp_count == 2
    assert lamps.lamp_count == 1


def test_a_field_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="chair_color"):
        Lamps(chair_color="red")  # type: ignore[call-arg]


def test_a_field_must_be_called_like_its_key() -> None:
    with pytest.raises(TypeError, match="lamp_count"):

        class Wrong(Section):
            count: int = setting("lamp.count", Kind.INT, default=1, says="")


def test_texts_are_read_by_key_and_foreign_keys_left_alone() -> None:
    assert Lamps.read({"lamp.count": "7", "other": "x"}) == Lamps(lamp_count=7)
    with pytest.raises(InvalidValue):
        Lamps.read({"lamp.count": "-1"})


def test_values_can_be_asked_for_by_key() -> None:
    assert Lamps(lamp_count=4).value("lamp.count") == 4
    assert Lamps(lamp_count=4).shown("lamp.count") == "4"
    with pytest.raises(KeyError):
        Lamps().value("nope")


def test_equal_settings_are_equal_however_they_were_made() -> None:
    assert Lamps(lamp_count=1) == Lamps()
    assert hash(Lamps(lamp_count=1)) == hash(Lamps())
    assert Lamps(lamp_count=2) != Lamps()


def test_a_secret_is_not_shown() -> None:
    assert "tiger" not in repr(Lamps(lamp_secret="tiger"))
    assert repr(Lamps(lamp_count=2)) == "Lamps(lamp_count=2)"
