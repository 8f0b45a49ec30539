"""ElectLeaders: have leaders elected, preferred or unclean (KIP-183, KIP-460); for the controller.

The answer waits until this broker's metadata shows the new leaders, or the caller's time is over: REQUEST_TIMED_OUT
for those that are still missing, although they are elected.

0   preferred leaders only;  1   the type of election, an error for the whole answer
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import trio
from msgspec import Struct

from pykafka_broker.api.routes import Route
from pykafka_broker.control.ballots import ElectionType
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call


class Electing(Protocol):
    """What is needed of ``ControlLoop``."""

    async def elect(
        self, kind: ElectionType, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, BrokerId | KafkaError]:
        """Who leads each partition after the election, or why there was none; NOT_CONTROLLER."""
        ...


class ElectionApi(Struct):
    """Passes elections on to the controller, and waits until they are known here."""

    controller: Electing
    metadata: Metadata

    def routes(self) -> tuple[Route, ...]:
        return (Route("ElectLeaders", "0-2", self.elect, self._refuse),)

    async def elect(self, call: Call[Any]) -> messages.ElectLeadersResponse:
        """Elect, and tell what became of each partition; of all partitions only those that had need of it."""
        body = call.body
        asked = body.topic_partitions
        try:
            kind = ElectionType(body.election_type if call.version >= 1 else ElectionType.PREFERRED)
        except ValueError as problem:
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR) from problem
        partitions = dict.fromkeys(self._everything() if asked is None else _named(asked))
        try:
            verdicts = await self.controller.elect(kind, partitions)
        except KafkaError as error:
            # No error of the whole answer, but one for every partition, without a text, as in Apache Kafka.
            return _response(dict.fromkeys(partitions, (error.code, None)))
        results = await self._known(verdicts, body.timeout_ms)
        if asked is None:
            results = {one: result for one, result in results.items() if result[0] != ErrorCode.ELECTION_NOT_NEEDED}
        return _response(results)

    def _everything(self) -> list[TopicPartition]:
        return [
            TopicPartition(name, index) for name, topic in self.metadata.topics.items() for index in topic.partitions
        ]

    async def _known(
        self, verdicts: Mapping[TopicPartition, BrokerId | KafkaError], timeout_ms: int
    ) -> dict[TopicPartition, tuple[ErrorCode, str | None]]:
        """The outcomes, once metadata tells of every leader that was elected, or time is over."""
        awaited = {one: found for one, found in verdicts.items() if not isinstance(found, KafkaError)}
        with trio.move_on_after(max(0, timeout_ms) / 1000):
            await self.metadata.wait_for(
                {partition.topic for partition in awaited},
                lambda: all(self._is_led_by(partition, leader) for partition, leader in awaited.items()),
            )
        results: dict[TopicPartition, tuple[ErrorCode, str | None]] = {}
        for partition, found in verdicts.items():
            if isinstance(found, KafkaError):
                results[partition] = (found.code, found.message)
            elif self._is_led_by(partition, found):
                results[partition] = (ErrorCode.NONE, None)
            else:
                results[partition] = (ErrorCode.REQUEST_TIMED_OUT, None)
        return results

    def _is_led_by(self, partition: TopicPartition, leader: BrokerId) -> bool:
        known = self.metadata.partition(partition)
        return known is not None and known.leader == leader

    @staticmethod
    def _refuse(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.ElectLeadersResponse:
        partitions = _named(call.body.topic_partitions or ())
        return _response(dict.fromkeys(partitions, (code, detail)), top=code if call.version >= 1 else ErrorCode.NONE)


def _named(asked: Collection[messages.ElectLeadersRequest.TopicPartitions]) -> list[TopicPartition]:
    return [TopicPartition(topic.topic, index) for topic in asked for index in topic.partitions]


def _response(
    results: Mapping[TopicPartition, tuple[ErrorCode, str | None]], *, top: ErrorCode = ErrorCode.NONE
) -> messages.ElectLeadersResponse:
    response = messages.ElectLeadersResponse
    topics: dict[str, messages.ElectLeadersResponse.ReplicaElectionResult] = {}
    for (name, index), (code, text) in results.items():
        topic = topics.get(name)
        if topic is None:
            topic = topics[name] = response.ReplicaElectionResult(topic=name)
        topic.partition_result.append(response.PartitionResult(partition_id=index, error_code=code, error_message=text))
    return response(error_code=top, replica_election_results=list(topics.values()))
