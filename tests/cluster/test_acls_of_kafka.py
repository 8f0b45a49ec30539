"""With zookeeper.set.acl Apache Kafka and this broker grant the same, node by node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

from compat.cluster.servers import APACHE, OURS, cluster
from tests.cluster.zookeeper import ZooKeeper, running_zookeeper

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

DIGEST = "org.apache.zookeeper.server.auth.DigestLoginModule required"


@pytest.fixture
def secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ZooKeeper]:
    """A ZooKeeper that knows one user, and an environment that makes Java processes, and our broker, that user."""
    (tmp_path / "jaas").write_text(
        f'Server {{ {DIGEST} user_kafka="s3cret"; }}; Client {{ {DIGEST} username="kafka" password="s3cret"; }};'
    )
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", f"-Djava.security.auth.login.config={tmp_path / 'jaas'}")
    provider = "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n"
    with running_zookeeper(tmp_path / "zookeeper", settings=provider) as server:
        yield server


def granted(connect: str) -> dict[str, frozenset[tuple[int, str, str]]]:
    """What each node below the chroot grants to whom."""
    options = {"mechanism": "DIGEST-MD5", "username": "kafka", "password": "s3cret"}
    client = KazooClient(connect, sasl_options=options)
    client.start()
    found = {}
    waiting = ["/"]
    try:
        while waiting:
            path = waiting.pop()
            try:
                acls, _ = client.get_acls(path)
                waiting += [f"{path.rstrip('/')}/{name}" for name in client.get_children(path)]
            except NoNodeError:
                continue
            found[path] = frozenset((acl.perms, acl.id.scheme, acl.id.id) for acl in acls)
    finally:
        client.stop()
        client.close()
    return found


def test_both_grant_the_same(secured: ZooKeeper) -> None:
    properties = {
        "zookeeper.set.acl": "true",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
    }
    trees = {}
    for kind in (APACHE, OURS):
        with cluster([kind], f"{secured.connect}/{kind}", properties, first=1) as brokers:
            admin = AdminClient({"bootstrap.servers": brokers.members[1].bootstrap})
            admin.create_topics([NewTopic("orders", 1)])["orders"].result(30)
            trees[kind] = granted(f"{secured.connect}/{kind}")
    theirs, ours = trees[APACHE], trees[OURS]
    common = theirs.keys() & ours.keys()
    assert {path: ours[path] for path in common} == {path: theirs[path] for path in common}
    assert common >= {
        "/", "/brokers/ids/1", "/brokers/topics/orders/partitions/0/state", "/cluster/id", "/config/brokers",
        "/config/changes", "/config/topics/orders", "/config/users", "/consumers", "/controller", "/controller_epoch",
        "/feature", "/latest_producer_id_block",
    }  # fmt: skip
    assert len(set(theirs.values())) == 3
