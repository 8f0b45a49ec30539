"""Fetch gives what is there, waits for what is not, and tells of each partition how it stands."""

from __future__ import annotations

import os
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pykafka_broker.api.fetch import FetchApi
from pykafka_broker.api.fetch_sessions import FetchSessions
from pykafka_broker.log.partition import Origin
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import Offset, TopicId, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.store.reading import read_pieces
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record
from pykafka_broker.wire.compression import Codec
from pykafka_broker.wire.exchange import close_call
from pykafka_broker.wire.formats import records
from pykafka_broker.wire.message_set import build_message_set, shallow, unwrap
from pykafka_broker.wire.pieces import FilePiece, FilePieces
from tests.doubles.replica_broker import T0, ReplicaBroker
from tests.rooms.api.conftest import Partitions, batch, call

Entry = messages.FetchResponse.PartitionData


class Reader:
    """A consumer without a socket."""

    def __init__(self, partitions: Partitions) -> None:
        self.partitions = partitions
        numbers = count(1)
        self.api = FetchApi(
            partitions.leaderships,
            partitions.metadata,
            FetchSessions(1000, lambda: next(numbers)),
            partitions.changes,
            partitions.clock,
            lambda: 57_671_680,
        )

    def appends(self, topic: str, *values: bytes, partition: int = 0) -> None:
        leadership = self.partitions.leaderships.leader(TopicPartition(topic, partition))
        leadership.append(self.partitions.now, batch(*values), origin=Origin.CLIENT, api_version=9)

    async def fetches(
        self, *topics: str, offset: int = 0, version: int = 12, max_bytes: int = 1 << 20,
        partition_bytes: int = 1 << 20, partitions: int = 1, **how: Any
    ) -> messages.FetchResponse:  # fmt: skip
        request = messages.FetchRequest
        body = request(
            max_bytes=max_bytes,
            topics=[
                request.Topic(
                    topic=topic if version < 13 else "",
                    topic_id=self.partitions.topic_id(topic),
                    partitions=[
                        request.Partition(partition=index, fetch_offset=offset, partition_max_bytes=partition_bytes)
                        for index in range(partitions)
                    ],
                )
                for topic in topics
            ],
            **{"min_bytes": 1, **how},
        )
        return await self.api.fetch(call("Fetch", version, body))


def entries(response: messages.FetchResponse) -> list[Entry]:
    return [entry for topic in response.responses for entry in topic.partitions]


def values(entry: Entry) -> list[bytes | None]:
    assert isinstance(entry.records, FilePieces)
    data = read_pieces(entry.records)
    found: list[bytes | None] = []
    while data:
        size = 12 + int.from_bytes(data[8:12], "big")
        found += [record.value for record in records(data[:size])]
        data = data[size:]
    return found


@pytest.fixture
def reader(partitions: Partitions) -> Reader:
    partitions.leads("orders")
    partitions.leads("payments", 3)
    return Reader(partitions)


async def test_what_was_appended_is_given_as_pieces_of_files(reader: Reader) -> None:
    reader.appends("orders", b"a", b"b")
    (entry,) = entries(await reader.fetches("orders"))
    assert isinstance(entry.records, FilePieces)
    assert all(isinstance(piece, FilePiece) for piece in entry.records)
    assert values(entry) == [b"a", b"b"]
    assert (entry.high_watermark, entry.last_stable_offset, entry.log_start_offset) == (2, 2, 0)
    assert entry.aborted_transactions is None


async def test_a_read_begins_with_the_batch_that_holds_the_offset(reader: Reader) -> None:
    reader.appends("orders", b"a", b"b")
    reader.appends("orders", b"c")
    assert values(entries(await reader.fetches("orders", offset=1))[0]) == [b"a", b"b", b"c"]
    assert values(entries(await reader.fetches("orders", offset=2))[0]) == [b"c"]


async def test_read_committed_lists_the_aborted_transactions_even_if_there_are_none(reader: Reader) -> None:
    reader.appends("orders", b"a")
    (entry,) = entries(await reader.fetches("orders", isolation_level=1))
    assert entry.aborted_transactions == []


@pytest.mark.parametrize("offset", [-1, 5])
async def test_an_offset_that_is_not_there_is_refused_at_once(reader: Reader, offset: int) -> None:
    (entry,) = entries(await reader.fetches("orders", offset=offset, max_wait_ms=60_000))
    assert entry.error_code == ErrorCode.OFFSET_OUT_OF_RANGE


