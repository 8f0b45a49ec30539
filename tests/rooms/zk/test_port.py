"""What the coordination port promises, asked of both houses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from pykafka_broker.zk.port import (
    MAX_DATA_BYTES,
    BadVersion,
    Changes,
    Check,
    Coordination,
    CoordinationError,
    Create,
    Delete,
    NodeExists,
    NodeTooLarge,
    NoNode,
    NotEmpty,
    ParentIsEphemeral,
    Replace,
    SessionLost,
    Stat,
)
from tests.rooms.zk.conftest import Sessions


async def test_a_node_reads_back_with_its_stat(tree: Coordination) -> None:
    assert await tree.create("/a", b"one") == "/a"
    node = await tree.read("/a")
    assert node.data == b"one"
    assert (node.stat.version, node.stat.ephemeral_owner) == (0, 0)
    assert node.stat.czxid == node.stat.mzxid > 0
    assert node.stat.created_ms > 0


async def test_no_data_and_empty_data_are_kept_apart(tree: Coordination) -> None:
    await tree.create("/null")
    await tree.create("/empty", b"")
    assert (await tree.read("/null")).data is None
    assert (await tree.read("/empty")).data == b""
    await tree.replace("/empty", None)
    await tree.replace("/null", b"")
    assert (await tree.read("/empty")).data is None
    assert (await tree.read("/null")).data == b""
    await tree.together([Create("/both"), Create("/both/a", b""), Replace("/null", None)])
    assert (await tree.read("/both")).data is None
    assert (await tree.read("/both/a")).data == b""
    assert (await tree.read("/null")).data is None


async def test_replacing_raises_version_and_mzxid_and_keeps_the_rest(tree: Coordination) -> None:
    await tree.create("/a", b"one")
    before = (await tree.read("/a")).stat
    after = await tree.replace("/a", b"two", 0)
    assert after.version == 1
    assert after.mzxid > after.czxid == before.czxid
    assert after.created_ms == before.created_ms
    assert await tree.read("/a") == type(await tree.read("/a"))(b"two", after)


@pytest.mark.parametrize("expected", [0, 2, 7])
async def test_a_write_for_another_version_is_refused(tree: Coordination, expected: int) -> None:
    await tree.create("/a", b"one")
    await tree.replace("/a", b"two")
    with pytest.raises(BadVersion) as refusal:
        await tree.replace("/a", b"three", expected)
    assert refusal.value.path == "/a"
    with pytest.raises(BadVersion):
        await tree.delete("/a", expected)
    assert (await tree.read("/a")).data == b"two"


async def test_what_is_not_there_is_no_node(tree: Coordination) -> None:
    asked: list[Callable[[], Awaitable[object]]] = [
        lambda: tree.read("/a"),
        lambda: tree.children("/a"),
        lambda: tree.replace("/a", b""),
        lambda: tree.delete("/a"),
        lambda: tree.delete("/a", 3),
        lambda: tree.create("/a/b"),
        lambda: tree.together([Check("/a", 0)]),
    ]
    for ask in asked:
        with pytest.raises(NoNode) as refusal:
            await ask()
        assert refusal.value.path.startswith("/a")


async def test_a_node_is_made_once(tree: Coordination) -> None:
    await tree.create("/a", b"one")
    with pytest.raises(NodeExists) as refusal:
        await tree.create("/a", b"two")
    assert refusal.value.path == "/a"
    assert (await tree.read("/a")).data == b"one"
    with pytest.raises(NodeExists):
        await tree.create("/")


async def test_a_node_with_children_stays(tree: Coordination) -> None:
    await tree.create("/a")
    await tree.create("/a/b")
    with pytest.raises(NotEmpty):
        await tree.delete("/a")
    with pytest.raises(BadVersion):
        await tree.delete("/a", 5)
    await tree.delete("/a/b", 0)
    await tree.delete("/a", 0)
    with pytest.raises(NoNode):
        await tree.read("/a")


async def test_children_are_names_in_order(tree: Coordination) -> None:
    for name in ("b", "a", "C"):
        await tree.create(f"/{name}")
    await tree.create("/a/x")
    assert await tree.children("/") == ("C", "a", "b")
    assert await tree.children("/a") == ("x",)
    assert await tree.children("/a/x") == ()


async def test_ensuring_makes_what_is_missing_and_leaves_the_rest(tree: Coordination) -> None:
    await tree.create("/a", b"mine")
    await tree.ensure("/a/b/c")
    await tree.ensure("/a/b/c")
    await tree.ensure("/")
    assert (await tree.read("/a")).data == b"mine"
    assert (await tree.read("/a/b")).data is None
    assert (await tree.read("/a/b/c")).stat.version == 0


async def test_a_tree_is_deleted_with_all_below_it(tree: Coordination) -> None:
    await tree.ensure("/a/b/c")
    await tree.ensure("/a/d")
    await tree.delete_tree("/a")
    assert await tree.children("/") == ()
    await tree.delete_tree("/a")


async def test_sequential_nodes_count_all_children_ever_made(tree: Coordination) -> None:
    await tree.create("/a")
    assert await tree.create("/a/n_", sequential=True) == "/a/n_0000000000"
    assert await tree.create("/a/other_", b"x", sequential=True) == "/a/other_0000000001"
    await tree.create("/a/plain")
    await tree.delete("/a/plain")
    await tree.delete("/a/n_0000000000")
    assert await tree.create("/a/n_", sequential=True) == "/a/n_0000000003"
    assert (await tree.together([Create("/a/n_", sequential=True), Create("/a/n_", sequential=True)])) == (
        "/a/n_0000000004",
        "/a/n_0000000005",
    )
    with pytest.raises(NoNode):
        await tree.together([Create("/a/n_", sequential=True), Delete("/nowhere")])
    assert await tree.create("/a/n_", sequential=True) == "/a/n_0000000006"


async def test_one_transaction_has_one_id_and_tells_what_each_change_gave(tree: Coordination) -> None:
    await tree.create("/a", b"one")
    made, stat, checked, gone = await tree.together(
        [Create("/b", b"two"), Replace("/a", b"three", 0), Check("/a", 1), Delete("/a", 1)]
    )
    assert (made, checked, gone) == ("/b", None, None)
    assert isinstance(stat, Stat)
    assert stat.version == 1
    assert (await tree.read("/b")).stat.czxid == stat.mzxid
    assert await tree.together([]) == ()


async def test_a_node_may_be_made_and_written_in_one_transaction(tree: Coordination) -> None:
    path, stat = await tree.together([Create("/a", None, ephemeral=True), Replace("/a", b"data", 0)])
    assert path == "/a"
    assert isinstance(stat, Stat)
    node = await tree.read("/a")
    assert node.stat == stat
    assert (stat.version, node.data, stat.ephemeral_owner) == (1, b"data", tree.session_id)
    assert stat.czxid == stat.mzxid


async def test_a_transaction_with_one_refusal_changes_nothing(tree: Coordination) -> None:
    await tree.create("/a", b"one")
    await tree.create("/a/b")
    before = await tree.read("/a")
    cases: list[tuple[object, type[CoordinationError], str]] = [
        (Create("/a"), NodeExists, "/a"),
        (Create("/x/y"), NoNode, "/x/y"),
        (Replace("/a", b"", 9), BadVersion, "/a"),
        (Delete("/a", 2), NotEmpty, "/a"),
        (Check("/a/b", 1), BadVersion, "/a/b"),
    ]
    for refused, kind, path in cases:
        with pytest.raises(kind) as refusal:
            await tree.together(
                [Create("/new"), Replace("/a", b"two"), Replace("/a", b"two"), Delete("/a/b"), Create("/a/b"), refused]  # type: ignore[list-item]
            )
        assert (type(refusal.value), refusal.value.path) == (kind, path)
        assert await tree.read("/a") == before
        assert await tree.children("/") == ("a",)
        assert await tree.children("/a") == ("b",)


async def test_the_first_refusal_is_the_one_raised(tree: Coordination) -> None:
    with pytest.raises(NoNode) as refusal:
        await tree.together([Create("/a"), Delete("/first"), Create("/a"), Delete("/second")])
    assert refusal.value.path == "/first"


async def test_an_ephemeral_node_belongs_to_its_session_and_has_no_children(tree: Coordination) -> None:
    await tree.create("/e", b"me", ephemeral=True)
    assert (await tree.read("/e")).stat.ephemeral_owner == tree.session_id != 0
    with pytest.raises(ParentIsEphemeral):
        await tree.create("/e/child")
    assert await tree.create("/s_", ephemeral=True, sequential=True) == "/s_0000000001"


async def catch_up(session: Coordination) -> None:
    """Have this session's server know all that any other has answered before: of an ensemble, they may be behind."""
    await session.replace("/stays", b"")


