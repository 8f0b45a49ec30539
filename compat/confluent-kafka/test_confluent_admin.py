"""Administration with confluent-kafka: topics, configurations, groups, offsets, records, the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    ElectionType,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)
from confluent_programs import consumer, create_topic, partitions, produce, read, together

from compat.servers import Server
from compat.waiting import until

pytestmark = pytest.mark.compat

Fresh = Callable[[str], str]


@pytest.fixture
def admin(broker: Server) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap})


def only(futures: Mapping[Any, Future[Any]]) -> Any:
    """The one answer. Raises `KafkaException` if it is a refusal."""
    (answer,) = futures.values()
    return answer.result(30)


def refusal(futures: Mapping[Any, Future[Any]]) -> int:
    """The error code of the one answer, which is a refusal."""
    with pytest.raises(KafkaException) as refused:
        only(futures)
    return int(refused.value.args[0].code())


def test_a_topic_is_created_listed_and_deleted(admin: AdminClient, fresh: Fresh) -> None:
    name = fresh("topic")
    only(admin.create_topics([NewTopic(name, 3, 1, config={"retention.ms": "60000"})]))
    listed = until(lambda: admin.list_topics(timeout=10).topics.get(name))
    assert sorted(listed.partitions) == [0, 1, 2]
    assert all((p.leader, p.replicas, p.isrs) == (0, [0], [0]) for p in listed.partitions.values())
    only(admin.delete_topics([name]))
    until(lambda: name not in admin.list_topics(timeout=10).topics)


def test_a_topic_is_not_created_twice_or_with_nonsense(admin: AdminClient, fresh: Fresh) -> None:
    name = fresh("topic")
    only(admin.create_topics([NewTopic(name, 1, 1)]))

    def creating(other: str, partitions: int = 1, replicas: int = 1, **config: str) -> int:
        settings = {key.replace("_", "."): value for key, value in config.items()}
        return refusal(admin.create_topics([NewTopic(other, partitions, replicas, config=settings)]))

    assert creating(name) == KafkaError.TOPIC_ALREADY_EXISTS
    assert creating("not/allowed") == KafkaError.TOPIC_EXCEPTION
    assert creating(fresh("topic"), replicas=2) == KafkaError.INVALID_REPLICATION_FACTOR
    assert creating(fresh("topic"), partitions=0) == KafkaError.INVALID_PARTITIONS
    assert creating(fresh("topic"), retention_ms="soon") == KafkaError.INVALID_CONFIG
    assert creating(fresh("topic"), no_such_key="1") == KafkaError.INVALID_CONFIG
    assert refusal(admin.delete_topics([fresh("nothing")])) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_topic_is_only_checked_when_nothing_shall_be_done(admin: AdminClient, fresh: Fresh) -> None:
    name = fresh("topic")
    only(admin.create_topics([NewTopic(name, 1, 1)], validate_only=True))
    only(admin.create_topics([NewTopic(name, 2, 1)]))
    assert refusal(admin.create_topics([NewTopic(name, 1, 1)], validate_only=True)) == KafkaError.TOPIC_ALREADY_EXISTS
    only(admin.create_partitions([NewPartitions(name, 5)], validate_only=True))
    until(lambda: len(admin.list_topics(name, timeout=10).topics[name].partitions) == 2)


def test_the_default_numbers_of_partitions_and_replicas_are_the_brokers(admin: AdminClient, fresh: Fresh) -> None:
    name = fresh("topic")
    only(admin.create_topics([NewTopic(name)]))
    until(lambda: len(admin.list_topics(name, timeout=10).topics[name].partitions) == 1)


def test_replicas_may_be_placed_by_hand(admin: AdminClient, fresh: Fresh) -> None:
    name = fresh("topic")
    only(admin.create_topics([NewTopic(name, 2, replica_assignment=[[0], [0]])]))
    until(lambda: len(admin.list_topics(name, timeout=10).topics[name].partitions) == 2)


def test_partitions_are_added_but_not_taken_away(broker: Server, admin: AdminClient, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("topic"), 2)
    produce(broker.bootstrap, topic, [{"value": b"v", "partition": 1}])
    only(admin.create_partitions([NewPartitions(topic, 4)]))
    until(lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 4)
    assert refusal(admin.create_partitions([NewPartitions(topic, 3)])) == KafkaError.INVALID_PARTITIONS
    assert refusal(admin.create_partitions([NewPartitions(topic, 4)])) == KafkaError.INVALID_PARTITIONS
    assert refusal(admin.create_partitions([NewPartitions(fresh("no"), 4)])) == KafkaError.UNKNOWN_TOPIC_OR_PART
    produce(broker.bootstrap, topic, [{"value": b"v", "partition": 3}])


def test_a_topic_is_described_with_its_id_and_may_be_made_anew_with_another(admin: AdminClient, fresh: Fresh) -> None:
    name = fresh("topic")
    ids = []
    for _ in range(2):

        def created() -> bool:
            """Not as long as the one before is being deleted."""
            try:
                only(admin.create_topics([NewTopic(name, 1, 1)]))
            except KafkaException as refused:
                if refused.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    return False
                raise
            return True

        until(created)

        def described() -> Any:
            try:
                return only(admin.describe_topics(TopicCollection([name])))
            except KafkaException:
                return None

        found = until(described)
        assert (found.name, found.is_internal, len(found.partitions)) == (name, False, 1)
        assert found.partitions[0].leader.id == 0
        ids.append(str(found.topic_id))
        only(admin.delete_topics([name]))
        until(lambda: name not in admin.list_topics(timeout=10).topics)
    assert ids[0] != ids[1]


def test_the_cluster_describes_itself(broker: Server, admin: AdminClient) -> None:
    cluster = admin.describe_cluster().result(10)
    assert cluster.controller.id == 0
    assert [(node.id, f"{node.host}:{node.port}") for node in cluster.nodes] == [(0, broker.bootstrap)]
    assert len(cluster.cluster_id) == 22


def configuration(admin: AdminClient, resource: ConfigResource) -> dict[str, ConfigEntry]:
    found: dict[str, ConfigEntry] = only(admin.describe_configs([resource]))
    return found


def topic_resource(name: str, **config: str) -> ConfigResource:
    return ConfigResource(
        ConfigResource.Type.TOPIC, name, set_config={key.replace("_", "."): value for key, value in config.items()}
    )


def test_configurations_are_described_with_their_sources(broker: Server, admin: AdminClient, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("topic"), retention_ms="60000")
    found = configuration(admin, topic_resource(topic))
    assert (found["retention.ms"].value, found["retention.ms"].source) == (
        "60000",
        ConfigSource.DYNAMIC_TOPIC_CONFIG.value,
    )
    assert found["cleanup.policy"].value == "delete"
    assert found["cleanup.policy"].is_default
    assert len(found) >= 30
    ours = configuration(admin, ConfigResource(ConfigResource.Type.BROKER, "0"))
    assert ours["broker.id"].value == "0"
    assert ours["broker.id"].is_read_only
    assert ours["group.min.session.timeout.ms"].source == ConfigSource.STATIC_BROKER_CONFIG.value
    assert refusal(admin.describe_configs([topic_resource(fresh("nothing"))])) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_configurations_are_altered_one_by_one(broker: Server, admin: AdminClient, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("topic"), retention_ms="60000", segment_ms="70000")
    plain = create_topic(broker.bootstrap, fresh("topic"))
    default = configuration(admin, topic_resource(plain))["retention.ms"].value

    def altering(name: str, value: str | None, operation: AlterConfigOpType) -> Mapping[Any, Future[Any]]:
        entry = ConfigEntry(name, value, incremental_operation=operation)
        return admin.incremental_alter_configs(
            [ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])]
        )

    def value(name: str) -> str:
        return str(configuration(admin, topic_resource(topic))[name].value)

    only(altering("retention.ms", "80000", AlterConfigOpType.SET))
    until(lambda: value("retention.ms") == "80000")
    assert value("segment.ms") == "70000"
    only(altering("cleanup.policy", "compact", AlterConfigOpType.APPEND))
    until(lambda: value("cleanup.policy") == "delete,compact")
    only(altering("cleanup.policy", "delete", AlterConfigOpType.SUBTRACT))
    until(lambda: value("cleanup.policy") == "compact")
    only(altering("retention.ms", None, AlterConfigOpType.DELETE))
    until(lambda: value("retention.ms") == default)
    assert refusal(altering("retention.ms", "soon", AlterConfigOpType.SET)) == KafkaError.INVALID_CONFIG
    assert value("segment.ms") == "70000"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_configurations_are_altered_as_a_whole(broker: Server, admin: AdminClient, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("topic"), retention_ms="60000", segment_ms="70000")
    only(admin.alter_configs([topic_resource(topic, retention_ms="90000")]))
    until(lambda: configuration(admin, topic_resource(topic))["retention.ms"].value == "90000")
    assert configuration(admin, topic_resource(topic))["segment.ms"].value == "604800000"


def test_a_smaller_message_limit_works_at_once(broker: Server, admin: AdminClient, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("topic"))
    produce(broker.bootstrap, topic, [{"value": b"x" * 5_000}])
    entry = ConfigEntry("max.message.bytes", "2000", incremental_operation=AlterConfigOpType.SET)
    only(
        admin.incremental_alter_configs([ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])])
    )

    def refused() -> bool:
        try:
            produce(broker.bootstrap, topic, [{"value": b"x" * 5_000}])
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE)
        return False

    until(refused)


@pytest.fixture
def numbers(broker: Server, fresh: Fresh) -> str:
    """A topic with the numbers 0 to 9 in its one partition, a second apart."""
    topic = create_topic(broker.bootstrap, fresh("numbers"))
    records = ({"value": b"%d" % n, "timestamp": 1_700_000_000_000 + 1_000 * n} for n in range(10))
    produce(broker.bootstrap, topic, records)
    return topic


def test_offsets_are_listed_by_place_and_time(admin: AdminClient, numbers: str) -> None:
    def offset(spec: OffsetSpec) -> int:
        return int(only(admin.list_offsets({TopicPartition(numbers, 0): spec})).offset)

    assert offset(OffsetSpec.earliest()) == 0
    assert offset(OffsetSpec.latest()) == 10
    assert offset(OffsetSpec.max_timestamp()) == 9
    assert offset(OffsetSpec.for_timestamp(1_700_000_003_500)) == 4
    assert offset(OffsetSpec.for_timestamp(1_800_000_000_000)) == -1


def test_records_are_deleted_up_to_an_offset(broker: Server, admin: AdminClient, numbers: str, fresh: Fresh) -> None:
    assert only(admin.delete_records([TopicPartition(numbers, 0, 4)])).low_watermark == 4
    reader = consumer(broker.bootstrap, fresh("group"))
    try:
        reader.assign([TopicPartition(numbers, 0, 0)])
        assert [message.offset() for message in read(reader, 6)] == [4, 5, 6, 7, 8, 9]
    finally:
        reader.close()
    assert only(admin.delete_records([TopicPartition(numbers, 0, 2)])).low_watermark == 4
    assert refusal(admin.delete_records([TopicPartition(numbers, 0, 11)])) == KafkaError.OFFSET_OUT_OF_RANGE
    assert only(admin.delete_records([TopicPartition(numbers, 0, -1)])).low_watermark == 10


@pytest.fixture
def group(broker: Server, fresh: Fresh, numbers: str) -> Iterator[str]:
    """A group with one living member, which committed offset 4 of `numbers`."""
    name = fresh("group")
    member = consumer(broker.bootstrap, name, client_id="the-client", group_instance_id="the-instance")
    member.subscribe([numbers])
    together([member], lambda: partitions(member) == {0})
    member.commit(offsets=[TopicPartition(numbers, 0, 4)], asynchronous=False)
    yield name
    member.close()


@pytest.fixture
def left(broker: Server, fresh: Fresh, numbers: str) -> str:
    """A group without members, which committed offset 4 of `numbers`."""
    name = fresh("group")
    member = consumer(broker.bootstrap, name)
    member.commit(offsets=[TopicPartition(numbers, 0, 4)], asynchronous=False)
    member.close()
    return name


def test_groups_are_listed_and_described(admin: AdminClient, group: str, left: str, numbers: str) -> None:
    listing = admin.list_consumer_groups().result(30)
    assert not listing.errors
    states = {found.group_id: found.state.name for found in listing.valid}
    assert (states[group], states[left]) == ("STABLE", "EMPTY")
    found = only(admin.describe_consumer_groups([group]))
    assert (found.group_id, found.state.name, found.partition_assignor) == (group, "STABLE", "range")
    assert found.coordinator.id == 0
    (member,) = found.members
    assert (member.client_id, member.group_instance_id, member.host) == ("the-client", "the-instance", "/127.0.0.1")
    assert [(place.topic, place.partition) for place in member.assignment.topic_partitions] == [(numbers, 0)]


def test_a_group_nobody_knows_is_dead(admin: AdminClient, fresh: Fresh) -> None:
    try:
        assert only(admin.describe_consumer_groups([fresh("group")])).state.name == "DEAD"
    except KafkaException as refused:
        assert refused.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND


def test_committed_offsets_are_listed_and_altered(admin: AdminClient, left: str, numbers: str) -> None:
    def committed() -> list[tuple[str, int, int]]:
        found = only(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(left)]))
        return [(place.topic, place.partition, place.offset) for place in found.topic_partitions]

    assert committed() == [(numbers, 0, 4)]
    only(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(left, [TopicPartition(numbers, 0, 7)])]))
    assert committed() == [(numbers, 0, 7)]


def test_offsets_of_a_living_group_are_its_own(admin: AdminClient, group: str, numbers: str) -> None:
    places = [TopicPartition(numbers, 0, 7)]
    answers = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
    try:
        (place,) = only(answers).topic_partitions
        error = place.error
    except KafkaException as refused:
        error = refused.args[0]
    assert error.code() == KafkaError.UNKNOWN_MEMBER_ID
    found = only(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
    assert [place.offset for place in found.topic_partitions] == [4]


def test_a_group_is_deleted_when_it_is_empty(admin: AdminClient, group: str, left: str, fresh: Fresh) -> None:
    assert refusal(admin.delete_consumer_groups([group])) == KafkaError.NON_EMPTY_GROUP
    only(admin.delete_consumer_groups([left]))
    names = {found.group_id for found in admin.list_consumer_groups().result(30).valid}
    assert left not in names
    assert group in names
    assert refusal(admin.delete_consumer_groups([fresh("nobody")])) == KafkaError.GROUP_ID_NOT_FOUND


def test_a_deleted_topic_takes_its_committed_offsets_along(admin: AdminClient, left: str, numbers: str) -> None:
    only(admin.delete_topics([numbers]))

    def committed() -> list[TopicPartition]:
        found: list[TopicPartition] = only(
            admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(left)])
        ).topic_partitions
        return found

    until(lambda: not committed(), what="the offsets to go")


def test_preferred_leaders_that_lead_already_need_no_election(broker: Server, admin: AdminClient, fresh: Fresh) -> None:
    topic = create_topic(broker.bootstrap, fresh("topic"), 2)
    places = [TopicPartition(topic, partition) for partition in (0, 1, 7)]
    answers = admin.elect_leaders(ElectionType.PREFERRED, places).result(30)
    assert {place.partition: error.code() for place, error in answers.items()} == {
        0: KafkaError.ELECTION_NOT_NEEDED,
        1: KafkaError.ELECTION_NOT_NEEDED,
        7: KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
