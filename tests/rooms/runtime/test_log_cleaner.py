"""Compaction in the background: which log comes first, and what happens when something goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import pytest
import trio
import trio.testing

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.topic import TopicSettings
from pykafka_broker.model.names import TopicId, TopicPartition
from pykafka_broker.model.outcome import Fact
from pykafka_broker.model.time import Millis
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.log_keeper import LogKeeper, kept_logs
from pykafka_broker.store.meta import Meta
from pykafka_broker.wire.batch import Record, build
from tests.doubles.inline_worker import InlineWorker, Result

NOW = Millis(1_000_000)
SETTINGS = TopicSettings(cleanup_policy=("compact",), segment_bytes=400)
A, B = TopicPartition("a", 0), TopicPartition("b", 0)


class Story:
    """A keeper with compacted logs."""

    def __init__(self, path: Path) -> None:
        self.facts: list[Fact] = []
        self.keeper = LogKeeper(
            [path],
            lambda: NOW,
            BrokerSettings(log_cleaner_backoff_ms=15_000),
            lambda _: SETTINGS,
            Changes(),
            self.facts.append,
            worker=InlineWorker(),
        )
        self.cleaner = self.keeper.cleaner

    def fill(self, partition: TopicPartition, count: int = 20, settings: TopicSettings = SETTINGS) -> None:
        log = self.keeper.create(partition, TopicId(UUID(int=1)), settings)
        for index in range(count):
            data = build([Record(timestamp=NOW, key=b"k%d" % (index % 2), value=b"%d" % index)])
            log.append(NOW, data, leader_epoch=0)
        log.advance_high_watermark(log.log_end_offset)

    def compacted(self) -> list[object]:
        return [fact.fields["partition"] for fact in self.facts if fact.name == "LogCompacted"]


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    found = Story(tmp_path / "logs")
    async with kept_logs(found.keeper, Meta(1, "c")):
        yield found


async def test_every_dirty_log_is_compacted_and_it_is_written_down_how_far(story: Story, tmp_path: Path) -> None:
    story.fill(A)
    story.fill(B)
    story.fill(TopicPartition("plain", 0), settings=TopicSettings(segment_bytes=400))
    before = story.keeper.logs[A].size_bytes
    await story.cleaner.compact()
    assert sorted(map(str, story.compacted())) == ["a-0", "b-0"]
    assert story.keeper.logs[A].size_bytes < before / 2
    active = story.keeper.logs[A].segments[-1].base_offset
    text = (tmp_path / "logs" / "cleaner-offset-checkpoint").read_text()
    assert sorted(text.split("\n")[2:-1]) == [f"a 0 {active}", f"b 0 {active}"]
    story.facts.clear()
    await story.cleaner.compact()
    assert story.compacted() == []


async def test_the_dirtiest_comes_first(story: Story) -> None:
    story.fill(A)
    await story.cleaner.compact()
    story.facts.clear()
    story.fill(A, 6)
    story.keeper.configure("a", SETTINGS.replacing(min_cleanable_dirty_ratio=0.01))
    story.fill(B)
    await story.cleaner.compact()
    assert story.compacted() == ["b-0", "a-0"]


async def test_it_happens_by_itself_after_a_while(story: Story, autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.keeper.run)
        story.fill(A)
        await trio.sleep(14)
        assert story.compacted() == []
        await trio.sleep(2)
        assert story.compacted() == ["a-0"]
        nursery.cancel_scope.cancel()


async def test_no_more_is_read_and_written_in_a_second_than_is_allowed(
    story: Story, autojump_clock: trio.testing.MockClock
) -> None:
    story.fill(A)
    moved_bytes = 2 * (story.keeper.logs[A].size_bytes - story.keeper.logs[A].segments[-1].size_bytes)
    story.cleaner.configure(BrokerSettings(log_cleaner_io_max_bytes_per_second=100.0))
    begun = autojump_clock.current_time()
    await story.cleaner.compact()
    assert story.compacted() == ["a-0"]
    # Every byte is read twice, and of what is left something is written.
    assert moved_bytes / 100 <= autojump_clock.current_time() - begun <= 1.5 * moved_bytes / 100


async def test_a_small_table_of_keys_takes_more_rounds(story: Story) -> None:
    story.fill(A)
    story.cleaner.configure(
        BrokerSettings(log_cleaner_dedupe_buffer_size=24 * 4, log_cleaner_io_buffer_load_factor=0.5)
    )
    marks = []
    while not marks or story.keeper.clean_up_to[A] > marks[-1]:
        marks.append(story.keeper.clean_up_to.get(A, 0))
        await story.cleaner.compact()
    assert len(marks) > 3
    assert len(story.keeper.logs[A].segments) < 4


class SlowWorker(InlineWorker):
    """Takes a second for everything, and knows how much of it went on at once."""

    def __init__(self) -> None:
        self.running = self.most = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        self.running += 1
        self.most = max(self.most, self.running)
        await trio.sleep(1)
        self.running -= 1
        return work()


@pytest.mark.parametrize("threads", [1, 2])
async def test_as_many_logs_are_compacted_at_a_time_as_there_are_threads(
    story: Story, autojump_clock: trio.testing.MockClock, threads: int
) -> None:
    for index in range(3):
        story.fill(TopicPartition("t", index))
    story.keeper.worker = worker = SlowWorker()
    story.cleaner.configure(BrokerSettings(log_cleaner_threads=threads))
    await story.cleaner.compact()
    assert len(story.compacted()) == 3
    assert worker.most == threads


async def test_what_was_clean_is_known_after_a_restart(tmp_path: Path) -> None:
    first = Story(tmp_path / "logs")
    async with kept_logs(first.keeper, Meta(1, "c")):
        first.fill(A)
        await first.cleaner.compact()
    second = Story(tmp_path / "logs")
    async with kept_logs(second.keeper, Meta(1, "c")):
        assert second.keeper.clean_up_to == first.keeper.clean_up_to != {}
        await second.cleaner.compact()
        assert second.compacted() == []


async def test_what_is_appended_where_a_log_was_cut_is_not_clean(story: Story) -> None:
    story.fill(A)
    await story.cleaner.compact()
    log = story.keeper.logs[A]
    cut = log.log_start_offset + 3
    assert story.keeper.clean_up_to[A] > cut
    log.truncate_to(cut, NOW)
    assert story.keeper.clean_up_to[A] == cut


async def test_a_log_that_is_deleted_meanwhile_is_left_alone(story: Story) -> None:
    story.fill(A)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.cleaner.compact)
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        story.keeper.delete(A)
    assert story.compacted() == []
    assert A not in story.keeper.clean_up_to


async def test_a_damaged_log_is_given_up_and_the_others_go_on(story: Story) -> None:
    story.fill(A)
    story.fill(B)
    kept = story.keeper.kept(A)
    assert kept is not None
    path = kept.disk.path / story.keeper.logs[A].segments[0].name
    data = bytearray(path.read_bytes())
    data[16] = 9
    path.write_bytes(data)
    for _ in range(2):
        await story.cleaner.compact()
    assert story.compacted() == ["b-0"]
    assert len([fact for fact in story.facts if fact.name == "CompactionFailed"]) == 1
    assert not [entry for entry in kept.disk.path.iterdir() if entry.name.endswith(".cleaned")]
