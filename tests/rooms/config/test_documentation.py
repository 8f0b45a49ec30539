"""``docs/configuration.md`` says what the fields say."""

from __future__ import annotations

from pathlib import Path

from pykafka_broker.config.catalogue import ALL
from pykafka_broker.config.documentation import lines
from pykafka_broker.config.topic import TopicSettings

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == "\n".join(lines()) + "\n", "run: python -m pykafka_broker.config.documentation"


def test_the_page_names_every_key() -> None:
    page = PAGE.read_text()
    keys = [key for key, one in ALL.items() if not one.internal]
    assert [key for key in (*keys, *TopicSettings.SETTINGS) if f"`{key}`" not in page] == []