async def test_at_the_end_the_reader_waits_its_time_and_gets_nothing(
    reader: Reader, autojump_clock: trio.testing.MockClock
) -> None:
    started = autojump_clock.current_time()
    (entry,) = entries(await reader.fetches("orders", max_wait_ms=500))
    assert autojump_clock.current_time() - started == pytest.approx(0.5)
    assert (entry.error_code, entry.records) == (0, b"") or not entry.records


async def test_a_waiting_reader_is_woken_by_the_append(reader: Reader, nursery: trio.Nursery) -> None:
    heard: list[messages.FetchResponse] = []

    async def fetch() -> None:
        heard.append(await reader.fetches("orders", "payments", max_wait_ms=60_000))

    nursery.start_soon(fetch)
    await wait_all_tasks_blocked()
    assert heard == []
    reader.appends("payments", b"p")
    await wait_all_tasks_blocked()
    assert [values(entry) for entry in entries(heard[0]) if entry.records] == [[b"p"]]


async def test_a_reader_that_wants_more_bytes_goes_on_waiting(reader: Reader, nursery: trio.Nursery) -> None:
    heard: list[messages.FetchResponse] = []

    async def fetch() -> None:
        heard.append(await reader.fetches("orders", max_wait_ms=60_000, min_bytes=100))

    nursery.start_soon(fetch)
    await wait_all_tasks_blocked()
    reader.appends("orders", b"a")
    await wait_all_tasks_blocked()
    assert heard == []
    reader.appends("orders", b"b")
    await wait_all_tasks_blocked()
    assert values(entries(heard[0])[0]) == [b"a", b"b"]


async def test_the_first_batch_comes_whole_however_small_the_limits(reader: Reader) -> None:
    for partition in range(3):
        reader.appends("payments", b"x" * 1000, partition=partition)
    found = entries(await reader.fetches("payments", partitions=3, max_bytes=10, partition_bytes=10))
    assert [len(values(entry)) if entry.records else 0 for entry in found] == [1, 0, 0]


async def test_the_limit_of_the_answer_counts_over_all_partitions(reader: Reader) -> None:
    reader.appends("payments", b"x" * 1000)
    for partition in (1, 1, 1, 2):
        reader.appends("payments", b"x" * 100, partition=partition)
    found = entries(await reader.fetches("payments", partitions=3, max_bytes=1500))
    sizes = [entry.records.size_bytes if isinstance(entry.records, FilePieces) else 0 for entry in found]
    assert sum(sizes) == 1500
    assert sizes[2] == 0


async def test_what_is_left_of_the_limit_is_nothing_to_a_batch_that_does_not_fit(reader: Reader) -> None:
    for partition in range(2):
        reader.appends("payments", b"x" * 1000, partition=partition)
    found = entries(await reader.fetches("payments", partitions=2, max_bytes=1500))
    assert [len(values(entry)) if entry.records else 0 for entry in found] == [1, 0]


async def test_an_old_version_has_no_first_batch_rule(reader: Reader) -> None:
    reader.appends("orders", b"x" * 1000)
    (entry,) = entries(await reader.fetches("orders", version=2, partition_bytes=10, max_wait_ms=0))
    assert bytes(entry.records or b"") == b""


async def test_topics_can_be_asked_for_by_id(reader: Reader) -> None:
    reader.appends("orders", b"a")
    response = await reader.fetches("orders", version=13)
    assert response.responses[0].topic_id == reader.partitions.topic_id("orders")
    assert values(entries(response)[0]) == [b"a"]


async def test_an_unknown_id_is_refused(reader: Reader) -> None:
    request = messages.FetchRequest
    body = request(topics=[request.Topic(topic_id=uuid4(), partitions=[request.Partition()])], max_wait_ms=60_000)
    (entry,) = entries(await reader.api.fetch(call("Fetch", 13, body)))
    assert entry.error_code == ErrorCode.UNKNOWN_TOPIC_ID


