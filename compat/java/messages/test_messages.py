"""Every message in every version before Apache Kafka's own classes: read alike, written alike, refused alike."""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compat.java.messages.echo import Echo, echo
from pykafka_broker.model.errors import WireError
from pykafka_broker.wire import messages, spec
from pykafka_broker.wire.codec import codec
from pykafka_broker.wire.primitives import Reader
from pykafka_broker.wire.structures import message_class
from tests.wire.random_messages import messages as random_messages

pytestmark = [pytest.mark.compat, pytest.mark.slow]

WRITTEN_BY_HAND_IN_KAFKA = {"ControlRecordKey", "EndTxnMarker"}
REPLACEMENT = "\ufffd".encode()
NAMES = [message.name for message in spec.messages() if message.name not in WRITTEN_BY_HAND_IN_KAFKA]
SOME = settings(
    max_examples=max(4, settings().max_examples // 25),
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Echo]:
    with echo("3.9.1", tmp_path_factory.mktemp("classes")) as echoing:
        yield echoing


@pytest.mark.parametrize("name", NAMES)
@SOME
@given(data=st.data())
def test_kafka_reads_and_writes_what_we_write(kafka: Echo, name: str, data: st.DataObject) -> None:
    found = spec.message(name)
    for version in range(found.versions.low, found.versions.high + 1):
        sent = data.draw(random_messages(name, version))
        written = messages.encode(sent, version)
        answer = kafka.echo(name, version, written)
        assert answer is not None
        assert (answer.size, answer.written) == (len(written), written), f"version {version}"
        _compare(found.struct, version, sent, answer.shown)


@pytest.mark.parametrize("name", NAMES)
@SOME
@given(data=st.data())
def test_damaged_messages_are_taken_alike(kafka: Echo, name: str, data: st.DataObject) -> None:
    found, made = spec.message(name), message_class(name)
    for version in range(found.versions.low, found.versions.high + 1):
        damaged = bytearray(messages.encode(data.draw(random_messages(name, version)), version)) or bytearray(1)
        for _ in range(data.draw(st.integers(1, 2))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        given_bytes = bytes(damaged[: data.draw(st.sampled_from([len(damaged), len(damaged) - 1]))])
        theirs = kafka.echo(name, version, given_bytes)
        reader = Reader(given_bytes)
        try:
            value = codec(made, version).take(reader)
        except (WireError, struct.error, IndexError) as refusal:
            assert theirs is None, (version, given_bytes.hex(), refusal)
            continue
        assert theirs is not None, (version, given_bytes.hex(), value)
        assert reader.position == theirs.size, (version, given_bytes.hex())
        ours = messages.encode(value, version)
        # Java has its own idea of how many replacement characters a malformed text is worth.
        assert theirs.written in (ours, None) or REPLACEMENT in ours, (version, given_bytes.hex())


def _compare(what: spec.Struct, version: int, ours: Any, theirs: dict[str, Any]) -> None:
    """Each field by its name, so that two of one type cannot have changed places."""
    shown = {
        spec.snake(name.replace("KRaft", "Kraft")[0].upper() + name.replace("KRaft", "Kraft")[1:]): value
        for name, value in theirs.items()
    }
    for field in what.fields:
        if field.versions.has(version):
            value = getattr(ours, field.name)
            if field.name in shown:
                _compare_value(field, field.kind, version, value, shown.pop(field.name))
            else:
                # Kafka shows tagged fields only when they are written, and records only by their size.
                assert field.tag is not None or field.kind == spec.Primitive("records"), field.name
    assert all(name.endswith("size_in_bytes") for name in shown)


def _compare_value(field: spec.Field, kind: spec.Kind, version: int, ours: Any, theirs: Any) -> None:
    if ours is None or theirs is None:
        assert ours is theirs is None, field.name
    elif isinstance(kind, spec.Array):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            _compare_value(field, kind.element, version, one, other)
    elif isinstance(kind, spec.Struct):
        _compare(kind, version, ours, theirs)
    elif kind.name == "bytes":
        assert ours == b64decode(theirs), field.name
    elif kind.name == "uuid":
        assert ours == UUID(bytes=b64decode(theirs + "==", altchars=b"-_")), field.name
    elif kind.name != "records":
        assert ours == (float(theirs) if kind.name == "float64" else theirs), field.name
