"""Standing for controller: one transaction decides the election, and its result fences every write of the term.

``/controller`` says who it is; the version of ``/controller_epoch`` is the fencing token: each write that a controller
makes is put together with ``term.check``, so that a stale one cannot win. What a controller does is no concern of this
file.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio
from msgspec import Struct

from pykafka_broker.model.names import NO_BROKER, BrokerId
from pykafka_broker.zk.nodes import CONTROLLER, CONTROLLER_EPOCH, ControllerEpoch, ControllerNode, MalformedNode
from pykafka_broker.zk.port import (
    BadVersion,
    Changes,
    Check,
    Coordination,
    Create,
    Delete,
    NodeExists,
    NoNode,
    Replace,
    Stat,
)
from pykafka_broker.zk.spans import run_until

log = logging.getLogger(__name__)

_LOOK_AGAIN_S: Final = 5.0
"""How long a node that makes no sense is left alone, unless it changes before."""


class Term(Struct, frozen=True):
    """One broker's time as the controller."""

    epoch: int
    """The controller epoch, which brokers compare."""
    epoch_zk_version: int
    """The version of ``/controller_epoch``, on which every write of the term depends."""

    @property
    def check(self) -> Check:
        """Goes in front of every transaction of the term; ``BadVersion`` on this path means the term is over."""
        return Check(CONTROLLER_EPOCH, self.epoch_zk_version)


class TermOver(Exception):
    """Raised by whoever serves a term when a write was fenced off: another controller has been elected."""


async def lead(
    session: Coordination,
    me: BrokerId,
    serve: Callable[[Term], Awaitable[None]],
    *,
    clock: Callable[[], int],
    learned: Callable[[BrokerId], None] = lambda controller: None,
    rested: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
) -> NoReturn:
    """Stand for election; run ``serve`` in a scope that is cancelled the moment the term ends; repeat.

    ``serve`` resigns by returning; ``TermOver`` raised by it ends the term, anything else goes on to the caller after
    resigning. ``learned`` is told of every change of the controller, -1 for none. ``clock`` gives milliseconds.
    ``rested`` is waited for after each term, and another broker may be elected meanwhile.
    """
    known: BrokerId | None = None

    def tell(controller: BrokerId) -> None:
        nonlocal known
        if controller != known:
            known = controller
            learned(controller)

    async with session.watching_data(CONTROLLER) as changes:
        while True:
            try:
                controller = await current_controller(session)
                if controller is None:
                    tell(NO_BROKER)
                    term = await elect(session, me, clock())
            except MalformedNode as error:
                log.error("nobody can stand for controller: %s", error)
                tell(NO_BROKER)
                with trio.move_on_after(_LOOK_AGAIN_S):
                    await changes.wait()
                continue
            if controller is None:
                if term is not None:
                    tell(me)
                    await _serve(session, term, serve, changes)
                    await rested()
            elif await _left_behind(session):
                continue
            else:
                tell(controller)
                await changes.wait()


async def current_controller(coordination: Coordination) -> BrokerId | None:
    """Who is the controller now, if anybody is."""
    try:
        return ControllerNode.decode((await coordination.read(CONTROLLER)).data).broker_id
    except NoNode:
        return None


async def elect(session: Coordination, me: BrokerId, now_ms: int) -> Term | None:
    """Try to become the controller (``KafkaZkClient.registerControllerAndIncrementControllerEpoch``).

    Nothing when another was faster.
    """
    epoch, version = await _epoch(session)
    mine = Create(CONTROLLER, ControllerNode(me, now_ms).encode(), ephemeral=True)
    try:
        _, stat = await session.together(
            [mine, Replace(CONTROLLER_EPOCH, ControllerEpoch(epoch + 1).encode(), version)]
        )
    except (NodeExists, BadVersion):
        return await _won_after_all(session, epoch + 1)
    assert isinstance(stat, Stat)
    return Term(epoch + 1, stat.version)


async def resign(session: Coordination, term: Term) -> None:
    """Leave the post, unless it is another's already (``KafkaZkClient.deleteController``)."""
    try:
        await session.together([term.check, Delete(CONTROLLER)])
    except (BadVersion, NoNode):
        return


async def _serve(
    session: Coordination,
    term: Term,
    serve: Callable[[Term], Awaitable[None]],
    changes: Changes,
) -> None:
    async def ended() -> None:
        while await _is_mine(session):
            await changes.wait()

    try:
        await run_until(ended, lambda: serve(term), forgiving=TermOver)
    finally:
        await resign(session, term)


async def _is_mine(session: Coordination) -> bool:
    try:
        return (await session.read(CONTROLLER)).stat.ephemeral_owner == session.session_id
    except NoNode:
        return False


async def _left_behind(session: Coordination) -> bool:
    """Remove a post that is this session's while it serves no term: a candidacy given up without resigning."""
    try:
        node = await session.read(CONTROLLER)
        if node.stat.ephemeral_owner != session.session_id:
            return False
        await session.delete(CONTROLLER, node.stat.version)
    except (NoNode, BadVersion):
        pass
    return True


async def _epoch(session: Coordination) -> tuple[int, int]:
    """The controller epoch and its node's version; the first controller of all finds 0."""
    while True:
        try:
            node = await session.read(CONTROLLER_EPOCH)
        except NoNode:
            try:
                await session.create(CONTROLLER_EPOCH, ControllerEpoch(0).encode())
            except NodeExists:
                continue
            return 0, 0
        return ControllerEpoch.decode(node.data).epoch, node.stat.version


async def _won_after_all(session: Coordination, epoch: int) -> Term | None:
    """The term when it was this session's own election whose answer was lost."""
    if not await _is_mine(session):
        return None
    now, version = await _epoch(session)
    return Term(epoch, version) if now == epoch else None
