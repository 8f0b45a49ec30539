"""Nodes are given what Kafka's ``ZkData.defaultAcls`` gives them."""

from __future__ import annotations

import pytest
from kazoo.security import ANYONE_ID_UNSAFE, AUTH_IDS, Permissions

from pykafka_broker.zk.acls import acls_of

EVERYBODY_ALL = (Permissions.ALL, ANYONE_ID_UNSAFE)
EVERYBODY_READS = (Permissions.READ, ANYONE_ID_UNSAFE)
CREATOR_ALL = (Permissions.ALL, AUTH_IDS)


@pytest.mark.parametrize("path", ["/consumers", "/brokers/ids/1", "/config/users/alice"])
def test_everything_is_open_unless_told_otherwise(path: str) -> None:
    assert acls_of(path, secured=False) == [EVERYBODY_ALL]


@pytest.mark.parametrize("path", ["/", "/kafka", "/brokers", "/brokers/ids/1", "/config", "/consumers/g/offsets"])
def test_a_secured_node_is_written_by_brokers_and_read_by_all(path: str) -> None:
    assert acls_of(path, secured=True) == [CREATOR_ALL, EVERYBODY_READS]


@pytest.mark.parametrize(
    "path", ["/config/users", "/config/users/alice", "/config/brokers/1", "/delegation_token/tokens/x"]
)
def test_where_secrets_are_kept_only_brokers_read(path: str) -> None:
    assert acls_of(path, secured=True) == [CREATOR_ALL]


def test_the_old_consumers_node_is_open_all_the_same() -> None:
    assert acls_of("/consumers", secured=True) == [EVERYBODY_ALL]
