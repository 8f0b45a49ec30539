"""Which handler answers which request, in which versions: one table, checked against the specs at start-up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.wire import spec
from pykafka_broker.wire.exchange import Call, Served

Answer = Callable[[Call[Any]], Awaitable[Any]]
"""Gives the response message of a call, or ``None`` where the caller expects none (Produce with acks=0)."""

Refusal = Callable[[Call[Any], ErrorCode, str | None], Any]
"""Gives the response message that tells a failed call's error, for every version of the API."""


class Route(Struct, frozen=True):
    """One API: its name in the specs, the versions we serve (``"0-9"``), its handler and how it says no."""

    api: str
    serves: str
    answer: Answer
    refuse: Refusal


class Family(Protocol):
    """A handler module's object: it names its routes."""

    def routes(self) -> tuple[Route, ...]:
        """The APIs this family answers."""
        ...


class Routes(Struct, frozen=True):
    """All routes by API key, and the ranges that ApiVersions tells."""

    by_key: Mapping[int, Route]
    served: Served


def collect(families: Iterable[Family]) -> Routes:
    """All routes by API key; two answers for one key, or a range outside the spec, is a ``ValueError``."""
    by_key: dict[int, Route] = {}
    served: dict[int, tuple[int, int]] = {}
    for family in families:
        for route in family.routes():
            heading = spec.heading(route.api)
            low, high = (int(bound) for bound in route.serves.split("-"))
            if not heading.low <= low <= high <= heading.high:
                raise ValueError(f"{route.api} is specified for {heading.low}-{heading.high}, not {route.serves}")
            if heading.key in by_key:
                raise ValueError(f"{route.api} is answered twice")
            by_key[heading.key] = route
            served[heading.key] = (low, high)
    return Routes(by_key, Served(dict(sorted(served.items()))))
