"""Kafka's znodes: for each its path and what its bytes say, as Apache Kafka 3.9 writes and reads them (``ZkData``).

Bytes are compact JSON in the order in which Kafka 3.9 writes it; readers ignore fields they do not know. A node whose
bytes make no sense raises ``MalformedNode``. When nodes are written, and by whom, is decided elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct, field

from pykafka_broker.model.names import BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.wire.primitives import LONGEST_STRING_BYTES
from pykafka_broker.zk.paths import checked

CONSUMERS = "/consumers"
CONTROLLER = "/controller"
CONTROLLER_EPOCH = "/controller_epoch"
CLUSTER = "/cluster"
CLUSTER_ID = "/cluster/id"
FEATURE = "/feature"
BROKER_IDS = "/brokers/ids"
BROKER_SEQUENCE = "/brokers/seqid"
TOPICS = "/brokers/topics"
CONFIG = "/config"
CONFIG_CHANGES = "/config/changes"
DELETE_TOPICS = "/admin/delete_topics"
REASSIGN_PARTITIONS = "/admin/reassign_partitions"
PREFERRED_REPLICA_ELECTION = "/admin/preferred_replica_election"
ISR_CHANGES = "/isr_change_notification"
LOG_DIR_EVENTS = "/log_dir_event_notification"
LATEST_PRODUCER_ID_BLOCK = "/latest_producer_id_block"

TOPIC_CONFIG = "topics"
BROKER_CONFIG = "brokers"
CLIENT_CONFIG = "clients"
USER_CONFIG = "users"
IP_CONFIG = "ips"
CONFIG_KINDS = (TOPIC_CONFIG, CLIENT_CONFIG, USER_CONFIG, BROKER_CONFIG, IP_CONFIG)
DEFAULT_ENTITY = "<default>"
"""The name of the entity whose settings hold for all of its kind that have none of their own."""

NO_LEADER = BrokerId(-1)


class MalformedNode(ValueError):
    """A node holds something that is not what Kafka keeps there."""


def persistent_paths() -> tuple[str, ...]:
    """The nodes every broker makes sure of when it starts, with null data (``ZkData.PersistentZkPaths``)."""
    return (
        CONSUMERS,
        BROKER_IDS,
        TOPICS,
        CONFIG_CHANGES,
        DELETE_TOPICS,
        BROKER_SEQUENCE,
        ISR_CHANGES,
        LATEST_PRODUCER_ID_BLOCK,
        LOG_DIR_EVENTS,
        *(f"{CONFIG}/{kind}" for kind in CONFIG_KINDS),
    )


def broker_path(broker_id: int) -> str:
    """Where a live broker says how it can be reached."""
    return f"{BROKER_IDS}/{broker_id}"


def brokers_among(names: Iterable[str]) -> list[BrokerId]:
    """The numbers of the brokers that are registered under these names, sorted; other names are nobody's."""
    return sorted(BrokerId(int(name)) for name in names if _NUMBER.fullmatch(name) and int(name) < 1 << 31)


def topic_path(topic: str) -> str:
    """Where a topic's assignment is kept."""
    return f"{TOPICS}/{topic}"


def partitions_path(topic: str) -> str:
    """The parent of a topic's partitions; holds null."""
    return f"{TOPICS}/{topic}/partitions"


def partition_path(topic: str, partition: int) -> str:
    """The parent of a partition's state; holds null."""
    return f"{TOPICS}/{topic}/partitions/{partition}"


def partition_state_path(topic: str, partition: int) -> str:
    """Where a partition's leader and in-sync replicas are kept."""
    return f"{TOPICS}/{topic}/partitions/{partition}/state"


def delete_topic_path(topic: str) -> str:
    """The mark that somebody wants the topic deleted; holds null."""
    return f"{DELETE_TOPICS}/{topic}"


def config_kind_path(kind: str) -> str:
    """The parent of all config entities of a kind (``topics``, ``brokers``, ``users``, ``clients``, ``ips``)."""
    return f"{CONFIG}/{kind}"


def config_path(kind: str, entity: str) -> str:
    """Where an entity's settings are kept; ``entity`` is sanitized already and may be ``user/clients/client``."""
    return f"{CONFIG}/{kind}/{entity}"


