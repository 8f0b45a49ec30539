"""Which segments are old, too many, or wholly below the log's start (``UnifiedLog.deleteOldSegments``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from pykafka_broker.log.segment import Segment
from pykafka_broker.model.time import Millis


class RetentionSettings(Protocol):
    """What of a topic's settings matters here."""

    @property
    def cleanup_policy(self) -> tuple[str, ...]: ...
    @property
    def retention_ms(self) -> int: ...
    @property
    def retention_bytes(self) -> int: ...


def deletable(
    segments: Sequence[Segment],
    now: Millis,
    settings: RetentionSettings,
    *,
    log_start_offset: int,
    high_watermark: int,
    log_end_offset: int,
) -> tuple[int, str]:
    """How many of the oldest segments may go, and why (the last rule that let one go).

    A segment that reaches beyond the high watermark stays, and so does the last one while it is empty. A compacted
    topic without ``delete`` loses only what lies below the log's start.
    """
    gone, why = 0, ""
    for name, holds in _rules(now, settings, log_start_offset):
        left = segments[gone:]
        count = _leading(left, holds(left), high_watermark, log_end_offset)
        if count:
            gone, why = gone + count, name
    return gone, why


_Holds = Callable[[Segment, int | None], bool]
"""Whether a segment may go, told the base of the one behind it (None if it is the last)."""


def _rules(
    now: Millis, settings: RetentionSettings, log_start_offset: int
) -> Iterator[tuple[str, Callable[[Sequence[Segment]], _Holds]]]:
    """The rules in Kafka's order; each looks at what the one before has left."""
    yield "log start offset", lambda _: lambda _, next_base: next_base is not None and next_base <= log_start_offset
    if "delete" in settings.cleanup_policy:
        if settings.retention_bytes >= 0:
            yield "retention.bytes", lambda segments: _SizeRule(segments, settings.retention_bytes)
        if settings.retention_ms >= 0:
            limit = now - settings.retention_ms
            yield "retention.ms", lambda _: lambda segment, _: segment.largest_timestamp() < limit


def _leading(segments: Sequence[Segment], holds: _Holds, high_watermark: int, log_end_offset: int) -> int:
    last = len(segments) - 1
    for index, segment in enumerate(segments):
        next_base = segments[index + 1].base_offset if index < last else None
        end = log_end_offset if next_base is None else next_base
        if end > high_watermark or (next_base is None and not segment.size_bytes) or not holds(segment, next_base):
            return index
    return len(segments)


class _SizeRule:
    """Whether what is left without a segment is still at least the limit; asked of each segment in order."""

    def __init__(self, segments: Sequence[Segment], limit_bytes: int) -> None:
        self._excess = sum(segment.size_bytes for segment in segments) - limit_bytes

    def __call__(self, segment: Segment, _: int | None) -> bool:
        if self._excess < segment.size_bytes:
            return False
        self._excess -= segment.size_bytes
        return True
