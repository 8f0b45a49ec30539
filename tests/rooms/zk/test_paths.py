"""Paths are accepted or refused as ZooKeeper does it, and taken apart."""

from __future__ import annotations

import pytest

from pykafka_broker.zk.paths import MAX_PATH_BYTES, checked, lineage, name_of, parent_of, under


@pytest.mark.parametrize("path", ["/", "/a", "/a/b.c", "/...", "/a b/<default>", "/ä"])
def test_a_path_is_accepted(path: str) -> None:
    assert checked(path) == path


@pytest.mark.parametrize(
    "path", ["", "a", "//", "/a/", "/a//b", "/.", "/a/../b", "/a\0", "/\ud800", "/" + "x" * MAX_PATH_BYTES]
)
def test_a_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError):
        checked(path)


def test_paths_are_taken_apart_and_put_together() -> None:
    assert (parent_of("/a/b"), name_of("/a/b")) == ("/a", "b")
    assert (parent_of("/a"), name_of("/a")) == ("/", "a")
    assert parent_of("/") == "/"
    assert under("/", "a") == "/a"
    assert under("/a", "b") == "/a/b"
    assert lineage("/a/b/c") == ("/a", "/a/b", "/a/b/c")
    assert lineage("/") == ()
