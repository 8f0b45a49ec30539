"""Somebody sets the machine's clock while the broker runs."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio

from pykafka_broker.app import open_broker
from pykafka_broker.config.loading import load
from pykafka_broker.model.names import GroupId
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.clock import wall_clock
from pykafka_broker.wire import messages
from tests.served.conftest import RawClient

HOUR_MS = 3_600_000
GROUP = GroupId("g")


async def test_groups_go_on_when_the_clock_is_set(tmp_path: Path) -> None:
    set_by_ms = 0

    def clock() -> Millis:
        return Millis(wall_clock() + set_by_ms)

    overrides = {
        "listeners": "PLAINTEXT://127.0.0.1:0",
        "log.dirs": str(tmp_path),
        "offsets.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "300",
    }
    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(30))
        broker = await stack.enter_async_context(open_broker(load(None, "", overrides), clock))
        stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", broker.listening[0].port))
        client = RawClient(stream)
        await coordinated(client)
        answers: list[messages.JoinGroupResponse] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(join, client, answers)
            await trio.sleep(0.1)
            set_by_ms = -HOUR_MS  # while the group waits for others to join
        (joined,) = answers
        assert joined.error_code == 0
        me: dict[str, Any] = {"group_id": GROUP, "generation_id": joined.generation_id, "member_id": joined.member_id}
        assert (await client.asks(3, messages.SyncGroupRequest(**me))).error_code == 0
        set_by_ms = HOUR_MS
        for _ in range(3):
            assert (await client.asks(3, messages.HeartbeatRequest(**me))).error_code == 0


async def coordinated(client: RawClient) -> None:
    """Return when the group's coordinator answers."""
    while True:
        await client.asks(3, messages.FindCoordinatorRequest(key=GROUP))
        described = await client.asks(4, messages.DescribeGroupsRequest(groups=[GROUP]))
        if described.groups[0].error_code == 0:
            return


async def join(client: RawClient, answers: list[messages.JoinGroupResponse]) -> None:
    protocol = messages.JoinGroupRequest.Protocol(name="range", metadata=b"")
    request = messages.JoinGroupRequest(
        group_id=GROUP,
        session_timeout_ms=10_000,
        rebalance_timeout_ms=10_000,
        protocol_type="consumer",
        protocols=[protocol],
    )
    answers.append(await client.asks(3, request))
