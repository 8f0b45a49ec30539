"""The settings of the logs on disk, and what topics inherit from them.

The times that Kafka takes in several units, and topics' defaults, are worked out here; what one topic says for itself
is ``topic`` and ``overrides``.
"""

from __future__ import annotations

from pykafka_broker.config.kinds import DOUBLE_MAX, LONG_MAX, Kind
from pykafka_broker.config.rules import at_least, between, between_or, one_of, some_of
from pykafka_broker.config.setting import Importance, Mode, Section, setting
from pykafka_broker.config.topic import CODECS, TopicSettings
from pykafka_broker.config.versions import metadata_version


class StorageSettings(Section):
    """How logs are kept."""

    compression_gzip_level: int = setting(
        "compression.gzip.level",
        Kind.INT,
        default=-1,
        rule=between_or(1, 9, -1),
        mode=Mode.CLUSTER_WIDE,
        says="Effort of gzip where the broker compresses; -1 leaves it to the codec.",
    )
    compression_lz4_level: int = setting(
        "compression.lz4.level",
        Kind.INT,
        default=9,
        rule=between(1, 17),
        mode=Mode.CLUSTER_WIDE,
        says="Effort of lz4 where the broker compresses.",
    )
    compression_type: str = setting(
        "compression.type",
        Kind.STRING,
        default="producer",
        rule=one_of(*CODECS),
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Codec that stored batches have; producer keeps whatever they came with.",
    )
    compression_zstd_level: int = setting(
        "compression.zstd.level",
        Kind.INT,
        default=3,
        rule=between(-131_072, 22),
        mode=Mode.CLUSTER_WIDE,
        says="Effort of zstd where the broker compresses.",
    )
    log_cleaner_backoff_ms: int = setting(
        "log.cleaner.backoff.ms",
        Kind.LONG,
        default=15_000,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="How long the cleaner rests when there is nothing to compact.",
    )
    log_cleaner_dedupe_buffer_size: int = setting(
        "log.cleaner.dedupe.buffer.size",
        Kind.LONG,
        default=134_217_728,
        mode=Mode.CLUSTER_WIDE,
        says="Memory for the cleaner's keys, all threads together.",
    )
    log_cleaner_delete_retention_ms: int = setting(
        "log.cleaner.delete.retention.ms",
        Kind.LONG,
        default=86_400_000,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="How long compaction keeps a tombstone.",
    )
    log_cleaner_enable: bool = setting(
        "log.cleaner.enable",
        Kind.BOOLEAN,
        default=True,
        says="Whether anything is compacted at all.",
    )
    log_cleaner_io_buffer_load_factor: float = setting(
        "log.cleaner.io.buffer.load.factor",
        Kind.DOUBLE,
        default=0.9,
        mode=Mode.CLUSTER_WIDE,
        says="How full the cleaner's table of keys may get.",
    )
    log_cleaner_io_buffer_size: int = setting(
        "log.cleaner.io.buffer.size",
        Kind.INT,
        default=524_288,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="Memory for the cleaner's reading and writing, all threads together.",
    )
    log_cleaner_io_max_bytes_per_second: float = setting(
        "log.cleaner.io.max.bytes.per.second",
        Kind.DOUBLE,
        default=DOUBLE_MAX,
        mode=Mode.CLUSTER_WIDE,
        says="Most bytes the cleaner reads and writes a second.",
    )
    log_cleaner_max_compaction_lag_ms: int = setting(
        "log.cleaner.max.compaction.lag.ms",
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(1),
        mode=Mode.CLUSTER_WIDE,
        says="A record older than this must be compacted.",
    )
    log_cleaner_min_cleanable_ratio: float = setting(
        "log.cleaner.min.cleanable.ratio",
        Kind.DOUBLE,
        default=0.5,
        rule=between(0, 1),
        mode=Mode.CLUSTER_WIDE,
        says="Share of uncompacted bytes from which a log is compacted.",
    )
    log_cleaner_min_compaction_lag_ms: int = setting(
        "log.cleaner.min.compaction.lag.ms",
        Kind.LONG,
        default=0,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="A record younger than this is not compacted.",
    )
    log_cleaner_threads: int = setting(
        "log.cleaner.threads",
        Kind.INT,
        default=1,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="Logs that are compacted at the same time.",
    )
    log_cleanup_policy: tuple[str, ...] = setting(
        "log.cleanup.policy",
        Kind.LIST,
        default=("delete",),
        rule=some_of("compact", "delete"),
        mode=Mode.CLUSTER_WIDE,
        says="Whether old segments are deleted, compacted by key, or both.",
    )
    log_dir: str = setting(
        "log.dir",
        Kind.STRING,
        default="/tmp/kafka-logs",
        importance=Importance.HIGH,
        says="Where the logs live if log.dirs says nothing.",
    )
    log_dir_failure_timeout_ms: int = setting(
        "log.dir.failure.timeout.ms",
        Kind.LONG,
        default=30_000,
        rule=at_least(1),
        importance=Importance.LOW,
        says="KRaft only: how long a failed directory may stay unreported.",
    )
    log_dirs: str | None = setting(
        "log.dirs",
        Kind.STRING,
        default=None,
        importance=Importance.HIGH,
        says="Where the logs live, several directories separated by commas.",
    )
    log_flush_interval_messages: int = setting(
        "log.flush.interval.messages",
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(1),
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Records after which a partition is flushed to disk.",
    )
    log_flush_interval_ms: int | None = setting(
        "log.flush.interval.ms",
        Kind.LONG,
        default=None,
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Time after which a partition is flushed to disk; none means log.flush.scheduler.interval.ms.",
    )
    log_flush_offset_checkpoint_interval_ms: int = setting(
        "log.flush.offset.checkpoint.interval.ms",
        Kind.INT,
        default=60_000,
        rule=at_least(0),
        importance=Importance.HIGH,
        says="How often it is written down how far the logs are flushed.",
    )
    log_flush_scheduler_interval_ms: int = setting(
        "log.flush.scheduler.interval.ms",
        Kind.LONG,
        default=LONG_MAX,
        importance=Importance.HIGH,
        says="How often partitions that are due for a flush are looked for.",
    )
    log_flush_start_offset_checkpoint_interval_ms: int = setting(
        "log.flush.start.offset.checkpoint.interval.ms",
        Kind.INT,
        default=60_000,
        rule=at_least(0),
        importance=Importance.HIGH,
        says="How often it is written down where the logs begin.",
    )
    log_index_interval_bytes: int = setting(
        "log.index.interval.bytes",
        Kind.INT,
        default=4_096,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="Bytes of log between two entries of the offset index.",
    )
    log_index_size_max_bytes: int = setting(
        "log.index.size.max.bytes",
        Kind.INT,
        default=10_485_760,
        rule=at_least(4),
        mode=Mode.CLUSTER_WIDE,
        says="Size of an index file.",
    )
    log_initial_task_delay_ms: int = setting(
        "log.initial.task.delay.ms",
        Kind.LONG,
        default=30_000,
        rule=at_least(0),
        importance=Importance.LOW,
        internal=True,
        says="How long after the start retention and flushing begin.",
    )
    log_local_retention_bytes: int = setting(
        "log.local.retention.bytes",
        Kind.LONG,
        default=-2,
        rule=at_least(-2),
        mode=Mode.CLUSTER_WIDE,
        says="Tiered storage: bytes kept locally; -2 means log.retention.bytes.",
    )
    log_local_retention_ms: int = setting(
        "log.local.retention.ms",
        Kind.LONG,
        default=-2,
        rule=at_least(-2),
        mode=Mode.CLUSTER_WIDE,
        says="Tiered storage: time kept locally; -2 means log.retention.ms.",
    )
    log_message_downconversion_enable: bool = setting(
        "log.message.downconversion.enable",
        Kind.BOOLEAN,
        default=True,
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.LOW,
        says="Whether old consumers get batches rewritten in their format.",
    )
    log_message_format_version: str = setting(
        "log.message.format.version",
        Kind.STRING,
        default="3.0-IV1",
        rule=metadata_version,
        says="Accepted and ignored; batches are always format 2.",
    )
    log_message_timestamp_after_max_ms: int = setting(
        "log.message.timestamp.after.max.ms",
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="How far a record's timestamp may lie ahead of the broker's clock.",
    )
    log_message_timestamp_before_max_ms: int = setting(
        "log.message.timestamp.before.max.ms",
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="How far a record's timestamp may lie behind the broker's clock.",
    )
    log_message_timestamp_difference_max_ms: int = setting(
        "log.message.timestamp.difference.max.ms",
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="Both of these at once, where they are not set themselves; deprecated by KIP-937.",
    )
    log_message_timestamp_type: str = setting(
        "log.message.timestamp.type",
        Kind.STRING,
        default="CreateTime",
        rule=one_of("CreateTime", "LogAppendTime"),
        mode=Mode.CLUSTER_WIDE,
        says="Whether a record keeps the producer's time or gets the broker's.",
    )
    log_preallocate: bool = setting(
        "log.preallocate",
        Kind.BOOLEAN,
        default=False,
        mode=Mode.CLUSTER_WIDE,
        says="Whether a new segment's file gets its full size at once.",
    )
    log_retention_bytes: int = setting(
        "log.retention.bytes",
        Kind.LONG,
        default=-1,
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Size a partition may reach before old segments go; -1 has no limit.",
    )
    log_retention_check_interval_ms: int = setting(
        "log.retention.check.interval.ms",
        Kind.LONG,
        default=300_000,
        rule=at_least(1),
        says="How often segments that may go are looked for.",
    )
    log_retention_hours: int = setting(
        "log.retention.hours",
        Kind.INT,
        default=168,
        importance=Importance.HIGH,
        says="Age at which segments go, in hours; log.retention.minutes goes before.",
    )
    log_retention_minutes: int | None = setting(
        "log.retention.minutes",
        Kind.INT,
        default=None,
        importance=Importance.HIGH,
        says="Age at which segments go, in minutes; log.retention.ms goes before.",
    )
    log_retention_ms: int | None = setting(
        "log.retention.ms",
        Kind.LONG,
        default=None,
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Age at which segments go; -1 has no limit.",
    )
    log_roll_hours: int = setting(
        "log.roll.hours",
        Kind.INT,
        default=168,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Age at which a segment is closed, in hours; log.roll.ms goes before.",
    )
    log_roll_jitter_hours: int = setting(
        "log.roll.jitter.hours",
        Kind.INT,
        default=0,
        rule=at_least(0),
        importance=Importance.HIGH,
        says="Random part taken off that age, in hours; log.roll.jitter.ms goes before.",
    )
    log_roll_jitter_ms: int | None = setting(
        "log.roll.jitter.ms",
        Kind.LONG,
        default=None,
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Random part taken off log.roll.ms, so that partitions do not roll together.",
    )
    log_roll_ms: int | None = setting(
        "log.roll.ms",
        Kind.LONG,
        default=None,
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Age at which a segment is closed even if it is small.",
    )
    log_segment_bytes: int = setting(
        "log.segment.bytes",
        Kind.INT,
        default=1_073_741_824,
        rule=at_least(14),
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Size at which a segment is closed and the next one begun.",
    )
    log_segment_delete_delay_ms: int = setting(
        "log.segment.delete.delay.ms",
        Kind.LONG,
        default=60_000,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="How long a deleted segment's files stay on disk.",
    )
    message_max_bytes: int = setting(
        "message.max.bytes",
        Kind.INT,
        default=1_048_588,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Largest batch that is accepted, after compression.",
    )
    min_insync_replicas: int = setting(
        "min.insync.replicas",
        Kind.INT,
        default=1,
        rule=at_least(1),
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Replicas that must be in sync for an acks=all write.",
    )
    num_recovery_threads_per_data_dir: int = setting(
        "num.recovery.threads.per.data.dir",
        Kind.INT,
        default=1,
        rule=at_least(1),
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Logs of one directory that are recovered at the same time.",
    )
    unclean_leader_election_enable: bool = setting(
        "unclean.leader.election.enable",
        Kind.BOOLEAN,
        default=False,
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Whether a replica that is behind may lead when no other is left, losing records.",
    )

    @property
    def directories(self) -> tuple[str, ...]:
        """The log directories, in order (``log.dirs`` goes before ``log.dir``)."""
        named = self.log_dirs if self.log_dirs is not None else self.log_dir
        return tuple(part for part in (piece.strip() for piece in named.split(",")) if part)

    @property
    def retention_time_ms(self) -> int:
        """``log.retention`` in its finest unit that is set; -1 for no limit (``getLogRetentionTimeMillis``)."""
        if self.log_retention_ms is not None:
            found = self.log_retention_ms
        elif self.log_retention_minutes is not None:
            found = self.log_retention_minutes * 60_000
        else:
            found = self.log_retention_hours * 3_600_000
        return -1 if found < 0 else found

    @property
    def roll_time_ms(self) -> int:
        """``log.roll`` in its finest unit that is set."""
        return self.log_roll_ms if self.log_roll_ms is not None else self.log_roll_hours * 3_600_000

    @property
    def roll_jitter_time_ms(self) -> int:
        """``log.roll.jitter`` in its finest unit that is set."""
        return (
            self.log_roll_jitter_ms if self.log_roll_jitter_ms is not None else self.log_roll_jitter_hours * 3_600_000
        )

    @property
    def flush_time_ms(self) -> int:
        """Time after which a partition is flushed (``logFlushIntervalMs``)."""
        given = self.log_flush_interval_ms
        return given if given is not None else self.log_flush_scheduler_interval_ms

    def _bound_ms(self, given: int) -> int:
        """A bound of timestamps: the old key for both holds where a bound is not set itself (KIP-937)."""
        return self.log_message_timestamp_difference_max_ms if given == LONG_MAX else given

    def topic_defaults(self) -> TopicSettings:
        """What a topic gets that says nothing for itself (``KafkaConfig.extractLogConfigMap``).

        The message format is not inherited: Kafka ignores the broker's since 3.0.
        """
        return TopicSettings(
            cleanup_policy=self.log_cleanup_policy,
            compression_gzip_level=self.compression_gzip_level,
            compression_lz4_level=self.compression_lz4_level,
            compression_type=self.compression_type,
            compression_zstd_level=self.compression_zstd_level,
            delete_retention_ms=self.log_cleaner_delete_retention_ms,
            file_delete_delay_ms=self.log_segment_delete_delay_ms,
            flush_messages=self.log_flush_interval_messages,
            flush_ms=self.flush_time_ms,
            index_interval_bytes=self.log_index_interval_bytes,
            local_retention_bytes=self.log_local_retention_bytes,
            local_retention_ms=self.log_local_retention_ms,
            max_compaction_lag_ms=self.log_cleaner_max_compaction_lag_ms,
            max_message_bytes=self.message_max_bytes,
            message_downconversion_enable=self.log_message_downconversion_enable,
            message_timestamp_after_max_ms=self._bound_ms(self.log_message_timestamp_after_max_ms),
            message_timestamp_before_max_ms=self._bound_ms(self.log_message_timestamp_before_max_ms),
            message_timestamp_difference_max_ms=self.log_message_timestamp_difference_max_ms,
            message_timestamp_type=self.log_message_timestamp_type,
            min_cleanable_dirty_ratio=self.log_cleaner_min_cleanable_ratio,
            min_compaction_lag_ms=self.log_cleaner_min_compaction_lag_ms,
            min_insync_replicas=self.min_insync_replicas,
            preallocate=self.log_preallocate,
            retention_bytes=self.log_retention_bytes,
            retention_ms=self.retention_time_ms,
            segment_bytes=self.log_segment_bytes,
            segment_index_bytes=self.log_index_size_max_bytes,
            segment_jitter_ms=self.roll_jitter_time_ms,
            segment_ms=self.roll_time_ms,
            unclean_leader_election_enable=self.unclean_leader_election_enable,
        )