async def test_records_of_a_topic_are_not_given_for_another_one_of_the_same_name(reader: Reader) -> None:
    reader.appends("orders", b"of old")
    update, new_id = messages.UpdateMetadataRequest, TopicId(uuid4())
    state = update.PartitionState(partition_index=0, leader_epoch=0, isr=[0], replicas=[0])
    reader.partitions.metadata.update(
        update(topic_states=[update.TopicState(topic_name="orders", topic_id=new_id, partition_states=[state])])
    )
    request = messages.FetchRequest
    body = request(topics=[request.Topic(topic_id=new_id, partitions=[request.Partition(partition_max_bytes=100)])])
    (entry,) = entries(await reader.api.fetch(call("Fetch", 13, body)))
    assert (entry.error_code, entry.records) == (ErrorCode.INCONSISTENT_TOPIC_ID, b"")


@pytest.mark.parametrize(
    "epoch, error", [(0, ErrorCode.FENCED_LEADER_EPOCH), (1, 0), (2, ErrorCode.UNKNOWN_LEADER_EPOCH)]
)
async def test_a_client_of_another_epoch_is_refused(reader: Reader, epoch: int, error: int) -> None:
    reader.partitions.leads("orders", epoch=1)
    request = messages.FetchRequest
    body = request(topics=[request.Topic(topic="orders", partitions=[request.Partition(current_leader_epoch=epoch)])])
    assert entries(await reader.api.fetch(call("Fetch", 12, body)))[0].error_code == error


async def test_an_incremental_fetch_leaves_out_what_has_no_news(reader: Reader) -> None:
    first = await reader.fetches("orders", "payments", session_epoch=0)
    assert (first.session_id, len(entries(first))) == (1, 2)
    reader.appends("payments", b"p")
    second = await reader.fetches(session_id=1, session_epoch=1)
    assert [topic.topic for topic in second.responses] == ["payments"]


async def test_of_many_quiet_partitions_the_one_with_news_is_told_of(reader: Reader, nursery: trio.Nursery) -> None:
    epochs = count(1)

    def session() -> dict[str, int]:
        return {"session_id": 1, "session_epoch": next(epochs)}

    told: list[Entry] = []

    async def waits() -> None:
        told.extend(entries(await reader.fetches(max_wait_ms=60_000, **session())))

    await reader.fetches("payments", partitions=3, session_epoch=0)
    assert entries(await reader.fetches(**session())) == []
    for index in (1, 2, 0):
        nursery.start_soon(waits)
        await wait_all_tasks_blocked()
        assert told == []
        reader.appends("payments", b"news", partition=index)
        await wait_all_tasks_blocked()
        assert [(entry.partition_index, values(entry)) for entry in told] == [(index, [b"news"])]
        told.clear()
        # Now it asks for what comes after.
        ends = [reader.partitions.log("payments", each).log_end_offset for each in range(3)]
        request = messages.FetchRequest
        asked = [request.Partition(partition=each, fetch_offset=ends[each]) for each in range(3)]
        body = request(topics=[request.Topic(topic="payments", partitions=asked)], **session())
        assert entries(await reader.api.fetch(call("Fetch", 12, body))) == []


@pytest.mark.parametrize(("version", "error"), [(10, ErrorCode.NOT_LEADER_OR_FOLLOWER), (12, None)])
async def test_a_quiet_partition_that_is_led_elsewhere_is_told_of_once(
    reader: Reader, version: int, error: ErrorCode | None
) -> None:
    await reader.fetches("orders", session_epoch=0, version=version)
    for epoch in (1, 2):
        assert entries(await reader.fetches(session_id=1, session_epoch=epoch, version=version)) == []
    reader.partitions.leads("orders", leader=1, epoch=1)
    told = entries(await reader.fetches(session_id=1, session_epoch=3, version=version))
    assert [entry.error_code for entry in told] == ([] if error is None else [error])


async def test_a_quiet_partition_whose_records_are_deleted_tells_where_it_begins(reader: Reader) -> None:
    reader.appends("orders", b"a", b"b")
    await reader.fetches("orders", offset=2, session_epoch=0)
    assert entries(await reader.fetches(session_id=1, session_epoch=1)) == []
    reader.partitions.leaderships.leader(TopicPartition("orders", 0)).delete_records(Offset(1))
    (entry,) = entries(await reader.fetches(session_id=1, session_epoch=2))
    assert (entry.log_start_offset, entry.records) == (1, b"")
    assert entries(await reader.fetches(session_id=1, session_epoch=3)) == []


