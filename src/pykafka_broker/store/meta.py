"""``meta.properties``: whose log directory this is. Version 0, as brokers with ZooKeeper write it."""

from __future__ import annotations

from dataclasses import dataclass

FILE = "meta.properties"
_ESCAPES = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Meta:
    """A directory belongs to one broker of one cluster, which was not told before Kafka 0.10.1."""

    broker_id: int
    cluster_id: str | None


def encode(meta: Meta, now_ms: int) -> bytes:
    """Java's way to store properties: a comment, the date, the keys."""
    from datetime import UTC, datetime  # needed once in the life of a log directory

    date = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
    lines = ["#", f"#{date}", f"broker.id={meta.broker_id}", "version=0", f"cluster.id={meta.cluster_id}"]
    return ("\n".join(lines) + "\n").encode()


def decode(content: bytes) -> Meta:
    """Read what a broker with ZooKeeper wrote; ``ValueError`` says what is wrong."""
    fields = {}
    for line in content.decode("latin-1").splitlines():
        text = line.strip()
        if text and text[0] not in "#!":
            key, _, value = text.replace(" = ", "=", 1).partition("=")
            fields[key.strip()] = _unescape(value.strip())
    version = fields.get("version", "0")
    if version != "0":
        raise ValueError(f"version {version} belongs to a broker without ZooKeeper (KRaft)")
    return Meta(int(fields.get("broker.id", "-1")), fields.get("cluster.id"))


def _unescape(text: str) -> str:
    parts = text.split("\\")
    if len(parts) == 1:
        return text
    found, escaped = [parts[0]], True
    for part in parts[1:]:
        if escaped and part:
            found.append(_ESCAPES.get(part[0], part[0]) + part[1:])
        elif escaped:
            found.append("\\")
            escaped = False
            continue
        else:
            found.append(part)
        escaped = True
    return "".join(found)
