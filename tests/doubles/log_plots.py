"""What may happen to a partition, in stories that between them do everything a log can do, and in random ones."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from pykafka_broker.wire.batch import Record, build, patch
from tests.doubles.log_story import LogStory

Plot = Callable[[LogStory], None]


def leads(story: LogStory) -> None:
    """A leader: appends, transactions, epochs, rolls, syncs, starts of every kind, retention."""
    for index in range(3):
        story.append(b"%d" % index, producer=7)
    story.sync()
    story.checkpoint()
    story.append(b"t", producer=8, transactional=True)
    story.append(b"x" * 50, b"y")
    story.lead()
    story.append(b"z", producer=7)
    story.end_transaction(8, committed=False)
    story.sync(sealed_only=True)
    story.checkpoint()
    story.append(b"w", producer=7)
    story.now += 5
    story.append(b"t2", producer=8, transactional=True)
    story.sync()
    story.append(b"a", b"b")
    story.append(b"c")
    story.end_transaction(8, committed=True)
    story.reopen(clean=False)
    story.append(b"d", producer=7)
    story.append(b"e")
    story.append(b"g" * 30)
    story.sync()
    story.reopen(clean=True)
    story.append(b"h")
    story.roll()
    story.append(b"i" * 30)
    story.delete_records(5)
    story.checkpoint()
    story.append(b"j")
    story.sync()
    story.expire()
    story.append(b"k")
    story.reap()
    story.checkpoint()
    story.append(b"l")
    story.sync()
    story.reopen(clean=True)


def follows(story: LogStory) -> None:
    """A follower: copies, cuts within and across segments, a later epoch in their place, starting anew."""
    for index in range(6):
        story.append(b"%d" % index * 20, producer=7)
    story.sync()
    story.checkpoint()
    for index in range(6):
        story.append(b"a%d" % index * 20, producer=7)
    story.cut(story.log.log_end_offset - 2)
    story.lead()
    story.append(b"new" * 20)
    story.append(b"new" * 20)
    story.sync()
    story.checkpoint()
    for index in range(6):
        story.append(b"b%d" % index * 20)
    story.cut(story.log.segments.bases[-2] - 1)
    story.lead()
    for index in range(8):
        story.append(b"c%d" % index * 20, producer=9)
    story.sync(sealed_only=True)
    story.checkpoint()
    story.append(b"d")
    story.sync()
    story.cut(3)
    story.reopen(clean=False)
    story.lead()
    story.append(b"e" * 40)
    story.sync()
    story.checkpoint()
    story.restart(40)
    story.copy(copied(41, 2, story.epoch), copied(43, 1, story.epoch + 1))
    story.sync()
    story.checkpoint()
    for offset in range(44, 52):
        story.copy(copied(offset, 1, story.epoch))
    story.restart(20)
    story.copy(copied(20, 3, story.epoch))
    story.reopen(clean=True)


def compacts(story: LogStory) -> None:
    """A compacted topic: two rounds, the second over what the first has left, tombstones and an aborted transaction."""
    for index in range(9):
        story.append(b"%d" % index * 10, key=b"k%d" % (index % 3), producer=7)
    story.append(b"aborted", key=b"k1", producer=8, transactional=True)
    story.end_transaction(8, committed=False)
    story.append(b"", key=b"k0", producer=7)
    story.roll()
    story.append(b"x", key=b"k9")
    story.sync()
    story.checkpoint()
    story.compact()
    story.append(b"y", key=b"k8")
    story.now += 500
    story.sync()
    for index in range(9):
        story.append(b"z%d" % index * 10, key=b"k%d" % (index % 3))
    story.roll()
    story.sync(sealed_only=True)
    story.checkpoint()
    story.reap()
    story.compact()
    story.append(b"end", key=b"k7")
    story.reap()
    story.sync()
    story.reopen(clean=True)


def copied(offset: int, count: int, epoch: int) -> bytes:
    """A batch from a leader."""
    batch = build([Record(timestamp=2_000 + offset, key=b"k", value=b"copy" * 10) for _ in range(count)])
    patch(batch, offset, epoch)
    return bytes(batch)


def wanders(seed: int, steps: int = 40) -> Plot:
    """Something random."""

    def plot(story: LogStory) -> None:
        random = Random(seed)
        open_: set[int] = set()
        generation = 0
        for _ in range(steps):
            log = story.log
            story.now += random.randint(0, 3)
            what = random.choices(
                ("append", "produce", "end", "sync", "sealed", "checkpoint", "roll", "lead", "cut", "expire", "delete"),
                (30, 15, 6, 8, 6, 8, 3, 4, 4, 3, 3),
            )[0]
            if what == "append":
                story.append(*(random.randbytes(random.randint(1, 60)) for _ in range(random.randint(1, 3))))
            elif what == "produce":
                producer = random.randint(1, 3) + generation
                transactional = producer % 10 == 3
                if transactional:
                    open_.add(producer)
                story.append(b"%d" % producer, producer=producer, transactional=transactional)
            elif what == "end" and open_:
                story.end_transaction(open_.pop(), committed=random.random() < 0.5)
            elif what == "sync":
                story.sync()
            elif what == "sealed":
                story.sync(sealed_only=True)
            elif what == "checkpoint":
                story.checkpoint()
            elif what == "roll":
                story.roll()
            elif what == "lead":
                story.lead()
            elif what == "cut" and log.log_end_offset > log.segments[0].base_offset and not open_:
                story.cut(random.choice([batch.header.base_offset for batch in story.history[-6:]]))
                if random.random() < 0.5:
                    story.sync()  # as the log keeper does before a follower goes on; a copy on its way does not
                    story.checkpoint()
                story.lead()
                generation += 10
            elif what == "expire" and not open_:
                story.expire()
                if random.random() < 0.5:
                    story.reap()
            elif what == "delete":
                story.delete_records(random.randint(log.log_start_offset, log.high_watermark))
            if random.random() < 0.06:
                story.reopen(clean=random.random() < 0.5)

    return plot


PLOTS: dict[str, Plot] = {"leads": leads, "follows": follows, "compacts": compacts}
_SETTINGS: dict[str, dict[str, Any]] = {
    "leads": {"retention_bytes": 1_000},
    "follows": {},
    "compacts": {"cleanup_policy": ("compact",), "min_cleanable_dirty_ratio": 0.0, "delete_retention_ms": 100},
}


def settings_of(name: str | int) -> dict[str, Any]:
    """The topic's settings for one of the plots, or for a random one."""
    if isinstance(name, str):
        return _SETTINGS[name]
    random = Random(name)
    return {
        "retention_bytes": 1_500,
        "segment_bytes": random.choice([300, 420, 2_000]),
        "index_interval_bytes": random.choice([0, 100, 4_096]),
    }