async def test_ephemeral_nodes_go_with_their_session(sessions: Sessions) -> None:
    async with sessions() as one:
        await one.create("/stays")
        async with sessions() as other:
            assert other.session_id != one.session_id
            await other.create("/stays/e", ephemeral=True)
            await other.create("/stays/p")
            await catch_up(one)
            assert await one.children("/stays") == ("e", "p")
        await catch_up(one)
        assert await one.children("/stays") == ("p",)


async def test_a_closed_session_answers_nothing(sessions: Sessions) -> None:
    async with sessions() as one:
        await one.create("/a")
    with trio.fail_after(5):
        for ask in (lambda: one.read("/a"), lambda: one.create("/b"), lambda: one.together([Check("/a", 0)])):
            with pytest.raises(SessionLost):
                await ask()
        with pytest.raises(SessionLost):
            async with one.watching_data("/a"):
                pass


@pytest.mark.parametrize("path", ["", "a", "/a/", "//a", "/a//b", "/./a", "/a/..", "/a\0b"])
async def test_a_path_that_is_none_is_a_mistake(tree: Coordination, path: str) -> None:
    with pytest.raises(ValueError):
        await tree.create(path)
    with pytest.raises(ValueError):
        await tree.read(path)
    with pytest.raises(ValueError):
        await tree.together([Check(path, 0)])


