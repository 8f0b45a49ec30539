"""Offsets of version 0, in the coordination tree."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.runtime.consumer_offsets import ConsumerOffsets
from pykafka_broker.zk.embedded import open_embedded
from pykafka_broker.zk.port import Coordination


async def inline(work: Callable[[], None]) -> None:
    work()


@pytest.fixture
async def tree(tmp_path: Path) -> AsyncIterator[Coordination]:
    async with open_embedded(tmp_path, in_worker=inline, clock=itertools.count(1).__next__) as house:
        yield house


async def test_an_offset_is_kept_where_kafka_keeps_it(tree: Coordination) -> None:
    offsets = ConsumerOffsets(tree)
    assert await offsets.read("g", "t", 3) is None
    await offsets.write("g", "t", 3, 7)
    await offsets.write("g", "t", 3, 8)
    assert await offsets.read("g", "t", 3) == 8
    assert (await tree.read("/consumers/g/offsets/t/3")).data == b"8"


@pytest.mark.parametrize("group", ["", "..", "../brokers", "a//b", "a\0b"])
async def test_a_group_that_cannot_be_part_of_a_path_is_refused(tree: Coordination, group: str) -> None:
    offsets = ConsumerOffsets(tree)
    for attempt in (offsets.write(group, "t", 0, 1), offsets.read(group, "t", 0)):
        with pytest.raises(KafkaError) as caught:
            await attempt
        assert caught.value.code == ErrorCode.UNKNOWN_SERVER_ERROR
