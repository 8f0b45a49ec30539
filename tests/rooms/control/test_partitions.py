"""States of partitions: one write at a time, and everybody who has to know is told when it is written."""

from __future__ import annotations

from pykafka_broker.control.cluster import Cluster, PartitionState
from pykafka_broker.control.commands import Command, Note, StateWrite, TellBroker, WriteStates
from pykafka_broker.control.events import BrokersSeen, StatesRefused, StatesWritten, TopicsSeen
from pykafka_broker.control.outbox import Outbox
from pykafka_broker.control.partitions import Partitions
from pykafka_broker.control.petitions import Due
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.wire import messages
from tests.rooms.control.test_controller import T0, T1, Story, broker, state, topic


class Bench:
    """Partitions without a controller around them."""

    def __init__(self, cluster: Cluster, *, settled: bool = True, told: bool = True, unclean: bool = False) -> None:
        self.cluster = cluster
        self.commands: list[Command] = []
        self.partitions = Partitions(
            cluster,
            Outbox(BrokerId(1), "PLAINTEXT"),
            self.commands,
            may_be_settled=lambda partition: settled,
            may_be_told=lambda partition: told,
            may_be_unclean=lambda topic: unclean,
        )
        self.partitions.controller_epoch = 3

    def done(self) -> list[Command]:
        self.partitions.flush()
        done = list(self.commands)
        self.commands.clear()
        return done

    def leads(self) -> dict[int, bool]:
        """Who is told by LeaderAndIsr, and whether as something new."""
        return {
            one.broker: one.request.topic_states[0].partition_states[0].is_new
            for one in self.done()
            if isinstance(one, TellBroker) and isinstance(one.request, messages.LeaderAndIsrRequest)
        }


def cluster(
    *replicas: tuple[int, ...], live: tuple[int, ...] = (1, 2, 3), states: dict[TopicPartition, PartitionState]
) -> Cluster:
    return Cluster(brokers={BrokerId(one): broker(one) for one in live}, topics={"t": topic(*replicas)}, states=states)


def test_many_partitions_share_one_command() -> None:
    bench = Bench(cluster((1, 2), (2, 1), states={}))
    bench.partitions.settle((T0, T1))
    (command,) = bench.done()
    assert isinstance(command, WriteStates)
    assert [(one.partition, one.expected, one.state.controller_epoch) for one in command.writes] == [
        (T0, None, 3),
        (T1, None, 3),
    ]
    assert bench.partitions.is_writing(T0)
    assert not bench.partitions.are_at_rest


def test_a_healthy_partition_and_one_that_must_be_left_alone_are_not_written() -> None:
    bench = Bench(cluster((1, 2), states={T0: state(1, 1, 2)}))
    bench.partitions.settle((T0, TopicPartition("ghost", 0)))
    assert bench.done() == []
    bench = Bench(cluster((1, 2), states={}), settled=False)
    bench.partitions.settle((T0,))
    assert bench.done() == []


def test_the_first_state_is_told_as_something_new_to_all_replicas() -> None:
    bench = Bench(cluster((1, 2), states={}))
    bench.partitions.settle((T0,))
    bench.done()
    bench.partitions.written({T0: state(1, 1, 2)})
    assert bench.leads() == {1: True, 2: True}
    assert bench.partitions.are_at_rest


def test_who_is_spared_is_not_told_and_who_joins_makes_a_log() -> None:
    known = cluster((1, 2, 3), states={T0: state(1, 1, 2)})
    bench = Bench(known)
    bench.partitions.write([Due(T0, state(1, 1, epoch=1), spared=(BrokerId(2),), joining=(BrokerId(3),))])
    bench.done()
    bench.partitions.written({T0: state(1, 1, epoch=1, version=1)})
    assert bench.leads() == {1: False, 3: True}


def test_nobody_is_told_of_what_is_not_to_be_told() -> None:
    bench = Bench(cluster((1,), states={T0: state(1, 1)}), told=False)
    bench.partitions.announce(T0)
    assert bench.done() == []


def test_an_unclean_election_is_noted() -> None:
    bench = Bench(cluster((1, 2), live=(2,), states={T0: state(1, 1)}), unclean=True)
    bench.partitions.settle((T0,))
    note, write = bench.done()
    assert isinstance(note, Note)
    assert (note.fact.name, note.fact.fields) == ("UncleanElection", {"partition": "t-0", "leader": 2})
    assert isinstance(write, WriteStates)


def test_how_the_writes_of_dropped_partitions_end_is_of_no_interest() -> None:
    bench = Bench(cluster((1,), states={}))
    bench.partitions.settle((T0,))
    bench.partitions.settle((T0,))
    bench.done()
    bench.partitions.drop((T0,))
    bench.partitions.written({T0: state(1, 1)})
    bench.partitions.refused({T0: state(1, 1)})
    assert bench.done() == []
    assert bench.cluster.states == {}


def test_a_refused_write_is_decided_anew_on_what_is_there() -> None:
    story = Story().begins([broker(1), broker(2)], {"t": topic((1, 2))}, {T0: state(1, 1, 2, epoch=3, version=4)})
    story.hears(BrokersSeen([broker(2)]))
    story.hears(StatesRefused({T0: state(1, 1, 2, epoch=3, version=6)}))
    assert story.writes == [StateWrite(T0, state(2, 2, epoch=4, version=6), 6)]


def test_a_state_that_is_there_already_is_adopted() -> None:
    story = Story().begins([broker(1)])
    story.hears(TopicsSeen({"t"}, {"t": topic((1,))}))
    story.hears(StatesRefused({T0: state(1, 1, epoch=5, version=8)}))
    assert story.writes == []
    assert story.told[0][1].topic_states[0].partition_states[0].leader_epoch == 5


def test_what_changes_while_a_write_is_under_way_is_decided_after_it() -> None:
    story = Story().begins([broker(1), broker(2)])
    story.hears(TopicsSeen({"t"}, {"t": topic((1, 2))}))
    first = story.writes
    story.hears(BrokersSeen([broker(2)]))
    assert story.writes == []
    story.hears(StatesWritten({T0: state(1, 1, 2)}))
    assert [write.state.leader for write in first] == [1]
    assert story.writes == [StateWrite(T0, state(2, 2, epoch=1), 0)]
