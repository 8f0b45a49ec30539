"""Which keys have an effect, and in which room of this program: the one place that says so.

``pykafka-broker start`` warns of a key that stands in no table here, and ``docs/configuration.md`` is written from
them. A test looks every field up in the room named for it, so nothing is promised that nobody reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pykafka_broker.config.topic import TopicSettings


def _rooms(**keys: str) -> Mapping[str, str]:
    return MappingProxyType({key: room for room, text in keys.items() for key in text.split()})


TOPIC_KEYS = _rooms(
    log="""
        cleanup.policy compression.gzip.level compression.lz4.level compression.type compression.zstd.level
        delete.retention.ms file.delete.delay.ms flush.messages index.interval.bytes max.compaction.lag.ms
        max.message.bytes message.timestamp.after.max.ms message.timestamp.before.max.ms
        message.timestamp.difference.max.ms message.timestamp.type min.cleanable.dirty.ratio min.compaction.lag.ms
        preallocate
        retention.bytes retention.ms segment.bytes segment.index.bytes segment.jitter.ms segment.ms
    """,
    runtime="""
        flush.ms follower.replication.throttled.replicas leader.replication.throttled.replicas min.insync.replicas
    """,
    api="message.downconversion.enable",
    app="unclean.leader.election.enable",
)
"""A topic's key to the room that reads it; the broker's key behind it holds for topics that are silent."""

BROKER_KEYS = _rooms(
    app="""
        advertised.listeners auto.create.topics.enable background.threads broker.id broker.id.generation.enable
        broker.rack
        connections.max.idle.ms fetch.max.bytes inter.broker.listener.name listener.security.protocol.map listeners
        log.dir log.dirs max.connections max.connections.per.ip max.connections.per.ip.overrides
        max.incremental.fetch.session.cache.slots node.id num.replica.alter.log.dirs.threads offsets.commit.timeout.ms
        offsets.load.buffer.size
        offsets.topic.compression.codec reserved.broker.max.id security.inter.broker.protocol socket.listen.backlog.size
        replica.lag.time.max.ms replica.selector.class socket.receive.buffer.bytes socket.request.max.bytes
        socket.send.buffer.bytes
    """,
    control="""
        auto.leader.rebalance.enable default.replication.factor delete.topic.enable
        leader.imbalance.check.interval.seconds leader.imbalance.per.broker.percentage
    """,
    group="""
        group.initial.rebalance.delay.ms group.max.session.timeout.ms group.max.size group.min.session.timeout.ms
        offset.metadata.max.bytes offsets.retention.check.interval.ms offsets.retention.minutes
    """,
    houses="""
        zookeeper.connect zookeeper.connection.timeout.ms zookeeper.max.in.flight.requests zookeeper.session.timeout.ms
        zookeeper.set.acl
    """,
    log="""
        replica.fetch.backoff.ms replica.fetch.max.bytes replica.fetch.min.bytes replica.fetch.response.max.bytes
        replica.fetch.wait.max.ms
    """,
    neighbours="""
        controlled.shutdown.enable controlled.shutdown.max.retries controlled.shutdown.retry.backoff.ms
        controller.socket.timeout.ms num.replica.fetchers replica.socket.timeout.ms
    """,
    runtime="""
        alter.log.dirs.replication.quota.window.num alter.log.dirs.replication.quota.window.size.seconds
        log.cleaner.backoff.ms log.cleaner.dedupe.buffer.size log.cleaner.enable log.cleaner.io.buffer.load.factor
        log.cleaner.io.max.bytes.per.second log.cleaner.threads
        log.flush.offset.checkpoint.interval.ms log.flush.scheduler.interval.ms
        log.flush.start.offset.checkpoint.interval.ms log.initial.task.delay.ms log.retention.check.interval.ms
        num.partitions num.recovery.threads.per.data.dir
        offsets.topic.num.partitions offsets.topic.replication.factor offsets.topic.segment.bytes
        producer.id.expiration.ms replica.high.watermark.checkpoint.interval.ms
        replication.quota.window.num replication.quota.window.size.seconds transaction.state.log.min.isr
        transaction.state.log.num.partitions transaction.state.log.replication.factor
        transaction.state.log.segment.bytes
    """,
    zk="""
        zookeeper.clientCnxnSocket zookeeper.ssl.client.enable zookeeper.ssl.enabled.protocols
        zookeeper.ssl.endpoint.identification.algorithm zookeeper.ssl.keystore.location
        zookeeper.ssl.keystore.password zookeeper.ssl.keystore.type zookeeper.ssl.protocol
        zookeeper.ssl.truststore.location zookeeper.ssl.truststore.type
    """,
)
"""A broker's key to the room that reads it."""

SUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        **{synonym: room for key, room in TOPIC_KEYS.items() for synonym in TopicSettings.SETTINGS[key].synonyms},
        **BROKER_KEYS,
    }
)
"""Every key of a broker that has an effect, and the room that reads it."""

ACCEPTED = frozenset(
    (
        "log.cleaner.io.buffer.size",
        "log.message.format.version",
        "num.io.threads",
        "num.network.threads",
        "offsets.commit.required.acks",
        "queued.max.request.bytes",
        "queued.max.requests",
        "transaction.state.log.load.buffer.size",
        "zookeeper.ssl.truststore.password",
    )
)
"""Keys that tune something which this broker does not have; any value is right, and no warning is due."""
