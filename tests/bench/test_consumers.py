"""A crowd of consumers forms real groups, reads all that is written, and finds out when it does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.consumers import Crowd, drawn
from bench.members import Group, Line, Member, assign, assigned, assignment
from bench.raw import await_leaders
from bench.rounds import run_load
from bench.sessions import Written
from bench.topics import make_topic
from bench.values import Lost
from compat.servers import QUICK, Server, our_broker
from pykafka_broker.model.names import MemberId

SMALL = {"groups": 3, "members": 2, "partitions": 5, "rate": 200, "batch": 4, "warm_up_s": 0, "seconds": 1}


def test_partitions_are_dealt_out_in_turn_and_each_once() -> None:
    given = assign([MemberId("b"), MemberId("a"), MemberId("c")], 8)
    assert {member: list(parts) for member, parts in given.items()} == {"a": [0, 3, 6], "b": [1, 4, 7], "c": [2, 5]}


def test_a_consumer_finds_its_partitions_in_what_the_leader_gave_it() -> None:
    assert assigned(assignment("crowd", range(1, 100, 10))) == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91]


def test_every_partition_gets_as_many_batches_in_an_order_that_is_always_the_same() -> None:
    order = drawn(10, 35)
    assert [sorted(order[start : start + 10]) for start in (0, 10, 20)] == [list(range(10))] * 3
    assert len(order) == 35
    assert order[:10] != order[10:20]
    assert order == drawn(10, 35)


def test_a_group_is_stable_when_all_members_have_the_same_generation() -> None:
    group = Group("group", "topic", 4, 2)
    line = Line.__new__(Line)
    first, second = Member(group, line), Member(group, line)
    for member, generation, stable in ((first, 1, False), (second, 2, False), (first, 2, True), (second, 3, False)):
        member.generation = generation
        group.note(member)
        assert group.is_stable is stable


@pytest.fixture(scope="module")
def broker() -> Iterator[Server]:
    with our_broker(QUICK) as server:
        yield server


@pytest.mark.compat
def test_every_group_has_every_record(broker: Server) -> None:
    found = run_load(broker.bootstrap, "crowd", str, pid=broker.pid, turn=0, **SMALL)
    assert 0 < found["stable"] < 30
    assert 0 < found["p50"] <= found["p99"] < 10_000
    assert 300 < found["delivered"] < 900
    assert found["memory"] > 10


@pytest.mark.compat
def test_a_batch_that_never_comes_is_missed(broker: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    make_topic(broker.bootstrap, "lossy", 2)
    await_leaders(broker.port, "lossy", 2)
    written = Written(2, 4)
    crowd = Crowd(broker.port, [Group("lossy", "lossy", 2, 2)], written)
    crowd.form()
    crowd.poll()
    crowd.run(crowd.produce(3), 3, 0.01)
    crowd.await_records()
    written.note(1, bytes(100), 0.0)
    monkeypatch.setattr("bench.consumers.PATIENCE_S", 0.1)
    with pytest.raises(Lost, match="4 records were not delivered"):
        crowd.await_records()
    crowd.close()
