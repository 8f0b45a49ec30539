"""The settings of TLS towards ZooKeeper."""

from __future__ import annotations

from pykafka_broker.config.kinds import Kind
from pykafka_broker.config.setting import Importance, Section, setting


class ZooKeeperTlsSettings(Section):
    """How ZooKeeper and this broker prove to each other who they are, by certificates."""

    zookeeper_clientCnxnSocket: str | None = setting(
        "zookeeper.clientCnxnSocket",
        Kind.STRING,
        default=None,
        says="Java's way to connect with TLS (ClientCnxnSocketNetty); only looked for where zookeeper.set.acl is.",
    )
    zookeeper_ssl_client_enable: bool = setting(
        "zookeeper.ssl.client.enable",
        Kind.BOOLEAN,
        default=False,
        says="Whether to speak TLS with ZooKeeper.",
    )
    zookeeper_ssl_enabled_protocols: tuple[str, ...] | None = setting(
        "zookeeper.ssl.enabled.protocols",
        Kind.LIST,
        default=None,
        importance=Importance.LOW,
        says="Versions of TLS to speak with ZooKeeper; none means zookeeper.ssl.protocol.",
    )
    zookeeper_ssl_endpoint_identification_algorithm: str = setting(
        "zookeeper.ssl.endpoint.identification.algorithm",
        Kind.STRING,
        default="HTTPS",
        importance=Importance.LOW,
        says="HTTPS: a server's certificate must be for the host in zookeeper.connect; empty: for any.",
    )
    zookeeper_ssl_keystore_location: str | None = setting(
        "zookeeper.ssl.keystore.location",
        Kind.STRING,
        default=None,
        says="PEM file with this broker's private key and certificates, where ZooKeeper asks for one.",
    )
    zookeeper_ssl_keystore_password: str | None = setting(
        "zookeeper.ssl.keystore.password",
        Kind.PASSWORD,
        default=None,
        says="Password of the private key.",
    )
    zookeeper_ssl_keystore_type: str | None = setting(
        "zookeeper.ssl.keystore.type",
        Kind.STRING,
        default=None,
        says="PEM; none: told by the end of the file's name. Java's stores (JKS, PKCS12) cannot be read.",
    )
    zookeeper_ssl_protocol: str = setting(
        "zookeeper.ssl.protocol",
        Kind.STRING,
        default="TLSv1.2",
        importance=Importance.LOW,
        says="Version of TLS to speak with ZooKeeper.",
    )
    zookeeper_ssl_truststore_location: str | None = setting(
        "zookeeper.ssl.truststore.location",
        Kind.STRING,
        default=None,
        says="PEM file with the certificates to believe ZooKeeper's by; none: those the system believes.",
    )
    zookeeper_ssl_truststore_password: str | None = setting(
        "zookeeper.ssl.truststore.password",
        Kind.PASSWORD,
        default=None,
        says="Password of a Java store; a PEM file of certificates has none.",
    )
    zookeeper_ssl_truststore_type: str | None = setting(
        "zookeeper.ssl.truststore.type",
        Kind.STRING,
        default=None,
        says="PEM; none: told by the end of the file's name. Java's stores (JKS, PKCS12) cannot be read.",
    )
