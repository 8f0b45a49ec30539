"""Settings of a broker checked against each other, with the sentences of Kafka's ``KafkaConfig.validateValues``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.listeners import ListenerError, read_listeners


class Broken(NamedTuple):
    """A demand that the settings do not meet; ``key`` is where to look first."""

    key: str
    says: str
    is_requirement: bool = True
    """Whether Kafka puts ``requirement failed:`` before it."""


class _Demand(NamedTuple):
    key: str
    says: str
    holds: Callable[[BrokerSettings], bool]
    is_requirement: bool = True


_DEMANDS = (
    _Demand(
        "broker.id",
        "broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id",
        lambda s: not s.broker_id_generation_enable or -1 <= s.broker_id <= s.reserved_broker_max_id,
    ),
    _Demand(
        "broker.id",
        "broker.id must be greater than or equal to 0",
        lambda s: s.broker_id_generation_enable or s.broker_id >= 0,
    ),
    _Demand("log.roll.ms", "log.roll.ms must be greater than or equal to 1", lambda s: s.roll_time_ms >= 1),
    _Demand(
        "log.roll.jitter.ms",
        "log.roll.jitter.ms must be greater than or equal to 0",
        lambda s: s.roll_jitter_time_ms >= 0,
    ),
    _Demand(
        "log.retention.ms",
        "log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
        lambda s: s.retention_time_ms >= 1 or s.retention_time_ms == -1,
    ),
    _Demand(
        "log.dirs",
        "At least one log directory must be defined via log.dirs or log.dir.",
        lambda s: bool(s.directories),
    ),
    _Demand(
        "log.cleaner.threads",
        "log.cleaner.threads must be at least 1; log.cleaner.enable=false switches the cleaner off",
        lambda s: s.log_cleaner_threads >= 1,
        is_requirement=False,
    ),
    _Demand(
        "log.cleaner.dedupe.buffer.size",
        "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
        lambda s: s.log_cleaner_dedupe_buffer_size // max(1, s.log_cleaner_threads) > 1024 * 1024,
    ),
    _Demand(
        "replica.socket.timeout.ms",
        "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket "
        "timeouts",
        lambda s: s.replica_fetch_wait_max_ms <= s.replica_socket_timeout_ms,
    ),
    _Demand(
        "replica.fetch.wait.max.ms",
        "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent "
        "changes in ISR",
        lambda s: s.replica_fetch_wait_max_ms <= s.replica_lag_time_max_ms,
    ),
    _Demand(
        "offsets.commit.required.acks",
        "offsets.commit.required.acks must be greater or equal to -1 and less or equal to "
        "offsets.topic.replication.factor",
        lambda s: -1 <= s.offsets_commit_required_acks <= s.offsets_topic_replication_factor,
        is_requirement=False,
    ),
    _Demand(
        "offsets.topic.compression.codec",
        "offsets.topic.compression.codec must be a number from 0 (none) to 4 (zstd)",
        lambda s: 0 <= s.offsets_topic_compression_codec <= 4,
        is_requirement=False,
    ),
    _Demand(
        "queued.max.request.bytes",
        "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
        lambda s: s.queued_max_request_bytes <= 0 or s.queued_max_request_bytes >= s.socket_request_max_bytes,
    ),
    _Demand(
        "max.connections.per.ip",
        "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
        lambda s: s.max_connections_per_ip != 0 or bool(s.max_connections_per_ip_overrides),
    ),
    _Demand(
        "group.coordinator.rebalance.protocols",
        "Disabling the 'classic' protocol is not supported.",
        lambda s: "classic" in s.group_coordinator_rebalance_protocols,
        is_requirement=False,
    ),
    _Demand(
        "group.coordinator.rebalance.protocols",
        "The new 'consumer' rebalance protocol is only supported in KRaft cluster.",
        lambda s: "consumer" not in s.group_coordinator_rebalance_protocols,
        is_requirement=False,
    ),
)


def broken_demands(settings: BrokerSettings) -> Iterator[Broken]:
    """Everything that is wrong with the settings as a whole."""
    for demand in _DEMANDS:
        if not demand.holds(settings):
            yield Broken(demand.key, demand.says, demand.is_requirement)
    idle, delay = settings.connections_max_idle_ms, settings.connection_failed_authentication_delay_ms
    if idle >= 0 and delay >= idle:
        yield Broken(
            "connection.failed.authentication.delay.ms",
            f"connection.failed.authentication.delay.ms={delay} should always be less than "
            f"connections.max.idle.ms={idle} to prevent failed authentication responses from timing out",
        )
    try:
        read_address_limits(settings.max_connections_per_ip_overrides)
    except ValueError as error:
        yield Broken("max.connections.per.ip.overrides", str(error), is_requirement=False)
    try:
        read_listeners(settings)
    except ListenerError as error:
        yield Broken(error.key, str(error), error.is_requirement)


def read_address_limits(text: str) -> dict[str, int]:
    """``max.connections.per.ip.overrides``: the limit of each address or host name."""
    key = "max.connections.per.ip.overrides"
    found: dict[str, int] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        address, colon, limit = pair.rpartition(":")
        if not colon or not limit.strip().isdigit():
            raise ValueError(f"{pair} is not of the form address:number")
        if not all(character.isalnum() or character in "-%._:" for character in address.strip()):
            raise ValueError(f"{key} contains invalid addresses : {address.strip()}")
        found[address.strip()] = int(limit)
    return found
