"""A connection answers its requests one at a time and in order, and is closed by nonsense."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import memory_stream_pair

from pykafka_broker.api.desk import Desk
from pykafka_broker.api.routes import Route, collect
from pykafka_broker.api.versions import VersionsApi
from pykafka_broker.model.errors import ErrorCode, KafkaError, WireError
from pykafka_broker.model.identity import Session
from pykafka_broker.net.connection import GATHERED_BYTES, READ_BYTES, Connection
from pykafka_broker.net.frames import StreamChannel
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call, Served, read_response, write_request
from pykafka_broker.wire.pieces import FilePiece, FilePieces, Piece


class Beats:
    """Heartbeats that wait, fail or are throttled, by what the group is called."""

    def __init__(self) -> None:
        self.in_progress = 0
        self.release = trio.Event()

    def routes(self) -> tuple[Route, ...]:
        return (Route("Heartbeat", "0-4", self.heartbeat, self.refuse),)

    async def heartbeat(self, call: Call[Any]) -> messages.HeartbeatResponse | None:
        assert self.in_progress == 0, "two requests of one connection are in progress at once"
        match call.body.group_id:
            case "wait":
                self.in_progress += 1
                await self.release.wait()
                self.in_progress -= 1
            case "refuse":
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
            case "break":
                raise RuntimeError("a defect")
            case "silent":
                return None
            case "throttle":
                call.throttle_ms = 5000
        return messages.HeartbeatResponse()

    @staticmethod
    def refuse(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.HeartbeatResponse:
        return messages.HeartbeatResponse(error_code=code)


class Client:
    """The other end of a served connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._received = b""

    async def sends(self, *groups: str) -> None:
        frames = [
            write_request("Heartbeat", 4, number, "tests", messages.HeartbeatRequest(group_id=group))
            for number, group in enumerate(groups)
        ]
        await self.stream.send_all(b"".join(frames))

    async def frame(self) -> bytes | None:
        while len(self._received) < 4 or len(self._received) < 4 + struct.unpack_from(">i", self._received)[0]:
            data = await self.stream.receive_some()
            if not data:
                return None
            self._received += data
        size = struct.unpack_from(">i", self._received)[0]
        frame, self._received = self._received[4 : 4 + size], self._received[4 + size :]
        return frame

    async def hears(self) -> tuple[int, int] | None:
        frame = await self.frame()
        if frame is None:
            return None
        correlation_id, response = read_response("Heartbeat", 4, frame)
        return correlation_id, response.error_code


class Conversation:
    """A connection served in the background."""

    def __init__(self) -> None:
        self.beats = Beats()
        self.versions = VersionsApi(lambda: self.routes.served, lambda: 0)
        self.routes = collect([self.beats, self.versions])
        self.ended_by: BaseException | None = None
        ours, theirs = memory_stream_pair()
        self.client = Client(theirs)
        desk = Desk(self.routes)
        self._stream = ours
        self.connection = Connection(
            StreamChannel(ours), Session("PLAINTEXT", "/127.0.0.1"), self.routes.served, desk.answer, 100_000
        )

    async def run(self) -> None:
        try:
            await self.connection.serve()
        except WireError as error:
            self.ended_by = error
        await self._stream.aclose()


@pytest.fixture
async def served(nursery: trio.Nursery) -> Conversation:
    served = Conversation()
    nursery.start_soon(served.run)
    return served


async def test_requests_are_answered_in_order(served: Conversation) -> None:
    await served.client.sends("a", "refuse", "b")
    assert [await served.client.hears() for _ in range(3)] == [(0, 0), (1, 25), (2, 0)]


async def test_a_request_that_waits_holds_back_the_next_but_not_the_answers_before_it(served: Conversation) -> None:
    await served.client.sends("a", "b", "wait", "c")
    await trio.testing.wait_all_tasks_blocked()
    served.beats.release.set()
    assert [await served.client.hears() for _ in range(4)] == [(0, 0), (1, 0), (2, 0), (3, 0)]


async def test_a_defect_is_answered_and_the_connection_goes_on(served: Conversation, caplog: Any) -> None:
    await served.client.sends("break", "a")
    assert await served.client.hears() == (0, ErrorCode.UNKNOWN_SERVER_ERROR)
    assert await served.client.hears() == (1, 0)
    assert "a defect" in caplog.text


