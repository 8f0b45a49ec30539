"""Puts the broker together: the only file that knows every room, and the tree of scopes in which it lives.

From outside in: the house of coordination, the logs, the services, the listeners. Leaving goes the other way: no new
connections, then the services, then flush and the mark of a clean shutdown, then the session. A connection may die
alone; a service that fails takes the broker down, on purpose.
"""

from __future__ import annotations

import logging
import os
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from msgspec import Struct
from msgspec.structs import replace

from pykafka_broker.api.cluster import ClusterApi
from pykafka_broker.api.configs import ConfigApi
from pykafka_broker.api.coordinators import CoordinatorApi
from pykafka_broker.api.desk import Desk
from pykafka_broker.api.elections import ElectionApi
from pykafka_broker.api.fetch import FetchApi
from pykafka_broker.api.fetch_sessions import FetchSessions
from pykafka_broker.api.group_offsets import GroupOffsetApi
from pykafka_broker.api.groups import GroupApi
from pykafka_broker.api.log_dirs import LogDirApi
from pykafka_broker.api.metadata import MetadataApi
from pykafka_broker.api.offsets import OffsetApi
from pykafka_broker.api.partitions import PartitionApi
from pykafka_broker.api.produce import ProduceApi
from pykafka_broker.api.producers import ProducerApi
from pykafka_broker.api.reassignments import ReassignmentApi
from pykafka_broker.api.routes import Routes, collect
from pykafka_broker.api.topics import TopicApi
from pykafka_broker.api.versions import VersionsApi
from pykafka_broker.config.checks import read_address_limits
from pykafka_broker.config.listeners import Listener, read_listeners
from pykafka_broker.config.loading import Loaded
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.control.controller import Controller, ControllerSettings
from pykafka_broker.houses import CannotStart, open_house
from pykafka_broker.model.errors import Unreachable
from pykafka_broker.model.names import GROUP_METADATA_TOPIC, BrokerId, TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact
from pykafka_broker.net.listener import SEND_BUFFER_BYTES, SYSTEM_CHOOSES, ConnectionLimits, Listeners, bind
from pykafka_broker.observe.logging import say
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import Clock, trio_clock, wall_clock
from pykafka_broker.runtime.consumer_offsets import ConsumerOffsets
from pykafka_broker.runtime.control_loop import ControlLoop
from pykafka_broker.runtime.coordinator_log import PartitionMemory
from pykafka_broker.runtime.dynamic_configs import DynamicConfigs
from pykafka_broker.runtime.leaderships import Leadership, Leaderships
from pykafka_broker.runtime.log_dir_moves import LogDirMoves
from pykafka_broker.runtime.log_keeper import LogKeeper
from pykafka_broker.runtime.membership import Membership
from pykafka_broker.runtime.metadata import BROKERS, Metadata
from pykafka_broker.runtime.producer_ids import ProducerIds
from pykafka_broker.runtime.replica_selection import RACK_AWARE, SelectReplica, no_selection, rack_aware
from pykafka_broker.runtime.shards import Shards
from pykafka_broker.runtime.throttles import follower_throttle, leader_throttle, move_throttle
from pykafka_broker.runtime.topics import Topics
from pykafka_broker.store.directories import DirectoryError
from pykafka_broker.store.meta import Meta
from pykafka_broker.store.worker import Worker
from pykafka_broker.wire.compression import Codec
from pykafka_broker.zk import nodes, registration
from pykafka_broker.zk.port import House, NoNode, NotAllowed, SessionLost
from pykafka_broker.zk.producer_ids import allocate_block

if TYPE_CHECKING:
    from pykafka_broker.group.coordinator import GroupCoordinator
    from pykafka_broker.group.records import Record
    from pykafka_broker.neighbours import Neighbours

log = logging.getLogger(__name__)

READY_WITHIN_S = 30.0
"""How long a start waits for the controller to tell this broker of all topics before it serves what it knows."""


