"""ApiVersions: which requests we answer, in which versions; computed from the routes.

  0-2  the list; 1 adds the throttle time
  3    the client says its name and version; features as tagged fields; flexible, but its response header never is
  4    features may have minimum level 0 (there are none in ZooKeeper mode)

A version we do not know is answered in version 0 with UNSUPPORTED_VERSION and the range of ApiVersions alone
(KIP-511), so that the client can ask again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from pykafka_broker.api.routes import Route
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call, Served, Unchanging

API_VERSIONS_KEY = 18
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")


class VersionsApi(Struct):
    """``served`` is told once all routes are collected; ``features_epoch`` gives the version of ``/feature``."""

    served: Callable[[], Served]
    features_epoch: Callable[[], int]
    _usual: tuple[int, Unchanging] | None = None
    """What nearly everybody is told, and the version of ``/feature`` for which that holds."""

    def routes(self) -> tuple[Route, ...]:
        return (Route("ApiVersions", "0-4", self.api_versions, self._refuse),)

    async def api_versions(self, call: Call[Any]) -> messages.ApiVersionsResponse | Unchanging:
        """The list, or the error that tells the client what to do better."""
        if call.unsupported:
            return self._response(ErrorCode.UNSUPPORTED_VERSION, only_key=API_VERSIONS_KEY)
        if call.version >= 3:
            name, version = call.body.client_software_name, call.body.client_software_version
            if not (_SOFTWARE.fullmatch(name) and _SOFTWARE.fullmatch(version)):
                return self._response(ErrorCode.INVALID_REQUEST)
            if call.session is not None:
                call.session.software_name, call.session.software_version = name, version
        epoch = self.features_epoch()
        if self._usual is None or self._usual[0] != epoch:
            self._usual = epoch, Unchanging(self._response(ErrorCode.NONE))
        return self._usual[1]

    def _response(self, error: ErrorCode, only_key: int | None = None) -> messages.ApiVersionsResponse:
        response = messages.ApiVersionsResponse
        listed = error is ErrorCode.NONE or only_key is not None
        return response(
            error_code=error,
            api_keys=[
                response.ApiVersion(api_key=key, min_version=low, max_version=high)
                for key, (low, high) in self.served().ranges.items()
                if listed and only_key in (None, key)
            ],
            finalized_features_epoch=self.features_epoch() if error is ErrorCode.NONE else -1,
        )

    def _refuse(self, call: Call[Any], code: ErrorCode, detail: str | None) -> messages.ApiVersionsResponse:
        return self._response(code)
