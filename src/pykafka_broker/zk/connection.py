"""kazoo's threads and the one line to a server that they keep, as far as we want them otherwise than kazoo does.

A server that hangs is left after half the session's length, whatever is being asked of it; a host that does not answer
costs no more than its share of a session; TLS is ours to configure. What a session is, ``zk/session.py`` knows.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.connection import ConnectionHandler

SILENCE = 0.5
"""The part of a session after which a server that has said nothing counts as hung.

kazoo pings after a third; it looks whether the ping was answered only when nobody else asks anything meanwhile.
"""


class Threads(SequentialThreadingHandler):  # type: ignore[misc]
    """kazoo's handler; its methods are called on kazoo's threads."""

    def __init__(
        self, *, session_timeout_s: float, attempt_s: float, tls: ssl.SSLContext | None, on_end: Callable[[], None]
    ) -> None:
        """``attempt_s`` limits one attempt to connect; ``on_end`` is told that kazoo has given up connecting."""
        super().__init__()
        self._silence_s = session_timeout_s * SILENCE
        self._attempt_s = attempt_s
        self._tls = tls
        self._on_end = on_end
        self._line: socket.socket | None = None
        self._heard: float | None = None
        self.server = ""
        """Host and port of the line of the moment, or of the last one."""
        self.trouble = ""
        """Why there was no line the last time that one was tried."""

    def spawn(self, func: Callable[..., object], *args: Any, **kwargs: Any) -> threading.Thread:
        """Run it in a thread; being stopped while connecting is no reason for a traceback."""

        def run() -> None:
            try:
                func(*args, **kwargs)
            except InterruptedError:
                return
            finally:
                if getattr(func, "__func__", None) is ConnectionHandler.zk_loop:
                    self._on_end()

        thread: threading.Thread = super().spawn(run)
        return thread

    def create_connection(
        self, address: tuple[str, int], hostname: str | None = None, timeout: float | None = None, **_: Any
    ) -> socket.socket:
        """A line to one server; ``OSError`` when there is none, also for what TLS finds wrong with it."""
        self._line = None
        self._heard = None
        try:
            self._line = self._connected(address, hostname, min(self._attempt_s, timeout or self._attempt_s))
        except OSError as error:
            self.trouble = f"{hostname}:{address[1]}: {error.strerror or error}"
            raise
        self.trouble = ""
        self.server = f"{hostname}:{address[1]}"
        return self._line

    def _connected(self, address: tuple[str, int], hostname: str | None, timeout: float) -> socket.socket:
        line = socket.create_connection(address, timeout)
        try:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return line if self._tls is None else self._tls.wrap_socket(line, server_hostname=hostname)
        except BaseException:
            line.close()
            raise

    def select(self, reading: Any, writing: Any, failing: Any, timeout: float | None = None) -> Any:
        """Wait as kazoo asks, but in its main loop (which also waits for requests) no longer than a server may hang."""
        line = self._line
        if line is None or line not in reading:
            return super().select(reading, writing, failing, timeout)
        if isinstance(line, ssl.SSLSocket) and line.pending():
            self._heard = time.monotonic()  # several answers came in one piece: the socket itself has no more to read
            return [line], [], []
        if len(reading) == 1:
            return super().select(reading, writing, failing, timeout)
        if self._heard is None:
            self._heard = time.monotonic()
        deadline = self._heard + self._silence_s
        left = max(0.0, deadline - time.monotonic())
        ready = super().select(reading, writing, failing, left if timeout is None else min(timeout, left))
        if line in ready[0]:
            self._heard = time.monotonic()
        elif time.monotonic() >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, f"the server has said nothing for {self._silence_s:g} seconds")
        return ready
