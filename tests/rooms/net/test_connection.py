"""A connection answers its requests one at a time and in order, and is closed by nonsense."""

from __future__ import annotations

import struct
from typing import Any

import pytest
import trio
from trio.testing import memory_stream_pair

from pykafka_broker.api.desk import Desk
from pykafka_broker.api.routes import Route, collect
from pykafka_broker.api.versions import VersionsApi
from pykafka_broker.model.errors import ErrorCode, KafkaError, WireError
from pykafka_broker.model.identity import Session
from pykafka_broker.net.connection import Connection
from pykafka_broker.net.frames import StreamChannel
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call, Served, read_response, write_request


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
