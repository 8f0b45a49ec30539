"""What we write, two independent implementations of the protocol read, and write again byte for byte.

kio and kafka-python were generated from Apache Kafka's own definitions, ours were written anew, so this is the
guard against slips in ``protocol_specs/``. Messages that neither of them knows are listed with the reason.
"""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import kio.index
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kio.serial import entity_reader, entity_writer
from kio.static.constants import EntityType

from pykafka_broker.wire import messages, spec
from pykafka_broker.wire.structures import message_class
from tests.wire.random_messages import messages as random_messages

Echo = Callable[[bytes], bytes]

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # kafka-python reads its resources in an outdated way
    KAFKA_PYTHON = [
        importlib.import_module(f"kafka.protocol.{part}")
        for part in ("admin", "consumer", "metadata", "producer", "sasl")
    ]
    ApiMessage: Any = importlib.import_module("kafka.protocol.api_message").ApiMessage


def _kio(message: spec.Message, version: int) -> Echo | None:
    """Decoding and encoding by kio, if it has this version."""
    kind, name = EntityType.data, spec.snake(message.api)
    if message.name in ("RequestHeader", "ResponseHeader"):
        kind = EntityType.header
    elif message.name.endswith(("Request", "Response")):
        kind = EntityType.request if message.name.endswith("Request") else EntityType.response
    try:
        name = {"control_record_key": "control_record_type_schema"}.get(name, name)
        made: Any = kio.index.load_entity_schema(name, version, kind)  # type: ignore[arg-type]
    except kio.index.UnknownEntity:
        return None
    read, write = entity_reader(made), entity_writer(made)

    def echo(data: bytes) -> bytes:
        entity, size = read(data, 0)
        assert size == len(data)
        out = io.BytesIO()
        write(out, entity)
        return out.getvalue()

    return echo


def _kafka_python(message: spec.Message, version: int) -> Echo | None:
    """Decoding and encoding by kafka-python, if it has this version."""
    for module in KAFKA_PYTHON:
        made: Any = getattr(module, message.name, None)
        if made is not None:
            break
    else:
        return None
    low, high = made.valid_versions
    if not low <= version <= high:
        return None

    def echo(data: bytes) -> bytes:
        if issubclass(made, ApiMessage):
            # Past the class's own method: for ApiVersions that takes any error to mean version 0.
            decoded = ApiMessage.decode.__func__(made, data, version=version)
            decoded._header = None  # only its constructor sets it, and encode asks for it
            encoded: bytes = decoded.encode(version=version)
        else:
            encoded = made.decode(data, version=version, header=False).encode(version=version, header=False)
        return encoded

    return echo


ECHOES = {"kio": _kio, "kafka-python": _kafka_python}
PAIRS = [
    (message, version)
    for message in spec.messages()
    for version in range(message.versions.low, message.versions.high + 1)
]

FEWEST = {"kio": 476, "kafka-python": 438}
"""How many of the pairs each must cover, so that a new release or a slip here cannot take them away unseen."""

KNOWN_TO_NEITHER = {
    # Both were generated from Apache Kafka 4, which dropped these versions (KIP-896).
    "Produce": range(3),
    "Fetch": range(4),
    "ListOffsets": range(1),
    "OffsetCommit": range(2),
    "OffsetFetch": range(1),
    "CreateTopics": range(2),
    "DeleteTopics": range(1),
    "OffsetForLeaderEpoch": range(2),
    "WriteTxnMarkers": range(1),
    "DescribeAcls": range(1),
    "CreateAcls": range(1),
    "DeleteAcls": range(1),
    "DescribeConfigs": range(1),
    "AlterReplicaLogDirs": range(1),
    "DescribeLogDirs": range(1),
    "CreateDelegationToken": range(1),
    "RenewDelegationToken": range(1),
    "ExpireDelegationToken": range(1),
    "DescribeDelegationToken": range(1),
    "AlterPartition": range(2),
    "RequestHeader": range(1),
    # And these requests, which only a ZooKeeper-mode controller sends.
    "LeaderAndIsr": range(8),
    "StopReplica": range(5),
    "UpdateMetadata": range(9),
    "ControlledShutdown": range(4),
}
"""By API or record. What a broker stores for itself is not part of the protocol, and unknown to both, too.

All of these are compared with Apache Kafka's own classes in ``compat/java/messages``.
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [message.name for message in spec.messages()])
@settings(
    max_examples=max(4, settings().max_examples // 25),
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_others_read_what_we_write_and_write_the_same(name: str, data: st.DataObject) -> None:
    message = spec.message(name)
    made = message_class(name)
    for version in range(message.versions.low, message.versions.high + 1):
        sent = data.draw(random_messages(name, version, tame=True))
        written = messages.encode(sent, version)
        assert messages.decode(made, written, version, whole=True) == sent
        for other, find in ECHOES.items():
            echo = find(message, version)
            if echo is not None:
                assert echo(written) == written, f"{other} differs on {name} version {version}"


def test_as_much_is_compared_as_ever() -> None:
    covered = {
        other: sum(find(message, version) is not None for message, version in PAIRS) for other, find in ECHOES.items()
    }
    print(f"of {len(PAIRS)} pairs of message and version: {covered}")
    assert covered == FEWEST


def test_what_neither_knows_is_listed() -> None:
    stored = set(spec.record_names()) - {"ConsumerProtocolSubscription", "ConsumerProtocolAssignment"}
    stored -= {"ControlRecordKey", "EndTxnMarker"}
    for message, version in PAIRS:
        unknown = all(find(message, version) is None for find in ECHOES.values())
        listed = message.name in stored or version in KNOWN_TO_NEITHER.get(message.api, ())
        assert unknown == listed, f"{message.name} version {version}"
