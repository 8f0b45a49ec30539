"""Following a leader: logs become equal whatever they were, and answers that come too late do no harm."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from pykafka_broker.log.follower import Question
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.names import NO_TOPIC_ID, LeaderEpoch, Offset, TopicId, TopicPartition
from pykafka_broker.model.time import Millis
from pykafka_broker.wire import messages
from pykafka_broker.wire.batch import Record, build
from tests.doubles.replica_broker import T0, ReplicaBroker


class Pair:
    """Two brokers of one partition, and one clock."""

    def __init__(self, **settings: Any) -> None:
        self.now = Millis(100_000)
        self.one = ReplicaBroker(1, lambda: self.now, **settings)
        self.two = ReplicaBroker(2, lambda: self.now, **settings)
        for broker in (self.one, self.two):
            broker.knows(1, 2)

    def leads(self, leader: int, epoch: int, isr: tuple[int, ...] = (1, 2), **more: Any) -> None:
        for broker in (self.one, self.two) if leader == 1 else (self.two, self.one):
            assert broker.hears(leader, epoch, isr, (1, 2), **more) == ErrorCode.NONE

    def question(self) -> Question:
        found = self.two.followers[self.one.me].next_question(self.now)
        assert found is not None
        return found

    def takes(self, question: Question, response: Any) -> Any:
        return self.two.followers[self.one.me].take(self.now, question, response)

    def are_equal(self) -> None:
        assert self.two.log_bytes() == self.one.log_bytes()
        assert self.two.part().log.log_end_offset == self.one.part().log.log_end_offset


def batch_of(*values: bytes) -> bytearray:
    return build([Record(timestamp=0, key=None, value=value) for value in values])


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_a_follower_gets_every_byte_and_then_learns_what_is_committed(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a", b"b")
    pair.one.appends(b"c")
    pair.two.catches_up(pair.one)
    pair.are_equal()
    assert pair.one.part().log.high_watermark == pair.two.part().log.high_watermark == 3


def test_the_first_question_names_everything_and_later_ones_only_what_is_new(pair: Pair) -> None:
    pair.leads(1, 0)
    first = pair.question()
    assert (first.api, first.version) == ("Fetch", 17)
    assert (first.body.session_epoch, len(first.body.topics)) == (0, 1)
    assert first.body.replica_state.replica_id == 2
    pair.takes(first, pair.one.reply(first))
    second = pair.question()
    assert second.body.session_id > 0
    assert second.body.session_epoch == 1
    pair.takes(second, pair.one.reply(second))
    pair.one.appends(b"a")
    third = pair.question()
    assert (third.body.session_epoch, third.body.topics) == (2, [])
    pair.takes(third, pair.one.reply(third))
    (asked,) = pair.question().body.topics
    assert asked.partitions[0].fetch_offset == 1


def test_a_topic_without_an_id_is_asked_for_by_name() -> None:
    pair = Pair()
    pair.leads(1, 0, topic_id=NO_TOPIC_ID)
    pair.one.appends(b"a")
    question = pair.question()
    assert (question.version, question.body.replica_id, question.body.topics[0].topic) == (12, 2, "t")
    pair.takes(question, pair.one.reply(question))
    pair.are_equal()


@pytest.mark.parametrize("code", [ErrorCode.FETCH_SESSION_ID_NOT_FOUND, ErrorCode.INVALID_FETCH_SESSION_EPOCH])
def test_a_session_that_the_leader_has_forgotten_is_begun_anew(pair: Pair, code: ErrorCode) -> None:
    pair.leads(1, 0)
    question = pair.question()
    pair.takes(question, pair.one.reply(question))
    pair.takes(pair.question(), messages.FetchResponse(error_code=code))
    anew = pair.question()
    assert (anew.body.session_id, anew.body.session_epoch, len(anew.body.topics)) == (0, 0, 1)


def test_what_is_followed_no_more_is_struck_off_the_session(pair: Pair) -> None:
    pair.leads(1, 0)
    question = pair.question()
    pair.takes(question, pair.one.reply(question))
    follower = pair.two.followers[pair.one.me]
    follower.follow(pair.now, pair.two.part())
    follower.unfollow(T0)
    assert follower.next_question(pair.now) is None
    assert len(follower) == 0


def test_a_follower_that_was_leader_cuts_what_nobody_else_has(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    pair.two.catches_up(pair.one)
    pair.one.appends(b"lost", b"too")
    pair.leads(2, 1)
    pair.two.appends(b"b")
    for _ in range(5):
        pair.one.asks(pair.two)
    pair.are_equal()
    assert pair.one.part().log.log_end_offset == 2
    assert not [fact for fact in pair.one.facts if fact.name == "CommittedRecordsCut"]


def test_an_epoch_in_which_nothing_was_written_is_forgotten(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    pair.two.catches_up(pair.one)
    pair.leads(1, 1)
    assert pair.one.part().log.latest_epoch == 1
    pair.leads(2, 2)
    pair.two.appends(b"b")
    for _ in range(5):
        pair.one.asks(pair.two)
    pair.are_equal()
    assert pair.one.part().log.latest_epoch == 2


def test_logs_that_parted_several_times_meet_again(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    pair.two.catches_up(pair.one)
    # Each appends in epochs of its own that the other never hears of.
    pair.one.hears(1, 2, (1,), (1, 2))
    pair.one.appends(b"one2")
    pair.one.hears(1, 4, (1,), (1, 2))
    pair.one.appends(b"one4", b"x")
    pair.two.hears(2, 1, (2,), (1, 2))
    pair.two.appends(b"two1", b"y", b"z")
    pair.two.hears(2, 3, (2,), (1, 2))
    pair.two.appends(b"two3")
    pair.leads(1, 5)
    for _ in range(10):
        pair.two.asks(pair.one)
    pair.are_equal()


def test_a_follower_whose_end_lies_before_the_leaders_start_begins_anew_there(pair: Pair) -> None:
    pair.leads(1, 0, isr=(1,))
    for number in range(5):
        pair.one.appends(b"%d" % number)
    pair.one.part().delete_records(3)  # type: ignore[arg-type]
    pair.one.part().log.roll(pair.now)
    pair.leads(1, 1, isr=(1,))
    pair.two.part().log.restart_at(0, pair.now)
    for _ in range(6):
        pair.two.asks(pair.one)
    log = pair.two.part().log
    assert (log.log_start_offset, log.log_end_offset) == (3, 5)


def test_a_follower_begins_with_the_whole_batch_in_which_the_leaders_log_starts(pair: Pair) -> None:
    pair.leads(1, 0, isr=(1,))
    pair.one.appends(b"a", b"b", b"c", b"d")
    pair.one.appends(b"e")
    pair.one.part().delete_records(Offset(2))
    for _ in range(8):
        pair.two.asks(pair.one)
    pair.are_equal()
    log = pair.two.part().log
    assert (log.log_start_offset, log.high_watermark) == (2, 5)
    assert pair.one.proposals, "and it is about to join those in sync"
    with pytest.raises(KafkaError):
        log.read(1, 100)


def test_a_follower_forgets_what_the_leader_never_had_and_has_deleted_up_to_the_middle_of_a_batch(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    pair.two.catches_up(pair.one)
    pair.leads(2, 1, isr=(2,))
    pair.two.appends(b"b", b"c", b"d")
    pair.one.part().log.append(pair.now, batch_of(b"x", b"y"), leader_epoch=0)
    pair.two.part().delete_records(Offset(3))
    for _ in range(8):
        pair.one.asks(pair.two)
    log = pair.one.part().log
    assert (log.log_start_offset, log.log_end_offset, log.high_watermark) == (3, 4, 4)
    assert log.end_of_epoch(LeaderEpoch(1)).end_offset == 4


def test_what_a_leader_has_deleted_is_not_readable_from_a_follower_that_has_something_else_there(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    pair.two.catches_up(pair.one)
    pair.leads(2, 1, isr=(2,))
    pair.two.appends(b"b")
    pair.two.appends(b"c")
    pair.one.part().log.append(pair.now, batch_of(b"x"), leader_epoch=0)
    pair.one.part().log.append(pair.now, batch_of(b"y"), leader_epoch=0)
    pair.one.part().log.append(pair.now, batch_of(b"z"), leader_epoch=0)
    pair.two.part().delete_records(Offset(2))
    log = pair.one.part().log
    for _ in range(8):
        pair.one.asks(pair.two)
        assert log.log_start_offset == 2 or log.high_watermark <= 1
    assert (log.log_start_offset, log.log_end_offset, log.high_watermark) == (2, 3, 3)


def test_batches_that_overlap_what_a_follower_has_are_not_taken(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a", b"b")
    pair.two.catches_up(pair.one)
    question = pair.question()
    pair.one.appends(b"c")
    answer = pair.one.reply(question)
    records = answer.responses[0].partitions[0].records
    records[:8] = (1).to_bytes(8, "big")
    pair.takes(question, answer)
    assert pair.two.part().log.log_end_offset == 2
    assert len(pair.two.followers[pair.one.me]) == 0


def test_a_topic_that_was_made_anew_while_the_leader_was_asked_is_asked_for_by_its_new_id_alone(pair: Pair) -> None:
    pair.leads(1, 0)
    question = pair.question()
    pair.takes(question, pair.one.reply(question))
    question = pair.question()
    answer = pair.one.reply(question)
    follower, old = pair.two.followers[pair.one.me], pair.two.part().topic_id
    follower.unfollow(T0)
    pair.two.part().topic_id = TopicId(UUID(int=5))
    follower.follow(pair.now, pair.two.part())
    pair.takes(question, answer)
    asked = pair.question()
    (topic,) = asked.body.topics
    assert topic.topic_id == UUID(int=5)
    assert [(gone.topic_id, gone.partitions) for gone in asked.body.forgotten_topics_data] == [(old, [0])]


def test_a_follower_ahead_of_a_leader_without_epochs_is_cut_to_it(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a", b"b")
    pair.two.catches_up(pair.one)
    follower = pair.two.followers[pair.one.me]
    question = pair.question()
    out_of_range = messages.FetchResponse.PartitionData(partition_index=0, error_code=ErrorCode.OFFSET_OUT_OF_RANGE)
    topic = messages.FetchResponse.FetchableTopicResponse(topic_id=question.body.topics[0].topic_id if
        question.body.topics else pair.two.part().topic_id, partitions=[out_of_range])  # fmt: skip
    pair.takes(question, messages.FetchResponse(session_id=question.body.session_id, responses=[topic]))
    asked = follower.next_question(pair.now)
    assert asked is not None
    assert (asked.api, asked.body.topics[0].partitions[0].timestamp) == ("ListOffsets", -1)
    response = messages.ListOffsetsResponse
    told = response.PartitionResponse(partition_index=0, offset=1)
    follower.take(pair.now, asked, response(topics=[response.TopicResponse(name="t", partitions=[told])]))
    assert pair.two.part().log.log_end_offset == 1


def test_an_answer_from_before_a_new_epoch_is_not_taken(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    question = pair.question()
    late = pair.one.reply(question)
    pair.leads(1, 1)
    pair.takes(question, late)
    assert pair.two.part().log.log_end_offset == 0
    pair.two.catches_up(pair.one)
    pair.are_equal()


def test_an_answer_is_not_taken_twice(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    question = pair.question()
    answer = pair.one.reply(question)
    assert pair.takes(question, answer).grown == [T0]
    assert pair.takes(question, answer).grown == []
    pair.are_equal()


def test_a_leader_that_does_not_know_it_leads_is_asked_again_soon_and_ever_later(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.two.hears(1, 7, (1, 2), (1, 2))
    follower = pair.two.followers[pair.one.me]
    rests = []
    for _ in range(8):
        pair.two.asks(pair.one)
        until = follower.next_deadline()
        assert until is not None
        assert follower.next_question(pair.now) is None
        rests.append(until - pair.now)
        pair.now = until
    assert rests == [50, 100, 200, 400, 800, 1000, 1000, 1000]
    pair.one.hears(1, 7, (1, 2), (1, 2))
    pair.one.appends(b"a")
    pair.two.catches_up(pair.one)


def test_a_fenced_follower_asks_no_more(pair: Pair) -> None:
    pair.leads(1, 3)
    pair.one.hears(1, 4, (1, 2), (1, 2))
    pair.two.asks(pair.one)
    assert len(pair.two.followers[pair.one.me]) == 0


def test_after_a_failure_everything_rests_and_the_session_is_begun_anew(pair: Pair) -> None:
    pair.leads(1, 0)
    question = pair.question()
    pair.takes(question, pair.one.reply(question))
    follower = pair.two.followers[pair.one.me]
    follower.failed(pair.now)
    assert follower.next_question(pair.now) is None
    assert follower.next_deadline() == pair.now + 1_000
    pair.now = Millis(pair.now + 1_000)
    assert pair.question().body.session_epoch == 0


def test_damaged_records_are_not_taken_but_asked_for_again(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    question = pair.question()
    answer = pair.one.reply(question)
    records = bytearray(answer.responses[0].partitions[0].records)
    records[-1] ^= 1
    answer.responses[0].partitions[0].records = memoryview(records)
    pair.takes(question, answer)
    assert pair.two.part().log.log_end_offset == 0
    pair.now = Millis(pair.now + 1_000)
    pair.two.catches_up(pair.one)
    pair.are_equal()


def test_a_batch_that_is_cut_off_is_asked_for_again(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    pair.one.appends(b"b")
    question = pair.question()
    answer = pair.one.reply(question)
    entry = answer.responses[0].partitions[0]
    entry.records = entry.records[:-5]
    pair.takes(question, answer)
    assert pair.two.part().log.log_end_offset == 1
    pair.two.catches_up(pair.one)
    pair.are_equal()


def test_a_leaders_error_that_is_not_known_here_makes_the_follower_rest(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    question = pair.question()
    answer = pair.one.reply(question)
    answer.responses[0].partitions[0].error_code = 999
    pair.takes(question, answer)
    assert pair.two.followers[pair.one.me].next_question(pair.now) is None
    pair.now = Millis(pair.now + 1_000)
    pair.takes(pair.question(), messages.FetchResponse(error_code=999))
    pair.now = Millis(pair.now + 1_000)
    pair.two.catches_up(pair.one)
    pair.are_equal()


def test_a_disk_that_fails_ends_the_following(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    pair.two.part().log.fail(OSError(5, "Input/output error"))
    pair.two.asks(pair.one)
    assert len(pair.two.followers[pair.one.me]) == 0


def test_records_deleted_by_the_leader_are_deleted_by_the_follower(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a", b"b")
    pair.two.catches_up(pair.one)
    pair.one.part().delete_records(2)  # type: ignore[arg-type]
    for _ in range(3):
        pair.two.asks(pair.one)
    assert pair.two.part().log.log_start_offset == 2
    assert pair.one.part().low_watermark == 2


class _Held:
    """A throttle that is always exceeded."""

    def __init__(self) -> None:
        self.bytes = 0
        self.holds = True

    def holds_back(self, partition: TopicPartition) -> bool:
        return self.holds

    def moved(self, partition: TopicPartition, size_bytes: int) -> None:
        self.bytes += size_bytes


def test_a_throttled_partition_waits_its_turn(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    follower = pair.two.followers[pair.one.me]
    throttle = follower._throttle = _Held()
    assert follower.next_question(pair.now) is None
    throttle.holds = False
    pair.now = Millis(pair.now + 1_000)
    pair.two.catches_up(pair.one)
    assert throttle.bytes > 0


def test_a_topic_of_another_id_is_not_taken_for_this_one(pair: Pair) -> None:
    pair.leads(1, 0)
    pair.one.appends(b"a")
    question = pair.question()
    answer = pair.one.reply(question)
    answer.responses[0].topic_id = TopicId(UUID(int=5))
    pair.takes(question, answer)
    assert pair.two.part().log.log_end_offset == 0
