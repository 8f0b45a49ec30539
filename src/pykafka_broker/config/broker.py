"""All the settings of a broker that have a place in this program, as one object.

Each key is stated in the section of its subject; a broker's settings can be handed wherever one section is asked for.
Keys that Apache Kafka knows and nothing here could read are in ``catalogue``, which is not imported at the start.
"""

from __future__ import annotations

from pykafka_broker.config.cluster import ClusterSettings
from pykafka_broker.config.group import GroupSettings
from pykafka_broker.config.network import NetworkSettings
from pykafka_broker.config.security import SecuritySettings
from pykafka_broker.config.storage import StorageSettings
from pykafka_broker.config.transactions import TransactionSettings
from pykafka_broker.config.zookeeper import ZooKeeperTlsSettings


class BrokerSettings(
    ClusterSettings,
    NetworkSettings,
    StorageSettings,
    GroupSettings,
    TransactionSettings,
    SecuritySettings,
    ZooKeeperTlsSettings,
):
    """A broker's settings; ``BrokerSettings()`` has Kafka's defaults throughout."""
