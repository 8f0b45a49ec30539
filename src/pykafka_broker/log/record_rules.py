"""What a topic asks of single records: keys where it is compacted, timestamps that are not too far from now.

The batch's own checks are ``log/validation.py``'s. Texts are Kafka's, since Produce v8 and later hand them to people
(KIP-467).

Source: Kafka's ``LogValidator.validateRecord``, ``LogConfig``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.wire.batch import NO_TIMESTAMP, BatchHeader, Buffer, Record, records_in
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.survey import Survey

if TYPE_CHECKING:
    from pykafka_broker.config.topic import TopicSettings

FOREVER_MS = 2**63 - 1

_PARTIAL = "PartialDefaultRecord"


class RecordError(NamedTuple):
    """One record that was refused: its place in the batch and why."""

    batch_index: int
    message: str


class InvalidRecords(KafkaError):
    """Single records are to blame, and the whole batch is refused; only then does Produce answer with a message."""

    def __init__(self, code: ErrorCode, detail: str, record_errors: Sequence[RecordError]) -> None:
        super().__init__(code, detail)
        self.record_errors = tuple(record_errors)


class RecordRules(NamedTuple):
    """The rules of one topic, for one of its partitions."""

    partition: TopicPartition
    compacted: bool
    append_time: bool
    before_max_ms: int
    after_max_ms: int

    @classmethod
    def of(cls, settings: TopicSettings, partition: TopicPartition) -> RecordRules:
        """The rules in ``settings``; the old timestamp setting holds where a new one says nothing (KIP-937)."""
        before_max_ms = settings.message_timestamp_before_max_ms
        after_max_ms = settings.message_timestamp_after_max_ms
        if before_max_ms == FOREVER_MS:
            before_max_ms = settings.message_timestamp_difference_max_ms
        if after_max_ms == FOREVER_MS:
            after_max_ms = settings.message_timestamp_difference_max_ms
        return cls(
            partition,
            "compact" in settings.cleanup_policy,
            settings.message_timestamp_type == "LogAppendTime",
            before_max_ms,
            after_max_ms,
        )

    @property
    def ask_nothing(self) -> bool:
        """Whether any record will do."""
        return not self.compacted and (self.append_time or self.before_max_ms == self.after_max_ms == FOREVER_MS)

    def check(
        self,
        header: BatchHeader,
        found: Survey,
        data: Buffer,
        now: int,
        java: str,
        *,
        stamped: bool,
        only_first: bool = False,
    ) -> None:
        """Raise :class:`InvalidRecords` if one of the records in ``data`` breaks a rule at ``now`` (ms).

        ``stamped``: the producer claims that a broker gave the time.
        ``java`` is what Kafka calls such a record in its texts. ``only_first``: the records were batches of their
        own once, and the first bad one ends the check.
        """
        if not stamped and not self._may_break(header, found, now):
            return
        errors: list[RecordError] = []
        code = ErrorCode.INVALID_RECORD
        for index, record in enumerate(records_in(data, header)):
            error = self._broken(record, now, java, stamped)
            if error is None:
                continue
            if error[0] is ErrorCode.INVALID_TIMESTAMP:
                code = ErrorCode.INVALID_TIMESTAMP
            errors.append(RecordError(index, error[1]))
            if only_first:
                break
        if not errors:
            return
        if code is ErrorCode.INVALID_TIMESTAMP:
            detail = "One or more records have been rejected due to invalid timestamp"
        else:
            shown = ", ".join(f"RecordError(batchIndex={index}, message='{text}')" for index, text in errors[:3])
            detail = (
                f"One or more records have been rejected due to {len(errors)} record errors in total, and only "
                f"showing the first three errors at most: [{shown}]"
            )
        raise InvalidRecords(code, detail, errors)

    def _may_break(self, header: BatchHeader, found: Survey, now: int) -> bool:
        if self.compacted and found.keyless:
            return True
        if self.append_time:
            return False
        smallest = header.base_timestamp + found.smallest_timestamp_delta
        greatest = header.base_timestamp + found.greatest_timestamp_delta
        return now - smallest > self.before_max_ms or greatest - now > self.after_max_ms

    def _broken(self, record: Record, now: int, java: str, stamped: bool) -> tuple[ErrorCode, str] | None:
        if self.compacted and record.key is None:
            return (
                ErrorCode.INVALID_RECORD,
                f"Compacted topic cannot accept message without key in topic partition {self.partition}",
            )
        timestamp = record.timestamp
        if not self.append_time and timestamp != NO_TIMESTAMP:
            if now - timestamp > self.before_max_ms or timestamp - now > self.after_max_ms:
                return (
                    ErrorCode.INVALID_TIMESTAMP,
                    f"Timestamp {timestamp} of message with offset {record.offset} is out of range. The timestamp "
                    f"should be within [{_long(now - self.before_max_ms)}, {_long(now + self.after_max_ms)}]",
                )
        elif stamped:
            nothing = -1 if java == _PARTIAL else 0
            key = nothing if record.key is None else len(record.key)
            value = nothing if record.value is None else len(record.value)
            shown = f"{java}(offset={record.offset}, timestamp={timestamp}, key={key} bytes, value={value} bytes)"
            return (
                ErrorCode.INVALID_TIMESTAMP,
                f"Invalid timestamp type in message {shown}. Producer should not set timestamp type to LogAppendTime.",
            )
        return None


def newest_timestamp(header: BatchHeader, greatest_delta: int) -> int:
    """The greatest of the records' own timestamps (ms), as Kafka finds it: never less than -1."""
    if header.record_count == 0:
        return NO_TIMESTAMP
    return max(_long(header.base_timestamp + greatest_delta), NO_TIMESTAMP)


def java_name(codec: Codec, target: Codec) -> str:
    """What Kafka's texts call a record: it does not unpack all of one whose compression stays as it is."""
    return _PARTIAL if codec is target and codec is not Codec.NONE else "DefaultRecord"


def _long(value: int) -> int:
    """What becomes of ``value`` in Java's 64 bits; it shows in a text when a limit is "for ever"."""
    return (value + 2**63) % 2**64 - 2**63
