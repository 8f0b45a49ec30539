"""The tree as the controller reads and writes it: in the controller's words, every write fenced by its epoch.

Writes of many partitions or topics share a transaction; where that is refused, each is tried alone, so that nodes which
an earlier controller left half-done do no harm. What is written, and when, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pykafka_broker.config.listeners import PROTOCOLS
from pykafka_broker.control.cluster import Assignment, Endpoint, LiveBroker, PartitionState, Topic
from pykafka_broker.control.commands import ForgetTopic, StateWrite
from pykafka_broker.control.events import (
    Event,
    StatesRefused,
    StatesWritten,
    TopicForgotten,
    TopicRefused,
    TopicWritten,
)
from pykafka_broker.model.names import BrokerId, TopicPartition
from pykafka_broker.model.outcome import Fact, Level
from pykafka_broker.zk import nodes
from pykafka_broker.zk.leadership import TermOver
from pykafka_broker.zk.port import (
    BadVersion,
    Change,
    Check,
    Coordination,
    CoordinationError,
    Create,
    Delete,
    NodeExists,
    NoNode,
    NotEmpty,
    Replace,
    Stat,
)

Say = Callable[[Fact], None]

WRITES_TOGETHER = 100
"""How many partitions or topics share one transaction, well below ZooKeeper's megabyte."""

_PROTOCOLS = {name: number for number, name in enumerate(PROTOCOLS)}