async def test_a_request_without_an_answer_is_passed_over(served: Conversation) -> None:
    await served.client.sends("silent", "a")
    assert await served.client.hears() == (1, 0)


async def test_a_throttled_client_hears_at_once_and_is_then_kept_waiting(
    served: Conversation, autojump_clock: trio.testing.MockClock
) -> None:
    started = autojump_clock.current_time()
    await served.client.sends("throttle", "a")
    assert await served.client.hears() == (0, 0)
    assert autojump_clock.current_time() == started
    assert await served.client.hears() == (1, 0)
    assert autojump_clock.current_time() >= started + 5


async def test_an_api_that_is_not_served_closes_the_connection_without_a_word(served: Conversation) -> None:
    await served.client.stream.send_all(write_request("Metadata", 12, 1, "tests", messages.MetadataRequest()))
    assert await served.client.frame() is None
    assert isinstance(served.ended_by, WireError)


async def test_an_unknown_version_of_api_versions_is_answered_in_version_0(served: Conversation) -> None:
    header = struct.pack(">hhih5sb", 18, 99, 7, 5, b"tests", 0)
    await served.client.stream.send_all(struct.pack(">i", len(header)) + header)
    frame = await served.client.frame()
    assert frame is not None
    correlation_id, response = read_response("ApiVersions", 0, frame)
    assert (correlation_id, response.error_code) == (7, ErrorCode.UNSUPPORTED_VERSION)
    assert [(one.api_key, one.min_version, one.max_version) for one in response.api_keys] == [(18, 0, 4)]


async def test_api_versions_lists_exactly_what_is_served(served: Conversation) -> None:
    body = messages.ApiVersionsRequest(client_software_name="tests", client_software_version="1.0")
    await served.client.stream.send_all(write_request("ApiVersions", 4, 1, None, body))
    frame = await served.client.frame()
    assert frame is not None
    _correlation_id, response = read_response("ApiVersions", 4, frame)
    assert [(one.api_key, one.min_version, one.max_version) for one in response.api_keys] == [(12, 0, 4), (18, 0, 4)]
    assert response.error_code == 0
    assert response.finalized_features_epoch == 0


@pytest.mark.parametrize("name", ["", "-x", "a b", "x-"])
async def test_a_client_software_name_must_be_plain(served: Conversation, name: str) -> None:
    body = messages.ApiVersionsRequest(client_software_name=name, client_software_version="1.0")
    await served.client.stream.send_all(write_request("ApiVersions", 3, 1, None, body))
    frame = await served.client.frame()
    assert frame is not None
    assert read_response("ApiVersions", 3, frame)[1].error_code == ErrorCode.INVALID_REQUEST


def test_two_answers_for_one_api_are_refused_at_start() -> None:
    with pytest.raises(ValueError, match="answered twice"):
        collect([Beats(), Beats()])


def test_versions_beyond_the_spec_are_refused_at_start() -> None:
    class Beyond(Beats):
        def routes(self) -> tuple[Route, ...]:
            return (Route("Heartbeat", "0-9", self.heartbeat, self.refuse),)

    with pytest.raises(ValueError, match="specified for 0-4"):
        collect([Beyond()])


def test_the_served_table_is_in_the_order_of_keys() -> None:
    versions = VersionsApi(lambda: Served({}), lambda: 0)
    assert list(collect([versions, Beats()]).served.ranges) == [12, 18]


class Records:
    """Fetches that are answered with pieces of a file, as many and as large as the request's limits say."""

    def __init__(self, file: int) -> None:
        self.file = file

    def routes(self) -> tuple[Route, ...]:
        return (Route("Fetch", "4-11", self.fetch, Beats.refuse),)

    async def fetch(self, call: Call[Any]) -> messages.FetchResponse:
        response = messages.FetchResponse
        size = call.body.max_bytes
        entries = [
            response.PartitionData(
                partition_index=index, records=FilePieces([FilePiece(self.file, index * size, size)])
            )
            for index in range(call.body.min_bytes)
        ]
        return response(responses=[response.FetchableTopicResponse(topic="t", partitions=entries)])


