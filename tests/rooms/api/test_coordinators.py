"""FindCoordinator: who answers for which id."""

from __future__ import annotations

import pytest
import trio

from pykafka_broker.api.coordinators import CoordinatorApi
from pykafka_broker.model.errors import ErrorCode
from pykafka_broker.model.names import GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC, coordinator_partition
from pykafka_broker.wire import messages
from tests.rooms.api.conftest import call
from tests.rooms.api.group_desk import GroupDesk
from tests.rooms.api.test_groups import every

NOT_AVAILABLE = ErrorCode.COORDINATOR_NOT_AVAILABLE


@pytest.fixture
async def desk(nursery: trio.Nursery) -> GroupDesk:
    return await GroupDesk().opens(nursery)


def find(version: int, *keys: str, key_type: int = 0) -> messages.FindCoordinatorRequest:
    if version >= 4:
        return messages.FindCoordinatorRequest(key_type=key_type, coordinator_keys=list(keys))
    return messages.FindCoordinatorRequest(key=keys[0], key_type=key_type)


@pytest.mark.parametrize("version", range(4))
async def test_the_leader_of_the_groups_partition_coordinates(desk: GroupDesk, version: int) -> None:
    answer = await desk.ask(version, find(version, "g"))
    assert (answer.error_code, answer.node_id, answer.host, answer.port) == (0, 1, "here", 9092)
    assert answer.error_message == ("NONE" if version else "")


@pytest.mark.parametrize("version", range(4, 7))
async def test_several_groups_are_answered_at_once(desk: GroupDesk, version: int) -> None:
    answer = await desk.ask(version, find(version, "g", "h"))
    assert [(one.key, one.error_code, one.error_message, one.node_id, one.port) for one in answer.coordinators] == [
        ("g", 0, "", 1, 9092),
        ("h", 0, "", 1, 9092),
    ]


async def test_the_first_question_makes_the_topic(desk: GroupDesk) -> None:
    del desk.metadata.topics[GROUP_METADATA_TOPIC]
    answer = await desk.ask(3, find(3, "g"))
    assert (answer.error_code, answer.node_id, answer.host, answer.port) == (NOT_AVAILABLE, -1, "", -1)
    assert answer.error_message == "The coordinator is not available."
    assert desk.maker.asked == [GROUP_METADATA_TOPIC]


@pytest.mark.parametrize("leader", [-1, 2])
async def test_without_a_live_leader_nobody_coordinates(desk: GroupDesk, leader: int) -> None:
    desk.knows(GROUP_METADATA_TOPIC, 3, leader)
    (answer,) = (await desk.ask(4, find(4, "g"))).coordinators
    assert (answer.error_code, answer.node_id) == (NOT_AVAILABLE, -1)
    assert desk.maker.asked == []


async def test_nobody_coordinates_transactions_yet(desk: GroupDesk) -> None:
    (answer,) = (await desk.ask(4, find(4, "tx", key_type=1))).coordinators
    assert answer.error_code == NOT_AVAILABLE
    assert desk.maker.asked == []


async def test_transactional_ids_are_answered_by_their_own_topic(desk: GroupDesk) -> None:
    desk.coordinators = CoordinatorApi(desk.metadata, desk.maker, lambda: 3, lambda: 5)
    await desk.ask(4, find(4, "tx", key_type=1))
    assert desk.maker.asked == [TRANSACTION_STATE_TOPIC]
    desk.knows(TRANSACTION_STATE_TOPIC, coordinator_partition("tx", 5) + 1)
    (answer,) = (await desk.ask(4, find(4, "tx", key_type=1))).coordinators
    assert (answer.error_code, answer.node_id) == (0, 1)


@pytest.mark.parametrize("version, error", [(5, ErrorCode.INVALID_REQUEST), (6, NOT_AVAILABLE)])
async def test_nobody_coordinates_share_groups(desk: GroupDesk, version: int, error: ErrorCode) -> None:
    (answer,) = (await desk.ask(version, find(version, "g:x:0", key_type=2))).coordinators
    assert (answer.error_code, answer.error_message) == (error, "")


@pytest.mark.parametrize("version", [1, 6])
async def test_an_unknown_kind_of_id_is_refused(desk: GroupDesk, version: int) -> None:
    answer = await desk.ask(version, find(version, "g", key_type=9))
    told = answer if version < 4 else answer.coordinators[0]
    assert (told.error_code, told.node_id, told.port) == (ErrorCode.INVALID_REQUEST, -1, -1)


@pytest.mark.parametrize("api, version", every(CoordinatorApi))
async def test_every_refusal_can_be_written_in_every_version(desk: GroupDesk, api: str, version: int) -> None:
    (route,) = desk.coordinators.routes()
    answer = route.refuse(call(api, version, find(version, "g")), ErrorCode.UNKNOWN_SERVER_ERROR, None)
    messages.encode(answer, version)
