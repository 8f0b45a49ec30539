"""The settings of consumer groups and of the topic that remembers their offsets."""

from __future__ import annotations

from pykafka_broker.config.kinds import INT_MAX, Kind
from pykafka_broker.config.rules import at_least, some_of
from pykafka_broker.config.setting import Importance, Section, setting


class GroupSettings(Section):
    """What the group coordinator needs to know."""

    group_coordinator_rebalance_protocols: tuple[str, ...] = setting(
        "group.coordinator.rebalance.protocols",
        Kind.LIST,
        default=("classic",),
        rule=some_of("consumer", "classic", "share", "unknown"),
        says="Group protocols that are served; only classic exists with ZooKeeper.",
    )
    group_initial_rebalance_delay_ms: int = setting(
        "group.initial.rebalance.delay.ms",
        Kind.INT,
        default=3_000,
        says="How long a new group waits for more members before its first generation.",
    )
    group_max_session_timeout_ms: int = setting(
        "group.max.session.timeout.ms",
        Kind.INT,
        default=1_800_000,
        says="Longest session a member may ask for.",
    )
    group_max_size: int = setting(
        "group.max.size",
        Kind.INT,
        default=INT_MAX,
        rule=at_least(1),
        says="Most members one group may have.",
    )
    group_min_session_timeout_ms: int = setting(
        "group.min.session.timeout.ms",
        Kind.INT,
        default=6_000,
        says="Shortest session a member may ask for.",
    )
    offset_metadata_max_bytes: int = setting(
        "offset.metadata.max.bytes",
        Kind.INT,
        default=4_096,
        importance=Importance.HIGH,
        says="Longest text that may go with a committed offset.",
    )
    offsets_commit_required_acks: int = setting(
        "offsets.commit.required.acks",
        Kind.SHORT,
        default=-1,
        importance=Importance.HIGH,
        says="Kept for old files: commits always wait for the in-sync replicas.",
    )
    offsets_commit_timeout_ms: int = setting(
        "offsets.commit.timeout.ms",
        Kind.INT,
        default=5_000,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="How long a commit waits to be replicated.",
    )
    offsets_load_buffer_size: int = setting(
        "offsets.load.buffer.size",
        Kind.INT,
        default=5_242_880,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Bytes read at a time when a coordinator loads its offsets.",
    )
    offsets_retention_check_interval_ms: int = setting(
        "offsets.retention.check.interval.ms",
        Kind.LONG,
        default=600_000,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="How often expired offsets are looked for.",
    )
    offsets_retention_minutes: int = setting(
        "offsets.retention.minutes",
        Kind.INT,
        default=10_080,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="How long the offsets of an empty group, or of a topic no longer subscribed, are kept.",
    )
    offsets_topic_compression_codec: int = setting(
        "offsets.topic.compression.codec",
        Kind.INT,
        default=0,
        importance=Importance.HIGH,
        says="Codec of the offsets topic, by its number.",
    )
    offsets_topic_num_partitions: int = setting(
        "offsets.topic.num.partitions",
        Kind.INT,
        default=50,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Partitions of the offsets topic; must never change once it exists.",
    )
    offsets_topic_replication_factor: int = setting(
        "offsets.topic.replication.factor",
        Kind.SHORT,
        default=3,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Replicas of the offsets topic; its creation waits for that many brokers.",
    )
    offsets_topic_segment_bytes: int = setting(
        "offsets.topic.segment.bytes",
        Kind.INT,
        default=104_857_600,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Segment size of the offsets topic; small, so that it compacts and loads quickly.",
    )
