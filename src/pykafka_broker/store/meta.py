"""``meta.properties``: whose log directory this is. Version 0, as brokers with ZooKeeper write it.

Reading follows Apache Kafka 3.9's ``MetaProperties``, what is refused its ``MetaPropertiesEnsemble.verify``.
"""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

from pykafka_broker.config.properties import MalformedProperties, parse

FILE = "meta.properties"
_VERSION, _BROKER, _CLUSTER, _DIRECTORY = "version", "broker.id", "cluster.id", "directory.id"
_INT = re.compile(r"[-+]?[0-9]{1,10}")
_LARGEST = 2**31 - 1


class UnreadableMeta(ValueError):
    """What the file says makes no sense; as bad as a file that cannot be read."""


class NotMine(ValueError):
    """The directory belongs to somebody else; the sentence is Apache Kafka's."""


class Meta(Struct, frozen=True):
    """A directory belongs to one broker of one cluster; a file need not name them."""

    broker_id: int | None
    cluster_id: str | None
    directory_id: str | None = None
    """From a broker on its way to KRaft (KIP-858); kept as it is."""
    version: int = 0

    def completed(self, mine: Meta, path: str) -> Meta:
        """The same with what the file does not name; ``NotMine`` if it, at ``path``, names other ones than ``mine``."""
        if self.version != 0:
            raise NotMine(
                f"Found unexpected version in {path}. ZK-based brokers that are not migrating only support version 0 "
                "(which is implicit when the `version` field is missing)."
            )
        if self.cluster_id not in (None, mine.cluster_id):
            raise NotMine(f"Invalid cluster.id in: {path}. Expected {mine.cluster_id}, but read {self.cluster_id}")
        if self.broker_id not in (None, mine.broker_id):
            raise NotMine(
                f"Stored node id {self.broker_id} doesn't match previous node id {mine.broker_id} in {path}. If you "
                "moved your data, make sure your configured node id matches. If you intend to create a new node, you "
                "should remove all data in your data directories."
            )
        return replace(mine, directory_id=self.directory_id)


def encode(meta: Meta, now_ms: int) -> bytes:
    """Java's way to store properties: a comment, the date, the keys."""
    from datetime import UTC, datetime  # needed once in the life of a log directory

    date = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
    lines = ["#", f"#{date}", f"{_BROKER}={meta.broker_id}"]
    lines += [] if meta.directory_id is None else [f"{_DIRECTORY}={meta.directory_id}"]
    lines += [f"{_VERSION}={meta.version}", f"{_CLUSTER}={meta.cluster_id}"]
    return ("\n".join(lines) + "\n").encode()


def decode(content: bytes) -> Meta:
    """Read what any broker wrote; ``UnreadableMeta`` says what is wrong."""
    try:
        fields = {entry.key: entry.value for entry in parse(content.decode("latin-1"))}
    except MalformedProperties as problem:
        raise UnreadableMeta(str(problem)) from problem
    text = fields.get(_VERSION, "0")
    version = _number(text)
    if version is None:
        raise UnreadableMeta(f"Invalid {FILE} version string '{text}'")
    if version not in (0, 1):
        raise UnreadableMeta(f"Unknown {FILE} version number {version}")
    broker_id = _number(fields[_BROKER]) if _BROKER in fields else None
    if broker_id is None and _BROKER in fields:
        raise UnreadableMeta(f"Unable to read {_BROKER} as a base-10 number.")
    return Meta(broker_id, fields.get(_CLUSTER), fields.get(_DIRECTORY), version)


def _number(text: str) -> int | None:
    """As Java's ``Integer.parseInt``; None for what is none."""
    number = int(text) if _INT.fullmatch(text) else _LARGEST + 1
    return number if -_LARGEST <= number <= _LARGEST else None
