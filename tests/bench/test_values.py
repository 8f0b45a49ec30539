"""A load that reads back what another has written finds every byte that is not as it was, and every record too few or
too many.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from bench.rounds import run_load
from bench.topics import make_topic
from bench.values import SEQUENCE, Inspection, Lost, filler
from compat.servers import QUICK, Server, our_broker

COUNT, SIZE = 300, 100
WRITTEN = [SEQUENCE.pack(number) + filler(SIZE) for number in range(COUNT)]
HARMED = {
    "record 7 is not what was written": [*WRITTEN[:7], WRITTEN[7][:-1] + b"?", *WRITTEN[8:]],
    "record 8 is not what was written": [*WRITTEN[:8], WRITTEN[8][:-1], *WRITTEN[9:]],
    f"record {COUNT + 4} is not what was written": [*WRITTEN[1:], SEQUENCE.pack(COUNT + 4) + filler(SIZE)],
    "record 9 came twice": [*WRITTEN[:10], *WRITTEN[9:-1]],
    "a record without a number": [*WRITTEN[1:], b"short"],
}


def inspect(values: list[bytes]) -> None:
    inspection = Inspection(COUNT, SIZE)
    inspection.look_at(values[: COUNT // 2])
    inspection.look_at(values[COUNT // 2 :])
    inspection.close()


def test_what_comes_back_as_it_was_is_all_there_in_any_order() -> None:
    inspect(WRITTEN)
    inspect(WRITTEN[::-1])


@pytest.mark.parametrize(("told", "values"), HARMED.items(), ids=HARMED)
def test_a_changed_byte_and_a_doubled_record_are_found(told: str, values: list[bytes]) -> None:
    with pytest.raises(Lost, match=f"^{told}"):
        inspect(values)


def test_a_missing_record_is_found() -> None:
    with pytest.raises(Lost, match=r"^1 of 300 records are missing, the first of them 5$"):
        inspect([*WRITTEN[:5], *WRITTEN[6:]])


@pytest.fixture(scope="module")
def broker() -> Iterator[Server]:
    with our_broker(QUICK) as server:
        yield server


def consume(broker: Server, turn: int) -> None:
    run_load(broker.bootstrap, "consume", str, count=COUNT, size=SIZE, partitions=2, turn=turn, check=1)


@pytest.mark.compat
def test_the_load_that_consumes_takes_what_the_load_that_produces_wrote(broker: Server) -> None:
    run_load(broker.bootstrap, "produce", str, count=COUNT, size=SIZE, partitions=2, turn=0)
    consume(broker, 0)


TOO_MANY = f"{COUNT + 1} records are there instead of {COUNT}"
TOO_FEW = f"{COUNT - 1} records are there instead of {COUNT}"


@pytest.mark.compat
@pytest.mark.parametrize(
    ("turn", "told", "values"),
    [
        (1, "record 7 is not what was written", HARMED["record 7 is not what was written"]),
        (2, "record 9 came twice", HARMED["record 9 came twice"]),
        (3, TOO_MANY, [*WRITTEN, WRITTEN[-1]]),
        (4, TOO_FEW, WRITTEN[:-1]),
    ],
)
def test_the_load_that_consumes_fails_at_what_no_load_has_produced(
    broker: Server, turn: int, told: str, values: list[bytes]
) -> None:
    make_topic(broker.bootstrap, f"bulk-{turn}", 2)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for index, value in enumerate(values):
        producer.produce(f"bulk-{turn}", value, partition=index % 2)
    assert not producer.flush(60)
    with pytest.raises(RuntimeError, match=told):
        consume(broker, turn)