def consumer_offset_path(group: str, topic: str, partition: int) -> str:
    """Where OffsetCommit version 0 puts an offset (``ConsumerOffset``)."""
    return f"{CONSUMERS}/{group}/offsets/{topic}/{partition}"


def sequence_of(name: str) -> int:
    """The number behind a sequential node's name or path; ``MalformedNode`` when there is none."""
    digits = name[-10:]
    if len(digits) < 10 or not digits.isascii() or not digits.isdigit():
        raise MalformedNode(f"{name} does not end in a sequence number")
    return int(digits)


_NUMBER = re.compile("0|[1-9][0-9]{0,9}")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


def sanitized(name: str) -> str:
    """A user's or client's name as it may stand in a path (``Sanitizer.sanitize``)."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in name.encode())


def desanitized(text: str) -> str:
    """The name behind ``sanitized``; ``MalformedNode`` when it is none."""
    parts = text.replace("+", " ").split("%")
    try:
        data = parts[0].encode() + b"".join(bytes((int(part[:2], 16),)) + part[2:].encode() for part in parts[1:])
        return data.decode()
    except ValueError as error:
        raise MalformedNode(f"{text!r} is not a sanitized name") from error


def uuid_text(value: UUID) -> str:
    """Kafka's text of an id: 22 characters of URL-safe base64."""
    return base64.urlsafe_b64encode(value.bytes).rstrip(b"=").decode()