async def test_a_quiet_partition_is_read_again_when_the_client_asks_for_something_else(reader: Reader) -> None:
    reader.appends("orders", b"a", b"b")
    await reader.fetches("orders", offset=2, session_epoch=0)
    for epoch in (1, 2):
        assert entries(await reader.fetches(session_id=1, session_epoch=epoch)) == []
    (entry,) = entries(await reader.fetches("orders", offset=1, session_id=1, session_epoch=3))
    assert values(entry)[-1] == b"b"


async def test_pieces_stay_readable_when_their_topic_is_deleted_meanwhile(reader: Reader) -> None:
    reader.appends("orders", b"a")
    (entry,) = entries(await reader.fetches("orders"))
    reader.partitions.keeper.delete(TopicPartition("orders", 0))
    assert values(entry) == [b"a"]


async def test_an_answer_holds_no_record_bytes_in_memory(reader: Reader) -> None:
    reader.appends("orders", b"x" * 100_000)
    one = call("Fetch", 12, messages.FetchRequest())
    one.key = 1
    response = await reader.fetches("orders")
    pieces = close_call(one, response)
    assert sum(len(piece) for piece in pieces if not isinstance(piece, FilePiece)) < 200
    sent = b"".join(
        os.pread(piece.file, piece.size_bytes, piece.start) if isinstance(piece, FilePiece) else bytes(piece)
        for piece in pieces
    )
    assert int.from_bytes(sent[:4], "big") == len(sent) - 4


@pytest.mark.parametrize("version", range(18))
async def test_a_refusal_can_be_told_in_every_version(reader: Reader, version: int) -> None:
    request = messages.FetchRequest
    body = request(topics=[request.Topic(topic="orders", partitions=[request.Partition()])])
    one = call("Fetch", version, body)
    one.key = 1
    (route,) = reader.api.routes()
    for code in (ErrorCode.UNKNOWN_SERVER_ERROR, ErrorCode.FETCH_SESSION_ID_NOT_FOUND):
        assert close_call(one, route.refuse(one, code, None))


def follows(partitions: Partitions, topic: str, leader: int = 7) -> None:
    """Another broker leads the topic, and this one has a copy of it."""
    partitions.leads(topic)
    partitions.leads(topic, leader=leader, epoch=1)
    update = messages.UpdateMetadataRequest
    brokers = [
        update.Broker(
            id=number,
            endpoints=[update.Endpoint(port=9092, host=f"host{number}", listener="PLAINTEXT")],
            rack=f"rack{number}",
        )
        for number in (0, leader)
    ]
    partitions.metadata.update(update(live_brokers=brokers))


async def test_consumers_may_read_from_a_follower_since_they_can_be_sent_there(partitions: Partitions) -> None:
    reader = Reader(partitions)
    partitions.leads("t")
    reader.appends("t", b"a")
    follows(partitions, "t")
    new = await reader.fetches("t", version=11)
    assert new.responses[0].partitions[0].error_code == ErrorCode.NONE
    assert new.responses[0].partitions[0].records
    old = await reader.fetches("t", version=10)
    assert old.responses[0].partitions[0].error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER


async def test_a_follower_that_came_to_the_wrong_broker_is_told_the_right_one(partitions: Partitions) -> None:
    reader = Reader(partitions)
    follows(partitions, "t")
    state = messages.FetchRequest.ReplicaState(replica_id=3)  # type: ignore[arg-type]
    response = await reader.fetches("t", version=17, replica_state=state)
    assert messages.encode(response, 17)
    (entry,) = response.responses[0].partitions
    assert entry.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert (entry.current_leader.leader_id, entry.current_leader.leader_epoch) == (7, 1)
    assert [(one.node_id, one.host, one.rack) for one in response.node_endpoints] == [(7, "host7", "rack7")]


@pytest.mark.parametrize(
    ("epoch", "code"), [(-1, ErrorCode.NOT_LEADER_OR_FOLLOWER), (0, ErrorCode.UNKNOWN_LEADER_EPOCH)]
)
async def test_a_broker_that_is_no_replica_may_not_follow(partitions: Partitions, epoch: int, code: ErrorCode) -> None:
    reader = Reader(partitions)
    partitions.leads("t")
    request = messages.FetchRequest
    asked = request.Partition(current_leader_epoch=epoch, partition_max_bytes=100)  # type: ignore[arg-type]
    body = request(topics=[request.Topic(topic="t", partitions=[asked])], replica_id=3)  # type: ignore[arg-type]
    response = await reader.api.fetch(call("Fetch", 12, body))
    assert response.responses[0].partitions[0].error_code == code


