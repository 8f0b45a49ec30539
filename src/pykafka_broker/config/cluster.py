"""The settings of the broker as a member: its number, ZooKeeper, topics, replication, the controller, quotas."""

from __future__ import annotations

from pykafka_broker.config.kinds import Kind
from pykafka_broker.config.rules import at_least
from pykafka_broker.config.setting import Importance, Mode, Section, setting
from pykafka_broker.config.versions import metadata_version


class ClusterSettings(Section):
    """Who this broker is among the others, and how they work together."""

    alter_config_policy_class_name: str | None = setting(
        "alter.config.policy.class.name",
        Kind.CLASS,
        default=None,
        importance=Importance.LOW,
        says="A Java class, which this broker cannot run.",
    )
    alter_log_dirs_replication_quota_window_num: int = setting(
        "alter.log.dirs.replication.quota.window.num",
        Kind.INT,
        default=11,
        rule=at_least(1),
        importance=Importance.LOW,
        says="Windows that the throttle on moves between log directories averages over.",
    )
    alter_log_dirs_replication_quota_window_size_seconds: int = setting(
        "alter.log.dirs.replication.quota.window.size.seconds",
        Kind.INT,
        default=1,
        rule=at_least(1),
        importance=Importance.LOW,
        says="Length of such a window.",
    )
    auto_create_topics_enable: bool = setting(
        "auto.create.topics.enable",
        Kind.BOOLEAN,
        default=True,
        importance=Importance.HIGH,
        says="Whether a topic comes to be when a client asks for it.",
    )
    auto_leader_rebalance_enable: bool = setting(
        "auto.leader.rebalance.enable",
        Kind.BOOLEAN,
        default=True,
        importance=Importance.HIGH,
        says="Whether leadership returns to the preferred replicas by itself.",
    )
    background_threads: int = setting(
        "background.threads",
        Kind.INT,
        default=10,
        rule=at_least(1),
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Threads for work on files that would hold up everything else.",
    )
    broker_id: int = setting(
        "broker.id",
        Kind.INT,
        default=-1,
        importance=Importance.HIGH,
        says="Number of this broker; -1 takes one from ZooKeeper.",
    )
    broker_id_generation_enable: bool = setting(
        "broker.id.generation.enable",
        Kind.BOOLEAN,
        default=True,
        says="Whether a broker without a number gets one from ZooKeeper.",
    )
    broker_rack: str | None = setting(
        "broker.rack",
        Kind.STRING,
        default=None,
        says="Rack this broker stands in.",
    )
    client_quota_callback_class: str | None = setting(
        "client.quota.callback.class",
        Kind.CLASS,
        default=None,
        importance=Importance.LOW,
        says="A Java class, which this broker cannot run.",
    )
    controlled_shutdown_enable: bool = setting(
        "controlled.shutdown.enable",
        Kind.BOOLEAN,
        default=True,
        says="Whether leadership is handed over before the broker stops.",
    )
    controlled_shutdown_max_retries: int = setting(
        "controlled.shutdown.max.retries",
        Kind.INT,
        default=3,
        says="How often handing over is tried again.",
    )
    controlled_shutdown_retry_backoff_ms: int = setting(
        "controlled.shutdown.retry.backoff.ms",
        Kind.LONG,
        default=5_000,
        says="How long between two tries.",
    )
    controller_quota_window_num: int = setting(
        "controller.quota.window.num",
        Kind.INT,
        default=11,
        rule=at_least(1),
        importance=Importance.LOW,
        says="Windows that the topic mutation quota averages over.",
    )
    controller_quota_window_size_seconds: int = setting(
        "controller.quota.window.size.seconds",
        Kind.INT,
        default=1,
        rule=at_least(1),
        importance=Importance.LOW,
        says="Length of such a window.",
    )
    controller_socket_timeout_ms: int = setting(
        "controller.socket.timeout.ms",
        Kind.INT,
        default=30_000,
        says="How long the controller waits for a broker's answer.",
    )
    create_topic_policy_class_name: str | None = setting(
        "create.topic.policy.class.name",
        Kind.CLASS,
        default=None,
        importance=Importance.LOW,
        says="A Java class, which this broker cannot run.",
    )
    default_replication_factor: int = setting(
        "default.replication.factor",
        Kind.INT,
        default=1,
        says="Replicas of a topic that is created without a number.",
    )
    delete_topic_enable: bool = setting(
        "delete.topic.enable",
        Kind.BOOLEAN,
        default=True,
        importance=Importance.HIGH,
        says="Whether topics can be deleted.",
    )
    inter_broker_protocol_version: str = setting(
        "inter.broker.protocol.version",
        Kind.STRING,
        default="3.9-IV0",
        rule=metadata_version,
        says="Version of the protocol that brokers speak to each other.",
    )
    leader_imbalance_check_interval_seconds: int = setting(
        "leader.imbalance.check.interval.seconds",
        Kind.LONG,
        default=300,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="How often leadership is compared with preference.",
    )
    leader_imbalance_per_broker_percentage: int = setting(
        "leader.imbalance.per.broker.percentage",
        Kind.INT,
        default=10,
        importance=Importance.HIGH,
        says="Share of leaderships out of place that is put up with.",
    )
    node_id: int = setting(
        "node.id",
        Kind.INT,
        default=-1,
        importance=Importance.HIGH,
        says="Same as broker.id where that says nothing.",
    )
    num_partitions: int = setting(
        "num.partitions",
        Kind.INT,
        default=1,
        rule=at_least(1),
        says="Partitions of a topic that is created without a number.",
    )
    num_replica_alter_log_dirs_threads: int | None = setting(
        "num.replica.alter.log.dirs.threads",
        Kind.INT,
        default=None,
        importance=Importance.HIGH,
        says="Moves between directories at the same time.",
    )
    num_replica_fetchers: int = setting(
        "num.replica.fetchers",
        Kind.INT,
        default=1,
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Connections used to follow one leader.",
    )
    quota_window_num: int = setting(
        "quota.window.num",
        Kind.INT,
        default=11,
        rule=at_least(1),
        importance=Importance.LOW,
        says="Windows that client quotas average over.",
    )
    quota_window_size_seconds: int = setting(
        "quota.window.size.seconds",
        Kind.INT,
        default=1,
        rule=at_least(1),
        importance=Importance.LOW,
        says="Length of such a window.",
    )
    replica_fetch_backoff_ms: int = setting(
        "replica.fetch.backoff.ms",
        Kind.INT,
        default=1_000,
        rule=at_least(0),
        says="How long a follower rests after a failed fetch.",
    )
    replica_fetch_max_bytes: int = setting(
        "replica.fetch.max.bytes",
        Kind.INT,
        default=1_048_576,
        rule=at_least(0),
        says="Bytes a follower asks for, of one partition.",
    )
    replica_fetch_min_bytes: int = setting(
        "replica.fetch.min.bytes",
        Kind.INT,
        default=1,
        importance=Importance.HIGH,
        says="Bytes a leader waits for before it answers a follower.",
    )
    replica_fetch_response_max_bytes: int = setting(
        "replica.fetch.response.max.bytes",
        Kind.INT,
        default=10_485_760,
        rule=at_least(0),
        says="Bytes a follower asks for, all partitions together.",
    )
    replica_fetch_wait_max_ms: int = setting(
        "replica.fetch.wait.max.ms",
        Kind.INT,
        default=500,
        importance=Importance.HIGH,
        says="How long a leader waits for them.",
    )
    replica_high_watermark_checkpoint_interval_ms: int = setting(
        "replica.high.watermark.checkpoint.interval.ms",
        Kind.LONG,
        default=5_000,
        importance=Importance.HIGH,
        says="How often high watermarks are written down.",
    )
    replica_lag_time_max_ms: int = setting(
        "replica.lag.time.max.ms",
        Kind.LONG,
        default=30_000,
        importance=Importance.HIGH,
        says="A follower behind for longer than this leaves the in-sync set.",
    )
    replica_selector_class: str | None = setting(
        "replica.selector.class",
        Kind.STRING,
        default=None,
        says="Java class that lets consumers read from followers.",
    )
    replica_socket_receive_buffer_bytes: int = setting(
        "replica.socket.receive.buffer.bytes",
        Kind.INT,
        default=65_536,
        importance=Importance.HIGH,
        says="Receive buffer of a follower's connection.",
    )
    replica_socket_timeout_ms: int = setting(
        "replica.socket.timeout.ms",
        Kind.INT,
        default=30_000,
        importance=Importance.HIGH,
        says="How long a follower waits for its leader.",
    )
    replication_quota_window_num: int = setting(
        "replication.quota.window.num",
        Kind.INT,
        default=11,
        rule=at_least(1),
        importance=Importance.LOW,
        says="Windows that replication throttles average over.",
    )
    replication_quota_window_size_seconds: int = setting(
        "replication.quota.window.size.seconds",
        Kind.INT,
        default=1,
        rule=at_least(1),
        importance=Importance.LOW,
        says="Length of such a window.",
    )
    reserved_broker_max_id: int = setting(
        "reserved.broker.max.id",
        Kind.INT,
        default=1_000,
        rule=at_least(0),
        says="Largest broker.id a person may give; generated ones are above.",
    )
    unclean_leader_election_interval_ms: int = setting(
        "unclean.leader.election.interval.ms",
        Kind.LONG,
        default=300_000,
        rule=at_least(1),
        internal=True,
        says="KRaft only: how often unclean elections are tried.",
    )
    zookeeper_connect: str | None = setting(
        "zookeeper.connect",
        Kind.STRING,
        default=None,
        importance=Importance.HIGH,
        says="ZooKeeper servers, host:port separated by commas, perhaps with a /path; none: the tree in the process.",
    )
    zookeeper_connection_timeout_ms: int | None = setting(
        "zookeeper.connection.timeout.ms",
        Kind.INT,
        default=None,
        importance=Importance.HIGH,
        says="How long to wait for ZooKeeper at the start; none means the session timeout.",
    )
    zookeeper_max_in_flight_requests: int = setting(
        "zookeeper.max.in.flight.requests",
        Kind.INT,
        default=10,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Requests sent to ZooKeeper before the first is answered.",
    )
    zookeeper_session_timeout_ms: int = setting(
        "zookeeper.session.timeout.ms",
        Kind.INT,
        default=18_000,
        importance=Importance.HIGH,
        says="ZooKeeper forgets a silent broker after this time.",
    )
    zookeeper_set_acl: bool = setting(
        "zookeeper.set.acl",
        Kind.BOOLEAN,
        default=False,
        importance=Importance.HIGH,
        says="Whether nodes may be written by this broker's user only.",
    )

    @property
    def has_zookeeper(self) -> bool:
        """Whether a ZooKeeper ensemble coordinates, rather than the tree in the process."""
        return bool(self.zookeeper_connect and self.zookeeper_connect.strip())
