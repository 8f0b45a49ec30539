"""The checker of histories is itself checked: a good one passes, and each kind of broken promise is named."""

from __future__ import annotations

from compat.cluster.history import (
    UNTOLD,
    Acknowledged,
    Assigned,
    Batch,
    Committed,
    Delivered,
    Generation,
    History,
    Outcome,
    Partition,
    Position,
    Record,
    Step,
    Stored,
    problems,
    silences,
    undelivered,
)

ONE, TWO = Partition("t", 0), Partition("t", 1)


def a(number: int) -> Record:
    return Record("a", number)


def b(number: int) -> Record:
    return Record("b", number)


def content(*records: Record, first: int = 0) -> list[Stored]:
    return [Stored(offset, record) for offset, record in enumerate(records, first)]


def told(*acknowledged: tuple[Record, Partition, int]) -> History:
    history = History()
    for at, (record, partition, offset) in enumerate(acknowledged):
        history.sent.add(record)
        history.acknowledged.append(Acknowledged(record, partition, offset, float(at)))
    return history


def member(*steps: Step) -> History:
    history = History()
    history.members["m"] += steps
    return history


def test_a_history_in_which_every_promise_was_kept_has_no_problems() -> None:
    history = told((a(0), ONE, 0), (b(0), ONE, 1), (a(1), TWO, 0), (a(2), ONE, 2))
    history.members["m"] += [
        Assigned((ONE,)),
        Delivered(ONE, 0, a(0)),
        Delivered(ONE, 1, b(0)),
        Committed(ONE, 2),
        Delivered(ONE, 2, a(2)),
    ]
    history.members["n"] += [Assigned((ONE, TWO)), Delivered(ONE, 2, a(2)), Delivered(TWO, 0, a(1)), Committed(ONE, 3)]
    outcome = Outcome(
        {ONE: content(a(0), b(0), a(2)), TWO: content(a(1))},
        [Generation("g", 1, {"m": (ONE,), "n": (TWO,)}), Generation("g", 2, {"n": (ONE, TWO)})],
        [Position("g", ONE, 2), Position("g", ONE, 3), Position("other", ONE, 1)],
    )
    assert problems(history, outcome) == []
    assert undelivered(history, outcome, "t") == []


def test_an_acknowledged_record_that_is_nowhere_is_lost() -> None:
    found = problems(told((a(0), ONE, 0), (a(1), ONE, 1)), Outcome({ONE: content(a(0))}))
    assert found == ["lost: a.1 was acknowledged at t-0@1, where there is nothing; it is nowhere"]


def test_an_acknowledged_record_whose_place_another_has_taken_is_lost() -> None:
    found = problems(told((a(0), ONE, 0), (b(0), ONE, 1)), Outcome({ONE: content(b(0), a(0))}))
    assert found == [
        "lost: a.0 was acknowledged at t-0@0, where there is b.0; it is at t-0@1",
        "lost: b.0 was acknowledged at t-0@1, where there is a.0; it is at t-0@0",
    ]


def test_a_record_acknowledged_without_its_offset_must_be_somewhere_in_its_partition() -> None:
    history = told((a(0), ONE, UNTOLD))
    assert problems(history, Outcome({ONE: content(a(0))})) == []
    assert problems(history, Outcome({ONE: [], TWO: content(a(0))})) == [
        "lost: a.0 was acknowledged at t-0@-1, where there is nothing; it is at t-1@0"
    ]


def test_a_record_that_was_not_acknowledged_may_be_there_or_not() -> None:
    history = told((a(0), ONE, 0))
    history.sent |= {a(1), a(2)}
    assert problems(history, Outcome({ONE: content(a(0), a(2))})) == []


def test_a_record_that_nobody_sent_is_invented() -> None:
    found = problems(told((a(0), ONE, 0)), Outcome({ONE: content(a(0), a(1), b(0))}))
    assert found == ["invented: a.1 at t-0@1 was never sent"]


def test_a_record_that_is_there_twice_is_doubled_unless_its_producer_may_repeat_himself() -> None:
    history, outcome = told((a(0), ONE, 0)), Outcome({ONE: content(a(0), a(0))})
    assert problems(history, outcome) == ["doubled: a.0 is at t-0@0 and at t-0@1"]
    history.repeating.add("a")
    assert problems(history, outcome) == []


def test_a_record_that_its_producer_sent_again_in_another_epoch_is_not_the_brokers_fault() -> None:
    content_twice = content(a(0), a(1), a(0), a(1), a(2))
    first, again = Batch((0, 1), 7, 0, (0, 1)), Batch((2, 4), 7, 1, (0, 2))
    history = told((a(0), ONE, 0))
    history.sent |= {a(1), a(2)}
    assert problems(history, Outcome({ONE: content_twice}, batches={ONE: [first, again]})) == []
    same_epoch = Outcome({ONE: content_twice}, batches={ONE: [first, again._replace(epoch=0, sequences=(2, 4))]})
    assert problems(history, same_epoch) == [
        "doubled: a.0 is at t-0@0 and at t-0@2",
        "doubled: a.1 is at t-0@1 and at t-0@3",
        "out of order: a.0 at t-0@2 comes after a.1 at t-0@1",
    ]


def test_a_producer_s_sequences_follow_each_other_within_an_epoch() -> None:
    def found(*batches: Batch) -> list[str]:
        return problems(History(), Outcome({}, batches={ONE: batches}))

    first = Batch((0, 1), 7, 0, (0x7FFFFFFE, 0x7FFFFFFF))
    assert found(first, Batch((2, 2), 8, 0, (5, 5)), Batch((3, 3), 7, 0, (0, 0)), Batch((4, 4), 7, 1, (0, 0))) == []
    assert found(Batch((0, 0), -1, -1, (-1, -1)), Batch((1, 1), -1, -1, (-1, -1))) == []
    told_of = "out of sequence: producer 7 in epoch 0 wrote"
    assert found(first, first._replace(offsets=(2, 3))) == [
        f"{told_of} (2147483646, 2147483647) at t-0@2 after (2147483646, 2147483647) at t-0@0"
    ]
    assert found(first, Batch((2, 2), 7, 0, (1, 1))) == [
        f"{told_of} (1, 1) at t-0@2 after (2147483646, 2147483647) at t-0@0"
    ]


