"""A line to a server: how long it may take to get one, how long it may be silent, and what TLS keeps back."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pykafka_broker.zk.connection import SILENCE, Threads
from tests.cluster.certificates import Authority


def threads(session_timeout_s: float = 10.0, attempt_s: float = 5.0, tls: ssl.SSLContext | None = None) -> Threads:
    return Threads(session_timeout_s=session_timeout_s, attempt_s=attempt_s, tls=tls, on_end=lambda: None)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def bell() -> Iterator[tuple[socket.socket, socket.socket]]:
    """What kazoo's main loop waits for besides the server: its own wish to ask something."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_server_that_says_nothing_is_left_though_requests_go_on(
    listener: socket.socket, bell: tuple[socket.socket, socket.socket]
) -> None:
    handler = threads(session_timeout_s=0.2)
    line = handler.create_connection(listener.getsockname(), "localhost", 10)
    began = time.monotonic()
    with line, pytest.raises(TimeoutError, match=r"the server has said nothing for 0\.1 seconds"):
        bell[1].send(b"x")
        while True:
            handler.select([line, bell[0]], [], [], 10)
    assert 0.2 * SILENCE <= time.monotonic() - began < 5


def test_a_server_that_speaks_is_kept(listener: socket.socket, bell: tuple[socket.socket, socket.socket]) -> None:
    handler = threads(session_timeout_s=0.1)
    line = handler.create_connection(listener.getsockname(), "localhost", 10)
    server, _ = listener.accept()
    with line, server:
        for _ in range(10):
            server.send(b"x")
            assert handler.select([line, bell[0]], [], [], 10)[0] == [line]
            line.recv(1)
            assert handler.select([line, bell[0]], [], [], 0.001)[0] == []


def test_only_the_main_loop_looks_for_silence(listener: socket.socket) -> None:
    handler = threads(session_timeout_s=0.0)
    line = handler.create_connection(listener.getsockname(), "localhost", 10)
    with line:
        assert handler.select([line], [], [], 0)[0] == []
        assert handler.select([], [line], [], 0)[1] == [line]


def test_why_there_is_no_line_is_remembered_until_there_is_one(listener: socket.socket) -> None:
    handler = threads()
    host, port = listener.getsockname()
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        handler.create_connection((host, port), "zk1", 10)
    assert handler.trouble == f"zk1:{port}: Connection refused"
    with socket.create_server((host, port)), handler.create_connection((host, port), "zk1", 10):
        assert handler.trouble == ""


def test_a_server_that_does_not_shake_hands_costs_one_attempt(listener: socket.socket) -> None:
    handler = threads(attempt_s=0.1, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with pytest.raises(TimeoutError):
        handler.create_connection(listener.getsockname(), "localhost", 10)
    assert handler.trouble.startswith("localhost:")


def test_answers_that_came_in_one_piece_of_tls_do_not_wait_for_the_next(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(authority.store("server", alternatives="DNS:localhost"))
    asking = ssl.create_default_context(cafile=authority.certificate)
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = accepting.wrap_bio(received, to_send, server_side=True)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    line = asking.wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False)
    wish, other = socket.socketpair()
    with line, theirs, wish, other:
        for shake in (line.do_handshake, server.do_handshake) * 3:
            with suppress(ssl.SSLWantReadError):
                shake()
            theirs.send(to_send.read())
            with suppress(BlockingIOError):
                received.write(theirs.recv(65536))
        handler = threads()
        handler._line = line
        server.write(b"one, two")
        theirs.send(to_send.read())
        assert line.recv(5) == b"one, "
        assert handler.select([line, wish], [], [], 10)[0] == [line]
        assert line.recv(5) == b"two"
        assert handler.select([line, wish], [], [], 0)[0] == []
