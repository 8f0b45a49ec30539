"""``pykafka-broker config``: every effective setting, its value and where it comes from, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from pykafka_broker.config.catalogue import ALL
from pykafka_broker.config.loading import Loaded
from pykafka_broker.config.setting import Setting

HIDDEN = "[hidden]"
DEFAULT = "default"


def lines(loaded: Loaded) -> Iterator[str]:
    """Key, value and source of every key, in columns; a password is hidden, a key without a value shows ``null``."""
    rows = [
        (key, _shown(definition, loaded), loaded.origins.get(key, DEFAULT))
        for key, definition in ALL.items()
        if not definition.internal or key in loaded.texts
    ]
    rows += [(key, HIDDEN, origin) for key, origin in loaded.origins.items() if key not in ALL]
    rows.sort()
    key_width = max(len(key) for key, _, _ in rows)
    value_width = min(60, max(len(value) for _, value, _ in rows))
    for key, value, origin in rows:
        yield f"{key:{key_width}}  {value:{value_width}}  {origin}".rstrip()


def _shown(definition: Setting, loaded: Loaded) -> str:
    text = loaded.texts.get(definition.key)
    value = definition.default if text is None else definition.read(text)
    if definition.sensitive and value is not None:
        return HIDDEN
    shown = definition.show(value)
    return "null" if shown is None else shown
