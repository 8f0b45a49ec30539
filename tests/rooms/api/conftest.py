"""One broker's partitions without sockets: real logs in a temporary directory, led by order of a controller."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
import trio

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.model.identity import Session
from pykafka_broker.model.names import BrokerId, TopicId, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.leaderships import Leaderships
from pykafka_broker.runtime.log_dir_moves import LogDirMoves
from pykafka_broker.runtime.log_keeper import LogKeeper
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.store.meta import Meta
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record, build
from pykafka_broker.wire.exchange import Call

NAMESPACE = UUID("8f3b7c52-5d3c-4a2a-9e56-2a0d3a6c1f10")


class Partitions:
    """Everything the handlers need of a broker that leads some topics."""

    def __init__(self, directory: Path) -> None:
        self.now = Millis(1_700_000_000_000)
        self.settings: dict[str, TopicSettings] = {}
        self.changes = Changes()
        self.metadata = Metadata(BrokerId(0), self.changes)
        self.keeper = LogKeeper(
            [directory], self.clock, BrokerSettings(), self.topic_settings, self.changes, lambda fact: None
        )
        self.leaderships = Leaderships(BrokerId(0), self.keeper, self.metadata, self.topic_settings, self.changes)
        self.moves = LogDirMoves(self.keeper, self.leaderships, self.changes, self.clock, lambda fact: None)
        self._epoch = 0

    def clock(self) -> Millis:
        return self.now

    def topic_settings(self, topic: str) -> TopicSettings:
        return self.settings.get(topic, TopicSettings())

    def topic_id(self, topic: str) -> TopicId:
        return TopicId(uuid5(NAMESPACE, topic))

    def leads(
        self, topic: str, partitions: int = 1, *, leader: int = 0, epoch: int = 0, followers: tuple[int, ...] = (),
        in_sync: tuple[int, ...] = (), **settings: Any,
    ) -> None:  # fmt: skip
        """The controller makes this broker (or another) the leader; nobody else is in sync unless it is said."""
        if settings:
            self.settings[topic] = TopicSettings(**settings)
        update = messages.UpdateMetadataRequest
        self.metadata.update(
            update(
                live_brokers=[
                    update.Broker(id=0, endpoints=[update.Endpoint(port=9092, host="localhost", listener="PLAINTEXT")])
                ],
                topic_states=[
                    update.TopicState(
                        topic_name=topic,
                        topic_id=self.topic_id(topic),
                        partition_states=[
                            update.PartitionState(
                                partition_index=index,
                                leader=leader,
                                leader_epoch=epoch,
                                isr=[leader],
                                replicas=[leader],
                            )
                            for index in range(partitions)
                        ],
                    )
                ],
            )
        )
        order = messages.LeaderAndIsrRequest
        self.leaderships.lead_and_follow(
            order(
                broker_epoch=-1,
                topic_states=[
                    order.TopicState(
                        topic_name=topic,
                        topic_id=self.topic_id(topic),
                        partition_states=[
                            order.PartitionState(
                                partition_index=index,
                                leader=leader,
                                leader_epoch=epoch,
                                isr=list(in_sync) or [leader],
                                replicas=[0, *followers],
                                is_new=True,
                            )
                            for index in range(partitions)
                        ],
                    )
                ],
            )
        )

    def log(self, topic: str, partition: int = 0) -> Any:
        log = self.keeper.get(TopicPartition(topic, partition))
        assert log is not None
        return log


def call(api: str, version: int, body: Any, client_id: str | None = "tests") -> Call[Any]:
    """A call as it comes from the wire."""
    made: Call[Any] = Call(
        api=api, key=0, version=version, correlation_id=1, client_id=client_id, body=body, size_bytes=0
    )
    made.session = Session("PLAINTEXT", "/127.0.0.1")
    return made


def batch(*values: bytes, timestamp: int = 1_700_000_000_000, **how: Any) -> bytearray:
    """A record batch as a producer sends it."""
    records = [Record(offset, timestamp, b"key", value, ()) for offset, value in enumerate(values)]
    return build(records, **how)


@pytest.fixture
async def partitions(tmp_path: Path) -> AsyncIterator[Partitions]:
    partitions = Partitions(tmp_path / "data")
    partitions.keeper.stored_meta()
    await partitions.keeper.open(Meta(0, "test-cluster"))
    yield partitions
    with trio.CancelScope(shield=True):
        await partitions.keeper.close()
