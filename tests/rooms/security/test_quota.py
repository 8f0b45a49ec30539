"""The arithmetic of quotas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafka_broker.model.time import Millis
from pykafka_broker.security.quota import WindowedRate

T = 1_000_000


def at(ms: int) -> Millis:
    return Millis(T + ms)


def test_what_never_moved_has_no_rate() -> None:
    rate = WindowedRate(11, 1_000)
    assert rate.rate(at(0)) == 0
    assert not rate.is_exceeded(at(0), 0)


def test_the_first_second_counts_as_a_whole_one() -> None:
    rate = WindowedRate(11, 1_000)
    rate.record(at(0), 500)
    assert rate.rate(at(0)) == 500
    assert rate.rate(at(999)) == 500
    assert rate.rate(at(2_000)) == 250


def test_more_than_the_bound_is_too_much_until_time_has_made_up_for_it() -> None:
    rate = WindowedRate(11, 1_000)
    rate.record(at(0), 3_000)
    assert rate.is_exceeded(at(0), 2_999)
    assert not rate.is_exceeded(at(0), 3_000)
    assert rate.is_exceeded(at(2_999), 1_000)
    assert not rate.is_exceeded(at(3_000), 1_000)


def test_a_flood_is_forgotten_when_its_window_is_too_old() -> None:
    rate = WindowedRate(3, 1_000)
    rate.record(at(0), 1_000_000)
    for second in range(1, 3):
        rate.record(at(second * 1_000), 10)
    assert rate.rate(at(2_999)) > 300_000
    assert rate.rate(at(3_000)) == 20 * 1_000 / 2_000


@given(st.integers(1, 20), st.integers(1, 5_000), st.integers(100, 60_000))
def test_a_steady_stream_has_its_rate(count: int, per_step: int, step_ms: int) -> None:
    """Of as many windows as are looked at, and of no more than one besides."""
    rate = WindowedRate(count, 1_000)
    now = 0
    while now < 3 * count * 1_000 and now < 50 * step_ms:
        rate.record(at(now), per_step)
        now += step_ms
    expected = per_step * 1_000 / step_ms
    # What comes at the end of a step counts from the beginning; a window may hold less than one step.
    assert rate.rate(at(now)) <= max(expected * (1 + step_ms / 1_000), per_step)


@pytest.mark.parametrize(
    ("count", "events"),
    [
        (
            2,
            "m:1000050:0.0 r:1039769:95068 m:1039819:95068.0 r:1040833:19067 r:1040833:81231 "
            "m:1040833:183614.66165413533 r:1040975:16214 m:1040975:175439.46932006633 m:1041237:144128.06539509536 "
            "r:1042044:68430 r:1042341:10367 r:1042341:60155 m:1042391:163969.19127086006 r:1044727:59759 "
            "m:1045125:59759.0 m:1047704:0.0 r:1047766:31113 r:1047766:14538 m:1047766:45651.0 r:1047816:6435 "
            "m:1047866:52086.0 r:1047866:21131 r:1047938:94746 m:1048146:167963.0 m:1048248:167963.0 r:1048298:49909 "
            "m:1048420:217872.0 r:1048420:17624 m:1048470:235496.0 m:1049581:125464.03835908364 r:1049738:11617 "
            "m:1049738:121491.15044247788 r:1049901:44724 r:1049951:5907 m:1049951:132507.34312416555 r:1050001:27835 "
            "r:1050051:42201 m:1051675:68293.2369643779 r:1052972:14449 m:1054543:9197.326543602801 r:1057014:39445",
        ),
        (
            5,
            "m:1000213:0.0 r:1002691:36569 r:1002691:91263 r:1002741:51262 m:1002791:69470.13188518232 "
            "r:1002900:20153 r:1002900:13205 m:1004200:53286.18008527715 r:1004200:82689 r:1004775:89415 "
            "m:1005052:79470.13845835916 r:1005052:24220 r:1005052:97357 m:1005052:104594.54432734035",
        ),
    ],
)
def test_it_is_the_rate_that_apache_kafka_would_find(count: int, events: str) -> None:
    """What the ``SimpleRate`` of Apache Kafka 3.9.1 measured (m) between what it recorded (r), at these times."""
    rate = WindowedRate(count, 1_000 if count == 2 else 2_000)
    for event in events.split():
        what, time, amount = event.split(":")
        if what == "r":
            rate.record(Millis(int(time)), int(amount))
        else:
            assert rate.rate(Millis(int(time))) == pytest.approx(float(amount))
