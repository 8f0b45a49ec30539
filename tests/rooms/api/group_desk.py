"""The group handlers over real shards whose memory is a list; each call is written and read as on the wire."""

from __future__ import annotations

import itertools
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from pykafka_broker.api.coordinators import CoordinatorApi
from pykafka_broker.api.group_offsets import GroupOffsetApi
from pykafka_broker.api.groups import GroupApi
from pykafka_broker.config.group import GroupSettings
from pykafka_broker.group.coordinator import GroupCoordinator
from pykafka_broker.group.records import decode
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import GROUP_METADATA_TOPIC, BrokerId, GroupId, LeaderEpoch
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import trio_clock
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.runtime.shards import Shards
from pykafka_broker.wire import messages
from tests.doubles.coordinator_memory import CoordinatorMemory
from tests.rooms.api.conftest import call
from tests.rooms.group.story import subscription

GROUP = GroupId("g")


class Tree:
    """Offsets of version 0."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str, int], int] = {}

    async def read(self, group: str, topic: str, partition: int) -> int | None:
        if group == "bad":
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR)
        return self.kept.get((group, topic, partition))

    async def write(self, group: str, topic: str, partition: int, offset: int) -> None:
        if group == "bad":
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR)
        self.kept[group, topic, partition] = offset


class Maker:
    """Notes which topics are asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def make_on_demand(self, names: list[str]) -> object:
        self.asked += names
        return {}


class GroupDesk:
    """Three coordinators, all led here; topics t (two partitions) and u (one) exist."""

    def __init__(self) -> None:
        ids = itertools.count(1)
        settings = GroupSettings(group_initial_rebalance_delay_ms=0)
        self.memories = [CoordinatorMemory() for _ in range(3)]
        self.metadata = Metadata(BrokerId(1), Changes())
        self.tree, self.maker = Tree(), Maker()
        self.shards: Shards[GroupCoordinator] = Shards(
            lambda: GroupCoordinator(settings, lambda: f"id{next(ids)}"), decode, lambda: 3, trio_clock(Millis(1_000))
        )
        self.groups = GroupApi(self.shards)
        self.offsets = GroupOffsetApi(self.shards, self.metadata, self.tree)
        self.coordinators = CoordinatorApi(self.metadata, self.maker, lambda: 3)
        self.knows("t", 2)
        self.knows("u", 1)

    def knows(self, topic: str, partitions: int, leader: int = 1) -> None:
        """The controller tells of a topic."""
        update = messages.UpdateMetadataRequest
        self.metadata.update(
            update(
                live_brokers=[
                    update.Broker(
                        id=BrokerId(1), endpoints=[update.Endpoint(port=9092, host="here", listener="PLAINTEXT")]
                    )
                ],
                topic_states=[
                    update.TopicState(
                        topic_name=topic,
                        partition_states=[
                            update.PartitionState(
                                partition_index=index,
                                leader=BrokerId(leader),
                                leader_epoch=LeaderEpoch(0),
                                isr=[BrokerId(1)],
                                replicas=[BrokerId(1)],
                            )
                            for index in range(partitions)
                        ],
                    )
                ],
            )
        )

    async def opens(self, nursery: trio.Nursery) -> GroupDesk:
        await nursery.start(self.shards.run)
        self.knows(GROUP_METADATA_TOPIC, 3)
        for partition, memory in enumerate(self.memories):
            self.shards.lead(partition, memory)
        await wait_all_tasks_blocked()
        return self

    def loads(self, group_id: str = GROUP) -> None:
        """The group's coordinator loads for ever."""
        partition = self.shards.partition_of(group_id)
        self.memories[partition].open = trio.Event()
        self.shards.lead(partition, self.memories[partition])

    def moves(self, group_id: str = GROUP) -> None:
        """The group's coordinator is another broker's now."""
        self.shards.resign(self.shards.partition_of(group_id))

    async def ask(self, version: int, body: Any) -> Any:
        """Answer as the desk would, over the wire and back."""
        api = type(body).__name__.removesuffix("Request")
        body = messages.decode(type(body), messages.encode(body, version), version)
        made = call(api, version, body, "tests")
        (route,) = (
            route
            for family in (self.groups, self.offsets, self.coordinators)
            for route in family.routes()
            if route.api == api
        )
        try:
            answer = await route.answer(made)
        except KafkaError as error:
            answer = route.refuse(made, error.code, error.detail)
        return messages.decode(type(answer), messages.encode(answer, version), version)

    # -- common requests -----------------------------------------------------------------------------------------

    async def joins(self, version: int = 9, group_id: GroupId = GROUP, **how: Any) -> Any:
        """A consumer joins, by the two steps that newer versions ask for."""
        body = messages.JoinGroupRequest(
            **{
                "group_id": group_id,
                "session_timeout_ms": 30_000,
                "rebalance_timeout_ms": 60_000 if version else -1,
                "protocol_type": "consumer",
                "protocols": [messages.JoinGroupRequest.Protocol(name="range", metadata=subscription("t"))],
                **how,
            }
        )
        answer = await self.ask(version, body)
        if answer.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            body.member_id = answer.member_id
            answer = await self.ask(version, body)
        return answer

    async def syncs(self, joined: Any, version: int = 5, assignment: bytes = b"all", **how: Any) -> Any:
        """The leader assigns everything to itself."""
        named = {"protocol_type": "consumer", "protocol_name": "range"} if version >= 5 else {}
        body = messages.SyncGroupRequest(
            **{
                "group_id": GROUP,
                "generation_id": joined.generation_id,
                "member_id": joined.member_id,
                "assignments": [
                    messages.SyncGroupRequest.Assignment(member_id=joined.member_id, assignment=assignment)
                ],
                **named,
                **how,
            }
        )
        return await self.ask(version, body)
