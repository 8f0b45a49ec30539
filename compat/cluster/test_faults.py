"""Three brokers and three ZooKeeper servers under load, from which one after the other is taken and given back.

Each test does one thing to the cluster that all share, sees it go on, lets everybody come back and has everything
checked that was ever written to it. `PROOF_OF=apache` asks the same of Apache Kafka, which proves the tests;
`PROOF_SEED` and `PROOF_STEPS` choose the random sequence and its length.
"""

from __future__ import annotations

import os
import random
import time
from typing import Final

import pytest

from compat.cluster.conftest import Grounds
from compat.cluster.links import ZOOKEEPER
from compat.cluster.proof import (
    COORDINATOR,
    KILL,
    PARTITIONS,
    PAUSE,
    ROLES,
    STOP,
    TOPIC,
    Proof,
    lose_ensemble,
    lose_zookeeper,
    proof,
    random_steps,
)
from compat.cluster.servers import APACHE, OURS
from compat.waiting import until

pytestmark = pytest.mark.compat

KIND: Final = os.environ.get("PROOF_OF", OURS)
KINDS: Final = {OURS: [OURS] * 3, APACHE: [APACHE] * 3, "mixed": [OURS, OURS, APACHE]}[KIND]
SEED: Final = int(os.environ.get("PROOF_SEED", random.randrange(1_000_000)))
STEPS: Final = int(os.environ.get("PROOF_STEPS", "5"))
STOPPING_S: Final = 3.0
"""Longer than a broker that says good-bye may keep a partition from being written to."""


@pytest.fixture
def going(kept_while_sound: Grounds) -> Proof:
    """The cluster, with all of its members and loads."""
    return kept_while_sound.standing(lambda: proof(KINDS))


@pytest.mark.parametrize("role", ROLES)
def test_a_broker_may_be_killed(going: Proof, role: str) -> None:
    going.lose(going.who(role), KILL)
    going.recover()
    going.check()


@pytest.mark.parametrize("role", ROLES)
def test_a_broker_may_hang_until_it_is_given_up_and_then_go_on(going: Proof, role: str) -> None:
    going.lose(going.who(role), PAUSE)
    going.recover()
    going.check()


@pytest.mark.parametrize("role", ROLES)
def test_a_broker_may_be_told_to_end(going: Proof, role: str) -> None:
    going.lose(going.who(role), STOP)
    going.recover()
    going.check()


def test_all_brokers_may_be_killed_at_once(going: Proof) -> None:
    going.lose_together(list(going.cluster.members.values()))
    going.recover()
    going.check()


@pytest.mark.parametrize("paused", [False, True], ids=["killed", "paused"])
@pytest.mark.parametrize("mode", ["leader", "follower"])
def test_one_zookeeper_server_of_three_may_go_and_no_broker_is_given_up(going: Proof, mode: str, paused: bool) -> None:
    before = going.registrations()
    index = next(index for index, server in enumerate(going.ensemble.servers) if server.mode == mode)
    lose_zookeeper(going, index, paused=paused)
    going.recover()
    going.check()
    assert going.registrations() == before


def test_all_zookeeper_servers_may_be_killed_at_once_and_no_broker_is_given_up(going: Proof) -> None:
    before = going.registrations()
    lose_ensemble(going)
    going.recover()
    going.check()
    assert going.registrations() == before


def test_a_follower_that_cannot_ask_its_leader_is_left_behind_and_catches_up(going: Proof) -> None:
    partition, leader, follower = going.partition_without_controller()
    with going.cut((follower, leader)):
        going.await_out_of_sync(partition, follower)
        going.loads.await_progress(time.time())
    going.recover()
    going.check()


def test_a_follower_that_does_not_hear_its_leader_is_left_behind_and_catches_up(going: Proof) -> None:
    partition, leader, follower = going.partition_without_controller()
    with going.cut((leader, follower)):
        going.await_out_of_sync(partition, follower)
        going.loads.await_progress(time.time())
    going.recover()
    going.check()


def test_a_leader_without_the_others_acknowledges_nothing_that_is_lost(going: Proof) -> None:
    leader = going.who(COORDINATOR).number
    others = [number for number in going.cluster.members if number != leader]
    led = next(index for index, who in going.cluster.leaders(TOPIC).items() if who == leader)
    with going.cut(*((leader, other) for other in others), *((other, leader) for other in others)):
        going.await_silence(led, 5)
    going.recover()
    going.check()


def test_a_broker_without_zookeeper_is_given_up_and_comes_back(going: Proof) -> None:
    alone = going.cluster.leader(TOPIC)
    with going.cut((alone, ZOOKEEPER), (ZOOKEEPER, alone)):
        going.await_departure(going.cluster.members[alone])
        going.loads.await_progress(time.time())
    going.recover()
    going.check()


def test_a_controller_without_zookeeper_is_followed_by_another_and_heeded_no_more(going: Proof) -> None:
    former = going.cluster.controller()
    with going.cut((former, ZOOKEEPER)):
        until(lambda: going.controller_seen_without(former) not in (former, -1), what="another controller")
        going.await_departure(going.cluster.members[former])
        going.loads.await_progress(time.time())
    going.recover()
    going.check()


def test_a_rolling_restart_is_hidden_from_clients(going: Proof, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.time()
    for member in going.cluster.members.values():
        going.lose(member, STOP)
        going.cluster.await_members()
        going.cluster.await_in_sync()
    going.recover()
    silences = going.silences_since(begun)
    with capsys.disabled():
        told = ", ".join(f"{partition} {silence:.2f} s" for partition, silence in silences.items())
        print(f"\nrolling restart ({KIND}), longest time without an acknowledgement: {told}")
    going.check()
    assert going.failed_since(begun) == []
    assert len(silences) == PARTITIONS
    assert max(silences.values()) < STOPPING_S


def test_random_misfortunes_one_after_the_other(going: Proof, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nrandom misfortunes: PROOF_SEED={SEED}")
    random_steps(going, random.Random(SEED), STEPS)


def test_in_the_end_the_group_has_read_everything_and_all_replicas_hold_the_same(
    going: Proof, kept_while_sound: Grounds
) -> None:
    going.finish()
    kept_while_sound.clear()
