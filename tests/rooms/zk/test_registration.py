"""A broker enters the cluster as Kafka 3.9 does, over both houses of the port."""

from __future__ import annotations

import pytest

from pykafka_broker.model.names import BrokerId
from pykafka_broker.zk import nodes
from pykafka_broker.zk.nodes import BrokerRegistration, Endpoint
from pykafka_broker.zk.port import Coordination
from pykafka_broker.zk.registration import (
    BrokerIdTaken,
    EndpointTaken,
    Registrar,
    check_endpoints,
    cluster_id,
    generate_broker_id,
    prepare,
    registrations,
)
from tests.rooms.zk.conftest import Sessions

ONE, TWO = BrokerId(1), BrokerId(2)


def broker(broker_id: BrokerId, *ports: int) -> BrokerRegistration:
    return BrokerRegistration(broker_id, tuple(Endpoint(f"L{port}", "host", port) for port in ports or (9092,)), 5)


async def test_the_persistent_nodes_hold_null(tree: Coordination) -> None:
    await prepare(tree)
    await prepare(tree)
    for path in nodes.persistent_paths():
        node = await tree.read(path)
        assert (node.data, node.stat.version, node.stat.ephemeral_owner) == (None, 0, 0)
    assert await tree.children("/brokers") == ("ids", "seqid", "topics")
    assert await tree.children("/config") == ("brokers", "changes", "clients", "ips", "topics", "users")


async def test_the_first_broker_makes_the_cluster_s_id_and_all_others_find_it(tree: Coordination) -> None:
    made = await cluster_id(tree, lambda size: b"\xfe" * size)
    assert made == "_v7-_v7-_v7-_v7-_v7-_g"
    assert (await tree.read("/cluster/id")).data == b'{"version":"1","id":"_v7-_v7-_v7-_v7-_v7-_g"}'
    assert await cluster_id(tree, lambda size: b"\0" * size) == made


async def test_generated_ids_begin_above_the_reserved_ones(tree: Coordination) -> None:
    await prepare(tree)
    assert [await generate_broker_id(tree) for _ in range(3)] == [1001, 1002, 1003]
    assert await generate_broker_id(tree, 2_000) == 2004


async def test_a_broker_s_epoch_is_the_transaction_that_made_its_node(tree: Coordination) -> None:
    await prepare(tree)
    registration = broker(ONE)
    epoch = await Registrar(registration).register(tree)
    node = await tree.read("/brokers/ids/1")
    assert epoch == node.stat.czxid
    assert node.data == registration.encode()
    assert (node.stat.version, node.stat.ephemeral_owner) == (1, tree.session_id)
    assert await registrations(tree) == {ONE: (registration, epoch)}


async def test_what_is_no_registration_is_passed_over(tree: Coordination) -> None:
    await prepare(tree)
    registration = broker(ONE)
    epoch = await Registrar(registration).register(tree)
    await tree.create("/brokers/ids/abc", b"{}")
    await tree.create("/brokers/ids/7", b"nonsense")
    assert await registrations(tree) == {ONE: (registration, epoch)}
    await check_endpoints(tree, registration)


async def test_registering_twice_in_a_session_changes_nothing(tree: Coordination) -> None:
    await prepare(tree)
    registrar = Registrar(broker(ONE))
    epoch = await registrar.register(tree)
    assert await registrar.register(tree) == epoch
    assert (await tree.read("/brokers/ids/1")).stat.version == 1


async def test_an_id_that_another_session_holds_is_refused(sessions: Sessions) -> None:
    async with sessions() as one, sessions() as two:
        await prepare(one)
        await Registrar(broker(ONE)).register(one)
        with pytest.raises(BrokerIdTaken, match=r"A broker with id 1 is already registered"):
            await Registrar(broker(ONE, 9093)).register(two)


async def test_a_node_left_by_an_earlier_session_of_the_same_broker_is_replaced(sessions: Sessions) -> None:
    async with sessions() as one, sessions() as two:
        await prepare(one)
        registrar = Registrar(broker(ONE))
        earlier = await registrar.register(one)
        later = await registrar.register(two)
        assert later > earlier
        assert (await two.read("/brokers/ids/1")).stat.ephemeral_owner == two.session_id


async def test_a_change_of_endpoints_keeps_the_epoch(tree: Coordination) -> None:
    await prepare(tree)
    registrar = Registrar(broker(ONE))
    epoch = await registrar.register(tree)
    await registrar.update(tree, broker(ONE, 9092, 9093))
    assert await registrations(tree) == {ONE: (broker(ONE, 9092, 9093), epoch)}


async def test_an_endpoint_that_another_broker_advertises_is_refused(sessions: Sessions) -> None:
    async with sessions() as one, sessions() as two:
        await prepare(one)
        await Registrar(broker(ONE, 9092, 9093)).register(one)
        await check_endpoints(two, broker(ONE, 9092))
        await check_endpoints(two, broker(TWO, 9094))
        with pytest.raises(EndpointTaken) as refusal:
            await check_endpoints(two, broker(TWO, 9093, 9094))
        assert str(refusal.value) == (
            "Configured end points host:9093 in advertised listeners are already registered by broker 1"
        )