def test_records_of_one_producer_that_are_stored_the_wrong_way_round_are_out_of_order() -> None:
    history = told((a(0), ONE, 1), (a(1), ONE, 0))
    outcome = Outcome({ONE: content(a(1), a(0))})
    assert problems(history, outcome) == ["out of order: a.0 at t-0@1 comes after a.1 at t-0@0"]


def test_offsets_without_a_record_are_holes() -> None:
    history = told((a(0), ONE, 0), (a(1), ONE, 2))
    assert problems(history, Outcome({ONE: [Stored(0, a(0)), Stored(2, a(1))]})) == [
        "hole: t-0 has nothing from 1 to 1, before a.1 at 2"
    ]
    assert problems(History(), Outcome({ONE: content(a(0), first=1)})) == [
        "hole: t-0 has nothing from 0 to 0, before a.0 at 1"
    ]


def test_an_offset_that_two_records_have_is_told() -> None:
    assert problems(History(), Outcome({ONE: [Stored(0, a(0)), Stored(0, b(0))]})) == [
        "hole: t-0 has b.0 at 0, where 1 was to come"
    ]


def test_a_member_that_got_what_is_not_there_has_misread() -> None:
    outcome = Outcome({ONE: content(a(0))})
    assert problems(member(Assigned((ONE,)), Delivered(ONE, 0, b(0))), outcome) == [
        "misread: m got b.0 from t-0@0, where there is a.0"
    ]


def test_a_member_that_passes_over_a_record_has_skipped_it_unless_it_was_assigned_anew() -> None:
    outcome = Outcome({ONE: content(a(0), a(1), a(2))})
    first, last = Delivered(ONE, 0, a(0)), Delivered(ONE, 2, a(2))
    assert problems(member(Assigned((ONE,)), first, last), outcome) == ["skipped: m got a.2 from t-0@2 after 0"]
    assert problems(member(Assigned((ONE,)), first, Assigned((ONE,)), last), outcome) == []


def test_records_that_nobody_in_the_group_got_are_undelivered() -> None:
    history = member(Assigned((ONE,)), Delivered(ONE, 1, a(1)))
    outcome = Outcome({ONE: content(a(0), a(1)), Partition("other", 0): content(b(0))})
    assert undelivered(history, outcome, "t") == ["not delivered: a.0 at t-0@0 was given to no member of the group"]


def test_a_partition_that_two_have_in_one_generation_is_shared() -> None:
    notes = [Generation("g", 3, {"m": (ONE,)}), Generation("g", 3, {"m": (), "n": (ONE,)})]
    assert problems(History(), Outcome({}, notes)) == ["shared: t-0 is m's and n's in generation 3 of g"]


def test_a_generation_that_comes_after_a_later_one_has_gone_back() -> None:
    notes = [Generation("g", 3, {}), Generation("h", 1, {}), Generation("g", 2, {})]
    assert problems(History(), Outcome({}, notes)) == ["gone back: group g is in generation 2 after 3"]


def test_commits_that_go_back_are_told_of_members_and_of_groups() -> None:
    assert problems(member(Committed(ONE, 2), Committed(ONE, 1)), Outcome({})) == [
        "gone back: m committed t-0@1 after 2"
    ]
    assert problems(History(), Outcome({}, (), [Position("g", ONE, 2), Position("g", ONE, 1)])) == [
        "gone back: group g stands at t-0@1 after 2"
    ]


def test_a_commit_that_was_acknowledged_and_not_written_down_is_lost() -> None:
    assert problems(member(Committed(ONE, 1)), Outcome({}, (), [Position("g", ONE, 0)])) == [
        "lost: m's commit of t-0@1 was acknowledged and is nowhere"
    ]


def test_a_commit_beyond_the_end_has_gone_ahead() -> None:
    assert problems(member(Committed(ONE, 2)), Outcome({ONE: content(a(0))})) == [
        "gone ahead: m committed t-0@2, which ends at 1"
    ]


def test_of_many_problems_of_a_kind_the_first_are_told_and_the_rest_counted() -> None:
    found = problems(told(*((a(number), ONE, number) for number in range(25))), Outcome({ONE: []}))
    assert len(found) == 11
    assert found[-1] == "... and 15 more of the kind of the last one"


def test_silence_is_the_longest_time_without_an_acknowledgement() -> None:
    history = History()
    for partition, at in ((ONE, 1.0), (TWO, 1.5), (ONE, 2.0), (ONE, 6.0), (TWO, 7.0)):
        history.acknowledged.append(Acknowledged(a(0), partition, 0, at))
    assert silences(history, 0.0, 8.0) == {ONE: 4.0, TWO: 5.5}
    assert silences(history, 5.5, 8.0) == {ONE: 2.0, TWO: 1.5}


def test_what_was_heard_so_far_stays_as_it_is() -> None:
    history = told((a(0), ONE, 0))
    history.members["m"].append(Committed(ONE, 1))
    copy = history.heard_so_far()
    history.acknowledged.append(Acknowledged(a(1), ONE, 1, 9.0))
    history.members["m"].append(Committed(ONE, 2))
    history.members["n"].append(Committed(ONE, 0))
    assert len(copy.acknowledged) == 1
    assert copy.members == {"m": [Committed(ONE, 1)]}
