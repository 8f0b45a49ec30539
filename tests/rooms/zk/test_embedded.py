"""The embedded tree as a house: what is promised survives, what is not is cheap, and a bad disk ends it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
import trio.testing

from pykafka_broker.zk import embedded
from pykafka_broker.zk.embedded import open_embedded, open_grove
from pykafka_broker.zk.journal import FILE
from pykafka_broker.zk.port import Coordination, Create, House, NodeExists, NoNode, SessionLost
from tests.doubles.full_disk import files_of_at_most
from tests.rooms.zk.conftest import inline, ticking


class Worker:
    """Runs work when it is let, and counts it; may fail instead."""

    def __init__(self) -> None:
        self.works = 0
        self.may_work = trio.Event()
        self.may_work.set()
        self.error: OSError | None = None

    async def __call__(self, work: Callable[[], None]) -> None:
        await self.may_work.wait()
        if self.error is not None:
            raise self.error
        self.works += 1
        work()


async def test_what_was_written_is_there_at_the_next_start(tmp_path: Path) -> None:
    async with open_embedded(tmp_path, in_worker=inline, clock=ticking()) as house:
        await house.create("/a", b"x")
        first = house.session_id
        stat = await house.replace("/a", b"y")
    async with open_embedded(tmp_path, in_worker=inline, clock=ticking()) as house:
        node = await house.read("/a")
        assert (node.data, node.stat) == (b"y", stat)
        assert house.session_id > first
        assert (await house.replace("/a", b"z", 1)).mzxid > stat.mzxid


async def test_ephemeral_nodes_are_gone_after_closing_and_after_a_crash(tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "tree", in_worker=inline, clock=ticking()) as house:
        await house.create("/p")
        epoch = (await house.read(await house.create("/e", ephemeral=True))).stat.czxid
        shutil.copytree(tmp_path / "tree", tmp_path / "crashed")
    for folder in ("tree", "crashed"):
        async with open_embedded(tmp_path / folder, in_worker=inline, clock=ticking()) as house:
            assert await house.children("/") == ("p",)
            assert (await house.read(await house.create("/e", ephemeral=True))).stat.czxid > epoch


async def test_an_answer_waits_for_the_disk_and_so_does_a_read_of_it(tmp_path: Path) -> None:
    worker = Worker()
    events: list[str] = []
    async with open_embedded(tmp_path, in_worker=worker, clock=ticking()) as house:
        worker.may_work = trio.Event()

        async def write() -> None:
            await house.create("/a", b"x")
            events.append("written")

        async def read() -> None:
            await house.read("/a")
            events.append("read")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            assert events == []
            worker.may_work.set()
        assert sorted(events) == ["read", "written"]


async def test_those_who_wait_together_share_one_sync(tmp_path: Path) -> None:
    worker = Worker()
    async with open_embedded(tmp_path, in_worker=worker, clock=ticking()) as house:
        await house.create("/a")
        before = worker.works
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(house.create, f"/a/{number}")
        assert worker.works - before <= 3
        assert len(await house.children("/a")) == 50


async def test_gathered_writes_are_answered_at_once_and_synced_once(tmp_path: Path) -> None:
    worker = Worker()
    async with open_embedded(tmp_path, in_worker=worker, clock=ticking()) as house:
        async with house.gathered():
            for number in range(20):
                await house.create(f"/{number}")
                assert (await house.read(f"/{number}")).data is None
            assert worker.works == 0
        assert worker.works == 1
        await house.read("/1")
        assert worker.works == 1


async def test_a_request_given_up_while_it_waits_for_the_disk_may_have_been_carried_out(tmp_path: Path) -> None:
    worker = Worker()
    async with open_embedded(tmp_path, in_worker=worker, clock=ticking()) as house:
        worker.may_work = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.create, "/first")
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0) as scope:
                await house.create("/a")
            assert scope.cancelled_caught
            worker.may_work.set()
        with pytest.raises(NodeExists):
            await house.create("/a")


async def test_the_journal_is_rewritten_when_it_has_grown(tmp_path: Path) -> None:
    worker = Worker()
    async with open_embedded(tmp_path, in_worker=worker, clock=ticking()) as house:
        await house.create("/a")
        for number in range(60):
            await house.replace("/a", b"%d" % number * 10_000)
        assert (tmp_path / FILE).stat().st_size < 2 * embedded.REWRITE_AT_BYTES
        expected = await house.read("/a")
        shutil.copytree(tmp_path, tmp_path / "crashed")
    async with open_embedded(tmp_path / "crashed", in_worker=inline, clock=ticking()) as house:
        assert await house.read("/a") == expected


async def test_writers_wait_while_the_journal_is_rewritten(tmp_path: Path) -> None:
    worker = Worker()
    async with open_embedded(tmp_path, in_worker=worker, clock=ticking()) as house:
        async with house.gathered():
            await house.create("/a", b"x" * 500_000)
            await house.ensure("/b/c/d")
        worker.may_work = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.create, "/first", b"x" * 600_000)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(house.create, "/second")
            nursery.start_soon(house.delete_tree, "/b")
            nursery.start_soon(house.ensure, "/d/e")
            await trio.testing.wait_all_tasks_blocked()
            worker.may_work.set()
        expected = await house.children("/")
        assert expected == ("a", "d", "first", "second")
    async with open_embedded(tmp_path, in_worker=inline, clock=ticking()) as house:
        assert await house.children("/") == expected


async def test_a_disk_that_fails_ends_the_house(tmp_path: Path) -> None:
    worker = Worker()

    async def serve(session: Coordination) -> None:
        await trio.sleep_forever()

    async def fail(house: House) -> None:
        worker.error = OSError("the disk is on fire")
        with pytest.raises(OSError, match="on fire"):
            await house.create("/a")
        for ask in (lambda: house.read("/"), lambda: house.create("/b"), lambda: house.together([Create("/c")])):
            with pytest.raises(SessionLost):
                await ask()

    async with open_embedded(tmp_path, in_worker=worker, clock=ticking()) as house:
        with trio.fail_after(5), pytest.raises(ExceptionGroup) as failure:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(house.during_sessions, serve)
                await trio.testing.wait_all_tasks_blocked()
                await fail(house)
                await trio.sleep_forever()
        assert failure.group_contains(OSError, match="on fire")


async def test_a_change_waits_until_a_full_disk_has_room(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_embedded(tmp_path, in_worker=inline, clock=ticking()) as house:
        await house.create("/a", ephemeral=True)
        async with trio.open_nursery() as nursery:
            with files_of_at_most(200):
                for path in ("/b", "/c"):
                    nursery.start_soon(house.create, path, b"x" * 1_000)
                await trio.sleep(5)
                assert await house.children("/") == ("a",)
        assert await house.children("/") == ("a", "b", "c")
    assert [record.message for record in caplog.records if "room" in record.message] == [
        "topics and settings cannot be changed until the disk has room: File too large"
    ]


async def test_a_house_can_be_left_while_the_disk_is_full(tmp_path: Path) -> None:
    with ExitStack() as full:
        async with open_embedded(tmp_path, in_worker=inline, clock=ticking()) as house:
            await house.create("/a", ephemeral=True)
            full.enter_context(files_of_at_most(100))
    async with open_embedded(tmp_path, in_worker=inline, clock=ticking()) as house:
        assert await house.children("/") == ()


async def test_the_session_is_served_once_and_for_good(tmp_path: Path) -> None:
    served: list[int] = []

    async def serve(session: Coordination) -> None:
        served.append(session.session_id)

    async with open_embedded(tmp_path, in_worker=inline, clock=ticking()) as house:
        with trio.move_on_after(0.01):
            await house.during_sessions(serve)
        assert served == [house.session_id]


async def test_what_serving_raises_goes_on(tmp_path: Path) -> None:
    async def serve(session: Coordination) -> None:
        await session.read("/nowhere")

    async with open_embedded(tmp_path, in_worker=inline, clock=ticking()) as house:
        with pytest.raises(NoNode):
            await house.during_sessions(serve)


async def test_sessions_of_one_grove_have_ids_of_their_own_and_end_alone(tmp_path: Path) -> None:
    async with open_grove(tmp_path, in_worker=inline, clock=ticking()) as grove, grove.session() as one:
        async with grove.session() as two:
            assert one.session_id != two.session_id
        with pytest.raises(SessionLost):
            await two.read("/")
        assert await one.children("/") == ()


WRITER = """
import sys, trio
from pathlib import Path
from pykafka_broker.zk.embedded import open_embedded

async def inline(work):
    work()

async def main():
    async with open_embedded(Path(sys.argv[1]), in_worker=inline, clock=lambda: 1) as house:
        number = len(await house.children("/"))
        while True:
            await house.create(f"/{number}", b"x" * 3000)
            print(number, flush=True)
            number += 1

trio.run(main)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_has_kept_what_it_answered(tmp_path: Path) -> None:
    answered = -1
    for enough in (3, 40, 120):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(enough):
            answered = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split("\n")
        process.stdout.close()
        process.wait()
        whole = rest[:-1]
        answered = int(whole[-1]) if whole else answered

        async def kept() -> tuple[str, ...]:
            async with open_embedded(tmp_path, in_worker=inline, clock=lambda: 1) as house:
                return await house.children("/")

        names = trio.run(kept)
        assert set(map(str, range(answered + 1))) <= set(names)
        assert len(names) - (answered + 1) <= 1
