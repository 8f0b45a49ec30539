"""Following leaders: a task for each leader and fetcher, which asks, hands the answers to the logs, and asks again.

What is asked and what answers mean is ``log/follower.py``'s. A fetcher outlives every trouble with its leader; it ends,
and hangs up, when nothing is left to follow there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from pykafka_broker.log.follower import Follower, FollowerSettings
from pykafka_broker.log.throttle import UNTHROTTLED, Throttle
from pykafka_broker.model.errors import Unreachable
from pykafka_broker.model.names import BrokerId, TopicPartition, java_string_hash
from pykafka_broker.model.outcome import Fact, Level
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.leaderships import Leadership
from pykafka_broker.runtime.peers import Connect


class Replication:
    """Everything that this broker follows."""

    def __init__(
        self,
        me: BrokerId,
        settings: FollowerSettings,
        fetchers: int,
        connect: Connect,
        changes: Changes,
        clock: Clock,
        note: Callable[[Fact], None],
        settle: Callable[[], Awaitable[None]],
        throttle: Throttle = UNTHROTTLED,
    ) -> None:
        """``fetchers`` is how many lines share the partitions of one leader (``num.replica.fetchers``).

        ``settle`` returns when logs that were cut are on the device as they are now; before that nothing is asked for.
        """
        self._me = me
        self._settings = settings
        self._count = fetchers
        self._connect = connect
        self._changes = changes
        self._clock = clock
        self._note = note
        self._settle = settle
        self._throttle = throttle
        self._nursery: trio.Nursery | None = None
        self._broker_epoch = -1
        self._fetchers: dict[tuple[BrokerId, int], _Fetcher] = {}
        self._at: dict[TopicPartition, tuple[BrokerId, int]] = {}

    @property
    def broker_epoch(self) -> int:
        """Of this broker's registration, which leaders are told."""
        return self._broker_epoch

    @broker_epoch.setter
    def broker_epoch(self, epoch: int) -> None:
        self._broker_epoch = epoch
        for fetcher in self._fetchers.values():
            fetcher.follower.broker_epoch = epoch

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the fetchers running; ``follow`` and ``unfollow`` may be called once this has started."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def follow(self, leadership: Leadership) -> None:
        """Follow a partition's leader, in its present epoch; whom it followed before it follows no more."""
        partition = leadership.partition
        key = leadership.leader, fetcher_index(partition, self._count)
        if self._at.get(partition, key) != key:
            self.unfollow(partition)
        fetcher = self._fetchers.get(key)
        if fetcher is None:
            fetcher = self._fetchers[key] = self._start(*key)
        self._at[partition] = key
        fetcher.follow(leadership)

    def unfollow(self, partition: TopicPartition) -> None:
        """Ask for the partition no more."""
        key = self._at.pop(partition, None)
        if key is None:
            return
        fetcher = self._fetchers.get(key)
        if fetcher is None:
            # The follower had given it up by itself (its leader is fenced), and what else was followed there has gone.
            return
        fetcher.follower.unfollow(partition)
        if not len(fetcher.follower):
            del self._fetchers[key]
            fetcher.scope.cancel()

    def _start(self, leader: BrokerId, index: int) -> _Fetcher:
        assert self._nursery is not None, "leaders are followed while run() runs"
        follower = Follower(self._me, self._settings, self._note, self._throttle)
        follower.broker_epoch = self._broker_epoch
        fetcher = _Fetcher(leader, f"broker-{self._me}-fetcher-{index}", follower, self._clock)
        self._nursery.start_soon(self._run, fetcher)
        return fetcher

    async def _run(self, fetcher: _Fetcher) -> None:
        line = self._connect(fetcher.leader, fetcher.client_id)
        has_said = False
        try:
            with fetcher.scope:
                while True:
                    await self._settle()
                    question = fetcher.follower.next_question(self._clock())
                    if question is None:
                        await fetcher.rest()
                        continue
                    try:
                        response = await line.ask(question.api, question.version, question.body)
                    except Unreachable as error:
                        fetcher.follower.failed(self._clock())
                        if not has_said:
                            fields = {"leader": fetcher.leader, "why": str(error)}
                            self._note(Fact("LeaderUnreachable", Level.WARNING, fields))
                        has_said = True
                        continue
                    has_said = False
                    for partition in fetcher.follower.take(self._clock(), question, response).committed:
                        self._changes.ring(partition)
        finally:
            line.close()


class _Fetcher:
    """One line to one leader, and what is followed over it."""

    def __init__(self, leader: BrokerId, client_id: str, follower: Follower, clock: Clock) -> None:
        self.leader = leader
        self.client_id = client_id
        self.follower = follower
        self.scope = trio.CancelScope()
        self._clock = clock
        self._bell = trio.Event()

    def follow(self, leadership: Leadership) -> None:
        self.follower.follow(self._clock(), leadership)
        self._bell.set()

    async def rest(self) -> None:
        """Wait until something new is followed, or something has rested enough."""
        self._bell = trio.Event()
        deadline = self.follower.next_deadline()
        limit_s = float("inf") if deadline is None else max(0, deadline - self._clock()) / 1000
        with trio.move_on_after(limit_s):
            await self._bell.wait()


def fetcher_index(partition: TopicPartition, fetchers: int) -> int:
    """Which of a leader's fetchers follows a partition (``AbstractFetcherManager.getFetcherId``)."""
    mixed = (31 * java_string_hash(partition.topic) + partition.partition) & 0xFFFFFFFF
    return (mixed & 0x7FFFFFFF) % fetchers
