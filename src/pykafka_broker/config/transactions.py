"""The settings of producers' memory, transactions and the topic that remembers them."""

from __future__ import annotations

from pykafka_broker.config.kinds import Kind
from pykafka_broker.config.rules import at_least
from pykafka_broker.config.setting import Importance, Mode, Section, setting


class TransactionSettings(Section):
    """What producers' state and the transaction coordinator need to know."""

    producer_id_expiration_check_interval_ms: int = setting(
        "producer.id.expiration.check.interval.ms",
        Kind.INT,
        default=600_000,
        rule=at_least(1),
        importance=Importance.LOW,
        internal=True,
        says="How often forgotten producers are looked for.",
    )
    producer_id_expiration_ms: int = setting(
        "producer.id.expiration.ms",
        Kind.INT,
        default=86_400_000,
        rule=at_least(1),
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.LOW,
        says="How long a partition remembers a producer that writes nothing.",
    )
    transaction_abort_timed_out_transaction_cleanup_interval_ms: int = setting(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        Kind.INT,
        default=10_000,
        rule=at_least(1),
        importance=Importance.LOW,
        says="How often transactions that ran out of time are looked for.",
    )
    transaction_max_timeout_ms: int = setting(
        "transaction.max.timeout.ms",
        Kind.INT,
        default=900_000,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Longest transaction timeout a producer may ask for.",
    )
    transaction_partition_verification_enable: bool = setting(
        "transaction.partition.verification.enable",
        Kind.BOOLEAN,
        default=True,
        mode=Mode.CLUSTER_WIDE,
        importance=Importance.LOW,
        says="Whether the coordinator is asked if a partition belongs to the transaction that writes to it.",
    )
    transaction_remove_expired_transaction_cleanup_interval_ms: int = setting(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        Kind.INT,
        default=3_600_000,
        rule=at_least(1),
        importance=Importance.LOW,
        says="How often expired transactional ids are looked for.",
    )
    transaction_state_log_load_buffer_size: int = setting(
        "transaction.state.log.load.buffer.size",
        Kind.INT,
        default=5_242_880,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Bytes read at a time when a coordinator loads its transactions.",
    )
    transaction_state_log_min_isr: int = setting(
        "transaction.state.log.min.isr",
        Kind.INT,
        default=2,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Replicas of the transaction topic that must be in sync.",
    )
    transaction_state_log_num_partitions: int = setting(
        "transaction.state.log.num.partitions",
        Kind.INT,
        default=50,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Partitions of the transaction topic; must never change once it exists.",
    )
    transaction_state_log_replication_factor: int = setting(
        "transaction.state.log.replication.factor",
        Kind.SHORT,
        default=3,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Replicas of the transaction topic; its creation waits for that many brokers.",
    )
    transaction_state_log_segment_bytes: int = setting(
        "transaction.state.log.segment.bytes",
        Kind.INT,
        default=104_857_600,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="Segment size of the transaction topic.",
    )
    transactional_id_expiration_ms: int = setting(
        "transactional.id.expiration.ms",
        Kind.INT,
        default=604_800_000,
        rule=at_least(1),
        importance=Importance.HIGH,
        says="How long an unused transactional id is remembered.",
    )
