"""What is needed of other brokers: a line to one of them, and somebody who connects it.

The lines themselves are sockets, which ``net/peer.py`` has; whoever uses one is handed a ``Connect``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pykafka_broker.model.names import BrokerId


class Line(Protocol):
    """A line to one broker, connected when first needed and again after a failure; one request at a time."""

    async def ask(self, api: str, version: int, body: Any) -> Any:
        """The response to a request; ``Unreachable`` when there is none. Its records are good until the next one."""
        ...

    def close(self) -> None:
        """Hang up; a later question connects again."""
        ...


Connect = Callable[[BrokerId, str], Line]
"""A line to the broker of that id, for one who calls himself by that client id."""
