"""Callers and their replies."""

from __future__ import annotations

import pytest
import trio

from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.runtime.tickets import Tickets


async def test_a_reply_that_is_there_already_costs_no_switch() -> None:
    tickets = Tickets()
    ticket = tickets.issue()
    tickets.answer(ticket, "yes")
    with trio.testing.assert_no_checkpoints():
        assert await tickets.reply_to(ticket) == "yes"
    assert len(tickets) == 0


async def test_a_caller_waits_for_its_reply(nursery: trio.Nursery) -> None:
    tickets = Tickets()
    first, second = tickets.issue(), tickets.issue()
    heard = []

    async def wait(ticket: object) -> None:
        heard.append(await tickets.reply_to(ticket))  # type: ignore[arg-type]

    nursery.start_soon(wait, first)
    nursery.start_soon(wait, second)
    await trio.testing.wait_all_tasks_blocked()
    tickets.answer(second, 2)
    await trio.testing.wait_all_tasks_blocked()
    tickets.answer(first, 1)
    await trio.testing.wait_all_tasks_blocked()
    assert heard == [2, 1]


async def test_a_refusal_is_raised_anew_for_each_caller() -> None:
    tickets = Tickets()
    ones = [tickets.issue(), tickets.issue()]
    refusal = KafkaError(ErrorCode.NOT_COORDINATOR, "moved")
    tickets.refuse_all(refusal)
    raised = []
    for one in ones:
        with pytest.raises(KafkaError) as caught:
            await tickets.reply_to(one)
        raised.append(caught.value)
    assert [(error.code, error.detail) for error in raised] == [(ErrorCode.NOT_COORDINATOR, "moved")] * 2
    assert raised[0] is not raised[1]


async def test_a_reply_for_somebody_who_has_gone_is_passed_over() -> None:
    tickets = Tickets()
    ticket = tickets.issue()
    with trio.move_on_after(0):
        await tickets.reply_to(ticket)
    tickets.answer(ticket, "late")
    assert len(tickets) == 0


async def test_a_reply_is_not_taken_back() -> None:
    tickets = Tickets()
    ticket = tickets.issue()
    tickets.answer(ticket, "yes")
    tickets.refuse_all(KafkaError(ErrorCode.NOT_COORDINATOR))
    with pytest.raises(AssertionError):
        tickets.answer(ticket, "again")
    assert await tickets.reply_to(ticket) == "yes"
