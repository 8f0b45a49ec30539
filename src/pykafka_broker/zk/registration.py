"""A broker's entry into the cluster: the nodes it makes sure of, the cluster's id, its own id and its registration.

When each of these is done, and what follows from a refusal, is the application's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from msgspec.structs import replace

from pykafka_broker.model.names import BrokerId
from pykafka_broker.zk.nodes import (
    BROKER_IDS,
    BROKER_SEQUENCE,
    CLUSTER,
    CLUSTER_ID,
    BrokerRegistration,
    ClusterId,
    MalformedNode,
    broker_path,
    brokers_among,
    persistent_paths,
    uuid_text,
)
from pykafka_broker.zk.port import Coordination, Create, NodeExists, NoNode, Replace, Stat


class BrokerIdTaken(Exception):
    """Another session has registered a broker with this id; it may be this broker's own from before a crash."""


class EndpointTaken(Exception):
    """Another broker has registered one of the advertised endpoints."""


async def prepare(coordination: Coordination) -> None:
    """Make sure of the persistent nodes (``KafkaZkClient.createTopLevelPaths``)."""
    for path in persistent_paths():
        await coordination.ensure(path)


async def knows_its_cluster(coordination: Coordination) -> bool:
    """Whether a broker has been here before."""
    try:
        await coordination.read(CLUSTER_ID)
    except NoNode:
        return False
    return True


async def cluster_id(coordination: Coordination, random_bytes: Callable[[int], bytes]) -> str:
    """The cluster's id, 22 characters; the first broker makes it of 16 random bytes."""
    try:
        return ClusterId.decode((await coordination.read(CLUSTER_ID)).data).cluster_id
    except NoNode:
        pass
    proposed = ClusterId(uuid_text(UUID(bytes=random_bytes(16))))
    await coordination.ensure(CLUSTER)
    try:
        await coordination.create(CLUSTER_ID, proposed.encode())
    except NodeExists:
        return ClusterId.decode((await coordination.read(CLUSTER_ID)).data).cluster_id
    return proposed.cluster_id


async def generate_broker_id(coordination: Coordination, reserved_max_id: int = 1_000) -> BrokerId:
    """An id that no broker had before (``broker.id=-1``), above ``reserved.broker.max.id``."""
    await coordination.ensure(BROKER_SEQUENCE)
    stat = await coordination.replace(BROKER_SEQUENCE, None)
    return BrokerId(reserved_max_id + stat.version)


async def registrations(coordination: Coordination) -> dict[BrokerId, tuple[BrokerRegistration, int]]:
    """All live brokers whose nodes make sense, with their epochs (the ``czxid`` of each node)."""
    found: dict[BrokerId, tuple[BrokerRegistration, int]] = {}
    for broker_id in brokers_among(await coordination.children(BROKER_IDS)):
        try:
            node = await coordination.read(broker_path(broker_id))
            found[broker_id] = (BrokerRegistration.decode(broker_id, node.data), node.stat.czxid)
        except (NoNode, MalformedNode):
            continue
    return found


async def check_endpoints(coordination: Coordination, registration: BrokerRegistration) -> None:
    """``EndpointTaken`` when another live broker advertises a host and port of this one's."""
    mine = {(endpoint.host, endpoint.port) for endpoint in registration.endpoints}
    for other_id, (other, _) in (await registrations(coordination)).items():
        common = sorted(mine & {(endpoint.host, endpoint.port) for endpoint in other.endpoints})
        if other_id != registration.broker_id and common:
            listed = ",".join(f"{host}:{port}" for host, port in common)
            raise EndpointTaken(
                f"Configured end points {listed} in advertised listeners are already registered by broker {other_id}"
            )


class Registrar:
    """Registers one broker, again in each session; remembers its own sessions to know its own leavings."""

    def __init__(self, registration: BrokerRegistration) -> None:
        self.registration = registration
        self._sessions: set[int] = set()

    async def register(self, session: Coordination) -> int:
        """Register for as long as the session lasts, and return the broker epoch (KIP-380).

        ``BrokerIdTaken`` when the node belongs to somebody else (``KafkaZkClient.CheckedEphemeral``).
        """
        path = self.registration.path
        data = self.registration.encode()
        while True:
            try:
                _, stat = await session.together([Create(path, None, ephemeral=True), Replace(path, data, 0)])
            except NodeExists:
                epoch = await self._settled(session, path)
                if epoch is None:
                    continue
            else:
                assert isinstance(stat, Stat)
                epoch = stat.czxid
            self._sessions.add(session.session_id)
            return epoch

    async def update(self, session: Coordination, registration: BrokerRegistration) -> None:
        """Tell other endpoints under the same epoch (a dynamic change of listeners)."""
        self.registration = replace(registration, broker_id=self.registration.broker_id)
        await session.replace(self.registration.path, self.registration.encode())

    async def _settled(self, session: Coordination, path: str) -> int | None:
        """The epoch when the node there is this session's; none when the way is free now."""
        try:
            node = await session.read(path)
            owner = node.stat.ephemeral_owner
            if owner == session.session_id:
                return node.stat.czxid
            if owner not in self._sessions:
                raise BrokerIdTaken(
                    f"A broker with id {self.registration.broker_id} is already registered: {path} belongs to session "
                    f"0x{owner & (2**64 - 1):x}. After a crash it stays until the session of the old process expires."
                )
            await session.delete(path, node.stat.version)
        except NoNode:
            pass
        return None
