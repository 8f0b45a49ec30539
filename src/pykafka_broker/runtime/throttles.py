"""Holding replication back (KIP-73), so that moving replicas leaves room for clients.

A throttle has a rate, which an operator sets while the broker runs, and replicas that it holds for, which topics name.
It only says when enough has moved; those who move records ask it, and leave a partition alone for a while. Replicas in
sync are never held back, which is for those who ask to heed, but what they move counts.
"""

from __future__ import annotations

from collections.abc import Callable

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.kinds import LONG_MAX
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.log.throttle import Throttle
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.dynamic_configs import DynamicConfigs
from pykafka_broker.security.quota import WindowedRate

LEADER_RATE = "leader.replication.throttled.rate"
FOLLOWER_RATE = "follower.replication.throttled.rate"
MOVE_RATE = "replica.alter.log.dirs.io.max.bytes.per.second"

_ALL = "*"


class _Bounded:
    """No more than the operator allows, in bytes a second; every partition counts (``ReplicationQuotaManager``)."""

    def __init__(self, key: str, configs: DynamicConfigs, clock: Clock, rate: WindowedRate) -> None:
        self._key = key
        self._configs = configs
        self._clock = clock
        self._rate = rate
        self._bound = LONG_MAX
        configs.on_broker.append(self._heed_broker)
        self._heed_broker(configs.broker)

    def _heed_broker(self, _: BrokerSettings) -> None:
        overrides = self._configs.overrides
        text = overrides.broker_texts.get(self._key, overrides.default_texts.get(self._key))
        self._bound = LONG_MAX if text is None else int(text)

    def holds_back(self, partition: TopicPartition) -> bool:
        return self._bound != LONG_MAX and self._rate.is_exceeded(self._clock(), self._bound)

    def moved(self, partition: TopicPartition, size_bytes: int) -> None:
        self._rate.record(self._clock(), size_bytes)


class _OfReplicas(_Bounded):
    """The same for those replicas on this broker that their topics name."""

    def __init__(
        self,
        key: str,
        configs: DynamicConfigs,
        clock: Clock,
        me: BrokerId,
        replicas: Callable[[TopicSettings], tuple[str, ...]],
    ) -> None:
        broker = configs.broker
        rate = WindowedRate(broker.replication_quota_window_num, broker.replication_quota_window_size_seconds * 1000)
        super().__init__(key, configs, clock, rate)
        self._me = me
        self._replicas = replicas
        self._throttled: dict[str, frozenset[int] | None] = {}
        """By topic, the throttled partitions; ``None`` for all of them."""
        configs.on_topic.append(self._heed_topic)
        for topic in configs.overrides.topics:
            self._heed_topic(topic, configs.topic_settings(topic))

    def _heed_topic(self, topic: str, settings: TopicSettings) -> None:
        replicas = self._replicas(settings)
        if not replicas:
            self._throttled.pop(topic, None)
            return
        if replicas == (_ALL,):
            self._throttled[topic] = None
            return
        pairs = (replica.split(":") for replica in replicas)
        self._throttled[topic] = frozenset(int(partition) for partition, broker in pairs if int(broker) == self._me)

    def _is_throttled(self, partition: TopicPartition) -> bool:
        if partition.topic not in self._throttled:
            return False
        partitions = self._throttled[partition.topic]
        return partitions is None or partition.partition in partitions

    def holds_back(self, partition: TopicPartition) -> bool:
        return self._is_throttled(partition) and super().holds_back(partition)

    def moved(self, partition: TopicPartition, size_bytes: int) -> None:
        if self._is_throttled(partition):
            super().moved(partition, size_bytes)


def leader_throttle(me: BrokerId, configs: DynamicConfigs, clock: Clock) -> Throttle:
    """For what this broker gives to followers."""
    return _OfReplicas(LEADER_RATE, configs, clock, me, lambda settings: settings.leader_replication_throttled_replicas)


def follower_throttle(me: BrokerId, configs: DynamicConfigs, clock: Clock) -> Throttle:
    """For what this broker fetches from leaders."""
    return _OfReplicas(
        FOLLOWER_RATE, configs, clock, me, lambda settings: settings.follower_replication_throttled_replicas
    )


def move_throttle(configs: DynamicConfigs, clock: Clock) -> Throttle:
    """For what is moved between this broker's own log directories; all of it is throttled."""
    broker = configs.broker
    windows = broker.alter_log_dirs_replication_quota_window_num
    window_ms = broker.alter_log_dirs_replication_quota_window_size_seconds * 1000
    return _Bounded(MOVE_RATE, configs, clock, WindowedRate(windows, window_ms))
