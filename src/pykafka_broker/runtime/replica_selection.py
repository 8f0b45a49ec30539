"""Which replica a consumer should read from (KIP-392): one in its own rack, if the leader is not there.

After ``RackAwareReplicaSelector``, the only selector that Apache Kafka brings; ``replica.selector.class`` names it.
"""

from __future__ import annotations

from collections.abc import Callable

from pykafka_broker.model.names import BrokerId
from pykafka_broker.runtime.leaderships import Leadership

RACK_AWARE = "org.apache.kafka.common.replica.RackAwareReplicaSelector"

SelectReplica = Callable[[Leadership, str, str, int], BrokerId | None]
"""Given the leadership, the consumer's rack, its listener and its offset: another replica, or ``None``: stay here."""


def no_selection(leadership: Leadership, rack: str, listener: str, offset: int) -> BrokerId | None:
    """Everybody reads from the leader."""
    return None


def rack_aware(leadership: Leadership, rack: str, listener: str, offset: int) -> BrokerId | None:
    """The most caught-up replica of the rack that is in sync, has the offset and can be reached through the listener.

    One that is not in sync could fall behind for ever, and take its consumers with it.
    """
    around = leadership.surroundings
    brokers = around.metadata.brokers
    mine = brokers.get(leadership.me)
    if mine is not None and mine.rack == rack:
        return None
    now = around.clock()
    found = [
        (replica.log_end_offset, replica.last_caught_up_ms - now, replica.broker)
        for replica in leadership.followers
        if replica.broker in leadership.isr
        and replica.log_start_offset <= offset <= replica.log_end_offset
        and (broker := brokers.get(replica.broker)) is not None
        and broker.rack == rack
        and listener in broker.listeners
    ]
    return max(found)[2] if found else None
