"""Fetch sessions say once what is wanted, and then only what changed (KIP-227)."""

from __future__ import annotations

from itertools import count

import pytest

from pykafka_broker.api.fetch_sessions import EVICTION_MS, FetchPlan, FetchSessions
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages

Told = dict[str, messages.FetchResponse.PartitionData]


class Client:
    """A client that fetches partition 0 of some topics, by name."""

    def __init__(self, slots: int = 10) -> None:
        self.now = 0
        numbers = count(1)
        self.sessions = FetchSessions(slots, lambda: next(numbers))

    def asks(self, session_id: int, epoch: int, *topics: str, forgets: str = "", replica_id: int = -1) -> FetchPlan:
        request = messages.FetchRequest
        body = request(
            replica_id=replica_id,
            session_id=session_id,
            session_epoch=epoch,
            topics=[request.Topic(topic=topic, partitions=[request.Partition(partition=0)]) for topic in topics],
            forgotten_topics_data=[request.ForgottenTopic(topic=forgets, partitions=[0])] if forgets else [],
        )
        return self.sessions.plan(Millis(self.now), 12, body)

    def hears(self, plan: FetchPlan, **told: dict[str, object]) -> tuple[int, list[str]]:
        """The session id and the topics mentioned, when each topic wanted is told what ``told`` says of it."""
        entries = [
            ((wanted.topic, 0), messages.FetchResponse.PartitionData(**{"records": b"", **told.get(wanted.topic, {})}))
            for wanted in plan
        ]
        session_id, mentioned = self.sessions.settle(Millis(self.now), plan, entries)
        return session_id, [str(key[0]) for key, _entry in mentioned]


def test_a_first_fetch_opens_a_session_and_mentions_everything() -> None:
    client = Client()
    assert client.hears(client.asks(0, 0, "a", "b")) == (1, ["a", "b"])


def test_a_fetch_without_a_session_opens_none() -> None:
    client = Client()
    assert client.hears(client.asks(0, -1, "a")) == (0, ["a"])
    assert client.sessions.sessions == {}


def test_an_incremental_answer_mentions_only_what_has_news() -> None:
    client = Client()
    client.hears(client.asks(0, 0, "a", "b"))
    assert client.hears(client.asks(1, 1)) == (1, [])
    assert client.hears(client.asks(1, 2), b={"high_watermark": 5}) == (1, ["b"])
    assert client.hears(client.asks(1, 3), b={"high_watermark": 5}) == (1, [])
    assert client.hears(client.asks(1, 4), a={"log_start_offset": 3}, b={"high_watermark": 5}) == (1, ["a"])


def test_who_was_given_records_goes_to_the_end_of_the_line() -> None:
    client = Client()
    client.hears(client.asks(0, 0, "a", "b", "c"))
    client.hears(client.asks(1, 1), a={"records": b"batch"})
    assert [wanted.topic for wanted in client.asks(1, 2)] == ["b", "c", "a"]


def test_an_error_is_told_again_until_it_is_over() -> None:
    client = Client()
    client.hears(client.asks(0, 0, "a"))
    assert client.hears(client.asks(1, 1), a={"error_code": 3}) == (1, ["a"])
    assert client.hears(client.asks(1, 2), a={"error_code": 3}) == (1, ["a"])
    assert client.hears(client.asks(1, 3)) == (1, ["a"])
    assert client.hears(client.asks(1, 4)) == (1, [])


def test_partitions_come_into_a_session_and_go() -> None:
    client = Client()
    client.hears(client.asks(0, 0, "a"))
    assert [wanted.topic for wanted in client.asks(1, 1, "b")] == ["a", "b"]
    assert [wanted.topic for wanted in client.asks(1, 2, forgets="a")] == ["b"]


def test_a_session_that_wants_nothing_more_is_closed() -> None:
    client = Client()
    client.hears(client.asks(0, 0, "a"))
    assert client.hears(client.asks(1, 1, forgets="a")) == (0, [])
    assert client.sessions.sessions == {}


@pytest.mark.parametrize("epoch", [0, -1])
def test_a_full_fetch_that_names_a_session_closes_it(epoch: int) -> None:
    client = Client()
    client.hears(client.asks(0, 0, "a"))
    client.asks(1, epoch, "a")
    assert 1 not in client.sessions.sessions


@pytest.mark.parametrize(
    "session_id, epoch, error",
    [
        (7, 1, ErrorCode.FETCH_SESSION_ID_NOT_FOUND),
        (1, 2, ErrorCode.INVALID_FETCH_SESSION_EPOCH),
    ],
)
def test_a_session_that_is_not_so_is_refused(session_id: int, epoch: int, error: ErrorCode) -> None:
    client = Client()
    client.hears(client.asks(0, 0, "a"))
    with pytest.raises(KafkaError) as refused:
        client.asks(session_id, epoch)
    assert refused.value.code is error


def test_names_and_ids_do_not_mix_in_one_session() -> None:
    client = Client()
    client.hears(client.asks(0, 0, "a"))
    with pytest.raises(KafkaError) as refused:
        client.sessions.plan(Millis(0), 13, messages.FetchRequest(session_id=1, session_epoch=1))
    assert refused.value.code is ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR


def test_the_epoch_wraps_to_one() -> None:
    client = Client()
    client.hears(client.asks(0, 0, "a"))
    client.sessions.sessions[1].next_epoch = 2**31 - 1
    client.asks(1, 2**31 - 1)
    client.asks(1, 1)


def test_a_full_cache_gives_no_more_sessions_to_consumers() -> None:
    client = Client(slots=1)
    client.hears(client.asks(0, 0, "a"))
    assert client.hears(client.asks(0, 0, "b")) == (0, ["b"])


def test_a_full_cache_gives_up_what_was_long_unused() -> None:
    client = Client(slots=1)
    client.hears(client.asks(0, 0, "a"))
    client.now = EVICTION_MS + 1
    assert client.hears(client.asks(0, 0, "b")) == (2, ["b"])
    assert list(client.sessions.sessions) == [2]


def test_a_follower_pushes_out_a_consumer() -> None:
    client = Client(slots=1)
    client.hears(client.asks(0, 0, "a"))
    assert client.hears(client.asks(0, 0, "b", replica_id=2)) == (2, ["b"])
