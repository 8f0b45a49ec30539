"""Talking to the controller: found anew when it changes, asked again when it does not answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from pykafka_broker.model.errors import ErrorCode, KafkaError, Unreachable
from pykafka_broker.model.names import BrokerId
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.controller_channel import ControllerChannel
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.runtime.peers import Line
from pykafka_broker.wire import messages

ME = BrokerId(1)
QUESTION = messages.AllocateProducerIdsRequest(broker_id=ME, broker_epoch=7)


def told(block_start: int) -> Any:
    return messages.AllocateProducerIdsResponse(producer_id_start=block_start, producer_id_len=1000)


def refused() -> Any:
    return messages.AllocateProducerIdsResponse(error_code=ErrorCode.NOT_CONTROLLER)


class Cluster:
    """Brokers that answer as they are told to, behind lines that remember who was asked."""

    def __init__(self, **here: Callable[[Any], Any]) -> None:
        self.changes = Changes()
        self.metadata = Metadata(ME, self.changes)
        self.answers: dict[int, list[Any]] = {}
        self.asked: list[int] = []
        self.hung_up: list[int] = []
        self.successor = 0
        """Who is elected when a broker has given its last answer."""
        self.channel = ControllerChannel(ME, self.metadata, self.changes, self._connect, here)

    def elects(self, controller: int, epoch: int = 1) -> None:
        brokers = [messages.UpdateMetadataRequest.Broker(id=number, endpoints=[]) for number in (1, 2, 3)]
        self.metadata.update(
            messages.UpdateMetadataRequest(controller_id=controller, controller_epoch=epoch, live_brokers=brokers)
        )

    def _connect(self, broker: BrokerId, client_id: str) -> Line:
        assert client_id == "1"
        return _Line(self, broker)


class _Line:
    def __init__(self, cluster: Cluster, broker: BrokerId) -> None:
        self._cluster, self._broker = cluster, broker

    async def ask(self, api: str, version: int, body: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self._cluster.asked.append(self._broker)
        answer = self._cluster.answers[self._broker].pop(0)
        if not self._cluster.answers[self._broker] and self._cluster.successor:
            self._cluster.elects(self._cluster.successor, epoch=2)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self._cluster.hung_up.append(self._broker)


async def test_the_controller_is_asked() -> None:
    cluster = Cluster()
    cluster.elects(2)
    cluster.answers[2] = [told(5000)]
    assert (await cluster.channel.ask("AllocateProducerIds", 0, QUESTION)).producer_id_start == 5000


async def test_a_broker_that_is_the_controller_asks_itself() -> None:
    async def here(body: Any) -> Any:
        assert body is QUESTION
        return told(0)

    cluster = Cluster(AllocateProducerIds=here)
    cluster.elects(1)
    assert (await cluster.channel.ask("AllocateProducerIds", 0, QUESTION)).producer_id_start == 0
    assert cluster.asked == []


async def test_who_is_not_the_controller_any_more_is_asked_until_another_is_heard_of(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cluster = Cluster()
    cluster.elects(2)
    cluster.answers = {2: [refused(), Unreachable("gone"), refused()], 3: [told(9000)]}
    cluster.successor = 3
    assert (await cluster.channel.ask("AllocateProducerIds", 0, QUESTION)).producer_id_start == 9000
    assert cluster.asked == [2, 2, 2, 3]
    assert cluster.hung_up == [2]


async def test_a_term_that_ends_meanwhile_does_not_end_the_asking(autojump_clock: trio.testing.MockClock) -> None:
    async def over(body: Any) -> Any:
        cluster.elects(2, epoch=2)
        raise KafkaError(ErrorCode.NOT_CONTROLLER)

    cluster = Cluster(AllocateProducerIds=over)
    cluster.elects(1)
    cluster.answers[2] = [told(1000)]
    assert (await cluster.channel.ask("AllocateProducerIds", 0, QUESTION)).producer_id_start == 1000


async def test_what_the_controller_refuses_is_told_as_if_it_were_another_broker() -> None:
    async def here(body: Any) -> Any:
        raise KafkaError(ErrorCode.STALE_BROKER_EPOCH)

    cluster = Cluster(AllocateProducerIds=here)
    cluster.elects(1)
    answer = await cluster.channel.ask("AllocateProducerIds", 0, QUESTION)
    assert answer.error_code == ErrorCode.STALE_BROKER_EPOCH


async def test_without_a_controller_there_is_nobody_to_ask_once() -> None:
    cluster = Cluster()
    try:
        await cluster.channel.ask_once("AllocateProducerIds", 0, QUESTION)
    except Unreachable as error:
        assert "no controller" in str(error)
    else:
        raise AssertionError("somebody answered")
