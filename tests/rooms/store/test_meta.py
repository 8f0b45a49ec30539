"""``meta.properties``."""

from __future__ import annotations

import pytest

from pykafka_broker.store.meta import Meta, decode, encode


def test_the_text_is_what_java_stores() -> None:
    text = encode(Meta(3, "zsIimwXkQiayGNJxGW9uUA"), 1_795_241_165_526)
    assert text == (b"#\n#Sat Nov 21 06:06:05 UTC 2026\nbroker.id=3\nversion=0\ncluster.id=zsIimwXkQiayGNJxGW9uUA\n")
    assert decode(text) == Meta(3, "zsIimwXkQiayGNJxGW9uUA")


def test_other_ways_to_write_properties_are_read() -> None:
    text = b"! a comment\n  version = 0\nbroker.id=7\r\ncluster.id=a\\=b\\\\c\n\n"
    assert decode(text) == Meta(7, "a=b\\c")


def test_the_directory_of_a_broker_without_zookeeper_is_refused() -> None:
    with pytest.raises(ValueError, match="KRaft"):
        decode(b"version=1\nnode.id=1\ncluster.id=x\n")


def test_before_kafka_0_10_1_there_was_no_cluster_id() -> None:
    assert decode(b"version=0\nbroker.id=1\n") == Meta(1, None)


def test_a_broker_id_need_not_be_there() -> None:
    assert decode(b"version=0\ncluster.id=x\n") == Meta(-1, "x")
