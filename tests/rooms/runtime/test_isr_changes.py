"""Proposed changes of the ISR reach the controller, and its answers the leaderships."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import NO_TOPIC_ID
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.isr_changes import IsrChanges
from pykafka_broker.wire import messages
from tests.doubles.replica_broker import TOPIC_ID, ReplicaBroker

Answer = Callable[[messages.AlterPartitionRequest], messages.AlterPartitionResponse]


class Leader:
    """Broker 1 of three, which leads t-0, and a controller that answers as it is told to."""

    def __init__(self, topic_id: Any = TOPIC_ID) -> None:
        self.now = Millis(100_000)
        self.broker = ReplicaBroker(1, lambda: self.now)
        self.broker.knows(1, 2, 3, topic_id=topic_id)
        self.broker.hears(1, 4, (1, 2), (1, 2, 3), partition_epoch=9, topic_id=topic_id)
        self.asked: list[tuple[int, messages.AlterPartitionRequest]] = []
        self.answers: list[Answer] = []
        self.changes = IsrChanges(self.broker.me, self.broker.leaderships, self._ask, 30_000)
        self.changes.broker_epoch = 55
        self.broker.leaderships.surroundings.propose_isr = self.changes.propose

    async def _ask(self, api: str, version: int, body: Any) -> Any:
        assert api == "AlterPartition"
        messages.encode(body, version)
        self.asked.append((version, body))
        if not self.answers:
            await trio.sleep_forever()
        return self.answers.pop(0)(body)

    def hears_from(self, broker: int, offset: int) -> None:
        self.broker.part().fetched(broker, offset, 0)  # type: ignore[arg-type]

    @property
    def isr(self) -> set[int]:
        return set(self.broker.part().isr)


def accepts(body: messages.AlterPartitionRequest) -> messages.AlterPartitionResponse:
    response = messages.AlterPartitionResponse
    return response(
        topics=[
            response.TopicData(
                topic_name=topic.topic_name,
                topic_id=topic.topic_id,
                partitions=[
                    response.PartitionData(
                        partition_index=one.partition_index,
                        leader_id=body.broker_id,
                        leader_epoch=one.leader_epoch,
                        isr=[*one.new_isr, *(state.broker_id for state in one.new_isr_with_epochs)],
                        partition_epoch=one.partition_epoch + 1,
                    )
                    for one in topic.partitions
                ],
            )
            for topic in body.topics
        ]
    )


def says(code: ErrorCode) -> Answer:
    def answer(body: messages.AlterPartitionRequest) -> messages.AlterPartitionResponse:
        accepted = accepts(body)
        for topic in accepted.topics:
            for one in topic.partitions:
                one.error_code = code
        return accepted

    return answer


def refuses(code: ErrorCode) -> Answer:
    return lambda body: messages.AlterPartitionResponse(error_code=code)


async def test_a_follower_that_has_caught_up_joins(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    leader = Leader()
    leader.answers = [accepts]
    nursery.start_soon(leader.changes.run)
    leader.hears_from(3, 0)
    await wait_all_tasks_blocked()
    assert leader.isr == {1, 2, 3}
    assert leader.broker.part().partition_epoch == 10
    ((version, body),) = leader.asked
    (asked,) = body.topics[0].partitions
    assert (version, body.broker_id, body.broker_epoch) == (3, 1, 55)
    assert (asked.leader_epoch, asked.partition_epoch) == (4, 9)
    assert [one.broker_id for one in asked.new_isr_with_epochs] == [1, 2, 3]


async def test_without_a_topic_id_the_topic_is_named(nursery: trio.Nursery) -> None:
    leader = Leader(NO_TOPIC_ID)
    leader.answers = [accepts]
    nursery.start_soon(leader.changes.run)
    leader.hears_from(3, 0)
    await wait_all_tasks_blocked()
    assert leader.asked[0][0] == 1
    assert leader.isr == {1, 2, 3}


async def test_a_follower_that_lags_leaves(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    leader = Leader()
    leader.answers = [accepts]
    leader.hears_from(2, 0)
    leader.broker.appends(b"a")
    nursery.start_soon(leader.changes.run)
    leader.now = Millis(leader.now + 30_001)
    await trio.sleep(15.1)
    assert leader.isr == {1}
    assert leader.broker.part().log.high_watermark == 1, "nobody else has to confirm any more"


@pytest.mark.parametrize("code", [ErrorCode.STALE_BROKER_EPOCH, ErrorCode.CLUSTER_AUTHORIZATION_FAILED])
async def test_a_refusal_of_the_whole_is_tried_again(
    nursery: trio.Nursery, autojump_clock: MockClock, code: ErrorCode
) -> None:
    leader = Leader()
    leader.answers = [refuses(code), accepts]
    nursery.start_soon(leader.changes.run)
    leader.hears_from(3, 0)
    await trio.sleep(0.1)
    assert leader.isr == {1, 2, 3}


async def test_what_a_zombie_controller_says_is_asked_again(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    leader = Leader()
    leader.answers = [says(ErrorCode.NOT_CONTROLLER), accepts]
    nursery.start_soon(leader.changes.run)
    leader.hears_from(3, 0)
    await trio.sleep(0.1)
    assert leader.isr == {1, 2, 3}


@pytest.mark.parametrize("code", [ErrorCode.INELIGIBLE_REPLICA, ErrorCode.OPERATION_NOT_ATTEMPTED])
async def test_a_replica_that_may_not_join_is_proposed_again_later(nursery: trio.Nursery, code: ErrorCode) -> None:
    leader = Leader()
    leader.answers = [says(code), accepts]
    nursery.start_soon(leader.changes.run)
    leader.hears_from(3, 0)
    await wait_all_tasks_blocked()
    assert leader.isr == {1, 2}
    assert leader.broker.part().followers.pending is None
    leader.hears_from(3, 0)
    await wait_all_tasks_blocked()
    assert leader.isr == {1, 2, 3}


@pytest.mark.parametrize("code", [ErrorCode.FENCED_LEADER_EPOCH, ErrorCode.INVALID_UPDATE_VERSION])
async def test_a_leader_that_is_behind_waits_to_be_told(nursery: trio.Nursery, code: ErrorCode) -> None:
    leader = Leader()
    leader.answers = [says(code)]
    nursery.start_soon(leader.changes.run)
    leader.hears_from(3, 0)
    await wait_all_tasks_blocked()
    assert len(leader.asked) == 1
    assert leader.broker.part().followers.pending is not None, "the replica counts as long as it may have joined"
    leader.broker.hears(1, 5, (1, 2), (1, 2, 3), partition_epoch=11)
    assert leader.broker.part().followers.pending is None


async def test_an_answer_for_an_epoch_that_is_over_changes_nothing(nursery: trio.Nursery) -> None:
    leader = Leader()
    answer = trio.Event()

    async def slow(api: str, version: int, body: Any) -> Any:
        await answer.wait()
        return accepts(body)

    leader.changes._ask = slow
    nursery.start_soon(leader.changes.run)
    leader.hears_from(3, 0)
    await wait_all_tasks_blocked()
    leader.broker.hears(1, 5, (1, 2), (1, 2, 3), partition_epoch=11)
    answer.set()
    await wait_all_tasks_blocked()
    assert leader.isr == {1, 2}
    assert leader.broker.part().partition_epoch == 11
