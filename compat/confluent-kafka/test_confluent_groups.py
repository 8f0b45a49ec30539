"""Consumer groups with confluent-kafka: sharing, rebalancing, every assignor, static members."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from confluent_programs import consumer, create_topic, partitions, poll, produce, read, together

from compat.servers import Server
from compat.waiting import until

pytestmark = pytest.mark.compat

Fresh = Callable[[str], str]
ASSIGNORS = ["range", "roundrobin", "cooperative-sticky"]


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_two_members_share_the_partitions_and_one_takes_over_when_the_other_leaves(
    broker: Server, fresh: Fresh, assignor: str
) -> None:
    topic, group = create_topic(broker.bootstrap, fresh("shared"), 4), fresh("group")
    produce(broker.bootstrap, topic, ({"value": b"%d" % n, "partition": n % 4} for n in range(40)))
    with contextlib.ExitStack() as closing:
        first = consumer(broker.bootstrap, group, partition_assignment_strategy=assignor)
        closing.callback(first.close)
        first.subscribe([topic])
        together([first], lambda: partitions(first) == {0, 1, 2, 3})
        second = consumer(broker.bootstrap, group, partition_assignment_strategy=assignor)
        second.subscribe([topic])
        together([first, second], lambda: len(partitions(first)) == len(partitions(second)) == 2)
        assert partitions(first) | partitions(second) == {0, 1, 2, 3}
        second.close()
        together([first], lambda: partitions(first) == {0, 1, 2, 3})
        produce(broker.bootstrap, topic, ({"value": b"last", "partition": n} for n in range(4)))
        found: set[int] = set()
        while len(found) < 4:
            found |= {message.partition() for message in read(first, 1) if message.value() == b"last"}


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_a_member_that_dies_is_given_up_and_the_other_reads_on_from_its_commits(
    broker: Server, fresh: Fresh, assignor: str
) -> None:
    topic, group = create_topic(broker.bootstrap, fresh("dying"), 2), fresh("group")
    program = (
        "import sys, confluent_kafka as k\n"
        "bootstrap, topic, group, assignor = sys.argv[1:]\n"
        "c = k.Consumer({'bootstrap.servers': bootstrap, 'group.id': group, 'session.timeout.ms': 1500,\n"
        "    'heartbeat.interval.ms': 200, 'auto.offset.reset': 'earliest', 'enable.auto.commit': False,\n"
        "    'partition.assignment.strategy': assignor})\n"
        "c.subscribe([topic])\n"
        "while True:\n"
        "    m = c.poll(0.1)\n"
        "    if m and not m.error():\n"
        "        c.commit(m, asynchronous=False)\n"
        "        print(m.partition(), m.offset(), flush=True)\n"
    )
    dying = subprocess.Popen(
        [sys.executable, "-c", program, broker.bootstrap, topic, group, assignor], stdout=subprocess.PIPE, text=True
    )
    survivor = consumer(broker.bootstrap, group, session_timeout_ms=1500, partition_assignment_strategy=assignor)
    try:
        survivor.subscribe([topic])
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        together([survivor], lambda: len(partitions(survivor)) == 1 and members(admin, group) == 2)
        (mine,) = partitions(survivor)
        theirs = 1 - mine
        produce(broker.bootstrap, topic, ({"value": b"before", "partition": theirs} for _ in range(3)))
        assert dying.stdout is not None
        assert [dying.stdout.readline().split() for _ in range(3)] == [[str(theirs), str(n)] for n in range(3)]
        dying.send_signal(signal.SIGKILL)
        dying.wait()
        produce(broker.bootstrap, topic, [{"value": b"after", "partition": theirs}])
        found = together([survivor], lambda: partitions(survivor) == {0, 1})
        while not found:
            found += read(survivor, 1)
        assert [(message.partition(), message.offset(), message.value()) for message in found] == [
            (theirs, 3, b"after")
        ]
    finally:
        dying.kill()
        dying.communicate()
        survivor.close()


def members(admin: AdminClient, group: str) -> int:
    (described,) = admin.describe_consumer_groups([group]).values()
    return len(described.result(10).members)


def test_every_record_is_read_once_by_a_group_that_grows_and_commits(broker: Server, fresh: Fresh) -> None:
    topic, group = create_topic(broker.bootstrap, fresh("grown"), 6), fresh("group")
    produce(broker.bootstrap, topic, ({"value": b"%d" % n, "partition": n % 6} for n in range(600)))
    readers: list[Consumer] = []
    found: list[bytes] = []
    try:
        for _ in range(3):
            readers.append(consumer(broker.bootstrap, group, partition_assignment_strategy="cooperative-sticky"))
            readers[-1].subscribe([topic])
            for message in together(readers, lambda: all(partitions(reader) for reader in readers)):
                found.append(message.value())
                readers[0].commit(
                    offsets=[TopicPartition(topic, message.partition(), message.offset() + 1)], asynchronous=False
                )
        until(
            lambda: found.extend(m.value() for reader in readers if (m := poll(reader, 0.02))) or len(set(found)) == 600
        )
    finally:
        for reader in readers:
            reader.close()
    assert sorted(set(map(int, found))) == list(range(600))


def test_the_group_goes_on_where_it_committed(broker: Server, fresh: Fresh) -> None:
    topic, group = create_topic(broker.bootstrap, fresh("resumed")), fresh("group")
    produce(broker.bootstrap, topic, ({"value": b"%d" % number} for number in range(10)))
    for first in (0, 5):
        reader = consumer(broker.bootstrap, group)
        try:
            reader.subscribe([topic])
            assert [int(message.value()) for message in read(reader, 5)] == list(range(first, first + 5))
            reader.commit(offsets=[TopicPartition(topic, 0, first + 5)], asynchronous=False)
        finally:
            reader.close()


def test_a_static_member_that_restarts_within_its_session_causes_no_rebalance(broker: Server, fresh: Fresh) -> None:
    topic, group = create_topic(broker.bootstrap, fresh("static"), 2), fresh("group")
    rebalanced: list[str] = []

    def static(instance: str) -> Consumer:
        member = consumer(broker.bootstrap, group, group_instance_id=instance, session_timeout_ms=20_000)
        member.subscribe(
            [topic],
            on_assign=lambda _, places: rebalanced.append(f"{instance} got {sorted(p.partition for p in places)}"),
            on_revoke=lambda _, places: rebalanced.append(f"{instance} lost {sorted(p.partition for p in places)}"),
        )
        return member

    one, two = static("one"), static("two")
    try:
        together([one, two], lambda: len(partitions(one)) == len(partitions(two)) == 1)
        before = partitions(two)
        rebalanced.clear()
        two.close()  # a static member does not leave
        rebalanced.clear()
        two = static("two")
        together([one, two], lambda: partitions(two) == before)
        produce(broker.bootstrap, topic, ({"value": b"v", "partition": n} for n in (0, 1)))
        found = read(two, 1) + read(one, 1)
        assert {message.partition() for message in found} == {0, 1}
        assert rebalanced == [f"two got {sorted(before)}"]
    finally:
        one.close()
        two.close()


def test_a_static_member_that_stays_away_loses_its_partitions(broker: Server, fresh: Fresh) -> None:
    topic, group = create_topic(broker.bootstrap, fresh("static"), 2), fresh("group")
    one = consumer(broker.bootstrap, group, group_instance_id="one", session_timeout_ms=1_500)
    two = consumer(broker.bootstrap, group, group_instance_id="two", session_timeout_ms=1_500)
    try:
        one.subscribe([topic])
        two.subscribe([topic])
        together([one, two], lambda: len(partitions(one)) == len(partitions(two)) == 1)
        two.close()
        together([one], lambda: partitions(one) == {0, 1})
    finally:
        one.close()


def test_a_second_static_member_of_the_same_name_fences_the_first(broker: Server, fresh: Fresh) -> None:
    topic, group = create_topic(broker.bootstrap, fresh("static")), fresh("group")
    fatal: list[int] = []
    first = consumer(broker.bootstrap, group, group_instance_id="the one")
    second = consumer(broker.bootstrap, group, group_instance_id="the one")
    try:
        first.subscribe([topic])
        together([first], lambda: partitions(first) == {0})
        second.subscribe([topic])
        together([second], lambda: partitions(second) == {0})

        def fenced() -> bool:
            message = first.poll(0.1)
            if message is not None and message.error() is not None:
                fatal.append(message.error().code())
            return bool(fatal)

        until(fenced)
        assert fatal[0] in (FATAL, FENCED_INSTANCE_ID)
    finally:
        first.close()
        second.close()


FATAL, FENCED_INSTANCE_ID = -150, 82


def test_a_pattern_subscribes_to_topics_that_come_later(broker: Server, fresh: Fresh) -> None:
    prefix, group = fresh("pattern"), fresh("group")
    create_topic(broker.bootstrap, f"{prefix}-a")
    reader = consumer(broker.bootstrap, group, topic_metadata_refresh_interval_ms=300)
    try:
        reader.subscribe([f"^{prefix}-.*"])
        together([reader], lambda: len(reader.assignment()) == 1)
        create_topic(broker.bootstrap, f"{prefix}-b")
        together([reader], lambda: len(reader.assignment()) == 2)
    finally:
        reader.close()


def test_partitions_added_to_a_topic_are_shared_out(broker: Server, fresh: Fresh) -> None:
    topic, group = create_topic(broker.bootstrap, fresh("growing")), fresh("group")
    reader = consumer(broker.bootstrap, group, topic_metadata_refresh_interval_ms=300)
    try:
        reader.subscribe([topic])
        together([reader], lambda: partitions(reader) == {0})
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        (added,) = admin.create_partitions([NewPartitions(topic, 3)]).values()
        added.result(30)
        together([reader], lambda: partitions(reader) == {0, 1, 2})
    finally:
        reader.close()


def test_members_of_one_process_do_not_disturb_groups_of_others(broker: Server, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("audience"))
    produce(broker.bootstrap, topic, ({"value": b"%d" % number} for number in range(5)))
    readers = [consumer(broker.bootstrap, fresh("group")) for _ in range(5)]
    try:
        for reader in readers:
            reader.subscribe([topic])
        for reader in readers:
            assert [int(message.value()) for message in read(reader, 5)] == list(range(5))
    finally:
        for reader in readers:
            reader.close()
