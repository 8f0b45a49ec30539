"""What the broker shows ZooKeeper and wants to be shown: TLS from its settings, a name and password from a JAAS file.

Kafka's brokers are told of the JAAS file by a Java system property, mostly in the environment's ``KAFKA_OPTS``; where
it names one, it is the same file here. Settings may come from there, too, under ZooKeeper's names for them.
"""

from __future__ import annotations

import shlex
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct

from pykafka_broker.config.broker import BrokerSettings
from pykafka_broker.config.kinds import Value
from pykafka_broker.security.jaas import JaasError, LoginModule, read_jaas

JAVA_OPTIONS = ("JAVA_TOOL_OPTIONS", "KAFKA_OPTS")
"""Variables that Kafka's scripts and Java itself take options from; the later one wins."""

JAAS_FILE = "java.security.auth.login.config"
SASL_ENABLED = "zookeeper.sasl.client"
SASL_ENTRY = "zookeeper.sasl.clientconfig"
DIGEST_MODULE = "org.apache.zookeeper.server.auth.DigestLoginModule"

_PROPERTIES = MappingProxyType(
    {
        "zookeeper.clientCnxnSocket": "zookeeper.clientCnxnSocket",
        "zookeeper.ssl.client.enable": "zookeeper.client.secure",
        "zookeeper.ssl.enabled.protocols": "zookeeper.ssl.enabledProtocols",
        "zookeeper.ssl.endpoint.identification.algorithm": "zookeeper.ssl.hostnameVerification",
        "zookeeper.ssl.keystore.location": "zookeeper.ssl.keyStore.location",
        "zookeeper.ssl.keystore.password": "zookeeper.ssl.keyStore.password",
        "zookeeper.ssl.keystore.type": "zookeeper.ssl.keyStore.type",
        "zookeeper.ssl.protocol": "zookeeper.ssl.protocol",
        "zookeeper.ssl.truststore.location": "zookeeper.ssl.trustStore.location",
        "zookeeper.ssl.truststore.type": "zookeeper.ssl.trustStore.type",
    }
)
"""Kafka's keys, and the system properties that stand in for them where they are not set (``ZkConfigs``)."""

_VERSIONS = MappingProxyType(
    {
        "TLSv1": ssl.TLSVersion.TLSv1,
        "TLSv1.1": ssl.TLSVersion.TLSv1_1,
        "TLSv1.2": ssl.TLSVersion.TLSv1_2,
        "TLSv1.3": ssl.TLSVersion.TLSv1_3,
    }
)


class CredentialsError(Exception):
    """Credentials that cannot be had as they are told of; one line says why."""


class Credentials(Struct, frozen=True):
    """Who we are to ZooKeeper, and how we know it; each part may be missing."""

    username: str | None = None
    password: str = ""
    tls: ssl.SSLContext | None = None

    @property
    def sasl_options(self) -> dict[str, str] | None:
        """What kazoo is told of name and password."""
        if self.username is None:
            return None
        return {"mechanism": "DIGEST-MD5", "username": self.username, "password": self.password}


NOBODY = Credentials()
"""No credentials, and no TLS."""


def java_properties(environment: Mapping[str, str]) -> dict[str, str]:
    """The system properties that Java would be started with (``-Dname=value``)."""
    found = {}
    for variable in JAVA_OPTIONS:
        text = environment.get(variable, "")
        try:
            words = shlex.split(text)
        except ValueError:
            words = text.split()
        for word in words:
            if word.startswith("-D"):
                name, _, value = word[2:].partition("=")
                found[name] = value
    return found


def credentials_of(settings: BrokerSettings, environment: Mapping[str, str]) -> Credentials:
    """The credentials that settings and environment tell of; reads files. ``CredentialsError``."""
    properties = java_properties(environment)
    told = _Told(settings, properties)
    login = _login(properties)
    if settings.zookeeper_set_acl and login is None and not told.identifies_by_tls:
        raise CredentialsError(
            "zookeeper.set.acl is true, but ZooKeeper client TLS configuration identifying at least "
            "zookeeper.ssl.client.enable, zookeeper.clientCnxnSocket, and zookeeper.ssl.keystore.location was not "
            f"present and the verification of the JAAS login file failed {_login_told(properties)}"
        )
    username, password = login or (None, "")
    return Credentials(username, password, told.context() if told.is_enabled else None)


def _login_told(properties: Mapping[str, str]) -> str:
    """``JaasUtils.zkSecuritySysConfigString``."""
    file = properties.get(JAAS_FILE, "null")
    enabled = properties.get(SASL_ENABLED, "default:true")
    entry = properties.get(SASL_ENTRY, "default:Client")
    return f"[{JAAS_FILE}={file}, {SASL_ENABLED}={enabled}, {SASL_ENTRY}={entry}]"


def _login(properties: Mapping[str, str]) -> tuple[str, str] | None:
    """Name and password from the JAAS file; ``None`` when there is none, or nothing about ZooKeeper in it."""
    file = properties.get(JAAS_FILE, "").removeprefix("=").removeprefix("file:")
    if not file:
        return None
    try:
        entries = read_jaas(Path(file).read_text(encoding="utf-8"), properties)
    except (OSError, UnicodeError, JaasError) as error:
        says = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CredentialsError(f"{JAAS_FILE}: {file}: {says}") from error
    entry = properties.get(SASL_ENTRY, "Client")
    modules = entries.get(entry)
    if not modules:
        return None
    if properties.get(SASL_ENABLED, "true").lower() != "true":
        raise CredentialsError(
            f"JAAS configuration is present, but system property {SASL_ENABLED} is set to false, which disables SASL "
            "in the ZooKeeper client"
        )
    return _digest(f"{JAAS_FILE}: {file}: {entry}", modules[0])


