"""Who is asking: the principal behind a connection and the client program that speaks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """Kafka's ``User:alice``; on an unauthenticated listener everybody is ``User:ANONYMOUS``."""

    kind: str = "User"
    name: str = "ANONYMOUS"

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


ANONYMOUS = Principal()


@dataclass(frozen=True, slots=True)
class Client:
    """The program at the other end: what it calls itself and where it calls from (``/127.0.0.1``)."""

    client_id: str
    host: str
