"""Which segments may go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.retention import deletable
from pykafka_broker.log.segment import Segment
from pykafka_broker.model.time import Millis


@dataclass
class Piece:
    base_offset: int
    size_bytes: int
    time: int

    def largest_timestamp(self) -> int:
        return self.time


def gone(
    *pieces: tuple[int, int, int], log_start: int = 0, high_watermark: int = 1_000, end: int = 1_000, **settings: object
) -> tuple[int, str]:
    """(base offset, bytes, time) of each segment; the time is 10,000."""
    segments = cast("list[Segment]", [Piece(*piece) for piece in pieces])
    return deletable(
        segments,
        Millis(10_000),
        TopicSettings(**settings),  # type: ignore[arg-type]
        log_start_offset=log_start,
        high_watermark=high_watermark,
        log_end_offset=end,
    )


THREE = (0, 100, 1_000), (10, 100, 5_000), (20, 100, 9_000)


def test_segments_older_than_the_limit_go() -> None:
    assert gone(*THREE, retention_ms=9_000) == (0, "")
    assert gone(*THREE, retention_ms=8_999) == (1, "retention.ms")
    assert gone(*THREE, retention_ms=4_000) == (2, "retention.ms")
    assert gone(*THREE, retention_ms=0) == (3, "retention.ms")
    assert gone(*THREE, retention_ms=-1) == (0, "")


def test_a_young_segment_protects_those_behind_it() -> None:
    assert gone((0, 100, 99_999), (10, 100, 0), retention_ms=1)[0] == 0


def test_segments_go_while_enough_is_left() -> None:
    assert gone(*THREE, retention_bytes=300, retention_ms=-1)[0] == 0
    assert gone(*THREE, retention_bytes=201, retention_ms=-1)[0] == 0
    assert gone(*THREE, retention_bytes=200, retention_ms=-1) == (1, "retention.bytes")
    assert gone(*THREE, retention_bytes=0, retention_ms=-1)[0] == 3


def test_segments_below_the_logs_start_go_but_never_the_last() -> None:
    assert gone(*THREE, log_start=9, retention_ms=-1)[0] == 0
    assert gone(*THREE, log_start=10, retention_ms=-1) == (1, "log start offset")
    assert gone(*THREE, log_start=1_000, retention_ms=-1)[0] == 2


def test_nothing_beyond_the_high_watermark_goes() -> None:
    assert gone(*THREE, high_watermark=19, retention_ms=0)[0] == 1
    assert gone(*THREE, high_watermark=20, retention_ms=0)[0] == 2
    assert gone(*THREE, high_watermark=999, retention_ms=0)[0] == 2


def test_an_empty_last_segment_stays() -> None:
    assert gone((0, 100, 1_000), (10, 0, 1_000), retention_ms=0, high_watermark=10, end=10)[0] == 1
    assert gone((0, 0, 1_000), retention_ms=0, high_watermark=0, end=0)[0] == 0


def test_a_compacted_topic_loses_only_what_lies_below_its_start() -> None:
    assert gone(*THREE, log_start=10, retention_ms=0, retention_bytes=0, cleanup_policy=("compact",))[0] == 1


@pytest.mark.parametrize("policy", [("delete",), ("compact", "delete")])
def test_each_rule_looks_at_what_the_one_before_left(policy: tuple[str, ...]) -> None:
    pieces = (0, 100, 99_999), (10, 100, 0), (20, 100, 99_999)
    assert gone(*pieces, retention_bytes=150, retention_ms=5_000, cleanup_policy=policy) == (2, "retention.ms")