def _digest(where: str, module: LoginModule) -> tuple[str, str]:
    if module.name != DIGEST_MODULE:
        raise CredentialsError(f"{where}: {module.name} is not supported, only {DIGEST_MODULE} is")
    try:
        login = module.options["username"], module.options["password"]
    except KeyError as missing:
        raise CredentialsError(f"{where}: {missing.args[0]} is missing") from None
    if find_spec("puresasl") is None:
        raise CredentialsError(f"{where}: SASL needs pure-sasl: pip install 'pykafka-broker[sasl]'")
    return login


class _Told:
    """What is said of TLS."""

    def __init__(self, settings: BrokerSettings, properties: Mapping[str, str]) -> None:
        self._texts = {key: properties[name] for key, name in _PROPERTIES.items() if name in properties}
        self._settings = settings

    def _value(self, key: str, set_to: Value) -> Value:
        """The setting's value, or what a system property says where nothing is set."""
        definition = self._settings.SETTINGS[key]
        text = self._texts.get(key)
        return set_to if text is None or set_to != definition.default else definition.read(text)

    @property
    def is_enabled(self) -> bool:
        return bool(self._value("zookeeper.ssl.client.enable", self._settings.zookeeper_ssl_client_enable))

    @property
    def identifies_by_tls(self) -> bool:
        """``KafkaConfig.zkTlsClientAuthEnabled``: a setting for it is enough, what it says is not looked at."""
        socket = self._value("zookeeper.clientCnxnSocket", self._settings.zookeeper_clientCnxnSocket)
        return self.is_enabled and socket is not None and self._keystore is not None

    @property
    def _keystore(self) -> Path | None:
        settings = self._settings
        location = self._value("zookeeper.ssl.keystore.location", settings.zookeeper_ssl_keystore_location)
        kind = self._value("zookeeper.ssl.keystore.type", settings.zookeeper_ssl_keystore_type)
        return _pem("zookeeper.ssl.keystore.location", location, kind)

    @property
    def _truststore(self) -> Path | None:
        settings = self._settings
        location = self._value("zookeeper.ssl.truststore.location", settings.zookeeper_ssl_truststore_location)
        kind = self._value("zookeeper.ssl.truststore.type", settings.zookeeper_ssl_truststore_type)
        return _pem("zookeeper.ssl.truststore.location", location, kind)

    def context(self) -> ssl.SSLContext:
        """All of it, made ready."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version, context.maximum_version = self._versions()
        context.check_hostname = self._checks_names()
        truststore, keystore = self._truststore, self._keystore
        if truststore is None:
            context.load_default_certs()
        else:
            _load("zookeeper.ssl.truststore.location", truststore, context.load_verify_locations)
        if keystore is not None:
            password = self._value("zookeeper.ssl.keystore.password", self._settings.zookeeper_ssl_keystore_password)
            # Where no password is told, none is asked for at the terminal.
            load = partial(context.load_cert_chain, password=str(password or ""))
            _load("zookeeper.ssl.keystore.location", keystore, load)
        return context

    def _versions(self) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
        settings = self._settings
        listed = self._value("zookeeper.ssl.enabled.protocols", settings.zookeeper_ssl_enabled_protocols)
        alone = self._value("zookeeper.ssl.protocol", settings.zookeeper_ssl_protocol)
        key = "zookeeper.ssl.enabled.protocols" if listed else "zookeeper.ssl.protocol"
        named = [str(name) for name in listed] if isinstance(listed, tuple) and listed else [str(alone)]
        if named == ["TLS"]:
            return ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
        for name in named:
            if name not in _VERSIONS:
                raise CredentialsError(f"{key}: {name} is none of {', '.join(_VERSIONS)}")
        versions = [_VERSIONS[name] for name in named]
        return min(versions), max(versions)

    def _checks_names(self) -> bool:
        key = "zookeeper.ssl.endpoint.identification.algorithm"
        value = self._value(key, self._settings.zookeeper_ssl_endpoint_identification_algorithm)
        return str(value).upper() in ("HTTPS", "TRUE")


def _load(key: str, file: Path, load: Callable[[Path], None]) -> None:
    try:
        load(file)
    except (OSError, ValueError) as error:
        says = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CredentialsError(f"{key}: {file}: {says}") from error


def _pem(key: str, location: Value, kind: Value) -> Path | None:
    """The file, if there is one; ``CredentialsError`` for one that is not PEM (``KeyStoreFileType``)."""
    if not location:
        return None
    file = Path(str(location))
    named = str(kind).upper() if kind else {".jks": "JKS", ".p12": "PKCS12", ".bcfks": "BCFKS"}.get(file.suffix, "PEM")
    if named != "PEM":
        raise CredentialsError(
            f"{key}: {file}: {named} stores cannot be read; keytool and openssl turn them into PEM files"
        )
    return file
