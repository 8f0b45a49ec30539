"""What happened to a topic and to a group while brokers came and went, and whether anything promised was broken.

Everything is known by then: what producers sent and what was acknowledged, what every partition holds from its first
offset on, what was delivered to the members of the group, and what the coordinators wrote down. Nothing here runs,
waits or reads: histories may as well be made by hand.
"""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

_SHOWN = 10
"""So many problems of a kind are told in full."""
_LAST_SEQUENCE = 0x7FFFFFFF


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    index: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.index}"


class Record(NamedTuple):
    """One record: who produced it, and which of his it is. Each producer counts up from zero."""

    producer: str
    number: int

    def __str__(self) -> str:
        return f"{self.producer}.{self.number}"


class Stored(NamedTuple):
    """A record where a partition holds it."""

    offset: int
    record: Record


UNTOLD = -1
"""The offset of a record that a producer knows to be there, but not where: it was found to be there already."""


class Acknowledged(NamedTuple):
    """What a producer was told, and when (seconds)."""

    record: Record
    partition: Partition
    offset: int
    at: float


class Failed(NamedTuple):
    """A record that its producer has given up, or something else that a client could not hide from its program."""

    who: str
    what: str
    at: float


class Assigned(NamedTuple):
    """A member begins with these partitions, wherever the group stands in them."""

    partitions: tuple[Partition, ...]


class Delivered(NamedTuple):
    """A member got a record."""

    partition: Partition
    offset: int
    record: Record


class Committed(NamedTuple):
    """A member was told that the group now stands there."""

    partition: Partition
    offset: int


Place = tuple[Partition, int]
Step = Assigned | Delivered | Committed


class Generation(NamedTuple):
    """What a coordinator wrote down of one generation of a group: who has which partitions."""

    group: str
    number: int
    owned: Mapping[str, tuple[Partition, ...]]


class Batch(NamedTuple):
    """What a producer wrote into a partition in one go, and as who: the broker knows him by his id and his epoch, and
    what he has sent by its sequences. Both ends are included."""

    offsets: tuple[int, int]
    producer: int
    epoch: int
    sequences: tuple[int, int]


class Position(NamedTuple):
    """Where a coordinator wrote down that a group stands."""

    group: str
    partition: Partition
    offset: int


@dataclass
class History:
    """All that the clients saw, each client's steps in their order."""

    sent: set[Record] = field(default_factory=set)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    members: dict[str, list[Step]] = field(default_factory=lambda: defaultdict(list))
    repeating: set[str] = field(default_factory=set)
    """Producers without idempotence, whose records may be there more than once."""

    def heard_so_far(self) -> History:
        """A copy that stays as it is while this one grows."""
        members = {name: list(steps) for name, steps in self.members.items()}
        return History(set(self.sent), list(self.acknowledged), list(self.failed), members, set(self.repeating))


@dataclass(frozen=True)
class Outcome:
    """What the brokers hold in the end."""

    content: Mapping[Partition, Sequence[Stored]]
    """Each partition as one reads it from its first offset to its end."""
    generations: Sequence[Generation] = ()
    """In the order in which they were written."""
    positions: Sequence[Position] = ()
    """In the order in which they were written."""
    batches: Mapping[Partition, Sequence[Batch]] = field(default_factory=dict)
    """What the content came in, as far as it is known, in the order of the offsets."""

    def author(self, partition: Partition, offset: int) -> tuple[int, int] | None:
        """Id and epoch of the producer as whom a record was written, if known."""
        batches = self.batches.get(partition, ())
        at = bisect.bisect_right(batches, offset, key=lambda batch: batch.offsets[0]) - 1
        if at < 0 or offset > batches[at].offsets[1]:
            return None
        return batches[at].producer, batches[at].epoch


