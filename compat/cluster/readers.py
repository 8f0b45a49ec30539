"""A member of a group as a process of its own: `python -m compat.cluster.readers KIND '{"bootstrap": ..., ...}'`.

It reads a topic, commits after each handful, and leaves when it is told to end (SIGTERM). What it gets and commits it
prints, one JSON object to a line, in the words of Apache Kafka's verifiable consumer; `client_error` is what the
client could not hide.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.errors import KafkaError as KafkaPythonError
from kafka.structs import OffsetAndMetadata

_HANDFUL_S: Final = 0.25
_SESSION_MS: Final = 8_000
_HEARTBEAT_MS: Final = 1_000
_REQUEST_MS: Final = 9_000
"""kafka-python wants it longer than a session."""
_POLL_MS: Final = 3_000
"""kafka-python (3.0.12) may never join if it has to begin that in one call and end it in another."""
_COMMIT_S: Final = 30.0
_PAUSE_S: Final = 0.1
_LATER: Final = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}

_over: list[int] = []


def say(name: str, **details: Any) -> None:
    """One line."""
    print(json.dumps({"timestamp": int(time.time() * 1000), "name": name, **details}))


def _named(partitions: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"topic": topic, "partition": index} for topic, index in partitions]


def _tell_commit(offsets: dict[tuple[str, int], int], error: str | None) -> None:
    told = [{"topic": topic, "partition": index, "offset": offset} for (topic, index), offset in offsets.items()]
    say("offsets_committed", offsets=told, success=error is None, **({"error": error} if error else {}))
    sys.stdout.flush()


def confluent(bootstrap: str, topic: str, group: str, name: str) -> None:
    """With confluent-kafka."""
    client = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "client.id": name,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": _SESSION_MS,
            "heartbeat.interval.ms": _HEARTBEAT_MS,
            "partition.assignment.strategy": "range",
            "fetch.min.bytes": 100_000,
            "fetch.wait.max.ms": int(_HANDFUL_S * 1000),
            "socket.timeout.ms": 6000,
            "reconnect.backoff.max.ms": 500,
            "log_level": 3,
        }
    )

    def tell(what: str) -> Callable[[Any, list[TopicPartition]], None]:
        return lambda _, given: say(what, partitions=_named((one.topic, one.partition) for one in given))

    client.subscribe(
        [topic],
        on_assign=tell("partitions_assigned"),
        on_revoke=tell("partitions_revoked"),
        on_lost=tell("partitions_revoked"),
    )
    while not _over:
        reached: dict[tuple[str, int], int] = {}
        epochs: dict[tuple[str, int], int] = {}
        for message in client.consume(1000, _HANDFUL_S):
            if message.error() is not None:
                say("client_error", error=str(message.error()))
                continue
            place = message.topic(), message.partition()
            say(
                "record_data",
                topic=place[0],
                partition=place[1],
                offset=message.offset(),
                value=message.value().decode(),
            )
            reached[place] = message.offset() + 1
            epochs[place] = message.leader_epoch()
        if reached:
            # With the epoch (KIP-320) whoever goes on from there does not believe a leader of earlier times.
            offsets = [TopicPartition(*place, offset, leader_epoch=epochs[place]) for place, offset in reached.items()]
            _tell_commit(reached, _commit(client, offsets))
    client.close()


def _commit(client: Consumer, offsets: list[TopicPartition]) -> str | None:
    """Commit, again where librdkafka leaves that to the program; what is wrong, if anything is."""
    deadline = time.monotonic() + _COMMIT_S
    while True:
        try:
            told = client.commit(offsets=offsets, asynchronous=False)
            errors = [one.error for one in told or [] if one.error is not None]
        except KafkaException as problem:
            errors = [problem.args[0]]
        if not errors:
            return None
        if errors[0].code() not in _LATER or time.monotonic() > deadline:
            return str(errors[0])
        time.sleep(_PAUSE_S)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def on_partitions_revoked(self, revoked: Any) -> None:
        say("partitions_revoked", partitions=_named((one.topic, one.partition) for one in revoked))

    def on_partitions_assigned(self, assigned: Any) -> None:
        say("partitions_assigned", partitions=_named((one.topic, one.partition) for one in assigned))


def kafka_python(bootstrap: str, topic: str, group: str, name: str) -> None:
    """With kafka-python."""
    client = KafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        group_id=group,
        client_id=name,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=_SESSION_MS,
        heartbeat_interval_ms=_HEARTBEAT_MS,
        allow_auto_create_topics=False,
        request_timeout_ms=_REQUEST_MS,
        fetch_min_bytes=100_000,
        fetch_max_wait_ms=int(_HANDFUL_S * 1000),
        reconnect_backoff_max_ms=500,
    )
    client.subscribe([topic], listener=_Listener())
    while not _over:
        reached: dict[tuple[str, int], int] = {}
        try:
            batches = client.poll(timeout_ms=_POLL_MS)
        except KafkaPythonError as problem:
            say("client_error", error=repr(problem))
            continue
        for records in batches.values():
            for record in records:
                say(
                    "record_data",
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    value=record.value.decode(),
                )
                reached[record.topic, record.partition] = record.offset + 1
        if reached:
            wanted = {
                partition: OffsetAndMetadata(records[-1].offset + 1, "", records[-1].leader_epoch)
                for partition, records in batches.items()
            }
            try:
                client.commit(wanted)
                _tell_commit(reached, None)
            except KafkaPythonError as problem:
                _tell_commit(reached, repr(problem))
    client.close()


KINDS: Final[dict[str, Callable[..., None]]] = {"confluent": confluent, "kafka-python": kafka_python}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: _over.append(number))
    KINDS[sys.argv[1]](**json.loads(sys.argv[2]))
    say("shutdown_complete")
    sys.stdout.flush()
