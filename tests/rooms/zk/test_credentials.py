"""What the broker shows ZooKeeper is found where people put it, and what cannot be had is refused in one line."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import pytest

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.zk.credentials import NOBODY, CredentialsError, credentials_of, java_properties
from tests.cluster.certificates import Authority

CLIENT = 'Client { org.apache.zookeeper.server.auth.DigestLoginModule required username="kafka" password="s3cret"; };'


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def jaas(folder: Path, text: str = CLIENT, options: str = "") -> dict[str, str]:
    """An environment that tells of a JAAS file with this text."""
    file = folder / "jaas.conf"
    file.write_text(text)
    return {"KAFKA_OPTS": f"-Xmx1G -Djava.security.auth.login.config={file} {options}"}


def settings(**values: object) -> BrokerSettings:
    return BrokerSettings(**{f"zookeeper_{name}": value for name, value in values.items()})


def refusal(settings: BrokerSettings, environment: dict[str, str]) -> str:
    with pytest.raises(CredentialsError) as refused:
        credentials_of(settings, environment)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_java_s_options_are_read_as_a_shell_and_java_read_them() -> None:
    environment = {
        "JAVA_TOOL_OPTIONS": "-Da=1 -Dempty -Db=tool",
        "KAFKA_OPTS": "-verbose -Db='two words' -Dc=x=y",
        "OTHER": "-Dd=1",
    }
    assert java_properties(environment) == {"a": "1", "empty": "", "b": "two words", "c": "x=y"}
    assert java_properties({"KAFKA_OPTS": "-Da='open"}) == {"a": "'open"}
    assert java_properties({}) == {}


def test_without_any_nothing_is_shown() -> None:
    credentials = credentials_of(BrokerSettings(), {})
    assert credentials == NOBODY
    assert credentials.sasl_options is None


@pytest.mark.parametrize("prefix", ["", "=", "file:"])
def test_name_and_password_come_from_the_jaas_file(tmp_path: Path, prefix: str) -> None:
    environment = jaas(tmp_path)
    environment["KAFKA_OPTS"] = environment["KAFKA_OPTS"].replace("config=", f"config={prefix}")
    assert credentials_of(settings(set_acl=True), environment).sasl_options == {
        "mechanism": "DIGEST-MD5",
        "username": "kafka",
        "password": "s3cret",
    }


def test_the_entry_may_have_another_name(tmp_path: Path) -> None:
    text = CLIENT + CLIENT.replace("Client", "Mine", 1).replace("kafka", "me")
    assert credentials_of(BrokerSettings(), jaas(tmp_path, text)).username == "kafka"
    mine = jaas(tmp_path, text, "-Dzookeeper.sasl.clientconfig=Mine")
    assert credentials_of(BrokerSettings(), mine).username == "me"


def test_a_file_that_is_not_about_zookeeper_is_none(tmp_path: Path) -> None:
    environment = jaas(tmp_path, CLIENT.replace("Client", "KafkaServer", 1))
    assert credentials_of(BrokerSettings(), environment) == NOBODY


def test_acls_without_credentials_are_refused_in_kafka_s_words(tmp_path: Path) -> None:
    says = (
        "zookeeper.set.acl is true, but ZooKeeper client TLS configuration identifying at least "
        "zookeeper.ssl.client.enable, zookeeper.clientCnxnSocket, and zookeeper.ssl.keystore.location was not present "
        "and the verification of the JAAS login file failed [java.security.auth.login.config={}, "
        "zookeeper.sasl.client=default:true, zookeeper.sasl.clientconfig={}]"
    )
    assert refusal(settings(set_acl=True), {}) == says.format("null", "default:Client")
    environment = jaas(tmp_path, options="-Dzookeeper.sasl.clientconfig=Mine")
    assert refusal(settings(set_acl=True), environment) == says.format(tmp_path / "jaas.conf", "Mine")


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (
            CLIENT.replace("org.apache.zookeeper.server.auth.Digest", "com.sun.security.auth.module.Krb5"),
            "",
            "Client: com.sun.security.auth.module.Krb5LoginModule is not supported, "
            "only org.apache.zookeeper.server.auth.DigestLoginModule is",
        ),
        (CLIENT.replace(' password="s3cret"', ""), "", "Client: password is missing"),
        ("Client {", "", "line 1: expected a login module, found the end"),
        (
            CLIENT,
            "-Dzookeeper.sasl.client=false",
            "JAAS configuration is present, but system property zookeeper.sasl.client is set to false, which disables "
            "SASL in the ZooKeeper client",
        ),
    ],
)
def test_a_jaas_file_that_does_not_help_is_refused(tmp_path: Path, text: str, options: str, says: str) -> None:
    assert refusal(BrokerSettings(), jaas(tmp_path, text, options)).removeprefix(
        f"java.security.auth.login.config: {tmp_path / 'jaas.conf'}: "
    ) == (says)


def test_a_jaas_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    environment = {"KAFKA_OPTS": f"-Djava.security.auth.login.config={tmp_path}/none"}
    assert refusal(BrokerSettings(), environment) == (
        f"java.security.auth.login.config: {tmp_path}/none: No such file or directory"
    )


def test_without_the_library_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "puresasl", None)
    assert refusal(BrokerSettings(), jaas(tmp_path)).endswith(
        "Client: SASL needs pure-sasl: pip install 'pykafka-broker[sasl]'"
    )


def test_tls_has_kafka_s_defaults() -> None:
    context = credentials_of(settings(ssl_client_enable=True), {}).tls
    assert context is not None
    assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_only_those_of_the_truststore_are_believed(authority: Authority) -> None:
    context = credentials_of(
        settings(
            ssl_client_enable=True,
            ssl_truststore_location=str(authority.certificate),
            ssl_enabled_protocols=("TLSv1.2", "TLSv1.3"),
            ssl_endpoint_identification_algorithm="",
        ),
        {},
    ).tls
    assert context is not None
    assert [one["subject"] for one in context.get_ca_certs()] == [((("commonName", "authority"),),)]
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert not context.check_hostname


def test_a_certificate_is_credentials_for_acls_as_well(authority: Authority) -> None:
    store = authority.store("kafka", alternatives="DNS:kafka", password="geheim")
    told = settings(
        set_acl=True,
        ssl_client_enable=True,
        clientCnxnSocket="org.apache.zookeeper.ClientCnxnSocketNetty",
        ssl_keystore_location=str(store),
        ssl_keystore_password="geheim",
    )
    assert credentials_of(told, {}).tls is not None
    assert "was not present" in refusal(told.replacing(zookeeper_clientCnxnSocket=None), {})
    assert refusal(told.replacing(zookeeper_ssl_keystore_password=None), {}).startswith(
        f"zookeeper.ssl.keystore.location: {store}: "
    )


def test_system_properties_stand_in_for_settings_that_are_not_set(authority: Authority) -> None:
    environment = {
        "KAFKA_OPTS": "-Dzookeeper.client.secure=true -Dzookeeper.ssl.hostnameVerification=false"
        f" -Dzookeeper.ssl.trustStore.location={authority.certificate} -Dzookeeper.ssl.protocol=TLSv1.3"
    }
    context = credentials_of(BrokerSettings(), environment).tls
    assert context is not None
    assert context.maximum_version == ssl.TLSVersion.TLSv1_3
    assert not context.check_hostname
    assert len(context.get_ca_certs()) == 1
    set_too = credentials_of(settings(ssl_protocol="TLS"), environment).tls
    assert set_too is not None
    assert set_too.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"ssl_truststore_location": "/none/ca.pem"},
            "zookeeper.ssl.truststore.location: /none/ca.pem: No such file or directory",
        ),
        (
            {"ssl_truststore_location": "/none/ca.jks"},
            "zookeeper.ssl.truststore.location: /none/ca.jks: JKS stores cannot be read; "
            "keytool and openssl turn them into PEM files",
        ),
        (
            {"ssl_keystore_location": "/none/key.pem", "ssl_keystore_type": "pkcs12"},
            "zookeeper.ssl.keystore.location: /none/key.pem: PKCS12 stores cannot be read; "
            "keytool and openssl turn them into PEM files",
        ),
        (
            {"ssl_enabled_protocols": ("TLSv1.2", "SSLv3")},
            "zookeeper.ssl.enabled.protocols: SSLv3 is none of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3",
        ),
    ],
)
def test_stores_that_cannot_be_read_are_refused(values: dict[str, object], says: str) -> None:
    assert refusal(settings(ssl_client_enable=True, **values), {}) == says