class ControllerTree:
    """One term's access to the tree. Every write may raise ``TermOver``; everything may raise ``SessionLost``."""

    def __init__(self, tree: Coordination, fence: Check, say: Say) -> None:
        """``fence`` checks the version that ``/controller_epoch`` had when the term began."""
        self._tree = tree
        self._fence = fence
        self._say = say
        self._parents: dict[str, set[int]] = {}
        """Topics whose ``partitions`` node is known to be there, and those of their partitions whose node is."""

    def forget(self, topic: str) -> None:
        """The topic's nodes are gone."""
        self._parents.pop(topic, None)

    # Reading

    async def broker(self, broker_id: BrokerId) -> LiveBroker | None:
        """A registered broker; ``None`` when it is gone or its node makes no sense."""
        try:
            node = await self._tree.read(nodes.broker_path(broker_id))
            registration = nodes.BrokerRegistration.decode(broker_id, node.data)
        except NoNode:
            return None
        except nodes.MalformedNode as error:
            self._malformed(str(error))
            return None
        endpoints = tuple(
            Endpoint(one.listener, one.host, one.port, _PROTOCOLS.get(one.security_protocol, 0))
            for one in registration.endpoints
        )
        return LiveBroker(broker_id, node.stat.czxid, endpoints, registration.rack)

    async def topic(self, name: str) -> Topic | None:
        """A topic's node; ``None`` when it is gone or makes no sense."""
        try:
            node = await self._tree.read(nodes.topic_path(name))
            told = nodes.TopicAssignment.decode(name, node.data)
        except NoNode:
            return None
        except nodes.MalformedNode as error:
            self._malformed(str(error))
            return None
        partitions = {
            index: Assignment(replicas, told.adding_replicas.get(index, ()), told.removing_replicas.get(index, ()))
            for index, replicas in told.partitions.items()
        }
        return Topic(told.topic_id, partitions, node.stat.version)

    async def state(self, partition: TopicPartition) -> PartitionState | None:
        """A partition's state; ``None`` when there is none or it makes no sense."""
        try:
            node = await self._tree.read(nodes.partition_state_path(*partition))
            told = nodes.PartitionState.decode(node.data)
        except NoNode:
            return None
        except nodes.MalformedNode as error:
            self._malformed(f"{partition}: {error}")
            return None
        self._parents.setdefault(partition.topic, set()).add(partition.partition)
        return PartitionState(
            told.leader,
            told.leader_epoch,
            told.isr,
            told.controller_epoch,
            told.leader_recovery_state != 0,
            node.stat.version,
        )

    async def failed_log_dirs(self) -> list[BrokerId]:
        """Brokers that have told of a failed log directory, each once; what they wrote is removed."""
        found: dict[BrokerId, None] = {}
        for name in await self._tree.children(nodes.LOG_DIR_EVENTS):
            path = f"{nodes.LOG_DIR_EVENTS}/{name}"
            try:
                found[nodes.LogDirEvent.decode((await self._tree.read(path)).data).broker_id] = None
            except NoNode:
                continue
            except nodes.MalformedNode as error:
                self._malformed(str(error))
            await self.remove(path)
        return list(found)

    async def written_election(self) -> tuple[TopicPartition, ...] | None:
        """Whose preferred leaders an old tool wants elected; ``None`` when none does."""
        try:
            node = await self._tree.read(nodes.PREFERRED_REPLICA_ELECTION)
            return nodes.PreferredReplicaElection.decode(node.data).partitions
        except NoNode:
            return None
        except nodes.MalformedNode as error:
            self._malformed(str(error))
            return ()

    async def written_reassignments(self) -> dict[TopicPartition, tuple[BrokerId, ...]]:
        """What old tools want reassigned, as far as it is not done."""
        try:
            node = await self._tree.read(nodes.REASSIGN_PARTITIONS)
            return dict(nodes.ReassignPartitions.decode(node.data).partitions)
        except NoNode:
            return {}
        except nodes.MalformedNode as error:
            self._malformed(str(error))
            return {}

    def _malformed(self, what: str) -> None:
        self._say(Fact("MalformedNode", Level.ERROR, {"what": what}))

    # Writing

    async def write_reassignments(self, left: Mapping[TopicPartition, Sequence[BrokerId]]) -> None:
        """Leave only these for old tools to see; without any they see that all is done."""
        if not left:
            await self.remove(nodes.REASSIGN_PARTITIONS)
            return
        told = nodes.ReassignPartitions({partition: tuple(target) for partition, target in left.items()})
        with suppress(NoNode):
            await self._together((Replace(told.path, told.encode()),))

    async def tidy(self) -> None:
        """Make sure of ``/feature`` and drop notifications to earlier controllers: everything is read anew."""
        feature = nodes.Feature()
        with suppress(NodeExists):
            await self._together((Create(feature.path, feature.encode()),))
        for parent in (nodes.LOG_DIR_EVENTS, nodes.ISR_CHANGES):
            await self._remove_children(parent)

    async def drop_isr_changes(self) -> None:
        """Remove what leaders of before KIP-497 leave, which cannot be members of a cluster of ours."""
        await self._remove_children(nodes.ISR_CHANGES)

    async def _remove_children(self, parent: str) -> None:
        for name in await self._tree.children(parent):
            await self.remove(f"{parent}/{name}")

    async def _together(self, changes: Sequence[Change]) -> tuple[Any, ...]:
        """Make changes if we are still the controller; ``TermOver`` if not."""
        try:
            return (await self._tree.together((self._fence, *changes)))[1:]
        except (BadVersion, NoNode) as error:
            if error.path == self._fence.path:
                raise TermOver from error
            raise

    async def write_states(self, writes: Sequence[StateWrite]) -> list[Event]:
        """Write states, many at once where possible; tells which stand now, and what stands instead of the others."""
        written: dict[TopicPartition, PartitionState] = {}
        refused: dict[TopicPartition, PartitionState | None] = {}
        for start in range(0, len(writes), WRITES_TOGETHER):
            some = writes[start : start + WRITES_TOGETHER]
            try:
                await self._write_at_once(some, written)
            except CoordinationError:
                for write in some:
                    await self._write_alone(write, written, refused)
        outcomes: list[Event] = []
        if written:
            outcomes.append(StatesWritten(written))
        if refused:
            outcomes.append(StatesRefused(refused))
        return outcomes

    async def _write_at_once(self, writes: Sequence[StateWrite], written: dict[TopicPartition, PartitionState]) -> None:
        changes: list[Change] = []
        made: dict[str, set[int]] = {}
        places = []
        for write in writes:
            topic, index = write.partition
            if write.expected is None and index not in self._parents.get(topic, ()):
                if topic not in self._parents and topic not in made:
                    changes.append(Create(nodes.partitions_path(topic)))
                made.setdefault(topic, set()).add(index)
                changes.append(Create(nodes.partition_path(topic, index)))
            places.append(len(changes))
            changes.append(_change(write))
        done = await self._together(changes)
        for topic, indexes in made.items():
            self._parents.setdefault(topic, set()).update(indexes)
        for place, write in zip(places, writes, strict=True):
            written[write.partition] = _as_written(write, done[place])

    async def _write_alone(
        self,
        write: StateWrite,
        written: dict[TopicPartition, PartitionState],
        refused: dict[TopicPartition, PartitionState | None],
    ) -> None:
        partition = write.partition
        try:
            if write.expected is None:
                for path in (nodes.partitions_path(partition.topic), nodes.partition_path(*partition)):
                    with suppress(NodeExists):
                        await self._together((Create(path),))
            done = await self._together((_change(write),))
        except CoordinationError:
            found = refused[partition] = await self.state(partition)
            if found is not None and found.controller_epoch > write.state.controller_epoch:
                # Written by a later controller: ours was told that it is one, but did not look (a zombie).
                raise TermOver from None
        else:
            self._parents.setdefault(partition.topic, set()).add(partition.partition)
            written[partition] = _as_written(write, done[0])

    async def write_topic(self, name: str, topic: Topic) -> Event:
        """Write a topic's node unless somebody else has since it was read."""
        told = nodes.TopicAssignment(
            name,
            {index: assignment.replicas for index, assignment in sorted(topic.partitions.items())},
            topic.topic_id,
            {index: assignment.adding for index, assignment in topic.partitions.items() if assignment.adding},
            {index: assignment.removing for index, assignment in topic.partitions.items() if assignment.removing},
        )
        try:
            (stat,) = await self._together((Replace(told.path, told.encode(), topic.version),))
        except CoordinationError:
            return TopicRefused(name, await self.topic(name))
        return TopicWritten(name, stat.version)

    async def remove_topics(self, going: Sequence[ForgetTopic]) -> list[Event]:
        """Remove topics' nodes, many at once where that is possible."""
        leaves = [change for topic in going for change in _leaves(topic)]
        trunks = [change for topic in going for change in _trunk(topic)]
        try:
            changes = leaves + trunks
            if len(changes) <= 8 * WRITES_TOGETHER:
                await self._together(changes)
            else:
                for start in range(0, len(leaves), 4 * WRITES_TOGETHER):
                    await self._together(leaves[start : start + 4 * WRITES_TOGETHER])
                await self._together(trunks)
        except CoordinationError:
            for topic in going:
                await self._remove_remains(topic.name)
        for topic in going:
            self.forget(topic.name)
        return [TopicForgotten(topic.name) for topic in going]

    async def _remove_remains(self, name: str) -> None:
        """Remove a topic of which some nodes are missing, the mark last, so that a crash leaves the mark."""
        await self._remove_tree(nodes.topic_path(name))
        await self.remove(nodes.config_path(nodes.TOPIC_CONFIG, name))
        await self.remove(nodes.delete_topic_path(name))

    async def _remove_tree(self, path: str) -> None:
        """Remove a node and all below it, but nothing after the term: it may be a new topic's by then."""
        while True:
            try:
                for child in await self._tree.children(path):
                    await self._remove_tree(f"{path}/{child}")
                return await self.remove(path)
            except NoNode:
                return None
            except NotEmpty:
                continue

    async def remove(self, path: str) -> None:
        """Remove a node that may be gone already."""
        with suppress(NoNode):
            await self._together((Delete(path),))


def _change(write: StateWrite) -> Change:
    state = write.state
    data = nodes.PartitionState(
        state.leader, state.isr, state.leader_epoch, state.controller_epoch, int(state.is_recovering)
    ).encode()
    path = nodes.partition_state_path(*write.partition)
    return Create(path, data) if write.expected is None else Replace(path, data, write.expected)


def _leaves(topic: ForgetTopic) -> list[Change]:
    name = topic.name
    return [
        Delete(path(name, index))
        for index in topic.partitions
        for path in (nodes.partition_state_path, nodes.partition_path)
    ]


def _trunk(topic: ForgetTopic) -> list[Change]:
    return [
        Delete(nodes.partitions_path(topic.name)),
        Delete(nodes.topic_path(topic.name)),
        Delete(nodes.config_path(nodes.TOPIC_CONFIG, topic.name)),
        Delete(nodes.delete_topic_path(topic.name)),
    ]


def _as_written(write: StateWrite, done: Any) -> PartitionState:
    state = write.state
    return PartitionState(
        state.leader,
        state.leader_epoch,
        state.isr,
        state.controller_epoch,
        state.is_recovering,
        done.version if isinstance(done, Stat) else 0,
    )
