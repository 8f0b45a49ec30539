"""The settings of one topic: what ``/config/topics/<t>`` may say, with Kafka's defaults.

Where a topic says nothing the broker's own settings hold; ``overrides`` joins the two.
"""

from __future__ import annotations

from pykafka_broker.config.kinds import LONG_MAX, InvalidValue, Kind, Value
from pykafka_broker.config.rules import at_least, between, between_or, one_of, some_of
from pykafka_broker.config.setting import Importance, Section, setting
from pykafka_broker.config.versions import metadata_version

CODECS = ("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")
"""What ``compression.type`` may be, in Kafka's order."""


def _is_replica(text: str) -> bool:
    parts = text.split(":")
    return len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts)


def throttled_replicas(key: str, value: Value) -> None:
    """``ThrottledReplicaListValidator``: ``*``, nothing, or ``partition:broker`` pairs."""
    assert isinstance(value, tuple)
    if value and value != ("*",) and not all(map(_is_replica, value)):
        shown = f"[{', '.join(value)}]"
        raise InvalidValue(
            key,
            shown,
            f"{key} must be the literal '*' or a list of replicas in the following format: "
            "[partitionId]:[brokerId],[partitionId]:[brokerId],...",
        )


class TopicSettings(Section):
    """Everything a topic can be told, typed; ``TopicSettings()`` is Kafka's default topic.

    The fields stand in the order of ``LogConfig``: of several bad values, the first in this order is the one told.
    """

    segment_bytes: int = setting(
        "segment.bytes",
        Kind.INT,
        default=1_073_741_824,
        rule=at_least(14),
        synonyms=("log.segment.bytes",),
        says="Size at which a segment is closed and the next one begun.",
    )
    segment_ms: int = setting(
        "segment.ms",
        Kind.LONG,
        default=604_800_000,
        rule=at_least(1),
        synonyms=("log.roll.ms", "log.roll.hours"),
        says="Age at which a segment is closed even if it is small.",
    )
    segment_jitter_ms: int = setting(
        "segment.jitter.ms",
        Kind.LONG,
        default=0,
        rule=at_least(0),
        synonyms=("log.roll.jitter.ms", "log.roll.jitter.hours"),
        says="Random part taken off segment.ms, so that partitions do not roll together.",
    )
    segment_index_bytes: int = setting(
        "segment.index.bytes",
        Kind.INT,
        default=10_485_760,
        rule=at_least(4),
        synonyms=("log.index.size.max.bytes",),
        says="Size of an index file.",
    )
    flush_messages: int = setting(
        "flush.messages",
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(1),
        synonyms=("log.flush.interval.messages",),
        says="Records after which a partition is flushed to disk.",
    )
    flush_ms: int = setting(
        "flush.ms",
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(0),
        synonyms=("log.flush.interval.ms", "log.flush.scheduler.interval.ms"),
        says="Time after which a partition is flushed to disk.",
    )
    retention_bytes: int = setting(
        "retention.bytes",
        Kind.LONG,
        default=-1,
        synonyms=("log.retention.bytes",),
        says="Size a partition may reach before old segments go; -1 has no limit.",
    )
    retention_ms: int = setting(
        "retention.ms",
        Kind.LONG,
        default=604_800_000,
        rule=at_least(-1),
        synonyms=("log.retention.ms", "log.retention.minutes", "log.retention.hours"),
        says="Age at which segments go; -1 has no limit.",
    )
    max_message_bytes: int = setting(
        "max.message.bytes",
        Kind.INT,
        default=1_048_588,
        rule=at_least(0),
        synonyms=("message.max.bytes",),
        says="Largest batch that is accepted, after compression.",
    )
    index_interval_bytes: int = setting(
        "index.interval.bytes",
        Kind.INT,
        default=4_096,
        rule=at_least(0),
        synonyms=("log.index.interval.bytes",),
        says="Bytes of log between two entries of the offset index.",
    )
    delete_retention_ms: int = setting(
        "delete.retention.ms",
        Kind.LONG,
        default=86_400_000,
        rule=at_least(0),
        synonyms=("log.cleaner.delete.retention.ms",),
        says="How long compaction keeps a tombstone.",
    )
    min_compaction_lag_ms: int = setting(
        "min.compaction.lag.ms",
        Kind.LONG,
        default=0,
        rule=at_least(0),
        synonyms=("log.cleaner.min.compaction.lag.ms",),
        says="A record younger than this is not compacted.",
    )
    max_compaction_lag_ms: int = setting(
        "max.compaction.lag.ms",
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(1),
        synonyms=("log.cleaner.max.compaction.lag.ms",),
        says="A record older than this must be compacted.",
    )
    file_delete_delay_ms: int = setting(
        "file.delete.delay.ms",
        Kind.LONG,
        default=60_000,
        rule=at_least(0),
        synonyms=("log.segment.delete.delay.ms",),
        says="How long a deleted segment's files stay on disk.",
    )
    min_cleanable_dirty_ratio: float = setting(
        "min.cleanable.dirty.ratio",
        Kind.DOUBLE,
        default=0.5,
        rule=between(0, 1),
        synonyms=("log.cleaner.min.cleanable.ratio",),
        says="Share of uncompacted bytes from which a log is compacted.",
    )
    cleanup_policy: tuple[str, ...] = setting(
        "cleanup.policy",
        Kind.LIST,
        default=("delete",),
        rule=some_of("compact", "delete"),
        synonyms=("log.cleanup.policy",),
        says="Whether old segments are deleted, compacted by key, or both.",
    )
    unclean_leader_election_enable: bool = setting(
        "unclean.leader.election.enable",
        Kind.BOOLEAN,
        default=False,
        synonyms=("unclean.leader.election.enable",),
        says="Whether a replica that is behind may lead when no other is left, losing records.",
    )
    min_insync_replicas: int = setting(
        "min.insync.replicas",
        Kind.INT,
        default=1,
        rule=at_least(1),
        synonyms=("min.insync.replicas",),
        says="Replicas that must be in sync for an acks=all write.",
    )
    compression_type: str = setting(
        "compression.type",
        Kind.STRING,
        default="producer",
        rule=one_of(*CODECS),
        synonyms=("compression.type",),
        says="Codec that stored batches have; producer keeps whatever they came with.",
    )
    compression_gzip_level: int = setting(
        "compression.gzip.level",
        Kind.INT,
        default=-1,
        rule=between_or(1, 9, -1),
        synonyms=("compression.gzip.level",),
        says="Effort of gzip where the broker compresses; -1 leaves it to the codec.",
    )
    compression_lz4_level: int = setting(
        "compression.lz4.level",
        Kind.INT,
        default=9,
        rule=between(1, 17),
        synonyms=("compression.lz4.level",),
        says="Effort of lz4 where the broker compresses.",
    )
    compression_zstd_level: int = setting(
        "compression.zstd.level",
        Kind.INT,
        default=3,
        rule=between(-131072, 22),
        synonyms=("compression.zstd.level",),
        says="Effort of zstd where the broker compresses.",
    )
    preallocate: bool = setting(
        "preallocate",
        Kind.BOOLEAN,
        default=False,
        synonyms=("log.preallocate",),
        says="Whether a new segment's file gets its full size at once.",
    )
    message_format_version: str = setting(
        "message.format.version",
        Kind.STRING,
        default="3.0-IV1",
        rule=metadata_version,
        synonyms=("log.message.format.version",),
        says="Accepted and ignored; batches are always format 2.",
    )
    message_timestamp_type: str = setting(
        "message.timestamp.type",
        Kind.STRING,
        default="CreateTime",
        rule=one_of("CreateTime", "LogAppendTime"),
        synonyms=("log.message.timestamp.type",),
        says="Whether a record keeps the producer's time or gets the broker's.",
    )
    message_timestamp_difference_max_ms: int = setting(
        "message.timestamp.difference.max.ms",
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(0),
        synonyms=("log.message.timestamp.difference.max.ms",),
        says="Both of the next two at once, where they are not set themselves; deprecated by KIP-937.",
    )
    message_timestamp_before_max_ms: int = setting(
        "message.timestamp.before.max.ms",
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(0),
        synonyms=("log.message.timestamp.before.max.ms",),
        says="How far a record's timestamp may lie behind the broker's clock.",
    )
    message_timestamp_after_max_ms: int = setting(
        "message.timestamp.after.max.ms",
        Kind.LONG,
        default=LONG_MAX,
        rule=at_least(0),
        synonyms=("log.message.timestamp.after.max.ms",),
        says="How far a record's timestamp may lie ahead of the broker's clock.",
    )
    leader_replication_throttled_replicas: tuple[str, ...] = setting(
        "leader.replication.throttled.replicas",
        Kind.LIST,
        default=(),
        rule=throttled_replicas,
        says="Leader replicas whose traffic is throttled.",
    )
    follower_replication_throttled_replicas: tuple[str, ...] = setting(
        "follower.replication.throttled.replicas",
        Kind.LIST,
        default=(),
        rule=throttled_replicas,
        says="Follower replicas whose traffic is throttled.",
    )
    message_downconversion_enable: bool = setting(
        "message.downconversion.enable",
        Kind.BOOLEAN,
        default=True,
        importance=Importance.LOW,
        synonyms=("log.message.downconversion.enable",),
        says="Whether old consumers get batches rewritten in their format.",
    )
    remote_storage_enable: bool = setting(
        "remote.storage.enable",
        Kind.BOOLEAN,
        default=False,
        says="Tiered storage for this topic.",
    )
    local_retention_ms: int = setting(
        "local.retention.ms",
        Kind.LONG,
        default=-2,
        rule=at_least(-2),
        synonyms=("log.local.retention.ms",),
        says="Tiered storage: time kept locally; -2 means retention.ms.",
    )
    local_retention_bytes: int = setting(
        "local.retention.bytes",
        Kind.LONG,
        default=-2,
        rule=at_least(-2),
        synonyms=("log.local.retention.bytes",),
        says="Tiered storage: bytes kept locally; -2 means retention.bytes.",
    )
    remote_log_copy_disable: bool = setting(
        "remote.log.copy.disable",
        Kind.BOOLEAN,
        default=False,
        says="Tiered storage: nothing more is copied to the remote side.",
    )
    remote_log_delete_on_disable: bool = setting(
        "remote.log.delete.on.disable",
        Kind.BOOLEAN,
        default=False,
        says="Tiered storage: remote data go when it is switched off.",
    )

    @property
    def deletes(self) -> bool:
        """Whether old segments are deleted."""
        return "delete" in self.cleanup_policy

    @property
    def compacts(self) -> bool:
        """Whether segments are compacted by key."""
        return "compact" in self.cleanup_policy
