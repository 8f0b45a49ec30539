"""A consumer's fetches are those that the wire's own codec would write, and nothing but what was written, in order, is
taken for an answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.sessions import CLIENT, MAX_BYTES, MAX_WAIT_MS, MIN_BYTES, PARTITION_MAX_BYTES, VERSION, Session, Written
from bench.sockets import Refused
from bench.values import Lost
from pykafka_broker.model.names import BrokerId, Offset
from pykafka_broker.wire.batch import Record, build, patch
from pykafka_broker.wire.exchange import Call, close_call, write_request
from pykafka_broker.wire.messages import FetchRequest, FetchResponse

TOPIC, RECORDS = "crowd", 3
FETCH_KEY = 1


def request(session_id: int, epoch: int, positions: dict[int, int]) -> bytes:
    parts = [
        FetchRequest.Partition(partition=index, fetch_offset=Offset(at), partition_max_bytes=PARTITION_MAX_BYTES)
        for index, at in positions.items()
    ]
    body = FetchRequest(
        replica_id=BrokerId(-1),
        max_wait_ms=MAX_WAIT_MS,
        min_bytes=MIN_BYTES,
        max_bytes=MAX_BYTES,
        session_id=session_id,
        session_epoch=epoch,
        topics=[FetchRequest.Topic(topic=TOPIC, partitions=parts)] if parts else [],
    )
    return write_request("Fetch", VERSION, 0, CLIENT, body)


def answer(session_id: int, parts: Sequence[FetchResponse.PartitionData], code: int = 0) -> bytes:
    topics = [FetchResponse.FetchableTopicResponse(topic=TOPIC, partitions=list(parts))] if parts else []
    body = FetchResponse(error_code=code, session_id=session_id, responses=topics)
    call = Call("Fetch", FETCH_KEY, VERSION, 0, CLIENT, None, 0)
    return b"".join(bytes(piece) for piece in close_call(call, body))


def given(index: int, records: bytes | None = None, code: int = 0) -> FetchResponse.PartitionData:
    return FetchResponse.PartitionData(
        partition_index=index, error_code=code, high_watermark=Offset(300), records=records
    )


class Log:
    """What a producer has written and a broker keeps."""

    def __init__(self) -> None:
        self.written = Written(200, RECORDS)

    def append(self, index: int, sent: float, value: bytes = b"x" * 50) -> bytes:
        """The batch as it is served: with its offset and a leader epoch."""
        batch = build([Record(timestamp=7, value=value) for _ in range(RECORDS)])
        base = self.written.end(index)
        self.written.note(index, bytes(batch), sent)
        patch(batch, base, 5)
        return bytes(batch)


def test_a_session_begins_with_all_partitions_and_goes_on_with_what_has_changed() -> None:
    log = Log()
    session = Session(TOPIC, [4, 150], log.written)
    assert session.request() == request(0, 0, {4: 0, 150: 0})
    session.take(answer(77, [given(4), given(150)]), 1.0)
    assert session.request() == request(77, 1, {})
    first, second = log.append(150, 2.0), log.append(150, 2.5)
    session.take(answer(77, [given(150, first + second)]), 3.0)
    assert session.request() == request(77, 2, {150: 2 * RECORDS})
    session.take(answer(77, []), 4.0)
    assert session.request() == request(77, 3, {})
    assert session.positions == {4: 0, 150: 2 * RECORDS}
    assert session.waits == [(2.0, 1.0), (2.5, 0.5)]


def test_a_broker_that_keeps_no_session_is_told_everything_every_time() -> None:
    log = Log()
    session = Session(TOPIC, [1, 2], log.written)
    session.take(answer(0, [given(1, log.append(1, 1.0)), given(2)]), 2.0)
    assert session.request() == request(0, 0, {1: RECORDS, 2: 0})


def test_answers_of_any_length_are_read() -> None:
    log = Log()
    session = Session(TOPIC, range(100), log.written)
    batches = [log.append(index, 0.0, b"y" * 40 * index) for index in range(100)]
    session.take(answer(5, [given(index, batch) for index, batch in enumerate(batches)]), 1.0)
    assert set(session.positions.values()) == {RECORDS}
    assert session.request() == request(5, 1, dict.fromkeys(range(100), RECORDS))


def test_a_gap_a_repetition_and_a_batch_that_nobody_wrote_are_losses() -> None:
    log = Log()
    first, second = log.append(1, 1.0), log.append(1, 2.0)
    with pytest.raises(Lost, match="partition 1 went on with 3 instead of 0"):
        Session(TOPIC, [1], log.written).take(answer(9, [given(1, second)]), 3.0)
    with pytest.raises(Lost, match="partition 1 went on with 0 instead of 3"):
        Session(TOPIC, [1], log.written).take(answer(9, [given(1, first + first)]), 3.0)
    invented = Log()
    third = [invented.append(1, 1.0) for _ in range(3)][-1]
    with pytest.raises(Lost, match="partition 1 went on with 6 instead of 6"):
        Session(TOPIC, [1], log.written).take(answer(9, [given(1, first + second + third)]), 3.0)


@pytest.mark.parametrize("at", [16, 21, 57, -1])
def test_a_changed_byte_is_found_wherever_it_is(at: int) -> None:
    log = Log()
    batch = bytearray(log.append(1, 1.0))
    batch[at] ^= 1
    with pytest.raises(Lost, match="the batch at 0 of partition 1 is not what was written"):
        Session(TOPIC, [1], log.written).take(answer(9, [given(1, bytes(batch))]), 2.0)


def test_errors_are_told() -> None:
    session = Session(TOPIC, [1], Log().written)
    with pytest.raises(Refused, match="answered with error 71"):
        session.take(answer(9, [], code=71), 1.0)
    with pytest.raises(Refused, match="partition 1 was answered with error 6"):
        session.take(answer(9, [given(1, code=6)]), 1.0)
    moved = given(1)
    moved.current_leader = FetchResponse.LeaderIdAndEpoch(leader_id=BrokerId(3))
    with pytest.raises(Refused, match="or with more than records"):
        session.take(answer(9, [moved]), 1.0)
