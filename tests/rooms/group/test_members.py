"""The roster of a group."""

from __future__ import annotations

import pytest

from pykafka_broker.group.members import Member, Roster, subscription_topics
from pykafka_broker.model.names import MemberId
from pykafka_broker.model.outcome import Ticket
from tests.rooms.group.story import subscription


def member(name: str, *protocols: str, instance: str | None = None, joining: int | None = None) -> Member:
    ticket = None if joining is None else Ticket(joining)
    named = tuple((protocol, b"") for protocol in protocols or ("range",))
    return Member(MemberId(name), instance, name, "/h", 10, 10, named, joining=ticket)


def roster(*members: Member) -> Roster:
    made = Roster()
    for one in members:
        made.add(one)
    return made


def test_the_first_member_leads_and_the_next_follows_in_its_place() -> None:
    members = roster(member("a"), member("b"))
    assert members.leader == "a"
    members.remove(MemberId("a"))
    assert members.leader == "b"
    members.remove(MemberId("b"))
    assert members.leader is None


def test_a_leader_that_did_not_rejoin_is_replaced_by_one_who_did() -> None:
    members = roster(member("a"), member("b"), member("c", joining=1))
    assert members.elect()
    assert members.leader == "c"


def test_nobody_is_elected_from_those_who_did_not_rejoin() -> None:
    assert not roster(member("a")).elect()
    assert not roster().elect()


def test_everybody_has_joined_when_nobody_and_no_given_id_is_missing() -> None:
    members = roster(member("a", joining=1), member("b"))
    assert not members.have_all_joined
    members.park_join(members[MemberId("b")], Ticket(2))
    assert members.have_all_joined
    members.pending.add(MemberId("c"))
    assert not members.have_all_joined


def test_a_renamed_member_keeps_its_lead_and_its_instance() -> None:
    members = roster(member("a", instance="i"))
    members.rename(members[MemberId("a")], MemberId("z"))
    assert (members.leader, members.instance("i"), MemberId("a") in members, MemberId("z") in members) == (
        "z",
        "z",
        False,
        True,
    )


def test_candidates_are_supported_by_all() -> None:
    members = roster(member("a", "x", "y"), member("b", "y", "z"))
    assert members.candidates() == frozenset({"y"})
    assert members.supports_any(["y"])
    assert not members.supports_any(["x", "z"])
    members.update(members[MemberId("b")], (("x", b""),), 1, 1)
    assert members.candidates() == frozenset({"x"})


def test_on_a_tie_the_earliest_members_choice_wins() -> None:
    assert roster(member("a", "x", "y"), member("b", "y", "x")).select_protocol() == "x"


def test_the_rebalance_timeout_is_the_most_patient_members() -> None:
    members = roster(member("a"), member("b"))
    members.update(members[MemberId("a")], (("range", b""),), -5, 10)
    assert members.rebalance_timeout_ms == 10
    members.remove(MemberId("b"))
    assert members.rebalance_timeout_ms == 0


@pytest.mark.parametrize("version", [0, 1, 3])
def test_topics_are_read_from_subscriptions_of_any_version(version: int) -> None:
    assert subscription_topics(subscription("t", "u", version=version)) == frozenset({"t", "u"})


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0\1",
        b"\xff\xff\0\0\0\0",
        b"\0\0\x7f\xff\xff\xff",
        b"\0\0\xff\xff\xff\xff",
        b"\0\0\0\0\0\1\0\2a",
        b"\0\0\0\0\0\1\xff\xff",
        b"\0\0\0\0\0\1\0\1\xff",
    ],
)
def test_a_subscription_that_makes_no_sense_is_unknown(garbage: bytes) -> None:
    assert subscription_topics(garbage) is None
