"""Callers who wait for a decision: each has a ticket, and gets one reply for it or a refusal."""

from __future__ import annotations

from typing import Any, Final

from pykafka_broker.model.errors import KafkaError
from pykafka_broker.model.outcome import Ticket
from pykafka_broker.runtime.waiter import Waiter

_PENDING: Final = object()


class _Caller:
    __slots__ = ("reply", "waiter")

    def __init__(self) -> None:
        self.reply: Any = _PENDING
        self.waiter: Waiter | None = None


class Tickets:
    """Replies may come before or after their caller begins to wait; one that comes before costs no switch."""

    def __init__(self) -> None:
        self._issued = 0
        self._callers: dict[Ticket, _Caller] = {}

    def __len__(self) -> int:
        return len(self._callers)

    def issue(self) -> Ticket:
        """A new ticket; whoever takes it must come for the reply, or drop it."""
        self._issued += 1
        ticket = Ticket(self._issued)
        self._callers[ticket] = _Caller()
        return ticket

    def drop(self, ticket: Ticket) -> None:
        """Nobody will come for the reply."""
        self._callers.pop(ticket, None)

    def answer(self, ticket: Ticket, reply: Any) -> None:
        """Hand a reply over; a ticket whose caller has gone is passed over. A ``KafkaError`` refuses the call."""
        caller = self._callers.get(ticket)
        if caller is None:
            return
        assert caller.reply is _PENDING, "a ticket is answered once"
        caller.reply = reply
        if caller.waiter is not None:
            caller.waiter.ring()

    def refuse(self, ticket: Ticket, error: KafkaError) -> None:
        """Refuse a caller, unless he has his reply or is gone."""
        caller = self._callers.get(ticket)
        if caller is not None and caller.reply is _PENDING:
            caller.reply = error
            if caller.waiter is not None:
                caller.waiter.ring()

    def refuse_all(self, error: KafkaError) -> None:
        """Refuse everybody who is still waiting."""
        for ticket in self._callers:
            self.refuse(ticket, error)

    async def reply_to(self, ticket: Ticket, *, may_park: bool = False) -> Any:
        """The ticket's reply, at once if it is there already; raises the ``KafkaError`` it was refused with."""
        caller = self._callers[ticket]
        try:
            if caller.reply is _PENDING:
                caller.waiter = Waiter(may_park=may_park)
                await caller.waiter.wait()
        finally:
            self.drop(ticket)
        reply = caller.reply
        if isinstance(reply, KafkaError):
            # A new one for each caller: several may be refused with the same, and each gathers a traceback.
            raise KafkaError(reply.code, reply.detail)
        return reply
