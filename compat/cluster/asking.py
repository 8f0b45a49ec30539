"""Single questions to a broker, each on its own socket: quick, and no client in between that keeps or hides things."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from pykafka_broker.net import question
from pykafka_broker.wire.messages import ElectLeadersRequest, FindCoordinatorRequest, MetadataRequest

PATIENCE_S: Final = 3.0
_METADATA: Final = 9
_FIND_COORDINATOR: Final = 2
_GROUP: Final = 0
_ELECT_LEADERS: Final = 2
_PREFERRED: Final = 0


def ask(port: int, version: int, body: Any, within_s: float = PATIENCE_S) -> Any:
    """The answer to one request; `OSError` when there is none."""
    api = type(body).__name__.removesuffix("Request")
    return question.ask("127.0.0.1", port, api, version, body, client_id="proof", timeout_s=within_s)


def metadata(port: int, within_s: float = PATIENCE_S) -> Any:
    """All that a broker tells of the cluster; `None` when it does not answer."""
    try:
        return ask(port, _METADATA, MetadataRequest(topics=None, allow_auto_topic_creation=False), within_s)
    except OSError:
        return None


def coordinator(port: int, group: str) -> int:
    """Which broker looks after a group; -1 when this one cannot say."""
    try:
        answer = ask(port, _FIND_COORDINATOR, FindCoordinatorRequest(key=group, key_type=_GROUP))
    except OSError:
        return -1
    return -1 if answer.error_code else int(answer.node_id)


def prefer_leaders(port: int) -> None:
    """Ask the controller to have every partition led by its first replica, as far as that is in sync."""
    with contextlib.suppress(OSError):
        ask(port, _ELECT_LEADERS, ElectLeadersRequest(election_type=_PREFERRED, topic_partitions=None, timeout_ms=1000))
