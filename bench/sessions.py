"""Fetch sessions of a consumer (KIP-227) by hand: what it asks next, and whether what came is what was written.

There are thousands of answers a second in which little changes; the codec would take longer for them than the broker.
Bytes in, bytes out: who sends them is no business of this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from bench.sockets import Refused
from bench.values import Lost
from pykafka_broker.wire.batch import MAGIC_POSITION

VERSION: Final = 12
"""The last that calls topics by their names."""
MAX_WAIT_MS: Final = 500
MIN_BYTES: Final = 1
MAX_BYTES: Final = 50 << 20
PARTITION_MAX_BYTES: Final = 1 << 20
CLIENT: Final = "bench"

_FETCH_KEY: Final = 1
_SIZE: Final = Struct(">i")
_FETCH: Final = Struct(f">ihhih{len(CLIENT)}sBiiiibii")
"""Size, header with its tagged fields, and the body as far as the session's epoch."""
_ASKED: Final = Struct(">iiqiqiB")
"""A partition: index, leader epoch, offset, last fetched epoch, log start, limit, tagged fields."""
_NO_TOPICS: Final = b"\1"
_END: Final = b"\1\1\0"
"""Nothing forgotten, no rack, no tagged fields."""
_ANSWER: Final = Struct(">iBihi")
"""Correlation id, tagged fields, throttle time, error, session; behind the size."""
_GIVEN: Final = Struct(">ihqqq")
"""A partition: index, error, high watermark, last stable offset, log start."""
_REPLICA_BYTES: Final = 4
"""Of the preferred one, which nobody is told."""
_BATCH: Final = Struct(">qi")
"""How a batch begins: base offset, and the length of what follows."""


class Written:
    """What the producer has sent: batches of so many records each, by partition."""

    def __init__(self, partitions: int, records: int) -> None:
        self.records = records
        self.bodies: list[list[bytes]] = [[] for _ in range(partitions)]
        """From the format's number on: what stands before it is the broker's."""
        self.sent: list[list[float]] = [[] for _ in range(partitions)]
        """When, by `time.perf_counter`."""

    def note(self, partition: int, batch: bytes, sent: float) -> None:
        """A batch is sent now."""
        self.bodies[partition].append(batch[MAGIC_POSITION:])
        self.sent[partition].append(sent)

    def end(self, partition: int) -> int:
        """The offset of the next record."""
        return len(self.sent[partition]) * self.records


class Session:
    """A consumer's fetch session: what it asks next, and what came of that. Bytes in, bytes out."""

    def __init__(self, topic: str, partitions: Sequence[int], written: Written) -> None:
        self.positions = dict.fromkeys(partitions, 0)
        self.waits: list[tuple[float, float]] = []
        """Of each batch that came, when it was sent and how long that took, in seconds."""
        self._topic = bytes([2, len(topic) + 1]) + topic.encode()
        self._written = written
        self._id = 0
        self._epoch = 0
        self._changed: Sequence[int] = partitions

    def request(self) -> bytes:
        """The next Fetch: all partitions at first, later those whose position has changed."""
        entries = [
            _ASKED.pack(each, -1, self.positions[each], -1, -1, PARTITION_MAX_BYTES, 0) for each in self._changed
        ]
        if entries:
            rest = b"".join([self._topic, bytes([len(entries) + 1]), *entries, b"\0", _END])
        else:
            rest = _NO_TOPICS + _END
        size = _FETCH.size - _SIZE.size + len(rest)
        head = _FETCH.pack(
            size, _FETCH_KEY, VERSION, 0, len(CLIENT), CLIENT.encode(), 0,
            -1, MAX_WAIT_MS, MIN_BYTES, MAX_BYTES, 0, self._id, self._epoch,
        )  # fmt: skip
        return head + rest

    def take(self, frame: bytes, now: float) -> None:
        """An answer, size first, that came at this moment. Raises `Refused` for an error, and `Lost` for records that
        are not the next, or not what was written.
        """
        _, tagged, _, code, session = _ANSWER.unpack_from(frame, _SIZE.size)
        if tagged or code:
            raise Refused(f"a Fetch was answered with error {code}")
        self._id = session
        self._epoch = self._epoch + 1 if session else 0
        changed = []
        topics, at = _uvarint(frame, _SIZE.size + _ANSWER.size)
        for _ in range(topics - 1):
            length, at = _uvarint(frame, at)
            count, at = _uvarint(frame, at + length - 1)
            for _ in range(count - 1):
                index, code, _, _, _ = _GIVEN.unpack_from(frame, at)
                aborted, at = _uvarint(frame, at + _GIVEN.size)
                length, at = _uvarint(frame, at + _REPLICA_BYTES)
                end = at + max(0, length - 1)
                if code or aborted > 1 or frame[end]:
                    raise Refused(f"partition {index} was answered with error {code}, or with more than records")
                if end > at:
                    self._take_batches(index, frame, at, end, now)
                    changed.append(index)
                at = end + 1
            at += 1
        # Without a session everything has to be said again.
        self._changed = changed if session else list(self.positions)

    def _take_batches(self, index: int, frame: bytes, at: int, end: int, now: float) -> None:
        written = self._written
        position = self.positions[index]
        while at < end:
            base, length = _BATCH.unpack_from(frame, at)
            stop = at + _BATCH.size + length
            number = position // written.records
            if base != position or number >= len(written.sent[index]):
                raise Lost(f"partition {index} went on with {base} instead of {position}")
            if frame[at + MAGIC_POSITION : stop] != written.bodies[index][number]:
                raise Lost(f"the batch at {base} of partition {index} is not what was written")
            sent = written.sent[index][number]
            self.waits.append((sent, now - sent))
            position += written.records
            at = stop
        self.positions[index] = position


def _uvarint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
