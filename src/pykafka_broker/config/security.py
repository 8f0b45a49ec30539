"""The settings of authorization, SASL, delegation tokens and stored passwords."""

from __future__ import annotations

from pykafka_broker.config.kinds import Kind
from pykafka_broker.config.rules import at_least, not_null
from pykafka_broker.config.setting import Importance, Mode, Section, setting


class SecuritySettings(Section):
    """Who may do what, and how they prove who they are."""

    authorizer_class_name: str = setting(
        "authorizer.class.name",
        Kind.STRING,
        default="",
        rule=not_null,
        importance=Importance.LOW,
        says="kafka.security.authorizer.AclAuthorizer for ACLs kept in ZooKeeper, or nothing.",
    )
    delegation_token_expiry_check_interval_ms: int = setting(
        "delegation.token.expiry.check.interval.ms",
        Kind.LONG,
        default=3_600_000,
        rule=at_least(1),
        importance=Importance.LOW,
        says="How often expired delegation tokens are looked for.",
    )
    delegation_token_expiry_time_ms: int = setting(
        "delegation.token.expiry.time.ms",
        Kind.LONG,
        default=86_400_000,
        rule=at_least(1),
        says="How long a delegation token lives without being renewed.",
    )
    delegation_token_max_lifetime_ms: int = setting(
        "delegation.token.max.lifetime.ms",
        Kind.LONG,
        default=604_800_000,
        rule=at_least(1),
        says="How long it may live in all.",
    )
    delegation_token_secret_key: str | None = setting(
        "delegation.token.secret.key",
        Kind.PASSWORD,
        default=None,
        says="Key that delegation tokens are signed with; none switches them off.",
    )
    password_encoder_cipher_algorithm: str = setting(
        "password.encoder.cipher.algorithm",
        Kind.STRING,
        default="AES/CBC/PKCS5Padding",
        importance=Importance.LOW,
        says="Cipher for passwords kept in ZooKeeper.",
    )
    password_encoder_iterations: int = setting(
        "password.encoder.iterations",
        Kind.INT,
        default=4_096,
        rule=at_least(1_024),
        importance=Importance.LOW,
        says="Rounds of deriving its key.",
    )
    password_encoder_key_length: int = setting(
        "password.encoder.key.length",
        Kind.INT,
        default=128,
        rule=at_least(8),
        importance=Importance.LOW,
        says="Bits of its key.",
    )
    password_encoder_keyfactory_algorithm: str | None = setting(
        "password.encoder.keyfactory.algorithm",
        Kind.STRING,
        default=None,
        importance=Importance.LOW,
        says="How its key is derived.",
    )
    password_encoder_old_secret: str | None = setting(
        "password.encoder.old.secret",
        Kind.PASSWORD,
        default=None,
        says="Former secret, while it is being changed.",
    )
    password_encoder_secret: str | None = setting(
        "password.encoder.secret",
        Kind.PASSWORD,
        default=None,
        says="Secret that passwords kept in ZooKeeper are enciphered with.",
    )
    principal_builder_class: str = setting(
        "principal.builder.class",
        Kind.CLASS,
        default="org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder",
        mode=Mode.PER_BROKER,
        says="Java class that names a client from its TLS or SASL identity.",
    )
    sasl_enabled_mechanisms: tuple[str, ...] = setting(
        "sasl.enabled.mechanisms",
        Kind.LIST,
        default=("GSSAPI",),
        mode=Mode.PER_BROKER,
        says="SASL mechanisms that clients may use.",
    )
    sasl_jaas_config: str | None = setting(
        "sasl.jaas.config",
        Kind.PASSWORD,
        default=None,
        mode=Mode.PER_BROKER,
        says="JAAS entry of the broker's SASL.",
    )
    sasl_mechanism_inter_broker_protocol: str = setting(
        "sasl.mechanism.inter.broker.protocol",
        Kind.STRING,
        default="GSSAPI",
        mode=Mode.PER_BROKER,
        says="SASL mechanism between brokers.",
    )
    sasl_server_max_receive_size: int = setting(
        "sasl.server.max.receive.size",
        Kind.INT,
        default=524_288,
        says="Largest message before a client is authenticated.",
    )
