"""A broker registers in every session, and waits for its own ghost to go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from pykafka_broker.model.names import BrokerId
from pykafka_broker.runtime.membership import Membership
from pykafka_broker.store.worker import Worker
from pykafka_broker.zk import nodes, registration
from pykafka_broker.zk.embedded import Grove, open_grove
from pykafka_broker.zk.port import Coordination


class Standing:
    """Stands for controller in name only."""

    def __init__(self) -> None:
        self.stood = trio.Event()

    async def stand(self, session: Coordination) -> None:
        self.stood.set()
        await trio.sleep_forever()


class Member:
    """A broker that others see only by its registration."""

    def __init__(self, broker_id: int, port: int) -> None:
        self.epochs: list[int] = []
        self.awaited: list[str] = []
        self.standing = Standing()
        endpoint = nodes.Endpoint("PLAINTEXT", "localhost", port)
        self.membership = Membership(
            registration.Registrar(nodes.BrokerRegistration(BrokerId(broker_id), (endpoint,))),
            self.standing,  # type: ignore[arg-type]
            self.epochs.append,
            self.awaited.extend,
            session_timeout_ms=6000,
        )


@pytest.fixture
async def grove(tmp_path: Path) -> AsyncIterator[Grove]:
    async with open_grove(tmp_path, in_worker=Worker().run, clock=lambda: 1_700_000_000_000) as grove:
        yield grove


async def test_it_registers_and_then_stands_for_controller(grove: Grove, nursery: trio.Nursery) -> None:
    member = Member(3, 9092)
    async with grove.session() as session:
        nursery.start_soon(member.membership.serve, session)
        await member.standing.stood.wait()
        node = await session.read(nodes.broker_path(3))
        assert node.stat.ephemeral_owner == session.session_id
        assert member.epochs == [node.stat.czxid]
        assert nodes.Feature.decode((await session.read(nodes.FEATURE)).data) == nodes.Feature()
        assert member.membership.features_epoch == 0
        nursery.cancel_scope.cancel()


async def test_topics_that_are_there_when_it_comes_are_awaited(grove: Grove, nursery: trio.Nursery) -> None:
    member = Member(3, 9092)
    async with grove.session() as session:
        await session.ensure(nodes.topic_path("orders"))
        nursery.start_soon(member.membership.serve, session)
        await member.standing.stood.wait()
        assert member.awaited == ["orders"]


async def test_an_address_that_another_broker_has_is_refused(grove: Grove, nursery: trio.Nursery) -> None:
    first, second = Member(1, 9092), Member(2, 9092)
    async with grove.session() as one, grove.session() as other:
        nursery.start_soon(first.membership.serve, one)
        await first.standing.stood.wait()
        with pytest.raises(registration.EndpointTaken):
            await second.membership.serve(other)
        nursery.cancel_scope.cancel()


async def test_it_waits_for_the_registration_of_its_former_life_to_expire(
    grove: Grove, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    before, after = Member(1, 9092), Member(1, 9092)
    async with grove.session() as now:
        async with grove.session() as ghost:
            nursery.start_soon(before.membership.serve, ghost)
            await before.standing.stood.wait()
            nursery.start_soon(after.membership.serve, now)
            await trio.sleep(3)
            assert after.epochs == []
        await after.standing.stood.wait()
        assert after.epochs[0] > before.epochs[0]
        nursery.cancel_scope.cancel()


async def test_an_id_that_somebody_else_keeps_is_given_up(
    grove: Grove, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    owner, latecomer = Member(1, 9092), Member(1, 9093)
    async with grove.session() as one, grove.session() as other:
        nursery.start_soon(owner.membership.serve, one)
        await owner.standing.stood.wait()
        with pytest.raises(registration.BrokerIdTaken):
            await latecomer.membership.serve(other)
        nursery.cancel_scope.cancel()


async def test_in_another_session_it_registers_with_another_epoch_and_stands_again(
    grove: Grove, nursery: trio.Nursery
) -> None:
    member, other = Member(1, 9092), Member(2, 9092)
    async with grove.session() as first:
        await nursery.start(served_until_standing, member, first)
    # Its address may have been taken meanwhile: it was checked at the start, and clients are served already.
    async with grove.session() as elsewhere, grove.session() as second:
        nursery.start_soon(other.membership.serve, elsewhere)
        await other.standing.stood.wait()
        member.standing.stood = trio.Event()
        nursery.start_soon(member.membership.serve, second)
        await member.standing.stood.wait()
        node = await second.read(nodes.broker_path(1))
        assert node.stat.ephemeral_owner == second.session_id
        assert member.epochs[1] == node.stat.czxid > member.epochs[0]
        nursery.cancel_scope.cancel()


async def served_until_standing(
    member: Member, session: Coordination, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve a session until it stands for controller, as a session that is lost right then would have it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member.membership.serve, session)
        await member.standing.stood.wait()
        nursery.cancel_scope.cancel()
    task_status.started()
