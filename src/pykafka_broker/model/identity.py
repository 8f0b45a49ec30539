"""Who is asking: the principal behind a connection and the client program that speaks."""

from __future__ import annotations

from msgspec import Struct


class Principal(Struct, frozen=True):
    """Kafka's ``User:alice``; on an unauthenticated listener everybody is ``User:ANONYMOUS``."""

    kind: str = "User"
    name: str = "ANONYMOUS"

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


ANONYMOUS = Principal()


class Client(Struct, frozen=True):
    """The program at the other end: what it calls itself and where it calls from (``/127.0.0.1``)."""

    client_id: str
    host: str


class Session(Struct):
    """One connection as the handlers see it: the listener it came through, who it is, and from where."""

    listener: str
    host: str
    """The peer's address the way Kafka prints it: ``/127.0.0.1``."""
    principal: Principal = ANONYMOUS
    software_name: str = "unknown"
    software_version: str = "unknown"
