"""Partitions on the move between the log directories of this broker (KIP-113).

A copy grows beside the partition, in ``<topic>-<partition>.<32 hex>-future``, read and written on a worker thread
while the partition is used as ever. When it has caught up and is on the device, one step without an ``await`` copies
the last batches, lets it take the partition's place and hands it to whoever leads, so that no append is lost. A
broker that dies goes on with the copy at its next start. After ``ReplicaManager.alterReplicaLogDirs``,
``ReplicaAlterLogDirsThread`` and ``LogManager.replaceCurrentWithFutureLog``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio

from pykafka_broker.log.partition import OffsetsOutOfOrder, Origin, PartitionLog
from pykafka_broker.log.slice import Isolation
from pykafka_broker.log.throttle import UNTHROTTLED, Throttle
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.model.outcome import Fact, Level
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.leaderships import Leaderships
from pykafka_broker.runtime.log_keeper import Kept, LogKeeper, follow
from pykafka_broker.store.directories import has_room_for_future
from pykafka_broker.store.reading import read_pieces
from pykafka_broker.wire.batch import MAGIC, CorruptBatch, TruncatedBatch
from pykafka_broker.wire.formats import header_at, headers
from pykafka_broker.wire.pieces import FilePieces

PORTION_BYTES = 1 << 20
"""How much a worker copies at a time."""

LAST_BYTES = 64 * 1024
"""How much may be copied at once while everybody else waits; doubled whenever appends were faster."""

MOST_LAST_BYTES = 8 << 20

HELD_BACK_S = 0.1
"""How long a move rests before it asks again whether it may go on."""


class LogDirMoves:
    """All moves; ``run`` carries them out, some at a time."""

    def __init__(
        self,
        keeper: LogKeeper,
        leaderships: Leaderships,
        changes: Changes,
        clock: Clock,
        note: Callable[[Fact], None],
        *,
        at_once: int = 1,
        throttle: Throttle = UNTHROTTLED,
    ) -> None:
        self._keeper = keeper
        self._leaderships = leaderships
        self._changes = changes
        self._clock = clock
        self._note = note
        self._throttle = throttle
        self._limiter = trio.CapacityLimiter(at_once)
        self._due_in, self._due_out = trio.open_memory_channel[tuple[TopicPartition, Kept]](float("inf"))

    def move(self, partition: TopicPartition, path: str) -> None:
        """Begin to move a partition to the log directory with that absolute path; the last wish counts.

        Nothing happens if it is there already, except that a move elsewhere is given up. Raises ``KafkaError``:
        INVALID_TOPIC_EXCEPTION, LOG_DIR_NOT_FOUND, KAFKA_STORAGE_ERROR, UNKNOWN_TOPIC_OR_PARTITION, or
        REPLICA_NOT_AVAILABLE for a partition that is not here; should it come, it comes to that directory.
        """
        keeper = self._keeper
        if not has_room_for_future(partition):
            raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, "The topic name is too long.")
        directory = keeper.directory(path)
        if directory is None:
            raise KafkaError(ErrorCode.LOG_DIR_NOT_FOUND, f"Log dir {path} is not found in the config.")
        if directory.is_offline:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"Log directory {path} is offline")
        copy = keeper.copies.get(partition)
        if copy is not None and copy.directory is not directory:
            keeper.drop_copy(partition)
            copy = None
        keeper.prefer(partition, directory)
        kept = self._hosted(partition)
        if kept.directory is directory or copy is not None:
            return
        if keeper.has_offline_directory:
            # Otherwise there could be one copy here and another one where nobody sees it.
            raise KafkaError(
                ErrorCode.KAFKA_STORAGE_ERROR,
                f"Can not create log for {partition} because log directories are offline",
            )
        self._due_in.send_nowait((partition, keeper.make_copy(partition, directory)))
        self._say("MoveBegan", partition, directory=path)

    def _hosted(self, partition: TopicPartition) -> Kept:
        kept = self._keeper.kept(partition)
        if self._leaderships.get(partition) is None or kept is None:
            try:
                self._leaderships.leader(partition)
            except KafkaError as error:
                if error.code != ErrorCode.NOT_LEADER_OR_FOLLOWER:
                    raise
            raise KafkaError(ErrorCode.REPLICA_NOT_AVAILABLE)
        if kept.log.is_offline:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"Partition {partition} is offline")
        return kept

    async def run(self) -> None:
        """Carry moves out until cancelled, first those that an earlier run of the broker has left behind."""
        async with trio.open_nursery() as nursery:
            for partition, copy in self._keeper.copies.items():
                nursery.start_soon(self._carry_out, partition, copy)
            async for partition, copy in self._due_out:
                nursery.start_soon(self._carry_out, partition, copy)

    async def _carry_out(self, partition: TopicPartition, copy: Kept) -> None:
        try:
            async with self._limiter:
                await self._copy_and_replace(partition, copy)
        except (KafkaError, CorruptBatch, OffsetsOutOfOrder, OSError, EOFError) as problem:
            if self._is_wanted(partition, copy):
                self._say("MoveFailed", partition, Level.ERROR, problem=str(problem))
                self._keeper.drop_copy(partition)
                with suppress(OSError):
                    copy.directory.unmark_replacing(partition)

    def _is_wanted(self, partition: TopicPartition, copy: Kept) -> bool:
        """Whether nobody has given the move up, or deleted the partition."""
        return self._keeper.copies.get(partition) is copy

    async def _copy_and_replace(self, partition: TopicPartition, copy: Kept) -> None:
        keeper = self._keeper
        last_bytes = LAST_BYTES
        is_marked = False
        original: Kept | None = None
        while self._is_wanted(partition, copy):
            kept = keeper.kept(partition)
            assert kept is not None, "a copy goes when its partition goes"
            if self._align(kept.log, copy.log):
                # As ``LogKeeper.settle``: the recovery point that is written down may lie where nothing is flushed now.
                await keeper.sync_copy(copy)
                await keeper.checkpoint()
                continue
            pieces = _missing(kept.log, copy.log, PORTION_BYTES)
            if pieces is not None:
                if self._throttle.holds_back(partition):
                    await trio.sleep(HELD_BACK_S)
                else:
                    taken = await keeper.worker.run(partial(_take, copy.log, pieces, self._clock()))
                    self._throttle.moved(partition, taken)
                continue
            follow(kept.log, copy.log)
            await keeper.sync_copy(copy)
            if not is_marked:
                await keeper.checkpoint()
                await keeper.worker.run(partial(copy.directory.mark_replacing, partition))
                is_marked = True
            async with kept.flushing:
                if self._is_wanted(partition, copy) and self._finish(partition, kept, copy, last_bytes):
                    original = kept
                    break
            last_bytes = min(2 * last_bytes, MOST_LAST_BYTES)
        if original is not None:
            await keeper.checkpoint()
        if is_marked and not (original is not None and original.disk.path.exists()):
            # Otherwise the original could not be removed, and the next start must know which one counts.
            await keeper.worker.run(partial(copy.directory.unmark_replacing, partition))

    def _finish(self, partition: TopicPartition, kept: Kept, copy: Kept, last_bytes: int) -> bool:
        """Copy the rest and swap, if the rest is small; no ``await``, so nobody can append in between."""
        if self._align(kept.log, copy.log):
            return False
        while (pieces := _missing(kept.log, copy.log, last_bytes)) is not None:
            if last_bytes <= 0:
                return False
            taken = _take(copy.log, pieces, self._clock())
            self._throttle.moved(partition, taken)
            last_bytes -= taken
        log = self._keeper.replace(partition)
        leadership = self._leaderships.get(partition)
        if leadership is not None:
            leadership.log = log
        self._changes.ring(partition)
        self._say("MoveEnded", partition, directory=str(copy.directory.path))
        return True

    def _align(self, original: PartitionLog, copy: PartitionLog) -> bool:
        """See to the copy being a part of the original that more can be appended to; true if it had to be cut, which
        is to be settled first.
        """
        now = self._clock()
        is_cut = copy.truncate_to(original.log_end_offset, now)
        if copy.latest_epoch >= 0:
            # What a follower's leader has cut off and replaced belongs to an epoch that ends earlier now.
            end = original.end_of_epoch(copy.latest_epoch).end_offset
            if copy.log_start_offset <= end < copy.log_end_offset:
                is_cut = copy.truncate_to(end, now) or is_cut
        start = original.log_start_offset
        # A power cut may have taken the first segments of a copy, and left later ones.
        if not copy.log_start_offset <= start <= copy.log_end_offset:
            found = original.read(start, 1, isolation=Isolation.LOG_END)
            begin = start
            if found.size_bytes:
                first = header_at(read_pieces(found.pieces))
                if first.magic >= MAGIC:  # of an older one only the end is told
                    begin = first.base_offset
            if not copy.log_start_offset <= begin <= copy.log_end_offset:
                copy.restart_at(begin, now)
                is_cut = True
        return is_cut

    def _say(self, name: str, partition: TopicPartition, level: Level = Level.INFO, **fields: object) -> None:
        self._note(Fact(name, level, {"partition": str(partition), **fields}))


def _missing(original: PartitionLog, copy: PartitionLog, max_bytes: int) -> FilePieces | None:
    """The next batches that the copy lacks, about ``max_bytes``, at least one; ``None`` when it has everything."""
    if copy.log_end_offset >= original.log_end_offset:
        return None
    start = max(copy.log_end_offset, original.log_start_offset)
    found = original.read(start, max(1, max_bytes), isolation=Isolation.LOG_END)
    if not found.size_bytes:
        raise OffsetsOutOfOrder(f"{original.partition} has no batches from {start} to {original.log_end_offset}")
    return found.pieces


def _take(copy: PartitionLog, pieces: FilePieces, now: Millis) -> int:
    """Append the whole batches among the pieces; how many bytes they are."""
    data = memoryview(read_pieces(pieces))
    size = 0
    with suppress(TruncatedBatch):
        for position, header in headers(data):
            size = position + header.size_bytes
    copy.append(now, data[:size], leader_epoch=-1, origin=Origin.REPLICATION)
    return size
