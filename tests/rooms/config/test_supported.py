"""Nothing is promised that nobody reads, and nothing is read in silence."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

import pykafka_broker
from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.catalogue import ALL
from pykafka_broker.config.supported import ACCEPTED, BROKER_KEYS, SUPPORTED, TOPIC_KEYS
from pykafka_broker.config.topic import TopicSettings

SOURCE = Path(pykafka_broker.__file__).parent

BY_WAY_OF = {
    "advertised.listeners": "read_listeners",
    "inter.broker.listener.name": "read_listeners",
    "listener.security.protocol.map": "read_listeners",
    "listeners": "read_listeners",
    "log.dir": "directories",
    "log.dirs": "directories",
    "node.id": "broker_id",
    "security.inter.broker.protocol": "read_listeners",
    "zookeeper.connect": "has_zookeeper",
}
"""Keys that a room reads through something of the config room's."""


@cache
def source_of(room: str) -> str:
    place = SOURCE / room
    files = [place.with_suffix(".py")] if place.with_suffix(".py").exists() else sorted(place.rglob("*.py"))
    return "\n".join(file.read_text() for file in files)


@pytest.mark.parametrize(("key", "room"), [*TOPIC_KEYS.items(), *BROKER_KEYS.items()])
def test_the_room_named_for_a_key_reads_it(key: str, room: str) -> None:
    name = BY_WAY_OF.get(key, key.replace(".", "_"))
    assert re.search(rf"\b{name}\b", source_of(room)), f"{room} does not read {key}"


def test_every_key_in_the_tables_exists() -> None:
    assert SUPPORTED.keys() <= BrokerSettings.SETTINGS.keys()
    assert BrokerSettings.SETTINGS.keys() >= ACCEPTED
    assert TOPIC_KEYS.keys() <= TopicSettings.SETTINGS.keys()
    assert not ACCEPTED & BROKER_KEYS.keys()
    assert ALL.keys() >= SUPPORTED.keys()


@pytest.mark.parametrize(
    "room", ["app", "api", "control", "group", "houses", "log", "neighbours", "net", "runtime", "store", "txn", "zk"]
)
def test_a_room_reads_no_setting_that_the_tables_leave_out(room: str) -> None:
    left_out = [one for key, one in BrokerSettings.SETTINGS.items() if key not in SUPPORTED and key not in ACCEPTED]
    read = [one.key for one in left_out if re.search(rf"(settings|broker)\.{one.name}\b", source_of(room))]
    assert read == []