def problems(history: History, outcome: Outcome) -> list[str]:
    """What is wrong, each with the record and the offset; nothing if every promise was kept."""
    found: list[str] = []
    for look in (_lost, _invented, _doubled, _out_of_sequence, _out_of_order, _holes, _misread, _shared, _gone_back):
        of_a_kind = list(look(history, outcome))
        found += of_a_kind[:_SHOWN]
        if len(of_a_kind) > _SHOWN:
            found.append(f"... and {len(of_a_kind) - _SHOWN} more of the kind of the last one")
    return found


def undelivered(history: History, outcome: Outcome, topic: str) -> list[str]:
    """Records of a topic that no member of the group has got; for the end, when the group has read everything."""
    got = {
        (step.partition, step.offset)
        for steps in history.members.values()
        for step in steps
        if isinstance(step, Delivered)
    }
    missing = [
        f"not delivered: {stored.record} at {partition}@{stored.offset} was given to no member of the group"
        for partition, content in outcome.content.items()
        if partition.topic == topic
        for stored in content
        if (partition, stored.offset) not in got
    ]
    return missing[:_SHOWN] + ([f"... and {len(missing) - _SHOWN} more"] if len(missing) > _SHOWN else [])


def silences(history: History, since: float, until: float) -> dict[Partition, float]:
    """For each partition, the longest time between these moments in which nothing written to it was acknowledged."""
    moments: dict[Partition, list[float]] = defaultdict(list)
    for each in history.acknowledged:
        if since <= each.at <= until:
            moments[each.partition].append(each.at)
    return {
        partition: max(after - before for before, after in itertools.pairwise([since, *sorted(times), until]))
        for partition, times in sorted(moments.items())
    }


def _lost(history: History, outcome: Outcome) -> Iterator[str]:
    held = {
        (partition, stored.offset): stored.record
        for partition, content in outcome.content.items()
        for stored in content
    }
    places: dict[Record, list[Place]] = defaultdict(list)
    for place, record in held.items():
        places[record].append(place)
    for record, partition, offset, _ in history.acknowledged:
        there = held.get((partition, offset))
        if there == record or (offset == UNTOLD and any(place[0] == partition for place in places[record])):
            continue
        instead = f"there is {there}" if there is not None else "there is nothing"
        others = ", ".join(f"{place[0]}@{place[1]}" for place in places[record])
        elsewhere = f"it is at {others}" if others else "it is nowhere"
        yield f"lost: {record} was acknowledged at {partition}@{offset}, where {instead}; {elsewhere}"


def _invented(history: History, outcome: Outcome) -> Iterator[str]:
    if not history.sent:
        return
    known = {record.producer for record in history.sent}
    for partition, content in outcome.content.items():
        for offset, record in content:
            if record.producer in known and record not in history.sent:
                yield f"invented: {record} at {partition}@{offset} was never sent"


def _doubled(history: History, outcome: Outcome) -> Iterator[str]:
    seen: dict[Record, Place] = {}
    for partition, content in outcome.content.items():
        for offset, record in content:
            before = seen.setdefault(record, (partition, offset))
            if before == (partition, offset) or record.producer in history.repeating:
                continue
            if not _is_sent_anew(outcome, before, (partition, offset)):
                yield f"doubled: {record} is at {before[0]}@{before[1]} and at {partition}@{offset}"


def _is_sent_anew(outcome: Outcome, first: Place, second: Place) -> bool:
    """Whether a record that is in two places was written as two producers. librdkafka, told by a new leader that a
    sequence is missing while an older request is still with the old one, goes on in a new epoch and sends the older one
    again in it, with any broker (confluentinc/librdkafka#4953). A broker cannot know that it is the same record."""
    authors = outcome.author(*first), outcome.author(*second)
    return None not in authors and authors[0] != authors[1]


def _out_of_sequence(_: History, outcome: Outcome) -> Iterator[str]:
    """What a broker answers for: each producer's sequences, as long as he has one epoch, follow each other."""
    for partition, batches in outcome.batches.items():
        newest: dict[tuple[int, int], Batch] = {}
        for batch in batches:
            if batch.producer < 0:
                continue
            before = newest.get((batch.producer, batch.epoch))
            if before is not None and batch.sequences[0] != (before.sequences[1] + 1) & _LAST_SEQUENCE:
                yield (
                    f"out of sequence: producer {batch.producer} in epoch {batch.epoch} wrote {batch.sequences} at "
                    f"{partition}@{batch.offsets[0]} after {before.sequences} at {partition}@{before.offsets[0]}"
                )
            newest[batch.producer, batch.epoch] = batch


