"""``partition.metadata``."""

from __future__ import annotations

from uuid import UUID

import pytest

from pykafka_broker.log.partition_metadata import FILE, decode, encode, read
from pykafka_broker.model.names import NO_TOPIC_ID, TopicId
from tests.doubles.memory_disk import MemoryDisk

TOPIC = TopicId(UUID("cec8a6c2-7c17-4248-9a18-d25c1b56ee50"))


def test_the_text_is_kafkas_without_a_last_newline() -> None:
    assert encode(TOPIC) == b"version: 0\ntopic_id: zsimwnwXQkiaGNJcG1buUA"
    assert decode(encode(TOPIC)) == TOPIC


@pytest.mark.parametrize("text", [b"version: 1\ntopic_id: zsimwnwXQkiaGNJcG1buUA", b"version: 0\n", b"x", b"\xff"])
def test_other_texts_are_errors(text: bytes) -> None:
    with pytest.raises(ValueError):
        decode(text)


def test_a_lost_file_is_no_id() -> None:
    disk = MemoryDisk()
    assert read(disk) == NO_TOPIC_ID
    disk.replace(FILE, b"")
    assert read(disk) == NO_TOPIC_ID
    disk.replace(FILE, b"\x00\x00\x00")
    assert read(disk) == NO_TOPIC_ID
    disk.replace(FILE, encode(TOPIC))
    assert read(disk) == TOPIC
