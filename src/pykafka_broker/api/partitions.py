"""LeaderAndIsr, StopReplica and UpdateMetadata: what the controller tells every broker.

What they do is ``runtime/leaderships``' and ``runtime/metadata``'s. The versions differ in how partitions are grouped:

LeaderAndIsr     2  by topic; the answer only since 5, which names topics by their ids
StopReplica      1  by topic;  3  a leader epoch and a wish to delete for each partition
UpdateMetadata   0  one address for each broker;  5  by topic
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from pykafka_broker.api.routes import Route
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.runtime.leaderships import Leaderships
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call

_FIRST_ANSWER_BY_TOPIC = 5
_FIRST_WITH_ENDPOINTS = 1


class PartitionApi(Struct):
    """Passes the controller's orders on."""

    leaderships: Leaderships

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("LeaderAndIsr", "0-7", self.lead_and_follow, _refusal(messages.LeaderAndIsrResponse)),
            Route("StopReplica", "0-4", self.stop, _refusal(messages.StopReplicaResponse)),
            Route("UpdateMetadata", "0-8", self.update_metadata, _refusal(messages.UpdateMetadataResponse)),
        )

    async def lead_and_follow(self, call: Call[Any]) -> Any:
        """Lead some partitions and follow others."""
        return await self.leaderships.obey(call.body, by_topic=call.version >= _FIRST_ANSWER_BY_TOPIC)

    async def stop(self, call: Call[Any]) -> Any:
        """Let partitions go."""
        return await self.leaderships.obey(call.body)

    async def update_metadata(self, call: Call[Any]) -> Any:
        """Know who is there and who leads what."""
        if call.version < _FIRST_WITH_ENDPOINTS:
            endpoint = messages.UpdateMetadataRequest.Endpoint
            for broker in call.body.live_brokers:
                broker.endpoints = [endpoint(host=broker.v0_host, port=broker.v0_port)]
        return await self.leaderships.obey(call.body)


def _refusal(response: type[Any]) -> Any:
    def refuse(call: Call[Any], code: ErrorCode, detail: str | None) -> Any:
        return response(error_code=code)

    return refuse
