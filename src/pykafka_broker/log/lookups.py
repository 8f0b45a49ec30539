"""Offsets for times (ListOffsets), over the segments of one partition.

The special timestamps are Kafka's (``ListOffsetsRequest``); what they mean is ``UnifiedLog.fetchOffsetByTimestamp``
and ``legacyFetchOffsetsBefore``.
"""

from __future__ import annotations

from collections.abc import Sequence

from pykafka_broker.log.segment import Segment
from pykafka_broker.log.time_index import NO_TIMESTAMP
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import Record

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5


def record_at_or_after(segments: Sequence[Segment], timestamp: int, start_offset: int) -> Record | None:
    """The first record at or behind ``start_offset`` that is as late as ``timestamp`` (ms), in log order."""
    for segment in segments:
        if segment.max_timestamp[0] >= timestamp:
            found = segment.find_time(timestamp, start_offset)
            if found is not None:
                return found
    return None


def latest_record(segments: Sequence[Segment]) -> Record | None:
    """The first record with the greatest timestamp of all; None where no record bears one (KIP-734)."""
    latest = max(segments, key=lambda segment: segment.max_timestamp[0])
    return latest.latest_record() if latest.max_timestamp[0] != NO_TIMESTAMP else None


def segment_starts(
    segments: Sequence[Segment],
    now: Millis,
    timestamp: int,
    limit: int,
    *,
    log_start_offset: int,
    log_end_offset: int,
    high_watermark: int | None,
) -> list[int]:
    """ListOffsets v0: where segments begin that were last written at or before ``timestamp``, newest first.

    The log's end counts as one more. Consumers are shown nothing beyond ``high_watermark``; followers give None.
    """
    marks = [(max(segment.base_offset, log_start_offset), segment.modified_ms()) for segment in segments]
    if segments[-1].size_bytes:
        marks.append((log_end_offset, now))
    if timestamp == LATEST:
        count = len(marks)
    elif timestamp == EARLIEST:
        count = 1
    else:
        count = next((index for index in range(len(marks), 0, -1) if marks[index - 1][1] <= timestamp), 0)
    found = sorted((offset for offset, _ in marks[max(0, count - limit) : count]), reverse=True)
    if high_watermark is not None and any(offset > high_watermark for offset in found):
        return [high_watermark, *(offset for offset in found if offset <= high_watermark)]
    return found
