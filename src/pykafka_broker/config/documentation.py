"""``docs/configuration.md``, written from the fields themselves: ``python -m pykafka_broker.config.documentation``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.catalogue import WITHOUT_EFFECT
from pykafka_broker.config.loading import PLUGIN_KEYS, WHEN_ALONE, WITHOUT_FILE
from pykafka_broker.config.setting import Section, Setting
from pykafka_broker.config.supported import ACCEPTED, SUPPORTED, TOPIC_KEYS
from pykafka_broker.config.topic import TopicSettings

_HEAD = """\
# Configuration

Written from `src/pykafka_broker/config` by `python -m pykafka_broker.config.documentation`; a test keeps it fresh.

`pykafka-broker start SERVER.PROPERTIES --override KEY=VALUE` takes Kafka's own file: its keys, defaults and meanings,
as of Kafka 3.9 with ZooKeeper. `pykafka-broker config SERVER.PROPERTIES` shows what comes of it. A key that nobody
knows is warned of, and so is one that has no effect here, unless it says the default. A value that cannot be is told
with file, line and key, all mistakes at once, and the broker does not start.

What holds for a topic is looked for in this order: the topic's own settings, those set for this broker while it runs,
those set for all brokers, the file, the default. "Changes" tells what may be set while a broker runs: for `one` broker
at a time, or for `all` of them too.

"""

_SECTION_TITLES = {
    "ClusterSettings": "The broker and its cluster",
    "NetworkSettings": "Listeners and connections",
    "StorageSettings": "Logs",
    "GroupSettings": "Consumer groups",
    "TransactionSettings": "Producers and transactions",
    "SecuritySettings": "Security",
    "ZooKeeperTlsSettings": "TLS towards ZooKeeper",
}


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield from _HEAD.splitlines()
    yield from _without_file()
    yield "## Brokers"
    yield ""
    for section in BrokerSettings.__bases__:
        assert issubclass(section, Section)
        yield from _broker_section(section)
    yield from _topics()
    yield from _without_effect()


def _without_file() -> Iterator[str]:
    yield "## Without a file"
    yield ""
    yield "These hold when no file is given; the rest are Kafka's defaults:"
    yield ""
    for key, value in WITHOUT_FILE.items():
        yield f"- `{key}={value}`"
    yield ""
    yield "With a file that has no `zookeeper.connect` the broker is the only one of its cluster. Kafka's defaults for"
    yield "these could never be met then, so each is 1 unless the file says otherwise (a warning follows):"
    yield f"{', '.join(f'`{key}`' for key in WHEN_ALONE)}."
    yield ""


def _broker_section(section: type[Section]) -> Iterator[str]:
    read = [one for key, one in section.SETTINGS.items() if key in SUPPORTED and not one.internal]
    unread = [
        one
        for key, one in section.SETTINGS.items()
        if key not in SUPPORTED and key not in ACCEPTED and not one.internal
    ]
    accepted = [one for key, one in section.SETTINGS.items() if key in ACCEPTED]
    yield f"### {_SECTION_TITLES[section.__name__]}"
    yield ""
    if read:
        yield "| key | default | changes | meaning |"
        yield "|---|---|---|---|"
        for one in read:
            yield f"| `{one.key}` | {_default(one)} | {_mode(one)} | {one.says} |"
        yield ""
    if accepted:
        yield f"Accepted, and there is nothing to tune: {_listed(accepted)}."
        yield ""
    if unread:
        yield "Known, checked and shown, but without effect yet:"
        yield ""
        for one in unread:
            yield f"- `{one.key}` ({_default(one)}): {one.says}"
        yield ""


def _topics() -> Iterator[str]:
    yield "## Topics"
    yield ""
    yield "| key | default | broker's key | meaning |"
    yield "|---|---|---|---|"
    for key, one in sorted(TopicSettings.SETTINGS.items()):
        if key in TOPIC_KEYS:
            synonym = f"`{one.synonyms[0]}`" if one.synonyms else ""
            yield f"| `{key}` | {_default(one)} | {synonym} | {one.says} |"
    yield ""
    yield "Known, checked and kept, but without effect yet:"
    yield ""
    for key, one in sorted(TopicSettings.SETTINGS.items()):
        if key not in TOPIC_KEYS:
            yield f"- `{key}` ({_default(one)}): {one.says}"
    yield ""


def _without_effect() -> Iterator[str]:
    yield "## Known by name only"
    yield ""
    yield "DescribeConfigs lists these with Kafka's defaults; a file may name them, and nothing comes of it."
    yield ""
    groups: dict[str, list[Setting]] = {}
    for one in WITHOUT_EFFECT.values():
        if not one.internal:
            groups.setdefault(one.says, []).append(one)
    for says, members in groups.items():
        yield f"- {says} {_listed(members)}."
    yield f"- Belongs to the authorizer. {', '.join(f'`{key}`' for key in sorted(PLUGIN_KEYS))}."
    yield "- Belongs to single listeners. `listener.name.<name>.<key>`."


def _listed(settings: Iterable[Setting]) -> str:
    return ", ".join(f"`{one.key}`" for one in settings)


def _default(one: Setting) -> str:
    shown = one.show(one.default)
    if shown is None:
        return "none"
    return f"`{shown}`" if shown else "empty"


def _mode(one: Setting) -> str:
    return {"read-only": "", "per-broker": "one", "cluster-wide": "all"}[one.mode.value]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
