"""Every key that Apache Kafka 3.9 knows, for those who ask for all of them; not imported when a broker starts.

``BrokerSettings`` states the keys that have a place here. The others follow below with Kafka's types, defaults and
modes, so that DescribeConfigs can list them and a properties file may name them; none of them has an effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.kinds import INT_MAX, LONG_MAX, Importance, Kind, Value
from pykafka_broker.config.rules import Rule, at_least, between, not_empty, one_of, some_of
from pykafka_broker.config.setting import Mode, Setting


def _row(
    key: str,
    kind: Kind,
    default: Value,
    rule: Rule | None = None,
    mode: Mode = Mode.READ_ONLY,
    importance: Importance = Importance.MEDIUM,
    internal: bool = False,
) -> Setting:
    return Setting(key, kind, default, rule, "", mode, importance, (), internal)


_GROUPS: tuple[tuple[str, tuple[Setting, ...]], ...] = (
    (
        "Belongs to KRaft; this broker is coordinated by ZooKeeper or by the tree in the process.",
        (
            _row("broker.heartbeat.interval.ms", Kind.INT, default=2_000),
            _row("broker.session.timeout.ms", Kind.INT, default=9_000),
            _row("controller.listener.names", Kind.STRING, default=None, importance=Importance.HIGH),
            _row("controller.quorum.append.linger.ms", Kind.INT, default=25),
            _row("controller.quorum.bootstrap.servers", Kind.LIST, default=(), importance=Importance.HIGH),
            _row("controller.quorum.election.backoff.max.ms", Kind.INT, default=1_000, importance=Importance.HIGH),
            _row("controller.quorum.election.timeout.ms", Kind.INT, default=1_000, importance=Importance.HIGH),
            _row("controller.quorum.fetch.timeout.ms", Kind.INT, default=2_000, importance=Importance.HIGH),
            _row("controller.quorum.request.timeout.ms", Kind.INT, default=2_000),
            _row("controller.quorum.retry.backoff.ms", Kind.INT, default=20, importance=Importance.LOW),
            _row("controller.quorum.voters", Kind.LIST, default=(), importance=Importance.HIGH),
            _row("early.start.listeners", Kind.STRING, default=None, importance=Importance.HIGH),
            _row("eligible.leader.replicas.enable", Kind.BOOLEAN, default=False, importance=Importance.HIGH),
            _row("initial.broker.registration.timeout.ms", Kind.INT, default=60_000),
            _row("metadata.log.dir", Kind.STRING, default=None, importance=Importance.HIGH),
            _row(
                "metadata.log.max.record.bytes.between.snapshots",
                Kind.LONG,
                default=20_971_520,
                rule=at_least(1),
                importance=Importance.HIGH,
            ),
            _row(
                "metadata.log.max.snapshot.interval.ms",
                Kind.LONG,
                default=3_600_000,
                rule=at_least(0),
                importance=Importance.HIGH,
            ),
            _row(
                "metadata.log.segment.bytes",
                Kind.INT,
                default=1_073_741_824,
                rule=at_least(12),
                importance=Importance.HIGH,
            ),
            _row(
                "metadata.log.segment.min.bytes",
                Kind.INT,
                default=8_388_608,
                rule=at_least(12),
                importance=Importance.HIGH,
                internal=True,
            ),
            _row("metadata.log.segment.ms", Kind.LONG, default=604_800_000, importance=Importance.HIGH),
            _row("metadata.max.idle.interval.ms", Kind.INT, default=500, rule=at_least(0), importance=Importance.LOW),
            _row("metadata.max.retention.bytes", Kind.LONG, default=104_857_600, importance=Importance.HIGH),
            _row("metadata.max.retention.ms", Kind.LONG, default=604_800_000, importance=Importance.HIGH),
            _row(
                "process.roles", Kind.LIST, default=(), rule=some_of("broker", "controller"), importance=Importance.HIGH
            ),
            _row("sasl.mechanism.controller.protocol", Kind.STRING, default="GSSAPI", importance=Importance.HIGH),
            _row("server.max.startup.time.ms", Kind.LONG, default=LONG_MAX, rule=at_least(0), internal=True),
            _row(
                "unstable.api.versions.enable", Kind.BOOLEAN, default=False, importance=Importance.HIGH, internal=True
            ),
            _row(
                "unstable.feature.versions.enable",
                Kind.BOOLEAN,
                default=False,
                importance=Importance.HIGH,
                internal=True,
            ),
            _row("zookeeper.metadata.migration.enable", Kind.BOOLEAN, default=False, importance=Importance.HIGH),
            _row("zookeeper.metadata.migration.min.batch.size", Kind.INT, default=200, rule=at_least(1), internal=True),
        ),
    ),
    (
        "Belongs to the consumer and share group protocols, which need KRaft in Kafka 3.9.",
        (
            _row(
                "group.consumer.assignors",
                Kind.LIST,
                default=(
                    "org.apache.kafka.coordinator.group.assignor.UniformAssignor",
                    "org.apache.kafka.coordinator.group.assignor.RangeAssignor",
                ),
            ),
            _row("group.consumer.heartbeat.interval.ms", Kind.INT, default=5_000, rule=at_least(1)),
            _row("group.consumer.max.heartbeat.interval.ms", Kind.INT, default=15_000, rule=at_least(1)),
            _row("group.consumer.max.session.timeout.ms", Kind.INT, default=60_000, rule=at_least(1)),
            _row("group.consumer.max.size", Kind.INT, default=INT_MAX, rule=at_least(1)),
            _row("group.consumer.migration.policy", Kind.STRING, default="disabled", internal=True),
            _row("group.consumer.min.heartbeat.interval.ms", Kind.INT, default=5_000, rule=at_least(1)),
            _row("group.consumer.min.session.timeout.ms", Kind.INT, default=45_000, rule=at_least(1)),
            _row("group.consumer.session.timeout.ms", Kind.INT, default=45_000, rule=at_least(1)),
            _row("group.coordinator.append.linger.ms", Kind.INT, default=10, rule=at_least(0)),
            _row("group.coordinator.new.enable", Kind.BOOLEAN, default=False, internal=True),
            _row("group.coordinator.threads", Kind.INT, default=1, rule=at_least(1)),
            _row("group.share.delivery.count.limit", Kind.INT, default=5, rule=between(2, 10)),
            _row("group.share.enable", Kind.BOOLEAN, default=False, internal=True),
            _row("group.share.heartbeat.interval.ms", Kind.INT, default=5_000, rule=at_least(1)),
            _row("group.share.max.groups", Kind.SHORT, default=10, rule=between(1, 100)),
            _row("group.share.max.heartbeat.interval.ms", Kind.INT, default=15_000, rule=at_least(1)),
            _row("group.share.max.record.lock.duration.ms", Kind.INT, default=60_000, rule=between(30_000, 3_600_000)),
            _row("group.share.max.session.timeout.ms", Kind.INT, default=60_000, rule=at_least(1)),
            _row("group.share.max.size", Kind.SHORT, default=200, rule=between(10, 1_000)),
            _row("group.share.min.heartbeat.interval.ms", Kind.INT, default=5_000, rule=at_least(1)),
            _row("group.share.min.record.lock.duration.ms", Kind.INT, default=15_000, rule=between(1_000, 30_000)),
            _row("group.share.min.session.timeout.ms", Kind.INT, default=45_000, rule=at_least(1)),
            _row("group.share.partition.max.record.locks", Kind.INT, default=200, rule=between(100, 10_000)),
            _row("group.share.record.lock.duration.ms", Kind.INT, default=30_000, rule=between(1_000, 60_000)),
            _row("group.share.session.timeout.ms", Kind.INT, default=45_000, rule=at_least(1)),
        ),
    ),
    (
        "Belongs to tiered storage.",
        (
            _row("remote.fetch.max.wait.ms", Kind.INT, default=500, rule=at_least(1), mode=Mode.CLUSTER_WIDE),
            _row(
                "remote.log.index.file.cache.total.size.bytes",
                Kind.LONG,
                default=1_073_741_824,
                rule=at_least(1),
                mode=Mode.CLUSTER_WIDE,
                importance=Importance.LOW,
            ),
            _row("remote.log.manager.copier.thread.pool.size", Kind.INT, default=-1),
            _row(
                "remote.log.manager.copy.max.bytes.per.second",
                Kind.LONG,
                default=LONG_MAX,
                rule=at_least(1),
                mode=Mode.CLUSTER_WIDE,
            ),
            _row("remote.log.manager.copy.quota.window.num", Kind.INT, default=11, rule=at_least(1)),
            _row("remote.log.manager.copy.quota.window.size.seconds", Kind.INT, default=1, rule=at_least(1)),
            _row("remote.log.manager.expiration.thread.pool.size", Kind.INT, default=-1),
            _row(
                "remote.log.manager.fetch.max.bytes.per.second",
                Kind.LONG,
                default=LONG_MAX,
                rule=at_least(1),
                mode=Mode.CLUSTER_WIDE,
            ),
            _row("remote.log.manager.fetch.quota.window.num", Kind.INT, default=11, rule=at_least(1)),
            _row("remote.log.manager.fetch.quota.window.size.seconds", Kind.INT, default=1, rule=at_least(1)),
            _row(
                "remote.log.manager.task.interval.ms",
                Kind.LONG,
                default=30_000,
                rule=at_least(1),
                importance=Importance.LOW,
            ),
            _row(
                "remote.log.manager.task.retry.backoff.max.ms",
                Kind.LONG,
                default=30_000,
                rule=at_least(1),
                importance=Importance.LOW,
                internal=True,
            ),
            _row(
                "remote.log.manager.task.retry.backoff.ms",
                Kind.LONG,
                default=500,
                rule=at_least(1),
                importance=Importance.LOW,
                internal=True,
            ),
            _row(
                "remote.log.manager.task.retry.jitter",
                Kind.DOUBLE,
                default=0.2,
                rule=between(0, 0.5),
                importance=Importance.LOW,
                internal=True,
            ),
            _row("remote.log.manager.thread.pool.size", Kind.INT, default=10, rule=at_least(1)),
            _row(
                "remote.log.metadata.custom.metadata.max.bytes",
                Kind.INT,
                default=128,
                rule=at_least(0),
                importance=Importance.LOW,
            ),
            _row(
                "remote.log.metadata.manager.class.name",
                Kind.STRING,
                default="org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager",
                rule=not_empty,
            ),
            _row("remote.log.metadata.manager.class.path", Kind.STRING, default=None),
            _row("remote.log.metadata.manager.impl.prefix", Kind.STRING, default="rlmm.config.", rule=not_empty),
            _row("remote.log.metadata.manager.listener.name", Kind.STRING, default=None, rule=not_empty),
            _row("remote.log.reader.max.pending.tasks", Kind.INT, default=100, rule=at_least(1)),
            _row("remote.log.reader.threads", Kind.INT, default=10, rule=at_least(1)),
            _row("remote.log.storage.manager.class.name", Kind.STRING, default=None, rule=not_empty),
            _row("remote.log.storage.manager.class.path", Kind.STRING, default=None),
            _row("remote.log.storage.manager.impl.prefix", Kind.STRING, default="rsm.config.", rule=not_empty),
            _row("remote.log.storage.system.enable", Kind.BOOLEAN, default=False),
        ),
    ),
    (
        "Belongs to JMX and Java metrics reporters.",
        (
            _row("auto.include.jmx.reporter", Kind.BOOLEAN, default=True, importance=Importance.LOW),
            _row(
                "kafka.metrics.polling.interval.secs", Kind.INT, default=10, rule=at_least(1), importance=Importance.LOW
            ),
            _row("kafka.metrics.reporters", Kind.LIST, default=(), importance=Importance.LOW),
            _row("metric.reporters", Kind.LIST, default=(), mode=Mode.CLUSTER_WIDE, importance=Importance.LOW),
            _row("metrics.num.samples", Kind.INT, default=2, rule=at_least(1), importance=Importance.LOW),
            _row("metrics.recording.level", Kind.STRING, default="INFO", importance=Importance.LOW),
            _row("metrics.sample.window.ms", Kind.LONG, default=30_000, rule=at_least(1), importance=Importance.LOW),
            _row("telemetry.max.bytes", Kind.INT, default=1_048_576, rule=at_least(1), importance=Importance.LOW),
        ),
    ),
    (
        "Belongs to Kafka's purgatory; requests that wait are loops here and leave nothing to purge.",
        (
            _row("delete.records.purgatory.purge.interval.requests", Kind.INT, default=1),
            _row("fetch.purgatory.purge.interval.requests", Kind.INT, default=1_000),
            _row("producer.purgatory.purge.interval.requests", Kind.INT, default=1_000),
        ),
    ),
    (
        "Names Java classes or providers, which this broker cannot run.",
        (
            _row("sasl.client.callback.handler.class", Kind.CLASS, default=None),
            _row("sasl.login.callback.handler.class", Kind.CLASS, default=None),
            _row("sasl.login.class", Kind.CLASS, default=None),
            _row("sasl.server.callback.handler.class", Kind.CLASS, default=None),
            _row("security.providers", Kind.STRING, default=None, importance=Importance.LOW),
            _row("ssl.engine.factory.class", Kind.CLASS, default=None, mode=Mode.PER_BROKER, importance=Importance.LOW),
            _row("ssl.keymanager.algorithm", Kind.STRING, default="SunX509", mode=Mode.PER_BROKER),
            _row("ssl.provider", Kind.STRING, default=None, mode=Mode.PER_BROKER),
            _row(
                "ssl.secure.random.implementation",
                Kind.STRING,
                default=None,
                mode=Mode.PER_BROKER,
                importance=Importance.LOW,
            ),
            _row("ssl.trustmanager.algorithm", Kind.STRING, default="PKIX", mode=Mode.PER_BROKER),
        ),
    ),
    (
        "Belongs to Kerberos (SASL GSSAPI).",
        (
            _row("sasl.kerberos.kinit.cmd", Kind.STRING, default="/usr/bin/kinit", mode=Mode.PER_BROKER),
            _row("sasl.kerberos.min.time.before.relogin", Kind.LONG, default=60_000, mode=Mode.PER_BROKER),
            _row("sasl.kerberos.principal.to.local.rules", Kind.LIST, default=("DEFAULT",), mode=Mode.PER_BROKER),
            _row("sasl.kerberos.service.name", Kind.STRING, default=None, mode=Mode.PER_BROKER),
            _row("sasl.kerberos.ticket.renew.jitter", Kind.DOUBLE, default=0.05, mode=Mode.PER_BROKER),
            _row("sasl.kerberos.ticket.renew.window.factor", Kind.DOUBLE, default=0.8, mode=Mode.PER_BROKER),
        ),
    ),
    (
        "Belongs to OAuth (SASL OAUTHBEARER).",
        (
            _row("sasl.login.connect.timeout.ms", Kind.INT, default=None, importance=Importance.LOW),
            _row("sasl.login.read.timeout.ms", Kind.INT, default=None, importance=Importance.LOW),
            _row("sasl.login.refresh.buffer.seconds", Kind.SHORT, default=300, mode=Mode.PER_BROKER),
            _row("sasl.login.refresh.min.period.seconds", Kind.SHORT, default=60, mode=Mode.PER_BROKER),
            _row("sasl.login.refresh.window.factor", Kind.DOUBLE, default=0.8, mode=Mode.PER_BROKER),
            _row("sasl.login.refresh.window.jitter", Kind.DOUBLE, default=0.05, mode=Mode.PER_BROKER),
            _row("sasl.login.retry.backoff.max.ms", Kind.LONG, default=10_000, importance=Importance.LOW),
            _row("sasl.login.retry.backoff.ms", Kind.LONG, default=100, importance=Importance.LOW),
            _row("sasl.oauthbearer.clock.skew.seconds", Kind.INT, default=30, importance=Importance.LOW),
            _row("sasl.oauthbearer.expected.audience", Kind.LIST, default=None, importance=Importance.LOW),
            _row("sasl.oauthbearer.expected.issuer", Kind.STRING, default=None, importance=Importance.LOW),
            _row("sasl.oauthbearer.jwks.endpoint.refresh.ms", Kind.LONG, default=3_600_000, importance=Importance.LOW),
            _row(
                "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
                Kind.LONG,
                default=10_000,
                importance=Importance.LOW,
            ),
            _row("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Kind.LONG, default=100, importance=Importance.LOW),
            _row("sasl.oauthbearer.jwks.endpoint.url", Kind.STRING, default=None),
            _row("sasl.oauthbearer.scope.claim.name", Kind.STRING, default="scope", importance=Importance.LOW),
            _row("sasl.oauthbearer.sub.claim.name", Kind.STRING, default="sub", importance=Importance.LOW),
            _row("sasl.oauthbearer.token.endpoint.url", Kind.STRING, default=None),
        ),
    ),
    (
        "Belongs to TLS listeners.",
        (
            _row("ssl.allow.dn.changes", Kind.BOOLEAN, default=False, importance=Importance.LOW),
            _row("ssl.allow.san.changes", Kind.BOOLEAN, default=False, importance=Importance.LOW),
            _row("ssl.cipher.suites", Kind.LIST, default=(), mode=Mode.PER_BROKER),
            _row(
                "ssl.client.auth",
                Kind.STRING,
                default="none",
                rule=one_of("required", "requested", "none"),
                mode=Mode.PER_BROKER,
            ),
            _row(
                "ssl.enabled.protocols",
                Kind.LIST,
                default=(
                    "TLSv1.2",
                    "TLSv1.3",
                ),
                mode=Mode.PER_BROKER,
            ),
            _row(
                "ssl.endpoint.identification.algorithm",
                Kind.STRING,
                default="https",
                mode=Mode.PER_BROKER,
                importance=Importance.LOW,
            ),
            _row("ssl.key.password", Kind.PASSWORD, default=None, mode=Mode.PER_BROKER),
            _row("ssl.keystore.certificate.chain", Kind.PASSWORD, default=None, mode=Mode.PER_BROKER),
            _row("ssl.keystore.key", Kind.PASSWORD, default=None, mode=Mode.PER_BROKER),
            _row("ssl.keystore.location", Kind.STRING, default=None, mode=Mode.PER_BROKER),
            _row("ssl.keystore.password", Kind.PASSWORD, default=None, mode=Mode.PER_BROKER),
            _row("ssl.keystore.type", Kind.STRING, default="JKS", mode=Mode.PER_BROKER),
            _row("ssl.principal.mapping.rules", Kind.STRING, default="DEFAULT", importance=Importance.LOW),
            _row("ssl.protocol", Kind.STRING, default="TLSv1.3", mode=Mode.PER_BROKER),
            _row("ssl.truststore.certificates", Kind.PASSWORD, default=None, mode=Mode.PER_BROKER),
            _row("ssl.truststore.location", Kind.STRING, default=None, mode=Mode.PER_BROKER),
            _row("ssl.truststore.password", Kind.PASSWORD, default=None, mode=Mode.PER_BROKER),
            _row("ssl.truststore.type", Kind.STRING, default="JKS", mode=Mode.PER_BROKER),
        ),
    ),
    (
        "Belongs to TLS towards ZooKeeper.",
        (
            _row("zookeeper.ssl.cipher.suites", Kind.LIST, default=None, importance=Importance.LOW),
            _row("zookeeper.ssl.crl.enable", Kind.BOOLEAN, default=False, importance=Importance.LOW),
            _row("zookeeper.ssl.ocsp.enable", Kind.BOOLEAN, default=False, importance=Importance.LOW),
        ),
    ),
    (
        "Belongs to connections between brokers.",
        (
            _row("socket.connection.setup.timeout.max.ms", Kind.LONG, default=30_000),
            _row("socket.connection.setup.timeout.ms", Kind.LONG, default=10_000),
        ),
    ),
    (
        "Former name of delegation.token.secret.key.",
        (_row("delegation.token.master.key", Kind.PASSWORD, default=None),),
    ),
)


def _without_effect() -> dict[str, Setting]:
    found = {}
    for says, definitions in _GROUPS:
        for definition in definitions:
            definition.says = says
            found[definition.key] = definition
    return found


WITHOUT_EFFECT: Mapping[str, Setting] = MappingProxyType(_without_effect())
"""Keys that this broker knows by name only."""

ALL: Mapping[str, Setting] = MappingProxyType(dict(sorted({**BrokerSettings.SETTINGS, **WITHOUT_EFFECT}.items())))
"""All broker keys of Kafka 3.9, in order; those that are ``internal`` are not listed by DescribeConfigs."""
