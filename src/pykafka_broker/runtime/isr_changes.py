"""Changes of in-sync replicas on their way to the controller: gathered, asked for by AlterPartition, taken over.

One request is under way at a time; what is proposed meanwhile goes with the next (``AlterPartitionManager``). What to
propose is decided by ``log/replicas.py``, what becomes of it by the controller (KIP-497).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import trio

from pykafka_broker.log.replicas import Proposal
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import NO_TOPIC_ID, BrokerId, LeaderEpoch, TopicPartition
from pykafka_broker.runtime.leaderships import Leadership, Leaderships
from pykafka_broker.wire import messages

RETRY_AFTER_S = 0.05
"""How long to wait after an answer that says: later."""

_VERSION_WITH_IDS = 3
_VERSION_WITH_NAMES = 1
_NOT_ATTEMPTED = {ErrorCode.OPERATION_NOT_ATTEMPTED, ErrorCode.INELIGIBLE_REPLICA}
_GIVEN_UP = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.UNKNOWN_TOPIC_ID,
    ErrorCode.FENCED_LEADER_EPOCH,
    ErrorCode.INVALID_UPDATE_VERSION,
    ErrorCode.INVALID_REQUEST,
    ErrorCode.NEW_LEADER_ELECTED,
}
"""What cannot come true any more; the controller is about to tell why by a LeaderAndIsr, and until then it may have."""

Ask = Callable[[str, int, Any], Awaitable[Any]]
"""Asks the controller, however long that takes."""


class _Asked(NamedTuple):
    """A proposal as it was when it was sent."""

    leadership: Leadership
    proposal: Proposal
    leader_epoch: LeaderEpoch
    partition_epoch: int


class IsrChanges:
    """What the leaderships of this broker propose."""

    def __init__(self, me: BrokerId, leaderships: Leaderships, ask: Ask, lag_time_max_ms: int) -> None:
        self.broker_epoch = -1
        """Of our registration; set by whoever registers."""
        self._me = me
        self._leaderships = leaderships
        self._ask = ask
        self._lag_time_max_ms = lag_time_max_ms
        self._wanted: dict[TopicPartition, Leadership] = {}
        self._bell = trio.Event()

    def propose(self, leadership: Leadership) -> None:
        """The leadership has a pending change."""
        self._wanted[leadership.partition] = leadership
        self._bell.set()

    async def run(self) -> None:
        """Ask for what is proposed, and look for followers that lag behind, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drop_laggards)
            while True:
                if not self._wanted:
                    self._bell = trio.Event()
                    await self._bell.wait()
                if not await self._send():
                    await trio.sleep(RETRY_AFTER_S)

    async def _drop_laggards(self) -> None:
        while True:
            await trio.sleep(self._lag_time_max_ms / 2 / 1000)
            for leadership in tuple(self._leaderships.hosted.values()):
                leadership.drop_laggards()

    async def _send(self) -> bool:
        """Ask once for everything that is wanted now; whether nothing of it has to be asked for again."""
        wanted, self._wanted = self._wanted, {}
        asked = {
            partition: _Asked(one, one.followers.pending, one.leader_epoch, one.partition_epoch)
            for partition, one in wanted.items()
            if one.followers.pending is not None and one.is_leader
        }
        if not asked:
            return True
        has_ids = all(one.leadership.topic_id != NO_TOPIC_ID for one in asked.values())
        version = _VERSION_WITH_IDS if has_ids else _VERSION_WITH_NAMES
        response = await self._ask("AlterPartition", version, self._request(asked, version))
        if response.error_code:
            for one in asked.values():
                self._again(one)
            return False
        return self._take_over(asked, response)

    def _request(self, asked: dict[TopicPartition, _Asked], version: int) -> messages.AlterPartitionRequest:
        request = messages.AlterPartitionRequest
        has_epochs = version == _VERSION_WITH_IDS
        topics: dict[str, messages.AlterPartitionRequest.TopicData] = {}
        for partition, one in asked.items():
            topic = topics.get(partition.topic)
            if topic is None:
                topic = topics[partition.topic] = request.TopicData(
                    topic_name=partition.topic, topic_id=one.leadership.topic_id
                )
            topic.partitions.append(
                request.PartitionData(
                    partition_index=partition.partition,
                    leader_epoch=one.leader_epoch,
                    new_isr=[] if has_epochs else list(one.proposal.isr),
                    new_isr_with_epochs=[request.BrokerState(broker_id=broker) for broker in one.proposal.isr]
                    if has_epochs
                    else [],
                    partition_epoch=one.partition_epoch,
                )
            )
        return request(broker_id=self._me, broker_epoch=self.broker_epoch, topics=list(topics.values()))

    def _take_over(self, asked: dict[TopicPartition, _Asked], response: messages.AlterPartitionResponse) -> bool:
        names = {one.leadership.topic_id: partition.topic for partition, one in asked.items()}
        is_settled = True
        left = dict(asked)
        for topic in response.topics:
            name = topic.topic_name or names.get(topic.topic_id, "")
            for told in topic.partitions:
                one = left.pop(TopicPartition(name, told.partition_index), None)
                if one is not None:
                    is_settled = self._settle(one, told) and is_settled
        for one in left.values():
            # An answer that leaves a partition out says nothing about it.
            self._again(one)
        return is_settled and not left

    def _settle(self, one: _Asked, told: messages.AlterPartitionResponse.PartitionData) -> bool:
        """Do what the answer says of one partition; false when it has to be asked for again."""
        leadership = one.leadership
        code = ErrorCode.of(told.error_code)
        if code is ErrorCode.NONE:
            leadership.isr_confirmed(told.leader_epoch, told.partition_epoch, tuple(map(BrokerId, told.isr)))
        elif leadership.followers.pending is not one.proposal or code in _GIVEN_UP:
            return True
        elif code in _NOT_ATTEMPTED:
            leadership.followers.go_back()
        else:
            self._again(one)
            return False
        return True

    def _again(self, one: _Asked) -> None:
        """Ask once more, if that is still what the leadership wants."""
        if one.leadership.followers.pending is one.proposal:
            self.propose(one.leadership)