async def test_a_consumer_is_sent_to_the_replica_in_its_rack(partitions: Partitions) -> None:
    reader = Reader(partitions)
    partitions.leads("t")
    reader.appends("t", b"a")
    reader.api.select = lambda leadership, rack, listener, offset: 7 if rack == "rack7" else None  # type: ignore[assignment,return-value]
    response = await reader.fetches("t", version=11, rack_id="rack7", max_wait_ms=60_000, min_bytes=1 << 20)
    (entry,) = response.responses[0].partitions
    assert (entry.preferred_read_replica, entry.records, entry.high_watermark) == (7, b"", 1)
    response = await reader.fetches("t", version=11, rack_id="rack0")
    assert response.responses[0].partitions[0].preferred_read_replica == -1


async def test_a_reader_whose_last_epoch_ended_earlier_here_is_told_where(partitions: Partitions) -> None:
    reader = Reader(partitions)
    partitions.leads("t", epoch=0)
    reader.appends("t", b"a")
    partitions.leads("t", epoch=3)
    reader.appends("t", b"b")
    request = messages.FetchRequest
    asked = request.Partition(fetch_offset=2, last_fetched_epoch=1, partition_max_bytes=100)  # type: ignore[arg-type]
    body = request(topics=[request.Topic(topic="t", partitions=[asked])])
    response = await reader.api.fetch(call("Fetch", 12, body))
    (entry,) = response.responses[0].partitions
    assert (entry.diverging_epoch.epoch, entry.diverging_epoch.end_offset, entry.records) == (0, 1, b"")


