"""Whether a broker serves: what ``pykafka-broker health`` asks, for health checks of containers.

A broker is well when it answers, and tells of itself and of a controller; one that is starting, or that nobody has told
its part yet, is not. The question is an ordinary Metadata request, so that any broker of Kafka's can be asked.
"""

from __future__ import annotations

from typing import Any

from pykafka_broker.model.errors import WireError
from pykafka_broker.net.question import ask
from pykafka_broker.wire import messages

_VERSION = 9


def ill(host: str, port: int, *, timeout_s: float = 5.0) -> str | None:
    """Why the broker there is not well, ``None`` when it is."""
    body = messages.MetadataRequest(topics=[])
    try:
        told = ask(host, port, "Metadata", _VERSION, body, client_id="health", timeout_s=timeout_s)
    except OSError as error:
        return str(error)
    except WireError as error:
        return f"it does not answer as a broker does: {error}"
    return _flaw(told)


def _flaw(told: Any) -> str | None:
    if not told.brokers:
        return "it knows no brokers yet"
    if told.controller_id < 0:
        return "it knows no controller"
    return None
