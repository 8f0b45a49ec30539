"""The tree in memory: what the port's tests do not see of it."""

from __future__ import annotations

import pytest

from pykafka_broker.zk.port import Check, Create, Delete, NoNode, Replace
from pykafka_broker.zk.tree import Gone, Made, Tree, Wrote

ME = 3


def test_a_transaction_tells_its_effects_in_order() -> None:
    tree = Tree()
    transaction = tree.change(
        [Create("/a", b"x", ephemeral=True), Replace("/a", None), Check("/a", 1), Delete("/a")], ME, 5
    )
    assert transaction.effects == (Made("/a", b"x", ME), Wrote("/a", None), Gone("/a"))
    assert (transaction.zxid, transaction.now_ms) == (1, 5)


def test_what_changes_nothing_takes_no_transaction_id() -> None:
    tree = Tree()
    assert tree.change([], ME, 1).zxid == 0
    assert tree.change([Check("/", 0)], ME, 1).zxid == 0
    with pytest.raises(NoNode):
        tree.change([Create("/a"), Check("/b", 0)], ME, 1)
    assert tree.zxid == 0


def test_undoing_takes_back_everything() -> None:
    tree = Tree()
    tree.change([Create("/a", b"x"), Create("/a/b")], ME, 1)
    before = {path: (tree.read(path), tree.children(path)) for path in ("/", "/a", "/a/b")}
    transaction = tree.change(
        [
            Replace("/", b"root"),
            Delete("/a/b"),
            Replace("/a", b"y"),
            Create("/a/s_", sequential=True),
            Delete("/a/s_0000000001"),
            Delete("/a"),
            Create("/a", b"z"),
            Create("/c", ephemeral=True),
        ],
        ME,
        2,
    )
    tree.undo(transaction)
    assert {path: (tree.read(path), tree.children(path)) for path in ("/", "/a", "/a/b")} == before
    assert len(tree) == 3
    assert tree.zxid == 1
    assert tree.change([Create("/a/s_", sequential=True)], ME, 3).done == ("/a/s_0000000001",)


def test_the_ephemeral_nodes_of_one_session_or_of_all_can_be_dropped() -> None:
    tree = Tree()
    tree.change([Create("/p"), Create("/p/one", ephemeral=True)], 1, 1)
    tree.change([Create("/two", ephemeral=True)], 2, 1)
    assert tree.ephemerals(1) == ("/p/one",)
    assert set(tree.ephemerals()) == {"/p/one", "/two"}
    transaction = tree.drop(tree.ephemerals(1), 2)
    assert transaction.effects == (Gone("/p/one"),)
    assert tree.children("/") == ("p", "two")
    assert tree.children("/p") == ()
