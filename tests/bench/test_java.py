"""What Apache Kafka's programs print at their end is read to the digit, and nothing else is taken for it."""

from __future__ import annotations

import pytest

from bench.java import Consumed, Produced, Unreadable, read_consumed, read_produced

WINDOW = "271051 records sent, 54210.2 records/sec (52.94 MB/sec), 487.7 ms avg latency, 768.0 ms max latency.\n"
SUM = (
    "390625 records sent, 59610.102243 records/sec (58.21 MB/sec), 461.10 ms avg latency, 768.00 ms max latency,"
    " 464 ms 50th, 703 ms 95th, 755 ms 99th, 765 ms 99.9th.\n"
)
HEADINGS = (
    "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms,"
    " fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n"
)
VALUES = (
    "2026-11-27 03:47:14:257, 2026-11-27 03:47:15:913, 381.4697, 230.0000, 390625, 235884.6618, 314, 1342, 284.0000,"
    " 291076.7511\n"
)
ENDED_EARLY = (
    "WARNING: Exiting before consuming the expected number of messages: timeout (10000 ms) exceeded. You can use the"
    " --timeout option to increase the timeout.\n"
)


def test_the_sum_of_what_was_produced_is_its_last_line() -> None:
    assert read_produced(WINDOW + SUM) == Produced(390_625, 59_610.102243, 461.1, 464, 755)


def test_a_window_of_a_few_seconds_is_no_sum() -> None:
    with pytest.raises(Unreadable, match="no sum of what was produced"):
        read_produced(WINDOW)


def test_the_sum_of_what_was_consumed_is_found_by_its_headings_in_millions_of_bytes() -> None:
    found = read_consumed(HEADINGS + VALUES)
    assert found == Consumed(390_625, 230.0 * 1.048576, 284.0 * 1.048576)
    assert read_consumed(ENDED_EARLY + HEADINGS + VALUES) == found


@pytest.mark.parametrize("output", ["", HEADINGS, HEADINGS + ENDED_EARLY, VALUES])
def test_headings_without_their_values_are_no_sum(output: str) -> None:
    with pytest.raises(Unreadable, match="no sum of what was consumed"):
        read_consumed(output)
