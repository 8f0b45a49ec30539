"""JoinGroup, SyncGroup, Heartbeat, LeaveGroup; describing, listing and deleting groups.

JoinGroup
  0    the rebalance timeout is the session timeout
  4    a new member is first told its id (KIP-394)
  5    static members (KIP-345)
  7    the protocol's name may be null
  9    a leader may be told to leave the assignment alone (KIP-814)
SyncGroup
  5    protocol type and name must be given
LeaveGroup
  3    several members, each with its own error
DescribeGroups
  3    authorized operations
ListGroups
  4    states filter;  5  types filter
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from pykafka_broker.api.routes import Route
from pykafka_broker.model.errors import ErrorCode, KafkaError
from pykafka_broker.model.identity import Client
from pykafka_broker.model.names import GroupId
from pykafka_broker.runtime.shard import Operation, Shard
from pykafka_broker.runtime.shards import Shards
from pykafka_broker.wire import messages
from pykafka_broker.wire.exchange import Call

if TYPE_CHECKING:
    from pykafka_broker.group.coordinator import GroupCoordinator

GROUP_OPERATIONS = 0b1_0100_1000
"""READ, DELETE, DESCRIBE: all that can be done with a group."""


def shard_of(groups: Shards[GroupCoordinator], group_id: str, *, may_be_empty: bool = False) -> Shard[GroupCoordinator]:
    """The shard that answers for the group; INVALID_GROUP_ID or NOT_COORDINATOR (``validateGroupStatus``)."""
    if not group_id and not may_be_empty:
        raise KafkaError(ErrorCode.INVALID_GROUP_ID)
    return groups.of(group_id)


def _everything(session: Any, group_id: str) -> int:
    """Without an authorizer everybody may do everything."""
    return GROUP_OPERATIONS


class GroupApi(Struct):
    """Each call goes to the coordinator of its group, and comes back when what it decided is stored."""

    groups: Shards[GroupCoordinator]
    authorized_operations: Callable[[Any, str], int] = _everything
    """What a session may do with a group, as a bit field."""

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("JoinGroup", "0-9", self.join, self._refuse_join),
            Route("SyncGroup", "0-5", self.sync, self._refuse_sync),
            Route("Heartbeat", "0-4", self.heartbeat, self._refuse_heartbeat),
            Route("LeaveGroup", "0-5", self.leave, self._refuse_leave),
            Route("DescribeGroups", "0-5", self.describe, self._refuse_describe),
            Route("ListGroups", "0-5", self.list_groups, self._refuse_list),
            Route("DeleteGroups", "0-2", self.delete, self._refuse_delete),
        )

    # -- membership ----------------------------------------------------------------------------------------------

    async def join(self, call: Call[messages.JoinGroupRequest]) -> messages.JoinGroupResponse:
        """Wait for the group's next generation, and learn one's place in it."""
        body, version = call.body, call.version
        shard = shard_of(self.groups, body.group_id)
        if version == 0:
            body.rebalance_timeout_ms = body.session_timeout_ms
        client = Client(call.client_id or "", call.session.host)
        needs_member_id = version >= 4 and body.group_instance_id is None
        response: messages.JoinGroupResponse = await shard.ask(
            lambda group, now, ticket: group.join(
                now, ticket, client, body, needs_member_id=needs_member_id, may_skip_assignment=version >= 9
            ),
            may_park=call.may_park,
        )
        if version < 7 and response.protocol_name is None:
            response.protocol_name = ""
        return response

    async def sync(self, call: Call[messages.SyncGroupRequest]) -> messages.SyncGroupResponse:
        """Hand in the leader's assignment, and wait for one's own."""
        body = call.body
        if call.version >= 5 and (body.protocol_type is None or body.protocol_name is None):
            return messages.SyncGroupResponse(error_code=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        shard = shard_of(self.groups, body.group_id)
        if shard.is_loading:
            # The rebalance that this is about is lost: begin anew. Older clients know no other error here.
            return messages.SyncGroupResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS)
        response: messages.SyncGroupResponse = await shard.ask(
            lambda group, now, ticket: group.sync(now, ticket, body), may_park=call.may_park
        )
        return response

    async def heartbeat(self, call: Call[messages.HeartbeatRequest]) -> messages.HeartbeatResponse:
        """Stay a member; while loading, everybody is believed."""
        body = call.body
        shard = shard_of(self.groups, body.group_id)
        if shard.is_loading:
            return messages.HeartbeatResponse()
        response: messages.HeartbeatResponse = await shard.ask(
            lambda group, now, ticket: group.heartbeat(now, ticket, body), may_park=call.may_park
        )
        return response

    async def leave(self, call: Call[messages.LeaveGroupRequest]) -> messages.LeaveGroupResponse:
        """Members go; before version 3 there is one, and its error is the answer's."""
        body = call.body
        shard = shard_of(self.groups, body.group_id)
        leavers = body.members
        if call.version < 3:
            leavers = [messages.LeaveGroupRequest.MemberIdentity(member_id=body.member_id)]
        response: messages.LeaveGroupResponse = await shard.ask(
            lambda group, now, ticket: group.leave(now, ticket, body.group_id, leavers), may_park=call.may_park
        )
        if call.version < 3:
            return messages.LeaveGroupResponse(error_code=response.members[0].error_code)
        return response

    # -- administration ------------------------------------------------------------------------------------------

    async def describe(self, call: Call[messages.DescribeGroupsRequest]) -> messages.DescribeGroupsResponse:
        """Each group from its coordinator; one that fails does not spoil the others."""
        body = call.body
        described = []
        for group_id in body.groups:
            try:
                shard = shard_of(self.groups, group_id, may_be_empty=True)
                one = await shard.ask(_describe(group_id))
            except KafkaError as error:
                one = messages.DescribeGroupsResponse.DescribedGroup(group_id=group_id, error_code=error.code)
            else:
                if body.include_authorized_operations:
                    one.authorized_operations = self.authorized_operations(call.session, group_id)
            described.append(one)
        return messages.DescribeGroupsResponse(groups=described)

    async def list_groups(self, call: Call[messages.ListGroupsRequest]) -> messages.ListGroupsResponse:
        """The groups of every coordinator here; those that load are missing, and the answer says so."""
        states = frozenset(state.lower() for state in call.body.states_filter)
        types = frozenset(kind.lower() for kind in call.body.types_filter)
        response = messages.ListGroupsResponse()
        for shard in self.groups:
            try:
                response.groups += await shard.ask(
                    lambda group, now, ticket: group.list_groups(now, ticket, states, types)
                )
            except KafkaError as error:
                if error.code == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                    response.error_code = error.code
        return response

    async def delete(self, call: Call[messages.DeleteGroupsRequest]) -> messages.DeleteGroupsResponse:
        """Remove groups that nobody is in."""
        results = []
        for group_id in dict.fromkeys(call.body.groups_names):
            try:
                code = await shard_of(self.groups, group_id, may_be_empty=True).ask(_delete(group_id))
            except KafkaError as error:
                code = error.code
            results.append(messages.DeleteGroupsResponse.DeletableGroupResult(group_id=group_id, error_code=code))
        return messages.DeleteGroupsResponse(results=results)

    # -- refusals ------------------------------------------------------------------------------------------------

    @staticmethod
    def _refuse_join(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.JoinGroupResponse:
        return messages.JoinGroupResponse(
            error_code=code,
            generation_id=-1,
            protocol_name=None if call.version >= 7 else "",
            member_id=call.body.member_id,
        )

    @staticmethod
    def _refuse_sync(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.SyncGroupResponse:
        return messages.SyncGroupResponse(error_code=code)

    @staticmethod
    def _refuse_heartbeat(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.HeartbeatResponse:
        return messages.HeartbeatResponse(error_code=code)

    @staticmethod
    def _refuse_leave(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.LeaveGroupResponse:
        return messages.LeaveGroupResponse(error_code=code)

    @staticmethod
    def _refuse_describe(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.DescribeGroupsResponse:
        return messages.DescribeGroupsResponse(
            groups=[
                messages.DescribeGroupsResponse.DescribedGroup(group_id=group_id, error_code=code)
                for group_id in call.body.groups
            ]
        )

    @staticmethod
    def _refuse_list(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.ListGroupsResponse:
        return messages.ListGroupsResponse(error_code=code)

    @staticmethod
    def _refuse_delete(call: Call[Any], code: ErrorCode, detail: str | None) -> messages.DeleteGroupsResponse:
        return messages.DeleteGroupsResponse(
            results=[
                messages.DeleteGroupsResponse.DeletableGroupResult(group_id=group_id, error_code=code)
                for group_id in dict.fromkeys(call.body.groups_names)
            ]
        )


def _describe(group_id: GroupId) -> Operation[GroupCoordinator]:
    return lambda group, now, ticket: group.describe(now, ticket, group_id)


def _delete(group_id: GroupId) -> Operation[GroupCoordinator]:
    return lambda group, now, ticket: group.delete_group(now, ticket, group_id)