def _out_of_order(history: History, outcome: Outcome) -> Iterator[str]:
    for partition, content in outcome.content.items():
        newest: dict[str, Stored] = {}
        places: dict[Record, Place] = {}
        for stored in content:
            record, place = stored.record, (partition, stored.offset)
            before = newest.get(record.producer)
            first = places.setdefault(record, place)
            if before is None or before.record.number < record.number:
                newest[record.producer] = stored
            elif (
                record.producer not in history.repeating
                and before.record != record
                and not _is_sent_anew(outcome, first, place)
            ):
                yield (
                    f"out of order: {record} at {partition}@{stored.offset} comes after "
                    f"{before.record} at {partition}@{before.offset}"
                )


def _holes(history: History, outcome: Outcome) -> Iterator[str]:
    for partition, content in outcome.content.items():
        expected = 0
        for offset, record in content:
            if offset > expected:
                yield f"hole: {partition} has nothing from {expected} to {offset - 1}, before {record} at {offset}"
            elif offset < expected:
                yield f"hole: {partition} has {record} at {offset}, where {expected} was to come"
            expected = offset + 1


def _misread(history: History, outcome: Outcome) -> Iterator[str]:
    held = {
        (partition, stored.offset): stored.record
        for partition, content in outcome.content.items()
        for stored in content
    }
    for member, steps in history.members.items():
        expected: dict[Partition, int] = {}
        for step in steps:
            if isinstance(step, Assigned):
                expected.clear()
            elif isinstance(step, Delivered):
                partition, offset, record = step
                there = held.get((partition, offset))
                if there != record:
                    yield f"misread: {member} got {record} from {partition}@{offset}, where there is {there}"
                if offset != expected.get(partition, offset):
                    yield f"skipped: {member} got {record} from {partition}@{offset} after {expected[partition] - 1}"
                expected[partition] = offset + 1


def _shared(history: History, outcome: Outcome) -> Iterator[str]:
    owners: dict[tuple[str, int, Partition], str] = {}
    newest: dict[str, int] = {}
    for group, number, owned in outcome.generations:
        if number < newest.get(group, number):
            yield f"gone back: group {group} is in generation {number} after {newest[group]}"
        newest[group] = number
        for member, partitions in owned.items():
            for partition in partitions:
                before = owners.setdefault((group, number, partition), member)
                if before != member:
                    yield f"shared: {partition} is {before}'s and {member}'s in generation {number} of {group}"


def _gone_back(history: History, outcome: Outcome) -> Iterator[str]:
    ends = {partition: content[-1].offset + 1 if content else 0 for partition, content in outcome.content.items()}
    for member, steps in history.members.items():
        reached: dict[Partition, int] = {}
        for step in steps:
            if isinstance(step, Committed):
                partition, offset = step
                if offset < reached.get(partition, offset):
                    yield f"gone back: {member} committed {partition}@{offset} after {reached[partition]}"
                if partition in ends and offset > ends[partition]:
                    yield f"gone ahead: {member} committed {partition}@{offset}, which ends at {ends[partition]}"
                reached[partition] = offset
    standing: dict[tuple[str, Partition], int] = {}
    for group, partition, offset in outcome.positions:
        before = standing.get((group, partition), offset)
        if offset < before:
            yield f"gone back: group {group} stands at {partition}@{offset} after {before}"
        standing[group, partition] = offset
    written = {(partition, offset) for _, partition, offset in outcome.positions}
    if not outcome.positions:
        return
    for member, steps in history.members.items():
        for step in steps:
            if isinstance(step, Committed) and tuple(step) not in written:
                yield f"lost: {member}'s commit of {step.partition}@{step.offset} was acknowledged and is nowhere"
