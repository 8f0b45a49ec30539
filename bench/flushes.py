"""What it costs to have every record on the device before its answer: `flush.messages=1`, one record to a request.

Clients that wait together may share one sync of the device; what one of them waits for is the device itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.rounds import Row, broker, run_load

_CLIENTS: Final = (1, 10, 100)
_PARTITIONS: Final = 4

ROWS: Final = {
    f"flushed_{clients}": Row(f"records flushed one by one, {clients} client{'s' * (clients > 1)}", "/s", True)
    for clients in _CLIENTS
}


def measure_flushes(name: str, seconds: int, say: Callable[[str], None]) -> dict[str, float]:
    """All rows of one round for one broker. Raises `RuntimeError` when a load fails or loses records."""
    found: dict[str, float] = {}
    with broker(name) as server:
        for clients in _CLIENTS:
            say(f"{clients} clients whose records are flushed one by one")
            answer = run_load(
                server.bootstrap,
                "singles",
                server.last_words,
                connections=clients,
                in_flight=1,
                seconds=seconds,
                partitions=min(clients, _PARTITIONS),
                flush=1,
            )
            found[f"flushed_{clients}"] = answer["requests"] / answer["seconds"]
    return found
