"""Which shard answers for which id."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import coordinator_partition
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.clock import trio_clock
from pykafka_broker.runtime.shards import Shards
from tests.doubles.coordinator_memory import CoordinatorMemory
from tests.rooms.runtime.test_shard import Sum, add, decode


@pytest.fixture
async def shards(nursery: trio.Nursery) -> Shards[Sum]:
    made: Shards[Sum] = Shards(Sum, decode, lambda: 3, trio_clock(Millis(0)))
    await nursery.start(made.run)
    return made


def refusal(shards: Shards[Sum], key: str) -> ErrorCode:
    with pytest.raises(KafkaError) as caught:
        shards.of(key)
    return caught.value.code


async def test_a_partition_that_is_not_led_here_is_another_brokers_business(shards: Shards[Sum]) -> None:
    assert refusal(shards, "a") == ErrorCode.NOT_COORDINATOR


async def test_an_id_is_answered_by_the_partition_of_its_hash(shards: Shards[Sum]) -> None:
    memories = [CoordinatorMemory() for _ in range(3)]
    for partition, memory in enumerate(memories):
        shards.lead(partition, memory)
    await wait_all_tasks_blocked()
    for key in "abcdef":
        await shards.of(key).ask(add(1))
        assert shards.partition_of(key) == coordinator_partition(key, 3)
    assert [len(memory.records) for memory in memories] == [2, 2, 2]


async def test_resigning_refuses_whoever_waits(shards: Shards[Sum], nursery: trio.Nursery) -> None:
    memory = CoordinatorMemory()
    shards.lead(shards.partition_of("a"), memory)
    await wait_all_tasks_blocked()
    memory.open = trio.Event()
    shard, heard = shards.of("a"), []

    async def ask() -> None:
        with pytest.raises(KafkaError) as caught:
            await shard.ask(add(1))
        heard.append(caught.value.code)

    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    shards.resign(shards.partition_of("a"))
    await wait_all_tasks_blocked()
    assert (heard, refusal(shards, "a")) == ([ErrorCode.NOT_COORDINATOR], ErrorCode.NOT_COORDINATOR)
    shards.resign(0)


async def test_leading_again_loads_anew(shards: Shards[Sum]) -> None:
    memory = CoordinatorMemory()
    partition = shards.partition_of("a")
    shards.lead(partition, memory)
    await wait_all_tasks_blocked()
    await shards.of("a").ask(add(4))
    before = shards.of("a")
    shards.lead(partition, memory)
    await wait_all_tasks_blocked()
    assert shards.of("a") is not before
    assert await shards.of("a").ask(Sum.look) == 4


async def test_all_that_can_are_told(shards: Shards[Sum]) -> None:
    memories = [CoordinatorMemory() for _ in range(3)]
    memories[1].open = trio.Event()
    for partition, memory in enumerate(memories):
        shards.lead(partition, memory)
    await wait_all_tasks_blocked()
    await shards.tell_all(add(1))
    assert [len(memory.records) for memory in memories] == [1, 0, 1]
