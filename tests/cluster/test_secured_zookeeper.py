"""A real ZooKeeper that asks for credentials: names and passwords, certificates, and nodes not for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from kazoo.security import ANYONE_ID_UNSAFE, Id, Permissions

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.zk import registration
from pykafka_broker.zk.credentials import NOBODY, credentials_of
from pykafka_broker.zk.port import Create, NotAllowed
from pykafka_broker.zk.session import AuthenticationFailed, ConnectionTimeout, Ensemble
from pykafka_broker.zk.settle import settled
from tests.cluster.certificates import Authority
from tests.cluster.zookeeper import ZooKeeper, free_port, running_zookeeper

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

DIGEST = "org.apache.zookeeper.server.auth.DigestLoginModule required"


def client(name: str, password: str, file: Path) -> dict[str, str]:
    """An environment that tells of this name and password."""
    file.write_text(f'Client {{ {DIGEST} username="{name}" password="{password}"; }};')
    return {"KAFKA_OPTS": f"-Djava.security.auth.login.config={file}"}


def house(connect: str, settings: BrokerSettings, environment: dict[str, str]) -> Ensemble:
    return Ensemble(
        connect,
        credentials_of(settings, environment),
        session_timeout_ms=4_000,
        max_in_flight=10,
        secured=settings.zookeeper_set_acl,
    )


async def acls(house: Ensemble, path: str) -> set[tuple[int, Id]]:
    granted, _ = await settled(house._client.get_acls_async(path))
    return {(acl.perms, acl.id) for acl in granted}


def let_in(folder: Path, **passwords: str) -> None:
    """Have the ZooKeeper of that folder believe these users, from its next start on."""
    users = " ".join(f'user_{name}="{password}"' for name, password in passwords.items())
    (folder / "server.jaas").write_text(f"Server {{ {DIGEST} {users}; }};")


@contextmanager
def running_by_name(folder: Path, **passwords: str) -> Iterator[ZooKeeper]:
    """A ZooKeeper that believes these users."""
    let_in(folder, **passwords)
    with running_zookeeper(
        folder,
        settings="authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n",
        flags=[f"-Djava.security.auth.login.config={folder / 'server.jaas'}"],
    ) as server:
        yield server


@pytest.fixture(scope="module")
def by_name(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    """Believes ``kafka`` and ``other`` by their passwords; who says nothing is let in as nobody."""
    with running_by_name(tmp_path_factory.mktemp("by-name"), kafka="s3cret", other="0ther") as server:
        yield server


SECURED = BrokerSettings(zookeeper_set_acl=True)
KAFKA = Id("sasl", "kafka")
READABLE = {(Permissions.ALL, KAFKA), (Permissions.READ, ANYONE_ID_UNSAFE)}


async def test_nodes_get_kafka_s_acls_whichever_way_they_are_made(by_name: ZooKeeper, tmp_path: Path) -> None:
    environment = client("kafka", "s3cret", tmp_path / "jaas")
    one = house(by_name.connect + "/secured/deep", SECURED, environment)
    try:
        with trio.fail_after(60):
            await one.connect(20_000)
            await registration.prepare(one)
            await one.create("/brokers/ids/1", b"x", ephemeral=True)
            await one.together([Create("/config/users/alice", b"{}"), Create("/brokers/topics/t", b"{}")])
            await one.ensure("/consumers/g/offsets")
            await one.create("/config/changes/config_change_", b"{}", sequential=True)
            for path in ("", "/brokers", "/brokers/ids/1", "/brokers/topics/t", "/config", "/consumers/g"):
                assert await acls(one, "/secured/deep" + path) == READABLE, path
            assert await acls(one, "/secured") == READABLE
            assert await acls(one, "/secured/deep/config/changes/config_change_0000000000") == READABLE
            for path in ("/config/users", "/config/users/alice", "/config/brokers"):
                assert await acls(one, "/secured/deep" + path) == {(Permissions.ALL, KAFKA)}, path
            assert await acls(one, "/secured/deep/consumers") == {(Permissions.ALL, ANYONE_ID_UNSAFE)}
    finally:
        await one.close()


async def test_others_read_but_do_not_write_and_secrets_are_not_read(by_name: ZooKeeper, tmp_path: Path) -> None:
    chroot = by_name.connect + "/theirs"
    one = house(chroot, SECURED, client("kafka", "s3cret", tmp_path / "one"))
    two = house(chroot, BrokerSettings(), client("other", "0ther", tmp_path / "two"))
    three = house(chroot, BrokerSettings(), {})
    try:
        with trio.fail_after(60):
            await one.connect(20_000)
            await one.create("/brokers", b"x")
            await one.create("/config")
            await one.create("/config/users", b"secret")
            for stranger in (two, three):
                await stranger.connect(20_000)
                assert (await stranger.read("/brokers")).data == b"x"
                with pytest.raises(NotAllowed, match="its ACL is for other credentials than ours"):
                    await stranger.replace("/brokers", b"y")
                with pytest.raises(NotAllowed, match="its ACL is for other credentials than ours"):
                    await stranger.create("/brokers/ids")
                with pytest.raises(NotAllowed, match="its ACL is for other credentials than ours"):
                    await stranger.read("/config/users")
                with pytest.raises(NotAllowed, match="its ACL is for other credentials than ours"):
                    await stranger.together([Create("/brokers/ids")])
            assert (await one.replace("/brokers", b"y")).version == 1
    finally:
        for each in (one, two, three):
            await each.close()


async def test_who_is_nobody_can_make_nothing_its_own(by_name: ZooKeeper, tmp_path: Path) -> None:
    nobody = Ensemble(by_name.connect, NOBODY, session_timeout_ms=4_000, max_in_flight=10, secured=True)
    try:
        with trio.fail_after(60):
            await nobody.connect(20_000)
            with pytest.raises(NotAllowed) as refusal:
                await nobody.create("/ours")
            assert str(refusal.value) == (
                "ZooKeeper does not let us at /ours: it does not know who we are, so nothing can be made ours alone"
            )
    finally:
        await nobody.close()


async def test_a_wrong_password_is_told_at_once(by_name: ZooKeeper, tmp_path: Path) -> None:
    one = house(by_name.connect, SECURED, client("kafka", "wrong", tmp_path / "jaas"))
    try:
        with trio.fail_after(10), pytest.raises(AuthenticationFailed, match="Auth failed either before or while"):
            await one.connect(20_000)
    finally:
        await one.close()


async def test_a_session_authenticates_again_wherever_it_goes_on(tmp_path: Path) -> None:
    """After an outage the same session is still ours, and so is what it made; a new one is ours as well."""
    with running_by_name(tmp_path, kafka="s3cret") as server:
        one = house(server.connect, SECURED, client("kafka", "s3cret", tmp_path / "jaas"))
        try:
            with trio.fail_after(60):
                await one.connect(20_000)
                session = await one.session()
                await one.create("/config")
                await one.create("/config/users", b"secret")
                server.kill()
                server.start()
                assert (await one.read("/config/users")).data == b"secret"
                assert await one.session() is session
        finally:
            await one.close()


async def test_an_ensemble_that_forgets_us_for_a_while_is_asked_again(tmp_path: Path) -> None:
    """kazoo gives up for good when credentials are refused; a house that was believed once does not."""
    with running_by_name(tmp_path, kafka="s3cret") as server:
        one = house(server.connect, SECURED, client("kafka", "s3cret", tmp_path / "jaas"))
        try:
            with trio.fail_after(60):
                await one.connect(20_000)
                session = await one.session()
                server.kill()
                let_in(tmp_path, kafka="another")
                server.start()
                await session.ended.wait()
                server.kill()
                let_in(tmp_path, kafka="s3cret")
                server.start()
                assert await one.create("/again") == "/again"
                assert await one.session() is not session
        finally:
            await one.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class SecurePort:
    """A server that speaks TLS on one more port, and wants certificates of the same authority there."""

    def __init__(self, folder: Path, authority: Authority, alternatives: str = "IP:127.0.0.1,DNS:localhost") -> None:
        self.port = free_port()
        self.folder = folder
        store = authority.store("zookeeper", alternatives=alternatives)
        self.settings = (
            "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n"
            f"secureClientPort={self.port}\nsecureClientPortAddress=127.0.0.1\n"
            f"ssl.keyStore.location={store}\nssl.keyStore.type=PEM\nssl.keyStore.password=\n"
            f"ssl.trustStore.location={authority.certificate}\nssl.trustStore.type=PEM\n"
            "ssl.protocol=TLSv1.2\nssl.clientAuth=need\nssl.hostnameVerification=false\n"
        )


@pytest.fixture(scope="module")
def secure_port(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[SecurePort]:
    made = SecurePort(tmp_path_factory.mktemp("secure"), authority)
    with running_zookeeper(made.folder, settings=made.settings):
        yield made


def with_certificate(authority: Authority) -> BrokerSettings:
    return BrokerSettings(
        zookeeper_ssl_client_enable=True,
        zookeeper_clientCnxnSocket="org.apache.zookeeper.ClientCnxnSocketNetty",
        zookeeper_ssl_truststore_location=str(authority.certificate),
        zookeeper_ssl_keystore_location=str(authority.store("kafka", alternatives="DNS:kafka", password="geheim")),
        zookeeper_ssl_keystore_password="geheim",
    )


async def test_a_certificate_opens_the_secure_port_and_owns_what_it_makes(
    secure_port: SecurePort, authority: Authority
) -> None:
    one = house(f"127.0.0.1:{secure_port.port}/tls", with_certificate(authority).replacing(zookeeper_set_acl=True), {})
    try:
        with trio.fail_after(60):
            await one.connect(20_000)
            await one.create("/a", b"x" * 500_000)
            assert (await one.read("/a")).data == b"x" * 500_000
            assert await acls(one, "/tls/a") == {
                (Permissions.ALL, Id("x509", "CN=kafka")),
                (Permissions.READ, ANYONE_ID_UNSAFE),
            }
            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(one.create, f"/n{number}", bytes(number))
            assert len(await one.children("/")) == 201
            async with one.watching_data("/a") as changes:
                await one.replace("/a", b"y")
                await changes.wait()
    finally:
        await one.close()


@pytest.mark.parametrize("lacks", ["a certificate", "trust"])
async def test_who_cannot_prove_itself_is_given_up_in_time_and_the_reason_said(
    secure_port: SecurePort, authority: Authority, lacks: str, tmp_path: Path
) -> None:
    settings = with_certificate(authority)
    if lacks == "trust":
        stranger = Authority(tmp_path)
        settings = settings.replacing(zookeeper_ssl_truststore_location=str(stranger.certificate))
    else:
        settings = settings.replacing(zookeeper_ssl_keystore_location=None)
    one = house(f"127.0.0.1:{secure_port.port}", settings, {})
    try:
        with (
            trio.fail_after(20),
            pytest.raises(ConnectionTimeout, match=r"\(127\.0\.0\.1:\d+: .*(SSL|[Ss]ertif|reset)"),
        ):
            await one.connect(1_000)
    finally:
        await one.close()


async def test_a_certificate_for_another_host_is_believed_only_where_the_name_does_not_matter(
    tmp_path: Path, authority: Authority
) -> None:
    made = SecurePort(tmp_path, authority, alternatives="DNS:elsewhere")
    with running_zookeeper(made.folder, settings=made.settings):
        for algorithm in ("HTTPS", ""):
            settings = with_certificate(authority).replacing(zookeeper_ssl_endpoint_identification_algorithm=algorithm)
            one = house(f"127.0.0.1:{made.port}", settings, {})
            try:
                with trio.fail_after(30):
                    if algorithm:
                        with pytest.raises(ConnectionTimeout, match="IP address mismatch"):
                            await one.connect(1_000)
                    else:
                        await one.connect(20_000)
                        await one.read("/")
            finally:
                await one.close()
