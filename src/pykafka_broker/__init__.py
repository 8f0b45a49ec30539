"""A Kafka broker in Python: ``Broker`` inside a trio program, ``running`` in a thread for programs without trio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pykafka_broker.in_process import Broker, running

__version__ = "0.1.0"
__all__ = ["Broker", "__version__", "running"]


def __getattr__(name: str) -> Any:
    # The broker is imported when it is wanted, so that the command line starts lean.
    if name in ("Broker", "running"):
        from pykafka_broker import in_process

        return getattr(in_process, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