class Gauge:
    """A throttle that never holds back, and knows what has moved."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def holds_back(self, partition: TopicPartition) -> bool:
        return False

    def moved(self, partition: TopicPartition, size_bytes: int) -> None:
        self.sizes.append(size_bytes)


async def test_what_a_follower_is_given_counts_once_however_often_it_was_looked_at(
    partitions: Partitions, nursery: trio.Nursery
) -> None:
    reader = Reader(partitions)
    partitions.leads("t", followers=(3,))
    reader.api.throttle = gauge = Gauge()
    heard: list[messages.FetchResponse] = []

    async def follow() -> None:
        state = messages.FetchRequest.ReplicaState(replica_id=3)  # type: ignore[arg-type]
        heard.append(await reader.fetches("t", version=17, replica_state=state, max_wait_ms=60_000, min_bytes=200))

    nursery.start_soon(follow)
    while not heard:
        await wait_all_tasks_blocked()
        assert gauge.sizes == []
        reader.appends("t", b"a")
        await wait_all_tasks_blocked()
    (entry,) = entries(heard[0])
    assert gauge.sizes == [entry.records.size_bytes]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> Millis:
        return Millis(self.now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pair(clock: Clock) -> tuple[ReplicaBroker, ReplicaBroker]:
    """A leader of three partitions, and a follower that is in sync and has been told so."""
    leader, follower = ReplicaBroker(1, clock), ReplicaBroker(2, clock)
    for broker in (leader, follower):
        broker.knows(1, 2, partitions=3)
        for index in range(3):
            broker.hears(1, 0, (1, 2), (1, 2), index=index)
    for _ in range(4):
        follower.asks(leader)
    return leader, follower


def test_a_follower_with_nothing_to_fetch_is_known_to_be_in_sync_as_long_as_it_asks(clock: Clock) -> None:
    leader, follower = pair(clock)
    lag_ms = leader.leaderships.surroundings.lag_time_max_ms
    for _ in range(5):
        clock.now += lag_ms - 1
        follower.asks(leader)
    part = leader.part()
    leader.appends(b"a")
    clock.now += lag_ms
    assert part.followers.out_of_sync(clock(), part.log.log_end_offset, lag_ms) == []
    clock.now += 1
    assert part.followers.out_of_sync(clock(), part.log.log_end_offset, lag_ms) == [2]


def test_a_follower_gets_what_comes_after_a_long_silence(clock: Clock) -> None:
    leader, follower = pair(clock)
    for number, partition in enumerate([TopicPartition("t", 1), T0, TopicPartition("t", 1)]):
        leader.appends(b"%d" % number, partition=partition)
        for _ in range(3):
            follower.asks(leader)
        assert follower.log_bytes(partition) == leader.log_bytes(partition)
        assert follower.part(partition).log.high_watermark == leader.part(partition).log.high_watermark


def test_a_quiet_follower_learns_that_another_epoch_has_begun(clock: Clock) -> None:
    leader, follower = pair(clock)
    leader.hears(1, 1, (1, 2), (1, 2))
    question = follower.followers[leader.me].next_question(clock())
    assert question is not None
    told = leader.reply(question)
    assert [entry.error_code for topic in told.responses for entry in topic.partitions] == [
        ErrorCode.FENCED_LEADER_EPOCH
    ]


def test_a_quiet_follower_hears_of_what_is_committed_meanwhile(clock: Clock) -> None:
    leader, fast, slow = (ReplicaBroker(number, clock) for number in (1, 2, 3))
    for broker in (leader, fast, slow):
        broker.knows(1, 2, 3)
        broker.hears(1, 0, (1, 2, 3), (1, 2, 3))
    for _ in range(2):
        slow.asks(leader)
    leader.appends(b"a")
    for _ in range(4):
        fast.asks(leader)
    assert fast.part().log.high_watermark == 0
    for _ in range(2):
        slow.asks(leader)
    fast.asks(leader)
    assert fast.part().log.high_watermark == 1


def stores(reader: Reader, *sets: bytes, topic: str = "orders") -> None:
    """Put batches into the log as an old broker has written them."""
    log = reader.partitions.log(topic)
    for data in sets:
        log.append(reader.partitions.now, bytearray(data), leader_epoch=-1, origin=Origin.REPLICATION)
    log.advance_high_watermark(log.log_end_offset)


OLD = build_message_set([Record(0, 1_000, b"k", b"a"), Record(1, 1_000, b"k", b"b")], 0)
NOT_SO_OLD = build_message_set([Record(2, 2_000, b"k", b"c"), Record(3, 2_000, b"k", b"d")], 1, codec=Codec.GZIP)


@pytest.mark.parametrize("version", [4, 11, 17])
async def test_messages_of_old_formats_are_given_as_they_are(reader: Reader, version: int) -> None:
    stores(reader, OLD, NOT_SO_OLD)
    (entry,) = entries(await reader.fetches("orders", version=version))
    assert isinstance(entry.records, FilePieces)
    assert all(isinstance(piece, FilePiece) for piece in entry.records)
    assert read_pieces(entry.records) == OLD + NOT_SO_OLD


@pytest.mark.parametrize("version, magics", [(0, [0, 0, 0]), (1, [0, 0, 0]), (2, [0, 0, 1]), (3, [0, 0, 1])])
async def test_old_clients_get_messages_as_new_as_they_can_read(
    reader: Reader, version: int, magics: list[int]
) -> None:
    stores(reader, OLD, NOT_SO_OLD)
    (entry,) = entries(await reader.fetches("orders", version=version))
    assert isinstance(entry.records, bytes)
    found = [message for message, _ in shallow(entry.records)]
    assert [message.magic for message in found] == magics
    assert [(message.offset, message.value) for message in found[:2]] == [(0, b"a"), (1, b"b")]
    assert [(one.offset, one.value) for one in unwrap(found[2], 1_000)] == [(2, b"c"), (3, b"d")]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("version", [0, 1, 2, 3])
async def test_where_conversion_is_not_wanted_old_clients_are_refused_even_at_the_end(
    reader: Reader, version: int, offset: int
) -> None:
    reader.partitions.leads("converted", message_downconversion_enable=False)
    reader.appends("converted", b"a")
    (entry,) = entries(await reader.fetches("converted", version=version, offset=offset, max_wait_ms=60_000))
    assert (entry.error_code, entry.high_watermark, entry.records) == (ErrorCode.UNSUPPORTED_VERSION, -1, None)
    (entry,) = entries(await reader.fetches("converted", version=4))
    assert values(entry) == [b"a"]


async def test_an_old_client_gets_what_is_whole_of_what_fits(reader: Reader) -> None:
    for value in (b"a", b"b", b"c"):
        reader.appends("orders", value * 100)
    size = reader.partitions.log("orders").size_bytes
    (entry,) = entries(await reader.fetches("orders", version=3, partition_bytes=size - 1))
    assert isinstance(entry.records, bytes)
    assert len(entry.records) == size - 1
    assert [message.value for message, _ in shallow(entry.records)] == [b"a" * 100, b"b" * 100]
