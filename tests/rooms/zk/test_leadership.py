"""Elections: one controller at a time, each with a higher epoch, over both houses of the port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from pykafka_broker.model.names import NO_BROKER, BrokerId
from pykafka_broker.zk.leadership import Term, TermOver, current_controller, elect, lead, resign
from pykafka_broker.zk.nodes import CONTROLLER, CONTROLLER_EPOCH, ControllerNode
from pykafka_broker.zk.port import BadVersion, Coordination, Create, Delete, Replace
from tests.rooms.zk.conftest import Sessions

ONE, TWO = BrokerId(1), BrokerId(2)


def noon() -> int:
    return 43_200_000


class Candidate:
    """A broker that stands for election and notes what happens to it."""

    def __init__(self, me: BrokerId) -> None:
        self.me = me
        self.terms: list[Term] = []
        self.learned: list[BrokerId] = []
        self.leads = False
        self.enough = trio.Event()
        self._news = trio.Event()

    async def stand(self, session: Coordination) -> None:
        await lead(session, self.me, self.serve, clock=noon, learned=self.hear)

    async def serve(self, term: Term) -> None:
        self.terms.append(term)
        self.leads = True
        self._tell()
        try:
            await self.enough.wait()
            self.enough = trio.Event()
        finally:
            self.leads = False
            self._tell()

    def hear(self, controller: BrokerId) -> None:
        self.learned.append(controller)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def until(self, fact: Callable[[], bool]) -> None:
        with trio.fail_after(10):
            while not fact():
                await self._news.wait()


async def test_the_first_controller_has_epoch_1_and_leaves_kafka_s_nodes(tree: Coordination) -> None:
    term = await elect(tree, ONE, noon())
    assert term == Term(1, 1)
    controller = await tree.read(CONTROLLER)
    assert controller.data == b'{"version":2,"brokerid":1,"timestamp":"43200000","kraftControllerEpoch":-1}'
    assert controller.stat.ephemeral_owner == tree.session_id
    epoch = await tree.read(CONTROLLER_EPOCH)
    assert (epoch.data, epoch.stat.version, epoch.stat.ephemeral_owner) == (b"1", 1, 0)
    assert await current_controller(tree) == ONE


async def test_an_election_against_a_sitting_controller_is_lost(sessions: Sessions) -> None:
    async with sessions() as one, sessions() as two:
        assert await elect(one, ONE, noon()) == Term(1, 1)
        assert await elect(two, TWO, noon()) is None
        assert await current_controller(two) == ONE
        assert (await two.read(CONTROLLER_EPOCH)).data == b"1"


async def test_an_election_that_was_won_already_is_found_to_be_won(tree: Coordination) -> None:
    """The answer of the first transaction was lost, and the epoch was read before it (``ZkData``'s own rule)."""
    await tree.create(CONTROLLER_EPOCH, b"0")

    class Late:
        """The same session, reading the epoch as it was before."""

        def __init__(self) -> None:
            self.stale = True

        def __getattr__(self, name: str) -> object:
            return getattr(tree, name)

        async def read(self, path: str) -> object:
            node = await tree.read(path)
            if path == CONTROLLER_EPOCH and self.stale:
                self.stale = False
                await elect(tree, ONE, noon())
            return node

    assert await elect(Late(), ONE, noon()) == Term(1, 1)  # type: ignore[arg-type]


async def test_a_resigned_post_is_free(tree: Coordination) -> None:
    term = await elect(tree, ONE, noon())
    assert term is not None
    await resign(tree, term)
    assert await current_controller(tree) is None
    await resign(tree, term)
    assert await elect(tree, ONE, noon()) == Term(2, 2)


async def test_a_stale_controller_s_writes_are_fenced_off(sessions: Sessions) -> None:
    async with sessions() as one, sessions() as two:
        stale = await elect(one, ONE, noon())
        assert stale is not None
        await one.together([stale.check, Create("/written")])
        await two.delete(CONTROLLER)
        current = await elect(two, TWO, noon())
        assert current is not None
        with pytest.raises(BadVersion) as refusal:
            await one.together([stale.check, Create("/late")])
        assert refusal.value.path == CONTROLLER_EPOCH
        await resign(one, stale)
        assert await current_controller(one) == TWO
        await two.together([current.check, Create("/next")])


async def test_a_candidate_serves_until_it_resigns_and_stands_again(tree: Coordination) -> None:
    candidate = Candidate(ONE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(candidate.stand, tree)
        await candidate.until(lambda: candidate.leads)
        candidate.enough.set()
        await candidate.until(lambda: len(candidate.terms) == 2)
        nursery.cancel_scope.cancel()
    assert candidate.terms == [Term(1, 1), Term(2, 2)]
    assert candidate.learned == [NO_BROKER, ONE, NO_BROKER, ONE]


async def test_a_term_ends_when_somebody_deletes_the_post(tree: Coordination) -> None:
    candidate = Candidate(ONE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(candidate.stand, tree)
        await candidate.until(lambda: candidate.leads)
        await tree.delete(CONTROLLER)
        await candidate.until(lambda: len(candidate.terms) == 2)
        nursery.cancel_scope.cancel()
    assert candidate.terms == [Term(1, 1), Term(2, 2)]


async def test_a_post_that_makes_no_sense_is_waited_out(tree: Coordination) -> None:
    candidate = Candidate(ONE)
    await tree.create(CONTROLLER, b"nonsense")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(candidate.stand, tree)
        await candidate.until(lambda: candidate.learned == [NO_BROKER])
        await tree.delete(CONTROLLER)
        await candidate.until(lambda: candidate.leads)
        nursery.cancel_scope.cancel()
    assert candidate.terms == [Term(1, 1)]


async def test_the_next_in_line_takes_over_when_the_controller_s_session_ends(sessions: Sessions) -> None:
    first, second = Candidate(ONE), Candidate(TWO)
    async with sessions() as two, trio.open_nursery() as nursery:
        async with sessions() as one, trio.open_nursery() as inner:
            inner.start_soon(first.stand, one)
            await first.until(lambda: first.leads)
            nursery.start_soon(second.stand, two)
            await second.until(lambda: second.learned == [ONE])
            inner.cancel_scope.cancel()
        await second.until(lambda: second.leads)
        nursery.cancel_scope.cancel()
    assert (first.terms, second.terms) == ([Term(1, 1)], [Term(2, 2)])
    assert second.learned == [ONE, NO_BROKER, TWO]


async def test_a_term_ends_when_another_takes_the_post(sessions: Sessions) -> None:
    candidate = Candidate(ONE)
    async with sessions() as one, sessions() as two, trio.open_nursery() as nursery:
        nursery.start_soon(candidate.stand, one)
        await candidate.until(lambda: candidate.leads)
        epoch = await two.read(CONTROLLER_EPOCH)
        await two.together(
            [
                Delete(CONTROLLER),
                Create(CONTROLLER, ControllerNode(TWO, noon()).encode(), ephemeral=True),
                Replace(CONTROLLER_EPOCH, b"2", epoch.stat.version),
            ]
        )
        await candidate.until(lambda: not candidate.leads and candidate.learned[-1] == TWO)
        nursery.cancel_scope.cancel()
    assert candidate.terms == [Term(1, 1)]


async def test_a_fenced_off_term_is_followed_by_another_candidacy(tree: Coordination) -> None:
    terms: list[Term] = []

    async def serve(term: Term) -> None:
        terms.append(term)
        if len(terms) == 1:
            await tree.replace(CONTROLLER_EPOCH, b"7")
            raise TermOver
        await trio.sleep_forever()

    await serves(tree, serve, lambda: len(terms) == 2)
    assert terms == [Term(1, 1), Term(8, 3)]


async def test_an_error_of_the_one_who_serves_goes_on_after_resigning(tree: Coordination) -> None:
    async def serve(term: Term) -> None:
        raise LookupError(term.epoch)

    with pytest.raises(LookupError):
        await lead(tree, ONE, serve, clock=noon)
    assert await current_controller(tree) is None


async def test_a_candidacy_given_up_leaves_nothing_in_the_way_of_the_next(tree: Coordination) -> None:
    for attempt in (1, 2):
        candidate = Candidate(ONE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(candidate.stand, tree)
            await candidate.until(lambda candidate=candidate: candidate.leads)  # type: ignore[misc]
            nursery.cancel_scope.cancel()
        assert candidate.terms == [Term(attempt, attempt)]


async def serves(tree: Coordination, serve: Callable[[Term], Awaitable[None]], fact: Callable[[], bool]) -> None:
    """Stand for election until something is so."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def stand() -> None:
                await lead(tree, ONE, serve, clock=noon)

            nursery.start_soon(stand)
            while not fact():
                await tree.read("/")
            nursery.cancel_scope.cancel()
