"""Taking over log directories that another broker has written, for a broker that runs alone.

What a broker with ZooKeeper keeps there beside its files (which topics there are, who leads, which producer ids are
taken) is rebuilt from the files as far as they tell it. ``survey`` only looks; ``adopt`` writes the embedded tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

from msgspec import Struct, field

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.houses import CannotStart, open_house
from pykafka_broker.log import partition_metadata
from pykafka_broker.log.epochs import Epochs
from pykafka_broker.log.loading import EPOCHS_FILE
from pykafka_broker.log.producers import CorruptSnapshot, highest_producer_id
from pykafka_broker.log.segment import LOG
from pykafka_broker.log.snapshots import SUFFIX
from pykafka_broker.model.names import INTERNAL_TOPICS, NO_TOPIC_ID, BrokerId, LeaderEpoch, TopicId, TopicPartition
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.runtime.topics import internal_configs
from pykafka_broker.store import checkpoints
from pykafka_broker.store.directories import CLEAN, LOCK, DirectoryError, LogDirectory
from pykafka_broker.store.files import FileDisk, OpenFiles
from pykafka_broker.store.meta import FILE
from pykafka_broker.store.worker import Worker
from pykafka_broker.zk import nodes, producer_ids, registration
from pykafka_broker.zk.port import Coordination, Create, NoNode, Replace

KEPT_FOR_EVER: Mapping[str, str] = {"retention.ms": "-1"}
"""What a topic gets whose settings nobody knows: nothing of it may be deleted before somebody has said so."""
COMPACTED: Mapping[str, str] = {"cleanup.policy": "compact"}
"""What a topic gets that has been compacted before."""
_MARGIN_IDS = 100 * producer_ids.BLOCK_SIZE
"""Producer ids left out behind the highest one found: the broker had a block that it had not used up, and after a kill
there may be producers of which no snapshot knows."""


class CannotAdopt(Exception):
    """The directories cannot be taken over; the sentence is for the person who asked."""


class Found(Struct, frozen=True):
    """One partition's directory."""

    topic_id: TopicId
    latest_epoch: int
    size_bytes: int
    highest_producer_id: int


class FoundTopic(Struct):
    """What the files tell of a topic."""

    name: str
    topic_id: TopicId = NO_TOPIC_ID
    """Zero for a topic of before Kafka 2.8; the controller gives it one."""
    partitions: dict[int, Found] = field(default_factory=dict)
    was_compacted: bool = False

    @property
    def size_bytes(self) -> int:
        """Length of all its segments."""
        return sum(found.size_bytes for found in self.partitions.values())

    @property
    def configs(self) -> Mapping[str, str]:
        """What it gets, since its own settings are not in its directories."""
        if self.name in INTERNAL_TOPICS:
            return internal_configs(self.name, BrokerSettings())
        return COMPACTED if self.was_compacted else KEPT_FOR_EVER


class Survey(Struct, frozen=True):
    """All that was found in some log directories."""

    paths: tuple[Path, ...]
    broker_id: int
    cluster_id: str | None
    topics: Mapping[str, FoundTopic]
    is_clean: bool

    def lines(self) -> Iterator[str]:
        """The same for people."""
        end = "shut down in good order" if self.is_clean else "not shut down in good order: its first start recovers it"
        whose = f"broker {self.broker_id} of {_cluster(self.cluster_id)}"
        yield f"{', '.join(map(str, self.paths))}: {whose}, {end}"
        width = max(map(len, self.topics), default=0)
        for topic in self.topics.values():
            configs = ", ".join(f"{key}={value}" for key, value in topic.configs.items())
            topic_id = "without an id" if topic.topic_id == NO_TOPIC_ID else f"id {nodes.uuid_text(topic.topic_id)}"
            count = len(topic.partitions)
            yield (
                f"  {topic.name:{width}}  {count:5} partition{'' if count == 1 else 's'}, {topic.size_bytes:,} bytes, "
                f"{topic_id}, gets {configs}"
            )
        if not self.topics:
            yield "  no topics"


