"""The text of offset checkpoints."""

from __future__ import annotations

import pytest

from pykafka_broker.model.names import TopicPartition
from pykafka_broker.store.checkpoints import decode, encode


def test_the_text_is_kafkas() -> None:
    offsets = {TopicPartition("orders", 0): 17, TopicPartition("__consumer_offsets", 49): 0}
    assert encode(offsets) == b"0\n2\norders 0 17\n__consumer_offsets 49 0\n"
    assert decode(encode(offsets)) == offsets


def test_an_empty_file_has_no_offsets() -> None:
    assert decode(b"") == {}
    assert decode(b"0\n0\n") == {}


@pytest.mark.parametrize("text", [b"1\n0\n", b"0\n2\nt 0 1\n", b"0\n1\nt 0\n", b"0\n1\nt x 1\n", b"x", b"0\n1\nt 0 12"])
def test_anything_else_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        decode(text)
