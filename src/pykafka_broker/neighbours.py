"""What a broker of a cluster has besides what a lone one has: lines to the others, and what goes over them.

Put together by ``app.py`` when ``zookeeper.connect`` is set, and not imported before. What followers and leaders do is
``log``'s and ``runtime``'s; here they are only given each other.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from pykafka_broker.api.cluster import ClusterApi
from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.listeners import read_listeners
from pykafka_broker.log.throttle import Throttle
from pykafka_broker.model.errors import ErrorCode, Unreachable
from pykafka_broker.model.names import BrokerId
from pykafka_broker.model.outcome import Fact
from pykafka_broker.net.peer import Locate, Peer
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.control_loop import ControlLoop
from pykafka_broker.runtime.controller_channel import ControllerChannel
from pykafka_broker.runtime.isr_changes import IsrChanges
from pykafka_broker.runtime.leaderships import Leaderships
from pykafka_broker.runtime.metadata import BROKERS, Metadata
from pykafka_broker.runtime.peers import Line
from pykafka_broker.runtime.replication import Replication
from pykafka_broker.wire import messages

log = logging.getLogger(__name__)

_VERSIONS: dict[type, tuple[str, int]] = {
    messages.LeaderAndIsrRequest: ("LeaderAndIsr", 7),
    messages.UpdateMetadataRequest: ("UpdateMetadata", 8),
    messages.StopReplicaRequest: ("StopReplica", 4),
}
"""How a controller speaks to brokers at ``inter.broker.protocol.version`` 3.9-IV0, without asking what they know."""

_CONTROLLED_SHUTDOWN = 3

PRODUCER_IDS_RETRY_S = 0.05
"""After a refusal (``RPCProducerIdManager.RetryBackoffMs``); a broker that registers anew is not known for a moment."""


class Neighbours:
    """The other brokers of the cluster, as this one reaches them."""

    def __init__(
        self,
        me: BrokerId,
        settings: BrokerSettings,
        metadata: Metadata,
        leaderships: Leaderships,
        control_loop: ControlLoop,
        changes: Changes,
        clock: Clock,
        note: Callable[[Fact], None],
        settle: Callable[[], Awaitable[None]],
        throttle: Throttle,
    ) -> None:
        self._me = me
        self._settings = settings
        self._metadata = metadata
        self._leaderships = leaderships
        self._control_loop = control_loop
        self._changes = changes
        self._listener = read_listeners(settings).inter_broker
        self._broker_epoch = -1
        self._told: dict[BrokerId, Line] = {}
        here = ClusterApi(control_loop)
        self.channel = ControllerChannel(
            me,
            metadata,
            changes,
            self._connect_to_controller,
            {
                "AlterPartition": here.alter_partition,
                "AllocateProducerIds": here.allocate_producer_ids,
                "ControlledShutdown": here.shut_down,
            },
        )
        self._isr_changes = IsrChanges(me, leaderships, self.channel.ask, settings.replica_lag_time_max_ms)
        self._replication = Replication(
            me, settings, settings.num_replica_fetchers, self._connect_to_leader, changes, clock, note, settle, throttle
        )
        leaderships.surroundings.propose_isr = self._isr_changes.propose
        leaderships.on_follow = self._replication.follow
        leaderships.on_unfollow = self._replication.unfollow

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow and be followed until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._replication.run)
                nursery.start_soon(self._isr_changes.run)
                task_status.started()
        finally:
            self.channel.close()
            for line in self._told.values():
                line.close()

    def registered(self, broker_epoch: int) -> None:
        """This broker has registered, perhaps anew."""
        self._broker_epoch = broker_epoch
        self._replication.broker_epoch = broker_epoch
        self._isr_changes.broker_epoch = broker_epoch

    # Lines

    def _locate(self, broker: BrokerId) -> tuple[str, int] | None:
        address = self._metadata.address(broker, self._listener)
        return None if address is None else (address.host, address.port)

    def _connect_to_leader(self, broker: BrokerId, client_id: str) -> Line:
        return self._line(broker, client_id, lambda: self._locate(broker), self._settings.replica_socket_timeout_ms)

    def _connect_to_controller(self, broker: BrokerId, client_id: str) -> Line:
        return self._line(broker, client_id, lambda: self._locate(broker), self._settings.controller_socket_timeout_ms)

    @staticmethod
    def _line(broker: BrokerId, client_id: str, locate: Locate, timeout_ms: int) -> Line:
        return Peer(f"broker {broker}", locate, client_id, timeout_s=timeout_ms / 1000)

    # Being the controller

    async def tell(self, broker: BrokerId, request: Any) -> Any:
        """Hand the controller's request to a broker and give its response; ``Unreachable``."""
        line = self._told.get(broker)
        if line is None:
            line = self._told[broker] = self._line(
                broker,
                str(self._me),
                lambda: self._control_loop.address(broker, self._listener),
                self._settings.controller_socket_timeout_ms,
            )
        api, version = _VERSIONS[type(request)]
        return await line.ask(api, version, request)

    # Asking the controller

    async def producer_id_block(self) -> range:
        """The next block of producer ids, from the controller (KIP-730), as soon as it gives one."""
        while True:
            request = messages.AllocateProducerIdsRequest(broker_id=self._me, broker_epoch=self._broker_epoch)
            response = await self.channel.ask("AllocateProducerIds", 0, request)
            if not response.error_code:
                return range(response.producer_id_start, response.producer_id_start + response.producer_id_len)
            log.debug("no producer ids for now: %s", ErrorCode.of(response.error_code).name)
            await trio.sleep(PRODUCER_IDS_RETRY_S)

    @property
    def _is_alone(self) -> bool:
        return set(self._metadata.brokers) <= {self._me}

    async def _alone_or_after(self, limit_ms: int) -> None:
        """Return when no other broker is alive any more, or after so long."""
        with trio.move_on_after(limit_ms / 1000):
            while not self._is_alone:
                await self._changes.wait([BROKERS])

    async def hand_over(self) -> None:
        """Have all leaderships moved to other brokers before this one goes (``KafkaServer.controlledShutdown``)."""
        settings = self._settings
        if not settings.controlled_shutdown_enable:
            return
        request = messages.ControlledShutdownRequest(broker_id=self._me, broker_epoch=self._broker_epoch)
        for attempt in range(settings.controlled_shutdown_max_retries):
            if attempt:
                await self._alone_or_after(settings.controlled_shutdown_retry_backoff_ms)
            if self._is_alone:
                # Apache Kafka goes on asking; but there is nobody to whom anything could be handed.
                return
            response = None
            with trio.move_on_after(settings.controller_socket_timeout_ms / 1000):
                try:
                    response = await self.channel.ask_once("ControlledShutdown", _CONTROLLED_SHUTDOWN, request)
                except Unreachable as error:
                    log.warning("controlled shutdown: the controller cannot be asked: %s", error)
                    continue
            if response is None:
                # This broker itself, perhaps, which can decide nothing while ZooKeeper is away.
                log.warning("controlled shutdown: the controller has not answered in time")
                continue
            left = [f"{one.topic_name}-{one.partition_index}" for one in response.remaining_partitions]
            if not response.error_code and not left:
                log.info("controlled shutdown succeeded")
                return
            why = (
                ErrorCode.of(response.error_code).name if response.error_code else f"still led here: {', '.join(left)}"
            )
            log.warning("controlled shutdown failed for now: %s", why)
        log.warning("proceeding to do an unclean shutdown as all the controlled shutdown attempts failed")
