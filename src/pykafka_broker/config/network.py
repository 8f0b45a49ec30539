"""The settings of listeners, connections and requests; ``listeners`` takes the addresses apart."""

from __future__ import annotations

from pykafka_broker.config.kinds import INT_MAX, Kind
from pykafka_broker.config.rules import at_least, one_of
from pykafka_broker.config.setting import Importance, Mode, Section, setting


class NetworkSettings(Section):
    """Where the broker listens and what a client may cost."""

    advertised_listeners: str | None = setting(
        "advertised.listeners",
        Kind.STRING,
        default=None,
        mode=Mode.PER_BROKER,
        importance=Importance.HIGH,
        says="Where clients are told to connect; as listeners if it says nothing.",
    )
    connection_failed_authentication_delay_ms: int = setting(
        "connection.failed.authentication.delay.ms",
        Kind.INT,
        default=100,
        rule=at_least(0),
        importance=Importance.LOW,
        says="How long a refused client waits for its connection to close.",
    )
    connections_max_idle_ms: int = setting(
        "connections.max.idle.ms",
        Kind.LONG,
        default=600_000,
        says="A connection silent for this long is closed.",
    )
    connections_max_reauth_ms: int = setting(
        "connections.max.reauth.ms",
        Kind.LONG,
        default=0,
        says="A SASL session ends after this time unless renewed; 0 has no limit.",
    )
    control_plane_listener_name: str | None = setting(
        "control.plane.listener.name",
        Kind.STRING,
        default=None,
        importance=Importance.HIGH,
        says="Listener set apart for the controller's requests.",
    )
    fetch_max_bytes: int = setting(
        "fetch.max.bytes",
        Kind.INT,
        default=57_671_680,
        rule=at_least(1_024),
        says="Most bytes in one fetch response, whatever the consumer asks for.",
    )
    inter_broker_listener_name: str | None = setting(
        "inter.broker.listener.name",
        Kind.STRING,
        default=None,
        says="Listener that other brokers connect to.",
    )
    listener_security_protocol_map: str = setting(
        "listener.security.protocol.map",
        Kind.STRING,
        default="SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
        mode=Mode.PER_BROKER,
        importance=Importance.LOW,
        says="Security protocol of each listener name.",
    )
    listeners: str = setting(
        "listeners",
        Kind.STRING,
        default="PLAINTEXT://:9092",
        mode=Mode.PER_BROKER,
        importance=Importance.HIGH,
        says="Where the broker listens: NAME://host:port, separated by commas; port 0 takes a free one.",
    )
    max_connection_creation_rate: int = setting(
        "max.connection.creation.rate",
        Kind.INT,
        default=INT_MAX,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="Most new connections a second.",
    )
    max_connections: int = setting(
        "max.connections",
        Kind.INT,
        default=INT_MAX,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="Most connections at a time.",
    )
    max_connections_per_ip: int = setting(
        "max.connections.per.ip",
        Kind.INT,
        default=INT_MAX,
        rule=at_least(0),
        mode=Mode.CLUSTER_WIDE,
        says="Most connections at a time from one address.",
    )
    max_connections_per_ip_overrides: str = setting(
        "max.connections.per.ip.overrides",
        Kind.STRING,
        default="",
        mode=Mode.CLUSTER_WIDE,
        says="Other limits for some addresses or host names: name:number, separated by commas.",
    )
    max_incremental_fetch_session_cache_slots: int = setting(
        "max.incremental.fetch.session.cache.slots",
        Kind.INT,
        default=1_000,
        rule=at_least(0),
        says="Fetch sessions kept (KIP-227).",
    )
    max_request_partition_size_limit: int = setting(
        "max.request.partition.size.limit",
        Kind.INT,
        default=2_000,
        rule=at_least(1),
        says="Most partitions in one DescribeTopicPartitions response.",
    )
    num_io_threads: int = setting(
        "num.io.threads",
        Kind.INT,
        default=8,
        rule=at_least(1),
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Accepted and ignored; requests are answered on one event loop.",
    )
    num_network_threads: int = setting(
        "num.network.threads",
        Kind.INT,
        default=3,
        rule=at_least(1),
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.HIGH,
        says="Accepted and ignored; connections are served on one event loop.",
    )
    queued_max_request_bytes: int = setting(
        "queued.max.request.bytes",
        Kind.LONG,
        default=-1,
        says="Accepted and ignored; one request of a connection is read at a time.",
    )
    queued_max_requests: int = setting(
        "queued.max.requests",
        Kind.INT,
        default=500,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Accepted and ignored; one request of a connection is read at a time.",
    )
    request_timeout_ms: int = setting(
        "request.timeout.ms",
        Kind.INT,
        default=30_000,
        importance=Importance.HIGH,
        says="How long the broker waits for an answer to a request of its own.",
    )
    security_inter_broker_protocol: str = setting(
        "security.inter.broker.protocol",
        Kind.STRING,
        default="PLAINTEXT",
        rule=one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
        says="Security protocol between brokers, where no listener is named for it.",
    )
    socket_listen_backlog_size: int = setting(
        "socket.listen.backlog.size",
        Kind.INT,
        default=50,
        rule=at_least(1),
        says="Connections the system may hold before they are accepted.",
    )
    socket_receive_buffer_bytes: int = setting(
        "socket.receive.buffer.bytes",
        Kind.INT,
        default=102_400,
        importance=Importance.HIGH,
        says="Receive buffer of a connection; if it is -1, or not set, the system chooses.",
    )
    socket_request_max_bytes: int = setting(
        "socket.request.max.bytes",
        Kind.INT,
        default=104_857_600,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Largest request that is read.",
    )
    socket_send_buffer_bytes: int = setting(
        "socket.send.buffer.bytes",
        Kind.INT,
        default=102_400,
        importance=Importance.HIGH,
        says="Send buffer of a connection; -1: the system chooses. If it is not set, 200000 are used.",
    )