async def test_the_root_cannot_be_deleted(tree: Coordination) -> None:
    with pytest.raises(ValueError):
        await tree.delete("/")
    with pytest.raises(ValueError):
        await tree.together([Delete("/")])


async def test_data_has_a_limit(tree: Coordination) -> None:
    await tree.create("/a", b"x" * MAX_DATA_BYTES)
    assert len((await tree.read("/a")).data or b"") == MAX_DATA_BYTES
    for write in (tree.create("/b", b"x" * (MAX_DATA_BYTES + 1)), tree.replace("/a", b"x" * (MAX_DATA_BYTES + 1))):
        with pytest.raises(NodeTooLarge):
            await write
    with pytest.raises(NodeTooLarge):
        await tree.together([Replace("/a", b"x" * (MAX_DATA_BYTES + 1))])


async def test_names_may_have_letters_of_any_language(tree: Coordination) -> None:
    await tree.create("/größe", "naïve".encode())
    assert await tree.children("/") == ("größe",)
    assert (await tree.read("/größe")).data == "naïve".encode()


async def told(changes: Changes) -> None:
    """Wait for the next change; it must come."""
    with trio.fail_after(5):
        await changes.wait()


async def is_quiet(tree: Coordination, changes: Changes) -> bool:
    """Whether nothing is told, even after the tree has answered once more."""
    await tree.read("/")
    with trio.move_on_after(0.05):
        await changes.wait()
        return False
    return True


async def test_a_watch_on_data_tells_of_making_writing_and_deleting(tree: Coordination) -> None:
    async with tree.watching_data("/a") as changes:
        assert await is_quiet(tree, changes)
        await tree.create("/a", b"one")
        await told(changes)
        await tree.replace("/a", b"two")
        await told(changes)
        await tree.delete("/a")
        await told(changes)
        assert await is_quiet(tree, changes)


