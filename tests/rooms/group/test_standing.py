"""What of a group outlives a failover, told as stories."""

from __future__ import annotations

from pykafka_broker.model.errors import ErrorCode
from tests.rooms.group.story import Story, joined, pair, static_pair, subscription, synced

NONE = ErrorCode.NONE
REBALANCING = ErrorCode.REBALANCE_IN_PROGRESS
UNKNOWN = ErrorCode.UNKNOWN_MEMBER_ID


def test_a_stable_group_goes_on_after_a_failover(prompt: Story) -> None:
    pair(prompt).fails_over().beats("a").hears(a=NONE).syncs("b").hears(b=synced(b"1"))
    prompt.at(9_999).beats("a").hears(a=NONE).at(10_000).beats("a").hears(a=REBALANCING)


def test_a_rebalance_under_way_is_forgotten_by_a_failover(prompt: Story) -> None:
    pair(prompt).joins("c").joins("a").joins("b", topics=["u"]).hears(a=joined(), b=joined(), c=joined())
    prompt.fails_over().syncs("a", a=b"").hears(a=ErrorCode.ILLEGAL_GENERATION).syncs("c").hears(c=UNKNOWN)
    prompt.joins("a").joins("b", topics=["t"]).hears(a=joined(generation=3), b=joined(generation=3))


def test_static_members_are_known_after_a_failover(prompt: Story) -> None:
    static_pair(prompt).fails_over().restarts("b").hears(b=joined(generation=2, skip=False))


def test_a_group_knows_its_subscriptions_after_a_failover(prompt: Story) -> None:
    pair(prompt, topics=["t", "u"]).fails_over()
    (group,) = prompt.coordinator.groups()
    assert group.subscribed == frozenset({"t", "u"})


def test_nothing_is_known_of_subscriptions_that_make_no_sense(prompt: Story) -> None:
    prompt.at(0).joins("a", protocols={"range": subscription("t")[:-6]}).hears(a=joined())
    (group,) = prompt.coordinator.groups()
    assert group.subscribed is None
    assert group.is_subscribed_to("anything")
