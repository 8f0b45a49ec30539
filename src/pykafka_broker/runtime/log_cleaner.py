"""Compacts the logs of topics that want it, the dirtiest first (Kafka's ``LogCleaner``).

What is worth compacting and how is decided in ``log/compaction``. A round runs on the event loop in steps of one
batch, because a thread busy with Python code would hold the interpreter for longer than a step takes; only the
syncing is done on a worker thread. A failure ends the round, or takes its partition offline, and nothing else.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import suppress
from functools import partial
from typing import Protocol

import trio

from pykafka_broker.log.compaction import KEYS_LIMIT, Compacted, Dirt, settle
from pykafka_broker.log.partition import PartitionLog
from pykafka_broker.model.errors import KafkaError
from pykafka_broker.model.names import TopicPartition
from pykafka_broker.runtime.clock import Clock
from pykafka_broker.store.files import FileDisk
from pykafka_broker.store.worker import Worker
from pykafka_broker.wire.batch import CorruptBatch

_KEY_BYTES = 24
"""What a key takes in Apache Kafka's table (``SkimpyOffsetMap``): its MD5 and an offset."""
_REST_S = 0.05
"""Rests shorter than this are saved up."""


class KeptLog(Protocol):
    """A log and its files; ``log_keeper.Kept``."""

    log: PartitionLog
    disk: FileDisk


class CleanerSettings(Protocol):
    """What of the broker's settings matters here; ``BrokerSettings`` has it."""

    @property
    def log_cleaner_backoff_ms(self) -> int: ...
    @property
    def log_cleaner_threads(self) -> int: ...
    @property
    def log_cleaner_dedupe_buffer_size(self) -> int: ...
    @property
    def log_cleaner_io_buffer_load_factor(self) -> float: ...
    @property
    def log_cleaner_io_max_bytes_per_second(self) -> float: ...


class Logs(Protocol):
    """What is needed of ``LogKeeper``."""

    logs: dict[TopicPartition, PartitionLog]
    clean_up_to: dict[TopicPartition, int]
    worker: Worker

    def kept(self, partition: TopicPartition) -> KeptLog | None: ...

    async def checkpoint_clean_up_to(self) -> None: ...


class LogCleaner:
    """One pass after another over all logs; as many at a time as ``log.cleaner.threads`` says."""

    def __init__(self, keeper: Logs, clock: Clock, settings: CleanerSettings) -> None:
        self._keeper = keeper
        self._clock = clock
        self._settings = settings
        self._given_up: set[TopicPartition] = set()

    def configure(self, settings: CleanerSettings) -> None:
        """Follow changed settings, with the next round at the latest."""
        self._settings = settings

    async def run(self) -> None:
        """Compact what is worth it, then look again after a pause, until cancelled."""
        while True:
            await trio.sleep(self._settings.log_cleaner_backoff_ms / 1000)
            await self.compact()

    async def compact(self) -> None:
        """Compact every log that is worth it, each once."""
        done = set(self._given_up)
        async with trio.open_nursery() as nursery:
            for _ in range(self._settings.log_cleaner_threads):
                nursery.start_soon(self._compact_all, done)

    async def _compact_all(self, done: set[TopicPartition]) -> None:
        while (worst := self._dirtiest(done)) is not None:
            partition, dirt = worst
            done.add(partition)
            with suppress(KafkaError):
                await self._compact(partition, dirt)

    def _dirtiest(self, done: set[TopicPartition]) -> tuple[TopicPartition, Dirt] | None:
        now = self._clock()
        clean_up_to: Mapping[TopicPartition, int] = self._keeper.clean_up_to
        found = [
            (partition, dirt)
            for partition, log in self._keeper.logs.items()
            if partition not in done and (dirt := log.dirt(now, clean_up_to.get(partition, 0))) is not None
        ]
        return max(found, key=lambda entry: (entry[1].is_overdue, entry[1].ratio), default=None)

    async def _compact(self, partition: TopicPartition, dirt: Dirt) -> None:
        kept = self._keeper.kept(partition)
        if kept is None:
            return
        log = kept.log
        try:
            compacted = await self._in_steps(log.compaction(dirt, self._clock(), self._keys_limit()))
            await self._keeper.worker.run(partial(settle, kept.disk, compacted))
        except FileNotFoundError:
            # Retention or a deletion took the segments away meanwhile.
            if not log.is_offline:
                log.abandon_compaction()
            return
        except CorruptBatch as problem:
            # Tried again after a restart, whose recovery may have mended it (Kafka calls the partition uncleanable).
            self._given_up.add(partition)
            log.abandon_compaction(problem.message)
            return
        except OSError as problem:
            log.fail(problem)
            return
        if self._keeper.kept(partition) is kept and log.adopt(compacted, self._clock()):
            await self._sync_names(kept)
            self._keeper.clean_up_to[partition] = compacted.clean_up_to
            await self._keeper.checkpoint_clean_up_to()

    async def _sync_names(self, kept: KeptLog) -> None:
        """Let the segments that were replaced not come back in a power cut."""
        try:
            await self._keeper.worker.run(partial(kept.disk.sync, ()))
        except OSError as problem:
            kept.log.fail(problem)

    def _keys_limit(self) -> int:
        """The keys that one round may remember: those that Apache Kafka's table would hold, or that memory bears."""
        settings = self._settings
        table_bytes = settings.log_cleaner_dedupe_buffer_size // settings.log_cleaner_threads
        return min(KEYS_LIMIT, int(table_bytes // _KEY_BYTES * settings.log_cleaner_io_buffer_load_factor))

    async def _in_steps(self, steps: Generator[int, None, Compacted]) -> Compacted:
        """Run a round to its end, letting others run after each step.

        For what it reads and writes it rests as long as that may take at the allowed rate, of which each thread has
        its share; the work itself comes on top.
        """
        owed_s = 0.0
        while True:
            try:
                moved_bytes = next(steps)
            except StopIteration as stop:
                compacted: Compacted = stop.value
                return compacted
            settings = self._settings
            owed_s += moved_bytes * settings.log_cleaner_threads / settings.log_cleaner_io_max_bytes_per_second
            if owed_s > _REST_S:
                await trio.sleep(owed_s)
                owed_s = 0.0
            else:
                await trio.lowlevel.checkpoint()
