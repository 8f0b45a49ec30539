"""Brokers of both kinds in one cluster, under load: each in every role, and everything moved from kind to kind.

Two of this broker's and two of Apache Kafka's share an ensemble. Leaders of one kind have followers of the other from
the beginning; what else may happen to them is done to them here, and every record is accounted for.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from compat.cluster.conftest import Grounds
from compat.cluster.contents import OFFSETS
from compat.cluster.proof import KILL, STOP, TOPIC, Proof, proof
from compat.cluster.servers import APACHE, OURS
from compat.servers import APACHE_KAFKA, java
from compat.waiting import until

pytestmark = pytest.mark.compat

KINDS: Final = (OURS, OURS, APACHE, APACHE)
MOVES: Final = ((0, 1), (2, 3), (1, 0))
"""Where everything goes: to ours, to Apache Kafka, and back."""


@pytest.fixture
def going(kept_while_sound: Grounds) -> Proof:
    """The cluster, with all of its members and loads."""
    return kept_while_sound.standing(lambda: proof(KINDS))


@pytest.mark.parametrize("kind", [OURS, APACHE])
def test_a_broker_of_either_kind_is_controller_over_both(going: Proof, kind: str) -> None:
    for _ in range(12):
        controller = going.cluster.controller()
        if KINDS[controller] == kind:
            break
        going.lose(going.cluster.members[controller], STOP)
        going.recover()
    assert KINDS[going.cluster.controller()] == kind
    going.cluster.make_topic(f"made-by-{kind}", 4)
    going.recover()
    going.check()


@pytest.mark.parametrize("number", [0, 2], ids=[OURS, APACHE])
def test_a_broker_of_either_kind_may_be_killed(going: Proof, number: int) -> None:
    going.lose(going.cluster.members[number], KILL)
    going.recover()
    going.check()


def test_everything_moves_to_apache_kafka_and_back_while_clients_go_on(going: Proof, tmp_path: Path) -> None:
    begun = time.time()
    for target in MOVES:
        going.note(f"everything moves to {target}")
        wanted = {
            (topic, index): _rotated(target, index)
            for topic in (TOPIC, OFFSETS)
            for index in going.cluster.replicas(topic)
        }
        plan = tmp_path / "plan.json"
        plan.write_text(
            json.dumps(
                {
                    "version": 1,
                    "partitions": [
                        {"topic": topic, "partition": index, "replicas": replicas}
                        for (topic, index), replicas in wanted.items()
                    ],
                }
            )
        )
        told = _reassign(going, plan, "--execute")
        assert "Successfully started partition reassignments" in told, told
        _await_moves(going, plan)
        for (topic, index), replicas in wanted.items():
            assert going.cluster.replicas(topic)[index] == replicas
        going.recover()
        going.check()
    assert going.failed_since(begun) == [], going.story()


def test_in_the_end_the_group_has_read_everything_and_all_replicas_hold_the_same(
    going: Proof, kept_while_sound: Grounds
) -> None:
    going.finish()
    kept_while_sound.clear()


def _rotated(brokers: Sequence[int], turn: int) -> list[int]:
    """The brokers, beginning with another one for each partition."""
    turn %= len(brokers)
    return [*brokers[turn:], *brokers[:turn]]


def _await_moves(going: Proof, plan: Path) -> None:
    until(lambda: "still in progress" not in _reassign(going, plan, "--verify"), within_s=90, what="the moves to end")


def _reassign(going: Proof, plan: Path, how: str) -> str:
    """What Apache Kafka's own tool says."""
    tool = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
    arguments = ["--bootstrap-server", going.cluster.bootstrap, "--reassignment-json-file", str(plan), how]
    done = subprocess.run(
        java(APACHE_KAFKA, "128m", tool, *arguments), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
