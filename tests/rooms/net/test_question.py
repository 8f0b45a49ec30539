"""Questions over blocking sockets: answered by a broker, by nobody, and by what is no broker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from pykafka_broker.model.errors import WireError
from pykafka_broker.net.question import ask
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import write_request

Answering = Callable[[bytes], int]

ANSWER = messages.encode(messages.MetadataResponse(controller_id=7), 9)  # type: ignore[arg-type]
FRAME = b"\x00\x00\x00\x01\x00" + ANSWER
"""Correlation id 1, no tagged fields, the body."""


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Starts a server that hears one question, answers with these bytes and hangs up; gives its port."""
    threads = []

    def start(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with listener:
                connection, _ = listener.accept()
                with connection:
                    asked = write_request("Metadata", 9, 1, "somebody", messages.MetadataRequest(topics=[]))
                    heard = b""
                    while len(heard) < len(asked):
                        heard += connection.recv(len(asked))
                    assert heard == asked
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        threads.append(thread)
        port: int = listener.getsockname()[1]
        return port

    yield start
    for thread in threads:
        thread.join()


def asked(port: int) -> messages.MetadataResponse:
    found: messages.MetadataResponse = ask(
        "127.0.0.1", port, "Metadata", 9, messages.MetadataRequest(topics=[]), client_id="somebody", timeout_s=10
    )
    return found


def test_the_answer_of_a_broker_is_given(answering: Answering) -> None:
    assert asked(answering(len(FRAME).to_bytes(4, "big") + FRAME)).controller_id == 7


def test_whoever_hangs_up_in_the_middle_has_not_answered(answering: Answering) -> None:
    with pytest.raises(ConnectionResetError, match="the connection was closed"):
        asked(answering((len(FRAME) + 1).to_bytes(4, "big") + FRAME))


def test_what_is_no_answer_makes_no_sense(answering: Answering) -> None:
    with pytest.raises(WireError):
        asked(answering(b"\x00\x00\x00\x05\x00\x00\x00\x01x"))
