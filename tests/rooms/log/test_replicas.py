"""What a leader knows of its followers, from nothing but their fetches."""

from __future__ import annotations

from pykafka_broker.log.replicas import Replica, Replicas
from pykafka_broker.model.names import BrokerId
from pykafka_broker.model.time import Millis

ME, ONE, TWO, THREE = (BrokerId(number) for number in range(4))
LAG = 10_000


def alive(_: BrokerId) -> bool:
    return True


def led(*isr: BrokerId, end: int = 0, now: int = 0, replicas: tuple[BrokerId, ...] = (ME, ONE, TWO)) -> Replicas:
    replicated = Replicas()
    replicated.lead(Millis(now), ME, replicas, isr or replicas, end, is_new_leader=True)
    return replicated


def fetches(replicated: Replicas, broker: BrokerId, offset: int, now: int = 0, end: int = 100) -> Replica:
    replica = replicated.get(broker)
    assert replica is not None
    replica.fetched(Millis(now), offset, 0, end)
    return replica


def watermark(replicated: Replicas, end: int = 100, now: int = 0) -> int:
    return replicated.high_watermark(Millis(now), end, LAG, alive)


def test_nothing_is_committed_before_every_replica_in_sync_has_been_heard() -> None:
    replicated = led()
    assert watermark(replicated) == -1
    fetches(replicated, ONE, 60)
    assert watermark(replicated) == -1
    fetches(replicated, TWO, 80)
    assert watermark(replicated) == 60


def test_a_replica_that_is_not_in_sync_holds_nothing_back() -> None:
    replicated = led(ME, ONE, now=100_000)
    fetches(replicated, ONE, 70, now=100_000)
    assert watermark(replicated, now=100_000) == 70


def test_a_replica_about_to_join_is_waited_for() -> None:
    replicated = led(ME, ONE, now=100_000)
    fetches(replicated, ONE, 100, now=100_000)
    fetches(replicated, TWO, 100, now=100_000)
    assert watermark(replicated, end=150, now=100_001) == 100
    assert replicated.high_watermark(Millis(100_001), 150, LAG, lambda broker: broker != TWO) == 100


def test_a_join_counts_at_once_and_a_leave_only_when_confirmed() -> None:
    replicated = led(ME, ONE)
    replicated.propose_join(TWO)
    assert set(replicated.maximal_isr) == {ME, ONE, TWO}
    assert replicated.isr == (ME, ONE)
    replicated.confirm((ME, ONE, TWO))
    replicated.propose_leave([ONE])
    assert set(replicated.maximal_isr) == {ME, ONE, TWO}
    replicated.confirm((ME, TWO))
    assert set(replicated.maximal_isr) == {ME, TWO}


def test_a_proposal_that_was_not_tried_is_taken_back() -> None:
    replicated = led(ME, ONE)
    replicated.propose_join(TWO)
    replicated.go_back()
    assert replicated.pending is None
    assert set(replicated.maximal_isr) == {ME, ONE}


def test_who_has_all_that_is_committed_and_all_that_the_leader_began_with_may_join() -> None:
    replicated = led(ME, ONE)
    fetches(replicated, TWO, 50)
    assert replicated.may_join(TWO, high_watermark=50, epoch_start=50)
    assert not replicated.may_join(TWO, high_watermark=51, epoch_start=0)
    assert not replicated.may_join(TWO, high_watermark=0, epoch_start=51)
    assert not replicated.may_join(ONE, high_watermark=0, epoch_start=0), "it is in sync already"
    assert not replicated.may_join(THREE, high_watermark=0, epoch_start=0), "it is no replica"
    replicated.propose_leave([ONE])
    assert not replicated.may_join(TWO, high_watermark=50, epoch_start=50), "one change at a time"


def test_a_follower_that_asks_for_what_was_the_end_at_its_last_fetch_keeps_up() -> None:
    replica = Replica(ONE)
    replica.fetched(Millis(1_000), 100, 0, 100)
    assert replica.last_caught_up_ms == 1_000
    replica.fetched(Millis(2_000), 100, 0, 150)
    assert replica.last_caught_up_ms == 1_000
    replica.fetched(Millis(3_000), 150, 0, 200)
    assert replica.last_caught_up_ms == 2_000, "it has now what the leader had then"


def test_a_follower_that_lags_for_too_long_is_out_of_sync_and_one_that_has_everything_never() -> None:
    replicated = led(now=0)
    fetches(replicated, ONE, 100, now=0)
    fetches(replicated, TWO, 90, now=0)
    assert replicated.out_of_sync(Millis(LAG), 100, LAG) == []
    assert replicated.out_of_sync(Millis(LAG + 1), 100, LAG) == [TWO]
    replicated.propose_leave([TWO])
    assert replicated.out_of_sync(Millis(LAG + 1), 100, LAG) == [], "one change at a time"


def test_the_low_watermark_is_that_of_the_last_live_replica() -> None:
    replicated = led()
    fetches(replicated, ONE, 100).log_start_offset = 5
    fetches(replicated, TWO, 100).log_start_offset = 3
    assert replicated.low_watermark(10, alive) == 3
    assert replicated.low_watermark(10, lambda broker: broker == ONE) == 5
    assert Replicas().low_watermark(10, alive) == 10


def test_a_new_leader_knows_nothing_and_one_that_stays_remembers() -> None:
    replicated = led()
    fetches(replicated, ONE, 80)
    replicated.lead(Millis(5), ME, (ME, ONE, TWO), (ME, ONE), 100, is_new_leader=False)
    one = replicated.get(ONE)
    assert one is not None
    assert (one.log_end_offset, one.last_caught_up_ms) == (80, 5)
    replicated.lead(Millis(6), ME, (ME, ONE, THREE), (ME, ONE), 100, is_new_leader=True)
    assert [(one.broker, one.log_end_offset) for one in replicated] == [(ONE, -1), (THREE, -1)]
    replicated.clear()
    assert not replicated