def survey(paths: Sequence[Path]) -> Survey:
    """Look at log directories, which no broker may be using meanwhile; ``CannotAdopt`` says why they will not do."""
    owners: dict[Path, tuple[int, str | None]] = {}
    topics: dict[str, FoundTopic] = {}
    where: dict[TopicPartition, Path] = {}
    is_clean = True
    with ExitStack() as stack:
        for path in paths:
            if not path.is_dir():
                raise CannotAdopt(f"{path} is no directory")
            directory = LogDirectory(path, OpenFiles())
            is_new_lock = not (path / LOCK).exists()
            try:
                directory.open()
                stack.callback(directory.close)
                if is_new_lock:
                    stack.callback((path / LOCK).unlink)
                owners[path] = _whose(directory)
                found = directory.find().partitions
                cleaned = directory.read_checkpoint(checkpoints.CLEANER)
                is_clean = is_clean and (path / CLEAN).exists()
                for partition, place in sorted(found.items()):
                    if partition in where:
                        raise CannotAdopt(
                            f"{partition} is in {where[partition]} and in {place}; one of the two has to go"
                        )
                    where[partition] = place
                    topic = topics.setdefault(partition.topic, FoundTopic(partition.topic))
                    topic.was_compacted = topic.was_compacted or partition in cleaned
                    _note(topic, partition, _look(directory.disk(partition), place))
            except (DirectoryError, OSError) as problem:
                raise CannotAdopt(" ".join(str(problem).split())) from problem
    broker_id, cluster_id = _common(owners)
    for topic in topics.values():
        _insist_on_all(topic)
    return Survey(tuple(paths), broker_id, cluster_id, dict(sorted(topics.items())), is_clean)


def _cluster(cluster_id: str | None) -> str:
    return "a cluster without an id" if cluster_id is None else f"cluster {cluster_id}"


def _whose(directory: LogDirectory) -> tuple[int, str | None]:
    meta = directory.meta()
    path = directory.path
    if meta is None:
        raise CannotAdopt(f"{path} has no {FILE}: no broker has kept its log there")
    if meta.version != 0:
        raise CannotAdopt(f"{path}/{FILE} has version {meta.version}: it is of a broker without ZooKeeper (KRaft)")
    if meta.broker_id is None or meta.broker_id < 0:
        raise CannotAdopt(f"{path}/{FILE} names no broker.id")
    return meta.broker_id, meta.cluster_id


def _common(owners: Mapping[Path, tuple[int, str | None]]) -> tuple[int, str | None]:
    """The broker and the cluster that all directories belong to; before Kafka 0.10.1 clusters had no id."""
    first, (broker_id, cluster_id) = next(iter(owners.items()))
    for path, (other_id, other_cluster) in owners.items():
        cluster_id = cluster_id or other_cluster
        if other_id != broker_id or (other_cluster or cluster_id) != cluster_id:
            raise CannotAdopt(
                f"{first} belongs to broker {broker_id} of {_cluster(cluster_id)}, {path} to broker {other_id} of "
                f"{_cluster(other_cluster)}"
            )
    return broker_id, cluster_id


def _note(topic: FoundTopic, partition: TopicPartition, found: Found) -> None:
    if found.topic_id != NO_TOPIC_ID:
        if topic.topic_id not in (NO_TOPIC_ID, found.topic_id):
            raise CannotAdopt(
                f"{partition} belongs to the topic id {nodes.uuid_text(found.topic_id)}, other partitions of "
                f"{partition.topic} to {nodes.uuid_text(topic.topic_id)}: they are of two topics of one name"
            )
        topic.topic_id = found.topic_id
    topic.partitions[partition.partition] = found


def _insist_on_all(topic: FoundTopic) -> None:
    """A broker that had others beside it has a part of each topic only; alone it could not serve the rest."""
    missing = sorted(set(range(max(topic.partitions))) - set(topic.partitions))
    if missing:
        raise CannotAdopt(
            f"of {topic.name} there are partitions up to {max(topic.partitions)}, but not "
            f"{', '.join(map(str, missing))}: another broker has them. Move all partitions here first "
            "(kafka-reassign-partitions), or move the directories of that topic away"
        )


