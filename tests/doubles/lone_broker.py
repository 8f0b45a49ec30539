"""Brokers in the embedded house, without sockets: tree, controller, logs and the topic and metadata handlers."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import trio

from pykafka_broker.api.elections import ElectionApi
from pykafka_broker.api.metadata import MetadataApi
from pykafka_broker.api.reassignments import ReassignmentApi
from pykafka_broker.api.topics import TopicApi
from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.layers import ShownConfig
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.control.controller import Controller, ControllerSettings
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.identity import Session
from pykafka_broker.model.names import BrokerId, TopicId
from pykafka_broker.model.outcome import Fact
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.control_loop import ControlLoop, Unreachable
from pykafka_broker.runtime.leaderships import Leaderships
from pykafka_broker.runtime.metadata import Metadata
from pykafka_broker.runtime.topics import Topics
from pykafka_broker.wire.exchange import Call
from pykafka_broker.zk.embedded import Grove, open_embedded, open_grove
from pykafka_broker.zk.nodes import BrokerRegistration, Endpoint
from pykafka_broker.zk.port import Coordination
from pykafka_broker.zk.registration import Registrar, prepare
from tests.doubles.memory_logs import MemoryLogs

ME = BrokerId(0)
LISTENER = "PLAINTEXT"


async def _inline(work: Callable[[], None]) -> None:
    work()


def check_configs(configs: Mapping[str, str]) -> None:
    """Knows retention.ms only by its name and the rest not at all."""
    for key in configs:
        if key == "nope":
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"Unknown topic config name: {key}")


def show_configs(configs: Mapping[str, str]) -> list[ShownConfig]:
    return [ShownConfig(key, value, False, 1, False) for key, value in configs.items()]


class LoneBroker:
    """The pieces, wired as the application wires them; ``neighbours`` are the brokers that it can reach."""

    def __init__(
        self,
        tree: Coordination,
        logs: MemoryLogs,
        settings: BrokerSettings,
        clock: Callable[[], Millis],
        me: BrokerId = ME,
        neighbours: dict[BrokerId, LoneBroker] | None = None,
    ) -> None:
        ids = itertools.count(1)
        dice = Random(1)
        self.me = me
        self.neighbours = {} if neighbours is None else neighbours
        self.neighbours[me] = self
        self.tree = tree
        self.facts: list[Fact] = []
        self.changes = Changes()
        self.logs = logs
        self.told: list[tuple[BrokerId, Any]] = []
        self.unclean: set[str] = set()
        self.metadata = Metadata(me, self.changes)
        self.leaderships = Leaderships(me, logs, self.metadata, lambda topic: TopicSettings(), self.changes)
        self.loop = ControlLoop(
            me,
            lambda: Controller(
                me,
                ControllerSettings(delete_topic_enable=settings.delete_topic_enable),
                lambda: TopicId(UUID(int=next(ids))),
                lambda topic: topic in self.unclean,
            ),
            self._tell,
            clock,
            self.facts.append,
        )
        self.topics = Topics(
            tree,
            self.metadata,
            settings,
            check_configs,
            new_topic_id=lambda: TopicId(UUID(int=1000 + next(ids))),
            below=dice.randrange,
        )
        self.topic_api = TopicApi(self.topics, self.metadata, self.loop, show_configs, settings.delete_topic_enable)
        self.election_api = ElectionApi(self.loop, self.metadata)
        self.reassignment_api = ReassignmentApi(self.loop)
        self.metadata_api = MetadataApi(self.metadata, self.topics, "cluster", settings.auto_create_topics_enable)

    async def _tell(self, broker: BrokerId, request: Any) -> Any:
        self.told.append((broker, request))
        if broker not in self.neighbours:
            raise Unreachable(f"broker {broker} is gone")
        return await self.neighbours[broker].leaderships.obey(request)

    async def ask(self, api: str, version: int, body: Any, listener: str = LISTENER) -> Any:
        """Answer a request as the desk would."""
        call: Call[Any] = Call(
            api=api, key=0, version=version, correlation_id=1, client_id="test", body=body, size_bytes=0
        )
        call.session = Session(listener, "/127.0.0.1")
        families = (self.topic_api, self.metadata_api, self.election_api, self.reassignment_api)
        route = next(route for family in families for route in family.routes() if route.api == api)
        try:
            return await route.answer(call)
        except KafkaError as error:
            return route.refuse(call, error.code, error.detail)

    async def led(self, topic: str, partitions: int = 1) -> None:
        """Return when the topic has leaders."""
        await self.metadata.wait_for([topic], lambda: self.metadata.has_leaders(topic, range(partitions)))

    async def serve(self, session: Coordination) -> None:
        """Be a member of the cluster for as long as the session lasts."""
        endpoints = (Endpoint(LISTENER, "localhost", 9092 + 10 * self.me), Endpoint("OTHER", "example", 9093))
        self.leaderships.broker_epoch = await Registrar(BrokerRegistration(self.me, endpoints)).register(session)
        await self.loop.stand(session)


@asynccontextmanager
async def lone_broker(
    directory: Path, *, logs: MemoryLogs | None = None, settings: BrokerSettings | None = None
) -> AsyncIterator[LoneBroker]:
    """A broker that has registered, elected itself and told itself so."""
    ticks = itertools.count(1_000)
    async with open_embedded(directory, in_worker=_inline, clock=ticks.__next__) as house:
        await prepare(house)
        broker = LoneBroker(house, logs or MemoryLogs(), settings or BrokerSettings(), lambda: Millis(next(ticks)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.serve, house)
            while not broker.metadata.is_filled:
                await trio.lowlevel.checkpoint()
            yield broker
            nursery.cancel_scope.cancel()


class Brokers:
    """Several brokers on one tree; each has a session of its own and can be killed with it."""

    def __init__(self, grove: Grove, nursery: trio.Nursery) -> None:
        self.members: dict[BrokerId, LoneBroker] = {}
        self._grove = grove
        self._nursery = nursery
        self._logs: dict[BrokerId, MemoryLogs] = {}
        self._scopes: dict[BrokerId, trio.CancelScope] = {}
        self._ticks = itertools.count(1_000)

    def session(self) -> AbstractAsyncContextManager[Coordination]:
        """A session for somebody who is no broker."""
        return self._grove.session()

    async def start(self, number: int) -> LoneBroker:
        """Start a broker, or start it again with the logs it had."""
        broker: LoneBroker = await self._nursery.start(self._live, BrokerId(number))
        while not broker.metadata.is_alive(broker.me):
            await trio.lowlevel.checkpoint()
        return broker

    def kill(self, number: int) -> None:
        """End a broker and its session."""
        self._scopes[BrokerId(number)].cancel()

    async def _live(self, me: BrokerId, *, task_status: trio.TaskStatus[LoneBroker]) -> None:
        logs = self._logs.setdefault(me, MemoryLogs())
        with trio.CancelScope() as self._scopes[me]:
            async with self._grove.session() as session:
                await prepare(session)
                clock = lambda: Millis(next(self._ticks))  # noqa: E731
                broker = LoneBroker(session, logs, BrokerSettings(), clock, me, self.members)
                task_status.started(broker)
                try:
                    await broker.serve(session)
                finally:
                    del self.members[me]


@asynccontextmanager
async def brokers(directory: Path) -> AsyncIterator[Brokers]:
    """A place for brokers that share a tree."""
    ticks = itertools.count(1_000)
    async with open_grove(directory, in_worker=_inline, clock=ticks.__next__) as grove, trio.open_nursery() as nursery:
        yield Brokers(grove, nursery)
        nursery.cancel_scope.cancel()
