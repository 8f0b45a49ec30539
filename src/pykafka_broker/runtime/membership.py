"""Being a member of the cluster for as long as a session lasts: registered, and standing for controller.

When the session is lost all of it ends, and begins anew with the next one: the broker registers again (with a new
epoch) and stands for election again. Serving clients goes on meanwhile, as in Apache Kafka.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from contextlib import suppress

import trio

from pykafka_broker.runtime.control_loop import ControlLoop
from pykafka_broker.zk import nodes, registration
from pykafka_broker.zk.port import Coordination, NodeExists

log = logging.getLogger(__name__)

ASK_AGAIN_AFTER_S = 0.5
"""How often a taken broker id is tried again, while it may be our own from before a crash."""


class Membership:
    """Registers this broker in every session, and serves the terms as controller that it wins."""

    def __init__(
        self,
        registrar: registration.Registrar,
        control_loop: ControlLoop,
        registered: Callable[[int], None],
        awaited: Callable[[Collection[str]], object],
        *,
        session_timeout_ms: int,
    ) -> None:
        """``registered`` is told the broker epoch of each registration; ``awaited`` which topics there are at first."""
        self._registrar = registrar
        self._control_loop = control_loop
        self._registered = registered
        self._awaited = awaited
        self._session_timeout_ms = session_timeout_ms
        self._has_checked_endpoints = False
        self.features_epoch = -1
        """The version of the ``/feature`` node, -1 while it is not known."""

    async def serve(self, session: Coordination) -> None:
        """Register and stand for controller, until the session is lost (then the caller cancels this).

        ``BrokerIdTaken`` when another broker has the id and keeps it longer than a session can outlive its process;
        ``EndpointTaken`` when another broker advertises an address of ours. As in Apache Kafka, that is looked for when
        the broker starts, and not again in each session.
        """
        await registration.prepare(session)
        if not self._has_checked_endpoints:
            await registration.check_endpoints(session, self._registrar.registration)
            self._has_checked_endpoints = True
            self._awaited(await session.children(nodes.TOPICS))
        self._registered(await self._register(session))
        await self._read_features(session)
        await self._control_loop.stand(session)

    async def _register(self, session: Coordination) -> int:
        """Register, and wait for what a former life has left; counted in attempts, since clocks are set."""
        attempts = 1 + math.ceil(2 * self._session_timeout_ms / 1000 / ASK_AGAIN_AFTER_S)
        has_said = False
        while True:
            try:
                return await self._registrar.register(session)
            except registration.BrokerIdTaken as taken:
                attempts -= 1
                if attempts == 0:
                    raise
                if not has_said:
                    log.warning("waiting for an old registration to expire: %s", taken)
                    has_said = True
            await trio.sleep(ASK_AGAIN_AFTER_S)

    async def _read_features(self, session: Coordination) -> None:
        """Find the finalized features' node, or make it: there are none in ZooKeeper mode."""
        with suppress(NodeExists):
            await session.create(nodes.FEATURE, nodes.Feature().encode())
        self.features_epoch = (await session.read(nodes.FEATURE)).stat.version
