"""Links between processes hold back what is sent into a cut, one way or both, and lose nothing."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from compat.cluster.links import Links

pytestmark = pytest.mark.slow

SOON_S = 0.1
PATIENCE_S = 10.0


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says everything again; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while data := connection.recv(1000):
                    connection.sendall(data)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    connection.settimeout(SOON_S)
    return connection


def request(client_id: str) -> bytes:
    name = client_id.encode()
    body = struct.pack(">hhih", 18, 0, 1, len(name)) + name
    return struct.pack(">i", len(body)) + body


def hears(connection: socket.socket, data: bytes) -> bool:
    connection.settimeout(PATIENCE_S)
    found = b""
    while len(found) < len(data):
        found += connection.recv(1000)
    connection.settimeout(SOON_S)
    return found == data


def is_silent(connection: socket.socket) -> bool:
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize("way", [(1, 2), (2, 1)])
def test_what_is_sent_into_a_cut_arrives_when_the_link_is_whole_again(echo: int, way: tuple[int, int]) -> None:
    with Links() as links, connected(links.relay(echo, 2, source=1)) as connection:
        connection.sendall(b"before")
        assert hears(connection, b"before")
        links.cut(*way)
        connection.sendall(b"after")
        assert is_silent(connection)
        links.heal()
        assert hears(connection, b"after")


def test_other_links_are_left_alone(echo: int) -> None:
    with Links() as links, connected(links.relay(echo, 2, source=1)) as connection:
        links.cut_both(1, 3)
        links.cut_both(3, 2)
        connection.sendall(b"here")
        assert hears(connection, b"here")


@pytest.mark.parametrize("client_id", ["7", "broker-7-fetcher-0"])
def test_a_connection_belongs_to_the_broker_that_its_first_request_names(echo: int, client_id: str) -> None:
    with Links() as links, connected(links.relay(echo, 2)) as connection:
        links.cut(2, 7)
        connection.sendall(request(client_id))
        assert is_silent(connection)
        links.heal()
        assert hears(connection, request(client_id))


def test_clients_are_nobody_and_pass(echo: int) -> None:
    with Links() as links, connected(links.relay(echo, 2)) as connection:
        links.cut_both(1, 2)
        connection.sendall(request("somebody"))
        assert hears(connection, request("somebody"))


def test_hanging_up_is_heard_on_the_other_side_but_not_through_a_cut() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Links() as links:
        connection = connected(links.relay(listener.getsockname()[1], 2, source=1))
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(SOON_S)
            links.cut(1, 2)
            connection.close()
            assert is_silent(accepted)
            links.heal()
            accepted.settimeout(PATIENCE_S)
            assert accepted.recv(1) == b""


def test_whoever_listens_no_more_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Links() as links, connected(links.relay(port, 2, source=1)) as connection:
        connection.settimeout(PATIENCE_S)
        assert connection.recv(1) == b""
