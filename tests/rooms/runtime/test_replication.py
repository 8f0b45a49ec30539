"""Fetchers come and go with what they follow, and outlive their leaders' troubles."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.model.errors import Unreachable
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.runtime.clock import trio_clock
from pykafka_broker.runtime.peers import Line
from pykafka_broker.runtime.replication import Replication, fetcher_index
from tests.doubles.replica_broker import T0, ReplicaBroker


class Network:
    """Leaders behind lines that can be cut."""

    def __init__(self, fetchers: int = 1) -> None:
        self.clock = trio_clock(100_000)  # type: ignore[arg-type]
        self.leaders = {number: ReplicaBroker(number, self.clock) for number in (1, 3)}
        self.follower = ReplicaBroker(2, self.clock)
        for broker in (*self.leaders.values(), self.follower):
            broker.knows(1, 2, 3, partitions=4)
        self.cut: set[int] = set()
        self.opened: list[tuple[int, str]] = []
        self.closed: list[int] = []
        self.settled: list[int] = []
        self.committed = self.follower.changes
        self.replication = Replication(
            self.follower.me,
            BrokerSettings(replica_fetch_wait_max_ms=0),
            fetchers,
            self._connect,
            self.follower.changes,
            self.clock,
            self.follower.note,
            self._settle,
        )
        self.follower.leaderships.on_follow = self.replication.follow
        self.follower.leaderships.on_unfollow = self.replication.unfollow

    async def _settle(self) -> None:
        """Where the follower's log ends each time before something is asked for."""
        self.settled.append(self.follower.part(T0).log.log_end_offset)
        await trio.sleep(0.01)

    def _connect(self, broker: BrokerId, client_id: str) -> Line:
        self.opened.append((broker, client_id))
        return _Line(self, broker)

    def leads(self, leader: int, epoch: int, index: int = 0) -> None:
        for broker in (*self.leaders.values(), self.follower):
            broker.hears(leader, epoch, (leader, 2), (leader, 2), index=index)

    async def caught_up(self, leader: int, partition: TopicPartition = T0) -> None:
        with trio.fail_after(60):
            ours, theirs = self.follower.part(partition), self.leaders[leader].part(partition)
            while ours.log.log_end_offset < theirs.log.log_end_offset:
                await trio.sleep(0.1)


class _Line:
    def __init__(self, network: Network, broker: BrokerId) -> None:
        self._network, self._broker = network, broker

    async def ask(self, api: str, version: int, body: Any) -> Any:
        await trio.sleep(0.01)
        if self._broker in self._network.cut:
            raise Unreachable("cut")
        return self._network.leaders[self._broker].answer(api, version, body)

    def close(self) -> None:
        self._network.closed.append(self._broker)


@pytest.fixture
async def network(nursery: trio.Nursery) -> Network:
    network = Network()
    await nursery.start(network.replication.run)
    return network


async def test_what_a_leader_appends_arrives(autojump_clock: MockClock, network: Network) -> None:
    network.leads(1, 0)
    network.leaders[1].appends(b"a")
    await network.caught_up(1)
    assert network.opened == [(1, "broker-2-fetcher-0")]
    assert network.follower.log_bytes() == network.leaders[1].log_bytes()


async def test_another_leader_is_followed_over_another_line(autojump_clock: MockClock, network: Network) -> None:
    network.leads(1, 0)
    network.leaders[1].appends(b"a")
    await network.caught_up(1)
    network.leads(3, 1)
    await wait_all_tasks_blocked(0.001)
    assert network.closed == [1]
    network.leaders[3].appends(b"b")
    await network.caught_up(3)
    assert [broker for broker, _ in network.opened] == [1, 3]


async def test_a_leader_that_cannot_be_reached_is_asked_again_and_complained_of_once(
    autojump_clock: MockClock, network: Network
) -> None:
    network.leads(1, 0)
    network.leaders[1].appends(b"a")
    network.cut.add(1)
    await trio.sleep(10)
    assert len([fact for fact in network.follower.facts if fact.name == "LeaderUnreachable"]) == 1
    network.cut.clear()
    await network.caught_up(1)


async def test_nothing_is_asked_for_after_a_cut_before_that_is_settled(
    autojump_clock: MockClock, network: Network
) -> None:
    network.leads(1, 0)
    network.leaders[1].appends(b"a", b"b", b"c")
    await network.caught_up(1)
    network.leads(3, 1)
    network.settled.clear()
    network.leaders[3].appends(b"d")
    network.leaders[3].appends(b"e")
    await network.caught_up(3)
    await trio.sleep(1)
    # The three that leader 3 never had are cut off, and what it has comes only after that was settled.
    assert list(dict.fromkeys(network.settled)) == [3, 0, 2]


async def test_a_line_is_hung_up_when_nothing_is_followed_over_it(autojump_clock: MockClock, network: Network) -> None:
    network.leads(1, 0)
    network.leads(1, 0, index=1)
    await wait_all_tasks_blocked(0.001)
    network.replication.unfollow(T0)
    await trio.sleep(0.1)
    assert network.closed == []
    network.replication.unfollow(TopicPartition("t", 1))
    await trio.sleep(0.1)
    assert network.closed == [1]


async def test_partitions_are_let_go_together_after_their_leader_has_fenced_the_follower(
    autojump_clock: MockClock, network: Network
) -> None:
    second = TopicPartition("t", 1)
    network.leads(1, 0)
    network.leads(1, 0, index=1)
    await wait_all_tasks_blocked(0.001)
    for index in (0, 1):
        network.leaders[1].hears(1, 1, (1, 2), (1, 2), index=index)
    network.leaders[1].appends(b"a")
    await trio.sleep(5)
    assert [fact.name for fact in network.follower.facts].count("FollowingFenced") == 2
    network.replication.unfollow(T0)
    network.replication.unfollow(second)
    await trio.sleep(0.1)
    assert network.closed == [1]
    network.leads(1, 2)
    await network.caught_up(1)
    assert network.opened == [(1, "broker-2-fetcher-0")] * 2


async def test_readers_of_a_follower_are_woken_when_more_is_committed(
    autojump_clock: MockClock, network: Network, nursery: trio.Nursery
) -> None:
    woken = trio.Event()

    async def read() -> None:
        await network.committed.wait([T0])
        woken.set()

    network.leads(1, 0)
    nursery.start_soon(read)
    await wait_all_tasks_blocked(0.001)
    network.leaders[1].appends(b"a")
    with trio.fail_after(10):
        await woken.wait()


async def test_leaders_are_told_the_epoch_of_our_registration(autojump_clock: MockClock, network: Network) -> None:
    network.leads(1, 0)
    network.replication.broker_epoch = 42
    (fetcher,) = network.replication._fetchers.values()
    assert fetcher.follower.broker_epoch == 42
    network.leads(3, 1)
    (fetcher,) = network.replication._fetchers.values()
    assert fetcher.follower.broker_epoch == 42


def test_partitions_are_shared_out_among_fetchers_as_java_does() -> None:
    assert [fetcher_index(TopicPartition("t", index), 3) for index in range(4)] == [2, 0, 1, 2]
    assert fetcher_index(TopicPartition("polygenelubricants", 0), 4) in range(4)
