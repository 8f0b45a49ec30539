"""The desk answers one call: it finds the route, and sees to everything that is the same for all calls.

A ``KafkaError`` becomes the route's refusal; anything else that a handler raises is UNKNOWN_SERVER_ERROR, logged with
its traceback. ``WireError`` passes through: it closes the connection.
"""

from __future__ import annotations

import logging
from typing import Any

from pykafka_broker.api.routes import Routes
from pykafka_broker.model.errors import ErrorCode, KafkaError, WireError
from pykafka_broker.model.identity import Session
from pykafka_broker.wire.exchange import Call

log = logging.getLogger(__name__)


class Desk:
    """Finds who answers a call."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes.by_key

    async def answer(self, call: Call[Any], session: Session) -> Any:
        """The response message of the call, or ``None`` where the caller expects none; ``WireError``."""
        route = self._routes[call.key]
        try:
            return await route.answer(call)
        except KafkaError as error:
            return route.refuse(call, error.code, error.detail)
        except WireError:
            raise
        except Exception:
            log.exception("a request failed api=%s version=%s client=%s", call.api, call.version, call.client_id)
            return route.refuse(call, ErrorCode.UNKNOWN_SERVER_ERROR, None)
