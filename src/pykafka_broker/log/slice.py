"""What a partition answers to appends, reads and look-ups: plain values, made anew for each call."""

from __future__ import annotations

import enum
from typing import NamedTuple

from pykafka_broker.wire.pieces import FilePieces

NOTHING = FilePieces()
UNLENT_BYTES = 64 * 1024
"""So much, or one batch, is read into memory for an answer when it may not hold the file."""


class Isolation(enum.IntEnum):
    """How far a reader may read (Kafka's ``FetchIsolation``); the first two are the numbers on the wire."""

    READ_UNCOMMITTED = 0
    """Consumers: up to the high watermark."""
    READ_COMMITTED = 1
    """Consumers: up to the last stable offset."""
    LOG_END = 2
    """Followers: everything."""


class Slice(NamedTuple):
    """What was found from one offset on, with the marks at that moment; offsets are exclusive ends."""

    pieces: FilePieces
    size_bytes: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    aborted: list[tuple[int, int]] | None
    """(producer id, first offset) of transactions to skip; None unless READ_COMMITTED was asked for."""


class FoundOffset(NamedTuple):
    """Answer of a look-up by time; -1 for what is not known."""

    offset: int
    timestamp: int
    leader_epoch: int


class EpochEnd(NamedTuple):
    """Where an epoch ended; -1 and -1 if nothing is known of it."""

    epoch: int
    end_offset: int


class Expired(NamedTuple):
    """What retention took away."""

    segments: int
    size_bytes: int
    due: int = 0
    """How many more segments are to go."""


class Unsynced(NamedTuple):
    """Files to be synced, and the offset below which everything is then on the device."""

    names: tuple[str, ...]
    offset: int
    cuts: int
    """How often the log had been cut when this was told; a cut makes the offset meaningless."""


class Appended(NamedTuple):
    """Where a batch stands now, or stood already if it was sent twice; times in ms, -1 where the producer's counts."""

    base_offset: int
    last_offset: int
    log_append_time_ms: int
    log_start_offset: int
    must_flush: bool = False
    """``flush.messages`` is reached: flush before answering."""
