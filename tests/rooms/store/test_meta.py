"""``meta.properties``."""

from __future__ import annotations

import pytest

from pykafka_broker.store.meta import Meta, NotMine, UnreadableMeta, decode, encode


def test_the_text_is_what_java_stores() -> None:
    text = encode(Meta(3, "zsIimwXkQiayGNJxGW9uUA"), 1_795_241_165_526)
    assert text == (b"#\n#Sat Nov 21 06:06:05 UTC 2026\nbroker.id=3\nversion=0\ncluster.id=zsIimwXkQiayGNJxGW9uUA\n")
    assert decode(text) == Meta(3, "zsIimwXkQiayGNJxGW9uUA")


def test_other_ways_to_write_properties_are_read() -> None:
    text = b"! a comment\n  version = 0\nbroker.id=7\r\ncluster.id=a\\=b\\\\c\n\n"
    assert decode(text) == Meta(7, "a=b\\c")


def test_a_broker_without_zookeeper_is_told_by_the_version() -> None:
    assert decode(b"version=1\nnode.id=1\ncluster.id=x\n") == Meta(None, "x", version=1)


def test_neither_broker_nor_cluster_nor_version_need_be_there() -> None:
    assert decode(b"version=0\ncluster.id=x\n") == Meta(None, "x")
    assert decode(b"broker.id=1\n") == Meta(1, None)
    assert decode(b"") == Meta(None, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("version=2", "Unknown meta.properties version number 2"),
        ("version=-1", "Unknown meta.properties version number -1"),
        ("version=", "Invalid meta.properties version string ''"),
        ("version=x", "Invalid meta.properties version string 'x'"),
        ("broker.id=x", "Unable to read broker.id as a base-10 number."),
        ("broker.id=", "Unable to read broker.id as a base-10 number."),
        ("broker.id=2147483648", "Unable to read broker.id as a base-10 number."),
        ("broker.id=" + 5000 * "9", "Unable to read broker.id as a base-10 number."),
        ("broker.id=\\u00", "\\u needs four hexadecimal digits behind it"),
    ],
)
def test_what_makes_no_sense_is_told_in_the_words_of_apache_kafka(text: str, why: str) -> None:
    with pytest.raises(UnreadableMeta) as refused:
        decode(text.encode())
    assert str(refused.value) == why


MINE = Meta(1, "cluster-a")


def test_what_the_file_does_not_name_is_completed() -> None:
    assert Meta(None, None).completed(MINE, "path") == MINE
    assert Meta(1, None).completed(MINE, "path") == MINE
    assert Meta(None, "cluster-a", "directory").completed(MINE, "path") == Meta(1, "cluster-a", "directory")


def test_the_id_of_a_directory_is_written_back() -> None:
    text = encode(Meta(1, "cluster-a", "zsIimwXkQiayGNJxGW9uUA"), 0)
    assert b"directory.id=zsIimwXkQiayGNJxGW9uUA\n" in text
    assert decode(text) == Meta(1, "cluster-a", "zsIimwXkQiayGNJxGW9uUA")


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (Meta(2, "cluster-a"), "Stored node id 2 doesn't match previous node id 1 in path. If you moved your data, "),
        (Meta(-1, "cluster-a"), "Stored node id -1 doesn't match previous node id 1 in path. "),
        (Meta(2, "cluster-b"), "Invalid cluster.id in: path. Expected cluster-a, but read cluster-b"),
        (Meta(2, "cluster-b", version=1), "Found unexpected version in path. ZK-based brokers that are not migrating "),
    ],
)
def test_what_is_somebody_elses_is_refused_version_before_cluster_before_broker(stored: Meta, why: str) -> None:
    with pytest.raises(NotMine) as refused:
        stored.completed(MINE, "path")
    assert str(refused.value).startswith(why)
