"""One partition's log: where appended batches go, and what may be read of them (Kafka's ``UnifiedLog``).

It decides offsets, rolling, retention, duplicates, the last stable offset; bytes are checked by ``validation`` and
written and read by a ``Disk``. Replicas, leadership and waiting readers are known elsewhere: whoever knows that a
batch is on enough replicas calls ``advance_high_watermark``.

Nothing here blocks longer than the page cache takes. What has to be synced is told by ``unsynced``. When the disk
fails the partition goes offline and refuses everything with KAFKA_STORAGE_ERROR.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pykafka_broker.log import lookups, partition_metadata, retention
from pykafka_broker.log.compaction import KEYS_LIMIT, Compacted, Dirt, compact, measure
from pykafka_broker.log.copies import OffsetsOutOfOrder, copies
from pykafka_broker.log.disk import Buffer, Disk
from pykafka_broker.log.epochs import Epochs
from pykafka_broker.log.loading import EPOCHS_FILE, Loaded, Loading, Note, marker_in, replay
from pykafka_broker.log.producers import EXPIRATION_MS, ActiveProducer, Producers, Verification
from pykafka_broker.log.segment import CLEANED, FARTHEST, SWAP, Segment
from pykafka_broker.log.segments import Segments
from pykafka_broker.log.slice import (
    NOTHING,
    UNLENT_BYTES,
    Appended,
    EpochEnd,
    Expired,
    FoundOffset,
    Isolation,
    Slice,
    Unsynced,
)
from pykafka_broker.log.validation import LATEST_PRODUCE, Origin, plain_bytes, take_plain, validate
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_TOPIC_ID, TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact, Level
from pykafka_broker.model.time import Millis
from pykafka_broker.wire.batch import MAGIC, BatchHeader, EndMarker, patch
from pykafka_broker.wire.pieces import FilePieces

if TYPE_CHECKING:
    from pykafka_broker.config.topic import TopicSettings

__all__ = ["Appended", "Expired", "Isolation", "OffsetsOutOfOrder", "Origin", "PartitionLog", "Slice", "Unsynced"]


def _keep_quiet(_: Fact) -> None:
    pass


def _from(header: BatchHeader, log_end_offset: int) -> BatchHeader:
    """The header of a wrapper (format 0 or 1) as if it began where the log ends, or as near as an index can tell.

    Where it does begin only its records would tell; the segment that it may open must not begin behind them.
    """
    begin = max(log_end_offset, header.last_offset - FARTHEST)
    return header._replace(base_offset=begin, last_offset_delta=header.last_offset - begin)


class PartitionLog:
    """Batches between ``log_start_offset`` and ``log_end_offset``; made by ``create`` and ``open``."""

    __slots__ = (
        "_cuts",
        "_disk",
        "_epochs",
        "_jitter_ms",
        "_note",
        "_plain_bytes",
        "_producers",
        "_roll_ms",
        "_segment_bytes",
        "_segments",
        "_snapshots",
        "_stored_epochs",
        "_synced_cuts",
        "_unsynced",
        "high_watermark",
        "is_offline",
        "last_flush_ms",
        "log_end_offset",
        "log_start_offset",
        "partition",
        "recovery_point",
        "settings",
        "topic_id",
    )

    def __init__(
        self,
        disk: Disk,
        partition: TopicPartition,
        topic_id: TopicId,
        settings: TopicSettings,
        producers: Producers,
        loaded: Loaded,
        *,
        now: Millis,
        high_watermark: int,
        jitter_ms: int,
        note: Note,
    ) -> None:
        self._disk = disk
        self.partition = partition
        self.topic_id = topic_id
        self._note = note
        self._producers = producers
        self._epochs = loaded.epochs
        self._stored_epochs = loaded.stored_epochs
        self._segments = Segments(disk, loaded.segments)
        self._snapshots = loaded.snapshots
        self._cuts = self._synced_cuts = 0
        self._unsynced = set(loaded.doubtful)
        self._jitter_ms = jitter_ms
        self.log_start_offset = loaded.log_start_offset
        self.log_end_offset = loaded.log_end_offset
        self.high_watermark = min(max(high_watermark, self.log_start_offset), self.log_end_offset)
        self.recovery_point = loaded.recovery_point
        self.last_flush_ms = now
        self.is_offline = False
        self.configure(settings)
        producers.advance_high_watermark(self.high_watermark)

    @classmethod
    def create(
        cls,
        disk: Disk,
        partition: TopicPartition,
        topic_id: TopicId,
        settings: TopicSettings,
        now: Millis,
        *,
        jitter_ms: int = 0,
        note: Note = _keep_quiet,
        producer_expiration_ms: int = EXPIRATION_MS,
    ) -> PartitionLog:
        """A new partition in an empty directory."""
        log = cls.open(
            disk,
            partition,
            settings,
            now,
            clean=True,
            jitter_ms=jitter_ms,
            note=note,
            producer_expiration_ms=producer_expiration_ms,
        )
        log.identify(topic_id)
        return log

    @classmethod
    def open(
        cls,
        disk: Disk,
        partition: TopicPartition,
        settings: TopicSettings,
        now: Millis,
        *,
        clean: bool,
        recovery_point: int = 0,
        log_start_offset: int = 0,
        high_watermark: int = 0,
        jitter_ms: int = 0,
        note: Note = _keep_quiet,
        producer_expiration_ms: int = EXPIRATION_MS,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> PartitionLog:
        """The partition in a directory; after an unclean shutdown it is recovered, which may take long.

        Raises :class:`Abandoned` soon after ``is_wanted`` says no; a later opening begins again then.
        """
        producers = Producers(partition, expiration_ms=producer_expiration_ms)
        loading = Loading(disk, partition, settings, producers, now, note, is_wanted)
        loaded = loading.load(clean=clean, recovery_point=recovery_point, log_start_offset=log_start_offset)
        return cls(
            disk,
            partition,
            partition_metadata.read(disk),
            settings,
            producers,
            loaded,
            now=now,
            high_watermark=high_watermark,
            jitter_ms=jitter_ms,
            note=note,
        )

    def identify(self, topic_id: TopicId) -> None:
        """Remember the topic's id; another one than is known already raises INCONSISTENT_TOPIC_ID."""
        if topic_id == NO_TOPIC_ID or topic_id == self.topic_id:
            return
        if self.topic_id != NO_TOPIC_ID:
            raise KafkaError(
                ErrorCode.INCONSISTENT_TOPIC_ID,
                f"Tried to assign topic ID {partition_metadata.text(topic_id)} to log for topic partition "
                f"{self.partition}, but log already contained topic ID {partition_metadata.text(self.topic_id)}",
            )
        with self._disk_failures():
            self._disk.replace(partition_metadata.FILE, partition_metadata.encode(topic_id))
        self._unsynced.add(partition_metadata.FILE)
        self.topic_id = topic_id

    def configure(self, settings: TopicSettings) -> None:
        """Follow the topic's settings from now on."""
        self.settings = settings
        self._segment_bytes = settings.segment_bytes
        self._plain_bytes = plain_bytes(settings, self.partition)
        roll_ms = settings.segment_ms
        if "compact" in settings.cleanup_policy and settings.max_compaction_lag_ms > 0:
            # Only sealed segments are compacted (``LogConfig.maxSegmentMs``).
            roll_ms = min(roll_ms, settings.max_compaction_lag_ms)
        self._roll_ms = roll_ms - min(self._jitter_ms, settings.segment_jitter_ms)
        self._segments.configure(settings)

    # what is there

    @property
    def last_stable_offset(self) -> int:
        """READ_COMMITTED consumers read below it."""
        return self._producers.last_stable_offset(self.high_watermark)

    @property
    def size_bytes(self) -> int:
        """Length of all segments."""
        return self._segments.size_bytes

    @property
    def latest_epoch(self) -> int:
        """The newest leader epoch in the log, -1 without one."""
        return self._epochs.latest

    @property
    def segments(self) -> Segments:
        """All segments, oldest first."""
        return self._segments

    @property
    def producers(self) -> Producers:
        """The idempotent and transactional producers."""
        return self._producers

    def producers_state(self) -> list[ActiveProducer]:
        """Every known producer, for DescribeProducers."""
        return self._producers.active()

    # appending

    def append(
        self,
        now: Millis,
        batches: Buffer,
        *,
        leader_epoch: int,
        origin: Origin = Origin.CLIENT,
        api_version: int = LATEST_PRODUCE,
        verification: Verification | None = None,
    ) -> Appended:
        """Write what a producer or coordinator brings, as the leader; ``batches`` is changed in place if it can be.

        Raises :class:`KafkaError` if it is refused; see ``validation.validate`` and ``Producers.check``. With
        ``Origin.REPLICATION`` the batches have their offsets and epochs already and are written as they are; the first
        one in an empty log may begin before its start, which then lies there until it is moved on.
        """
        if self.is_offline:
            raise self._storage_error()
        if origin is Origin.REPLICATION:
            return self._append_copies(now, batches)
        checked = take_plain(batches, self._plain_bytes) if origin is Origin.CLIENT else None
        if checked is None:
            checked = validate(batches, self.settings, now, origin, api_version, partition=self.partition)
        header, batch, base_offset = checked.header, checked.batch, self.log_end_offset
        if header.producer_id >= 0:
            known = self._producers.check(header, base_offset, origin, marker=checked.marker, verification=verification)
            if known is not None:
                return Appended(known.first_offset, known.last_offset, known.timestamp, self.log_start_offset)
        if leader_epoch > self._epochs.latest:
            self.assign_epoch(leader_epoch)
        patch(batch, base_offset, leader_epoch)
        self._write(now, batch, header, base_offset, checked.marker)
        return Appended(
            base_offset,
            self.log_end_offset - 1,
            checked.log_append_time_ms,
            self.log_start_offset,
            self.log_end_offset - self.recovery_point >= self.settings.flush_messages,
        )

    def _append_copies(self, now: Millis, batches: Buffer) -> Appended:
        found, begins_within = copies(
            batches, self.partition, log_start_offset=self.log_start_offset, log_end_offset=self.log_end_offset
        )
        if not found:
            return Appended(self.log_end_offset, self.log_end_offset - 1, -1, self.log_start_offset)
        first = found[0][0]
        if begins_within:
            self.restart_at(first.base_offset, now)
        for header, batch in found:
            if header.magic < MAGIC:
                header = _from(header, self.log_end_offset)
            if header.leader_epoch > self._epochs.latest:
                self._assign_epoch(header.leader_epoch, header.base_offset)
            self._write(now, batch, header, header.base_offset, marker_in(header, batch))
        return Appended(first.base_offset, self.log_end_offset - 1, -1, self.log_start_offset)

    def _write(
        self,
        now: Millis,
        batch: bytearray | memoryview,
        header: BatchHeader,
        base_offset: int,
        marker: EndMarker | None,
    ) -> None:
        segments = self._segments
        active = segments.active
        last_offset = base_offset + header.last_offset_delta
        max_timestamp = header.max_timestamp
        size = active.size_bytes
        try:
            if (
                size + len(batch) > self._segment_bytes
                or (size and self._waited_ms(active, now, max_timestamp) > self._roll_ms)
                or active.is_index_full
                or last_offset - active.base_offset > FARTHEST
            ):
                self._roll(now, base_offset)
                active = segments.active
            segments.remember(base_offset, active.append(batch, last_offset, max_timestamp))
            self.log_end_offset = last_offset + 1
            if header.producer_id >= 0:
                aborted = self._producers.record(header, base_offset, marker)
                if aborted is not None:
                    active.aborted.add(aborted)
        except OSError as problem:
            raise self._failed(problem) from problem

    @staticmethod
    def _waited_ms(active: Segment, now: Millis, max_timestamp: int) -> int:
        """How long the segment has been filled, by its records' time where they have one (KIP-32)."""
        first = active.first_timestamp()
        return max_timestamp - first if first >= 0 else now - active.created_ms

    def advance_high_watermark(self, offset: int) -> bool:
        """Batches below ``offset`` are on enough replicas; true if readers can now see more."""
        offset = min(offset, self.log_end_offset)
        if offset <= self.high_watermark:
            return False
        self.high_watermark = offset
        self._producers.advance_high_watermark(offset)
        return True

    def assign_epoch(self, epoch: int) -> None:
        """A leader epoch begins at the log's end."""
        self._assign_epoch(epoch, self.log_end_offset)

    def _assign_epoch(self, epoch: int, offset: int) -> None:
        if self._epochs.assign(epoch, offset):
            self._write_epochs()

    def _write_epochs(self) -> None:
        text = self._epochs.encode()
        if text == self._stored_epochs:
            return  # a leader that was started again leads as before, perhaps thousands of partitions at once
        with self._disk_failures():
            self._disk.replace(EPOCHS_FILE, text)
        self._stored_epochs = text
        self._unsynced.add(EPOCHS_FILE)

    # reading

    def read(
        self,
        start: int,
        max_bytes: int,
        *,
        isolation: Isolation = Isolation.READ_UNCOMMITTED,
        must_give_one: bool = True,
    ) -> Slice:
        """Batches from the one that holds ``start`` on, about ``max_bytes`` of them.

        The last may be cut off anywhere, but never the first: with ``must_give_one`` it is whole however large it is,
        otherwise nothing is given where it does not fit, nor while the disk does not lend. Raises OFFSET_OUT_OF_RANGE.
        """
        if self.is_offline:
            raise self._storage_error()
        end = self.high_watermark
        stable = self._producers.last_stable_offset(end)
        limit = end if isolation is Isolation.READ_UNCOMMITTED else stable
        if isolation is Isolation.LOG_END:
            limit = self.log_end_offset
        aborted: list[tuple[int, int]] | None = [] if isolation is Isolation.READ_COMMITTED else None
        if start < self.log_start_offset or start > self.log_end_offset:
            raise KafkaError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"Received request for offset {start} for partition {self.partition}, but we only have log segments "
                f"from offset {self.log_start_offset} to {self.log_end_offset}.",
            )
        lends = self._disk.lends
        if start < limit and (lends or must_give_one):
            try:
                if not lends:
                    max_bytes = min(max_bytes, UNLENT_BYTES)
                found = self._segments.locate(start, limit, self.log_end_offset, max_bytes, must_give_one)
                if found is not None:
                    segment, position, size = found
                    if aborted is not None:
                        aborted = self._segments.aborted_between(segment, start, position + size, self.log_end_offset)
                    take = self._disk.region if lends else self._disk.read
                    pieces = FilePieces((take(segment.name, position, size),), size if lends else None)
                    return Slice(pieces, pieces.size_bytes, end, stable, self.log_start_offset, aborted)
            except OSError as problem:
                raise self._failed(problem) from problem
        return Slice(NOTHING, 0, end, stable, self.log_start_offset, aborted)

    def offset_for_time(self, timestamp: int, isolation: Isolation = Isolation.READ_UNCOMMITTED) -> FoundOffset:
        """ListOffsets: the first offset as late as ``timestamp`` (ms), or what a special timestamp asks for.

        Nothing found, or only beyond what the reader may see, is offset -1.
        """
        limit = self._limit(isolation)
        if timestamp == lookups.LATEST:
            return FoundOffset(limit, -1, self._epochs.latest)
        if timestamp in (lookups.EARLIEST, lookups.EARLIEST_LOCAL):
            return FoundOffset(self.log_start_offset, -1, self._epochs.epoch_of(self.log_start_offset))
        if timestamp == lookups.LATEST_TIERED:
            return FoundOffset(-1, -1, -1)
        with self._disk_failures():
            if timestamp == lookups.MAX_TIMESTAMP:
                found = lookups.latest_record(self._segments)
            else:
                found = lookups.record_at_or_after(self._segments, timestamp, self.log_start_offset)
        if found is None or found.offset >= limit:
            return FoundOffset(-1, -1, -1)
        return FoundOffset(found.offset, found.timestamp, self._epochs.epoch_of(found.offset))

    def offsets_before(
        self, now: Millis, timestamp: int, limit: int, isolation: Isolation = Isolation.READ_UNCOMMITTED
    ) -> list[int]:
        """ListOffsets v0: beginnings of segments not younger than ``timestamp`` (ms), newest first."""
        return lookups.segment_starts(
            self._segments,
            now,
            timestamp,
            limit,
            log_start_offset=self.log_start_offset,
            log_end_offset=self.log_end_offset,
            high_watermark=None if isolation is Isolation.LOG_END else self.high_watermark,
        )

    def end_of_epoch(self, epoch: int) -> EpochEnd:
        """OffsetForLeaderEpoch: the greatest known epoch up to ``epoch``, and where it ended."""
        return EpochEnd(*self._epochs.end_of(epoch, self.log_end_offset))

    def _limit(self, isolation: Isolation) -> int:
        if isolation is Isolation.READ_COMMITTED:
            return self.last_stable_offset
        return self.high_watermark if isolation is Isolation.READ_UNCOMMITTED else self.log_end_offset

    # forgetting

    def delete_records(self, offset: int) -> int:
        """DeleteRecords: nothing below ``offset`` (-1 the high watermark) is readable any more; gives the log's start.

        Raises POLICY_VIOLATION for a topic that is only compacted, OFFSET_OUT_OF_RANGE beyond the high watermark.
        """
        if "delete" not in self.settings.cleanup_policy:
            raise KafkaError(
                ErrorCode.POLICY_VIOLATION,
                f"Records of partition {self.partition} can not be deleted due to the configured policy",
            )
        if offset == -1:
            offset = self.high_watermark
        if offset < 0:
            raise KafkaError(
                ErrorCode.OFFSET_OUT_OF_RANGE, f"The offset {offset} for partition {self.partition} is not valid"
            )
        self.advance_log_start(offset)
        return self.log_start_offset

    def advance_log_start(self, offset: int) -> bool:
        """Let the log begin at ``offset``; raises OFFSET_OUT_OF_RANGE beyond the high watermark."""
        if offset > self.high_watermark:
            raise KafkaError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"Cannot increment the log start offset to {offset} of partition {self.partition} since it is larger "
                f"than the high watermark {self.high_watermark}",
            )
        if offset <= self.log_start_offset:
            return False
        self.log_start_offset = offset
        # Not written before the log is closed, or an epoch begins: what lies before the start misleads nobody.
        self._epochs.truncate_from_start(offset)
        self._say("LogStartAdvanced", log_start_offset=offset)
        return True

    def unread_by_retention(self, most: int) -> list[tuple[str, int]]:
        """Files, with their lengths, whose ends ``expire`` will read to know how old the first segments are."""
        settings = self.settings
        if "delete" not in settings.cleanup_policy or settings.retention_ms < 0:
            return []
        return [unread for one in self._segments[:most] if (unread := one.unread_times()) is not None]

    def expire(self, now: Millis, *, most: int | None = None) -> Expired:
        """Apply retention: old segments, at most so many, are renamed now and removed by ``reap`` after
        ``file.delete.delay.ms``.

        With one at a time, and the directory synced in between, no power cut brings one back without those behind it.
        """
        with self._disk_failures():
            self._producers.expire(now)
            count, why = retention.deletable(
                self._segments,
                now,
                self.settings,
                log_start_offset=self.log_start_offset,
                high_watermark=self.high_watermark,
                log_end_offset=self.log_end_offset,
            )
            if not count:
                return Expired(0, 0)
            due = 0
            if most is not None and count > most:
                count, due = most, count - most
            if count == len(self._segments):
                self._roll(now, self.log_end_offset)
            gone = self._segments.delete_first(count, now + self.settings.file_delete_delay_ms)
            self._unsynced.difference_update(name for segment in gone for name in segment.files())
            self.advance_log_start(max(self.log_start_offset, self._segments[0].base_offset))
            self._snapshots.keep(self._segments.bases)
        size = sum(segment.size_bytes for segment in gone)
        self._say("SegmentsDeleted", segments=count, size_bytes=size, why=why, log_start_offset=self.log_start_offset)
        return Expired(count, size, due)

    @property
    def next_reap_ms(self) -> int | None:
        """When the files of a deleted segment are to be removed."""
        return self._segments.next_reap_ms

    def has_to_reap(self, now: Millis) -> bool:
        """Whether ``reap`` has something to do by now."""
        due = self._segments.next_reap_ms
        return self._snapshots.has_leftovers or (due is not None and due <= now)

    def reap(self, now: Millis) -> None:
        """Remove files of deleted segments whose delay has passed, and snapshots that belong to none.

        A large file takes a while; this may be done on a worker thread.
        """
        with self._disk_failures():
            if self.has_to_reap(now):
                # A power cut must not undo that a segment went when it leaves nothing of its snapshots and indexes.
                self._disk.sync(())
            self._segments.reap(now)
            self._snapshots.reap()

    def roll(self, now: Millis) -> None:
        """Begin a new segment at the log's end, unless the last one is still empty."""
        with self._disk_failures():
            self._roll(now, self.log_end_offset)

    def _roll(self, now: Millis, base_offset: int) -> None:
        if self._segments.active.base_offset == base_offset:
            return
        if self._synced_cuts != self._cuts:
            # A power cut could bring back what was cut off, in front of the new segment. Rare enough to wait here.
            self._disk.sync(self._segments.active.files())
            self._synced_cuts = self._cuts
        self._unsynced.add(self._snapshots.write(base_offset, self._producers))
        old = self._segments.roll(base_offset, self.settings, now)
        self._unsynced.update(old.files())
        self._snapshots.keep(self._segments.bases)
        self._say("SegmentRolled", Level.DEBUG, base_offset=base_offset)

    # compaction

    def dirt(self, now: Millis, first_dirty: int) -> Dirt | None:
        """What of a compacted topic's log is worth compacting, the log being clean below ``first_dirty``."""
        if self.is_offline:
            return None
        return measure(
            self._segments,
            now,
            self.settings,
            first_dirty=first_dirty,
            log_start_offset=self.log_start_offset,
            last_stable_offset=self.last_stable_offset,
        )

    def compaction(self, dirt: Dirt, now: Millis, keys_limit: int = KEYS_LIMIT) -> Generator[int, None, Compacted]:
        """A round of compaction in small steps, each of which tells the bytes read and written.

        What it gives in the end is for ``compaction.settle``, and then for ``adopt``.
        """
        return compact(
            self._disk,
            tuple(self._segments),
            dirt,
            now,
            self.settings,
            self._producers,
            cuts=self._cuts,
            keys_limit=keys_limit,
        )

    def adopt(self, done: Compacted, now: Millis) -> bool:
        """Put settled segments in the place of theirs, false if those have gone meanwhile; sync the directory then."""
        with self._disk_failures():
            mine = {id(segment) for segment in self._segments}
            if done.cuts != self._cuts or any(id(old) not in mine for group in done.groups for old in group.old):
                self.abandon_compaction()
                return False
            for group in done.groups:
                self._segments.replace(group.old, group.new, now + self.settings.file_delete_delay_ms)
            self._snapshots.keep(self._segments.bases)
        self._say(
            "LogCompacted",
            clean_up_to=done.clean_up_to,
            bytes_before=done.bytes_before,
            bytes_after=done.bytes_after,
            segments=len(done.groups),
        )
        return True

    def abandon_compaction(self, problem: str | None = None) -> None:
        """Remove what an unfinished round has written."""
        if problem is not None:
            self._say("CompactionFailed", Level.ERROR, problem=problem)
        with self._disk_failures():
            for name in self._disk.sizes():
                if name.endswith((CLEANED, SWAP)):
                    self._disk.remove(name)

    # cutting

    def truncate_to(self, offset: int, now: Millis) -> bool:
        """Forget everything from ``offset`` on, as a follower whose leader never had it; true if there was any."""
        if offset >= self.log_end_offset:
            if self._epochs.truncate_from_end(self.log_end_offset):
                # An epoch in which nothing was written: a leader that never had it would part from us here for ever.
                self._write_epochs()
            return False
        with self._disk_failures():
            if offset < self._segments[0].base_offset:
                self.restart_at(offset, now)
                return True
            # What was flushed is cut rarely, and there is little to wait for.
            cut = self._segments.cut(offset, durably=offset < self.recovery_point)
            self._after_cut(offset, min(self.log_start_offset, offset), now)
        self._say("LogTruncated", log_end_offset=offset, cut_bytes=cut)
        return True

    def restart_at(self, offset: int, now: Millis) -> None:
        """Forget everything and begin anew at ``offset`` (a follower that is too far behind)."""
        with self._disk_failures():
            self._segments.restart(offset, self.settings, now)
            self._snapshots.clear()
            self._epochs = Epochs()
            self.high_watermark = offset
            self._after_cut(offset, offset, now)
        self._say("LogRestarted", log_start_offset=offset)

    def _after_cut(self, end: int, start: int, now: Millis) -> None:
        self._cuts += 1
        self._unsynced.update(self._segments.active.files())
        self.log_end_offset = end
        self.log_start_offset = start
        self.high_watermark = min(self.high_watermark, end)
        self.recovery_point = min(self.recovery_point, end)
        self._epochs.truncate_from_end(end)
        self._epochs.truncate_from_start(start)
        self._write_epochs()
        self._snapshots.remove_beyond(end)
        begin = self._snapshots.load(self._producers, self._segments[0].base_offset, end, now)
        for segment in self._segments.holding(begin):
            replay(self._producers, segment, begin)
        self._producers.advance_high_watermark(self.high_watermark)

    # durability

    def unsynced(self, *, sealed_only: bool = False) -> Unsynced:
        """What must be synced so that the log is on the device; with ``sealed_only`` all but the last segment."""
        active = self._segments.active
        if sealed_only:
            return Unsynced(tuple(sorted(self._unsynced)), max(self.recovery_point, active.base_offset), self._cuts)
        names = set(self._unsynced)
        if self.log_end_offset > self.recovery_point:
            with self._disk_failures():
                active.flush()
            names.update(active.files())
        return Unsynced(tuple(sorted(names)), self.log_end_offset, self._cuts)

    def synced(self, done: Unsynced, now: Millis) -> None:
        """That has been synced; if the log was cut meanwhile it tells nothing about offsets."""
        if done.cuts == self._cuts:
            self._unsynced.difference_update(done.names)
            self.recovery_point = max(self.recovery_point, done.offset)
            self._synced_cuts = self._cuts
        self.last_flush_ms = now

    def close(self) -> None:
        """Write what waits in memory and a producer snapshot, so that the next start reads few batches.

        What is to be synced afterwards is told by ``unsynced``.
        """
        if self.is_offline:
            return
        with self._disk_failures():
            active = self._segments.active
            if active.seal():
                self._unsynced.update(active.files())
            if self.settings.preallocate:
                active.give_room_back()
            if self.log_end_offset > max(self._snapshots.offsets, default=0):
                self._unsynced.add(self._snapshots.write(self.log_end_offset, self._producers))
                self._snapshots.keep(self._segments.bases)
            self._snapshots.reap()
            self._write_epochs()

    def discard(self) -> None:
        """The partition is deleted, or its log directory has failed: whoever still holds this log is refused."""
        self.is_offline = True

    # trouble

    def fail(self, problem: OSError) -> None:
        """The disk failed elsewhere, in a sync: go offline."""
        self._failed(problem)

    @contextmanager
    def _disk_failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise self._failed(problem) from problem

    def _failed(self, problem: OSError) -> KafkaError:
        if not self.is_offline:
            self.is_offline = True
            self._say("LogOffline", Level.ERROR, problem=str(problem))
        return self._storage_error()

    def _storage_error(self) -> KafkaError:
        return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"The log for partition {self.partition} is offline")

    def _say(self, name: str, level: Level = Level.INFO, **fields: object) -> None:
        self._note(Fact(name, level, {"partition": str(self.partition), **fields}))
