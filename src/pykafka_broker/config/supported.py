"""Which keys have an effect, and in which room of this program: the one place that says so.

``pykafka-broker start`` warns of a key that stands in neither table, and ``docs/configuration.md`` is written from
them. A test looks the fields up in the rooms named here, so nothing is promised that nobody reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SUPPORTED: Mapping[str, str] = MappingProxyType({})
"""Key to the room that reads it."""

ACCEPTED = frozenset(
    {
        "background.threads",
        "log.message.format.version",
        "num.io.threads",
        "num.network.threads",
        "offsets.commit.required.acks",
        "offsets.load.buffer.size",
        "queued.max.request.bytes",
        "queued.max.requests",
        "transaction.state.log.load.buffer.size",
    }
)
"""Keys that tune something which this broker does not have; any value is right, and no warning is due."""
