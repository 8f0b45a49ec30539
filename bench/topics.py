"""Makes the topics that loads write to."""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]


def make_topic(
    bootstrap: str, name: str, partitions: int, replicas: int = 1, config: Mapping[str, str] | None = None
) -> None:
    """Create the topic and wait for its leaders, and for their followers to be in sync."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics(
        [NewTopic(name, partitions, replicas, config=dict(config or {}))], operation_timeout=120, request_timeout=120
    )
    made[name].result(120)
    while True:
        found = admin.list_topics(name, timeout=10).topics[name].partitions.values()
        if len(found) == partitions and all(one.leader >= 0 and len(one.isrs) == replicas for one in found):
            return
        time.sleep(0.02)