def _look(disk: FileDisk, place: Path) -> Found:
    sizes = disk.sizes()
    try:
        epochs = Epochs.decode(disk.read(EPOCHS_FILE, 0, sizes[EPOCHS_FILE])) if EPOCHS_FILE in sizes else Epochs()
    except ValueError:
        epochs = Epochs()  # rebuilt from the batches at the first start
    highest = -1
    for name in sorted(name for name in sizes if name.endswith(SUFFIX)):
        try:
            highest = max(highest, highest_producer_id(disk.read(name, 0, sizes[name])))
        except CorruptSnapshot:
            continue  # made anew at the first start
    topic_id = partition_metadata.read(disk)
    if topic_id == NO_TOPIC_ID and sizes.get(partition_metadata.FILE):
        raise CannotAdopt(f"{place / partition_metadata.FILE} cannot be read")
    disk.close()
    segments = sum(size for name, size in sizes.items() if name.endswith(LOG))
    return Found(topic_id, epochs.latest, segments, highest)


async def adopt(found: Survey, clock: Clock) -> None:
    """Write what was found into the embedded tree of the first directory; all of it or nothing.

    ``CannotAdopt`` if there is something in that tree already that says otherwise.
    """
    settings = BrokerSettings(log_dirs=",".join(map(str, found.paths)))
    try:
        async with open_house(settings, Worker(), clock) as house:
            await registration.prepare(house)
            await _write(house, found)
    except CannotStart as problem:
        raise CannotAdopt(str(problem)) from problem


async def _write(tree: Coordination, found: Survey) -> None:
    changes: list[Create | Replace] = []
    try:
        known = nodes.ClusterId.decode((await tree.read(nodes.CLUSTER_ID)).data).cluster_id
    except NoNode:
        await tree.ensure(nodes.CLUSTER)
        cluster_id = found.cluster_id or nodes.uuid_text(uuid4())
        changes.append(Create(nodes.CLUSTER_ID, nodes.ClusterId(cluster_id).encode()))
    else:
        if found.cluster_id not in (None, known):
            raise CannotAdopt(f"{found.paths[0]} has a tree of cluster {known} already, not of {found.cluster_id}")
    there = set(await tree.children(nodes.TOPICS)) & set(found.topics)
    if there:
        raise CannotAdopt(f"{found.paths[0]} has been taken over already: its tree knows {', '.join(sorted(there))}")
    for topic in found.topics.values():
        changes += _topic(topic, BrokerId(found.broker_id))
    changes += await _producer_ids(tree, found)
    await tree.together(changes)


def _topic(topic: FoundTopic, me: BrokerId) -> Iterator[Create]:
    topic_id = None if topic.topic_id == NO_TOPIC_ID else TopicId(UUID(bytes=topic.topic_id.bytes))
    assignment = nodes.TopicAssignment(topic.name, dict.fromkeys(sorted(topic.partitions), (me,)), topic_id)
    config = nodes.ConfigEntity(nodes.TOPIC_CONFIG, topic.name, topic.configs)
    yield Create(config.path, config.encode())
    yield Create(assignment.path, assignment.encode())
    yield Create(nodes.partitions_path(topic.name), None)
    for index, one in sorted(topic.partitions.items()):
        state = nodes.PartitionState(me, (me,), LeaderEpoch(max(0, one.latest_epoch)), 0)
        yield Create(nodes.partition_path(topic.name, index), None)
        yield Create(nodes.partition_state_path(topic.name, index), state.encode())


async def _producer_ids(tree: Coordination, found: Survey) -> list[Replace]:
    """Let the next block of producer ids begin behind all that may have been given out."""
    highest = max(
        (one.highest_producer_id for topic in found.topics.values() for one in topic.partitions.values()), default=-1
    )
    node = await tree.read(nodes.LATEST_PRODUCER_ID_BLOCK)
    latest = nodes.ProducerIdBlock.decode(node.data)
    end = (highest // producer_ids.BLOCK_SIZE + 1) * producer_ids.BLOCK_SIZE + _MARGIN_IDS - 1
    if highest < 0 or (latest is not None and latest.block_end >= end):
        return []
    block = nodes.ProducerIdBlock(BrokerId(found.broker_id), end - producer_ids.BLOCK_SIZE + 1, end)
    return [Replace(nodes.LATEST_PRODUCER_ID_BLOCK, block.encode(), node.stat.version)]
