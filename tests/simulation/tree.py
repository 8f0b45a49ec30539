"""ZooKeeper as the simulation has it: registrations, one controller, topics and states, and whom to tell of changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from pykafka_broker.control.cluster import Endpoint, LiveBroker, PartitionState, Topic
from pykafka_broker.control.commands import StateWrite
from pykafka_broker.control.events import Event, StatesRefused, StatesWritten, TopicRefused, TopicWritten
from pykafka_broker.model.names import BrokerId, TopicPartition


@dataclass
class Tree:
    """What all brokers agree on. ``changed`` is told what has changed: ``/brokers``, ``/topics`` or a topic's name."""

    changed: Callable[[str], None]
    brokers: dict[BrokerId, int] = field(default_factory=dict)
    """Registered brokers and their epochs."""
    controller: BrokerId | None = None
    controller_epoch: int = 0
    topics: dict[str, Topic] = field(default_factory=dict)
    states: dict[TopicPartition, PartitionState] = field(default_factory=dict)
    _zxids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def register(self, broker: BrokerId) -> int:
        """A broker comes; its epoch."""
        self.brokers[broker] = next(self._zxids)
        self.changed("/brokers")
        return self.brokers[broker]

    def expire(self, broker: BrokerId) -> None:
        """The session of a broker is over, and what it owned is gone."""
        if self.brokers.pop(broker, None) is not None:
            self.changed("/brokers")
        if self.controller == broker:
            self.controller = None

    def live(self) -> list[LiveBroker]:
        """All registered brokers."""
        return [
            LiveBroker(broker, epoch, (Endpoint("PLAINTEXT", f"host{broker}", 9092),))
            for broker, epoch in sorted(self.brokers.items())
        ]

    def elect(self, broker: BrokerId) -> int | None:
        """Make a broker the controller if there is none; the epoch of its term."""
        if self.controller is not None or broker not in self.brokers:
            return None
        self.controller = broker
        self.controller_epoch += 1
        return self.controller_epoch

    def write_states(self, writes: Sequence[StateWrite]) -> list[Event]:
        """Each write for itself, if it replaces what its writer knew."""
        written: dict[TopicPartition, PartitionState] = {}
        refused: dict[TopicPartition, PartitionState | None] = {}
        for write in writes:
            found = self.states.get(write.partition)
            is_expected = (found is None) == (write.expected is None) and (
                found is None or found.version == write.expected
            )
            if not is_expected or write.partition.topic not in self.topics:
                refused[write.partition] = found
                continue
            state = replace(write.state, version=0 if found is None else found.version + 1)
            self._check(write.partition, found, state)
            self.states[write.partition] = written[write.partition] = state
        outcomes: list[Event] = []
        if written:
            outcomes.append(StatesWritten(written))
        if refused:
            outcomes.append(StatesRefused(refused))
        return outcomes

    @staticmethod
    def _check(partition: TopicPartition, before: PartitionState | None, after: PartitionState) -> None:
        assert after.isr, f"nobody is in sync for {partition}"
        assert after.leader == -1 or after.leader in after.isr, f"{partition} is led by one that is not in sync"
        if before is None:
            return
        is_same_leader = (before.leader, before.leader_epoch) == (after.leader, after.leader_epoch)
        assert is_same_leader or after.leader_epoch > before.leader_epoch, f"an epoch of {partition} came twice"
        assert after.leader in (-1, *before.isr), f"{partition} got a leader that was not in sync"

    def write_topic(self, name: str, topic: Topic) -> Event:
        """Replace a topic's node if it is the one its writer knew."""
        found = self.topics.get(name)
        if found is None or found.version != topic.version:
            return TopicRefused(name, found)
        self.topics[name] = replace(topic, version=topic.version + 1)
        self.changed(name)
        return TopicWritten(name, topic.version + 1)