class Takings:
    """A channel that asks for some fetches at once and keeps what it is given, send by send."""

    def __init__(self, *fetches: tuple[int, int]) -> None:
        self.moved = 0
        self.sends: list[list[Piece]] = []
        self._asks = b"".join(
            write_request("Fetch", 11, number, "tests", messages.FetchRequest(min_bytes=count, max_bytes=size))
            for number, (count, size) in enumerate(fetches)
        )

    async def receive_into(self, buffer: memoryview) -> int:
        asks, self._asks = self._asks, b""
        buffer[: len(asks)] = asks
        return len(asks)

    def send_now(self, pieces: list[Piece]) -> list[Piece]:
        self.sends.append(pieces)
        return []

    async def send(self, pieces: Sequence[Piece]) -> None:
        raise AssertionError("everything went at once")

    def answers(self) -> list[tuple[int, list[bytes]]]:
        """Correlation ids and records of all that was sent."""
        sent = b"".join(
            os.pread(piece.file, piece.size_bytes, piece.start) if isinstance(piece, FilePiece) else piece
            for pieces in self.sends
            for piece in pieces
        )
        found = []
        while sent:
            (size,) = struct.unpack_from(">i", sent)
            number, response = read_response("Fetch", 11, sent[4 : 4 + size])
            found.append((number, [bytes(entry.records) for entry in response.responses[0].partitions]))
            sent = sent[4 + size :]
        return found


LARGE = READ_BYTES + 1
CONTENT = os.urandom(100 * LARGE)


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "log"
    path.write_bytes(CONTENT)
    file = os.open(path, os.O_RDWR)
    yield file
    os.close(file)


async def taken(file: int, *fetches: tuple[int, int]) -> Takings:
    channel = Takings(*fetches)
    await takes(channel, file)
    return channel


async def takes(channel: Takings, file: int) -> None:
    routes = collect([Records(file)])
    await Connection(channel, Session("PLAINTEXT", "/127.0.0.1"), routes.served, Desk(routes).answer, 100_000).serve()


def records(count: int, size: int) -> list[bytes]:
    return [CONTENT[index * size : (index + 1) * size] for index in range(count)]


async def test_small_pieces_of_files_leave_with_what_surrounds_them(log_file: int) -> None:
    channel = await taken(log_file, (1, 100), (3, 1_000), (1, READ_BYTES))
    (only,) = channel.sends
    assert len(only) == 1
    assert channel.answers() == [(0, records(1, 100)), (1, records(3, 1_000)), (2, records(1, READ_BYTES))]


async def test_large_pieces_of_files_are_left_to_the_kernel_at_once(log_file: int) -> None:
    channel = await taken(log_file, (1, 100), (2, LARGE), (1, 100))
    first, last = channel.sends
    assert [isinstance(piece, FilePiece) for piece in first] == [False, True, False, True]
    assert len(last) == 1
    assert channel.answers() == [(0, records(1, 100)), (1, records(2, LARGE)), (2, records(1, 100))]


async def test_an_answer_of_many_small_pieces_is_not_read_as_a_whole(log_file: int) -> None:
    channel = await taken(log_file, (90, READ_BYTES))
    held = [len(only) for (only,) in channel.sends]
    assert len(held) == 6
    assert all(GATHERED_BYTES <= size < GATHERED_BYTES + 3 * READ_BYTES for size in held[:-1])
    assert channel.answers() == [(0, records(90, READ_BYTES))]


async def test_a_file_that_is_shorter_than_it_should_be_ends_the_connection(log_file: int) -> None:
    os.truncate(log_file, 150)
    with pytest.raises(EOFError):
        await taken(log_file, (2, 100))


async def test_answers_before_a_file_that_is_shorter_than_it_should_be_are_sent(log_file: int) -> None:
    os.truncate(log_file, 150)
    channel = Takings((1, 100), (1, 150), (2, 100), (1, 100))
    with pytest.raises(EOFError):
        await takes(channel, log_file)
    sent = b"".join(piece for pieces in channel.sends for piece in pieces if not isinstance(piece, FilePiece))
    for number, size in ((0, 100), (1, 150)):
        (whole,) = struct.unpack_from(">i", sent)
        frame, sent = sent[4 : 4 + whole], sent[4 + whole :]
        correlation_id, response = read_response("Fetch", 11, frame)
        assert (correlation_id, response.responses[0].partitions[0].records) == (number, CONTENT[:size])
    assert struct.unpack_from(">ii", sent)[1] == 2
    assert sent.count(CONTENT[:100]) == 1, "of the third the first piece, of the fourth nothing"
