"""Committed offsets and their expiry, for one group."""

from __future__ import annotations

from pykafka_broker.group.offsets import Offsets
from pykafka_broker.group.records import CommittedOffset
from pykafka_broker.model.names import Offset, TopicPartition
from pykafka_broker.model.time import Millis

T0, T1, U0 = TopicPartition("t", 0), TopicPartition("t", 1), TopicPartition("u", 0)


def committed(offset: int, at: int = 0, expires: int = -1) -> CommittedOffset:
    return CommittedOffset(Offset(offset), commit_timestamp_ms=at, expire_timestamp_ms=expires)


def filled() -> Offsets:
    offsets = Offsets()
    offsets.restore(T0, committed(1, at=0))
    offsets.restore(T1, committed(2, at=50))
    offsets.restore(U0, committed(3, at=0, expires=70))
    return offsets


def test_the_last_commit_counts() -> None:
    offsets = filled()
    offsets.restore(T0, committed(9))
    assert offsets.get("t", 0) == committed(9)
    assert offsets.get("t", 7) is None
    assert offsets.get("nope", 0) is None


def test_forgetting_leaves_nothing_behind() -> None:
    offsets = filled()
    for partition in (T0, T1, U0, U0):
        offsets.restore(partition, None)
    assert not offsets
    assert list(offsets) == []


def test_offsets_expire_some_time_after_their_commit() -> None:
    assert filled().expired(Millis(99), 100, since=None, spared=()) == [U0]
    assert filled().expired(Millis(100), 100, since=None) == [T0, U0]
    assert filled().expired(Millis(150), 100, since=None) == [T0, T1, U0]


def test_offsets_of_an_empty_group_expire_some_time_after_it_was_emptied() -> None:
    assert filled().expired(Millis(199), 100, since=Millis(100)) == [U0]
    assert filled().expired(Millis(200), 100, since=Millis(100)) == [T0, T1, U0]


def test_an_expiry_that_the_client_named_goes_first() -> None:
    assert filled().expired(Millis(69), 10_000, since=None) == []
    assert filled().expired(Millis(70), 10_000, since=None) == [U0]


def test_topics_in_use_are_spared() -> None:
    assert filled().expired(Millis(1_000), 100, since=None, spared={"t"}) == [U0]
