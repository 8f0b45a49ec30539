"""Whether a change was carried out though its answer was lost."""

from __future__ import annotations

import pytest

from pykafka_broker.zk.doubt import outcome_of
from pykafka_broker.zk.port import Change, Check, Create, Delete, Done, Replace
from pykafka_broker.zk.tree import Tree

ME, OTHER = 7, 8


class Ground:
    """A tree in which one session has asked for a change, and may or may not have been heard."""

    def __init__(self) -> None:
        self.tree = Tree()
        self.does(OTHER, Create("/old", b"old"), Create("/old/child"))

    def does(self, session_id: int, *changes: Change) -> tuple[Done, ...]:
        return self.tree.change(changes, session_id, 1).done

    async def outcome(self, *changes: Change, since: int, refused: str = "") -> tuple[Done, ...] | None:
        async def read(path: str) -> object:
            return self.tree.read(path)

        return await outcome_of(changes, since, ME, read, refused)  # type: ignore[arg-type]


@pytest.fixture
def ground() -> Ground:
    return Ground()


HEARD: list[tuple[Change, ...]] = [
    (Create("/a", b"x"),),
    (Create("/a", None, ephemeral=True),),
    (Create("/a", None, ephemeral=True), Replace("/a", b"x", 0)),
    (Replace("/old", b"x", 0),),
    (Replace("/old", b"x"),),
    (Delete("/old/child"),),
    (Check("/old", 0), Create("/a"), Replace("/old", None, 0), Delete("/old/child", 0)),
]


@pytest.mark.parametrize("changes", HEARD)
async def test_a_change_that_was_heard_is_recognised_with_what_it_gave(
    ground: Ground, changes: tuple[Change, ...]
) -> None:
    since = ground.tree.zxid
    done = ground.does(ME, *changes)
    assert await ground.outcome(*changes, since=since) == done


@pytest.mark.parametrize("changes", [case for case in HEARD if not isinstance(case[0], Delete)])
async def test_a_change_that_was_not_heard_is_not_taken_for_done(ground: Ground, changes: tuple[Change, ...]) -> None:
    assert await ground.outcome(*changes, since=ground.tree.zxid) is None


async def test_what_stood_there_before_is_not_one_s_own_doing(ground: Ground) -> None:
    assert await ground.outcome(Create("/old", b"old"), since=ground.tree.zxid) is None


async def test_what_another_wrote_is_not_one_s_own_doing(ground: Ground) -> None:
    since = ground.tree.zxid
    ground.does(OTHER, Create("/a", b"theirs"), Create("/e", None, ephemeral=True))
    ground.does(OTHER, Replace("/old", b"x"), Replace("/old", b"x"))
    assert await ground.outcome(Create("/a", b"mine"), since=since) is None
    assert await ground.outcome(Create("/e", None, ephemeral=True), since=since) is None
    assert await ground.outcome(Replace("/old", b"x", 0), since=since) is None
    assert await ground.outcome(Delete("/old"), since=since) is None


async def test_a_transaction_pieced_together_by_others_is_not_one_s_own_doing(ground: Ground) -> None:
    since = ground.tree.zxid
    ground.does(OTHER, Create("/a", b"x"))
    ground.does(OTHER, Replace("/old", b"x"))
    assert await ground.outcome(Create("/a", b"x"), Replace("/old", b"x", 0), since=since) is None


async def test_a_sequential_node_cannot_be_recognised(ground: Ground) -> None:
    since = ground.tree.zxid
    ground.does(ME, Create("/s_", sequential=True))
    assert await ground.outcome(Create("/s_", sequential=True), since=since) is None


async def test_a_check_that_fails_when_asked_again_may_have_failed_the_first_time(ground: Ground) -> None:
    """A controller that is one no more must not take for its own doing what its successor has deleted."""
    since = ground.tree.zxid
    ground.does(OTHER, Replace("/old", b"x"), Delete("/old/child"))
    assert await ground.outcome(Check("/old", 0), since=since, refused="/old") is None
    fenced = (Check("/old", 0), Delete("/old/child"))
    assert await ground.outcome(*fenced, since=since, refused="/old") is None
    assert await ground.outcome(*fenced, since=since, refused="/old/child") == (None, None)


async def test_what_was_deleted_fails_the_check_before_it_when_asked_again(ground: Ground) -> None:
    since = ground.tree.zxid
    changes = (Check("/old/child", 0), Delete("/old/child"))
    done = ground.does(ME, *changes)
    assert await ground.outcome(*changes, since=since, refused="/old/child") == done