def uuid_of(text: str) -> UUID:
    """The id behind ``uuid_text``; ``MalformedNode`` when it is none."""
    try:
        return UUID(bytes=base64.b64decode(text.encode() + b"==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise MalformedNode(f"{text!r} is not an id") from error


class Endpoint(Struct, frozen=True):
    """One advertised listener of a broker; written ``LISTENER://host:port``."""

    listener: str
    host: str
    port: int
    security_protocol: str = "PLAINTEXT"
    """``PLAINTEXT``, ``SSL``, ``SASL_PLAINTEXT`` or ``SASL_SSL``."""

    @property
    def text(self) -> str:
        """As it stands in the registration; an IPv6 address is put in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.listener}://{host}:{self.port}"

    @classmethod
    def parse(cls, text: str, protocols: Mapping[str, str] | None = None) -> Endpoint:
        """Read an endpoint; a listener that ``protocols`` does not name is named after its protocol."""
        listener, separator, address = text.partition("://")
        host, colon, port = address.rpartition(":")
        if not (separator and colon and listener):
            raise MalformedNode(f"{text!r} is not an endpoint")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        protocol = listener if protocols is None else protocols.get(listener)
        if protocol is None:
            raise MalformedNode(f"no security protocol is given for the listener of {text!r}")
        return cls(_text(listener), _text(host), _int32(port), _text(protocol))


class BrokerRegistration(Struct, frozen=True):
    """``/brokers/ids/<id>``: how a live broker can be reached; written in version 5, read from version 1 on."""

    broker_id: BrokerId
    endpoints: tuple[Endpoint, ...]
    timestamp_ms: int = -1
    rack: str | None = None
    jmx_port: int = -1
    features: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    version: int = 5

    @property
    def path(self) -> str:
        """The ephemeral node; its ``czxid`` is the broker epoch."""
        return broker_path(self.broker_id)

    @property
    def listener_security_protocol_map(self) -> dict[str, str]:
        """The protocol of each listener."""
        return {endpoint.listener: endpoint.security_protocol for endpoint in self.endpoints}

    def endpoint(self, listener: str) -> Endpoint | None:
        """The endpoint of that listener, if the broker has one."""
        return next((endpoint for endpoint in self.endpoints if endpoint.listener == listener), None)

    def encode(self) -> bytes:
        """What the broker writes; ``host`` and ``port`` are those of the first PLAINTEXT endpoint."""
        plain = next((endpoint for endpoint in self.endpoints if endpoint.security_protocol == "PLAINTEXT"), None)
        fields: dict[str, Any] = {}
        if self.version >= 5:
            fields["features"] = self.features
        if self.version >= 4:
            fields["listener_security_protocol_map"] = self.listener_security_protocol_map
        fields["endpoints"] = [endpoint.text for endpoint in self.endpoints]
        if self.version >= 3 and self.rack is not None:
            fields["rack"] = self.rack
        fields["jmx_port"] = self.jmx_port
        fields["port"] = -1 if plain is None else plain.port
        fields["host"] = None if plain is None else plain.host
        fields["version"] = self.version
        fields["timestamp"] = str(self.timestamp_ms)
        return _written(fields)

    @classmethod
    def decode(cls, broker_id: BrokerId, data: bytes | None) -> BrokerRegistration:
        """Read what a broker of any version has written."""
        return _reading(broker_path(broker_id), lambda: cls._decoded(broker_id, _read(data)))

    @classmethod
    def _decoded(cls, broker_id: BrokerId, fields: dict[str, Any]) -> BrokerRegistration:
        version, rack = int(fields["version"]), fields.get("rack")
        if version < 1:
            raise MalformedNode(f"version {version} of a registration does not exist")
        if version == 1:
            endpoints: tuple[Endpoint, ...] = (Endpoint("PLAINTEXT", _text(fields["host"]), _int32(fields["port"])),)
        else:
            protocols = fields.get("listener_security_protocol_map")
            endpoints = tuple(Endpoint.parse(text, protocols) for text in fields["endpoints"])
        return cls(
            broker_id=broker_id,
            endpoints=endpoints,
            timestamp_ms=int(fields.get("timestamp", -1)),
            rack=None if rack is None else _text(rack),
            jmx_port=int(fields.get("jmx_port", -1)),
            features=fields.get("features") or {},
            version=version,
        )


class ControllerNode(Struct, frozen=True):
    """``/controller``: who is the controller; ephemeral, made only in the election's transaction."""

    broker_id: BrokerId
    timestamp_ms: int
    kraft_controller_epoch: int = -1

    path = CONTROLLER

    def encode(self) -> bytes:
        """Version 2, as Kafka has written it since 3.4."""
        return _written(
            {
                "version": 2,
                "brokerid": self.broker_id,
                "timestamp": str(self.timestamp_ms),
                "kraftControllerEpoch": self.kraft_controller_epoch,
            }
        )

    @classmethod
    def decode(cls, data: bytes | None) -> ControllerNode:
        """Versions 1 and 2."""

        def decoded() -> ControllerNode:
            fields = _read(data)
            epoch = fields.get("kraftControllerEpoch", -1)
            return cls(BrokerId(_int32(fields["brokerid"])), int(fields.get("timestamp", -1)), int(epoch))

        return _reading(CONTROLLER, decoded)


class ControllerEpoch(Struct, frozen=True):
    """``/controller_epoch``: plain decimal text; the node's version is the token that fences a controller."""

    epoch: int

    path = CONTROLLER_EPOCH

    def encode(self) -> bytes:
        """Text, no JSON."""
        return str(self.epoch).encode()

    @classmethod
    def decode(cls, data: bytes | None) -> ControllerEpoch:
        """Text, no JSON."""
        return _reading(CONTROLLER_EPOCH, lambda: cls(_int32(_some(data))))


class ClusterId(Struct, frozen=True):
    """``/cluster/id``: made by the first broker, never changed."""

    cluster_id: str

    path = CLUSTER_ID

    def encode(self) -> bytes:
        """The version is a string here, as in Kafka."""
        return _written({"version": "1", "id": self.cluster_id})

    @classmethod
    def decode(cls, data: bytes | None) -> ClusterId:
        """``MalformedNode`` when there is no id in it."""
        return _reading(CLUSTER_ID, lambda: cls(str(_read(data)["id"])))


class Feature(Struct, frozen=True):
    """``/feature``: the cluster's finalized features; status 0 is disabled, 1 enabled."""

    features: Mapping[str, int] = field(default_factory=dict)
    """Feature to highest version level; the levels of version 1 nodes' ``min_version_level`` are not kept."""
    status: int = 1

    path = FEATURE

    def encode(self) -> bytes:
        """Version 2, as with ``inter.broker.protocol.version`` 3.3 and later."""
        levels = {name: {"max_version_level": level} for name, level in self.features.items()}
        return _written({"features": levels, "version": 2, "status": self.status})

    @classmethod
    def decode(cls, data: bytes | None) -> Feature:
        """Versions 1 and 2."""

        def decoded() -> Feature:
            fields = _read(data)
            if fields["version"] not in (1, 2) or fields["status"] not in (0, 1):
                raise MalformedNode("neither version nor status is known")
            levels = {name: int(level["max_version_level"]) for name, level in fields["features"].items()}
            return cls(levels, fields["status"])

        return _reading(FEATURE, decoded)


class TopicAssignment(Struct, frozen=True):
    """``/brokers/topics/<topic>``: the replicas of each partition, preferred leader first."""

    topic: str
    partitions: Mapping[int, tuple[BrokerId, ...]]
    topic_id: TopicId | None = None
    adding_replicas: Mapping[int, tuple[BrokerId, ...]] = field(default_factory=dict)
    removing_replicas: Mapping[int, tuple[BrokerId, ...]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The topic's own node."""
        return topic_path(self.topic)

    def encode(self) -> bytes:
        """Version 3 with the topic's id (KIP-516)."""
        fields: dict[str, Any] = {"partitions": self.partitions}
        if self.topic_id is not None:
            fields["topic_id"] = uuid_text(self.topic_id)
        fields["adding_replicas"] = {partition: ids for partition, ids in self.adding_replicas.items() if ids}
        fields["removing_replicas"] = {partition: ids for partition, ids in self.removing_replicas.items() if ids}
        fields["version"] = 3
        return _written(fields)

    @classmethod
    def decode(cls, topic: str, data: bytes | None) -> TopicAssignment:
        """Versions 1 (tools before 2.4: partitions only), 2 and 3; no id when the writer knew none.

        ``MalformedNode`` also when a partition has no replicas, or one of them twice.
        """

        def decoded() -> TopicAssignment:
            fields = _read(data)
            topic_id = fields.get("topic_id")
            partitions = _replicas(fields["partitions"])
            for partition, replicas in partitions.items():
                if partition < 0 or not replicas or len(set(replicas)) < len(replicas):
                    raise MalformedNode(f"partition {partition} cannot lie on {list(replicas)}")
            return cls(
                topic=topic,
                partitions=partitions,
                topic_id=None if topic_id is None else TopicId(uuid_of(topic_id)),
                adding_replicas=_replicas(fields.get("adding_replicas") or {}),
                removing_replicas=_replicas(fields.get("removing_replicas") or {}),
            )

        return _reading(topic_path(topic), decoded)


class PartitionState(Struct, frozen=True):
    """``…/partitions/<p>/state``: leader and in-sync replicas; the node's version is the partition epoch."""

    leader: BrokerId
    """-1 when there is none."""
    isr: tuple[BrokerId, ...]
    leader_epoch: LeaderEpoch
    controller_epoch: int
    leader_recovery_state: int = 0
    """1 while recovering from an unclean election (KIP-704), left out when 0."""

    def encode(self) -> bytes:
        """Version 1."""
        fields: dict[str, Any] = {"controller_epoch": self.controller_epoch, "leader": self.leader, "version": 1}
        if self.leader_recovery_state != 0:
            fields["leader_recovery_state"] = self.leader_recovery_state
        fields["leader_epoch"] = self.leader_epoch
        fields["isr"] = self.isr
        return _written(fields)

    @classmethod
    def decode(cls, data: bytes | None) -> PartitionState:
        """Version 1."""

        def decoded() -> PartitionState:
            fields = _read(data)
            return cls(
                leader=BrokerId(_int32(fields["leader"])),
                isr=tuple(BrokerId(_int32(replica)) for replica in fields["isr"]),
                leader_epoch=LeaderEpoch(_int32(fields["leader_epoch"])),
                controller_epoch=_int32(fields["controller_epoch"]),
                leader_recovery_state=int(fields.get("leader_recovery_state", 0)),
            )

        return _reading("partition state", decoded)


class ConfigEntity(Struct, frozen=True):
    """``/config/<kind>/<entity>``: settings of a topic, broker, user, client or address; all values are text."""

    kind: str
    entity: str
    config: Mapping[str, str]

    @property
    def path(self) -> str:
        """``entity`` stands there as it is: sanitize names of users and clients first."""
        return config_path(self.kind, self.entity)

    def encode(self) -> bytes:
        """Version 1."""
        return _written({"version": 1, "config": dict(sorted(self.config.items()))})

    @classmethod
    def decode(cls, kind: str, entity: str, data: bytes | None) -> ConfigEntity:
        """Version 1; a node without data, or without settings in it, has none (``ConfigEntityZNode``)."""

        def decoded() -> ConfigEntity:
            config = {} if data is None else _read(data).get("config", {})
            return cls(kind, entity, {str(name): str(value) for name, value in config.items()})

        return _reading(config_path(kind, entity), decoded)


class ConfigChange(Struct, frozen=True):
    """``/config/changes/config_change_<seq>``: tells every broker to read an entity's settings again."""

    entity_path: str
    """``topics/orders``, ``users/alice/clients/app``, ``brokers/<default>``."""

    prefix = f"{CONFIG_CHANGES}/config_change_"

    def encode(self) -> bytes:
        """Version 2 (KIP-55)."""
        return _written({"version": 2, "entity_path": self.entity_path})

    @classmethod
    def decode(cls, data: bytes | None) -> ConfigChange:
        """Versions 1 (topics and clients only) and 2."""

        def decoded() -> ConfigChange:
            fields = _read(data)
            if fields["version"] == 1:
                found = cls(f"{fields['entity_type']}/{fields['entity_name']}")
            elif fields["version"] == 2:
                found = cls(str(fields["entity_path"]))
            else:
                raise MalformedNode(f"version {fields['version']} of a change does not exist")
            kind, _, entity = found.entity_path.partition("/")
            checked(config_path(kind, entity))
            return found

        return _reading(CONFIG_CHANGES, decoded)


class DeleteTopic(Struct, frozen=True):
    """``/admin/delete_topics/<topic>``: somebody wants the topic deleted; holds null."""

    topic: str

    @property
    def path(self) -> str:
        """The mark."""
        return delete_topic_path(self.topic)

    def encode(self) -> bytes | None:
        """Nothing: the name says it all."""
        return None


class ReassignPartitions(Struct, frozen=True):
    """``/admin/reassign_partitions``: where the older tools ask for a reassignment."""

    partitions: Mapping[TopicPartition, tuple[BrokerId, ...]]

    path = REASSIGN_PARTITIONS

    def encode(self) -> bytes:
        """Version 1."""
        return _written(
            {
                "version": 1,
                "partitions": [
                    {"topic": topic, "partition": partition, "replicas": replicas}
                    for (topic, partition), replicas in self.partitions.items()
                ],
            }
        )

    @classmethod
    def decode(cls, data: bytes | None) -> ReassignPartitions:
        """Version 1."""

        def decoded() -> ReassignPartitions:
            return cls(
                {
                    TopicPartition(str(entry["topic"]), _int32(entry["partition"])): _brokers(entry["replicas"])
                    for entry in _read(data)["partitions"]
                }
            )

        return _reading(REASSIGN_PARTITIONS, decoded)


class PreferredReplicaElection(Struct, frozen=True):
    """``/admin/preferred_replica_election``: where the older tools ask for an election."""

    partitions: tuple[TopicPartition, ...]

    path = PREFERRED_REPLICA_ELECTION

    def encode(self) -> bytes:
        """Version 1."""
        return _written_partitions(self.partitions)

    @classmethod
    def decode(cls, data: bytes | None) -> PreferredReplicaElection:
        """Version 1."""
        return _reading(PREFERRED_REPLICA_ELECTION, lambda: cls(_partitions(_read(data))))


class IsrChange(Struct, frozen=True):
    """``/isr_change_notification/isr_change_<seq>``: a leader of before 2.7 tells that it wrote partition states."""

    partitions: tuple[TopicPartition, ...]

    prefix = f"{ISR_CHANGES}/isr_change_"

    def encode(self) -> bytes:
        """Version 1."""
        return _written_partitions(self.partitions)

    @classmethod
    def decode(cls, data: bytes | None) -> IsrChange:
        """Version 1; null says nothing."""
        return _reading(ISR_CHANGES, lambda: cls(() if data is None else _partitions(_read(data))))


class LogDirEvent(Struct, frozen=True):
    """``/log_dir_event_notification/log_dir_event_<seq>``: a log directory of the broker has failed (KIP-112)."""

    broker_id: BrokerId
    event: int = 1

    prefix = f"{LOG_DIR_EVENTS}/log_dir_event_"

    def encode(self) -> bytes:
        """Version 1."""
        return _written({"version": 1, "broker": self.broker_id, "event": self.event})

    @classmethod
    def decode(cls, data: bytes | None) -> LogDirEvent:
        """Version 1."""

        def decoded() -> LogDirEvent:
            fields = _read(data)
            return cls(BrokerId(_int32(fields["broker"])), int(fields.get("event", 1)))

        return _reading(LOG_DIR_EVENTS, decoded)


class ProducerIdBlock(Struct, frozen=True):
    """``/latest_producer_id_block``: the last block of producer ids given out, and to whom (KIP-730)."""

    broker_id: BrokerId
    block_start: int
    block_end: int
    """The last id of the block, not the first after it."""

    path = LATEST_PRODUCER_ID_BLOCK

    def encode(self) -> bytes:
        """Version 1; the numbers are strings, as in Kafka."""
        return _written(
            {
                "version": 1,
                "broker": self.broker_id,
                "block_start": str(self.block_start),
                "block_end": str(self.block_end),
            }
        )

    @classmethod
    def decode(cls, data: bytes | None) -> ProducerIdBlock | None:
        """Version 1; nothing while no block was given out."""
        if data is None:
            return None

        def decoded() -> ProducerIdBlock:
            fields = _read(data)
            return cls(BrokerId(_int32(fields["broker"])), int(fields["block_start"]), int(fields["block_end"]))

        return _reading(LATEST_PRODUCER_ID_BLOCK, decoded)


class ConsumerOffset(Struct, frozen=True):
    """``/consumers/<group>/offsets/<topic>/<p>``: an offset committed with OffsetCommit version 0; decimal text."""

    group: str
    topic: str
    partition: int
    offset: int

    @property
    def path(self) -> str:
        """The offset's own node."""
        return consumer_offset_path(self.group, self.topic, self.partition)

    def encode(self) -> bytes:
        """Text, no JSON."""
        return str(self.offset).encode()

    @classmethod
    def decode(cls, group: str, topic: str, partition: int, data: bytes | None) -> ConsumerOffset:
        """Text, no JSON."""
        path = consumer_offset_path(group, topic, partition)
        return _reading(path, lambda: cls(group, topic, partition, int(_some(data))))


_Decoded = TypeVar("_Decoded")


def _reading(path: str, decoded: Callable[[], _Decoded]) -> _Decoded:
    try:
        return decoded()
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise MalformedNode(f"{path}: {error}") from error


def _int32(value: Any) -> int:
    """A number that goes into messages; ``MalformedNode`` when they could not carry it."""
    number = int(value)
    if not -(1 << 31) <= number < 1 << 31:
        raise MalformedNode(f"{number} is not a number of 32 bits")
    return number


def _text(value: Any) -> str:
    """A text that goes into messages; ``MalformedNode`` when they could not carry it."""
    text = str(value)
    # JSON can say half of a surrogate pair, which is a ValueError to encode.
    if len(text.encode()) > LONGEST_STRING_BYTES:
        raise MalformedNode(f"a text of {len(text)} characters, beginning with {text[:20]!r}, is too long")
    return text


def _some(data: bytes | None) -> bytes:
    if data is None:
        raise MalformedNode("no data")
    return data


def _read(data: bytes | None) -> dict[str, Any]:
    fields = json.loads(_some(data))
    if b"\\u" in _some(data):
        # Half a surrogate pair is text that can neither be written nor sent.
        _written(fields)
    if not isinstance(fields, dict):
        raise MalformedNode("not an object")
    return fields


def _written(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def _brokers(ids: list[Any]) -> tuple[BrokerId, ...]:
    return tuple(BrokerId(_int32(broker_id)) for broker_id in ids)


def _replicas(fields: Mapping[str, list[Any]]) -> dict[int, tuple[BrokerId, ...]]:
    return {_int32(partition): _brokers(ids) for partition, ids in fields.items()}


def _partitions(fields: Mapping[str, Any]) -> tuple[TopicPartition, ...]:
    return tuple(TopicPartition(str(entry["topic"]), _int32(entry["partition"])) for entry in fields["partitions"])


def _written_partitions(partitions: tuple[TopicPartition, ...]) -> bytes:
    entries = [{"topic": topic, "partition": partition} for topic, partition in partitions]
    return _written({"version": 1, "partitions": entries})