class RunningBroker(Struct):
    """A broker that serves."""

    broker_id: BrokerId
    cluster_id: str
    listening: tuple[Listener, ...]
    """The listeners with the ports that they really have."""
    routes: Routes
    data_dir: str
    """The first of the log directories."""

    @property
    def ready_line(self) -> str:
        """What is printed when the broker is ready."""
        listeners = ",".join(str(listener) for listener in self.listening)
        return f"pykafka-broker ready broker.id={self.broker_id} listeners={listeners}"

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` of the first listener."""
        first = self.listening[0]
        host = first.host if first.host not in ("", "0.0.0.0", "::") else "127.0.0.1"
        return f"[{host}]:{first.port}" if ":" in host else f"{host}:{first.port}"


@asynccontextmanager
async def open_broker(loaded: Loaded, clock: Clock = wall_clock) -> AsyncIterator[RunningBroker]:
    """Run a broker for as long as the body runs; the body begins when clients can be served.

    ``CannotStart`` when the settings, the disk, the ports or the ensemble do not allow it.
    """
    settings = loaded.settings
    worker = Worker(threads=max(2, settings.background_threads))
    with _told_in_one_line():
        async with open_house(settings, worker, clock) as house:
            broker = _Broker(loaded, house, worker, clock)
            async with broker.open(), trio.open_nursery() as services:
                async with trio.open_nursery() as connections:
                    async with house.gathered():
                        await broker.start(services)
                        if broker.neighbours is not None:
                            # The controller may be another broker, and has to reach this one to tell it its part.
                            broker.accept(services, connections)
                        await broker.know_our_part()
                    if broker.neighbours is None:
                        broker.accept(services, connections)
                    yield RunningBroker(
                        broker.me, broker.cluster_id, broker.listening, broker.routes, loaded.settings.directories[0]
                    )
                    await broker.hand_over()
                    connections.cancel_scope.cancel()
                services.cancel_scope.cancel()


class _Broker:
    """The parts of one broker, and the order in which they come to life."""

    def __init__(self, loaded: Loaded, house: House, worker: Worker, clock: Clock) -> None:
        self.settings = settings = loaded.settings
        self.given = loaded.texts
        self.house = house
        self.clock = clock
        self.me = BrokerId(settings.broker_id)
        self.cluster_id = ""
        self.listening: tuple[Listener, ...] = ()
        self.changes = Changes()
        self.metadata = Metadata(self.me, self.changes)
        self.configs = DynamicConfigs(loaded, house, clock)
        self.keeper = LogKeeper(
            [Path(directory) for directory in settings.directories],
            clock,
            settings,
            self.configs.topic_settings,
            self.changes,
            _say_about("log"),
            worker=worker,
        )
        self.neighbours: Neighbours | None = None
        """The other brokers of the cluster; ``None`` for a broker that is alone for good."""
        self._sockets: dict[str, list[trio.socket.SocketType]] = {}
        self._has_registered = trio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Everything that must be there before anybody is told of us: identity, settings, logs, open ports."""
        await registration.prepare(self.house)
        try:
            stored = self.keeper.stored_meta()
            await self._insist_on_a_tree(stored)
            self.cluster_id = await registration.cluster_id(self.house, os.urandom)
            self.me = self.metadata.me = await self._broker_id(stored)
            await self.configs.load(self.me)
            await self._bind()
            await self.keeper.open(Meta(self.me, self.cluster_id))
            yield
        finally:
            for sockets in self._sockets.values():
                for socket in sockets:
                    socket.close()
            with trio.CancelScope(shield=True):
                await self.keeper.close()

    async def _insist_on_a_tree(self, stored: Meta | None) -> None:
        """Refuse directories that a cluster has used of which an embedded tree knows nothing.

        Nothing has been written to the tree by then, so that it can still be made of what is in them.
        """
        if self.settings.has_zookeeper or await registration.knows_its_cluster(self.house):
            return
        if (stored is not None and stored.cluster_id) or self.keeper.holds_partitions():
            whose = f"cluster {stored.cluster_id}" if stored is not None and stored.cluster_id else "another broker"
            paths = " ".join(self.settings.directories)
            raise CannotStart(
                f"log.dirs belongs to {whose}, whose topics a broker without ZooKeeper has to be told once: "
                f"pykafka-broker import {paths}"
            )

    async def _broker_id(self, stored: Meta | None) -> BrokerId:
        """The id that is set, the one this data directory had before, or a new one (``getOrGenerateBrokerId``)."""
        if self.settings.broker_id >= 0:
            return BrokerId(self.settings.broker_id)
        if stored is not None and stored.broker_id is not None:
            return BrokerId(stored.broker_id)
        if not self.settings.broker_id_generation_enable:
            raise CannotStart("broker.id is not set, and broker.id.generation.enable=false")
        return await registration.generate_broker_id(self.house, self.settings.reserved_broker_max_id)

    async def _bind(self) -> None:
        bound = []
        for listener in read_listeners(self.settings).listening:
            if listener.protocol != "PLAINTEXT":
                raise CannotStart(f"listeners: {listener}: {listener.protocol} is not supported yet")
            try:
                sockets = await bind(listener.host, listener.port, self._limits())
            except OSError as error:
                raise CannotStart(f"listeners: {listener}: {error.strerror or error}") from error
            self._sockets[listener.name] = sockets
            bound.append(replace(listener, port=sockets[0].getsockname()[1]))
        self.listening = tuple(bound)

    def _advertised(self) -> tuple[nodes.Endpoint, ...]:
        """What clients are told: ``advertised.listeners``, or where we listen; an empty host is this machine's name."""
        told = read_listeners(self.settings).advertised or self.listening
        ports = {listener.name: listener.port for listener in self.listening}
        return tuple(
            nodes.Endpoint(
                listener.name,
                listener.host if listener.host not in ("", "0.0.0.0", "::") else _own_name(),
                listener.port or ports[listener.name],
                listener.protocol,
            )
            for listener in told
        )

    async def start(self, services: trio.Nursery) -> None:
        """Start what runs in the background, become a member of the cluster, and wait until we know our part in it."""
        settings, me, clock, house = self.settings, self.me, self.clock, self.house
        self.leaderships = Leaderships(
            me,
            self.keeper,
            self.metadata,
            self.configs.topic_settings,
            self.changes,
            self.configs.learn,
            clock=clock,
            lag_time_max_ms=settings.replica_lag_time_max_ms,
        )
        self.keeper.on_offline = self.leaderships.went_offline
        self.leaderships.on_offline = lambda: services.start_soon(self._report_failure)
        self.keeper.on_nothing_left = lambda why: services.start_soon(_end, why)
        self.moves = LogDirMoves(
            self.keeper,
            self.leaderships,
            self.changes,
            clock,
            _say_about("log"),
            at_once=settings.num_replica_alter_log_dirs_threads or len(settings.directories),
            throttle=move_throttle(self.configs, clock),
        )
        inter_broker = read_listeners(settings).inter_broker
        self.control_loop = ControlLoop(
            me,
            lambda: Controller(
                me,
                ControllerSettings(
                    inter_broker_listener=inter_broker,
                    delete_topic_enable=settings.delete_topic_enable,
                    auto_leader_rebalance_enable=settings.auto_leader_rebalance_enable,
                    leader_imbalance_check_interval_seconds=settings.leader_imbalance_check_interval_seconds,
                    leader_imbalance_per_broker_percentage=settings.leader_imbalance_per_broker_percentage,
                ),
                new_topic_id,
                lambda topic: self.configs.topic_settings(topic).unclean_leader_election_enable,
            ),
            self._tell,
            clock,
            _say_about("control"),
        )
        registrar = registration.Registrar(
            nodes.BrokerRegistration(me, self._advertised(), timestamp_ms=clock(), rack=settings.broker_rack)
        )
        self.membership = Membership(
            registrar,
            self.control_loop,
            self._registered,
            self.metadata.awaited.update,
            session_timeout_ms=settings.zookeeper_session_timeout_ms,
        )
        self.topics = Topics(
            house,
            self.metadata,
            settings,
            self.configs.validate_topic,
            new_topic_id=new_topic_id,
            below=random.randrange,
        )
        self.producer_ids = ProducerIds(self._producer_id_block, services.start_soon)
        # Members must not be thrown out, nor dead ones kept, because somebody has set the machine's clock.
        steady = trio_clock(clock())
        self.groups = Shards(
            self._group_coordinator,
            _group_record,
            lambda: self._partition_count(GROUP_METADATA_TOPIC, settings.offsets_topic_num_partitions),
            steady,
            _say_about("group"),
        )
        self.configs.on_topic.append(self._configure)
        self.configs.on_broker.append(lambda _settings: self._configure(None))
        self.configs.on_broker.append(self.keeper.cleaner.configure)
        self.leaderships.on_lead = self._lead
        self.leaderships.on_resign = self._resign
        self.leaderships.on_gone = lambda partitions: services.start_soon(self._forget, partitions)
        self.routes = self._routes()
        if settings.has_zookeeper:
            await self._meet_neighbours(services)
        await services.start(self.groups.run)
        services.start_soon(self.keeper.run)
        services.start_soon(self.moves.run)
        services.start_soon(house.during_sessions, self.membership.serve)
        services.start_soon(house.during_sessions, self.configs.follow)
        services.start_soon(self.producer_ids.prefetch)
        await self._has_registered.wait()

    def _group_coordinator(self) -> GroupCoordinator:
        # The room of groups is entered with the first of them: to load it takes a twentieth of a start.
        from pykafka_broker.group.coordinator import GroupCoordinator

        return GroupCoordinator(
            self.settings,
            lambda: str(uuid.uuid4()),
            max_record_bytes=self.configs.topic_settings(GROUP_METADATA_TOPIC).max_message_bytes,
        )

    async def _meet_neighbours(self, services: trio.Nursery) -> None:
        from pykafka_broker.neighbours import Neighbours

        self.neighbours = Neighbours(
            self.me,
            self.settings,
            self.metadata,
            self.leaderships,
            self.control_loop,
            self.changes,
            self.clock,
            _say_about("replication"),
            self.keeper.settle,
            follower_throttle(self.me, self.configs, self.clock),
        )
        await services.start(self.neighbours.run)

    async def hand_over(self) -> None:
        """Let other brokers take over what is led here, as far as there are any."""
        if self.neighbours is not None:
            await self.neighbours.hand_over()

    def _configure(self, topic: str | None, settings: TopicSettings | None = None) -> None:
        """Settings have changed, of one topic or (``None``) of the broker and so perhaps of all."""
        for partition, one in self.keeper.logs.items():
            if topic in (None, partition.topic):
                one.configure(settings or self.configs.topic_settings(partition.topic))
        self.control_loop.settings_changed(topic)

    async def _report_failure(self) -> None:
        """Have the controller ask which of our partitions are still there (KIP-112)."""
        while True:
            with suppress(SessionLost):
                await self.house.create(nodes.LogDirEvent.prefix, nodes.LogDirEvent(self.me).encode(), sequential=True)
                return

    def _partition_count(self, topic: str, otherwise: int) -> int:
        """How many partitions an internal topic has, or would have."""
        known = self.metadata.topic(topic)
        return otherwise if known is None else len(known.partitions)

    def _lead(self, partition: TopicPartition, leadership: Leadership) -> None:
        """A partition is led here from now on; one of the groups' brings its coordinator along."""
        if partition.topic == GROUP_METADATA_TOPIC:
            settings = self.settings
            memory = PartitionMemory(
                leadership,
                self.clock,
                commit_timeout_ms=settings.offsets_commit_timeout_ms,
                load_buffer_bytes=settings.offsets_load_buffer_size,
                codec=Codec(settings.offsets_topic_compression_codec),
            )
            self.groups.lead(partition.partition, memory)

    def _resign(self, partition: TopicPartition) -> None:
        if partition.topic == GROUP_METADATA_TOPIC:
            self.groups.resign(partition.partition)

    async def _forget(self, partitions: list[TopicPartition]) -> None:
        """Partitions were deleted; groups lose their positions in them (``GroupCoordinator.onPartitionsDeleted``)."""
        await self.groups.tell_all(lambda group, now, ticket: group.forget_partitions(now, ticket, partitions))

    async def know_our_part(self) -> None:
        """Return when the controller has told of us and of every topic that there is, or takes too long."""
        with trio.move_on_after(READY_WITHIN_S) as patience:
            await self._told_of_everything()
        if patience.cancelled_caught:
            log.warning("the controller has not told of all topics yet; serving what is known")

    async def _told_of_everything(self) -> None:
        while not self.metadata.is_alive(self.me):
            await self.changes.wait([BROKERS])
        leaving = await self.house.children(nodes.DELETE_TOPICS)
        for topic in await self.house.children(nodes.TOPICS):
            if topic in leaving or self.metadata.topic(topic) is not None:
                continue
            if not await self._will_be_told_of(topic):
                self.metadata.awaited.discard(topic)
                continue
            while self.metadata.topic(topic) is None:
                await self.changes.wait([topic])

    async def _will_be_told_of(self, topic: str) -> bool:
        """Whether a controller makes anything of the topic's node."""
        try:
            node = await self.house.read(nodes.topic_path(topic))
            return bool(nodes.TopicAssignment.decode(topic, node.data).partitions)
        except (NoNode, nodes.MalformedNode):
            return False

    def _registered(self, broker_epoch: int) -> None:
        self.leaderships.broker_epoch = broker_epoch
        self.keeper.broker_epoch = broker_epoch
        if self.neighbours is not None:
            self.neighbours.registered(broker_epoch)
        self._has_registered.set()

    async def _producer_id_block(self) -> range:
        if self.neighbours is not None:
            return await self.neighbours.producer_id_block()
        block = await allocate_block(self.house, self.me)
        return range(block.block_start, block.block_end + 1)

    async def _tell(self, broker: BrokerId, request: Any) -> Any:
        """Hand the controller's request to a broker."""
        if broker == self.me:
            return await self.leaderships.obey(request)
        if self.neighbours is None:
            raise Unreachable(f"broker {broker} shares a tree that only one process can have")
        return await self.neighbours.tell(broker, request)

    def accept(self, services: trio.Nursery, connections: trio.Nursery) -> None:
        """Begin to serve clients and other brokers."""
        listeners = Listeners(self.routes.served, Desk(self.routes).answer, self._limits)
        for name, sockets in self._sockets.items():
            listeners.accept(name, sockets, connections)
        services.start_soon(listeners.expire_idle)

    def _routes(self) -> Routes:
        settings = self.settings
        versions = VersionsApi(lambda: routes.served, lambda: self.membership.features_epoch)
        sessions = FetchSessions(
            settings.max_incremental_fetch_session_cache_slots, lambda: random.randint(1, 2**31 - 1)
        )
        routes = collect(
            [
                versions,
                MetadataApi(self.metadata, self.topics, self.cluster_id, settings.auto_create_topics_enable),
                ProduceApi(self.leaderships, self.changes, self.clock, self.keeper.flush, self.metadata),
                FetchApi(
                    self.leaderships,
                    self.metadata,
                    sessions,
                    self.changes,
                    self.clock,
                    lambda: self.configs.broker.fetch_max_bytes,
                    select=self._selection(),
                    throttle=leader_throttle(self.me, self.configs, self.clock),
                ),
                OffsetApi(self.leaderships, self.changes, self.clock),
                ProducerApi(self.producer_ids, self.leaderships),
                TopicApi(
                    self.topics, self.metadata, self.control_loop, self.configs.shown, settings.delete_topic_enable
                ),
                ElectionApi(self.control_loop, self.metadata),
                ReassignmentApi(self.control_loop),
                PartitionApi(self.leaderships),
                ClusterApi(self.control_loop),
                LogDirApi(self.keeper, self.moves),
                ConfigApi(self.configs, self.metadata, self.me),
                CoordinatorApi(
                    self.metadata,
                    self.topics,
                    lambda: self._partition_count(GROUP_METADATA_TOPIC, settings.offsets_topic_num_partitions),
                ),
                GroupApi(self.groups),
                GroupOffsetApi(
                    self.groups, self.metadata, ConsumerOffsets(self.house), settings.offset_metadata_max_bytes
                ),
            ]
        )
        return routes

    def _selection(self) -> SelectReplica:
        """Where consumers are sent to read (KIP-392)."""
        named = self.settings.replica_selector_class
        if named not in (None, "", RACK_AWARE):
            log.warning("replica.selector.class=%s cannot be run here: everybody reads from leaders", named)
        return rack_aware if named == RACK_AWARE else no_selection

    def _limits(self) -> ConnectionLimits:
        settings = self.configs.broker
        return ConnectionLimits(
            max_frame_bytes=settings.socket_request_max_bytes,
            max_idle_ms=settings.connections_max_idle_ms,
            max_connections=settings.max_connections,
            max_connections_per_ip=settings.max_connections_per_ip,
            max_connections_per_ip_overrides=read_address_limits(settings.max_connections_per_ip_overrides),
            backlog=settings.socket_listen_backlog_size,
            # What nobody has said is the broker's own choice, and not Kafka's default.
            send_buffer_bytes=(
                settings.socket_send_buffer_bytes if "socket.send.buffer.bytes" in self.given else SEND_BUFFER_BYTES
            ),
            receive_buffer_bytes=(
                settings.socket_receive_buffer_bytes if "socket.receive.buffer.bytes" in self.given else SYSTEM_CHOOSES
            ),
        )


def _group_record(key: bytes, value: bytes | None) -> Record | None:
    from pykafka_broker.group.records import decode

    return decode(key, value)


def new_topic_id() -> TopicId:
    """A random id; not one that begins with a dash, which tools would take for an option (``Uuid.randomUuid``)."""
    while True:
        made = uuid.uuid4()
        if made.int > 1 and not nodes.uuid_text(made).startswith("-"):
            return TopicId(made)


def _own_name() -> str:
    import socket

    return socket.getfqdn()


def _say_about(room: str) -> Callable[[Fact], None]:
    return lambda fact: say(room, (fact,))


async def _end(why: str) -> None:
    raise CannotStart(why)


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """What keeps a broker from starting, alone or in a group, becomes ``CannotStart``."""
    try:
        yield
    except CannotStart:
        raise
    except BaseException as error:
        for leaf in _leaves(error):
            if isinstance(leaf, CannotStart):
                raise leaf from None
            if isinstance(leaf, DirectoryError | NotAllowed | registration.BrokerIdTaken | registration.EndpointTaken):
                raise CannotStart(" ".join(str(leaf).split())) from error
        raise


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
