"""FindCoordinator: who answers for a group or a transactional id.

0    groups only
1    key types: 0 groups, 1 transactional ids; an error message
4    several keys at once
6    key type 2, share groups, which a cluster with ZooKeeper does not have
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

from pykafka_broker.api.routes import Route
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import (
    GROUP_METADATA_TOPIC,
    NO_BROKER,
    TRANSACTION_STATE_TOPIC,
    BrokerId,
    TopicPartition,
    coordinator_partition,
)
from pykafka_broker.runtime.metadata import Address, Metadata
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call

GROUP, TRANSACTION, SHARE = 0, 1, 2
"""Key types."""
SHARE_SINCE = 6
"""The version that knows of share groups."""

_NOBODY = Address("", -1, 0)


class TopicMaker(Protocol):
    """Makes internal topics that are asked for and not there (``runtime.topics.Topics``)."""

    async def make_on_demand(self, names: list[str]) -> object:
        """Make the topics, or leave it if somebody is at it."""
        ...


class CoordinatorApi(Struct):
    """The leader of the internal topic's partition coordinates; the first question makes the topic."""

    metadata: Metadata
    topics: TopicMaker
    group_partitions: Callable[[], int]
    """How many partitions ``__consumer_offsets`` has, or would have."""
    transaction_partitions: Callable[[], int] | None = None
    """The same of ``__transaction_state``; ``None`` while nobody coordinates transactions."""

    def routes(self) -> tuple[Route, ...]:
        return (Route("FindCoordinator", "0-6", self.find, self._refuse),)

    async def find(self, call: Call[messages.FindCoordinatorRequest]) -> messages.FindCoordinatorResponse:
        """Name the broker, or say COORDINATOR_NOT_AVAILABLE until there is one."""
        body, response, listener = call.body, messages.FindCoordinatorResponse, call.session.listener
        if not GROUP <= body.key_type <= SHARE:
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        if call.version < 4:
            error, broker, address = await self._coordinator(call.version, body.key_type, body.key, listener)
            return response(
                error_code=error,
                error_message=_sentence(error),
                node_id=broker,
                host=address.host,
                port=address.port,
            )
        found = []
        for key in body.coordinator_keys:
            error, broker, address = await self._coordinator(call.version, body.key_type, key, listener)
            found.append(
                response.Coordinator(
                    key=key, node_id=broker, host=address.host, port=address.port, error_code=error, error_message=""
                )
            )
        return response(coordinators=found)

    async def _coordinator(
        self, version: int, kind: int, key: str, listener: str
    ) -> tuple[ErrorCode, BrokerId, Address]:
        if kind == SHARE and version < SHARE_SINCE:
            return ErrorCode.INVALID_REQUEST, NO_BROKER, _NOBODY
        topic, count = (
            (GROUP_METADATA_TOPIC, self.group_partitions)
            if kind == GROUP
            else (TRANSACTION_STATE_TOPIC, self.transaction_partitions if kind == TRANSACTION else None)
        )
        not_available = ErrorCode.COORDINATOR_NOT_AVAILABLE, NO_BROKER, _NOBODY
        if count is None:
            return not_available
        if self.metadata.topic(topic) is None:
            await self.topics.make_on_demand([topic])
            return not_available
        partition = self.metadata.partition(TopicPartition(topic, coordinator_partition(key, count())))
        if partition is None or partition.leader < 0:
            return not_available
        address = self.metadata.address(partition.leader, listener)
        return not_available if address is None else (ErrorCode.NONE, partition.leader, address)

    @staticmethod
    def _refuse(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.FindCoordinatorResponse:
        response, sentence = messages.FindCoordinatorResponse, _sentence(code) if detail is None else detail
        if call.version < 4:
            return response(error_code=code, error_message=sentence, node_id=NO_BROKER, port=-1)
        return response(
            coordinators=[
                response.Coordinator(key=key, node_id=NO_BROKER, port=-1, error_code=code, error_message=sentence)
                for key in call.body.coordinator_keys
            ]
        )


def _sentence(error: ErrorCode) -> str:
    """An error's message; of no error, its name (``Errors.message``)."""
    return error.sentence if error else error.name