async def test_a_watch_on_children_tells_of_coming_and_going(tree: Coordination) -> None:
    await tree.create("/a")
    async with tree.watching_children("/a") as changes:
        await tree.create("/a/b")
        await told(changes)
        await tree.delete("/a/b")
        await told(changes)
        await tree.delete("/a")
        await told(changes)


async def test_a_watch_on_children_may_wait_for_the_parent(tree: Coordination) -> None:
    async with tree.watching_children("/a") as changes:
        await tree.create("/a")
        await told(changes)
        assert await tree.children("/a") == ()
        await tree.create("/a/b")
        await told(changes)
        assert await tree.children("/a") == ("b",)


async def test_a_watch_on_children_is_silent_about_data(tree: Coordination) -> None:
    await tree.create("/a")
    await tree.create("/a/b")
    async with tree.watching_children("/a") as children, tree.watching_data("/a") as data:
        await tree.replace("/a/b", b"other")
        await tree.create("/a/b/c")
        assert await is_quiet(tree, children)
        assert await is_quiet(tree, data)


async def test_changes_that_come_fast_are_told_once(tree: Coordination) -> None:
    await tree.create("/a")
    async with tree.watching_data("/a") as changes:
        for number in range(5):
            await tree.replace("/a", b"%d" % number)
        await told(changes)
        assert (await tree.read("/a")).data == b"4"
        assert await is_quiet(tree, changes)


async def test_what_is_read_after_being_told_is_never_older_than_the_change(tree: Coordination) -> None:
    """No change is lost between two looks: the last value is always seen."""
    await tree.create("/a", b"0")
    last = 50

    async def write() -> None:
        for number in range(1, last + 1):
            await tree.replace("/a", b"%d" % number)

    async with tree.watching_data("/a") as changes, trio.open_nursery() as nursery:
        nursery.start_soon(write)
        seen = int((await tree.read("/a")).data or b"")
        while seen < last:
            await told(changes)
            now = int((await tree.read("/a")).data or b"")
            assert now >= seen
            seen = now


async def test_several_may_watch_the_same_node(tree: Coordination) -> None:
    async with tree.watching_data("/a") as one:
        async with tree.watching_data("/a") as other:
            await tree.create("/a")
            await told(one)
            await told(other)
        await tree.replace("/a", b"x")
        await told(one)
        async with tree.watching_data("/a") as third:
            await tree.replace("/a", b"y")
            await told(third)
            await told(one)


async def test_a_wait_that_was_given_up_loses_nothing(tree: Coordination) -> None:
    async with tree.watching_data("/a") as changes:
        with trio.move_on_after(0.01):
            await changes.wait()
        await tree.create("/a")
        with trio.CancelScope() as scope:
            scope.cancel()
            await changes.wait()
        await told(changes)
        await tree.replace("/a", b"x")
        await told(changes)


async def test_the_end_of_another_session_is_told(sessions: Sessions) -> None:
    async with sessions() as one, one.watching_data("/e") as data, one.watching_children("/") as children:
        async with sessions() as other:
            await other.create("/e", ephemeral=True)
            await told(data)
            await told(children)
        await told(data)
        await told(children)
        assert await one.children("/") == ()


async def test_one_after_the_other_is_the_order_of_writes(tree: Coordination) -> None:
    """Requests sent together are carried out in the order in which they were sent."""
    await tree.create("/a")
    made: list[str] = []

    async def make(number: int) -> None:
        made.append(await tree.create("/a/n_", b"%d" % number, sequential=True))

    for start in range(0, 30, 10):
        async with trio.open_nursery() as nursery:
            for number in range(start, start + 10):
                nursery.start_soon(make, number)
    assert sorted(made) == [f"/a/n_{number:010d}" for number in range(30)]
    zxids = [(await tree.read(path)).stat.czxid for path in sorted(made)]
    assert zxids == sorted(set(zxids))
