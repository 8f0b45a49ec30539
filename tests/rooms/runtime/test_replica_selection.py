"""Consumers read from a replica in their own rack, where there is one (KIP-392)."""

from __future__ import annotations

from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.replica_selection import no_selection, rack_aware
from tests.doubles.replica_broker import ReplicaBroker


def leader() -> ReplicaBroker:
    """Broker 1 in rack1, which leads; 2 in rack2 has offsets 0 to 5, 3 in rack3 none."""
    broker = ReplicaBroker(1, lambda: Millis(1_000))
    broker.knows(1, 2, 3)
    broker.hears(1, 0, (1, 2, 3), (1, 2, 3))
    for _ in range(5):
        broker.appends(b"x")
    broker.part().fetched(2, 5, 0)  # type: ignore[arg-type]
    return broker


def test_a_reader_in_the_rack_of_a_follower_that_has_the_offset_reads_there() -> None:
    part = leader().part()
    assert rack_aware(part, "rack2", "PLAINTEXT", 3) == 2


def test_a_reader_stays_where_no_follower_of_its_rack_has_the_offset() -> None:
    part = leader().part()
    assert rack_aware(part, "rack3", "PLAINTEXT", 0) is None
    assert rack_aware(part, "rack2", "PLAINTEXT", 6) is None
    assert rack_aware(part, "elsewhere", "PLAINTEXT", 0) is None


def test_a_reader_is_not_sent_to_a_follower_that_is_not_in_sync() -> None:
    broker = leader()
    broker.part().isr_confirmed(0, 1, (1, 3))  # type: ignore[arg-type]
    assert rack_aware(broker.part(), "rack2", "PLAINTEXT", 3) is None


def test_a_reader_in_the_rack_of_the_leader_stays() -> None:
    assert rack_aware(leader().part(), "rack1", "PLAINTEXT", 0) is None


def test_a_follower_that_cannot_be_reached_through_the_readers_listener_is_no_choice() -> None:
    assert rack_aware(leader().part(), "rack2", "INSIDE", 0) is None


def test_without_a_selector_everybody_stays() -> None:
    assert no_selection(leader().part(), "rack2", "PLAINTEXT", 0) is None
