"""What this broker has to say to the controller, whoever that is at the moment.

The controller is looked up in the metadata each time; when it is this broker itself, nothing goes over the network. A
question is put again, to the next controller if need be, until there is an answer (Kafka's
``NodeToControllerChannelManager``); whoever cannot wait so long cancels it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from pykafka_broker.model.errors import ErrorCode, KafkaError, Unreachable
from pykafka_broker.model.names import NO_BROKER, BrokerId
from pykafka_broker.runtime.changes import Changes
from pykafka_broker.runtime.metadata import BROKERS, Metadata
from pykafka_broker.runtime.peers import Connect, Line
from pykafka_broker.wire import messages

RETRY_AFTER_S = 0.1
"""How long to wait before asking again, unless another controller is heard of before."""

Here = Mapping[str, Callable[[Any], Awaitable[Any]]]
"""Who answers each API when this broker is the controller; a ``KafkaError`` is an answer like any other."""


class ControllerChannel:
    """One line to the controller, shared by all who have something to say."""

    def __init__(self, me: BrokerId, metadata: Metadata, changes: Changes, connect: Connect, here: Here) -> None:
        self._me = me
        self._metadata = metadata
        self._changes = changes
        self._connect = connect
        self._here = here
        self._controller: BrokerId = NO_BROKER
        self._line: Line | None = None

    async def ask(self, api: str, version: int, body: Any) -> Any:
        """The controller's answer, however long it takes to find one."""
        while True:
            try:
                response = await self.ask_once(api, version, body)
                if response.error_code != ErrorCode.NOT_CONTROLLER:
                    return response
            except Unreachable:
                pass
            with trio.move_on_after(RETRY_AFTER_S):
                await self._changes.wait([BROKERS])

    async def ask_once(self, api: str, version: int, body: Any) -> Any:
        """The answer of the controller of the moment, whatever it says; ``Unreachable`` when there is none."""
        controller = self._metadata.controller_id
        if controller == self._me:
            try:
                return await self._here[api](body)
            except KafkaError as error:
                return getattr(messages, f"{api}Response")(error_code=error.code)
        if controller != self._controller or self._line is None:
            self.close()
            if not self._metadata.is_alive(controller):
                raise Unreachable("no controller is known")
            self._controller, self._line = controller, self._connect(controller, str(self._me))
        return await self._line.ask(api, version, body)

    def close(self) -> None:
        """Hang up."""
        line, self._line = self._line, None
        if line is not None:
            line.close()
